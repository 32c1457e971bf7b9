"""roles/cache.py without Redis: the view runs, and nobody takes an old answer for forgotten."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from support import demo
from support.apps import SECRET_KEY
from support.faults.network import Proxy
from support.roles.cache import Desk, sign_in, who
from support.servers import RedisServer
from support.stopwatch import Stopwatch

from _redis_store.connection import SOCKET_TIMEOUT
from redis_store import RedisSessionInterface, StoreUnavailable, connect
from roles.cache import forget


@pytest.fixture
def redis() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def fragile(redis: fakeredis.FakeServer) -> Flask:
    """An app whose Redis a test may take away."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True)
    app.session_interface = RedisSessionInterface(fakeredis.FakeRedis(server=redis))
    return app


def test_without_redis_the_view_runs(fragile: Flask, redis: fakeredis.FakeServer) -> None:
    """Each time; and as soon as Redis is back, answers are kept again."""
    desk = Desk(fragile)
    redis.connected = False
    assert [desk.ask() for _ in range(3)] == [{"run": 1}, {"run": 2}, {"run": 3}]
    redis.connected = True
    assert desk.ask() == desk.ask() == {"run": 4}


def test_redis_may_go_away_while_the_view_runs(fragile: Flask, redis: fakeredis.FakeServer) -> None:
    """Its answer is given all the same."""

    def lose() -> dict[str, Any]:
        redis.connected = False
        return {}

    desk = Desk(fragile, lose)
    assert desk.ask() == {"run": 1}


def test_forget_says_that_it_could_not(fragile: Flask, redis: fakeredis.FakeServer) -> None:
    """And what it was to forget is still there afterwards, of which it warns."""
    desk = Desk(fragile)
    desk.ask()
    redis.connected = False
    with fragile.app_context(), pytest.raises(StoreUnavailable):
        forget("answers")
    redis.connected = True
    assert desk.ask() == {"run": 1}


def test_a_personal_view_is_a_503_as_without_the_cache(fragile: Flask, redis: fakeredis.FakeServer) -> None:
    """Nobody is shown what was made for somebody without a session, and nothing of the outage is kept."""
    desk, ada = Desk(fragile, who), sign_in(fragile, "ada")
    assert [desk.ask(ada)["user"] for _ in range(3)] == ["ada"] * 3
    redis.connected = False
    answer = desk.get(ada)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    redis.connected = True
    assert desk.ask(ada)["user"] == "ada"


def test_what_was_made_with_a_session_that_could_not_be_read_is_not_kept(
    fragile: Flask, redis: fakeredis.FakeServer
) -> None:
    """An app may catch the error, and show what it shows to nobody."""

    @fragile.before_request
    def load() -> None:
        try:
            session.get("user_id")
        except StoreUnavailable:
            redis.connected = True  # it is back the moment after

    desk, ada = Desk(fragile), sign_in(fragile, "ada")
    redis.connected = False
    desk.get(ada)
    assert desk.ask() != desk.ask(ada)


def test_the_demo_says_that_it_could_not_forget(redis: fakeredis.FakeServer) -> None:
    """A 503, not a 204."""
    web = demo.make_app(fakeredis.FakeRedis(server=redis)).test_client()
    demo.sign_in(web)
    redis.connected = False
    assert web.post("/posts/trending/forget", headers=demo.OURS).status_code == 503


@pytest.mark.thorough
def test_a_redis_that_does_not_answer_costs_a_request_its_time_budget_at_most(server: RedisServer) -> None:
    """And after some of them nothing: the circuit breaker is open."""
    proxy = Proxy(str(server.socket))
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True)
    app.session_interface = RedisSessionInterface(connect(proxy.url))
    desk = Desk(app)
    desk.ask()
    proxy.silent = True
    times = []
    for _ in range(6):
        with Stopwatch() as watch:
            assert desk.get().status_code == 200
        times.append(watch.own)
    proxy.stop()
    assert max(times) < 1.2  # SESSION_MAX_WAIT, and what the processor does
    assert min(times) < SOCKET_TIMEOUT


def test_a_server_that_only_refuses_writes_goes_on_with_what_it_has(server: RedisServer, client: Any) -> None:
    """What is kept is given; what is not, the view makes."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True, SESSION_MAX_WAIT=30)
    app.session_interface = RedisSessionInterface(server.connect())
    desk = Desk(app, path="/answer/<word>")
    assert desk.ask(path="/answer/a")["run"] == 1
    admin = server.connect()
    admin.config_set("maxmemory", 1)
    try:
        assert desk.ask(path="/answer/a")["run"] == 1
        assert [desk.ask(path="/answer/b")["run"] for _ in range(2)] == [2, 3]
    finally:
        admin.config_set("maxmemory", 0)
