"""Promise 11: with a raw sid in the cookie, a koa-session2 app shares the sessions. With koa itself: conformance/."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask, session
from support.apps import content, route, set_cookie, sid_of

from _redis_store.record import dump_record, load_record

SIDS = ["0123456789abcdef" * 3, "3b241101-e2bb-4255-8caf-4136c566a962"]


@pytest.fixture
def app(app: Flask) -> Flask:
    app.config.update(SESSION_USE_SIGNER=False, SESSION_REFRESH_EACH_REQUEST=False, SESSION_COOKIE_NAME="session")
    route(app, "/read", lambda: repr(dict(session)))
    route(app, "/write", lambda: session.update(flask=[1, {"ü": None}]))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/logout", lambda: session.clear())
    return app


@pytest.mark.parametrize("sid", SIDS)
def test_a_session_that_koa_began_is_read_and_changed_in_place(app: Flask, client: Any, sid: str) -> None:
    """Under its sid, which stays; the cookie is the raw sid, and EX is set as koa sets it."""
    client.set(f"SESSION:{sid}", json.dumps({"koa": "ü😀", "n": 1.5}, ensure_ascii=False), ex=50)
    browser = app.test_client()
    browser.set_cookie("session", sid)
    assert browser.get("/read").text == repr({"koa": "ü😀", "n": 1.5})
    header = str(set_cookie(browser.get("/write")))
    assert header.startswith(f"session={sid};")
    assert sid_of(client) == sid
    assert json.loads(client.get(f"SESSION:{sid}")) == {"koa": "ü😀", "n": 1.5, "flask": [1, {"ü": None}]}


def test_what_koa_reads_are_the_bytes_that_json_stringify_writes(app: Flask, client: Any) -> None:
    """An object without BOM or NaN, in UTF-8, and in it no key that the app did not write."""
    app.test_client().get("/write")
    record = client.get(f"SESSION:{sid_of(client)}")
    assert record == '{"flask":[1,{"ü":null}]}'.encode()


def test_a_signed_in_session_holds_no_key_of_ours_either(app: Flask, client: Any) -> None:
    """Not when it began, nor who is listed: the sid and the index of the owner say that."""
    app.config["SESSION_ABSOLUTE_LIFETIME"] = 1000
    app.test_client().get("/login")
    assert client.get(f"SESSION:{sid_of(client)}") == b'{"user_id":"ada"}'


@pytest.mark.parametrize("sid", SIDS)
def test_logout_deletes_and_never_writes_null(app: Flask, client: Any, sid: str) -> None:
    """koa reads null as a session."""
    client.set(f"SESSION:{sid}", '{"koa":1}', ex=50)
    browser = app.test_client()
    browser.set_cookie("session", sid)
    assert str(set_cookie(browser.get("/logout"))).startswith("session=;")
    assert client.keys() == []


NEARLY = [SIDS[1][:-1], f"{SIDS[1][:-1]}A", SIDS[1].upper(), SIDS[1].replace("-e2bb", ""), "\u0660" * 48]
OURS = "6565a1b2-" + "0123456789abcdef0123" * 2
NEARLY += [OURS[:-1], f"{OURS}0", OURS.upper(), OURS.replace("-", "--"), OURS[1:]]


@pytest.mark.parametrize("value", ["", "x", "0" * 47, "0" * 49, "A" * 48, "../" * 16, "*", "null", *NEARLY])
def test_anything_else_in_the_cookie_is_a_new_session(app: Flask, client: Any, value: str) -> None:
    """Only koa's two forms of a sid, and ours, reach Redis, and only as keys."""
    client.set(f"SESSION:{value}", '{"koa":1}', ex=50)
    browser = app.test_client()
    browser.set_cookie("session", value)
    assert browser.get("/read").text == "{}"


