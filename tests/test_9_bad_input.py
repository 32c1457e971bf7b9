"""Promise 9: any cookie, any stored bytes, any value: nothing special. Stored bytes: test_store.py, too."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from conftest import SECRET_KEY, interface_of, route, set_cookie, sid_of, sign
from flask import Flask, session
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_3_logout_is_final import under_way
from werkzeug.http import dump_cookie

from redis_store import RedisSessionInterface, load_record

SID = "0123456789abcdef" * 3


def stubborn() -> None:
    with suppress(LookupError):
        print(session["n"])
    session["n"] = 1


@pytest.fixture
def app(app: Flask) -> Flask:
    route(app, "/read", lambda: repr(dict(session)))
    route(app, "/stubborn", stubborn)
    route(app, "/write", lambda: session.update(n=1))
    route(app, "/set", lambda: session.update(fine=1, cart={"items": {1, 2}}))
    route(app, "/big", lambda: session.update(big="x" * 10_000_000))
    route(app, "/grow", lambda: session.update(big=session.get("big", "") + "x" * 400))
    return app


no_fixture_check = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
shaped = st.from_regex(r"[0-9a-f]{48}\.[pb]\.[A-Za-z0-9_-]{1,11}\.[A-Za-z0-9_-]{43}", fullmatch=True)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")) | shaped)
@no_fixture_check
def test_any_cookie_is_a_new_session(app: Flask, value: str) -> None:
    """Never an error, never a session, never another cookie for a reader."""
    header = dump_cookie("session", value, max_size=0).partition(";")[0]
    response = app.test_client(use_cookies=False).get("/read", headers={"Cookie": header})
    assert (response.status_code, response.text) == (200, "{}")
    assert set_cookie(response) is None


def test_a_time_that_is_none_is_no_session_even_if_we_signed_it(app: Flask, client: Any) -> None:
    """Base64 of this length does not exist."""
    client.set(f"SESSION:{SID}", '{"n":1}', ex=100)
    signer = interface_of(app).get_signer(app)
    browser = app.test_client()
    for at in ("x", "xxxxx", "xxxxxxxxx", "-----------"):
        value = f"{SID}.p.{at}"
        browser.set_cookie("session", f"{value}.{signer.get_signature(value).decode()}")
        assert browser.get("/read").text == "{}"


@pytest.mark.parametrize(
    "value", ["", "p", SID, f"{SID}.", f"{SID}.x", f"{SID}xp", f"{SID}0.p", f"{SID[1:]}.p", f"{SID.upper()}.p"]
)
def test_what_we_signed_ourselves_has_to_look_right_too(app: Flask, client: Any, value: str) -> None:
    """An older version, or another program with our key and salt, may have made it."""
    client.set(f"SESSION:{SID}", '{"n":1}', ex=100)
    interface = app.session_interface
    assert isinstance(interface, RedisSessionInterface)
    interface.check(app)
    browser = app.test_client()
    browser.set_cookie("session", interface.get_signer(app).sign(value).decode())
    assert browser.get("/read").text == "{}"


@given(st.binary() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(repr).map(str.encode))
@no_fixture_check
def test_any_stored_bytes_that_are_no_session_make_a_new_one(app: Flask, client: Any, record: bytes) -> None:
    """Reading never fails; what the visitor writes goes to a new sid; the bytes stay as they are."""
    assume(load_record(record) is None)
    client.flushall()
    client.set(f"SESSION:{SID}", record, ex=100)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, SID))
    assert browser.get("/read").text == "{}"
    assert browser.get("/write").status_code == 200
    assert client.get(f"SESSION:{SID}") == record
    assert len(client.keys("SESSION:*")) == 2


@pytest.mark.parametrize("path", ["/read", "/write"])
def test_garbage_is_one_log_line_without_the_sid(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """Enough to find out, and no more than is safe."""
    client.set(f"SESSION:{SID}", b"\x00garbage", ex=100)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, SID))
    browser.get(path)
    assert len([record for record in caplog.records if record.name == "redis_store"]) == 1
    assert SID not in caplog.text
    assert "garbage" not in caplog.text


def test_a_log_filter_that_reads_the_session_does_not_hang(app: Flask, client: Any) -> None:
    """It sees an empty one while the record is being read."""
    seen = []

    def look(record: logging.LogRecord) -> bool:
        seen.append(dict(session))
        return True

    client.set(f"SESSION:{SID}", b"garbage", ex=100)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, SID))
    logger = logging.getLogger("redis_store")
    logger.addFilter(look)
    try:
        assert browser.get("/read").text == "{}"
    finally:
        logger.removeFilter(look)
    assert seen == [{}]


def test_a_log_filter_that_fails_loses_no_change(app: Flask, client: Any) -> None:
    """What the reading raises reaches the view, each time, instead of an answer that pretends."""

    def fail(record: logging.LogRecord) -> bool:
        raise LookupError

    client.set(f"SESSION:{SID}", b"garbage", ex=100)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, SID))
    logger = logging.getLogger("redis_store")
    logger.addFilter(fail)
    try:
        for path in ("/write", "/stubborn"):
            with pytest.raises(LookupError):
                browser.get(path)
    finally:
        logger.removeFilter(fail)
    assert browser.get("/write").status_code == 200
    assert len(client.keys("SESSION:*")) == 2


def test_clearing_a_malformed_session_deletes_no_evidence(app: Flask, client: Any) -> None:
    """The record stays, and the cookie is left alone."""
    client.set(f"SESSION:{SID}", b"garbage", ex=100)
    with app.test_request_context(headers={"Cookie": f"session={sign(app, SID)}"}):
        session.clear()
        response = app.process_response(app.response_class())
    assert client.get(f"SESSION:{SID}") == b"garbage"
    assert set_cookie(response) is None


def test_a_planted_pickle_is_not_executed(app: Flask, client: Any, tmp_path: Any) -> None:
    """JSON only."""
    victim = tmp_path / "victim"
    client.set(f"SESSION:{SID}", f"cbuiltins\nopen\n(S'{victim}'\nS'w'\ntR.".encode(), ex=100)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, SID))
    assert browser.get("/read").text == "{}"
    assert not victim.exists()


def test_a_value_that_json_cannot_keep_is_an_error_and_nothing_is_written(app: Flask, client: Any) -> None:
    """In tests it is raised, with key and type; neither record nor cookie come of it."""
    with pytest.raises(TypeError, match=r"'cart'.* of type dict.*set is not JSON serializable"):
        app.test_client().get("/set")
    app.testing = False
    response = app.test_client().get("/set")
    assert (response.status_code, set_cookie(response)) == (500, None)
    assert client.keys() == []


def test_a_session_over_the_limit_is_refused(app: Flask, client: Any) -> None:
    """Ten million bytes are over the default of one MiB; the message has both numbers."""
    with pytest.raises(ValueError, match=r"1000\d{4} bytes; SESSION_MAX_BYTES allows 1048576"):
        app.test_client().get("/big")
    assert client.keys() == []


def test_the_limit_is_exact_and_the_old_record_stays(app: Flask, client: Any) -> None:
    """SESSION_MAX_BYTES is the size of the JSON; a session at the limit is fine."""
    app.config["SESSION_MAX_BYTES"] = len('{"big":""}') + 800
    browser = app.test_client()
    browser.get("/grow")
    browser.get("/grow")
    record = client.get(f"SESSION:{sid_of(client)}")
    assert len(record) == app.config["SESSION_MAX_BYTES"]
    with pytest.raises(ValueError, match="SESSION_MAX_BYTES"):
        browser.get("/grow")
    assert client.get(f"SESSION:{sid_of(client)}") == record


def test_a_session_that_is_over_the_limit_already_may_shrink(app: Flask, client: Any) -> None:
    """koa wrote it, or the limit was lowered: it can be signed out of."""
    browser = app.test_client()
    browser.get("/grow")
    app.config["SESSION_MAX_BYTES"] = 100
    with browser.session_transaction() as small:
        small["big"] = small["big"][:300]
    assert len(client.get(f"SESSION:{sid_of(client)}")) == 310
    with pytest.raises(ValueError, match="SESSION_MAX_BYTES"):
        browser.get("/grow")


def test_a_merged_session_over_the_limit_is_refused(app: Flask, client: Any) -> None:
    """Each half fits, both together do not; the one that came first stays."""
    app.config["SESSION_MAX_BYTES"] = 600
    browser = app.test_client()
    browser.get("/write")
    cookie = browser.get_cookie("session")
    assert cookie
    with app.test_request_context(headers={"Cookie": f"session={cookie.value}"}):
        session["mine"] = "x" * 400
        browser.get("/grow")
        record = client.get(f"SESSION:{sid_of(client)}")
        with pytest.raises(ValueError, match="SESSION_MAX_BYTES allows 600"):
            app.process_response(app.response_class())
    assert client.get(f"SESSION:{sid_of(client)}") == record


def test_a_regeneration_over_the_limit_leaves_no_trail(app: Flask, client: Any) -> None:
    """Nothing at all is written before the error."""
    browser = app.test_client()
    browser.get("/write")
    keys = client.keys()
    with pytest.raises(ValueError, match="SESSION_MAX_BYTES"), under_way(app, browser):
        session.update(big="x" * 2_000_000, moves=session.regenerate())  # type: ignore[attr-defined]
    assert client.keys() == keys


def test_a_setting_is_checked_for_each_interface_of_an_app(app: Flask, client: Any) -> None:
    """Also for one that replaces another."""
    app.test_client().get("/read")
    app.config["SESSION_MAX_BYTES"] = "1M"
    app.session_interface = RedisSessionInterface(client)
    with pytest.raises(ValueError, match="SESSION_MAX_BYTES"):
        app.test_client().get("/read")


def test_a_wrong_setting_is_one_error_in_the_log(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Flask saves no session that it could not open."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_BYTES="1M")
    app.session_interface = RedisSessionInterface(client)
    assert app.test_client().get("/").status_code == 500
    assert "SESSION_MAX_BYTES" in caplog.text
    assert "AttributeError" not in caplog.text


WRONG: dict[str, list[Any]] = {
    "SESSION_COOKIE_SECURE": ["False", ""],
    "SESSION_COOKIE_HTTPONLY": ["False"],
    "SESSION_COOKIE_PARTITIONED": ["False"],
    "SESSION_REFRESH_EACH_REQUEST": ["False"],
    "SESSION_USE_SIGNER": ["yes", 1, None],
    "SESSION_PERMANENT": ["no", 0],
    "SESSION_REFRESH_AFTER": [-1, 1.5, "60", True, None],
    "SESSION_MAX_BYTES": [0, -1, "1M", None],
    "SESSION_OWNER_KEYS": ["user_id", [1], {"user_id"}, None],
    "SESSION_COOKIE_SAMESITE": ["", "loose", True],
    "PERMANENT_SESSION_LIFETIME": [0, 0.5, -1, "604800", None, 2**31, float("nan")],
    "SECRET_KEY_FALLBACKS": ["old key", ["good key", ""], [5], {"a": 1}],
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
    "SESSION_COOKIE_SECURE": [True, False, None],
    "SESSION_PERMANENT": [True, False],
    "SESSION_REFRESH_AFTER": [0, 1],
    "SESSION_MAX_BYTES": [10**9],
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
    assert set_cookie(app.test_client().get("/write"))
