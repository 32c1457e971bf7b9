"""Promise 6: whatever order a login and a revoke meet in, no session is left that nobody can end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from support.apps import interface_of, route, set_cookie, sid_of
from support.clock import Clock
from support.clustered import take_for_cluster
from support.owners import FORMS, REFRESH, add_views, listed, live, owned, revoke, sessions_of, signed_in
from support.tiers import rounds
from support.turns import Turns, orders

from redis_store import RedisSessionInterface


@pytest.fixture
def app(app: Flask) -> Flask:
    add_views(app)
    return app


STEP = rounds(11, 1)  # from one order to the next; 1: all of them, on a redis-server, and on fakeredis each third


@pytest.fixture(params=FORMS)
def turns(request: pytest.FixtureRequest, app: Flask, client: Any, clock: Clock) -> Turns:
    turns = Turns(client)
    app.session_interface = RedisSessionInterface(turns, clock=clock)
    take_for_cluster(app.session_interface.store, request.param)
    return turns


class Forgets:
    """A Redis that loses the owner's list just before somebody looks whether a session is still in it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def execute_command(self, *command: Any, **options: Any) -> Any:
        if command[0] == "ZSCORE":
            self._client.delete("OWNER:SESSION:ada")
        return self._client.execute_command(*command, **options)

    def execute_all(self, commands: Sequence[Any], **options: Any) -> list[Any]:
        return [self.execute_command(*command, **options) for command in commands]


def orders_of(app: Flask, turns: Turns, one_by_one: int, pipelines: int, others: int) -> Iterator[str]:
    """The orders of a request, which sends so many commands, or pipelines, and of another one."""
    step = 3 * STEP if isinstance(turns.client, fakeredis.FakeRedis) else STEP
    return orders(one_by_one if interface_of(app).store.sender.clustered else pipelines, others, step)


@pytest.mark.parametrize("path", ["/login", "/write"])
def test_a_login_and_a_revoke_in_any_order(app: Flask, client: Any, turns: Turns, path: str) -> None:
    """All orders of their commands: the new session has ended, or is listed. One that was there before has ended."""
    for order in orders_of(app, turns, 5, 4, 5):
        client.flushall()
        browser = app.test_client() if path == "/login" else signed_in(app)
        turns.run(order, a=lambda browser=browser: browser.get(path), b=lambda: revoke(app))  # type: ignore[misc]
        assert owned(client) == {info.sid for info in sessions_of(app)}, order
        if path == "/write":  # one that looks after the revoke begins an anonymous session
            assert owned(client) == set(), order


def test_a_login_that_somebody_else_was_first_to_write_and_a_revoke_in_any_order(
    app: Flask, client: Any, turns: Turns
) -> None:
    """It is listed once more for its second try, which must not hide from it that it was revoked before."""

    def is_late() -> None:
        session["user_id"] = "ada"
        client.set(f"SESSION:{sid_of(client)}", '{"n":2}', ex=50)

    route(app, "/late", is_late)
    for order in orders_of(app, turns, 9, 4, 4):
        client.flushall()
        browser = app.test_client()
        browser.get("/write")
        turns.run("aa" + order, a=lambda browser=browser: browser.get("/late"), b=lambda: revoke(app))  # type: ignore[misc]
        assert owned(client) == {info.sid for info in sessions_of(app)}, order


def test_a_regeneration_and_a_revoke_in_any_order(app: Flask, client: Any, turns: Turns) -> None:
    """The session was there before, so it has ended, under whichever sid."""
    for order in orders_of(app, turns, 7, 4, 5):
        client.flushall()
        browser = signed_in(app)
        turns.run(order, a=lambda browser=browser: browser.get("/regenerate"), b=lambda: revoke(app))  # type: ignore[misc]
        assert live(client) == set(), order


def test_a_refresh_and_a_revoke_in_any_order(app: Flask, client: Any, turns: Turns, clock: Clock) -> None:
    """One that lists the session again: it has ended, and is not listed."""
    for order in orders(4, 4, STEP):
        client.flushall()
        clock.offset = 0
        browser = signed_in(app)
        clock.offset = REFRESH + 1
        turns.run(order, a=lambda browser=browser: browser.get("/user"), b=lambda: revoke(app))  # type: ignore[misc]
        assert live(client) == listed(client) == set(), order


class AlwaysListed(Forgets):
    """A Redis that says of each session that it is in the owner's list."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        return b"1" if command[0] == "ZSCORE" else self._client.execute_command(*command, **options)


def test_a_login_that_did_not_check_the_list_again_would_lose_the_race(app: Flask, client: Any) -> None:
    """The orders above include one in which a login slips through a revoke."""
    turns = Turns(AlwaysListed(client))
    app.session_interface = RedisSessionInterface(turns)
    take_for_cluster(app.session_interface.store)
    for order in orders(5, 5):
        client.flushall()
        browser = app.test_client()
        turns.run(order, a=lambda browser=browser: browser.get("/login"), b=lambda: revoke(app))  # type: ignore[misc]
        if live(client) != {info.sid for info in sessions_of(app)}:
            return
    pytest.fail("no order lost")


@pytest.mark.parametrize("path", ["/login", "/regenerate"])
@pytest.mark.parametrize("clustered", FORMS)
def test_a_sign_in_whose_list_is_lost_meanwhile_says_so(app: Flask, client: Any, clustered: bool, path: str) -> None:
    """Evicted, say: nobody could revoke the session, so there is none, and the answer is a 503 without a cookie."""
    browser = app.test_client() if path == "/login" else signed_in(app)
    app.session_interface = RedisSessionInterface(Forgets(client))
    take_for_cluster(app.session_interface.store, clustered)
    response = browser.get(path)
    assert (response.status_code, set_cookie(response), live(client)) == (503, None, set())
