"""Promise 5: a new sid whenever the owner changes."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from flask import Flask, request, session
from support.apps import content, interface_of, route, set_cookie, sid_of, sign, under_way


@pytest.fixture
def app(app: Flask) -> Flask:
    route(app, "/start", lambda: session.update(cart=1))
    return app


@pytest.mark.parametrize("key", ["user_id", "_user_id", "account"])
def test_login_moves_the_session_to_a_new_sid(app: Flask, client: Any, key: str) -> None:
    """By itself: the data comes along, the old sid is dead, and the cookie names the new one."""
    app.config["SESSION_OWNER_KEYS"] = ["_user_id", "user_id", "account"]
    route(app, "/login", lambda: session.update({key: "ada"}))
    browser = app.test_client()
    browser.get("/start")
    old = sid_of(client)
    header = str(set_cookie(browser.get("/login")))
    assert sid_of(client) != old
    assert sid_of(client) in header
    assert content(client) == {"cart": 1, key: "ada"}


@pytest.mark.parametrize(("before", "after"), [("ada", "bob"), ("ada", None), (1, "1"), (1, True), (1, 1.0), (None, 0)])
def test_any_change_of_the_owner_makes_a_new_sid(app: Flask, client: Any, before: Any, after: Any) -> None:
    """Another user, nobody, or the same of another type, which to Python may be equal."""
    browser = app.test_client()
    sids = []
    for owner in (before, after):
        with browser.session_transaction() as changed:
            changed["cart"] = 1
            changed["user_id"] = owner
            if owner is None:
                del changed["user_id"]
        sids.append(sid_of(client))
    assert sids[0] != sids[1]


class Name(str, Enum):  # noqa: UP042  # the old way, which many apps have
    """A text, as the record has it."""

    ADA = "ada"


def test_the_same_owner_keeps_the_sid(app: Flask, client: Any) -> None:
    """A write that leaves the owner alone leaves the sid alone."""
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["user_id"] = "ada"
    sid = sid_of(client)
    with browser.session_transaction() as second:
        second.update(user_id="ada", more=1)
    assert sid_of(client) == sid


def test_regenerate_makes_a_new_sid_on_demand(app: Flask, client: Any) -> None:
    """Without any other change, too."""
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    browser = app.test_client()
    browser.get("/start")
    old = sid_of(client)
    browser.get("/regenerate")
    assert sid_of(client) != old
    assert content(client) == {"cart": 1}
    with browser.session_transaction() as moved:
        assert moved["cart"] == 1


def test_regenerating_a_session_that_is_emptied_still_replaces_the_sid(app: Flask, client: Any) -> None:
    """What another request wrote meanwhile is under the new one; if nothing is left, there is none."""
    route(app, "/other", lambda: session.update(more=1))
    browser = app.test_client()
    browser.get("/start")
    old = sid_of(client)
    with under_way(app, browser):
        session.pop("cart")
        session.regenerate()  # type: ignore[attr-defined]
        browser.get("/other")
    assert sid_of(client) != old
    assert content(client) == {"more": 1}
    client.flushall()
    browser.get("/start")
    with under_way(app, browser) as response:
        session.pop("cart")
        session.regenerate()  # type: ignore[attr-defined]
    assert client.keys("SESSION:*") == []
    assert str(set_cookie(response)).startswith("session=;")


def test_regenerating_no_session_makes_none(app: Flask, client: Any) -> None:
    """There is nothing to move."""
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    assert set_cookie(app.test_client().get("/regenerate")) is None
    assert client.keys() == []


@pytest.mark.parametrize("moves", ["login", "regenerate"])
def test_what_another_request_wrote_meanwhile_moves_along(app: Flask, client: Any, moves: str) -> None:
    """A new sid loses no update."""
    route(app, "/other", lambda: session.update(other=session.get("other", 0) + 1))
    browser = app.test_client()
    browser.get("/start")
    old = sid_of(client)
    with under_way(app, browser):
        assert session["cart"] == 1
        if moves == "login":
            session["user_id"] = "ada"
        else:
            session.regenerate()  # type: ignore[attr-defined]
        browser.get("/other")
        browser.get("/other")
    assert sid_of(client) != old
    assert content(client) == {"cart": 1, "other": 2} | ({"user_id": "ada"} if moves == "login" else {})


def test_what_another_request_of_the_last_owner_wrote_does_not_come_to_the_next(app: Flask, client: Any) -> None:
    """A login that clears the session first clears that, too."""
    route(app, "/other", lambda: session.update(secret="of ada"))
    browser = app.test_client()
    with browser.session_transaction() as first:
        first.update(user_id="ada", name="Ada")
    with under_way(app, browser):
        session.clear()
        session["user_id"] = "bob"
        browser.get("/other")
    assert content(client) == {"user_id": "bob"}


@pytest.mark.parametrize("sid", ["6b078896-" + "0" * 40, "0" * 48, "3b241101-e2bb-4255-8caf-4136c566a962"])
@pytest.mark.parametrize("signed", [True, False])
def test_an_unknown_sid_is_never_adopted(app: Flask, client: Any, sid: str, signed: bool) -> None:
    """What a visitor with such a cookie writes goes to a new sid: no session fixation."""
    app.config["SESSION_USE_SIGNER"] = signed
    browser = app.test_client()
    browser.set_cookie("session", sign(app, sid))
    browser.get("/start")
    assert sid_of(client) != sid


def test_an_owner_that_is_a_list_is_seen_to_change_in_place(app: Flask, client: Any) -> None:
    """Whoever is kept in it; also when the session is saved twice in one request."""
    route(app, "/join", lambda: session["user_id"].append("bob"))
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["user_id"] = ["ada"]
    sids = {sid_of(client)}
    browser.get("/join")
    sids.add(sid_of(client))
    with app.test_request_context():
        saved = interface_of(app).open_session(app, request)
        assert saved is not None
        saved["user_id"] = ["ada"]
        interface_of(app).save_session(app, saved, app.response_class())
        sids.add(saved.sid)
        saved["user_id"].append("root")
        interface_of(app).save_session(app, saved, app.response_class())
        sids.add(saved.sid)
    assert len(sids) == 4