def test_a_session_that_koa_made_larger_than_we_allow_may_shrink(app: Flask, client: Any) -> None:
    """An equal value is no change; a shorter session is one, and is stored."""
    app.config["SESSION_MAX_BYTES"] = 500
    record = '{"note":"' + "\u6f22" * 300 + '","n":1}'
    client.set(f"SESSION:{SIDS[0]}", record, ex=50)
    route(app, "/equal", lambda: session.update(n=1))
    route(app, "/less", lambda: str(session.pop("n")))
    browser = app.test_client()
    browser.set_cookie("session", SIDS[0])
    response = browser.get("/equal")
    assert (response.status_code, set_cookie(response)) == (200, None)
    assert client.get(f"SESSION:{SIDS[0]}") == record.encode()
    assert client.ttl(f"SESSION:{SIDS[0]}") <= 50
    assert browser.get("/less").status_code == 200
    assert content(client) == {"note": "\u6f22" * 300}


#: What JSON.stringify, or a person with redis-cli, writes, and `dump_record` spells in another way.
SPELLED = [
    '{"n":1e+22}',
    '{"n":1E5,"m":0.10}',
    '{ "n" : 1 }',
    ' {"n":1}\n',
    '{"n":"\\u00fc\\/"}',
    '{"n":{" t":[1, 2]}}',
    '{"n":1,"n":2}',
]


@pytest.mark.parametrize("record", SPELLED)
def test_another_spelling_is_the_same_session(app: Flask, client: Any, record: str) -> None:
    """Who only reads it rewrites nothing."""
    client.set(f"SESSION:{SIDS[0]}", record, ex=50)
    browser = app.test_client()
    browser.set_cookie("session", SIDS[0])
    response = browser.get("/read")
    assert (response.status_code, set_cookie(response)) == (200, None)
    assert client.get(f"SESSION:{SIDS[0]}") == record.encode()
    assert client.ttl(f"SESSION:{SIDS[0]}") <= 50
    browser.get("/write")
    assert json.loads(client.get(f"SESSION:{SIDS[0]}")) == {**json.loads(record), "flask": [1, {"ü": None}]}


@pytest.mark.parametrize("record", SPELLED)
def test_a_new_sid_has_the_session_in_our_spelling(app: Flask, client: Any, record: str) -> None:
    """So its size is that of our JSON, also when nothing in it has changed."""
    client.set(f"SESSION:{SIDS[0]}", record, ex=50)
    app.config["SESSION_MAX_BYTES"] = len(ours := dump_record(load_record(record.encode()) or {}))
    route(app, "/move", lambda: session.regenerate())  # type: ignore[attr-defined]
    browser = app.test_client()
    browser.set_cookie("session", SIDS[0])
    assert browser.get("/move").status_code == 200
    assert client.get(f"SESSION:{sid_of(client)}") == ours


def test_login_replaces_the_sid_here_too(app: Flask, client: Any) -> None:
    """Promise 5 needs no signature."""
    client.set(f"SESSION:{SIDS[0]}", '{"koa":1}', ex=50)
    browser = app.test_client()
    browser.set_cookie("session", SIDS[0])
    browser.get("/login")
    assert sid_of(client) != SIDS[0]
    assert content(client) == {"koa": 1, "user_id": "ada"}


def test_no_secret_key_is_needed(app: Flask, client: Any) -> None:
    """There is nothing to sign."""
    app.secret_key = None
    app.test_client().get("/write")
    assert sid_of(client)


@pytest.mark.parametrize("other", ["1e+22", "0.000001", '"\\ud83d"', '"ü"', "[1,2.5]"])
def test_an_equal_value_is_no_change_however_koa_spelled_the_others(app: Flask, client: Any, other: str) -> None:
    """JavaScript writes some numbers in other words, and half a surrogate pair: none of that was changed."""
    client.set(f"SESSION:{SIDS[0]}", record := f'{{"n":1,"other":{other}}}', ex=50)
    route(app, "/equal", lambda: session.update(n=1))
    route(app, "/more", lambda: session.update(n=2))
    browser = app.test_client()
    browser.set_cookie("session", SIDS[0])
    assert set_cookie(browser.get("/equal")) is None
    assert client.get(f"SESSION:{SIDS[0]}") == record.encode()
    browser.get("/more")
    assert json.loads(client.get(f"SESSION:{SIDS[0]}")) == json.loads(record) | {"n": 2}
