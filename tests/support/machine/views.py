"""The app: what its views do, to a session or to the plain dict of the model."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from flask import Flask, request, session

from redis_store import RedisSessionInterface
from support.apps import SECRET_KEY

# Seconds. The clock is moved by MOVE, so an age is never near a limit, however slow the machine is that runs this.
MOVE, REFRESH_AFTER, LIFETIME, ABSOLUTE_LIFETIME = 1000, 500, 2500, 5500
SLOW = 200  # what a whole run may take: no TTL is off by more
BUSY = 10  # seconds to wait for an answer: the machine that runs this may be busy

View = Callable[[Any, str, str], object]


def login(session: MutableMapping[str, str], owner: str, value: str) -> None:
    session.update(user_id=owner, place=value)


def login_afresh(session: Any, owner: str, value: str) -> None:
    session.clear()
    login(session, owner, value)
    session.regenerate()


VIEWS: dict[str, View] = {
    "read": lambda session, _, __: None,
    "write": lambda session, key, value: session.update({key: value}),
    "drop": lambda session, key, _: session.pop(key, None),
    "login": login,
    "login_afresh": login_afresh,
    "logout": lambda session, _, __: session.clear(),
    "sign_out": lambda session, _, __: session.pop("user_id", None),  # and keep the rest
    "replace_sid": lambda session, _, __: session.regenerate(),
}


def make_app(interface: RedisSessionInterface) -> Flask:
    """The two lines, and a page for each view; a gate in the request's environment holds it where it says."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, PERMANENT_SESSION_LIFETIME=LIFETIME, SESSION_REFRESH_AFTER=REFRESH_AFTER)
    app.config["SESSION_MAX_WAIT"] = BUSY  # a machine that is busy is no outage
    app.session_interface = interface

    def wait(place: str) -> None:
        if request.environ.get("hold") == place:
            request.environ["gate"].wait()

    @app.get("/public")
    def public() -> str:
        wait("before")
        return "public"

    @app.get("/<view>/<name>/<value>")
    def page(view: str, name: str, value: str) -> dict[str, str]:
        wait("before")
        seen = dict(session)
        wait("after")
        VIEWS[view](session, name, value)
        return seen

    return app
