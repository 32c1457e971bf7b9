"""Promise 9: a wrong setting stops the start, with key, value and what was expected."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, session
from support.apps import SECRET_KEY, content, route, set_cookie

from redis_store import RedisSessionInterface


@pytest.fixture
def app(app: Flask) -> Flask:
    route(app, "/read", lambda: repr(dict(session)))
    route(app, "/write", lambda: session.update(n=1))
    return app


def test_a_setting_is_checked_for_each_interface_of_an_app(app: Flask, client: Any) -> None:
    """Also for one that replaces another."""
    app.test_client().get("/read")
    app.config["SESSION_MAX_BYTES"] = "1M"
    app.session_interface = RedisSessionInterface(client)
    with pytest.raises(ValueError, match="SESSION_MAX_BYTES"):
        app.test_client().get("/read")


def test_a_setting_that_is_removed_has_its_default(app: Flask, client: Any) -> None:
    """As when a test takes back what it had set before the first request."""
    app.config["SESSION_MAX_BYTES"] = 5
    app.test_client().get("/read")
    del app.config["SESSION_MAX_BYTES"]
    assert app.test_client().get("/write").status_code == 200
    assert content(client) == {"n": 1}


def test_a_wrong_setting_is_one_error_in_the_log(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Flask saves no session that it could not open."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_BYTES="1M")
    app.session_interface = RedisSessionInterface(client)
    assert app.test_client().get("/").status_code == 500
    assert "SESSION_MAX_BYTES" in caplog.text
    assert "AttributeError" not in caplog.text


WRONG: dict[str, list[Any]] = {
    "SESSION_COOKIE_NAME": ["", "my session", "a;b", "größe", None, 5],
    "SESSION_COOKIE_PATH": [5, b"/"],
    "SESSION_COOKIE_DOMAIN": [True, 5, "shop..example.com", "a" * 64 + ".example.com"],
    "SESSION_COOKIE_SECURE": ["False", "", 0, []],
    "SESSION_COOKIE_HTTPONLY": ["False"],
    "SESSION_COOKIE_PARTITIONED": ["False"],
    "SESSION_REFRESH_EACH_REQUEST": ["False"],
    "SESSION_USE_SIGNER": ["yes", 1, None],
    "SESSION_PERMANENT": ["no", 0],
    "SESSION_REFRESH_AFTER": [-1, 1.5, "60", True, None],
    "SESSION_MAX_BYTES": [0, -1, "1M", None],
    "SESSION_MAX_WAIT": [0, 0.2, "1", None, True, float("nan")],
    "SESSION_MAX_PER_OWNER": [0, -1, 1.5, "100", True],
    "SESSION_OWNER_KEYS": ["user_id", [1], {"user_id"}, None],
    "SESSION_COOKIE_SAMESITE": ["", "loose", True],
    "PERMANENT_SESSION_LIFETIME": [0, 0.5, -1, "604800", None, 2**31, float("nan")],
    "SECRET_KEY_FALLBACKS": ["old key", ["good key", ""], [5], {"a": 1}],
    "SECRET_KEY": [10**40, ["key"], True, 0],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, wrong in WRONG.items() for value in wrong])
def test_a_wrong_setting_is_refused_with_key_value_and_what_was_expected(client: Any, name: str, value: Any) -> None:
    """At the start for an app that calls check(), and else with the first request; secrets are not shown."""
    app = Flask("app")
    app.config.update({"SECRET_KEY": SECRET_KEY, "TESTING": True, name: value})
    app.session_interface = interface = RedisSessionInterface(client)
    shown = "not shown" if "SECRET" in name else repr(value)
    for start in (lambda: interface.check(app), lambda: app.test_client().get("/")):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is compared below
            start()
        assert str(caught.value).startswith(f"{name} is {shown}; expected ")


RIGHT: dict[str, list[Any]] = {
    "SESSION_COOKIE_NAME": ["session", "__Host-session", "a.b~c"],
    "SESSION_COOKIE_PATH": [None, "", "/"],
    "SESSION_COOKIE_DOMAIN": [None, False, "", ".localhost", "größe.example"],
    "SESSION_COOKIE_SECURE": [True, False, None],
    "SESSION_PERMANENT": [True, False],
    "SESSION_REFRESH_AFTER": [0, 1],
    "SESSION_MAX_BYTES": [10**9],
    "SESSION_MAX_WAIT": [0.25, 1, 2.5],
    "SESSION_MAX_PER_OWNER": [None, 1, 10**6],
    "SESSION_OWNER_KEYS": [[], ["account"], ("a", "b")],
    "SESSION_COOKIE_SAMESITE": [None, "lax", "Strict", "NONE"],
    "PERMANENT_SESSION_LIFETIME": [1, 1.5, timedelta(seconds=1), timedelta(days=365), 2**31 - 1],
    "SECRET_KEY_FALLBACKS": [None, [], ["old key"], (b"older key", "old key")],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, right in RIGHT.items() for value in right])
def test_a_right_setting_is_taken(client: Any, name: str, value: Any) -> None:
    """Up to the edges of what is accepted."""
    app = Flask("app")
    app.config.update({"SECRET_KEY": SECRET_KEY, "TESTING": True, name: value})
    app.session_interface = RedisSessionInterface(client)
    route(app, "/write", lambda: session.update(n=1))
    assert "Set-Cookie" in app.test_client().get("/write").headers


@pytest.mark.parametrize("key", [None, "", b""])
def test_a_missing_secret_key_stops_the_start_that_checks(client: Any, key: Any) -> None:
    """With the command that makes one. A request has Flask's own NullSession, which can be read."""
    app = Flask("app")
    app.config.update(SECRET_KEY=key, TESTING=True)
    app.session_interface = interface = RedisSessionInterface(client)
    route(app, "/read", lambda: f"{type(session._get_current_object()).__name__} {session.get('n')}")  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"SECRET_KEY is missing.*python3 -c '.*secrets.token_hex\(32\)"):
            interface.check(app)
        assert app.test_client().get("/read").text == "NullSession None"


