"""Promise 6: an owner's sessions can be listed and ended, whatever happens at the same time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from conftest import SECRET_KEY, Clock, RedisServer, crash_after, interface_of, route, set_cookie, sid_of
from flask import Flask, request, session
from flask.testing import FlaskClient
from itsdangerous import TimestampSigner
from turns import Turns, orders

from owner_index import OwnerIndex
from redis_store import Line, RedisSessionInterface, SessionInfo, StoreUnavailable

IDLE = 31 * 24 * 3600  # Flask's default, in seconds


@pytest.fixture
def app(app: Flask) -> Flask:
    add_views(app)
    return app


def add_views(app: Flask) -> None:
    route(app, "/login", lambda: session.update(user_id=request.args.get("user", "ada")))
    route(app, "/logout", lambda: session.clear())
    route(app, "/pop", lambda: session.pop("user_id"))
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    route(app, "/write", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/user", lambda: str(session.get("user_id")))


def sessions_of(app: Flask, owner: object = "ada") -> list[SessionInfo]:
    with app.app_context():
        return interface_of(app).sessions_of(owner)


def revoke(app: Flask, owner: object = "ada", keep: str | None = None) -> int:
    with app.app_context():
        return interface_of(app).revoke(owner, keep)


def signed_in(app: Flask, user: str = "ada") -> FlaskClient:
    browser = app.test_client()
    browser.get(f"/login?user={user}")
    return browser


def cookie_of(browser: FlaskClient) -> str:
    cookie = browser.get_cookie("session")
    assert cookie
    return cookie.value


def listed(client: Any, owner: str = "ada") -> set[str]:
    """The sids in the owner's list."""
    return {sid.decode() for sid in client.zrange(f"OWNER:SESSION:{owner}", 0, -1)}


def live(client: Any) -> set[str]:
    return {key.decode().removeprefix("SESSION:") for key in client.keys("SESSION:*")}


def owned(client: Any) -> set[str]:
    """The sessions that live, and are not anonymous."""
    return {sid for sid in live(client) if b"user_id" in client.get(f"SESSION:{sid}")}


def test_the_sessions_of_an_owner_are_listed_oldest_first(app: Flask, client: Any, clock: Clock) -> None:
    """When each began, when it was last kept alive, and what the app keeps in it."""
    clock.offset = -1000
    first = signed_in(app)
    clock.offset = 0
    signed_in(app).get("/write")
    signed_in(app, "bob")
    client.expire(f"SESSION:{cookie_of(first)[:48]}", IDLE - 100)  # a hundred seconds have gone by since its refresh
    older, newer = sessions_of(app)
    assert older.sid == cookie_of(first)[:48]
    assert (older.session, newer.session) == ({"user_id": "ada"}, {"user_id": "ada", "n": 1})
    now = time.time()
    assert older.created is not None
    assert older.refreshed is not None
    assert older.created.timestamp() == pytest.approx(now - 1000, abs=5)
    assert older.refreshed.timestamp() == pytest.approx(now - 100, abs=5)
    assert older.created.tzinfo is UTC
    assert newer.refreshed is not None
    assert newer.refreshed.timestamp() == pytest.approx(now, abs=5)


def test_what_names_a_session_does_not_open_it(app: Flask) -> None:
    """Neither the handle nor the text form holds its sid."""
    signed_in(app)
    (info,) = sessions_of(app)
    assert len(info.handle) == 16
    assert info.handle not in info.sid
    assert info.sid not in repr(info)
    assert info.sid[:8] not in repr(info)


@pytest.mark.parametrize("owner", [5, "5"])
def test_owners_are_compared_as_text(app: Flask, owner: object) -> None:
    """Flask-Login turns every id into text, and so does a URL."""
    with app.test_client() as browser, browser.session_transaction() as login:
        login["_user_id"] = owner
    assert len(sessions_of(app, 5)) == len(sessions_of(app, "5")) == 1
    assert revoke(app, "5") == 1


