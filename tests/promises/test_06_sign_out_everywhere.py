"""Promise 6: an owner's sessions can be listed and ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from markupsafe import Markup
from support.apps import SECRET_KEY, interface_of, route, set_cookie, sid_of
from support.clock import Clock
from support.owners import IDLE, add_views, cookie_of, listed, live, revoke, sessions_of, sid_in, signed_in

from redis_store import RedisSessionInterface, RedisStore


@pytest.fixture
def app(app: Flask) -> Flask:
    add_views(app)
    return app


def test_the_sessions_of_an_owner_are_listed_oldest_first(app: Flask, client: Any, clock: Clock) -> None:
    """When each began, when it was last kept alive, and what the app keeps in it."""
    clock.offset = -1000
    first = signed_in(app)
    clock.offset = 0
    signed_in(app).get("/write")
    signed_in(app, "bob")
    client.expire(f"SESSION:{sid_in(first)}", IDLE - 100)  # a hundred seconds have gone by since its refresh
    older, newer = sessions_of(app)
    assert older.sid == sid_in(first)
    assert (older.session, newer.session) == ({"user_id": "ada"}, {"user_id": "ada", "n": 1})
    now = time.time()
    assert older.created is not None
    assert older.refreshed is not None
    assert older.created.timestamp() == pytest.approx(now - 1000, abs=5)
    assert older.refreshed.timestamp() == pytest.approx(now - 100, abs=5)
    assert older.created.tzinfo is UTC
    assert newer.refreshed is not None
    assert newer.refreshed.timestamp() == pytest.approx(now, abs=5)


def test_what_names_a_session_does_not_open_it(app: Flask) -> None:
    """Neither the handle nor the text form holds its sid."""
    signed_in(app)
    (info,) = sessions_of(app)
    assert len(info.handle) == 16
    assert info.handle not in info.sid
    assert info.sid not in repr(info)
    assert info.sid[:8] not in repr(info)


def test_the_sessions_of_another_app_are_those_of_its_prefix(app: Flask, client: Any) -> None:
    """An administrator's page may sign out everywhere in the shop, and stays signed in itself."""
    shop = RedisSessionInterface(RedisStore(client, "SHOP:"))
    own = RedisSessionInterface(client)
    route(app, "/shut", lambda: str((session["user_id"], len(shop.sessions_of("ada")), shop.revoke("ada"))))
    app.session_interface = shop
    signed_in(app)
    app.session_interface = own
    browser = signed_in(app)
    assert browser.get("/shut").text == "('ada', 1, 1)"
    assert browser.get("/user").text == "ada"
    assert client.keys("SHOP:*") == []


@pytest.mark.parametrize("owner", [5, "5"])
def test_owners_are_compared_as_text(app: Flask, owner: object) -> None:
    """Flask-Login turns every id into text, and so does a URL."""
    with app.test_client() as browser, browser.session_transaction() as login:
        login["_user_id"] = owner
    assert len(sessions_of(app, 5)) == len(sessions_of(app, "5")) == 1
    assert revoke(app, "5") == 1


class Name(str, Enum):  # noqa: UP042  # the old way, which many apps have
    """A text, but for its str()."""

    ADA = "ada"


class Number(int, Enum):
    """A number, but for its str()."""

    SEVEN = 7


OWNERS = [0, -1, 7, 2**70, True, 1.5, "0", "None", "False", " ", "a:b", "a\nb", "\udcff", "é", UUID(int=5)]
OWNERS += [
    Markup("ada"),
    Name.ADA,
    Number.SEVEN,
    b"ada",
    ["a", 1],
    ("a",),
    {"id": 7},
    datetime(2020, 1, 1),
    "9999-12-31",
]


