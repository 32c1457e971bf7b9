"""Promise 6 with Flask-Login, which knows nothing of it: a user's sessions are listed, and end. `suites.py` runs this.

Exit status 0 and one line: it works. An AssertionError: it does not.
"""

import fakeredis
from flask import Flask
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, login_required, login_user, logout_user

from redis_store import RedisSessionInterface

app = Flask(__name__)
app.secret_key = "only-for-this-check-" * 2
app.session_interface = interface = RedisSessionInterface(fakeredis.FakeRedis())
manager = LoginManager(app)


class User(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """Somebody with a number, as a database gives one."""

    def __init__(self, number: int) -> None:
        self.id = number


@manager.user_loader  # type: ignore[untyped-decorator]  # the same
def load_user(text: str) -> User:
    """What Flask-Login calls on each request."""
    return User(int(text))


@app.get("/login/<int:number>")
def login(number: int) -> str:
    """Sign in."""
    login_user(User(number))
    return "in"


@app.get("/logout")
def logout() -> str:
    """Sign out, of this session."""
    logout_user()
    return "out"


@app.get("/private")
@login_required  # type: ignore[untyped-decorator]  # the same
def private() -> str:
    """A page for those who are signed in."""
    return "private"


def sign_in(number: int) -> FlaskClient:
    """A browser."""
    browser = app.test_client()
    assert browser.get(f"/login/{number}").status_code == 200
    return browser


def statuses(*browsers: FlaskClient) -> list[int]:
    """What the page for those who are signed in answers."""
    return [browser.get("/private").status_code for browser in browsers]


phone, laptop, other = sign_in(7), sign_in(7), sign_in(8)
with app.app_context():
    here = interface.sessions_of(7)[1].sid
    assert interface.revoke(7, keep=here) == 1
assert statuses(phone, laptop, other) == [401, 200, 200]
laptop.get("/logout")
with app.app_context():
    assert interface.sessions_of(7) == []
    assert len(interface.sessions_of(8)) == 1
    assert interface.revoke("8") == 1
assert statuses(phone, laptop, other) == [401, 401, 401]
print("Flask-Login: a user's sessions are listed, and end everywhere.")
