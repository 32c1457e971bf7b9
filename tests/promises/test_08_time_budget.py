"""How long anybody waits for a Redis that does not answer: the budget of a request, and the breaker of a process."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from flask import Flask, request, session
from redis.connection import BlockingConnectionPool
from redis.exceptions import (
    ConnectionError,
    ResponseError,
    TimeoutError,
)
from support.apps import SECRET_KEY, route
from support.servers import PATIENCE, RedisServer
from support.stopwatch import takes

from _redis_store.connection import SOCKET_TIMEOUT
from _redis_store.failure import POOL_IS_FULL
from _redis_store.pool import Pool
from _redis_store.sender import MAX_TIMEOUTS, PAUSE, CircuitBreaker, Sender
from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable, connect


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time_passes() -> Clock:
    return Clock()


def fails(store: Any) -> str:
    """Why a command fails."""
    with pytest.raises(StoreUnavailable) as caught:
        store.get("x")
    return str(caught.value)


def is_sent(store: RedisStore) -> bool:
    """Whether a command, which fails, waits for Redis."""
    message = fails(store)
    assert message.startswith(("GET was not sent: ", "GET failed with TimeoutError"))
    return "was not sent" not in message


@pytest.fixture
def frozen(make_server: Callable[[], RedisServer]) -> RedisServer:
    server = make_server()
    server.freeze()
    return server


def make_store(server: RedisServer, clock: Clock) -> RedisStore:
    """A store whose circuit breaker goes by that clock, and which waits no longer than it must."""
    store = RedisStore(server.connect(socket_timeout=0.05))
    store.sender = Sender(store.client, clock)
    return store


def test_commands_of_one_request_wait_no_longer_than_its_budget(frozen: RedisServer) -> None:
    """In all; what would not end in time is not sent."""
    store = RedisStore(frozen.connect()).within(3 * SOCKET_TIMEOUT)
    with takes(4 * SOCKET_TIMEOUT):
        assert is_sent(store)
        fails(store.namespace("MOVED"))
        store.sender.breaker.timeouts = 0
        fails(store)
        assert not is_sent(store)


def test_a_request_that_is_out_of_patience_does_not_cost_the_others_theirs(server: RedisServer) -> None:
    """The budget is its own, though the client is shared."""
    store = RedisStore(server.connect())
    fails(store.within(0))
    assert store.get("x") is None
    assert store.within(1).get("x") is None


def test_a_server_that_is_away_costs_its_timeout_only_now_and_then(frozen: RedisServer, time_passes: Clock) -> None:
    """After a few timeouts commands fail at once, but for one in half a second."""
    store = make_store(frozen, time_passes)
    assert [is_sent(store) for _ in range(MAX_TIMEOUTS + 1)] == MAX_TIMEOUTS * [True] + [False]
    sent = []
    for _ in range(150):
        time_passes.seconds += 0.01
        sent.append(is_sent(store.within(1)))
    assert sent.count(True) == 1.5 // PAUSE
    assert PAUSE == 0.5


def test_a_server_that_is_back_is_used_within_a_second(frozen: RedisServer, time_passes: Clock) -> None:
    """By the first command that tries again."""
    store = make_store(frozen, time_passes)
    for _ in range(MAX_TIMEOUTS):
        fails(store)
    frozen.thaw()
    store.client.connection_pool.connection_kwargs["socket_timeout"] = PATIENCE
    time_passes.seconds += PAUSE - 0.01
    assert not is_sent(store)
    time_passes.seconds += 0.01
    assert store.get("x") is None
    assert store.get("x") is None
    assert PAUSE + SOCKET_TIMEOUT < 1  # that of who tried last before it was back


@pytest.mark.thorough
def test_one_of_many_threads_tries(frozen: RedisServer, time_passes: Clock) -> None:
    """The others do not wait for it."""
    store = make_store(frozen, time_passes)
    for _ in range(MAX_TIMEOUTS):
        fails(store)
    time_passes.seconds += PAUSE
    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(lambda _: is_sent(store), range(8))].count(True) == 1


URLS = ["redis://redis.internal", "redis+sentinel://a.internal,b.internal/service", "redis+cluster://a.internal"]


@pytest.mark.parametrize("url", URLS)
def test_a_silent_name_server_is_waited_for_now_and_then(
    url: str, time_passes: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes ten seconds to say that there is no answer; for as long, at least, nobody else waits for it."""

    def look_up(*args: Any) -> None:
        time_passes.seconds += 10
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    sender = Sender(connect(url), clock=time_passes)
    waits, messages = [], []
    for _ in range(600):
        start = time_passes()
        with pytest.raises(StoreUnavailable) as caught:
            sender.within(1).run("GET", "sid", again=True)
        waits.append(time_passes() - start)
        messages.append(str(caught.value))
        time_passes.seconds += 0.1
    assert all(waits[:MAX_TIMEOUTS])
    assert sum(map(bool, waits)) <= MAX_TIMEOUTS + 6  # one in ten seconds
    kind = {"redis": "ConnectionError: .*name resolution", "redis+sentinel": "MasterNotFoundError"}
    cause = re.compile(kind.get(url.partition(":")[0], "RedisClusterException"))
    assert all(map(cause.search, messages))
    assert set(messages[MAX_TIMEOUTS : MAX_TIMEOUTS + 90]) == {messages[MAX_TIMEOUTS]}
    assert messages[MAX_TIMEOUTS].startswith("GET was not sent: Redis keeps others waiting (")