@pytest.mark.parametrize("owner", OWNERS, ids=repr)
def test_whoever_is_signed_in_is_listed_and_ends(app: Flask, client: Any, owner: Any) -> None:
    """As soon as he is, under what the app gave, and under what comes back from the record."""
    for form in ("given", "read"):
        browser = app.test_client()
        with browser.session_transaction() as login:
            login["user_id"] = owner
        with browser.session_transaction() as again:
            asked = owner if form == "given" else again["user_id"]
        assert len(sessions_of(app, asked)) == 1
        assert revoke(app, asked) == 1
        assert client.keys("OWNER:*") == []


@pytest.mark.parametrize("nobody", [None, False, "", Markup("")])
def test_nobody_is_no_owner(app: Flask, client: Any, nobody: Any) -> None:
    """Who asks for an anonymous visitor's sessions does not get those of a user named None."""
    with app.test_client().session_transaction() as login:
        login["user_id"] = nobody
    assert client.keys("OWNER:*") == []
    browsers = [signed_in(app, name) for name in ("None", "False")]
    assert sessions_of(app, nobody) == []
    assert revoke(app, nobody) == 0
    assert [browser.get("/user").text for browser in browsers] == ["None", "False"]


def test_a_number_is_one_owner_whatever_the_key(app: Flask, client: Any) -> None:
    """Since both keys mean the same by default; users and admins are told apart by what is stored."""
    app.config["SESSION_OWNER_KEYS"] = ("user_id", "admin_id")
    for key, owner in (("user_id", 7), ("admin_id", 7), ("admin_id", "admin:7")):
        with app.test_client().session_transaction() as login:
            login[key] = owner
    assert [[*(info.session or {})] for info in sessions_of(app, 7)] == [["user_id"], ["admin_id"]]
    assert revoke(app, 7) == 2
    assert len(sessions_of(app, "admin:7")) == 1


@pytest.mark.parametrize(("prefix", "ended"), [("SHOP:", 1), ("SESSION:", 2)])
def test_two_apps_on_one_redis_take_two_prefixes(client: Any, prefix: str, ended: int) -> None:
    """With one prefix, their users of one name are one owner."""
    apps = [Flask("one"), Flask("other")]
    for app, name in zip(apps, ("SESSION:", prefix), strict=True):
        app.config.update(SECRET_KEY=f"{SECRET_KEY} of {app.name}", TESTING=True)
        app.session_interface = RedisSessionInterface(RedisStore(client, name))
        add_views(app)
    browsers = [signed_in(app) for app in apps]
    assert revoke(apps[0]) == ended
    assert [browser.get("/user").text for browser in browsers] == ["None", "ada" if ended == 1 else "None"]


def test_revoke_ends_all_sessions_of_the_owner_and_of_nobody_else(app: Flask, client: Any) -> None:
    """It says how many there were; the cookies are worth nothing."""
    mine, other = [signed_in(app) for _ in range(3)], signed_in(app, "bob")
    assert revoke(app) == 3
    assert {browser.get("/user").text for browser in mine} == {"None"}
    assert other.get("/user").text == "bob"
    assert sessions_of(app) == []
    assert not client.exists("OWNER:SESSION:ada")
    assert revoke(app) == 0


def test_an_owner_is_who_the_record_says(app: Flask, client: Any) -> None:
    """Also in the request that writes an object which the record keeps as another type."""
    route(app, "/enum", lambda: session.update(user_id=Name.ADA))
    browser = app.test_client()
    browser.get("/enum")
    assert listed(client) == live(client)
    sid = sid_of(client)
    assert set_cookie(browser.get("/enum")) is None, "nobody else signed in"
    assert sid_of(client) == sid
    assert revoke(app) == 1


def test_a_write_that_comes_too_late_leaves_no_sid_in_the_index(app: Flask, client: Any, clock: Clock) -> None:
    """It was added once more before the write found that the session has another sid."""
    browser, late = app.test_client(), app.test_client()
    route(app, "/late", lambda: f"{session['user_id']}{browser.get('/regenerate')}{session.update(n=1)}")
    browser.get("/login")
    late.set_cookie("session", cookie_of(browser))
    clock.offset = 400  # when a write adds it again
    assert late.get("/late").status_code == 200
    assert listed(client) == {sid_in(browser)}


