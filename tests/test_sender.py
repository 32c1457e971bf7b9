"""How long anybody waits for a Redis that does not answer: the budget of a request, and the breaker of a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import RedisServer
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from _redis_store.connection import SOCKET_TIMEOUT
from _redis_store.sender import MAX_TIMEOUTS, PAUSE, CircuitBreaker
from redis_store import RedisStore, StoreUnavailable


def fails_in(store: RedisStore) -> float:
    """Seconds until a command fails."""
    start = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.get("x")
    return time.monotonic() - start


@pytest.fixture
def frozen(make_server: Callable[[], RedisServer]) -> RedisServer:
    server = make_server()
    server.freeze()
    return server


def test_commands_of_one_request_wait_no_longer_than_its_budget(frozen: RedisServer) -> None:
    """In all; what would not end in time is not sent."""
    store = RedisStore(frozen.connect()).within(3 * SOCKET_TIMEOUT)
    start = time.monotonic()
    fails_in(store)
    fails_in(store.namespace("MOVED"))
    store.sender.breaker.timeouts = 0
    fails_in(store)
    assert fails_in(store) < 0.1
    assert time.monotonic() - start < 4 * SOCKET_TIMEOUT


def test_a_request_that_is_out_of_patience_does_not_cost_the_others_theirs(server: RedisServer) -> None:
    """The budget is its own, though the client is shared."""
    store = RedisStore(server.connect())
    impatient = store.within(0)
    fails_in(impatient)
    assert store.get("x") is None
    assert store.within(1).get("x") is None


def test_a_server_that_is_away_costs_its_timeout_only_now_and_then(frozen: RedisServer) -> None:
    """After a few timeouts commands fail at once, but for one in half a second."""
    store = RedisStore(frozen.connect())
    for _ in range(MAX_TIMEOUTS):
        assert fails_in(store) >= SOCKET_TIMEOUT
    start, waited = time.monotonic(), 0
    while time.monotonic() - start < 1.5:
        waited += fails_in(store.within(1)) > SOCKET_TIMEOUT / 2
        time.sleep(0.01)
    assert 1 <= waited <= 3


def test_a_server_that_is_back_is_used_within_a_second(frozen: RedisServer) -> None:
    """By the first command that tries again."""
    store = RedisStore(frozen.connect())
    for _ in range(MAX_TIMEOUTS):
        fails_in(store)
    frozen.thaw()
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            assert store.get("x") is None
            break
        except StoreUnavailable:
            time.sleep(0.01)
    else:
        pytest.fail("still closed")
    assert store.get("x") is None


def test_one_of_many_threads_tries(frozen: RedisServer) -> None:
    """The others do not wait for it."""
    store = RedisStore(frozen.connect())
    for _ in range(MAX_TIMEOUTS):
        fails_in(store)
    time.sleep(PAUSE)
    with ThreadPoolExecutor(8) as pool:
        waits = sorted(pool.map(lambda _: fails_in(store), range(8)))
    assert waits[-1] >= SOCKET_TIMEOUT
    assert waits[-2] < SOCKET_TIMEOUT


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
        breaker.fail(ConnectionError("No connection available."))  # of the pool: Redis was not asked
    assert not breaker.lets_pass()


def test_a_pipeline_tells_of_errors_and_of_wrong_types(store: RedisStore, client: Any) -> None:
    """A key of a wrong type reads as missing; anything else is an error, and never an answer."""
    client.lpush("SESSION:list", 1)
    client.set("SESSION:good", "{}", ex=50)
    assert store.sender.run_all([("GET", "SESSION:list"), ("GET", "SESSION:good")]) == [None, b"{}"]
    with pytest.raises(StoreUnavailable, match="EXPIRE failed with ResponseError"):
        store.sender.run_all([("GET", "SESSION:good"), ("EXPIRE", "SESSION:good", "soon")])
