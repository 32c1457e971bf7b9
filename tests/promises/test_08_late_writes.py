"""Promise 8 for a write that comes when the response was sent: it is told, or it is saved."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import fakeredis
import flask
import pytest
from flask import Flask, Response, copy_current_request_context, session
from markupsafe import Markup
from support.apps import route, sid_of
from support.clock import Clock
from support.streams import make_app, receive, stream, visitor

from _redis_store.record import load_record


@pytest.fixture
def server() -> fakeredis.FakeServer:
    """Its `connected` says whether there is a Redis."""
    return fakeredis.FakeServer()


@pytest.fixture
def client(server: fakeredis.FakeServer) -> Any:
    return fakeredis.FakeRedis(server=server)


@pytest.fixture
def app(client: Any, clock: Clock) -> Flask:
    return make_app(client, clock)


# A write after the response was sent ------------------------------------------------------------------------------

WRITES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "a key": (lambda: session.update(n=2), ["n"]),
    "two": (lambda: session.update(n=2, secret="value"), ["n", "secret"]),
    "a key that goes": (lambda: session.pop("n"), ["n"]),
    "all of them": (lambda: session.clear(), ["cart", "n"]),
    "inside a list": (lambda: session["cart"].append(2), ["cart"]),
    "a login": (lambda: session.update(user_id="ada"), ["user_id"]),
    "a message": (lambda: flask.flash("late"), ["_flashes"]),
    "its permanence": (lambda: setattr(session, "permanent", True), ["_permanent"]),
    "what JSON cannot keep": (lambda: session.update(n={1}), ["n"]),
    "the same again": (lambda: [session.update(n=number) for number in range(2, 90)], ["n"]),
    "what was there": (lambda: session.update(n=1, cart=[1]), []),
    "reading": (lambda: session["cart"], []),
    "nothing": (lambda: None, []),
}


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        line.replace("a session was changed after its response was sent, and that is lost: ", "")
        for line in caplog.messages
    ]


@pytest.mark.parametrize("before", [False, True], ids=["first use", "used before"])
@pytest.mark.parametrize("kind", WRITES)
def test_a_write_from_a_stream_is_one_line_in_the_log(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture, kind: str, before: bool
) -> None:
    """With the keys, and no values: nothing can be stored any more."""
    write, names = WRITES[kind]
    route(app, "/", lambda: stream(write) if not before or session["n"] else "")
    browser = visitor(app)
    receive(browser)
    assert messages(caplog) == ([str(names)] if names else [])
    assert load_record(client.get(f"SESSION:{sid_of(client)}")) == {"n": 1, "cart": [1]}


@pytest.mark.parametrize("kind", [kind for kind in WRITES if kind != "inside a list"])
@pytest.mark.parametrize("where", ["thread", "teardown", "context kept by a test"])
def test_a_late_write_from_elsewhere_is_one_line_in_the_log(
    app: Flask, caplog: pytest.LogCaptureFixture, kind: str, where: str
) -> None:
    """A thread that outlives its request, a teardown function, a test after the request."""
    write, names = WRITES[kind]
    threads: list[threading.Thread] = []
    go = threading.Event()

    def view() -> None:
        def work() -> None:
            go.wait(60)
            write()

        threads.append(threading.Thread(target=copy_current_request_context(work)))
        threads[0].start()

    browser = visitor(app)
    if where == "thread":
        route(app, "/", view)
        browser.get("/")
        go.set()
        threads[0].join()
    elif where == "teardown":
        app.teardown_request(lambda error: write() and None)
        browser.get("/missing")
    else:
        with browser:
            browser.get("/missing")
            write()
    assert messages(caplog) == ([str(names)] if names else [])


def test_a_visitor_without_a_session_gets_none_from_a_stream(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor a line for what says nothing, which many apps set for every visitor."""
    app.before_request(lambda: setattr(session, "permanent", True))
    route(app, "/", lambda: stream(lambda: session.get("n")))
    route(app, "/write", lambda: stream(lambda: session.update(n=1)))
    browser = app.test_client()
    receive(browser)
    assert caplog.messages == []
    receive(browser, "/write")
    assert "'n'" in caplog.text
    assert client.keys() == []