@pytest.mark.parametrize("error", [ConnectionError("reset"), OSError(), ResponseError("x"), UnicodeError()])
def test_a_slow_failure_counts_like_a_timeout(error: Exception, time_passes: Clock) -> None:
    """Whatever its kind; the first of them is the cause, and an answer ends it."""
    breaker = CircuitBreaker(time_passes)
    for later in (error, TimeoutError("another"), error):
        assert breaker.lets_pass()
        breaker.fail(later, SOCKET_TIMEOUT)
    assert not breaker.lets_pass()
    assert breaker.cause.startswith(type(error).__name__)
    time_passes.seconds += PAUSE
    assert breaker.lets_pass()
    assert not breaker.lets_pass()
    breaker.succeed()
    assert breaker.lets_pass()
    breaker.fail(TimeoutError("a new one"), SOCKET_TIMEOUT)
    assert breaker.cause == "TimeoutError: a new one"


def test_a_try_that_is_slow_is_the_only_one(time_passes: Clock) -> None:
    """Nobody else tries before it is over; and one that is broken off does not close the way for ever."""
    breaker = CircuitBreaker(time_passes)
    for _ in range(MAX_TIMEOUTS):
        breaker.fail(ConnectionError("x"), 4)
    time_passes.seconds += 4
    assert breaker.lets_pass()
    time_passes.seconds += 7
    assert not breaker.lets_pass()
    time_passes.seconds += 1
    assert breaker.lets_pass()


def test_the_cause_is_named_when_a_request_may_not_wait_any_longer(frozen: RedisServer) -> None:
    """By the command that was not sent."""
    store = RedisStore(frozen.connect()).within(SOCKET_TIMEOUT)
    fails(store)
    with pytest.raises(StoreUnavailable, match=r"GET was not sent: .*this request waiting \(TimeoutError: "):
        store.get("x")


def test_the_budget_of_a_request_refills_slowly(server: RedisServer, time_passes: Clock) -> None:
    """A tenth of the time in which it does not wait, once that is enough for several commands."""
    sender = Sender(server.connect(), clock=time_passes)
    stream = sender.within(1)
    stream.budget = 0
    for seconds, budget in ((3, 0), (2.9, 0), (0.2, 0.51), (0, 0.51)):
        time_passes.seconds += seconds
        if not budget:
            with pytest.raises(StoreUnavailable, match="Redis keeps this request waiting"):
                stream.run("PING")
        else:
            assert stream.run("PING") is True
        assert stream.budget == pytest.approx(budget)
    stream.budget = 0
    time_passes.seconds += 3600
    assert stream.run("PING") is True
    assert stream.budget == 1


