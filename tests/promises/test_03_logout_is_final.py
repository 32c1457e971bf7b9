"""Promise 3: what ended stays ended, whatever was under way. Races with threads over HTTP: test_03_races.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, session
from flask.globals import request_ctx
from flask.testing import FlaskClient
from support.apps import content, route, set_cookie, sid_of, sign, under_way
from support.clock import Clock
from support.tiers import rounds

ROUNDS = rounds(3, 50)  # for each pair of what is under way and how the session ends


@pytest.fixture
def app(app: Flask) -> Flask:
    route(app, "/start", lambda: session.update(cart=1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/logout", lambda: session.clear())
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    return app


def writes() -> None:
    session["late"] = "pearl"


def clears() -> None:
    session.clear()


def regenerates() -> None:
    session.regenerate()  # type: ignore[attr-defined]


def changes_nested() -> None:
    session.setdefault("deep", {})["late"] = 1


LATE: dict[str, Callable[[], object]] = {
    "reads": lambda: session.get("cart"),
    "writes": writes,
    "changes a nested value": changes_nested,
    "logs out too": clears,
    "regenerates": regenerates,
}
ENDS: dict[str, Callable[[FlaskClient, Any], object]] = {
    "logout": lambda browser, client: browser.get("/logout"),
    "expiry": lambda browser, client: client.expire(f"SESSION:{sid_of(client)}", 0),
    "login": lambda browser, client: browser.get("/login"),
    "regeneration": lambda browser, client: browser.get("/regenerate"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("late", LATE)
def test_a_request_under_way_cannot_bring_a_session_back(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture, late: str, end: str
) -> None:
    """It read the session while it lived; what it does then reaches neither Redis nor the cookie."""
    for _ in range(ROUNDS):
        client.flushall()
        browser, other = app.test_client(), app.test_client()
        browser.get("/start")
        old = sid_of(client)
        cookie = browser.get_cookie("session")
        assert cookie
        other.set_cookie("session", cookie.value)
        with under_way(app, browser) as response:
            assert session["cart"] == 1
            ENDS[end](other, client)
            after = {key: client.get(key) for key in client.keys("SESSION:*")}
            LATE[late]()
        assert f"SESSION:{old}".encode() not in after
        if (late, end) == ("logs out too", "regeneration"):  # it follows the session, and ends it
            assert client.keys("SESSION:*") == []
            assert str(set_cookie(response)).startswith("session=;")
            continue
        assert {key: client.get(key) for key in client.keys("SESSION:*")} == after
        assert set_cookie(response) is None
    if "write" in late or "nested" in late:
        assert "dropped: ['late']" in caplog.text or "dropped: ['deep']" in caplog.text
        assert "pearl" not in caplog.text
        assert old not in caplog.text


@pytest.mark.parametrize("end", ENDS)
def test_an_untouched_request_cannot_refresh_what_ended(app: Flask, client: Any, clock: Clock, end: str) -> None:
    """A refresh is EXPIRE, which cannot create; without it there is no cookie."""
    for _ in range(ROUNDS):
        client.flushall()
        clock.offset = 0
        browser = app.test_client()
        browser.get("/start")
        clock.offset = 301
        with under_way(app, browser) as response:
            ENDS[end](browser, client)
            after = client.keys("SESSION:*")
        assert client.keys("SESSION:*") == after
        assert set_cookie(response) is None


def test_a_fresh_login_survives_the_end_of_the_session_before_it(app: Flask, client: Any) -> None:
    """It makes a session, of what it wrote alone: nothing of the ended one lives on."""
    browser = app.test_client()
    browser.get("/start")
    with browser.session_transaction() as first:
        first.update(prefs={"secret": 1}, seen=[1])
    with under_way(app, browser) as response:
        session["user_id"] = "ada"
        session["prefs"]["x"] = 1
        session["seen"].append(2)
        del session["cart"]
        browser.get("/logout")
    assert content(client) == {"user_id": "ada"}
    assert sid_of(client) in str(set_cookie(response))


def test_a_session_that_ended_stays_ended_when_it_is_saved_again(app: Flask, client: Any) -> None:
    """Flask does so for the page of a 500, when something fails after the first time; and so do extensions."""
    browser = app.test_client()
    browser.get("/login")
    with under_way(app, browser) as response:
        session["late"] = 1
        browser.get("/logout")
        for _ in range(2):
            app.session_interface.save_session(app, request_ctx.session, response)
    assert client.keys("SESSION:*") == []
    assert set_cookie(response) is None


def test_a_fresh_login_that_is_saved_again_is_still_fresh(app: Flask, client: Any) -> None:
    """Nothing of the session that ended before it comes after all."""
    browser = app.test_client()
    browser.get("/start")
    with under_way(app, browser) as response:
        session["user_id"] = "ada"
        browser.get("/logout")
        app.session_interface.save_session(app, request_ctx.session, response)
        assert dict(session) == {"user_id": "ada"}
        session["more"] = 1
        response.headers.clear()
    assert content(client) == {"user_id": "ada", "more": 1}


def test_a_login_of_the_same_user_survives_a_logout_too(app: Flask, client: Any) -> None:
    """clear() and regenerate(): whoever is named then is signed in afresh."""
    browser = app.test_client()
    browser.get("/login")
    with under_way(app, browser) as response:
        session.clear()
        session.update(user_id="ada", since=1)
        session.regenerate()  # type: ignore[attr-defined]
        browser.get("/logout")
    assert content(client) == {"user_id": "ada", "since": 1}
    assert sid_of(client) in str(set_cookie(response))


def test_clearing_all_but_the_owner_is_no_login(app: Flask, client: Any) -> None:
    """Emptying a cart does not bring back a session that was signed out meanwhile."""
    browser = app.test_client()
    browser.get("/start")
    browser.get("/login")
    with under_way(app, browser) as response:
        user = session["user_id"]
        session.clear()
        session["user_id"] = user
        browser.get("/logout")
    assert client.keys("SESSION:*") == []
    assert set_cookie(response) is None


def test_an_old_cookie_is_worth_nothing_after_logout(app: Flask, client: Any) -> None:
    """It is still well signed, and names a record that is not there."""
    browser = app.test_client()
    browser.get("/login")
    cookie = browser.get_cookie("session")
    assert cookie
    browser.get("/logout")
    browser.set_cookie("session", cookie.value)
    with browser.session_transaction() as replayed:
        assert dict(replayed) == {}


@pytest.mark.parametrize("cookie", [None, "known sid", "nonsense"])
def test_signing_out_without_a_session_changes_nothing(app: Flask, client: Any, cookie: str | None) -> None:
    """No record, and the cookie is left alone: only the request that ended a session may delete it."""
    browser = app.test_client()
    if cookie:
        browser.set_cookie("session", sign(app, "0" * 48) if cookie == "known sid" else cookie)
    assert set_cookie(browser.get("/logout")) is None
    assert client.keys() == []


def test_logout_deletes_record_and_cookie(app: Flask, client: Any) -> None:
    """The plain case."""
    browser = app.test_client()
    browser.get("/login")
    header = str(set_cookie(browser.get("/logout")))
    assert header.startswith("session=;")
    assert "Max-Age=0" in header
    assert client.keys() == []
    assert browser.get_cookie("session") is None


def test_a_late_change_inside_an_owner_begins_no_empty_session(app: Flask, client: Any) -> None:
    """It is dropped, as any other late change of what was there before."""
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["user_id"] = ["ada"]
    with under_way(app, browser) as response:
        session["user_id"].append("bob")
        client.flushdb()
    assert set_cookie(response) is None
    assert client.keys() == []
