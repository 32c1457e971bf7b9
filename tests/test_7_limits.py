"""Promise 7: a session ends when it was idle for too long, and when it is too old, whatever happened to it."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from conftest import Clock, interface_of, route, set_cookie, sid_of
from flask import Flask, session
from flask.testing import FlaskClient

from redis_store import BORN, stamp

IDLE, LIMIT = 1000, 2500  # seconds


@pytest.fixture(params=[LIMIT, float(LIMIT), timedelta(seconds=LIMIT)], ids=["seconds", "float", "timedelta"])
def limit(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def app(app: Flask) -> Flask:
    app.config.update(PERMANENT_SESSION_LIFETIME=IDLE, SESSION_ABSOLUTE_LIFETIME=LIMIT)
    route(app, "/no", lambda: "public")
    route(app, "/read", lambda: str(session.get("cart")))
    route(app, "/start", lambda: session.update(cart=1))
    route(app, "/write", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    return app


def max_age_of(response: Any) -> int | None:
    """What the response's cookie says, if there is one."""
    match = re.search(r"Max-Age=(\d+)", set_cookie(response) or "")
    return int(match[1]) if match else None


def reach(clock: Clock, client: Any, offset: int) -> None:
    """Move both clocks: ours, and with it the TTL of every session in Redis."""
    for key in client.keys("SESSION:*"):
        client.expire(key, client.ttl(key) - (offset - clock.offset))
    clock.offset = offset


def live_on(app: Flask, client: Any, clock: Clock, browser: FlaskClient, path: str, until: int) -> None:
    """Ask for `path` every hundred seconds."""
    for offset in range(clock.offset + 100, until, 100):
        reach(clock, client, offset)
        assert browser.get(path).status_code == 200
        assert len(client.keys("SESSION:*")) == 1


@pytest.mark.parametrize("path", ["/no", "/read", "/write", "/regenerate"])
def test_no_request_keeps_a_session_alive_beyond_the_limit(
    app: Flask, client: Any, clock: Clock, limit: Any, path: str
) -> None:
    """Whether it refreshes, writes or changes the sid: EX and Max-Age are the smaller of what is left."""
    app.config["SESSION_ABSOLUTE_LIFETIME"] = limit
    browser = app.test_client()
    assert max_age_of(browser.get("/start")) == IDLE
    live_on(app, client, clock, browser, path, 1500)
    reach(clock, client, 1500)
    assert max_age_of(browser.get(path)) in (IDLE - 1, IDLE)
    reach(clock, client, 1600)
    assert max_age_of(browser.get(path)) in (LIMIT - 1601, LIMIT - 1600)
    assert LIMIT - 1602 <= client.ttl(f"SESSION:{sid_of(client)}") <= LIMIT - 1600
    live_on(app, client, clock, browser, path, LIMIT)
    reach(clock, client, LIMIT)
    assert client.keys("SESSION:*") == []


@pytest.mark.parametrize("path", ["/read", "/write"])
def test_a_record_that_outlived_the_limit_counts_as_gone(app: Flask, client: Any, clock: Clock, path: str) -> None:
    """Its EX was set by somebody who knows no limit, or the limit was lowered since."""
    browser = app.test_client()
    browser.get("/start")
    old = sid_of(client)
    app.config["SESSION_ABSOLUTE_LIFETIME"] = 300
    clock.offset = 301
    browser.get(path)
    session_now = [json.loads(client.get(key)) for key in client.keys("SESSION:*") if key != f"SESSION:{old}".encode()]
    assert all("cart" not in record for record in session_now)
    assert browser.get("/read").text == "None"
    assert client.ttl(f"SESSION:{old}") > 0, "nothing deleted that might be evidence"


def test_concurrent_writers_do_not_move_the_limit(app: Flask, client: Any) -> None:
    """All see and keep the same beginning."""
    browser = app.test_client()
    browser.get("/start")
    cookie = browser.get_cookie("session")
    assert cookie
    born = json.loads(client.get(f"SESSION:{sid_of(client)}"))[BORN]

    def write(number: int) -> None:
        other = app.test_client()
        other.set_cookie("session", cookie.value)
        with other.session_transaction() as changed:
            changed[str(number)] = number

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    record = json.loads(client.get(f"SESSION:{sid_of(client)}"))
    assert len(record) == 42
    assert record[BORN] == born


def test_a_sign_in_begins_anew(app: Flask, client: Any, clock: Clock) -> None:
    """Who has just proved who they are has the whole time before them."""
    browser = app.test_client()
    browser.get("/start")
    live_on(app, client, clock, browser, "/no", 2000)
    assert max_age_of(browser.get("/login")) == IDLE
    assert json.loads(client.get(f"SESSION:{sid_of(client)}"))[BORN] == pytest.approx(time.time() + 1900, abs=5)


