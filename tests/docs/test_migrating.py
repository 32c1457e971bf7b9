"""docs/migrating.md: an old app and a new one in front of one browser, from Flask's own sessions and Flask-Session."""

from __future__ import annotations

import re
from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from support.apps import SECRET_KEY
from support.project import recipe, rows, section

from _redis_store.settings import FLASK_SESSION
from redis_store import RedisSessionInterface
from study.browser import Browser

flask_session = pytest.importorskip("flask_session", reason="needs flask-session: requirements-dev.txt")


class Side:
    """One side of the load balancer: an app in which somebody can sign in."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.app = app = Flask("shop")
        app.secret_key = SECRET_KEY
        app.add_url_rule("/", "home", lambda: {"user": session.get("user_id")})
        app.add_url_rule("/login", "login", lambda: str(session.update(user_id="ada")))
        app.add_url_rule("/logout", "logout", lambda: {"was": [session.pop(key) for key in [*session]]})

    def run(self, line: str) -> None:
        """Run the block of the page that has this line."""
        exec(recipe(line), {"app": self.app, "old_redis": self.redis})


def user(browser: Browser, side: Side) -> str | None:
    """Who is signed in on that side, when the load balancer sends the browser there."""
    return visit(browser, side, "/").get_json()["user"]  # type: ignore[no-any-return]


def visit(browser: Browser, side: Side, path: str) -> Any:
    browser.app = side.app
    response = browser.get(path)
    assert response.status_code == 200
    return response


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def redis(server: fakeredis.FakeServer) -> Any:
    return fakeredis.FakeRedis(server=server)


@pytest.fixture(params=["Flask", "Flask-Session"])
def old(request: pytest.FixtureRequest, redis: Any) -> Side:
    side = Side(redis)
    if request.param == "Flask-Session":
        side.app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis)
        flask_session.Session(side.app)
    return side


@pytest.fixture
def new(redis: Any) -> Side:
    side = Side(redis)
    side.app.session_interface = RedisSessionInterface(redis)
    side.run('"SESSION_COOKIE_NAME"')
    return side


@pytest.fixture
def carry_over(old: Side, new: Side) -> None:
    new.run("msgspec.msgpack" if "SESSION_TYPE" in old.app.config else "class OldSessions")


@pytest.fixture
def browser(old: Side) -> Browser:
    """Somebody who has signed in on the old side."""
    browser = Browser(old.app)
    browser.get("/login")
    return browser


def test_each_side_reads_its_own_cookie(old: Side, new: Side, browser: Browser) -> None:
    """Whatever the other one does, and in whatever order."""
    assert [user(browser, side) for side in (old, new, old)] == ["ada", None, "ada"]
    visit(browser, new, "/login")
    assert [user(browser, side) for side in (old, new, old, new)] == ["ada"] * 4
    visit(browser, old, "/logout")
    assert [user(browser, side) for side in (old, new)] == [None, "ada"]


def test_one_name_for_both_cookies_signs_out(old: Side, new: Side, browser: Browser) -> None:
    """Why the page asks for two."""
    new.app.config["SESSION_COOKIE_NAME"] = "session"
    visit(browser, new, "/login")
    assert user(browser, old) is None


def test_a_logout_deletes_both_cookies(old: Side, new: Side, browser: Browser) -> None:
    """So nobody is signed in on the other side afterwards."""
    new.run("def forget_the_old_cookie")
    visit(browser, new, "/login")
    visit(browser, new, "/logout")
    assert [user(browser, side) for side in (old, new)] == [None, None]


@pytest.mark.usefixtures("carry_over")
def test_a_session_is_carried_over_and_the_old_one_stays(old: Side, new: Side, browser: Browser) -> None:
    """The new side has its own copy; the way back is open."""
    before = browser.cookies["session"]
    assert user(browser, new) == "ada"
    assert "sid" in browser.cookies
    browser.write(cart=1)
    assert browser.cookies["session"] == before
    assert user(browser, old) == "ada"
    del browser.cookies["session"]
    assert user(browser, new) == "ada"


@pytest.mark.usefixtures("carry_over")
def test_nobody_is_carried_over_after_a_logout(new: Side, browser: Browser) -> None:
    """With the lines that delete both cookies."""
    new.run("def forget_the_old_cookie")
    assert user(browser, new) == "ada"
    visit(browser, new, "/logout")
    assert user(browser, new) is None


@pytest.mark.usefixtures("carry_over")
def test_a_revoke_does_not_reach_an_old_cookie(new: Side, browser: Browser) -> None:
    """Which the page says; it does end the session of the new side."""
    assert user(browser, new) == "ada"
    with new.app.app_context():
        assert new.app.session_interface.revoke("ada") == 1  # type: ignore[attr-defined]
    assert user(browser, new) is None
    del browser.cookies["sid"]
    assert user(browser, new) == "ada"


@pytest.mark.usefixtures("carry_over")
def test_they_read_the_session_in_every_request(new: Side, server: fakeredis.FakeServer) -> None:
    """Also for a page that does not use it: which the page warns of."""
    new.app.add_url_rule("/about", "about", lambda: "about us")
    browser = Browser(new.app)
    assert browser.get("/about").status_code == 200
    browser.write(cart=1)
    server.connected = False
    assert browser.get("/about").status_code == 503


@pytest.mark.usefixtures("carry_over")
def test_a_visitor_without_an_old_session_gets_none(new: Side, redis: Any) -> None:
    """Also with a cookie that the old side never gave away."""
    for cookies in ({}, {"session": "x"}):
        assert user(Browser(new.app, cookies), new) is None
    assert redis.keys("SESSION:*") == []


def test_the_settings_of_flask_session_are_all_named_with_what_the_log_says() -> None:
    """And their defaults are Flask-Session's."""
    table = rows(section("docs/migrating.md", "Settings of Flask-Session"))
    advice = {name: row[2].replace("`", "") for row in table for name in re.findall(r"SESSION_\w+", row[0])}
    for pattern, instead in FLASK_SESSION.items():
        names = [name for name in advice if re.fullmatch(pattern, name)]
        assert names, pattern
        assert {advice[name].replace("them", "it") for name in names} == {instead}
    defaults = flask_session.defaults.Defaults
    for row in table:
        name, default = row[0].strip("`"), row[1].strip("`")
        if default and default != "Redis()" and hasattr(defaults, name):
            assert str(getattr(defaults, name)) == default


def test_what_an_app_did_with_flask_session_has_its_name_here(new: Side) -> None:
    """What the first table says is there, is there."""
    assert callable(flask_session.base.ServerSideSessionInterface.regenerate)
    with new.app.test_request_context():
        assert session.sid == ""  # type: ignore[attr-defined]
        assert session.record == b""  # type: ignore[attr-defined]
        session.regenerate()  # type: ignore[attr-defined]
