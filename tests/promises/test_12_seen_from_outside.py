"""Promise 12: signals tell what became of sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from support.apps import interface_of, route, set_cookie, sid_of
from support.project import ROOT

from redis_store import RedisSessionInterface, SessionUnavailable, signals

ALL = {name: value for name, value in vars(signals).items() if isinstance(value, type(signals.created))}

#: What a listener was told: signal, reason, number.
Told = list[tuple[str, str, int]]


@pytest.fixture
def told(app: Flask) -> Iterator[Told]:
    """What the listeners of this app are told, in order."""
    told: Told = []
    listeners = []
    for name, signal in ALL.items():

        def listen(sender: Any, *, name: str = name, **said: Any) -> None:
            assert sender is app
            told.append((name, said.pop("reason"), said.pop("number")))
            assert not said

        listeners.append(listen)
        signal.connect(listen, app)
    yield told
    for signal, listener in zip(ALL.values(), listeners, strict=True):
        signal.disconnect(listener, app)


@pytest.fixture
def app(app: Flask) -> Flask:
    route(app, "/write", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/leave", lambda: session.pop("user_id"))
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    route(app, "/logout", lambda: session.clear())
    route(app, "/empty", lambda: [session.pop(key) for key in [*session]] and None)
    route(app, "/read", lambda: str(dict(session)))
    route(app, "/set", lambda: session.update(x={1}))
    route(app, "/large", lambda: session.update(x="x" * 2**20))
    return app


def visit(app: Flask, *paths: str) -> Any:
    browser = app.test_client()
    for path in paths:
        browser.get(path)
    return browser


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/write"], [("created", "write", 1)]),
        (["/login"], [("created", "login", 1)]),
        (["/write", "/read", "/write"], [("created", "write", 1)]),
        (["/write", "/login"], [("created", "write", 1), ("moved", "login", 1)]),
        (["/write", "/regenerate"], [("created", "write", 1), ("moved", "regenerate", 1)]),
        (["/write", "/login", "/leave"], [("created", "write", 1), ("moved", "login", 1), ("moved", "logout", 1)]),
        (["/login", "/logout"], [("created", "login", 1), ("ended", "logout", 1)]),
        (["/login", "/leave"], [("created", "login", 1), ("ended", "logout", 1)]),
        (["/write", "/empty"], [("created", "write", 1), ("ended", "logout", 1)]),
        (["/read", "/logout"], []),
    ],
)
def test_a_signal_tells_what_a_request_did(app: Flask, told: Told, paths: list[str], expected: Told) -> None:
    """That a session began, got a new sid, or ended, and why; a read, or another write, is nothing to tell."""
    visit(app, *paths)
    assert told == expected


def test_sessions_that_others_end_are_told(app: Flask, client: Any, told: Told) -> None:
    """By a revoke, all at once; one by its sid; the oldest under SESSION_MAX_PER_OWNER."""
    app.config["SESSION_MAX_PER_OWNER"] = 2
    for _ in range(3):
        visit(app, "/login")
    with app.app_context():
        assert interface_of(app).revoke("ada") == 2
        assert interface_of(app).revoke("ada") == 0
        visit(app, "/write")
        assert interface_of(app).end(sid_of(client))
        assert not interface_of(app).end("0" * 48)
    ends = [each for each in told if each[0] == "ended"]
    assert ends == [("ended", "limit", 1), ("ended", "revoke", 2), ("ended", "end", 1)]


@pytest.mark.parametrize(("path", "reason"), [("/set", "type"), ("/large", "size")])
def test_what_cannot_be_stored_is_told(app: Flask, told: Told, path: str, reason: str) -> None:
    """What JSON cannot keep, and what is too large."""
    app.testing = False
    visit(app, path)
    assert told == [("refused", reason, 1)]


def meanwhile(app: Flask, client: Any, what: Callable[[str], Any]) -> None:
    """Let `what` happen to the record while a request changes its session."""

    def late() -> None:
        session["mine"] = 1
        what(f"SESSION:{sid_of(client)}")

    route(app, "/late", late)
    visit(app, "/write", "/late")


def test_a_merge_is_told(app: Flask, client: Any, told: Told) -> None:
    """Of two requests that write at once, the second one."""
    meanwhile(app, client, lambda key: client.set(key, b'{"other":1}', ex=60))


def test_a_change_of_an_ended_session_is_told(app: Flask, client: Any, told: Told) -> None:
    """It stays ended, and the change is dropped."""
    meanwhile(app, client, client.delete)
    assert told == [("created", "write", 1), ("refused", "ended", 1)]


def test_a_malformed_record_is_told(app: Flask, client: Any, told: Told) -> None:
    """Once for each request that meets it."""
    browser = visit(app, "/write")
    client.set(f"SESSION:{sid_of(client)}", b"[", ex=60)
    browser.get("/read")
    assert told == [("created", "write", 1), ("unreadable", "record", 1)]


@pytest.mark.parametrize(
    ("before", "reason"), [(False, "read"), (True, "write"), (True, "refresh"), (False, "view")], ids=str
)
def test_an_outage_is_told(app: Flask, told: Told, before: bool, reason: str) -> None:
    """What could not be done: read, written, refreshed, or shown in a page; once for each request."""
    server = fakeredis.FakeServer()
    app.session_interface = RedisSessionInterface(fakeredis.FakeRedis(server=server))
    app.config["SESSION_REFRESH_AFTER"] = 0 if reason == "refresh" else 300

    def late() -> str:
        if before:
            session.get("n")
        server.connected = False
        if reason == "view":
            interface_of(app).sessions_of("ada")
        if reason == "write":
            session["n"] = 2
        return str(session.get("n"))

    route(app, "/late", late)
    browser = visit(app, "/write")
    told.clear()
    browser.get("/late")
    assert told == [("unavailable", reason, 1)]


def test_a_listener_that_fails_decides_nothing(app: Flask, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """The session is stored, the cookie is set, the other listeners are told; the log has the error."""

    def fail(sender: Any, **said: Any) -> None:
        raise SessionUnavailable

    with signals.created.connected_to(fail, app):
        response = app.test_client().get("/write")
    assert response.status_code == 200
    assert set_cookie(response)
    assert told == [("created", "write", 1)]
    assert "a listener of session-created failed" in caplog.text


def test_a_signal_that_is_muted_tells_nobody(app: Flask, told: Told) -> None:
    """As with blinker's own way to send it."""
    with signals.created.muted():
        visit(app, "/write")
    assert told == []


