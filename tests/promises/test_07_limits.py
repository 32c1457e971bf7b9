"""Promise 7: a session ends when it was idle for too long, and when it is too old, whatever happened to it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from support.apps import content, interface_of, route, set_cookie, sid_of, sign, under_way
from support.clock import Clock

from _redis_store.cookie import choose, read_all
from _redis_store.record import load_record
from _redis_store.settings import read
from _redis_store.sid import began_at, new_sid

IDLE, LIMIT = 1000, 2500  # seconds


class StoppedClock(Clock):
    """Only a test moves it, so that what is left can be told to the second."""

    def __init__(self) -> None:
        super().__init__()
        self.start = int(time.time())

    def __call__(self) -> float:
        return self.start + self.offset


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture(params=[LIMIT, float(LIMIT), timedelta(seconds=LIMIT)], ids=["seconds", "float", "timedelta"])
def limit(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def app(app: Flask) -> Flask:
    app.config.update(PERMANENT_SESSION_LIFETIME=IDLE, SESSION_ABSOLUTE_LIFETIME=LIMIT, SESSION_REFRESH_AFTER=60)
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


def reach(clock: StoppedClock, client: Any, offset: int) -> None:
    """Move both clocks: ours, and with it the TTL of every session in Redis."""
    for key in client.keys("SESSION:*"):
        client.expire(key, client.ttl(key) - (offset - clock.offset))
    clock.offset = offset


def live_on(app: Flask, client: Any, clock: StoppedClock, browser: FlaskClient, path: str, until: int) -> None:
    """Ask for `path` every hundred seconds."""
    for offset in range(clock.offset + 100, until, 100):
        reach(clock, client, offset)
        assert browser.get(path).status_code == 200
        assert len(client.keys("SESSION:*")) == 1


@pytest.mark.parametrize("path", ["/no", "/read", "/write", "/regenerate"])
def test_no_request_keeps_a_session_alive_beyond_the_limit(
    app: Flask, client: Any, clock: StoppedClock, limit: Any, path: str
) -> None:
    """Whether it refreshes, writes or changes the sid: EX and Max-Age are the smaller of what is left."""
    app.config["SESSION_ABSOLUTE_LIFETIME"] = limit
    browser = app.test_client()
    assert max_age_of(browser.get("/start")) == IDLE
    live_on(app, client, clock, browser, path, 1500)
    reach(clock, client, 1500)
    assert max_age_of(browser.get(path)) == IDLE
    reach(clock, client, 1600)
    assert max_age_of(browser.get(path)) == LIMIT - 1600
    assert LIMIT - 1602 <= client.ttl(f"SESSION:{sid_of(client)}") <= LIMIT - 1600
    live_on(app, client, clock, browser, path, LIMIT)
    reach(clock, client, LIMIT)
    assert client.keys("SESSION:*") == []


@pytest.mark.parametrize("path", ["/read", "/write"])
def test_a_record_that_outlived_the_limit_counts_as_gone(
    app: Flask, client: Any, clock: StoppedClock, path: str
) -> None:
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


def test_a_limit_holds_at_once_for_sessions_that_began_before_it(app: Flask, client: Any, clock: StoppedClock) -> None:
    """The sid says when that was: what is left is less from the next request on."""
    app.config["SESSION_ABSOLUTE_LIFETIME"] = None
    browser = app.test_client()
    browser.get("/start")
    reach(clock, client, 500)
    assert max_age_of(browser.get("/no")) == IDLE
    app.config["SESSION_ABSOLUTE_LIFETIME"] = 1200
    assert max_age_of(browser.get("/write")) == 700
    clock.offset = 1201
    assert browser.get("/read").text == "None"


def test_concurrent_writers_do_not_move_the_limit(app: Flask, client: Any, clock: StoppedClock) -> None:
    """All see and keep the same beginning."""
    browser = app.test_client()
    browser.get("/start")
    cookie = browser.get_cookie("session")
    assert cookie
    sid = sid_of(client)
    reach(clock, client, 100)

    def write(number: int) -> None:
        other = app.test_client()
        other.set_cookie("session", cookie.value)
        with other.session_transaction() as changed:
            changed[str(number)] = number

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert len(content(client)) == 41
    assert sid_of(client) == sid
    assert began_at(sid) == clock.start


def test_a_sign_in_begins_anew(app: Flask, client: Any, clock: StoppedClock) -> None:
    """Who has just proved who they are has the whole time before them."""
    browser = app.test_client()
    browser.get("/start")
    live_on(app, client, clock, browser, "/no", 2000)
    assert max_age_of(browser.get("/login")) == IDLE
    assert began_at(sid_of(client)) == clock.start + 1900


@pytest.mark.parametrize("sid", ["0" * 48, "3b241101-e2bb-4255-8caf-4136c566a962"])
def test_a_session_that_koa_began_has_no_limit_until_it_has_a_sid_of_ours(
    app: Flask, client: Any, clock: StoppedClock, sid: str
) -> None:
    """Its own sid does not say when that was; whatever its digits look like."""
    client.set(f"SESSION:{sid}", '{"cart":1}', ex=IDLE)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, sid))
    live_on(app, client, clock, browser, "/no", LIMIT + 500)
    assert sid_of(client) == sid
    assert max_age_of(browser.get("/regenerate")) == IDLE
    assert began_at(sid_of(client)) == clock.start + LIMIT + 400


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("began", [0, 2**32 - 1])
def test_no_visitor_chooses_when_a_session_began(
    app: Flask, client: Any, clock: StoppedClock, began: int, signed: bool
) -> None:
    """A sid that names another time, and no session, is replaced by one of now: no life without end."""
    app.config["SESSION_USE_SIGNER"] = signed
    browser = app.test_client()
    browser.set_cookie("session", sign(app, new_sid(began)))
    assert max_age_of(browser.get("/start")) == IDLE
    assert began_at(sid_of(client)) == clock.start


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_a_record_holds_what_the_app_wrote_alone(app: Flask, client: Any, limit: int | None) -> None:
    """Byte for byte, as koa would write it, whether there is a limit or not; who is signed in changes nothing."""
    app.config["SESSION_ABSOLUTE_LIFETIME"] = limit
    browser = app.test_client()
    browser.get("/start")
    assert client.get(f"SESSION:{sid_of(client)}") == b'{"cart":1}'
    browser.get("/login")
    assert client.get(f"SESSION:{sid_of(client)}") == b'{"cart":1,"user_id":"ada"}'


def test_a_cookie_past_the_limit_costs_no_command(app: Flask, client: Any, clock: StoppedClock) -> None:
    """It tells by itself; refused to the second, like one past its age."""
    browser = app.test_client()
    browser.get("/start")
    settings = read(app, clock)
    assert settings
    clock.offset = LIMIT - 500
    header = f"session={sign(app, sid_of(client))}"
    for offset, sids in ((LIMIT, [sid_of(client)]), (LIMIT + 1, [])):
        clock.offset = offset
        cookie = choose(settings, read_all(settings, header, "session"))
        assert [cookie.sid for cookie in (cookie,) if cookie] == sids


def test_the_limits_hold_for_raw_sids_too(app: Flask, client: Any, clock: StoppedClock) -> None:
    """A raw sid tells the beginning as well."""
    app.config["SESSION_USE_SIGNER"] = False
    browser = app.test_client()
    browser.get("/start")
    live_on(app, client, clock, browser, "/no", LIMIT)
    assert client.ttl(f"SESSION:{sid_of(client)}") <= 100


def test_the_list_tells_when_a_session_was_refreshed_whichever_limit_set_the_ttl(
    app: Flask, client: Any, clock: StoppedClock
) -> None:
    """To the second; and no session is listed that is past the limit."""

    def refreshed() -> list[float]:
        with app.app_context():
            infos = interface_of(app).sessions_of("ada")
        return [info.refreshed.timestamp() - clock.start for info in infos if info.refreshed]

    browser = app.test_client()
    browser.get("/login")
    live_on(app, client, clock, browser, "/no", 1500)
    assert refreshed() == [pytest.approx(1400, abs=2)]
    live_on(app, client, clock, browser, "/no", 2000)
    assert refreshed() == [1900]
    client.persist(f"SESSION:{sid_of(client)}")
    clock.offset = LIMIT + 1
    with app.app_context():
        assert interface_of(app).sessions_of("ada") == []


# What two requests can do to one session. Each is given the name of whoever signs in.


def clears_and_writes(name: str) -> None:
    session.clear()
    session["fresh"] = 1


def logs_in(name: str) -> None:
    session["user_id"] = name


def logs_in_after_clear(name: str) -> None:
    session.clear()
    session["user_id"] = name


def pops_everything(name: str) -> None:
    for key in list(session):
        session.pop(key)


WHAT: dict[str, Callable[[str], object]] = {
    "reads": lambda name: session.get("cart"),
    "writes": lambda name: session.update({f"by {name}": 1}),
    "changes nested": lambda name: session.setdefault("cart", {}).update({name: 1}),
    "pops the last key": pops_everything,
    "clears": lambda name: session.clear(),
    "clears and writes": clears_and_writes,
    "logs in": logs_in,
    "logs in after clear": logs_in_after_clear,
    "logs out by pop": lambda name: session.pop("user_id", None),
    "regenerates": lambda name: session.regenerate(),  # type: ignore[attr-defined]
    "sets permanent": lambda name: setattr(session, "permanent", True),
    "refreshes untouched": lambda name: None,
}
LOGINS = {"logs in", "logs in after clear"}
STARTS: dict[str, dict[str, Any]] = {
    "a visitor": {"cart": {"pear": 1}},
    "a user": {"cart": {"pear": 1}, "user_id": "ada"},
}
FIRST, LATE = 200, 300  # when the two requests end, in seconds from the beginning of the session


def left_by(first: str, start: str) -> tuple[str, set[int]]:
    """Where the session is after the first request, and when what there is began."""
    if first in ("clears", "pops the last key"):
        return "ended", set()
    if first in LOGINS:
        return "gone", {FIRST}  # to a new sid, to which nothing leads
    if first == "regenerates":
        return "moved", {0}  # to a new sid, to which a trail leads
    if start == "a user" and first in ("clears and writes", "logs out by pop"):
        return "gone", {0}
    return "here", {0}


def expected(late: str, first: str, start: str) -> set[int]:
    """When the sessions began that there are in the end, if the late request had read its session before."""
    where, left = left_by(first, start)
    if late in LOGINS:  # which takes the session that it finds; a trail is followed by who clears
        ends = where == "here" or (where == "moved" and late == "logs in after clear")
        return {LATE} if ends else left | {LATE}
    if late == "clears":
        return set() if where in ("here", "moved") else left
    signs_out = start == "a user" and late in ("pops the last key", "clears and writes", "logs out by pop")
    if where == "moved" and signs_out:
        return set()
    if where == "here" and late == "pops the last key":  # but not what the other one put in
        return left if first in ("writes", "clears and writes") else set()
    return left


def expected_in_turn(late: str, first: str, start: str) -> set[int]:
    """The same, if the late request reads its session only after the other one, with the cookie from before."""
    where, left = left_by(first, start)
    if where == "here":
        return set() if late == "pops the last key" else expected(late, first, start)
    if where == "moved" and late in ("clears", "clears and writes", "logs in after clear"):
        left = set()
    begins = late in LOGINS or late in ("writes", "changes nested", "clears and writes")
    return left | {LATE} if begins else left


def check_pair(app: Flask, client: Any, clock: StoppedClock, late: str, first: str, start: str, reads: bool) -> None:
    """Let one request be under way while another runs; check when what there is then began, and how long it lasts."""
    app.config["PERMANENT_SESSION_LIFETIME"] = 2 * LIMIT  # so that the absolute limit says how long
    browser = app.test_client()
    with browser.session_transaction() as begun:
        begun.update(STARTS[start])
    reach(clock, client, 100)
    with under_way(app, browser) as response:
        if reads and late != "refreshes untouched":
            assert dict(session) == STARTS[start]
        reach(clock, client, FIRST)
        with under_way(app, browser) as other:
            WHAT[first]("bob")
        assert max_age_of(other) in (None, 0, LIMIT - FIRST, LIMIT)
        reach(clock, client, LATE)
        WHAT[late]("eve")
    there = {key.decode().removeprefix("SESSION:"): client.get(key) for key in client.keys("SESSION:*")}
    began = {sid: (began_at(sid) or 0) - clock.start for sid in there}
    assert sorted(began.values()) == sorted((expected if reads else expected_in_turn)(late, first, start))
    for sid, record in there.items():
        user = (load_record(record) or {}).get("user_id")
        if user:  # one login has one beginning
            assert began[sid] == {"ada": 0, "bob": FIRST, "eve": LATE}[user]
        assert began[sid] + LIMIT - LATE - 2 <= client.ttl(f"SESSION:{sid}") <= began[sid] + LIMIT - LATE
    if max_age := max_age_of(response):
        sid = str(set_cookie(response)).removeprefix("session=").partition(".")[0]
        assert max_age == began[sid] + LIMIT - LATE


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("first", WHAT)
@pytest.mark.parametrize("late", WHAT)
def test_no_two_requests_at_once_move_the_beginning_of_a_session(
    app: Flask, client: Any, clock: StoppedClock, late: str, first: str, start: str
) -> None:
    """One has read the session, and saves it after the other came and went: only a login begins another."""
    check_pair(app, client, clock, late, first, start, reads=True)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("first", WHAT)
@pytest.mark.parametrize("late", WHAT)
def test_no_request_with_the_cookie_from_before_moves_the_beginning_of_a_session(
    app: Flask, client: Any, clock: StoppedClock, late: str, first: str, start: str
) -> None:
    """One reads the session only when the other has come and gone: a login, or a first write, begins another."""
    check_pair(app, client, clock, late, first, start, reads=False)


@pytest.mark.parametrize("start", STARTS)
def test_a_session_that_one_request_empties_while_another_writes_to_it_keeps_its_beginning(
    app: Flask, client: Any, clock: StoppedClock, start: str
) -> None:
    """What was written stays, and the absolute limit counts on: in the sid, in EX and in Max-Age."""
    app.config["PERMANENT_SESSION_LIFETIME"] = 2 * LIMIT
    browser = app.test_client()
    with browser.session_transaction() as begun:
        begun.update(STARTS[start])
    reach(clock, client, 100)
    with under_way(app, browser) as response:
        pops_everything("")
        browser.get("/write")
    assert content(client) == {"n": 1}
    assert began_at(sid_of(client)) == clock.start
    assert max_age_of(response) == LIMIT - 100
    assert LIMIT - 102 <= client.ttl(f"SESSION:{sid_of(client)}") <= LIMIT - 100