def test_revoke_ends_all_sessions_of_the_owner_and_of_nobody_else(app: Flask, client: Any) -> None:
    """It says how many there were; the cookies are worth nothing."""
    mine, other = [signed_in(app) for _ in range(3)], signed_in(app, "bob")
    assert revoke(app) == 3
    assert {browser.get("/user").text for browser in mine} == {"None"}
    assert other.get("/user").text == "bob"
    assert sessions_of(app) == []
    assert not client.exists("OWNER:SESSION:ada")
    assert revoke(app) == 0


def test_revoke_keeps_the_session_that_is_named(app: Flask) -> None:
    """For "sign out everywhere else"."""
    here, there = signed_in(app), signed_in(app)
    assert revoke(app, keep=cookie_of(here)[:48]) == 1
    assert (here.get("/user").text, there.get("/user").text) == ("ada", "None")
    assert [info.sid for info in sessions_of(app)] == [cookie_of(here)[:48]]


def test_revoke_ends_more_than_one_round_trip_can_name(app: Flask, client: Any) -> None:
    """A thousand and more."""
    with app.app_context():
        index = {}
        for number in range(1201):
            sid = f"{number:048x}"
            client.set(f"SESSION:{sid}", '{"user_id":"ada"}', ex=50)
            index[sid] = time.time() + 2 * IDLE
        client.zadd("OWNER:SESSION:ada", index)
        assert len(sessions_of(app)) == 1201
        assert revoke(app) == 1201
    assert client.keys() == []


def test_one_session_can_be_ended_by_its_sid(app: Flask, client: Any) -> None:
    """Whoever's it is; False when there is none."""
    browser, other = signed_in(app), signed_in(app)
    with app.app_context():
        assert interface_of(app).end(cookie_of(browser)[:48])
        assert not interface_of(app).end(cookie_of(browser)[:48])
    assert [info.sid for info in sessions_of(app)] == [cookie_of(other)[:48]]
    assert listed(client) == live(client)


def ages(app: Flask, browser: FlaskClient, clock: Clock) -> None:
    """Give the browser a cookie whose refresh is due, and has to list the session again."""
    horizon = time.time() + IDLE
    browser.set_cookie("session", interface_of(app).make_cookie(app, cookie_of(browser)[:48], True, horizon))
    clock.offset = 61


@contextmanager
def view_of(app: Flask, browser: FlaskClient) -> Iterator[None]:
    """A request of the browser that has looked at its session, and ends after the block."""
    with app.test_request_context(headers={"Cookie": f"session={cookie_of(browser)}"}):
        session.get("user_id")
        yield
        session["late"] = 1
        response = app.process_response(app.response_class())
        assert set_cookie(response) is None


def test_a_request_under_way_does_not_bring_a_revoked_session_back(app: Flask, client: Any) -> None:
    """As with a logout (promise 3)."""
    browser = signed_in(app)
    with view_of(app, browser):
        assert revoke(app) == 1
    assert client.keys() == []


# Ways to end ------------------------------------------------------------------------------------------------------


def logs_out(app: Flask, client: Any, browser: FlaskClient) -> None:
    browser.get("/logout")


def pops_the_user(app: Flask, client: Any, browser: FlaskClient) -> None:
    browser.get("/pop")


def signs_in_as_somebody_else(app: Flask, client: Any, browser: FlaskClient) -> None:
    browser.get("/login?user=bob")
    browser.get("/logout")


def is_revoked(app: Flask, client: Any, browser: FlaskClient) -> None:
    revoke(app)


def has_its_sid_replaced(app: Flask, client: Any, browser: FlaskClient) -> None:
    browser.get("/regenerate")
    browser.get("/logout")


def expires(app: Flask, client: Any, browser: FlaskClient) -> None:
    client.delete(f"SESSION:{cookie_of(browser)[:48]}")  # to Redis, that is the same


def is_refreshed_after_it_expired(app: Flask, client: Any, browser: FlaskClient) -> None:
    expires(app, client, browser)
    with browser.session_transaction() as nothing:
        nothing.modified = True


WAYS = [
    logs_out,
    pops_the_user,
    signs_in_as_somebody_else,
    is_revoked,
    has_its_sid_replaced,
    expires,
    is_refreshed_after_it_expired,
]


