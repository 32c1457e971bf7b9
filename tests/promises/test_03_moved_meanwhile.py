"""Promise 3 where a sid is replaced while a logout happens: the logout counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, flash, session
from support.apps import SECRET_KEY, content, route, set_cookie, sid_of, sign, under_way
from support.servers import PATIENCE

from redis_store import RedisSessionInterface


@pytest.fixture
def app(app: Flask) -> Flask:
    route(app, "/start", lambda: session.update(cart=1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/logout", lambda: session.clear())
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    return app


def trail_of(sid: str) -> str:
    """The key that leads from a replaced sid to its successor."""
    return f"MOVED:{{SESSION:{sid}}}"


def clears_for_bob() -> None:
    session.clear()
    session["user_id"] = "bob"


def clears() -> None:
    session.clear()


def test_a_regeneration_ends_with_the_logout_that_came_first(app: Flask, client: Any) -> None:
    """The sid was to be replaced, but the session had ended: nothing is carried over to the new sid."""
    browser = app.test_client()
    browser.get("/login")
    with under_way(app, browser) as response:
        session.regenerate()  # type: ignore[attr-defined]
        session["more"] = 1
        browser.get("/logout")
    assert client.keys("SESSION:*") == []
    assert set_cookie(response) is None


def test_a_logout_under_way_ends_a_session_that_was_moved_meanwhile(app: Flask, client: Any) -> None:
    """The other order: the logout comes upon a sid that is gone, and follows the session to where it went, twice."""
    browser, other = app.test_client(), app.test_client()
    browser.get("/login")
    cookie = browser.get_cookie("session")
    assert cookie
    other.set_cookie("session", cookie.value)
    with under_way(app, browser) as response:
        session.clear()
        other.get("/regenerate")
        other.get("/regenerate")
    assert client.keys("SESSION:*") == []
    assert str(set_cookie(response)).startswith("session=;")


def test_a_logout_with_the_old_cookie_just_after_a_regeneration_counts(app: Flask, client: Any) -> None:
    """The browser had sent it before the new cookie arrived; also if it leaves a message, or signs somebody else in."""
    browser = app.test_client()
    for logs_out in (clears, clears_and_flashes, clears_for_bob):
        browser.get("/login")
        cookie = browser.get_cookie("session")
        assert cookie
        browser.get("/regenerate")
        browser.set_cookie("session", cookie.value)
        with under_way(app, browser) as response:
            logs_out()
        assert set_cookie(response)
        for key in client.keys("SESSION:*"):
            assert b"ada" not in client.get(key)


def test_a_login_by_clear_ends_what_the_last_owner_moved_meanwhile(app: Flask, client: Any) -> None:
    """On a shared computer nobody comes back as the one before."""
    browser = app.test_client()
    browser.get("/login")
    with under_way(app, browser):
        clears_for_bob()
        browser.get("/regenerate")
    assert content(client) == {"user_id": "bob"}


def test_a_logout_that_failed_halfway_can_be_repeated(make_server: Any) -> None:
    """The trail is still there after an outage between the trail and the session."""
    client = make_server().connect()
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=PATIENCE)
    app.session_interface = RedisSessionInterface(client)
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    route(app, "/logout", lambda: session.clear())
    browser = app.test_client()
    browser.get("/login")
    cookie = browser.get_cookie("session")
    assert cookie
    browser.get("/regenerate")
    for commands, status in (("-del", 503), ("+del", 200)):
        client.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all", commands])
        browser.set_cookie("session", cookie.value)
        assert browser.get("/logout").status_code == status
    assert client.keys("SESSION:*") == []


def test_two_regenerations_at_once_leave_one_session_which_a_logout_ends(app: Flask, client: Any) -> None:
    """The loser's sid is gone, and the trail leads to the winner's."""
    browser, late = app.test_client(), app.test_client()
    browser.get("/login")
    cookie = browser.get_cookie("session")
    assert cookie
    late.set_cookie("session", cookie.value)
    with under_way(app, browser) as response:
        session.regenerate()  # type: ignore[attr-defined]
        browser.get("/regenerate")
    assert set_cookie(response) is None
    assert sid_of(client)
    late.get("/logout")
    assert client.keys("SESSION:*") == []


def test_the_trail_leads_to_the_winner_whoever_left_it_first(app: Flask, client: Any) -> None:
    """Of two regenerations at once, one leaves its trail first and loses all the same."""
    browser, late = app.test_client(), app.test_client()
    browser.get("/login")
    cookie = browser.get_cookie("session")
    assert cookie
    late.set_cookie("session", cookie.value)
    trail = trail_of(sid_of(client))
    client.set(trail, "0" * 48, ex=50)
    browser.get("/regenerate")
    assert 590 < client.ttl(trail) <= 600
    late.get("/logout")
    assert client.keys("SESSION:*") == []


@pytest.mark.parametrize("user", ["ada", 0])
def test_a_login_leaves_no_trail(app: Flask, client: Any, user: Any) -> None:
    """Nor does one of the same user: whoever held the cookie before it cannot end what it began."""
    browser = app.test_client()
    browser.get("/start")
    for _ in range(2):
        with browser.session_transaction() as login:
            login.clear()
            login["user_id"] = user
            login.regenerate()  # type: ignore[attr-defined]
    assert client.keys("MOVED:*") == []


def test_a_write_with_the_old_cookie_just_after_a_regeneration_ends_nothing(app: Flask, client: Any) -> None:
    """It makes a session of its own; only a sign-out follows the trail."""
    browser = app.test_client()
    browser.get("/login")
    cookie = browser.get_cookie("session")
    assert cookie
    trail = trail_of(sid_of(client))
    browser.get("/regenerate")
    assert 590 < client.ttl(trail) <= 600
    moved = sid_of(client)
    browser.set_cookie("session", cookie.value)
    browser.get("/start")
    assert b'"user_id":"ada"' in client.get(f"SESSION:{moved}")


def pops() -> None:
    session.pop("user_id")


def clears_and_flashes() -> None:
    session.clear()
    flash("signed out")


@pytest.mark.parametrize("logs_out", [clears, pops, clears_and_flashes])
def test_every_way_to_log_out_ends_a_session_that_was_moved_meanwhile(
    app: Flask, client: Any, logs_out: Callable[[], None]
) -> None:
    """Also one that leaves something in the session: a cart, a message."""
    browser, other = app.test_client(), app.test_client()
    browser.get("/start")
    browser.get("/login")
    cookie = browser.get_cookie("session")
    assert cookie
    other.set_cookie("session", cookie.value)
    with under_way(app, browser) as response:
        logs_out()
        other.get("/regenerate")
    assert client.keys("SESSION:*") == []
    assert str(set_cookie(response)).startswith("session=;")


@pytest.mark.parametrize("logs_out", [clears, clears_and_flashes])
def test_nothing_that_the_last_owner_wrote_meanwhile_survives_a_logout(
    app: Flask, client: Any, logs_out: Callable[[], None]
) -> None:
    """clear() is meant to clear that, too."""
    browser = app.test_client()
    browser.get("/login")
    with under_way(app, browser):
        logs_out()
        browser.get("/start")
    for key in client.keys("SESSION:*"):
        assert b"cart" not in client.get(key)
        assert b"ada" not in client.get(key)


@pytest.mark.parametrize("trail", [b"", b"5", b"garbage", b"\xff", b"{}", b"1" * 48, b"0" * 48])
def test_a_planted_trail_leads_nowhere(app: Flask, client: Any, trail: bytes) -> None:
    """Not even one that leads in a circle."""
    client.set(trail_of("0" * 48), trail, ex=50)
    client.set(trail_of("1" * 48), "0" * 48, ex=50)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, "0" * 48))
    response = browser.get("/logout")
    assert (response.status_code, set_cookie(response)) == (200, None)


def test_a_logout_does_not_follow_a_login(app: Flask, client: Any) -> None:
    """Whoever still holds the cookie from before a login cannot end the session that began with it."""
    browser = app.test_client()
    browser.get("/start")
    cookie = browser.get_cookie("session")
    assert cookie
    browser.get("/login")
    browser.set_cookie("session", cookie.value)
    browser.get("/logout")
    assert content(client) == {"cart": 1, "user_id": "ada"}
