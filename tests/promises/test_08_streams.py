"""Promise 8 for what still uses a session when its response is decided: streams, threads, teardown functions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import fakeredis
import flask
import pytest
from flask import Flask, Response, copy_current_request_context, session, stream_with_context
from flask.typing import ResponseReturnValue
from support.apps import route
from support.clock import Clock
from support.streams import make_app, receive, stream, visitor

from redis_store import SessionUnavailable, StoreUnavailable


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


def careful() -> str:
    try:
        return str(session.get("n"))
    except KeyError:
        return "guest"


def in_except() -> str:
    try:
        raise KeyError
    except KeyError:
        return str(session.get("n", "guest"))


def in_template() -> str:
    return flask.render_template_string("{{ session.n or 'guest' }}")


def streamed_template() -> Response:
    return Response(flask.stream_template_string("hello {{ session.n or 'guest' }}"))


def as_decorator() -> Response:
    @stream_with_context
    def parts() -> Iterator[str]:
        yield "hello "
        yield str(session.get("n", "guest"))

    return Response(parts())  # type: ignore[call-arg]  # its annotation is that of the other use


def server_sent_events() -> Response:
    return Response(
        stream_with_context(f"data: {session.get('n', 'guest')}\n\n" for _ in range(3)), 200, None, "text/event-stream"
    )


def in_a_thread() -> Response:
    reader = copy_current_request_context(lambda: str(session.get("n", "guest")))

    def parts() -> Iterator[str]:
        with ThreadPoolExecutor(1) as pool:
            yield "hello "
            yield pool.submit(reader).result()

    return Response(parts())


def with_its_own_context() -> Response:
    def read() -> str:
        return str(session.get("n", "guest"))

    reader = copy_current_request_context(read)
    return Response(reader() for _ in range(2))


def after_it_was_told() -> Response:
    with suppress(StoreUnavailable):
        print(session["n"])
    return stream(lambda: "hello", lambda: session.get("n", "guest"))


def twice() -> Response:
    def careless() -> str:
        with suppress(StoreUnavailable):
            print(session["n"])
        return str(session.get("n", "guest"))

    return stream(lambda: "hello", careless)


STREAMS: dict[str, Callable[[], Response]] = {
    "stream_with_context": lambda: stream(lambda: "hello", lambda: session.get("n", "guest")),
    "at once": lambda: stream(lambda: session.get("n", "guest")),
    "in": lambda: stream(lambda: "hello", lambda: "you" if "n" in session else "guest"),
    "bool": lambda: stream(lambda: "hello", lambda: "you" if session else "guest"),
    "careful": lambda: stream(lambda: "hello", careful),
    "in an except block": lambda: stream(lambda: "hello", in_except),
    "in a template": lambda: stream(lambda: "hello", in_template),
    "permanent": lambda: stream(lambda: "hello", lambda: session.permanent and "guest"),
    "flashes": lambda: stream(lambda: "hello", lambda: flask.get_flashed_messages() or "guest"),
    "a write": lambda: stream(lambda: "hello", lambda: session.update(n=2) or "guest"),
    "stream_template": streamed_template,
    "a decorator": as_decorator,
    "server-sent events": server_sent_events,
    "a thread": in_a_thread,
    "a copied context": with_its_own_context,
    "after it was told": after_it_was_told,
    "twice": twice,
}


@pytest.mark.parametrize("teardown", [False, True], ids=["alone", "teardown"])
@pytest.mark.parametrize("kind", STREAMS)
def test_a_streamed_page_that_needs_its_session_breaks_off(
    app: Flask, server: fakeredis.FakeServer, kind: str, teardown: bool
) -> None:
    """Nobody gets a stranger's page. It is so even if a teardown function has looked at the session before."""
    seen = []
    if teardown:
        app.teardown_request(lambda error: seen.append(session.get("n")))
        app.teardown_appcontext(lambda error: seen.append(flask.has_request_context() and session.get("n")))
    route(app, "/", STREAMS[kind])
    browser = visitor(app)
    seen.clear()
    server.connected = False
    text, error = receive(browser)
    assert isinstance(error, SessionUnavailable)
    assert "guest" not in text
    assert set(seen) <= {None, False}


@pytest.mark.parametrize("kind", STREAMS)
def test_a_streamed_page_reads_its_session_while_it_is_sent(app: Flask, kind: str) -> None:
    """When Redis is there."""
    route(app, "/", STREAMS[kind])
    text, error = receive(visitor(app))
    assert (error, "guest" in text) == (None, kind in ("permanent", "flashes", "a write"))


@pytest.mark.parametrize("view", [lambda: "public", lambda: stream(lambda: "pub", lambda: "lic")])
def test_what_flask_calls_for_every_page_crashes_none(
    app: Flask, server: fakeredis.FakeServer, view: Callable[[], ResponseReturnValue]
) -> None:
    """Teardown functions and receivers of its signals see an empty session; a stream has two teardowns."""
    seen = []

    def look(*args: Any, **values: Any) -> None:
        seen.append(session.get("n"))

    app.teardown_request(look)
    route(app, "/", view)
    browser = visitor(app)
    server.connected = False
    with flask.request_finished.connected_to(look, app), flask.request_tearing_down.connected_to(look, app):
        text, error = receive(browser)
    assert (text.replace(" ", ""), error) == ("public", None)
    assert set(seen) == {None}


def test_a_thread_that_outlives_its_request_is_told_of_the_outage(app: Flask, server: fakeredis.FakeServer) -> None:
    """It may have a mail to send, or not. The answer of the request stands."""
    go, results = threading.Event(), []

    def view() -> str:
        def work() -> None:
            go.wait(60)
            results.append(session.get("n"))

        def run(work: Callable[[], None]) -> None:
            try:
                work()
            except Exception as error:
                results.append(type(error))

        thread = threading.Thread(target=run, args=(copy_current_request_context(work),))
        thread.start()
        threads.append(thread)
        return "queued"

    threads: list[threading.Thread] = []
    route(app, "/", view)
    browser = visitor(app)
    server.connected = False
    assert browser.get("/").text == "queued"
    go.set()
    threads[0].join()
    assert results == [SessionUnavailable]


def test_a_request_whose_host_is_refused_needs_no_redis(app: Flask, server: fakeredis.FakeServer) -> None:
    """Flask opens the session of one, too, and shows a 400."""
    app.config["TRUSTED_HOSTS"] = ["localhost"]
    browser = visitor(app)
    cookie = browser.get_cookie("session")
    server.connected = False
    headers = {"Host": "elsewhere.example", "Cookie": f"session={cookie.value}"}
    assert app.test_client().get("/start", headers=headers).status_code == 400