@pytest.mark.parametrize("way", WAYS)
def test_a_session_that_ended_in_any_way_is_no_longer_listed(
    app: Flask, client: Any, clock: Clock, way: Callable[[Flask, Any, FlaskClient], None]
) -> None:
    """At once where a request ended it; else when somebody looks, or its time is past and somebody signs in."""
    browser = signed_in(app)
    clock.offset = 100  # no longer one that may be about to be written
    way(app, client, browser)
    assert sessions_of(app) == []
    assert listed(client) == set()
    other = signed_in(app)
    client.delete(f"SESSION:{cookie_of(other)[:48]}")
    clock.offset += 2 * IDLE + 100
    last = signed_in(app)
    assert listed(client) == {cookie_of(last)[:48]}


def test_ten_thousand_ended_sessions_leave_nothing(server: RedisServer, clock: Clock) -> None:
    """In every way there is, one owner, a real Redis: no key is left but the records of the anonymous."""
    client = server.connect()
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True)
    app.session_interface = RedisSessionInterface(client)
    add_views(app)
    for way, _ in itertools.product([way for way in WAYS if way is not is_revoked], range(1430)):
        way(app, client, signed_in(app))
    for _ in range(1430):
        signed_in(app)
    clock.offset = 100
    assert len(sessions_of(app)) == 1430
    assert listed(client) == {info.sid for info in sessions_of(app)}
    assert revoke(app) == 1430
    assert not client.exists("OWNER:SESSION:ada", "OWNER:SESSION:bob")
    assert owned(client) == set()


@pytest.mark.parametrize("path", ["/login", "/regenerate", "/logout", "/login?user=bob", "revoke"])
@pytest.mark.parametrize("alive", range(7))
def test_a_crash_between_two_commands_leaves_no_session_without_a_name(
    app: Flask, client: Any, clock: Clock, path: str, alive: int
) -> None:
    """After each number of commands. A name without a session goes when its time is past, and somebody signs in."""
    browser = app.test_client() if path == "/login" else signed_in(app)
    with crash_after(alive):
        if path == "revoke":
            revoke(app)
        else:
            browser.get(path)
    assert owned(client) == {info.sid for owner in ("ada", "bob") for info in sessions_of(app, owner)}
    revoke(app, "bob")
    revoke(app)
    assert owned(client) == set()
    clock.offset = 2 * IDLE + 100
    last = signed_in(app)
    assert listed(client) == {cookie_of(last)[:48]}


def test_every_list_has_a_ttl(app: Flask, client: Any) -> None:
    """As long as its last session may live, and a minute for clocks that differ."""
    signed_in(app)
    assert 2 * IDLE <= client.ttl("OWNER:SESSION:ada") <= 2 * IDLE + 60


def test_a_session_that_lost_its_place_gets_it_back(app: Flask, client: Any, clock: Clock) -> None:
    """Redis was short of memory, or koa signed the user in: a refresh lists it again, once in an idle limit."""
    browser = signed_in(app)
    client.delete("OWNER:SESSION:ada")
    ages(app, browser, clock)
    browser.get("/user")
    assert listed(client) == live(client)


@pytest.mark.parametrize("junk", [{"junk": 1}, {b"\xff\xfe": 2e12}, {"0" * 48: 0}])
def test_junk_in_a_list_is_nothing_special(app: Flask, client: Any, junk: Any) -> None:
    """It names no session."""
    client.zadd("OWNER:SESSION:ada", junk)
    signed_in(app)
    assert len(sessions_of(app)) == 1
    assert revoke(app) == 1


@pytest.mark.parametrize("record", [b"junk", b"{}", b"[]", b'{"user_id":"bob"}', b'{"user_id":["ada"],"_born":[]}'])
def test_a_listed_session_of_somebody_else_is_not_shown(app: Flask, client: Any, record: bytes) -> None:
    """What a session is, its record alone tells."""
    signed_in(app)
    client.set(f"SESSION:{sid_of(client)}", record, ex=50)
    assert sessions_of(app) == []


# Where two meet ---------------------------------------------------------------------------------------------------