def test_the_limit_counts_from_the_first_refresh_for_who_did_not_say(app: Flask, client: Any, clock: Clock) -> None:
    """A session that koa began, or that began before there was a limit: once seen, it has a beginning."""
    app.config["SESSION_ABSOLUTE_LIFETIME"] = None
    browser = app.test_client()
    browser.get("/start")
    assert BORN.encode() not in client.get(f"SESSION:{sid_of(client)}")
    app.config["SESSION_ABSOLUTE_LIFETIME"] = LIMIT
    browser.get("/read")
    assert BORN.encode() not in client.get(f"SESSION:{sid_of(client)}"), "reading alone never writes"
    clock.offset = 61
    assert max_age_of(browser.get("/no")) == IDLE
    assert json.loads(client.get(f"SESSION:{sid_of(client)}"))[BORN] == pytest.approx(time.time() + 61, abs=5)


def test_the_limit_counts_from_the_first_change_too(app: Flask, client: Any) -> None:
    """Also from one inside a list, which is never followed by a refresh if the next one comes soon."""
    app.config["SESSION_ABSOLUTE_LIFETIME"] = None
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["list"] = []
    app.config["SESSION_ABSOLUTE_LIFETIME"] = LIMIT
    with browser.session_transaction() as changed:
        changed["list"].append(1)
    assert json.loads(client.get(f"SESSION:{sid_of(client)}"))[BORN] == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("born", ["x", None, False, -5, 2**33, 1e300, 10**400, [], {"a": 1}])
def test_a_planted_beginning_counts_as_none(app: Flask, client: Any, clock: Clock, born: Any) -> None:
    """No error, and no life without end: the limit counts from the next refresh."""
    browser = app.test_client()
    browser.get("/start")
    client.set(f"SESSION:{sid_of(client)}", json.dumps({"cart": 1, BORN: born}), ex=IDLE)
    clock.offset = 61
    assert browser.get("/read").text == "1"
    record = json.loads(client.get(f"SESSION:{sid_of(client)}"))
    assert record[BORN] == pytest.approx(time.time() + 61, abs=5)


def test_the_app_does_not_see_the_beginning(app: Flask, client: Any) -> None:
    """It is no key of the session, cannot be changed there, and an empty session is still empty."""
    browser = app.test_client()
    browser.get("/start")
    before = client.get(f"SESSION:{sid_of(client)}")
    with browser.session_transaction() as changed:
        assert dict(changed) == {"cart": 1}
        changed[BORN] = 1
    assert client.get(f"SESSION:{sid_of(client)}") == before
    with browser.session_transaction() as changed:
        changed.pop("cart")
    assert client.keys() == []


def test_without_a_limit_an_anonymous_record_holds_what_the_app_wrote_alone(app: Flask, client: Any) -> None:
    """Byte for byte, as koa would write it."""
    app.config["SESSION_ABSOLUTE_LIFETIME"] = None
    app.test_client().get("/start")
    assert client.get(f"SESSION:{sid_of(client)}") == b'{"cart":1}'


def test_a_cookie_past_the_limit_costs_no_command(app: Flask, client: Any, clock: Clock) -> None:
    """It tells by itself; refused to the second, like one past its age."""
    browser = app.test_client()
    browser.get("/start")
    interface = interface_of(app)
    value = interface.make_cookie(app, sid_of(client), True, time.time() + 500)
    for offset, sid in ((499, sid_of(client)), (501, "")):
        clock.offset = offset
        assert interface.read_cookie(app, value)[0] == sid


def test_the_limits_hold_for_raw_sids_too(app: Flask, client: Any, clock: Clock) -> None:
    """The record tells the beginning."""
    app.config["SESSION_USE_SIGNER"] = False
    browser = app.test_client()
    browser.get("/start")
    live_on(app, client, clock, browser, "/no", LIMIT)
    assert client.ttl(f"SESSION:{sid_of(client)}") <= 100


def test_the_stamp_is_the_last_key_and_none_in_an_empty_session() -> None:
    """So that a record that did not change is the same bytes."""
    assert list(stamp({BORN: 1, "a": 2}, 5)) == ["a", BORN]
    assert stamp({"a": 2}, 0) == {"a": 2}
    assert stamp({BORN: 1}, 5) == {}


def test_the_list_does_not_guess_when_the_absolute_limit_set_the_ttl(app: Flask, client: Any, clock: Clock) -> None:
    """Then nobody can tell when that was; nor is a session listed that is past the limit."""

    def refreshed() -> list[bool]:
        with app.app_context():
            return [info.refreshed is not None for info in interface_of(app).sessions_of("ada")]

    browser = app.test_client()
    browser.get("/login")
    live_on(app, client, clock, browser, "/no", 1500)
    assert refreshed() == [True]
    live_on(app, client, clock, browser, "/no", 2000)
    assert refreshed() == [False]
    client.persist(f"SESSION:{sid_of(client)}")
    clock.offset = LIMIT + 1
    assert refreshed() == []
