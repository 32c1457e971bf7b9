"""Promise 6: lists are bounded, and any number of sessions can be listed and ended."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from support.apps import SECRET_KEY, interface_of, route
from support.clock import Clock
from support.clustered import take_for_cluster
from support.owners import FORMS, Counts, add_views, listed, live, revoke, sessions_of, sid_in, signed_in
from support.servers import RedisServer
from support.stopwatch import Stopwatch
from support.tiers import rounds

from _redis_store.connection import SOCKET_TIMEOUT
from redis_store import RedisSessionInterface, StoreUnavailable


@pytest.fixture
def app(app: Flask) -> Flask:
    add_views(app)
    return app


@pytest.mark.parametrize("clustered", FORMS)
def test_those_that_would_end_first_end_when_there_are_too_many(
    app: Flask, client: Any, clock: Clock, clustered: bool
) -> None:
    """SESSION_MAX_PER_OWNER; nobody else's."""
    app.config["SESSION_MAX_PER_OWNER"] = 2
    take_for_cluster(interface_of(app).store, clustered)
    other, browsers = signed_in(app, "bob"), []
    for clock.offset in range(3):
        browsers.append(signed_in(app))
    _first, second, third = browsers
    assert [browser.get("/user").text for browser in (*browsers, other)] == ["None", "ada", "ada", "bob"]
    clock.offset += 1
    second.get("/regenerate")  # one of two, under another sid
    assert [browser.get("/user").text for browser in browsers] == ["None", "ada", "ada"]
    clock.offset += 1
    fourth = signed_in(app)
    assert [browser.get("/user").text for browser in (second, third, fourth)] == ["ada", "None", "ada"]
    assert listed(client) | listed(client, "bob") == live(client)


@pytest.mark.parametrize("clustered", FORMS)
@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("path", ["/login", "/regenerate"])
def test_the_session_that_begins_stays(app: Flask, client: Any, clustered: bool, most: int, path: str) -> None:
    """Though it would end before all the others, and there are far too many of them: as many as may be are left."""
    take_for_cluster(interface_of(app).store, clustered)
    browsers = [signed_in(app) for _ in range(5)]
    (browser,) = browsers[:1] if path == "/regenerate" else [app.test_client()]
    app.config["SESSION_MAX_PER_OWNER"] = most
    client.zadd("OWNER:SESSION:ada", {sid: 2e9 for sid in listed(client) if sid != sid_in(browsers[0])})
    assert browser.get(path).status_code == 200
    assert browser.get("/user").text == "ada"
    assert len(live(client)) == most
    assert listed(client) == live(client)


def test_fifty_logins_at_once_leave_as_many_as_may_be(app: Flask, client: Any, request: pytest.FixtureRequest) -> None:
    """However they meet: not one too many, and not one too few. It is not about time: each may wait as it has to."""
    if not isinstance(client, fakeredis.FakeRedis):
        patient = request.getfixturevalue("server").connect(timeout=60, socket_timeout=60, socket_connect_timeout=60)
        app.session_interface = RedisSessionInterface(patient)
    app.config.update(SESSION_MAX_PER_OWNER=3, SESSION_MAX_WAIT=600)
    signed_in(app)
    with ThreadPoolExecutor(50) as pool:
        browsers = list(pool.map(lambda _: signed_in(app), range(50)))
    assert len(live(client)) == 3
    assert listed(client) == live(client)
    answers = [browser.get("/user").text for browser in browsers]
    assert answers.count("ada") == 3


@pytest.mark.parametrize(("limit", "number"), [({}, 100), ({"SESSION_MAX_PER_OWNER": None}, 105)])
def test_there_is_a_limit_unless_it_is_taken_away(app: Flask, limit: dict[str, None], number: int) -> None:
    """The default is a hundred."""
    app.config.update(limit)
    for _ in range(105):
        signed_in(app)
    assert len(sessions_of(app)) == number


def test_created_does_not_change_with_the_sid(app: Flask, clock: Clock) -> None:
    """Nor with a write; a new sign-in begins anew."""
    clock.offset = -500
    browser = signed_in(app)
    (before,) = sessions_of(app)
    clock.offset = 0
    browser.get("/regenerate")
    browser.get("/write")
    assert [info.created for info in sessions_of(app)] == [before.created]
    browser.get("/login?user=bob")
    (after,) = sessions_of(app, "bob")
    assert after.created is not None
    assert abs(after.created - datetime.now(UTC)).total_seconds() < 5


def test_a_view_that_asks_for_sessions_waits_within_the_budget_of_its_request(app: Flask) -> None:
    """What its own session took of SESSION_MAX_WAIT is gone; on the command line there is no budget."""
    signed_in(app)
    with app.test_request_context():
        session.get("user_id")
        session.store.sender.budget = 0  # type: ignore[attr-defined]  # of RedisSession
        for ask in (interface_of(app).sessions_of, interface_of(app).revoke, interface_of(app).end):
            with pytest.raises(StoreUnavailable):
                ask("ada")
    assert len(sessions_of(app)) == 1


MANY = rounds(20_000, 200_000)
_TEN_THOUSAND = """
for n = ARGV[1], ARGV[1] + 9999 do
    local sid = string.format('%08x-%040x', ARGV[2] + n / 100, n)
    redis.call('ZADD', 'OWNER:SESSION:ada', ARGV[2] + n / 100, sid)
    redis.call('SET', 'SESSION:' .. sid, '{"user_id":"ada"}', 'EX', 1000)
end
"""


def test_very_many_sessions_cannot_keep_their_owner_out(server: RedisServer, clock: Clock) -> None:
    """They make neither sign-in nor list nor revoke impossible: each does its share within a request's budget."""
    app, client = Flask("app"), server.connect(socket_timeout=5)
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True)
    app.session_interface = RedisSessionInterface(client, clock=clock)
    add_views(app)
    route(app, "/list", lambda: str(len(interface_of(app).sessions_of("ada"))))
    route(app, "/revoke", lambda: str(interface_of(app).revoke("ada")))
    for first in range(0, MANY, 10_000):
        client.eval(_TEN_THOUSAND, 0, first, int(time.time()) + 1000)

    def left() -> int:
        return int(client.zcard("OWNER:SESSION:ada"))

    browsers = [signed_in(app) for _ in range(3)]
    assert [browser.get("/user").text for browser in browsers] == ["ada", "ada", "ada"]
    assert left() == client.dbsize() - 1 == MANY + 3 - 3 * 100
    assert app.test_client().get("/list").text == "5000"
    while before := left():
        with Stopwatch() as watch:
            assert app.test_client().get("/revoke").status_code in (200, 503)
        assert left() < before or watch.seconds - watch.own > SOCKET_TIMEOUT, "the machine took the time"
    assert client.dbsize() == 0
    assert [browser.get("/user").text for browser in browsers] == ["None", "None", "None"]


def test_a_long_list_of_the_dead_does_not_keep_a_revoke_from_the_living(app: Flask, client: Any) -> None:
    """A few round trips for hundreds, so that it ends within a request's budget."""
    browser = signed_in(app)
    client.zadd("OWNER:SESSION:ada", {f"{number:048x}": 2e12 - number for number in range(2000)})
    counts = Counts(client)
    app.session_interface = RedisSessionInterface(counts)
    assert revoke(app) == 1
    assert counts.trips <= 4 * 5  # four for each five hundred
    assert browser.get("/user").text == "None"