def test_revoke_keeps_a_session_whose_old_sid_is_still_in_the_index(app: Flask, client: Any) -> None:
    """The process died before it could remove that: nobody ends what he wants to keep by its trail."""
    browser, other = signed_in(app), signed_in(app)
    old = sid_in(browser)
    browser.get("/regenerate")
    client.zadd("OWNER:SESSION:ada", {old: time.time() + IDLE})
    assert revoke(app, keep=sid_in(browser)) == 1
    assert (browser.get("/user").text, other.get("/user").text) == ("ada", "None")
    client.zadd("OWNER:SESSION:ada", {old: time.time() + IDLE})
    assert revoke(app) == 1
    assert browser.get("/user").text == "None"


def test_a_new_sid_is_not_ended_by_the_trail_of_an_old_one(app: Flask, client: Any) -> None:
    """The old one is the first of those that are too many."""
    app.config["SESSION_MAX_PER_OWNER"] = 1
    browser = signed_in(app)
    old = sid_in(browser)
    browser.get("/regenerate")
    client.zadd("OWNER:SESSION:ada", {old: time.time() + 1})
    browser.get("/regenerate")
    assert browser.get("/user").text == "ada"


def test_revoke_keeps_the_session_that_is_named(app: Flask) -> None:
    """For "sign out everywhere else"."""
    here, there = signed_in(app), signed_in(app)
    assert revoke(app, keep=sid_in(here)) == 1
    assert (here.get("/user").text, there.get("/user").text) == ("ada", "None")
    assert [info.sid for info in sessions_of(app)] == [sid_in(here)]


def test_revoke_ends_more_than_one_round_trip_can_name(app: Flask, client: Any) -> None:
    """A thousand and more."""
    with app.app_context():
        index = {}
        for number in range(1201):
            sid = f"{number:048x}"
            client.set(f"SESSION:{sid}", '{"user_id":"ada"}', ex=50)
            index[sid] = time.time() + 2 * IDLE
        client.zadd("OWNER:SESSION:ada", index)
        assert len(sessions_of(app)) == 1201
        assert revoke(app) == 1201
    assert client.keys() == []


def test_one_session_can_be_ended_by_its_sid(app: Flask, client: Any) -> None:
    """Whoever's it is; False when there is none."""
    browser, other = signed_in(app), signed_in(app)
    with app.app_context():
        assert interface_of(app).end(sid_in(browser))
        assert not interface_of(app).end(sid_in(browser))
    assert [info.sid for info in sessions_of(app)] == [sid_in(other)]
    assert listed(client) == live(client)


@contextmanager
def view_of(app: Flask, browser: FlaskClient) -> Iterator[None]:
    """A request of the browser that has looked at its session, and ends after the block."""
    with app.test_request_context(headers={"Cookie": f"session={cookie_of(browser)}"}):
        session.get("user_id")
        yield
        session["late"] = 1
        response = app.process_response(app.response_class())
        assert set_cookie(response) is None


def test_a_request_under_way_does_not_bring_a_revoked_session_back(app: Flask, client: Any) -> None:
    """As with a logout (promise 3)."""
    browser = signed_in(app)
    with view_of(app, browser):
        assert revoke(app) == 1
    assert client.keys() == []


@pytest.mark.parametrize("ask", ["sessions_of", "revoke", "end"])
def test_a_process_that_answers_no_requests_can_ask(app: Flask, client: Any, ask: str) -> None:
    """The command line: nothing but an app context is needed, and no request before."""
    sid = "0" * 48
    client.set(f"SESSION:{sid}", '{"user_id":"ada"}', ex=50)
    client.zadd("OWNER:SESSION:ada", {sid: 2e9})
    with app.app_context():
        assert getattr(interface_of(app), ask)(sid if ask == "end" else "ada")
    assert (live(client), listed(client)) == (({sid}, {sid}) if ask == "sessions_of" else (set(), set()))