def test_a_stream_that_always_waits_is_answered_again_and_again(server: RedisServer, time_passes: Clock) -> None:
    """What it asks for takes two commands, and more of the time than goes back into its budget."""
    sender = Sender(server.connect(), clock=time_passes)
    stream = sender.within(1)
    answered = []
    for _ in range(1000):
        time_passes.seconds += 0.1
        try:
            for _ in range(2):
                stream.run("PING")
                time_passes.seconds += 0.02
                stream.budget -= 0.02  # it took so long
            answered.append(True)
        except StoreUnavailable:
            answered.append(False)
    assert any(answered[-100:])
    assert not all(answered[-100:])


def test_a_budget_of_one_timeout_is_enough_for_more_than_one_command(server: RedisServer) -> None:
    """As long as Redis is quick."""
    store = RedisStore(server.connect()).within(SOCKET_TIMEOUT)
    for _ in range(3):
        assert store.get("x") is None


@pytest.mark.parametrize("answer", [None, ResponseError("x"), ConnectionError("refused"), OSError()])
def test_only_timeouts_in_a_row_count(answer: Any) -> None:
    """Whatever tells at once, costs nobody anything: an answer, an error, a refused connection."""
    breaker = CircuitBreaker()
    for _ in range(3):
        for _ in range(MAX_TIMEOUTS - 1):
            breaker.fail(TimeoutError())
        assert breaker.lets_pass()
        if answer is None:
            breaker.succeed()
        else:
            breaker.fail(answer)
    assert breaker.lets_pass()
    for _ in range(MAX_TIMEOUTS):
        breaker.fail(TimeoutError())
        for text in ("No connection available.", "Too many connections"):  # of the pools: Redis was not asked
            breaker.fail(ConnectionError(text))
    assert not breaker.lets_pass()


def test_the_pools_words_are_those_that_the_breaker_knows(server: RedisServer) -> None:
    """Of our pool and of both of redis-py's, when all of their connections are in use."""
    kind: dict[str, Any] = {"connection_class": redis.UnixDomainSocketConnection, "path": str(server.socket)}
    kind["max_connections"] = 1
    for pool in (Pool(**kind, timeout=0), BlockingConnectionPool(**kind, timeout=0), redis.ConnectionPool(**kind)):
        held = pool.get_connection()
        with pytest.raises(ConnectionError) as caught:
            pool.get_connection()
        assert str(caught.value) in POOL_IS_FULL
        pool.release(held)
        pool.disconnect()


def test_a_context_inside_a_request_leaves_it_its_time_budget(client: Any) -> None:
    """It may have the same environ, and a session of its own, which is gone before the request is."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=2)
    app.session_interface = interface = RedisSessionInterface(client)

    def nest() -> str:
        with app.request_context(request.environ):
            session.get("n")
        return str(interface.namespace("X").sender.budget < 3)

    route(app, "/", nest)
    assert app.test_client().get("/").text == "True"


def test_a_store_with_a_time_budget_can_be_an_apps_store(client: Any) -> None:
    """And have stores for requests, and for other things, made of it."""
    store = RedisStore(client).within(5)
    app = Flask("app")
    app.secret_key = SECRET_KEY
    app.session_interface = interface = RedisSessionInterface(store)
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/other", lambda: str(interface.namespace("X").within(1).add("sid", {})))
    browser = app.test_client()
    assert browser.get("/login").status_code == 200
    assert browser.get("/other").text == "True"


def test_a_pipeline_tells_of_errors_and_of_wrong_types(store: RedisStore, client: Any) -> None:
    """A key of a wrong type reads as missing; anything else is an error, and never an answer."""
    client.lpush("SESSION:list", 1)
    client.set("SESSION:good", "{}", ex=50)
    assert store.sender.run_all([("GET", "SESSION:list"), ("GET", "SESSION:good")]) == [None, b"{}"]
    with pytest.raises(StoreUnavailable, match="EXPIRE failed with ResponseError"):
        store.sender.run_all([("GET", "SESSION:good"), ("EXPIRE", "SESSION:good", "soon")])