def test_a_coroutine_function_is_no_listener(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would await it: it is a line in the log."""

    async def listen(sender: Any, **said: Any) -> None:
        pass

    with signals.created.connected_to(listen, app):
        visit(app, "/write")
    assert "a listener of session-created failed" in caplog.text


def test_a_login_that_replaces_what_another_request_wrote_is_no_merge(app: Flask, client: Any, told: Told) -> None:
    """After `clear()`, nothing of the other one is kept."""

    def late() -> None:
        session.clear()
        session["user_id"] = "bob"
        client.set(f"SESSION:{sid_of(client)}", b'{"other":1}', ex=60)

    route(app, "/late", late)
    visit(app, "/write", "/late")
    assert told == [("created", "write", 1), ("moved", "login", 1)]


def test_a_signal_says_in_its_doc_what_its_reasons_are(app: Flask, told: Told) -> None:
    """The words can be looked up."""
    visit(app, "/write", "/login", "/regenerate", "/leave", "/logout")
    assert len(told) > 3
    for name, reason, _ in told:
        assert reason in str(ALL[name].__doc__)


COST = """
import functools, time, timeit
from redis_store import signals
tell = functools.partial(signals.tell, signals.created, "write")
print(min(timeit.repeat(tell, timer=time.thread_time, number=1000, repeat=200)) / 1000)
"""


def test_without_a_listener_it_costs_next_to_nothing() -> None:
    """Under a microsecond, and no command: nothing is made to be told. Where no app of another test listens."""
    run = subprocess.run([sys.executable, "-c", COST], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(run.stdout) < 1e-6