@pytest.fixture
def turns(app: Flask, client: Any) -> Turns:
    turns = Turns(client)
    interface_of(app).__init__(turns)  # type: ignore[misc]
    return turns


@pytest.mark.parametrize("path", ["/login", "/write"])
def test_a_login_and_a_revoke_in_any_order(app: Flask, client: Any, turns: Turns, path: str) -> None:
    """All orders of their commands: the new session has ended, or is listed. One that was there before has ended."""
    for order in orders(5, 5):
        client.flushall()
        browser = app.test_client() if path == "/login" else signed_in(app)
        turns.run(order, a=lambda browser=browser: browser.get(path), b=lambda: revoke(app))  # type: ignore[misc]
        assert owned(client) == {info.sid for info in sessions_of(app)}, order
        if path == "/write":  # one that looks after the revoke begins an anonymous session
            assert owned(client) == set(), order


def test_a_regeneration_and_a_revoke_in_any_order(app: Flask, client: Any, turns: Turns) -> None:
    """The session was there before, so it has ended, under whichever sid."""
    for order in orders(7, 5):
        client.flushall()
        browser = signed_in(app)
        turns.run(order, a=lambda browser=browser: browser.get("/regenerate"), b=lambda: revoke(app))  # type: ignore[misc]
        assert live(client) == set(), order


def test_a_refresh_and_a_revoke_in_any_order(app: Flask, client: Any, turns: Turns, clock: Clock) -> None:
    """One that lists the session again: it has ended, and is not listed."""
    for order in orders(4, 4):
        client.flushall()
        clock.offset = 0
        browser = signed_in(app)
        ages(app, browser, clock)
        turns.run(order, a=lambda browser=browser: browser.get("/user"), b=lambda: revoke(app))  # type: ignore[misc]
        assert live(client) == listed(client) == set(), order


