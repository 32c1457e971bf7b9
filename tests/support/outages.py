"""A Redis that goes away, in three ways, and pages that need it."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
from flask import Flask, redirect, session
from werkzeug.test import TestResponse

from redis_store import RedisSessionInterface
from support.apps import SECRET_KEY, route, set_cookie
from support.clock import Clock
from support.demo import hurry
from support.servers import PATIENCE, RedisServer
from support.stopwatch import takes


class Outage:
    """A Redis that can be taken away and given back."""

    def __init__(self, client: Any, kind: str, server: Any) -> None:
        self.client, self.kind, self.server = client, kind, server
        self.apps: list[Flask] = []  #: which are patient, but while it is away

    def begin(self) -> None:
        for app in self.apps:
            hurry(app)
        if self.kind == "fakeredis":
            self.server.connected = False
        elif self.kind == "stopped":
            self.server.stop()
        else:
            self.server.freeze()

    def end(self) -> None:
        if self.kind == "fakeredis":
            self.server.connected = True
        elif self.kind == "stopped":
            self.server.start()
        else:
            self.server.thaw()
        for app in self.apps:
            app.config["SESSION_MAX_WAIT"] = PATIENCE


def make_outage(request: pytest.FixtureRequest) -> Outage:
    """Return a Redis of the kind that a fixture's parameter names."""
    if request.param == "fakeredis":
        fake = fakeredis.FakeServer()
        return Outage(fakeredis.FakeRedis(server=fake), request.param, fake)
    server: RedisServer = request.getfixturevalue("make_server")()
    return Outage(server.connect(), request.param, server)


def enter() -> Any:
    session["user_id"] = "ada"
    return redirect("/")


def leave() -> Any:
    session.clear()
    return redirect("/")


def make_app(outage: Outage, clock: Clock, *, testing: bool) -> Flask:
    """Return an app with the two lines, and pages that need the session or do not."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=testing, SESSION_MAX_WAIT=PATIENCE)
    outage.apps.append(app)
    app.session_interface = RedisSessionInterface(outage.client, clock=clock)
    route(app, "/public", lambda: "public")
    route(app, "/read", lambda: str(session.get("n")))
    route(app, "/start", lambda: session.update(n=1))
    route(app, "/login", enter)
    route(app, "/logout", leave)
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    return app


def cookie_of(app: Flask) -> str:
    browser = app.test_client()
    browser.get("/start")
    cookie = browser.get_cookie("session")
    assert cookie
    return cookie.value


def get(app: Flask, path: str, cookie: str | None) -> TestResponse:
    """One request, which must be answered within a second."""
    browser = app.test_client()
    if cookie:
        browser.set_cookie("session", cookie)
    with takes(1):
        return browser.get(path)


def assert_unavailable(response: TestResponse) -> None:
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert set_cookie(response) is None
    assert "Location" not in response.headers