def test_raw_sids_need_no_secret_key(client: Any) -> None:
    """Nothing is signed."""
    app = Flask("app")
    app.config.update(SESSION_USE_SIGNER=False, TESTING=True)
    app.session_interface = interface = RedisSessionInterface(client)
    interface.check(app)
    route(app, "/write", lambda: session.update(n=1))
    assert set_cookie(app.test_client().get("/write"))


#: What Flask-Session 0.8 reads and we do not, and what a user of it is told.
STRANGE = {
    "SESSION_TYPE": "leave it out",
    "SESSION_REDIS": "RedisSessionInterface",
    "SESSION_KEY_PREFIX": "prefix=",
    "SESSION_SERIALIZATION_FORMAT": "JSON",
    "SESSION_ID_LENGTH": "160",
    "SESSION_CLEANUP_N_REQUESTS": "expired",
    "SESSION_MEMCACHED": "in Redis",
    "SESSION_CACHELIB": "in Redis",
    "SESSION_FILE_DIR": "in Redis",
    "SESSION_FILE_THRESHOLD": "in Redis",
    "SESSION_FILE_MODE": "in Redis",
    "SESSION_MONGODB": "in Redis",
    "SESSION_MONGODB_DB": "in Redis",
    "SESSION_MONGODB_COLLECT": "in Redis",
    "SESSION_SQLALCHEMY": "in Redis",
    "SESSION_SQLALCHEMY_TABLE": "in Redis",
    "SESSION_SQLALCHEMY_SEQUENCE": "in Redis",
    "SESSION_SQLALCHEMY_SCHEMA": "in Redis",
    "SESSION_SQLALCHEMY_BIND_KEY": "in Redis",
    "SESSION_DYNAMODB": "in Redis",
    "SESSION_DYNAMODB_TABLE": "in Redis",
}


@pytest.mark.parametrize("checks", [True, False])
def test_settings_of_flask_session_are_named_once(client: Any, checks: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Each with what to do instead: at the start of an app that checks, else with the first request."""
    app = Flask("app")
    app.config.update(dict.fromkeys(STRANGE, "hunter2"), SECRET_KEY=SECRET_KEY, TESTING=True)
    app.session_interface = interface = RedisSessionInterface(client)
    if checks:
        interface.check(app)
    for after in (1, 2):
        app.test_client().get("/")
        app.config["SESSION_REFRESH_AFTER"] = after
    (line,) = caplog.messages
    parts = line.partition(": ")[2].split("; ")
    assert {part.partition(" ")[0] for part in parts} == set(STRANGE)
    assert all(STRANGE[part.partition(" ")[0]] in part for part in parts)
    assert "hunter2" not in line


def test_settings_that_flask_session_shares_are_not_named(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Flask's, ours, and an app's own."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_PERMANENT=False, SESSION_USE_SIGNER=True, SESSION_COOKIE_PATH="/")
    app.config.update(SESSION_TYPES=["a"], SESSION_REDIS_URL="redis://localhost", MY_SESSION_TYPE="b", SESSION_FILES=1)
    app.session_interface = interface = RedisSessionInterface(client)
    interface.check(app)
    assert caplog.messages == []