def test_a_login_that_did_not_look_again_would_lose_the_race(
    app: Flask, client: Any, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orders above include one in which a login slips through a revoke."""
    monkeypatch.setattr("owner_index.OwnerIndex.lists", lambda *_: True)
    for order in orders(5, 5):
        client.flushall()
        browser = app.test_client()
        turns.run(order, a=lambda browser=browser: browser.get("/login"), b=lambda: revoke(app))  # type: ignore[misc]
        if live(client) != {info.sid for info in sessions_of(app)}:
            return
    pytest.fail("no order lost")


@pytest.mark.parametrize("path", ["/login", "/regenerate"])
def test_a_sign_in_whose_list_is_lost_meanwhile_says_so(
    app: Flask, client: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Evicted, say: nobody could revoke the session, so there is none, and the answer is a 503 without a cookie."""
    browser = app.test_client() if path == "/login" else signed_in(app)
    lists = OwnerIndex.lists

    def lose(index: OwnerIndex, *args: Any) -> bool:
        client.delete("OWNER:SESSION:ada")
        return lists(index, *args)

    monkeypatch.setattr(OwnerIndex, "lists", lose)
    response = browser.get(path)
    assert (response.status_code, set_cookie(response), live(client)) == (503, None, set())


# How many ---------------------------------------------------------------------------------------------------------


def test_the_oldest_ends_when_there_are_too_many(app: Flask, client: Any) -> None:
    """SESSION_MAX_PER_OWNER; nobody else's."""
    app.config["SESSION_MAX_PER_OWNER"] = 2
    other = signed_in(app, "bob")
    first, second, third = [signed_in(app) for _ in range(3)]
    assert [browser.get("/user").text for browser in (first, second, third, other)] == ["None", "ada", "ada", "bob"]
    second.get("/regenerate")  # is still the second oldest
    fourth = signed_in(app)
    assert [browser.get("/user").text for browser in (second, third, fourth)] == ["None", "ada", "ada"]
    assert listed(client) | listed(client, "bob") == live(client)


def test_fifty_logins_at_once_leave_as_many_as_may_be(app: Flask, client: Any) -> None:
    """However they meet: not one too many, and not one too few."""
    app.config["SESSION_MAX_PER_OWNER"] = 3
    signed_in(app)
    with ThreadPoolExecutor(50) as pool:
        browsers = list(pool.map(lambda _: signed_in(app), range(50)))
    assert len(live(client)) == 3
    assert listed(client) == live(client)
    answers = [browser.get("/user").text for browser in browsers]
    assert answers.count("ada") == 3


def test_there_is_no_limit_unless_one_is_set(app: Flask) -> None:
    """The default."""
    for _ in range(20):
        signed_in(app)
    assert len(sessions_of(app)) == 20


def test_created_does_not_change_with_the_sid(app: Flask, clock: Clock) -> None:
    """Nor with a write; a new sign-in begins anew."""
    clock.offset = -500
    browser = signed_in(app)
    (before,) = sessions_of(app)
    clock.offset = 0
    browser.get("/regenerate")
    browser.get("/write")
    assert [info.created for info in sessions_of(app)] == [before.created]
    browser.get("/login?user=bob")
    (after,) = sessions_of(app, "bob")
    assert after.created is not None
    assert abs(after.created - datetime.now(UTC)).total_seconds() < 5


def test_a_view_that_asks_for_sessions_waits_within_the_budget_of_its_request(app: Flask) -> None:
    """What its own session took of SESSION_MAX_WAIT is gone; on the command line there is no budget."""
    signed_in(app)
    with app.test_request_context():
        session.get("user_id")
        session.store.line.left = 0  # type: ignore[attr-defined]  # of RedisSession
        for ask in (interface_of(app).sessions_of, interface_of(app).revoke, interface_of(app).end):
            with pytest.raises(StoreUnavailable):
                ask("ada")
    assert len(sessions_of(app)) == 1


# When something is lost --------------------------------------------------------------------------------------------


class Breaks:
    """A client whose connection breaks with the first pipeline."""

    def __init__(self, client: Any) -> None:
        self._client, self.broken = client, False

    def __getattr__(self, name: str) -> Any:
        if name == "pipeline" and not self.broken:
            self.broken = True
            raise redis.ConnectionError("reset")
        return getattr(self._client, name)


def test_a_revoke_whose_connection_breaks_is_sent_again(app: Flask, client: Any) -> None:
    """With all that it is to end."""
    signed_in(app)
    interface_of(app).__init__(Breaks(client))  # type: ignore[misc]
    assert revoke(app) == 1
    assert client.keys() == []


def test_a_long_list_of_the_dead_does_not_keep_a_revoke_from_the_living(
    app: Flask, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few round trips for hundreds, so that it ends within a request's budget."""
    browser = signed_in(app)
    client.zadd("OWNER:SESSION:ada", {f"{number:048x}": 2e12 - number for number in range(2000)})
    ask, trips = Line._ask, []
    monkeypatch.setattr(Line, "_ask", lambda *args: trips.append(args[1]) or ask(*args))  # type: ignore[func-returns-value]
    assert revoke(app) == 1
    assert browser.get("/user").text == "None"
    assert len(trips) < 20


def test_a_view_that_cannot_sign_out_everywhere_is_a_503(app: Flask, client: Any) -> None:
    """Not a 500, though nobody registered a handler."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    route(app, "/list", lambda: str(interface_of(app).sessions_of("ada")))
    route(app, "/revoke", lambda: str(interface_of(app).revoke("ada")))
    route(app, "/end", lambda: str(interface_of(app).end("0" * 48)))
    for path in ("/list", "/revoke", "/end"):
        app.config["SESSION_MAX_WAIT"] = 1
        assert app.test_client().get(path).status_code == 200
        app.config["SESSION_MAX_WAIT"] = 0  # no request may wait for any command
        response = app.test_client().get(path)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_sessions_are_listed_when_redis_only_reads(server: RedisServer) -> None:
    """That the dead cannot be taken off the list meanwhile harms nobody."""
    client = server.connect()
    app = Flask("app")
    app.secret_key = SECRET_KEY
    app.session_interface = RedisSessionInterface(client)
    add_views(app)
    signed_in(app)
    client.zadd("OWNER:SESSION:ada", {"0" * 48: 5})
    client.config_set("min-replicas-to-write", 1)
    try:
        assert len(sessions_of(app)) == 1
    finally:
        client.config_set("min-replicas-to-write", 0)


def test_a_session_is_listed_once_its_key_is_named_as_an_owners(app: Flask, client: Any, clock: Clock) -> None:
    """Who signed in before SESSION_OWNER_KEYS knew of it is listed with the next refresh."""
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["account"] = "ada"
    app.config["SESSION_OWNER_KEYS"] = ["account"]
    clock.offset = 61
    browser.get("/user")
    assert listed(client) == live(client)


def test_a_refresh_that_did_not_look_never_changes_the_horizon(
    app: Flask, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if the clock ticks in the middle of it: who does not know the owner cannot list the session."""
    browser = signed_in(app)
    at = time.time()
    horizon = int(at) + 100 + IDLE
    cookie = interface_of(app).make_cookie(app, cookie_of(browser)[:48], True, horizon)
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda signer: int(at) + 100)
    ticks = itertools.chain([at, int(at) + 100], itertools.repeat(at + 200))
    monkeypatch.setattr("redis_store.now", lambda: next(ticks))
    browser.set_cookie("session", cookie)
    response = browser.get("/missing")
    assert f".p{horizon}." in str(set_cookie(response))


def test_redis_may_have_another_clock(app: Flask, client: Any, clock: Clock) -> None:
    """Or the host does: a list lives as long as its sessions, counted from now."""
    clock.offset = -5 * IDLE
    signed_in(app)
    assert 2 * IDLE <= client.ttl("OWNER:SESSION:ada") <= 2 * IDLE + 60


def test_a_trail_may_be_long(app: Flask, client: Any) -> None:
    """A thousand new sids in ten minutes, and then a logout with the first one."""
    browser = signed_in(app)
    sids = [cookie_of(browser)[:48], *(f"{number:048x}" for number in range(1500))]
    for old, new in itertools.pairwise(sids):
        client.set(f"MOVED:SESSION:{old}", f'{{"{new}":true}}', ex=50)
    client.rename(f"SESSION:{sids[0]}", f"SESSION:{sids[-1]}")
    app.config["SESSION_MAX_WAIT"] = 60  # not about time
    browser.get("/logout")
    assert live(client) == set()


@pytest.mark.parametrize("ask", ["sessions_of", "revoke", "end"])
def test_a_process_that_answers_no_requests_can_ask(app: Flask, client: Any, ask: str) -> None:
    """The command line: nothing but an app context is needed, and no request before."""
    sid = "0" * 48
    client.set(f"SESSION:{sid}", '{"user_id":"ada"}', ex=50)
    client.zadd("OWNER:SESSION:ada", {sid: 2e9})
    with app.app_context():
        assert getattr(interface_of(app), ask)(sid if ask == "end" else "ada")
    assert (live(client), listed(client)) == (({sid}, {sid}) if ask == "sessions_of" else (set(), set()))


def test_a_trail_in_a_circle_ends(app: Flask, client: Any) -> None:
    """Planted, for ours lead on: each place is looked at once."""
    browser = signed_in(app)
    first, second, third = cookie_of(browser)[:48], "1" * 48, "2" * 48
    for old, new in ((first, second), (second, third), (third, second)):
        client.set(f"MOVED:SESSION:{old}", f'{{"{new}":true}}', ex=50)
    client.delete(f"SESSION:{first}")
    response = browser.get("/logout")
    assert (response.status_code, set_cookie(response)) == (200, None)


def test_who_began_nobody_knows_when_counts_as_the_oldest(app: Flask, client: Any) -> None:
    """A session that koa signed in: first in the list, and the first to end when there are too many."""
    signed_in(app)
    client.set(f"SESSION:{'f' * 48}", '{"user_id":"ada"}', ex=50)
    client.zadd("OWNER:SESSION:ada", {"f" * 48: 2e9})
    assert [info.created is None for info in sessions_of(app)] == [True, False]
    app.config["SESSION_MAX_PER_OWNER"] = 2
    signed_in(app)
    assert "f" * 48 not in live(client)
    assert len(live(client)) == 2
