"""Promises 6 and 7 with Flask-Login, which knows nothing of them. `suites.py` runs this.

A user's sessions are listed, and end. Flask-Login's remember cookie gets around that, until the app does what the
documentation says: its code is run here as it stands there.

Exit status 0 and one line: it works. An AssertionError: it does not.
"""

import re
import secrets
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import fakeredis
from flask import Flask, request, session
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user, logout_user

from redis_store import RedisSessionInterface

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "sign-out-everywhere.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
CHECKBOX, TOKEN = (next(block for block in BLOCKS if part in block) for part in ("login_user(user)", "def get_id("))
LIMIT = timedelta(days=30)


class User(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """Somebody with a number, as a database gives one."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.token = secrets.token_urlsafe()


class House:
    """An app with Flask-Login, its users, and a clock that can be moved."""

    def __init__(self, **config: Any) -> None:
        self.offset = 0.0
        self.users = {number: User(number) for number in (7, 8)}
        self.app = app = Flask("app")
        app.config.update(SECRET_KEY="only-for-this-check-" * 2, **config)
        self.interface = RedisSessionInterface(fakeredis.FakeRedis(), clock=lambda: time.time() + self.offset)
        app.session_interface = self.interface
        self.manager = LoginManager(app)
        self.manager.user_loader(lambda text: self.users[int(text)])
        app.add_url_rule("/login/<int:number>", view_func=self.login, methods=["POST"])
        app.add_url_rule("/logout", "logout", lambda: str(logout_user()))
        app.add_url_rule("/private", "private", login_required(lambda: "private"))

    def login(self, number: int) -> str:
        """Sign in; with a remember cookie if the form says so."""
        login_user(self.users[number], remember="remember" in request.form)
        return "in"

    def sign_in(self, number: int, *ticked: str) -> FlaskClient:
        """A browser."""
        browser = self.app.test_client()
        assert browser.post(f"/login/{number}", data=dict.fromkeys(ticked, "on")).status_code == 200
        return browser


def statuses(*browsers: FlaskClient) -> list[int]:
    """What the page for those who are signed in answers."""
    return [browser.get("/private").status_code for browser in browsers]


def close(browser: FlaskClient) -> None:
    """End a browser: only cookies with an age remain."""
    for name in ("session", "remember_token"):
        cookie = browser.get_cookie(name)
        if cookie is not None and cookie.max_age is None and cookie.expires is None:
            browser.delete_cookie(name)


# A user's sessions are listed, and end ----------------------------------------------------------------------------

house = House()
phone, laptop, other = house.sign_in(7), house.sign_in(7), house.sign_in(8)
with house.app.app_context():
    here = house.interface.sessions_of(7)[1].sid
    assert house.interface.revoke(7, keep=here) == 1
assert statuses(phone, laptop, other) == [401, 200, 200]
laptop.get("/logout")
with house.app.app_context():
    assert house.interface.sessions_of(7) == []
    assert len(house.interface.sessions_of(8)) == 1
    assert house.interface.revoke("8") == 1
assert statuses(phone, laptop, other) == [401, 401, 401]

# remember=True, and nothing done about it: it gets around a revoke, and around the absolute limit -----------------

house = House(SESSION_ABSOLUTE_LIFETIME=LIMIT)
phone = house.sign_in(7, "remember")
with house.app.app_context():
    assert house.interface.revoke(7) == 1
assert statuses(phone) == [200]
house.offset = LIMIT.total_seconds() + 60
assert statuses(phone) == [200]

# The checkbox decides about the session itself --------------------------------------------------------------------

house = House(SESSION_ABSOLUTE_LIFETIME=LIMIT, SESSION_PERMANENT=False)


def login_with_checkbox(number: int) -> str:
    """What the documentation says."""
    names = {"login_user": login_user, "user": house.users[number], "session": session, "request": request}
    exec(CHECKBOX, names)
    return "in"


house.app.view_functions["login"] = login_with_checkbox
phone, laptop, other = house.sign_in(7, "remember"), house.sign_in(7), house.sign_in(8, "remember")
assert statuses(phone, laptop, other) == [200, 200, 200]
close(phone)
close(laptop)
assert statuses(phone, laptop, other) == [200, 401, 200]
with house.app.app_context():
    assert house.interface.revoke(7) == 2
assert statuses(phone, other) == [401, 200]
for _ in range(29):  # used each day
    house.offset += 24 * 3600
    assert statuses(other) == [200]
house.offset = LIMIT.total_seconds() + 60
assert statuses(other) == [401]

# get_id changes when the user is signed out everywhere ------------------------------------------------------------

house = House()
names: dict[str, Any] = {
    "UserMixin": UserMixin,
    "login_manager": house.manager,
    "secrets": secrets,
    "app": house.app,
    "find_user": lambda token: next((user for user in house.users.values() if user.token == token), None),
    "save_user": lambda user: None,  # they are in memory
}
exec(TOKEN, names)
house.users = {number: type("Row", (names["User"],), dict(vars(user)))() for number, user in house.users.items()}


@house.app.post("/everywhere")
def everywhere() -> str:
    """What the documentation says, and go on in this browser."""
    user = current_user._get_current_object()
    names["sign_out_everywhere"](user, keep=session.sid)  # type: ignore[attr-defined]
    login_user(user, remember=True)
    return "alone"


phone, laptop, other = (house.sign_in(number, "remember") for number in (7, 7, 8))
before = house.users[7].token
assert laptop.post("/everywhere").status_code == 200
with house.app.app_context():
    assert house.interface.sessions_of(before) == []
assert statuses(phone, laptop, other) == [401, 200, 200]
with house.app.app_context():
    assert len(house.interface.sessions_of(house.users[7].token)) == 1
    names["sign_out_everywhere"](house.users[7])
assert statuses(phone, laptop, other) == [401, 401, 200]
assert statuses(house.sign_in(7)) == [200]
print("Flask-Login: a user's sessions are listed, and end everywhere, also those that are remembered.")
