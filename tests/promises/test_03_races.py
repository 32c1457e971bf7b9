"""Promises 3 and 4 through HTTP, on a real threaded WSGI server: requests that meet in Redis."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask, request, session
from support.apps import interface_of, route, sid_of
from support.clock import Clock
from support.gate import Gate
from support.tiers import rounds
from werkzeug.serving import make_server

from _redis_store.record import load_record
from redis_store import RedisStore

ROUNDS = rounds(5, 50)
COUNT = rounds(20, 100)


class Browser:
    """A cookie jar for one cookie, and a connection for each request."""

    def __init__(self, port: int, cookie: str | None = None) -> None:
        self.port = port
        self.cookie = cookie

    def get(self, path: str) -> tuple[int, str | None]:
        """Status and session cookie of the response; the jar keeps the latter."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers={"Cookie": f"session={self.cookie}"} if self.cookie else {})
        response = connection.getresponse()
        response.read()
        header = response.getheader("Set-Cookie")
        connection.close()
        if header:
            self.cookie = header.partition(";")[0].removeprefix("session=") or None
        return response.status, header


class House:
    """A running server, its Redis, and the gate of the round."""

    def __init__(self, app: Flask, client: Any, port: int) -> None:
        self.app, self.client, self.port = app, client, port
        self.pool = ThreadPoolExecutor(4)
        self.gate = Gate()

    def slow(self, browser: Browser, path: str) -> Future[tuple[int, str | None]]:
        """A request that is now in the middle of its view."""
        self.gate = Gate()
        result = self.pool.submit(Browser(self.port, browser.cookie).get, path)
        assert self.gate.inside.wait(60)
        return result


@pytest.fixture
def house(app: Flask, client: Any) -> Iterator[House]:
    app.testing = False  # errors are answers, not exceptions in a server thread
    server = make_server("127.0.0.1", 0, app, threaded=True)
    house = House(app, client, server.server_port)

    def slow(touch: Callable[[], object], finish: Callable[[], object]) -> Callable[[], None]:
        def view() -> None:
            touch()
            house.gate.wait()
            finish()

        return view

    def nothing() -> None: ...

    def increment() -> None:
        key = request.args["key"]
        session[key] = session.get(key, 0) + 1

    route(app, "/start", lambda: session.update(cart=1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/logout", lambda: session.clear())
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    route(app, "/count", increment)
    route(app, "/slow/reader", slow(lambda: session.get("cart"), lambda: session.get("cart")))
    route(app, "/slow/writer", slow(lambda: session.get("cart"), lambda: session.update(late=1)))
    route(app, "/slow/refresher", slow(nothing, nothing))
    route(app, "/slow/regenerator", slow(lambda: session.regenerate(), nothing))  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # how soon it sees that it is over
    thread.start()
    yield house
    server.shutdown()
    thread.join()
    server.server_close()
    house.pool.shutdown()


@pytest.mark.parametrize("end", ["logout", "expiry", "login", "regenerate"])
@pytest.mark.parametrize("slow", ["reader", "writer", "refresher"])
def test_a_slow_request_neither_brings_back_nor_touches_the_cookie(
    house: House, clock: Clock, slow: str, end: str
) -> None:
    """The session ends while the request is in its view."""
    for _ in range(ROUNDS):
        house.client.flushall()
        clock.offset = 0
        browser = Browser(house.port)
        browser.get("/start")
        old = sid_of(house.client)
        clock.offset = 400  # a refresh is due
        result = house.slow(browser, f"/slow/{slow}")
        if end == "expiry":
            assert house.client.expire(f"SESSION:{old}", 0)
        else:
            assert browser.get(f"/{end}")[0] == 200
        after = {key: house.client.get(key) for key in house.client.keys("SESSION:*")}
        house.gate.go.set()
        assert result.result(60) == (200, None)
        assert {key: house.client.get(key) for key in house.client.keys("SESSION:*")} == after
        assert len(after) == (end in ("login", "regenerate"))
        assert f"SESSION:{old}".encode() not in after


def test_a_slow_regeneration_does_not_survive_a_logout(house: House) -> None:
    """It finds the session ended, and does not carry it over to its new sid."""
    for _ in range(ROUNDS):
        browser = Browser(house.port)
        browser.get("/login")
        result = house.slow(browser, "/slow/regenerator")
        browser.get("/logout")
        house.gate.go.set()
        assert result.result(60) == (200, None)
        assert house.client.keys("SESSION:*") == []


def test_a_logout_and_a_regeneration_in_any_order_leave_no_session(house: House) -> None:
    """At full speed with the same cookie: however they meet, the user is signed out."""
    for _ in range(ROUNDS):
        browser = Browser(house.port)
        browser.get("/login")
        others = [Browser(house.port, browser.cookie) for _ in range(2)]
        paths = ["/logout", "/regenerate"]
        random.shuffle(paths)
        assert {status for status, _ in house.pool.map(Browser.get, others, paths)} == {200}
        assert house.client.keys("SESSION:*") == []


def test_writers_of_different_keys_lose_nothing(house: House) -> None:
    """Four threads, each many times at its own key of one session, at full speed: all counters are exact."""
    browser = Browser(house.port)
    browser.get("/start")

    def work(key: str) -> None:
        own = Browser(house.port, browser.cookie)
        for _ in range(COUNT):
            assert own.get(f"/count?key={key}")[0] == 200

    list(house.pool.map(work, "abcd"))
    record = load_record(house.client.get(f"SESSION:{sid_of(house.client)}"))
    assert record == {"cart": 1, "a": COUNT, "b": COUNT, "c": COUNT, "d": COUNT}


def test_writes_move_along_or_are_dropped_while_the_sid_is_replaced(house: House) -> None:
    """A write and a regeneration at once. It moved along, or it was dropped and its cookie not touched."""
    for number in range(ROUNDS):
        house.client.flushall()
        browser = Browser(house.port)
        browser.get("/start")
        old = browser.cookie
        write = house.pool.submit(Browser(house.port, old).get, "/count?key=a")
        mover = Browser(house.port, old)
        mover.get("/regenerate")
        status, cookie = write.result(60)
        assert status == 200
        with house.app.test_request_context(headers={"Cookie": f"session={mover.cookie}"}):
            moved = dict(session)
        if moved == {"cart": 1}:  # the write came too late: dropped, or, first seeing a sid that is gone, anonymous
            keys = house.client.keys("SESSION:*")
            assert (len(keys), bool(cookie)) in ((1, False), (2, True)), number
        else:
            assert moved == {"cart": 1, "a": 1}


class Blind(RedisStore):
    """A store without compare-and-set: it writes whatever is there."""

    def swapping(self, sid: str, seen: bytes, record: bytes, max_age: int) -> tuple[Any, ...]:
        return ("SET", self.key(sid), record, "EX", max_age)


def test_the_gated_tests_can_lose(house: House) -> None:
    """A store without compare-and-set fails the round above: the race is real."""
    interface = interface_of(house.app)
    interface.store = Blind(interface.store.client)
    browser = Browser(house.port)
    browser.get("/start")
    result = house.slow(browser, "/slow/writer")
    browser.get("/logout")
    house.gate.go.set()
    result.result(60)
    assert house.client.keys("SESSION:*") != []
