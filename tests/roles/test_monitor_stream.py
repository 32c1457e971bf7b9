"""GET /monitor/events: what an open page gets, and what ends that."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support import demo
from support.apps import interface_of, set_cookie
from support.clock import Clock
from support.roles.metrics import gunicorn
from support.roles.monitor import CONFIG, make_app, numbers, problems, signed_in
from support.servers import PATIENCE, RedisServer
from support.serving import serve
from support.topology import wait_until

from app import create_app
from roles.monitor_stream import MAX_STREAMS, Pages


def pages_of(app: Flask) -> Pages:
    """The open pages of an app, from now on renewed at once."""
    pages = app.extensions["monitor"]
    assert isinstance(pages, Pages)
    pages.interval = 0.0
    return pages


class Stream:
    """An open page."""

    def __init__(self, web: FlaskClient) -> None:
        self.answer = web.get("/monitor/events", buffered=False)
        self.events = self.receive()

    def receive(self) -> Iterator[tuple[str, str]]:
        for chunk in self.answer.iter_encoded():
            lines = [line.partition(": ") for line in chunk.decode().splitlines()]
            kind = "".join(value for name, _, value in lines if name == "event")
            if "retry" not in {name for name, _, _ in lines}:
                yield kind or "message", "\n".join(value for name, _, value in lines if name == "data")

    def next(self) -> tuple[str, str]:
        """Wait for an event, or the end: its kind and its data."""
        return next(self.events, ("end", ""))


def test_an_open_page_gets_what_is_new(client: Any, clock: Clock) -> None:
    """The same part of the page that a look by itself gives, again and again; no proxy holds it back."""
    app = make_app(client, clock=clock)
    pages_of(app)
    web = signed_in(app)
    stream = Stream(web)
    assert stream.answer.mimetype == "text/event-stream"
    assert stream.answer.headers["X-Accel-Buffering"] == "no"
    kind, first = stream.next()
    clock.move(10)
    _, second = stream.next()
    assert kind == "message"
    assert numbers(first)["PING, ms"]
    assert first != second
    assert [*numbers(second)] == [*numbers(web.get("/monitor/live").text)]


def test_one_look_at_redis_serves_all_open_pages(server: RedisServer) -> None:
    """Of a process, until the next is due."""
    app = make_app(server.connect())
    pages_of(app).interval = 60
    admin = server.connect()
    admin.config_resetstat()
    streams = [Stream(signed_in(app)) for _ in range(5)]
    assert len({stream.next() for stream in streams}) == 1
    assert admin.info("commandstats")["cmdstat_slowlog|get"]["calls"] == 1


def test_a_page_ends_when_its_administrator_signs_out(client: Any) -> None:
    """Others go on."""
    app = make_app(client)
    pages_of(app)
    webs = [signed_in(app) for _ in range(2)]
    streams = [Stream(web) for web in webs]
    assert [stream.next()[0] for stream in streams] == ["message"] * 2
    demo.sign_out(webs[0])
    assert [stream.next()[0] for stream in streams] == ["end", "message"]
    with app.app_context():
        interface_of(app).revoke("ada")
    assert streams[1].next()[0] == "end"


def test_a_page_ends_when_its_user_is_no_administrator_any_more(client: Any) -> None:
    """Nothing is sent to them then."""
    app = make_app(client)
    pages_of(app)
    stream = Stream(signed_in(app))
    assert stream.next()[0] == "message"
    app.config["MONITOR_USERS"] = ["grace"]
    assert stream.next()[0] == "end"


def test_a_page_has_a_bounded_life(client: Any) -> None:
    """Then the browser connects again; so one that is gone keeps no thread."""
    app = make_app(client)
    pages_of(app).life = 0
    assert Stream(signed_in(app)).next()[0] == "end"


@pytest.mark.thorough
def test_a_page_that_takes_nothing_ends(client: Any) -> None:
    """Or it would keep a thread, and one of the places, for as long as it likes."""
    app = make_app(client)
    pages = pages_of(app)
    began = threading.Event()

    def make() -> str:
        began.set()
        return "x" * 100_000  # what the system keeps for a page is full soon

    pages.patience, pages.make = 0.2, make
    cookie = signed_in(app).get_cookie("session")
    assert cookie
    with serve(app) as url, socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as deaf:
        deaf.sendall(f"GET /monitor/events HTTP/1.1\r\nHost: x\r\nCookie: session={cookie.value}\r\n\r\n".encode())
        assert began.wait(PATIENCE)
        wait_until(lambda: not pages.streams)


@pytest.mark.thorough
@pytest.mark.parametrize("signed", [False, True])
def test_a_stranger_gets_no_events(client: Any, signed: bool) -> None:
    """403, for a user who is no administrator, too."""
    app = make_app(client)
    web = signed_in(app, "grace", "hopper") if signed else app.test_client()
    assert web.get("/monitor/events").status_code == 403
    assert pages_of(app).streams == set()


def test_there_are_never_too_many_open_pages(client: Any) -> None:
    """429, and the place of one that goes is free again, whether it was read or not."""
    app = make_app(client)
    pages_of(app)
    web = signed_in(app)
    streams = [Stream(web) for _ in range(MAX_STREAMS)]
    streams[0].next()
    assert web.get("/monitor/events").status_code == 429
    assert web.get("/monitor/live").status_code == 200
    for stream in streams[:2]:
        stream.answer.close()
    head = web.head("/monitor/events")
    head.close()
    assert head.status_code == 200
    assert len(pages_of(app).streams) == MAX_STREAMS - 2


def test_an_open_page_is_told_that_redis_is_away(make_server: Any) -> None:
    """It stays open, and goes on when Redis is back, with what is wrong then."""
    server: RedisServer = make_server("--appendonly", "yes", "--appendfsync", "always")
    app = create_app(CONFIG, server.connect())
    pages_of(app).interval = 0.01
    stream = Stream(signed_in(app))
    assert stream.next()[0] == "message"
    server.stop()
    assert stream.next()[0] == "away"
    server.start()
    server.connect().config_set("maxmemory-policy", "allkeys-lru")
    kind, part = next(event for event in stream.events if event[0] != "away")
    assert (kind, problems(part)) == ("message", ["RedisMayEvict"])


def test_an_open_page_keeps_nobody_signed_in(client: Any, clock: Clock) -> None:
    """No person asked for it."""
    app = make_app(client, clock=clock)
    pages_of(app)
    web = signed_in(app)
    clock.move(app.config["SESSION_REFRESH_AFTER"] + 1)
    stream = Stream(web)
    assert stream.next()[0] == "message"
    assert set_cookie(stream.answer) is None


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["gthread", "gevent"])
def test_gunicorn_sends_events(server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """With threads and with greenlets: pages are served beside them, and they end with the session."""
    if find_spec(kind.removeprefix("gthread") or "gunicorn") is None:
        pytest.skip(f"needs {kind}")
    monkeypatch.setenv("FLASK_MONITOR_USERS", '["ada"]')
    with gunicorn(server.patient_url, tmp_path, "--worker-class", kind, "--threads", "10") as running:
        connections = [http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE) for _ in range(8)]
        form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        connections[0].request("POST", "/login", "username=ada&password=lovelace", form)
        answer = connections[0].getresponse()
        answer.read()
        given = [cookie.partition(";")[0] for cookie in answer.headers.get_all("Set-Cookie") or ()]
        cookie = {"Cookie": "; ".join(given)}
        streams = []
        for connection in connections[1:]:
            connection.request("GET", "/monitor/events", headers=cookie)
            streams.append(connection.getresponse())
        assert {stream.readline() for stream in streams} == {b"retry: 1000\n"}
        for stream in streams:
            assert (stream.readline(), stream.readline()[:6]) == (b"\n", b"data: ")
        assert running.ask("/health/live") == "ok"
        server.connect().flushall()
        assert all(stream.read().endswith(b"\n") for stream in streams)
        for connection in connections:
            connection.close()
