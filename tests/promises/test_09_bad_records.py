"""Promise 9: any stored bytes, any value: nothing special. What the store makes of them: test_store.py."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import pytest
from flask import Flask, session
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.apps import route, set_cookie, sid_of, sign, under_way

from _redis_store.record import load_record

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
