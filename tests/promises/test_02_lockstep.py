"""Promise 2: the key's EX and the cookie's Max-Age are set together, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, Response, get_flashed_messages, session
from support.apps import route, set_cookie, sid_of, sign, under_way
from support.clock import Clock
from support.project import recipe

LIFETIME = 1000
BEGAN = 0.0  # when the test did


@pytest.fixture
def app(app: Flask) -> Flask:
    app.config["PERMANENT_SESSION_LIFETIME"] = LIFETIME
    route(app, "/write", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/read", lambda: str(session.get("n")))
    route(app, "/no", lambda: "public")
    route(app, "/same", lambda: session.update(n=session["n"]))
    route(app, "/browser", lambda: session.update(n=1, _permanent=False))
    route(app, "/permanent", lambda: session.update(n=1, _permanent=True))
    return app


def age(client: Any, seconds: int) -> None:
    """Let the session's key have been set that long ago."""
    assert client.expire(f"SESSION:{sid_of(client)}", LIFETIME - seconds)


@pytest.fixture(autouse=True)
def _began() -> None:
    """Note when a test begins."""
    global BEGAN
    BEGAN = time.monotonic()


def ttl(client: Any) -> Any:
    """What EX was set to during this test, in whole seconds; but for the time that the test has taken."""
    seconds = -int(-client.pttl(f"SESSION:{sid_of(client)}") // 1000)
    return pytest.approx(seconds, abs=time.monotonic() - BEGAN)


def test_a_write_sets_both(app: Flask, client: Any) -> None:
    """After a write EX is Max-Age."""
    browser = app.test_client()
    browser.get("/write")
    age(client, 500)
    assert f"Max-Age={LIFETIME};" in str(set_cookie(browser.get("/write")))
    assert ttl(client) == LIFETIME


@pytest.mark.parametrize("path", ["/same", "/permanent"])
def test_setting_what_already_holds_sets_neither(app: Flask, client: Any, path: str) -> None:
    """It is no change: many apps do so on every request."""
    browser = app.test_client()
    browser.get("/permanent")
    age(client, 500)
    assert set_cookie(browser.get(path)) is None
    assert ttl(client) == LIFETIME - 500


@pytest.mark.parametrize("value", [True, False])
def test_setting_permanent_alone_begins_no_session(app: Flask, client: Any, value: bool) -> None:
    """What says nothing but `permanent` counts as empty: also when everything else is taken out of a session."""
    route(app, "/", lambda: setattr(session, "permanent", value))
    route(app, "/pop", lambda: str(session.pop("n")))
    browser = app.test_client()
    assert set_cookie(browser.get("/")) is None
    browser.get("/write")
    browser.get("/")
    assert str(set_cookie(browser.get("/pop"))).startswith("session=;")
    assert client.keys() == []


SAYINGS: list[Callable[[], Any]] = [
    lambda: setattr(session, "permanent", True),
    lambda: setattr(session, "permanent", False),
    lambda: session.update(_permanent=True),
    lambda: session.setdefault("_permanent", True),
    lambda: (session.pop("no", None), setattr(session, "permanent", True)),  # type: ignore[func-returns-value]
    lambda: session.clear() if not session else setattr(session, "permanent", True),
    lambda: (session.setdefault("x", 1), session.pop("x"), setattr(session, "permanent", True)),  # type: ignore[func-returns-value]
    lambda: (get_flashed_messages(), setattr(session, "permanent", True)),  # type: ignore[func-returns-value]
    lambda: (setattr(session, "permanent", True), setattr(session, "modified", True)),  # type: ignore[func-returns-value]
    lambda: (setattr(session, "permanent", True), session.regenerate()),  # type: ignore[attr-defined, func-returns-value]
]


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("path", ["/no", "/missing", "/static/x"])
@pytest.mark.parametrize("say", SAYINGS)
def test_a_hundred_visits_of_an_app_that_says_so_each_time_leave_nothing(
    app: Flask, client: Any, say: Callable[[], Any], path: str, default: bool
) -> None:
    """An idiom of many apps, in before_request; a health check keeps no cookie."""
    app.config["SESSION_PERMANENT"] = default
    app.before_request(lambda: say() and None)
    for _ in range(10):
        assert set_cookie(app.test_client().get(path)) is None
    assert client.keys() == []


@pytest.mark.parametrize("say", SAYINGS[:8])
def test_who_has_a_session_pays_for_no_refresh_before_it_is_due(
    app: Flask, client: Any, clock: Clock, say: Callable[[], Any]
) -> None:
    """In such an app: the first time may be a write, all others are a GET, until the cookie is old enough."""
    app.before_request(lambda: say() and None)
    browser = app.test_client()
    for path in ("/write", "/no"):
        browser.get(path)
    age(client, 500)
    for path in ("/no", "/read", "/same", "/missing"):
        assert set_cookie(browser.get(path)) is None
    assert ttl(client) == LIFETIME - 500


@pytest.mark.parametrize("path", ["/read", "/no"])
def test_a_refresh_that_is_due_sets_both(app: Flask, client: Any, clock: Clock, path: str) -> None:
    """When the cookie is older than SESSION_REFRESH_AFTER, also on a request that never touches the session."""
    browser = app.test_client()
    browser.get("/write")
    age(client, 301)
    clock.offset = 301
    assert f"Max-Age={LIFETIME};" in str(set_cookie(browser.get(path)))
    assert ttl(client) == LIFETIME
    assert set_cookie(browser.get(path)) is None, "the new cookie is young"


@pytest.mark.parametrize("path", ["/read", "/no"])
def test_a_refresh_that_is_not_due_sets_neither(app: Flask, client: Any, clock: Clock, path: str) -> None:
    """A cookie of up to SESSION_REFRESH_AFTER seconds is left alone, and so is the TTL."""
    browser = app.test_client()
    browser.get("/write")
    age(client, 500)
    clock.offset = 300
    assert set_cookie(browser.get(path)) is None
    assert ttl(client) == LIFETIME - 500


@pytest.mark.parametrize(("lifetime", "half"), [(300, 150), (31, 15)])
def test_a_lifetime_as_short_as_refresh_after_is_refreshed_at_half_time(
    app: Flask, clock: Clock, lifetime: int, half: int
) -> None:
    """Else no cookie would ever be old enough before it is too old."""
    app.config["PERMANENT_SESSION_LIFETIME"] = lifetime
    browser = app.test_client()
    browser.get("/write")
    clock.offset = half
    assert set_cookie(browser.get("/no")) is None
    clock.offset = half + 1
    assert set_cookie(browser.get("/no"))


def test_modified_set_by_hand_is_a_refresh(app: Flask, client: Any) -> None:
    """What an app does in before_request to keep a session alive by each request, read or not."""
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    app.before_request(lambda: setattr(session, "modified", True))
    browser = app.test_client()
    browser.get("/write")
    age(client, 500)
    assert f"Max-Age={LIFETIME};" in str(set_cookie(browser.get("/no")))
    assert ttl(client) == LIFETIME


@pytest.mark.parametrize("offset", [0, -30])
def test_refresh_after_0_means_every_request(app: Flask, client: Any, clock: Clock, offset: int) -> None:
    """Flask's own meaning of SESSION_REFRESH_EACH_REQUEST, whatever the clocks say."""
    app.config["SESSION_REFRESH_AFTER"] = 0
    browser = app.test_client()
    browser.get("/write")
    age(client, 500)
    clock.offset = offset
    assert set_cookie(browser.get("/no"))
    assert ttl(client) == LIFETIME


@pytest.mark.parametrize("path", ["/read", "/no"])
def test_without_refresh_the_lifetime_counts_from_the_last_write(
    app: Flask, client: Any, clock: Clock, path: str
) -> None:
    """SESSION_REFRESH_EACH_REQUEST=False is koa's way."""
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    browser = app.test_client()
    browser.get("/write")
    age(client, 500)
    clock.offset = 500
    assert set_cookie(browser.get(path)) is None
    assert ttl(client) == LIFETIME - 500
    assert set_cookie(browser.get("/write"))
    assert ttl(client) == LIFETIME


@pytest.mark.parametrize("moves", [False, True])
def test_a_write_that_came_second_sets_both_too(app: Flask, client: Any, moves: bool) -> None:
    """What is merged, and what moves to another sid, gets the whole lifetime."""
    browser = app.test_client()
    browser.get("/write")
    with under_way(app, browser) as response:
        session["late"] = 1
        if moves:
            session.regenerate()  # type: ignore[attr-defined]
        browser.get("/write")
        age(client, 500)
    assert f"Max-Age={LIFETIME};" in str(set_cookie(response))
    assert ttl(client) == LIFETIME


def test_a_session_that_is_not_permanent_has_a_browser_cookie_and_the_same_ex(app: Flask, client: Any) -> None:
    """No Max-Age and no Expires in the cookie, but a TTL in Redis all the same."""
    cookie = str(set_cookie(app.test_client().get("/browser")))
    assert "Max-Age" not in cookie
    assert "Expires" not in cookie
    assert ttl(client) == LIFETIME


@pytest.mark.parametrize("path", ["/read", "/no"])
def test_a_session_that_is_not_permanent_is_not_refreshed(app: Flask, client: Any, clock: Clock, path: str) -> None:
    """As in Flask: it ends PERMANENT_SESSION_LIFETIME after its last write."""
    browser = app.test_client()
    browser.get("/browser")
    clock.offset = 500
    assert set_cookie(browser.get(path)) is None


def test_a_raw_cookie_of_a_session_that_is_not_permanent_is_not_refreshed(app: Flask, client: Any) -> None:
    """What the cookie does not tell is read from the record."""
    app.config["SESSION_USE_SIGNER"] = False
    browser = app.test_client()
    browser.get("/browser")
    age(client, 500)
    for path in ("/read", "/no"):
        assert set_cookie(browser.get(path)) is None
    assert ttl(client) == LIFETIME - 500


def test_a_cookie_that_ends_with_the_browser_may_have_a_sliding_limit(app: Flask, client: Any, clock: Clock) -> None:
    """With the function that the documentation shows: use keeps the session alive, and no visitor gets one by it."""
    app.config["SESSION_PERMANENT"] = False
    keep_alive: dict[str, Any] = {"app": app, "session": session}
    exec(recipe("def keep_alive"), keep_alive)
    browser = app.test_client()
    assert set_cookie(browser.get("/read")) is None
    browser.get("/write")
    for visit in range(1, 5):
        clock.offset = visit * (LIFETIME - 10)
        age(client, LIFETIME - 10)
        cookie = str(set_cookie(browser.get("/no")))
        assert "session=" in cookie
        assert "Max-Age" not in cookie
        assert ttl(client) == LIFETIME
    assert browser.get("/read").text == "1"
    clock.offset += LIFETIME + 1
    assert browser.get("/read").text == "None"


def test_session_permanent_false_is_flasks_default(app: Flask, client: Any) -> None:
    """Sessions are permanent unless SESSION_PERMANENT or the session itself says otherwise."""
    app.config["SESSION_PERMANENT"] = False
    assert "Max-Age" not in str(set_cookie(app.test_client().get("/write")))
    assert "Max-Age" in str(set_cookie(app.test_client().get("/permanent")))


@pytest.mark.parametrize("lifetime", [1, 1.5, timedelta(seconds=1, milliseconds=900)])
def test_fractions_of_a_second_are_cut_off_in_both(app: Flask, client: Any, lifetime: Any) -> None:
    """koa-session2 sends EX 1.5, which Redis refuses, and a cookie all the same."""
    app.config["PERMANENT_SESSION_LIFETIME"] = lifetime
    assert "Max-Age=1;" in str(set_cookie(app.test_client().get("/write")))
    assert ttl(client) == 1


def test_a_cookie_past_its_age_is_not_ours_any_more(app: Flask, client: Any, clock: Clock) -> None:
    """Even if Redis still had the record: the signature tells the age."""
    browser = app.test_client()
    browser.get("/write")
    cookie = browser.get_cookie("session")
    assert cookie
    fresh = app.test_client()
    fresh.set_cookie("session", cookie.value)
    clock.offset = LIFETIME
    assert fresh.get("/read").text == "1"
    old = app.test_client()
    old.set_cookie("session", cookie.value)
    clock.offset = LIFETIME + 1
    assert old.get("/read").text == "None"


@pytest.mark.parametrize(("ahead", "text"), [(1, "1"), (60, "1"), (61, "None")])
def test_the_clock_of_another_host_may_be_a_minute_ahead(app: Flask, clock: Clock, ahead: int, text: str) -> None:
    """itsdangerous alone would refuse a cookie from one second in the future."""
    browser = app.test_client()
    clock.offset = ahead
    browser.get("/write")
    clock.offset = 0
    assert browser.get("/read").text == text


def test_a_refresh_of_a_session_that_ended_sets_neither(app: Flask, client: Any, clock: Clock) -> None:
    """No cookie for a record that is not there, on touched and untouched requests."""
    for path in ("/read", "/no"):
        browser = app.test_client()
        browser.set_cookie("session", sign(app, "0" * 48))
        clock.offset = 301
        assert set_cookie(browser.get(path)) is None
        clock.offset = 0
    assert client.keys() == []


def test_a_response_class_of_the_apps_own_sets_and_deletes_the_cookie(app: Flask) -> None:
    """By its `set_cookie`, as with Flask's own sessions: or a logout would delete another cookie than was set."""

    class Shop(Response):
        def set_cookie(self, *args: Any, **attributes: Any) -> None:
            super().set_cookie(*args, **(attributes | {"path": "/shop"}))

    app.response_class = Shop
    route(app, "/shop/in", lambda: session.update(n=1))
    route(app, "/shop/out", lambda: session.clear())
    browser = app.test_client()
    for path in ("/shop/in", "/shop/out"):
        assert "; Path=/shop" in str(set_cookie(browser.get(path)))
    assert browser.get_cookie("session", path="/shop") is None
