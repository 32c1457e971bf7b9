"""Pages that are sent in parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, session, stream_with_context

from redis_store import RedisSessionInterface
from support.apps import SECRET_KEY, route
from support.clock import Clock
from support.servers import PATIENCE


def make_app(client: Any, clock: Clock) -> Flask:
    """An app whose Redis may be away."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=PATIENCE)
    app.session_interface = RedisSessionInterface(client, clock=clock)
    route(app, "/start", lambda: session.update(n=1, cart=[1]))
    return app


def visitor(app: Flask) -> Any:
    """A browser with a session."""
    browser = app.test_client()
    with browser.session_transaction() as held:
        held.update(n=1, cart=[1])
    return browser


def stream(*parts: Callable[[], Any]) -> Response:
    """A page that is made part by part, each when the one before has been sent."""
    return Response(stream_with_context(f"{part()} " for part in parts))


def receive(browser: Any, path: str = "/") -> tuple[str, Exception | None]:
    """What a browser gets of a page, and what breaks it off."""
    parts = []
    try:
        response = browser.get(path, buffered=False)
        assert response.status_code == 200
        for part in response.iter_encoded():
            parts.append(part.decode())
        response.close()
    except Exception as error:
        return "".join(parts), error
    return "".join(parts), None
