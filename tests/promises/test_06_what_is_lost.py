"""Promise 6 where something is lost: a connection, a clock, a list, or the way to a session."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import pytest
from flask import Flask
from support.apps import SECRET_KEY, interface_of, route, set_cookie
from support.clock import Clock
from support.owners import IDLE, REFRESH, Counts, add_views, listed, live, revoke, sessions_of, sid_in, signed_in
from support.servers import RedisServer

from _redis_store.sender import MAX_TIMEOUTS
from redis_store import RedisSessionInterface


@pytest.fixture
def app(app: Flask) -> Flask:
    add_views(app)
    return app


def test_a_revoke_whose_connection_breaks_is_sent_again(app: Flask, client: Any) -> None:
    """With all that it is to end."""
    signed_in(app)
    app.session_interface = RedisSessionInterface(Counts(client, breaks=True))
    assert revoke(app) == 1
    assert client.keys() == []


def test_a_view_that_cannot_sign_out_everywhere_is_a_503(app: Flask, client: Any) -> None:
    """Not a 500, though nobody registered a handler."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    route(app, "/list", lambda: str(interface_of(app).sessions_of("ada")))
    route(app, "/revoke", lambda: str(interface_of(app).revoke("ada")))
    route(app, "/end", lambda: str(interface_of(app).end("0" * 48)))
    for path in ("/list", "/revoke", "/end"):
        assert app.test_client().get(path).status_code == 200
    breaker = interface_of(app).store.sender.breaker
    breaker.timeouts, breaker.next_try = MAX_TIMEOUTS, math.inf  # Redis is away
    for path in ("/list", "/revoke", "/end"):
        response = app.test_client().get(path)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_sessions_are_listed_when_redis_only_reads(server: RedisServer) -> None:
    """That the dead cannot be taken off the list meanwhile harms nobody."""
    client = server.connect()
    app = Flask("app")
    app.secret_key = SECRET_KEY
    app.session_interface = RedisSessionInterface(client)
    add_views(app)
    signed_in(app)
    client.zadd("OWNER:SESSION:ada", {"0" * 48: 5})
    client.config_set("min-replicas-to-write", 1)
    try:
        assert len(sessions_of(app)) == 1
    finally:
        client.config_set("min-replicas-to-write", 0)


def test_a_session_is_listed_once_its_key_is_named_as_an_owners(app: Flask, client: Any, clock: Clock) -> None:
    """Who signed in before SESSION_OWNER_KEYS knew of it is listed with the next refresh."""
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["account"] = "ada"
    app.config["SESSION_OWNER_KEYS"] = ["account"]
    clock.offset = REFRESH + 1
    browser.get("/user")
    assert listed(client) == live(client)


@pytest.mark.parametrize("path", ["/user", "/missing"])
def test_a_refresh_says_until_when_the_session_may_live(app: Flask, client: Any, clock: Clock, path: str) -> None:
    """Also one of a page that never looks at the session: it is listed for as long as it may live, and no longer."""
    browser = signed_in(app)
    (before,) = sessions_of(app)
    clock.offset = 5000
    browser.get(path)
    score = client.zscore("OWNER:SESSION:ada", sid_in(browser))
    assert score == pytest.approx(clock() + IDLE + REFRESH, abs=5)
    (after,) = sessions_of(app)
    assert after.created == before.created
    assert after.refreshed is not None
    assert after.refreshed.timestamp() == pytest.approx(clock(), abs=5)


def test_redis_may_have_another_clock(app: Flask, client: Any, clock: Clock) -> None:
    """Or the host does: a list lives as long as its sessions, counted from now."""
    clock.offset = -5 * IDLE
    signed_in(app)
    assert IDLE + REFRESH <= client.ttl("OWNER:SESSION:ada") <= IDLE + REFRESH + 60


def test_a_trail_may_be_long(app: Flask, client: Any) -> None:
    """A thousand new sids in ten minutes, and then a logout with the first one."""
    browser = signed_in(app)
    sids = [sid_in(browser), *(f"{number:048x}" for number in range(1500))]
    for old, new in itertools.pairwise(sids):
        client.set(f"MOVED:{{SESSION:{old}}}", new, ex=50)
    client.rename(f"SESSION:{sids[0]}", f"SESSION:{sids[-1]}")
    app.config["SESSION_MAX_WAIT"] = 60  # not about time
    browser.get("/logout")
    assert live(client) == set()


@pytest.mark.parametrize("ask", ["sessions_of", "revoke", "end"])
def test_a_process_that_answers_no_requests_can_ask(app: Flask, client: Any, ask: str) -> None:
    """The command line: nothing but an app context is needed, and no request before."""
    sid = "0" * 48
    client.set(f"SESSION:{sid}", '{"user_id":"ada"}', ex=50)
    client.zadd("OWNER:SESSION:ada", {sid: 2e9})
    with app.app_context():
        assert getattr(interface_of(app), ask)(sid if ask == "end" else "ada")
    assert (live(client), listed(client)) == (({sid}, {sid}) if ask == "sessions_of" else (set(), set()))


def test_a_trail_in_a_circle_ends(app: Flask, client: Any) -> None:
    """Planted, for ours lead on: each place is looked at once."""
    browser = signed_in(app)
    first, second, third = sid_in(browser), "1" * 48, "2" * 48
    for old, new in ((first, second), (second, third), (third, second)):
        client.set(f"MOVED:{{SESSION:{old}}}", new, ex=50)
    client.delete(f"SESSION:{first}")
    response = browser.get("/logout")
    assert (response.status_code, set_cookie(response)) == (200, None)


def test_who_began_nobody_knows_when_counts_as_the_oldest(app: Flask, client: Any) -> None:
    """A session that koa signed in is first in the list. It ends in its turn when there are too many."""
    signed_in(app)
    client.set(f"SESSION:{'f' * 48}", '{"user_id":"ada"}', ex=50)
    client.zadd("OWNER:SESSION:ada", {"f" * 48: time.time() + 50})
    assert [info.created is None for info in sessions_of(app)] == [True, False]
    app.config["SESSION_MAX_PER_OWNER"] = 2
    signed_in(app)
    assert "f" * 48 not in live(client)
    assert len(live(client)) == 2
