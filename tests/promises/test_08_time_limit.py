"""A job's time limit that goes off in the middle of a command: an exception from a signal handler reaches the job."""

from __future__ import annotations

import functools
import gc
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from flask import Flask, session
from redis.backoff import NoBackoff
from redis.retry import Retry
from support.apps import SECRET_KEY, route
from support.servers import RedisServer

from _redis_store.change import changed_keys
from _redis_store.owners import name_of
from _redis_store.record import dump_record, load_record
from _redis_store.snapshot import dump_items
from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable, merge


class JobTimeoutException(Exception):
    """As RQ's, and Celery's SoftTimeLimitExceeded: an Exception like any other."""


class Limit:
    """Raises an error when it is called; its method does, too."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *args: Any) -> None:
        raise self.error

    def stop(self, *args: Any) -> None:
        self()


KINDS: dict[str, Callable[[Exception], Any]] = {
    "function": lambda error: lambda *args: Limit(error)(),
    "method": lambda error: Limit(error).stop,
    "object": lambda error: Limit(error),
    "partial": lambda error: functools.partial(Limit.stop, Limit(error)),
}

#: The builtin TimeoutError is what a socket raises, and the client makes its own kind of it.
ERRORS = [JobTimeoutException, Exception, RuntimeError, TimeoutError, OSError, ValueError, AttributeError]


LONG = 60  # seconds to wait for a frozen Redis: the limit goes off before, also on a busy machine

LARGE = {"n": [*range(1_000_000)]}

#: What works on a large session, and takes long after a time limit has gone off.
WRITES: dict[str, Callable[[], object]] = {
    "a record": lambda: dump_record(LARGE),
    "with a tag": lambda: dump_record({**LARGE, "t": (1,)}),
    "what JSON cannot keep": lambda: dump_record({"n": [*LARGE["n"], {1}]}),
    "a snapshot": lambda: dump_items(LARGE),
    "a merge": lambda: merge({"n": [1]}, LARGE, {}),
    "changed keys": lambda: changed_keys({"n": [1]}, LARGE),
}


def in_the_middle_of(error: type[Exception], work: Callable[[], object]) -> None:
    """Let a time limit go off while that is done, and expect it."""

    def begin() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0005)  # long before it is done
        work()
        for _ in range(2):  # here Python looks for signals; in the exit of `limit` it is too late
            pass

    with pytest.raises(error, match="the limit"), limit(KINDS["function"](error("the limit")), None):
        begin()


@pytest.fixture
def frozen(make_server: Any) -> RedisServer:
    server: RedisServer = make_server()
    return server


@contextmanager
def limit(handler: Any, server: RedisServer | None) -> Iterator[None]:
    """Let the limit go off while a command waits for this server; None: it never does.

    No garbage is collected meanwhile: Hypothesis has a callback there, in which Python drops what is raised.
    """
    gc.disable()
    before = signal.signal(signal.SIGALRM, handler)
    over, caller = threading.Event(), threading.get_ident()
    ringing = threading.Thread(target=ring_while_it_reads, args=(caller, over))
    if server:
        server.freeze()
        ringing.start()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        over.set()
        if server:
            ringing.join()
            server.thaw()
        signal.signal(signal.SIGALRM, before)
        gc.enable()


def ring_while_it_reads(caller: int, over: threading.Event) -> None:
    """Send the signal once, when that thread waits for an answer: anywhere else it might be in a finalizer."""
    while not over.wait(0.005):
        stack = traceback.walk_stack(sys._current_frames()[caller])
        if {"read_response", "read_answer"} & {frame.f_code.co_name for frame, _ in stack}:
            return signal.pthread_kill(caller, signal.SIGALRM)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", ERRORS)
def test_a_time_limit_passes_through_a_command(frozen: RedisServer, kind: str, error: type[Exception]) -> None:
    """Whatever it is, and whatever raises it. The connection is not used again, and Redis is not to blame."""
    for client in (
        frozen.connect(socket_timeout=LONG),
        redis.Redis(unix_socket_path=str(frozen.socket), retry=Retry(NoBackoff(), 0), socket_timeout=LONG),
    ):
        store, raised = RedisStore(client), error("the limit")
        store.set({"n": 1}, "sid")
        with limit(KINDS[kind](raised), frozen), pytest.raises(error) as caught:
            store.get("other")
        assert caught.value is raised
        assert store.get("sid") == {"n": 1}
        assert store.sender.breaker.timeouts == 0
        client.close()


def test_a_time_limit_that_was_handled_is_not_raised_again(frozen: RedisServer) -> None:
    """The job's handler may look into Redis, and find it away."""
    store = RedisStore(frozen.connect())
    handler = KINDS["function"](TimeoutError("the limit"))
    with limit(handler, None):
        try:
            handler()
        except TimeoutError:
            frozen.stop()
            with pytest.raises(StoreUnavailable, match="GET failed with ConnectionError"):
                store.get("sid")


