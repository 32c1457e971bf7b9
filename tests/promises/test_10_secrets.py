"""Promise 10: secrets stay secret."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import pytest
from flask import Flask, session
from itsdangerous import TimestampSigner
from support.apps import SECRET_KEY, route, set_cookie, sid_of

from redis_store import RedisSessionInterface, RedisStore, connect


@pytest.fixture
def app(app: Flask) -> Flask:
    route(app, "/start", lambda: session.update(n=1))
    route(app, "/read", lambda: str(session.get("n")))
    return app


def test_the_signature_is_sha_256(app: Flask) -> None:
    """itsdangerous alone would take SHA-1; anybody can check ours with the key, the salt and these parameters."""
    signer = TimestampSigner(SECRET_KEY, "redis-session", key_derivation="hmac", digest_method=hashlib.sha256)
    browser = app.test_client()
    browser.get("/start")
    cookie = browser.get_cookie("session")
    assert cookie
    assert signer.unsign(cookie.value)
    assert not TimestampSigner(SECRET_KEY, "redis-session").validate(cookie.value)


@pytest.mark.parametrize("salt", ["cookie-session", "another"])
def test_what_the_same_key_signed_for_another_purpose_is_no_session(app: Flask, client: Any, salt: str) -> None:
    """The salt keeps them apart."""
    app.test_client().get("/start")
    signer = TimestampSigner(SECRET_KEY, salt, key_derivation="hmac", digest_method=hashlib.sha256)
    browser = app.test_client()
    browser.set_cookie("session", signer.sign(f"{sid_of(client)}.p").decode())
    assert browser.get("/read").text == "None"


def test_a_dump_of_redis_yields_no_usable_cookie(app: Flask, client: Any) -> None:
    """Neither a key nor a record, nor anything put together from them, opens a session."""
    app.test_client().get("/start")
    dump = [client.get(key).decode() for key in client.keys()] + [key.decode() for key in client.keys()]
    sid = sid_of(client)
    for value in [*dump, sid, f"{sid}.p", f"{sid}.p.AAAAAA.{'A' * 43}"]:
        browser = app.test_client()
        browser.set_cookie("session", value)
        assert browser.get("/read").text == "None"


def test_an_empty_or_one_letter_key_signs_nothing_that_is_accepted(app: Flask, client: Any) -> None:
    """A fallback given as a string would be a list of letters: refused (test_09_bad_settings.py)."""
    app.test_client().get("/start")
    for key in ("", SECRET_KEY[0], SECRET_KEY[-1]):
        signer = TimestampSigner(key, "redis-session", key_derivation="hmac", digest_method=hashlib.sha256)
        browser = app.test_client()
        browser.set_cookie("session", signer.sign(f"{sid_of(client)}.p").decode())
        assert browser.get("/read").text == "None"


def test_no_log_line_and_no_exception_names_a_sid(make_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Through every way in which a request can go wrong, at the most talkative level."""
    caplog.set_level(logging.DEBUG)
    server = make_server()
    client = server.connect()
    app = Flask("app")
    app.secret_key = SECRET_KEY
    app.session_interface = RedisSessionInterface(client)
    route(app, "/start", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/bad", lambda: session.update(bad={1}))
    browser = app.test_client()
    browser.get("/start")
    sid = sid_of(client)
    client.config_set("maxmemory", 1)
    browser.get("/start")
    browser.get("/login")
    client.config_set("maxmemory", 0)
    client.acl_setuser("default", enabled=True, nopass=True, reset_keys=True, keys=["other:*"], commands=["+@all"])
    browser.get("/start")
    browser.get("/login")
    client.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all"])
    browser.get("/bad")
    client.execute_command("SET", f"SESSION:{sid}", "garbage")
    browser.get("/start")
    server.stop()
    browser.get("/start")
    assert len(caplog.records) > 6
    assert sid not in caplog.text


def test_two_visitors_never_share_a_sid(app: Flask, client: Any) -> None:
    """A new sid for each first write."""
    for _ in range(100):
        app.test_client().get("/start")
    assert len(client.keys("SESSION:*")) == 100


def test_the_cookie_is_httponly_by_default(app: Flask) -> None:
    """Scripts of the page cannot read it."""
    assert "HttpOnly" in str(set_cookie(app.test_client().get("/start")))


def test_a_store_shows_no_url_and_no_password() -> None:
    """Neither in its repr nor in the error for a wrong URL."""
    store = RedisStore(connect("redis://:hunter22@localhost:1/0"))
    assert "hunter22" not in repr(store)
    with pytest.raises(ValueError, match="redis://") as caught:
        connect("http://:hunter22@localhost")
    assert "hunter22" not in str(caught.value)


def test_the_settings_of_a_request_do_not_show_the_key(app: Flask) -> None:
    """Trackers of errors keep the local variables of each frame, by their repr()."""
    with app.test_client() as browser, browser.session_transaction() as opened:
        settings = opened.settings  # type: ignore[attr-defined]
        assert settings.keys == (SECRET_KEY,)
        assert SECRET_KEY not in repr(settings)
