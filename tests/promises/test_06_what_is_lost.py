"""Promise 6 where something is lost or broken: a connection, Redis itself, its clock, or the trail to a session."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from flask import Flask
from support.apps import SECRET_KEY, interface_of, route, set_cookie
from support.clock import Clock
from support.owners import IDLE, REFRESH, Counts, add_views, live, revoke, sessions_of, sid_in, signed_in
from support.servers import RedisServer

from _redis_store.sender import MAX_TIMEOUTS
from redis_store import RedisSessionInterface


@pytest.fixture
def app(app: Flask) -> Flask:
    add_views(app)
    return app


def test_a_revoke_whose_connection_breaks_is_sent_again(app: Flask, client: Any) -> None:
    """With all that it is to end."""
    signed_in(app)
    app.session_interface = RedisSessionInterface(Counts(client, breaks=True))
    assert revoke(app) == 1
    assert client.keys() == []


def test_a_view_that_cannot_sign_out_everywhere_is_a_503(app: Flask, client: Any) -> None:
    """Not a 500, though nobody registered a handler."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    route(app, "/list", lambda: str(interface_of(app).sessions_of("ada")))
    route(app, "/revoke", lambda: str(interface_of(app).revoke("ada")))
    route(app, "/end", lambda: str(interface_of(app).end("0" * 48)))
    for path in ("/list", "/revoke", "/end"):
        assert app.test_client().get(path).status_code == 200
    breaker = interface_of(app).store.sender.breaker
    breaker.timeouts, breaker.next_try = MAX_TIMEOUTS, math.inf  # Redis is away
    for path in ("/list", "/revoke", "/end"):
        response = app.test_client().get(path)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_sessions_are_listed_when_redis_only_reads(server: RedisServer) -> None:
    """That the dead cannot be taken off the list meanwhile harms nobody."""
    client = server.connect()
    app = Flask("app")
    app.secret_key = SECRET_KEY
    app.session_interface = RedisSessionInterface(client)
    add_views(app)
    signed_in(app)
    client.zadd("OWNER:SESSION:ada", {"0" * 48: 5})
    client.config_set("min-replicas-to-write", 1)
    try:
        assert len(sessions_of(app)) == 1
    finally:
        client.config_set("min-replicas-to-write", 0)


def test_redis_may_have_another_clock(app: Flask, client: Any, clock: Clock) -> None:
    """Or the host does: a list lives as long as its sessions, counted from now."""
    clock.offset = -5 * IDLE
    signed_in(app)
    assert IDLE + REFRESH <= client.ttl("OWNER:SESSION:ada") <= IDLE + REFRESH + 60


def test_a_trail_may_be_long(app: Flask, client: Any) -> None:
    """A thousand new sids in ten minutes, and then a logout with the first one."""
    browser = signed_in(app)
    sids = [sid_in(browser), *(f"{number:048x}" for number in range(1500))]
    for old, new in itertools.pairwise(sids):
        client.set(f"MOVED:{{SESSION:{old}}}", new, ex=50)
    client.rename(f"SESSION:{sids[0]}", f"SESSION:{sids[-1]}")
    app.config["SESSION_MAX_WAIT"] = 60  # not about time
    browser.get("/logout")
    assert live(client) == set()


def test_a_trail_in_a_circle_ends(app: Flask, client: Any) -> None:
    """Planted, for ours lead on: each place is looked at once."""
    browser = signed_in(app)
    first, second, third = sid_in(browser), "1" * 48, "2" * 48
    for old, new in ((first, second), (second, third), (third, second)):
        client.set(f"MOVED:{{SESSION:{old}}}", new, ex=50)
    client.delete(f"SESSION:{first}")
    response = browser.get("/logout")
    assert (response.status_code, set_cookie(response)) == (200, None)
