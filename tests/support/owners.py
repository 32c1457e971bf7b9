"""Users who are signed in, and what Redis says of them."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from flask import Flask, request, session
from flask.testing import FlaskClient

from redis_store import SessionInfo
from support.apps import interface_of, route

IDLE = 31 * 24 * 3600  # Flask's default, in seconds
REFRESH = 300  # SESSION_REFRESH_AFTER, ours


#: Whether commands that must be in order go out in one round trip, or one after the other, as on a Cluster.
FORMS = [pytest.param(False, id="pipelines"), pytest.param(True, id="one by one")]


def add_views(app: Flask) -> None:
    route(app, "/login", lambda: session.update(user_id=request.args.get("user", "ada")))
    route(app, "/logout", lambda: session.clear())
    route(app, "/pop", lambda: session.pop("user_id"))
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    route(app, "/write", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/user", lambda: str(session.get("user_id")))


def sessions_of(app: Flask, owner: object = "ada") -> list[SessionInfo]:
    with app.app_context():
        return interface_of(app).sessions_of(owner)


def revoke(app: Flask, owner: object = "ada", keep: str | None = None) -> int:
    with app.app_context():
        return interface_of(app).revoke(owner, keep)


def signed_in(app: Flask, user: str = "ada") -> FlaskClient:
    browser = app.test_client()
    browser.get(f"/login?user={user}")
    return browser


def cookie_of(browser: FlaskClient) -> str:
    cookie = browser.get_cookie("session")
    assert cookie
    return cookie.value


def sid_in(browser: FlaskClient) -> str:
    return cookie_of(browser).partition(".")[0]


def listed(client: Any, owner: str = "ada") -> set[str]:
    """The sids in the owner's list."""
    return {sid.decode() for sid in client.zrange(f"OWNER:SESSION:{owner}", 0, -1)}


def live(client: Any) -> set[str]:
    return {key.decode().removeprefix("SESSION:") for key in client.keys("SESSION:*")}


def owned(client: Any) -> set[str]:
    """The sessions that live, and are not anonymous."""
    return {sid for sid in live(client) if b"user_id" in client.get(f"SESSION:{sid}")}


class Counts:
    """A client that counts how often it is used, and whose connection may break with the first pipeline."""

    def __init__(self, client: Any, *, breaks: bool = False) -> None:
        self._client, self._breaks, self.trips = client, breaks, 0

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if name not in ("execute_command", "execute_all", "pipeline"):
            return attribute

        def send(*args: Any, **options: Any) -> Any:
            self.trips += 1
            if self._breaks and name != "execute_command":
                self._breaks = False
                raise redis.ConnectionError("reset")
            return attribute(*args, **options)

        return send
