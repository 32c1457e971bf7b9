"""A small Flask app: its views, and what its browser and its Redis hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, Response
from flask.globals import request_ctx
from flask.testing import FlaskClient

from _redis_store.cookie import make
from _redis_store.record import load_record
from _redis_store.settings import read
from redis_store import RedisSessionInterface

SECRET_KEY = "only-for-tests-" + "0123456789abcdef" * 2


def route(app: Flask, path: str, view: Callable[[], Any]) -> None:
    """A view in one line: what it returns, or "ok"."""
    app.add_url_rule(path, path, lambda: view() or "ok")


def set_cookie(response: Any) -> str | None:
    """The session cookie that a response sets or deletes, as the browser sees it; None: it is left alone."""
    headers = [header for header in response.headers.getlist("Set-Cookie") if header.startswith("session=")]
    assert len(headers) < 2
    return headers[0] if headers else None


def sid_of(client: Any) -> str:
    """The sid of the one session that there is."""
    (key,) = client.keys("SESSION:*")
    return str(key.decode().removeprefix("SESSION:"))


def content(client: Any) -> dict[str, Any]:
    """What the app keeps in the one session that there is."""
    session = load_record(client.get(f"SESSION:{sid_of(client)}"))
    assert session
    return session


def interface_of(app: Flask) -> RedisSessionInterface:
    assert isinstance(app.session_interface, RedisSessionInterface)
    return app.session_interface


def sign(app: Flask, sid: str, *, permanent: bool = True) -> str:
    """A good cookie for any sid."""
    settings = read(app, interface_of(app).clock)
    assert settings
    return make(settings, sid, permanent)


@contextmanager
def under_way(app: Flask, browser: FlaskClient) -> Iterator[Response]:
    """A request of this browser: opened before the block, saved after it. Yields its response."""
    cookie = browser.get_cookie("session")
    with app.test_request_context(headers={"Cookie": f"session={cookie.value}"} if cookie else {}):
        response = app.response_class()
        yield response
        app.session_interface.save_session(app, request_ctx.session, response)