@pytest.mark.parametrize("error", [JobTimeoutException, TimeoutError])
def test_the_views_own_handler_gets_a_time_limit(frozen: RedisServer, error: type[Exception]) -> None:
    """Not a 503, for Redis is there."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=LONG)
    app.session_interface = RedisSessionInterface(frozen.connect(socket_timeout=LONG))
    app.register_error_handler(error, lambda error: (f"handled {error}", 418))
    route(app, "/", lambda: str(session.get("n")))
    route(app, "/write", lambda: session.update(n=1))
    browser = app.test_client()
    browser.get("/write")
    with limit(KINDS["method"](error("the limit")), frozen):
        answer = browser.get("/")
    assert (answer.status_code, answer.text) == (418, "handled the limit")
    assert browser.get("/").text == "1"


@pytest.mark.parametrize("error", [JobTimeoutException, TimeoutError])
def test_saving_a_session_hands_a_time_limit_on(frozen: RedisServer, error: type[Exception]) -> None:
    """To whoever began the request, who may have set the limit."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True, SESSION_MAX_WAIT=LONG)
    app.session_interface = RedisSessionInterface(frozen.connect(socket_timeout=LONG))
    route(app, "/write", lambda: session.update(n=1))
    with pytest.raises(error, match="the limit"), limit(KINDS["method"](error("the limit")), frozen):
        app.test_client().get("/write")
    assert app.test_client().get("/write").status_code == 200


@pytest.mark.parametrize("error", [JobTimeoutException, TypeError])
def test_a_time_limit_passes_through_the_reading_of_a_record(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """Or somebody who is signed in would look like a stranger, and the job would never end."""
    record = dump_record(LARGE)
    in_the_middle_of(error, lambda: load_record(record))
    assert not caplog.records


@pytest.mark.parametrize("error", [JobTimeoutException, TypeError, ValueError])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_time_limit_passes_through_the_writing_of_a_record(
    error: type[Exception], write: Callable[[], object]
) -> None:
    """Also if it is of a kind that says elsewhere that JSON cannot keep a value."""
    in_the_middle_of(error, write)


class Ringing(dict[str, object]):
    """A dict that takes long: a time limit goes off when its items are looked at first."""

    rang = False

    def items(self) -> Any:
        if not self.rang:
            self.rang = True
            signal.raise_signal(signal.SIGALRM)
        return super().items()


@pytest.mark.parametrize("error", [RecursionError, TypeError, ValueError, UnicodeEncodeError])
def test_a_time_limit_passes_through_what_one_value_takes(error: type[Exception]) -> None:
    """Also a RecursionError, which else says that the value is nested too deep."""
    raised = error("utf-8", "", 0, 1, "the limit") if error is UnicodeEncodeError else error("the limit")
    with limit(KINDS["function"](raised), None), pytest.raises(error) as caught:
        dump_record({"n": Ringing()})
    assert caught.value is raised


@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_a_time_limit_passes_through_the_name_of_an_owner(error: type[Exception]) -> None:
    """An owner that JSON cannot keep has a name as well; a limit is no such owner."""
    with limit(KINDS["function"](error("the limit")), None), pytest.raises(error, match="the limit"):
        name_of(Ringing())
    assert name_of({1}) == "{1}"