def test_a_page_for_a_500_that_writes_is_not_late(app: Flask, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Flask saves a second time: when the first time failed, and when a receiver of its signal did."""

    def page(error: Exception) -> tuple[str, int]:
        session.clear()
        session["seen"] = 1
        return "sorry", 500

    def fail(*args: Any, **values: Any) -> None:
        raise LookupError

    app.register_error_handler(500, page)
    app.after_request(lambda response: session.update(after=1) or response)
    route(app, "/bad", lambda: session.update(n={1}))
    browser = visitor(app)
    assert browser.get("/bad").text == "sorry"
    assert load_record(client.get(f"SESSION:{sid_of(client)}")) == {"seen": 1, "after": 1}
    with flask.request_finished.connected_to(fail, app):
        assert browser.get("/start").text == "sorry"
    assert load_record(client.get(f"SESSION:{sid_of(client)}")) == {"seen": 1, "after": 1}
    assert "after its response" not in caplog.text


def test_what_was_dropped_is_told_once(app: Flask, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A session that ended while its page was made has its line in the log already."""

    def view() -> Response:
        session["n"] = 2
        client.delete(*client.keys())
        return stream(lambda: session["n"])

    route(app, "/", view)
    browser = visitor(app)
    receive(browser)
    [line] = caplog.messages
    assert "are dropped: ['n']" in line


@pytest.mark.parametrize(
    "value", [(1, 2), b"x", {"a": (1,)}, True, 1.0, Markup("x"), datetime.now(UTC), Counter("aa"), 10**30]
)
def test_what_is_stored_in_other_words_is_not_lost(app: Flask, caplog: pytest.LogCaptureFixture, value: Any) -> None:
    """A stream that only reads says nothing, whatever was written before it."""

    def view() -> Response:
        session["v"] = value
        return stream(lambda: session["v"])

    route(app, "/", view)
    receive(visitor(app))
    assert caplog.messages == []


# A socket's events ------------------------------------------------------------------------------------------------


def set_number(number: int) -> None:
    session["n"] = number


def add_and_say_so() -> None:
    session["cart"].append(2)
    session.modified = True


class Socket:
    """Handles events as Flask-SocketIO does (5.7, ``manage_session=False``): each in a context of the one environ."""

    def __init__(self, app: Flask, browser: Any) -> None:
        cookie = browser.get_cookie("session")
        headers = {"Cookie": f"session={cookie.value}"} if cookie else {}
        with app.test_request_context("/socket.io", headers=headers):
            self.environ = flask.request.environ.copy()
        self.app = app

    def handle(self, handler: Callable[[], Any]) -> Any:
        with self.app.request_context(self.environ):
            held = session._get_current_object()  # type: ignore[attr-defined]
            result = handler()
            if held.modified:
                self.app.session_interface.save_session(self.app, held, self.app.response_class())
            return result


def test_a_socket_shares_the_session_of_its_page(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """Both ways, event by event."""
    browser = visitor(app)
    socket = Socket(app, browser)
    for number in range(3):
        socket.handle(partial(set_number, number))
        with browser.session_transaction() as held:
            assert held["n"] == number
            held["page"] = number
        assert socket.handle(lambda: session["page"]) == number
    assert caplog.messages == []


def test_a_nested_change_in_an_event_is_saved_when_it_is_said(app: Flask) -> None:
    """Flask-SocketIO saves what is `modified`, and nothing else."""
    browser = visitor(app)
    socket = Socket(app, browser)
    socket.handle(lambda: session["cart"].append(2))
    assert socket.handle(lambda: list(session["cart"])) == [1]
    socket.handle(add_and_say_so)
    assert socket.handle(lambda: list(session["cart"])) == [1, 2]


@pytest.mark.parametrize("had", [False, True])
def test_a_socket_that_outlives_its_session_begins_one_at_most(app: Flask, client: Any, had: bool) -> None:
    """Not one with each write: nobody takes the cookies of its events."""
    browser = visitor(app) if had else app.test_client()
    socket = Socket(app, browser)
    if had:
        with browser.session_transaction() as held:
            held.clear()
    for number in range(5):
        socket.handle(partial(set_number, number))
        assert socket.handle(lambda: dict(session)) == {"n": number}
    assert len(client.keys("SESSION:*")) == 1
    if had:
        assert browser.get_cookie("session") is None


def test_a_socket_goes_on_with_the_new_sid_of_its_session(app: Flask, client: Any) -> None:
    """After a sign-in in an event; when it signed out, nothing is left."""
    socket = Socket(app, visitor(app))
    socket.handle(lambda: session.update(user_id="ada"))
    assert socket.handle(lambda: session["user_id"]) == "ada"
    socket.handle(lambda: session.regenerate())  # type: ignore[attr-defined]
    socket.handle(lambda: session.update(n=5))
    assert socket.handle(lambda: (session["user_id"], session["n"])) == ("ada", 5)
    socket.handle(lambda: session.clear())
    assert socket.handle(lambda: dict(session)) == {}
    assert client.keys("SESSION:*") == []


def test_no_header_of_a_browser_names_the_sid(app: Flask, client: Any) -> None:
    """What a socket remembers is in its environ, where headers have other names."""
    visitor(app)
    route(app, "/", lambda: str(session.get("n")))
    names = ("redis_store.sid", "redis-store.sid", "Redis-Store-Sid")
    assert app.test_client().get("/", headers=dict.fromkeys(names, sid_of(client))).text == "None"


def test_a_write_of_an_event_that_fails_is_in_the_log(
    app: Flask, server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Its response, a 503, reaches nobody."""
    socket = Socket(app, visitor(app))

    def handler() -> None:
        session["n"] = 2
        server.connected = False

    socket.handle(handler)
    assert "EVAL failed with ConnectionError" in caplog.text
