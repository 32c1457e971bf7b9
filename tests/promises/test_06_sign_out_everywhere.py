"""Promise 6: an owner's sessions can be listed and ended, whatever happens at the same time."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import fakeredis
import pytest
import redis
from flask import Flask, request, session
from flask.testing import FlaskClient
from markupsafe import Markup
from support.apps import SECRET_KEY, interface_of, route, set_cookie, sid_of
from support.clock import Clock
from support.crash import crash_after
from support.servers import RedisServer
from support.tiers import rounds
from support.turns import Turns, orders

from _redis_store.sender import MAX_TIMEOUTS
from redis_store import OwnerIndex, RedisSessionInterface, RedisStore, SessionInfo, StoreUnavailable

IDLE = 31 * 24 * 3600  # Flask's default, in seconds
REFRESH = 300  # SESSION_REFRESH_AFTER, ours


@pytest.fixture
def app(app: Flask) -> Flask:
    add_views(app)
    return app


#: Whether commands that must be in order go out in one round trip, or one after the other, as on a Cluster.
FORMS = [pytest.param(False, id="pipelines"), pytest.param(True, id="one by one")]


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


def sid_in(browser: FlaskClient) -> str:
    return cookie_of(browser).partition(".")[0]


def listed(client: Any, owner: str = "ada") -> set[str]:
    """The sids in the owner's list."""
    return {sid.decode() for sid in client.zrange(f"OWNER:SESSION:{owner}", 0, -1)}


def listed_bytes(client: Any) -> list[bytes]:
    return list(client.zrange("OWNER:SESSION:ada", 0, -1))


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
    client.expire(f"SESSION:{sid_in(first)}", IDLE - 100)  # a hundred seconds have gone by since its refresh
    older, newer = sessions_of(app)
    assert older.sid == sid_in(first)
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


def test_the_sessions_of_another_app_are_those_of_its_prefix(app: Flask, client: Any) -> None:
    """An administrator's page may sign out everywhere in the shop, and stays signed in itself."""
    shop = RedisSessionInterface(RedisStore(client, "SHOP:"))
    own = RedisSessionInterface(client)
    route(app, "/shut", lambda: str((session["user_id"], len(shop.sessions_of("ada")), shop.revoke("ada"))))
    app.session_interface = shop
    signed_in(app)
    app.session_interface = own
    browser = signed_in(app)
    assert browser.get("/shut").text == "('ada', 1, 1)"
    assert browser.get("/user").text == "ada"
    assert client.keys("SHOP:*") == []


@pytest.mark.parametrize("owner", [5, "5"])
def test_owners_are_compared_as_text(app: Flask, owner: object) -> None:
    """Flask-Login turns every id into text, and so does a URL."""
    with app.test_client() as browser, browser.session_transaction() as login:
        login["_user_id"] = owner
    assert len(sessions_of(app, 5)) == len(sessions_of(app, "5")) == 1
    assert revoke(app, "5") == 1


class Name(str, Enum):  # noqa: UP042  # the old way, which many apps have
    """A text, but for its str()."""

    ADA = "ada"


class Number(int, Enum):
    """A number, but for its str()."""

    SEVEN = 7


OWNERS = [0, -1, 7, 2**70, True, 1.5, "0", "None", "False", " ", "a:b", "a\nb", "\udcff", "é", UUID(int=5)]
OWNERS += [
    Markup("ada"),
    Name.ADA,
    Number.SEVEN,
    b"ada",
    ["a", 1],
    ("a",),
    {"id": 7},
    datetime(2020, 1, 1),
    "9999-12-31",
]


@pytest.mark.parametrize("owner", OWNERS, ids=repr)
def test_whoever_is_signed_in_is_listed_and_ends(app: Flask, client: Any, owner: Any) -> None:
    """As soon as he is, under what the app gave, and under what comes back from the record."""
    for form in ("given", "read"):
        browser = app.test_client()
        with browser.session_transaction() as login:
            login["user_id"] = owner
        with browser.session_transaction() as again:
            asked = owner if form == "given" else again["user_id"]
        assert len(sessions_of(app, asked)) == 1
        assert revoke(app, asked) == 1
        assert client.keys("OWNER:*") == []


@pytest.mark.parametrize("nobody", [None, False, "", Markup("")])
def test_nobody_is_no_owner(app: Flask, client: Any, nobody: Any) -> None:
    """Who asks for an anonymous visitor's sessions does not get those of a user named None."""
    with app.test_client().session_transaction() as login:
        login["user_id"] = nobody
    assert client.keys("OWNER:*") == []
    browsers = [signed_in(app, name) for name in ("None", "False")]
    assert sessions_of(app, nobody) == []
    assert revoke(app, nobody) == 0
    assert [browser.get("/user").text for browser in browsers] == ["None", "False"]


def test_a_number_is_one_owner_whatever_the_key(app: Flask, client: Any) -> None:
    """Since both keys mean the same by default; users and admins are told apart by what is stored."""
    app.config["SESSION_OWNER_KEYS"] = ("user_id", "admin_id")
    for key, owner in (("user_id", 7), ("admin_id", 7), ("admin_id", "admin:7")):
        with app.test_client().session_transaction() as login:
            login[key] = owner
    assert [[*(info.session or {})] for info in sessions_of(app, 7)] == [["user_id"], ["admin_id"]]
    assert revoke(app, 7) == 2
    assert len(sessions_of(app, "admin:7")) == 1


@pytest.mark.parametrize(("prefix", "ended"), [("SHOP:", 1), ("SESSION:", 2)])
def test_two_apps_on_one_redis_take_two_prefixes(client: Any, prefix: str, ended: int) -> None:
    """With one prefix, their users of one name are one owner."""
    apps = [Flask("one"), Flask("other")]
    for app, name in zip(apps, ("SESSION:", prefix), strict=True):
        app.config.update(SECRET_KEY=f"{SECRET_KEY} of {app.name}", TESTING=True)
        app.session_interface = RedisSessionInterface(RedisStore(client, name))
        add_views(app)
    browsers = [signed_in(app) for app in apps]
    assert revoke(apps[0]) == ended
    assert [browser.get("/user").text for browser in browsers] == ["None", "ada" if ended == 1 else "None"]


def test_revoke_ends_all_sessions_of_the_owner_and_of_nobody_else(app: Flask, client: Any) -> None:
    """It says how many there were; the cookies are worth nothing."""
    mine, other = [signed_in(app) for _ in range(3)], signed_in(app, "bob")
    assert revoke(app) == 3
    assert {browser.get("/user").text for browser in mine} == {"None"}
    assert other.get("/user").text == "bob"
    assert sessions_of(app) == []
    assert not client.exists("OWNER:SESSION:ada")
    assert revoke(app) == 0


def test_an_owner_is_who_the_record_says(app: Flask, client: Any) -> None:
    """Also in the request that writes an object which the record keeps as another type."""
    route(app, "/enum", lambda: session.update(user_id=Name.ADA))
    browser = app.test_client()
    browser.get("/enum")
    assert listed(client) == live(client)
    sid = sid_of(client)
    assert set_cookie(browser.get("/enum")) is None, "nobody else signed in"
    assert sid_of(client) == sid
    assert revoke(app) == 1


def test_a_write_that_comes_too_late_leaves_no_sid_in_the_index(app: Flask, client: Any, clock: Clock) -> None:
    """It was added once more before the write found that the session has another sid."""
    browser, late = app.test_client(), app.test_client()
    route(app, "/late", lambda: f"{session['user_id']}{browser.get('/regenerate')}{session.update(n=1)}")
    browser.get("/login")
    late.set_cookie("session", cookie_of(browser))
    clock.offset = 400  # when a write adds it again
    assert late.get("/late").status_code == 200
    assert listed(client) == {sid_in(browser)}


def test_revoke_keeps_a_session_whose_old_sid_is_still_in_the_index(app: Flask, client: Any) -> None:
    """The process died before it could remove that: nobody ends what he wants to keep by its trail."""
    browser, other = signed_in(app), signed_in(app)
    old = sid_in(browser)
    browser.get("/regenerate")
    client.zadd("OWNER:SESSION:ada", {old: time.time() + IDLE})
    assert revoke(app, keep=sid_in(browser)) == 1
    assert (browser.get("/user").text, other.get("/user").text) == ("ada", "None")
    client.zadd("OWNER:SESSION:ada", {old: time.time() + IDLE})
    assert revoke(app) == 1
    assert browser.get("/user").text == "None"


def test_a_new_sid_is_not_ended_by_the_trail_of_an_old_one(app: Flask, client: Any) -> None:
    """The old one is the first of those that are too many."""
    app.config["SESSION_MAX_PER_OWNER"] = 1
    browser = signed_in(app)
    old = sid_in(browser)
    browser.get("/regenerate")
    client.zadd("OWNER:SESSION:ada", {old: time.time() + 1})
    browser.get("/regenerate")
    assert browser.get("/user").text == "ada"


def test_revoke_keeps_the_session_that_is_named(app: Flask) -> None:
    """For "sign out everywhere else"."""
    here, there = signed_in(app), signed_in(app)
    assert revoke(app, keep=sid_in(here)) == 1
    assert (here.get("/user").text, there.get("/user").text) == ("ada", "None")
    assert [info.sid for info in sessions_of(app)] == [sid_in(here)]


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
        assert interface_of(app).end(sid_in(browser))
        assert not interface_of(app).end(sid_in(browser))
    assert [info.sid for info in sessions_of(app)] == [sid_in(other)]
    assert listed(client) == live(client)


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
    client.delete(f"SESSION:{sid_in(browser)}")  # to Redis, that is the same


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
    client.delete(f"SESSION:{sid_in(other)}")
    clock.offset += 2 * IDLE + 100
    last = signed_in(app)
    assert listed(client) == {sid_in(last)}


OF_EACH = rounds(100, 1430)  # that is ten thousand


def test_very_many_ended_sessions_leave_nothing(server: RedisServer, clock: Clock) -> None:
    """In every way there is, one owner, a real Redis: no key is left but the records of the anonymous."""
    client = server.connect()
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True, SESSION_MAX_PER_OWNER=None)
    app.session_interface = RedisSessionInterface(client, clock=clock)
    add_views(app)
    for way, _ in itertools.product([way for way in WAYS if way is not is_revoked], range(OF_EACH)):
        way(app, client, signed_in(app))
    for _ in range(OF_EACH):
        signed_in(app)
    clock.offset = 100
    assert len(sessions_of(app)) == OF_EACH
    assert listed(client) == {info.sid for info in sessions_of(app)}
    assert revoke(app) == OF_EACH
    assert not client.exists("OWNER:SESSION:ada", "OWNER:SESSION:bob")
    assert owned(client) == set()


@pytest.mark.parametrize("path", ["/login", "/regenerate", "/logout", "/login?user=bob", "revoke"])
@pytest.mark.parametrize("alive", range(7))
@pytest.mark.parametrize("clustered", FORMS)
def test_a_crash_between_two_commands_leaves_no_session_without_a_name(
    app: Flask, client: Any, clock: Clock, clustered: bool, path: str, alive: int
) -> None:
    """After each number of commands, of a pipeline too.

    A name without a session goes when its time is past, and somebody signs in.
    """
    interface_of(app).store.sender._clustered = clustered
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
    assert listed(client) == {sid_in(last)}


def test_every_list_has_a_ttl(app: Flask, client: Any) -> None:
    """As long as its last session may live, and a minute for clocks that differ.

    A write keeps a session alive, and tells its list only once in SESSION_REFRESH_AFTER.
    """
    signed_in(app)
    assert IDLE + REFRESH <= client.ttl("OWNER:SESSION:ada") <= IDLE + REFRESH + 60


def test_a_session_that_lost_its_place_gets_it_back(app: Flask, client: Any, clock: Clock) -> None:
    """Redis was short of memory, or koa signed the user in: the next refresh lists it again."""
    browser = signed_in(app)
    client.delete("OWNER:SESSION:ada")
    clock.offset = REFRESH + 1
    browser.get("/user")
    assert listed(client) == live(client)


@pytest.mark.parametrize("junk", [{"junk": 1}, {b"\xff\xfe": 2e12}, {"junk": math.inf}, {"0" * 48: 0}])
def test_junk_in_a_list_is_nothing_special(app: Flask, client: Any, junk: Any) -> None:
    """It names no session."""
    client.zadd("OWNER:SESSION:ada", junk)
    signed_in(app)
    assert len(sessions_of(app)) == 1
    assert revoke(app) == 1


def test_any_amount_of_junk_in_a_list_is_nothing_special(app: Flask, client: Any) -> None:
    """A revoke ends, with what it is to end; a sign-in ends what is too much, junk first."""
    client.zadd("OWNER:SESSION:ada", {b"\xff%d" % number: 1 + number for number in range(600)}, nx=True)
    client.zadd("OWNER:SESSION:ada", {b"\xff-%d" % number: 2e9 + number for number in range(600)}, nx=True)
    browser = signed_in(app)
    assert len(listed_bytes(client)) == 1201 - 100 - 100  # what is past, what is too much
    assert len(sessions_of(app)) == revoke(app) == 1
    assert browser.get("/user").text == "None"
    assert listed_bytes(client) == []


@pytest.mark.parametrize("path", ["/regenerate", "/login?user=bob", "/pop"])
def test_a_list_that_is_none_costs_no_session(app: Flask, client: Any, path: str) -> None:
    """It cannot be changed, and so neither can the sid: a 503, after which the session is what it was."""
    browser = signed_in(app)
    sid = sid_of(client)
    client.set("OWNER:SESSION:ada", "junk")
    assert browser.get(path).status_code == 503
    assert sid_of(client) == sid
    assert browser.get("/user").text == "ada"


@pytest.mark.parametrize("record", [b"junk", b"{}", b"[]", b'{"user_id":"bob"}', b'{"user_id":["ada"]}'])
def test_a_listed_session_of_somebody_else_is_not_shown(app: Flask, client: Any, record: bytes) -> None:
    """What a session is, its record alone tells."""
    signed_in(app)
    client.set(f"SESSION:{sid_of(client)}", record, ex=50)
    assert sessions_of(app) == []


def test_a_session_that_begins_takes_no_mark_of_a_revoke_away(app: Flask, client: Any, clock: Clock) -> None:
    """A login that tries twice adds its sid twice. Nor does the list go, when all that is in it is marked."""
    client.zadd("OWNER:SESSION:ada", {"new": 0, "other": 0})
    index = OwnerIndex(interface_of(app).store)
    interface_of(app).store.sender.run_all(index.adding(["ada"], "new", clock(), 1000, new=True))
    assert client.zrange("OWNER:SESSION:ada", 0, -1, withscores=True) == [(b"new", 0), (b"other", 0)]
    assert client.ttl("OWNER:SESSION:ada") >= 1000
    assert not index.lists(["ada"], "new")


# Where two meet ---------------------------------------------------------------------------------------------------

STEP = rounds(11, 1)  # from one order to the next; 1: all of them


@pytest.fixture(params=FORMS)
def turns(request: pytest.FixtureRequest, app: Flask, client: Any, clock: Clock) -> Turns:
    turns = Turns(client)
    app.session_interface = RedisSessionInterface(turns, clock=clock)
    app.session_interface.store.sender._clustered = request.param
    return turns


def orders_of(app: Flask, one_by_one: int, pipelines: int, others: int) -> Iterator[str]:
    """The orders of a request, which sends so many commands, or pipelines, and of another one."""
    return orders(one_by_one if interface_of(app).store.sender.clustered else pipelines, others, STEP)


@pytest.mark.parametrize("path", ["/login", "/write"])
def test_a_login_and_a_revoke_in_any_order(app: Flask, client: Any, turns: Turns, path: str) -> None:
    """All orders of their commands: the new session has ended, or is listed. One that was there before has ended."""
    for order in orders_of(app, 5, 4, 5):
        client.flushall()
        browser = app.test_client() if path == "/login" else signed_in(app)
        turns.run(order, a=lambda browser=browser: browser.get(path), b=lambda: revoke(app))  # type: ignore[misc]
        assert owned(client) == {info.sid for info in sessions_of(app)}, order
        if path == "/write":  # one that looks after the revoke begins an anonymous session
            assert owned(client) == set(), order


def test_a_login_that_somebody_else_was_first_to_write_and_a_revoke_in_any_order(
    app: Flask, client: Any, turns: Turns
) -> None:
    """It is listed once more for its second try, which must not hide from it that it was revoked before."""

    def is_late() -> None:
        session["user_id"] = "ada"
        client.set(f"SESSION:{sid_of(client)}", '{"n":2}', ex=50)

    route(app, "/late", is_late)
    for order in orders_of(app, 9, 4, 4):
        client.flushall()
        browser = app.test_client()
        browser.get("/write")
        turns.run("aa" + order, a=lambda browser=browser: browser.get("/late"), b=lambda: revoke(app))  # type: ignore[misc]
        assert owned(client) == {info.sid for info in sessions_of(app)}, order


def test_a_regeneration_and_a_revoke_in_any_order(app: Flask, client: Any, turns: Turns) -> None:
    """The session was there before, so it has ended, under whichever sid."""
    for order in orders_of(app, 7, 4, 5):
        client.flushall()
        browser = signed_in(app)
        turns.run(order, a=lambda browser=browser: browser.get("/regenerate"), b=lambda: revoke(app))  # type: ignore[misc]
        assert live(client) == set(), order


def test_a_refresh_and_a_revoke_in_any_order(app: Flask, client: Any, turns: Turns, clock: Clock) -> None:
    """One that lists the session again: it has ended, and is not listed."""
    for order in orders(4, 4, STEP):
        client.flushall()
        clock.offset = 0
        browser = signed_in(app)
        clock.offset = REFRESH + 1
        turns.run(order, a=lambda browser=browser: browser.get("/user"), b=lambda: revoke(app))  # type: ignore[misc]
        assert live(client) == listed(client) == set(), order


@pytest.mark.parametrize("turns", FORMS[1:], indirect=True)
def test_a_login_that_did_not_look_again_would_lose_the_race(
    app: Flask, client: Any, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orders above include one in which a login slips through a revoke."""
    monkeypatch.setattr(OwnerIndex, "is_listed", lambda *_: True)
    for order in orders(5, 5):
        client.flushall()
        browser = app.test_client()
        turns.run(order, a=lambda browser=browser: browser.get("/login"), b=lambda: revoke(app))  # type: ignore[misc]
        if live(client) != {info.sid for info in sessions_of(app)}:
            return
    pytest.fail("no order lost")


class Forgets:
    """A Redis that loses the owner's list just before somebody looks whether a session is still in it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def execute_command(self, *command: Any, **options: Any) -> Any:
        if command[0] == "ZSCORE":
            self._client.delete("OWNER:SESSION:ada")
        return self._client.execute_command(*command, **options)

    def execute_all(self, commands: Sequence[Any], **options: Any) -> list[Any]:
        return [self.execute_command(*command, **options) for command in commands]


@pytest.mark.parametrize("path", ["/login", "/regenerate"])
@pytest.mark.parametrize("clustered", FORMS)
def test_a_sign_in_whose_list_is_lost_meanwhile_says_so(app: Flask, client: Any, clustered: bool, path: str) -> None:
    """Evicted, say: nobody could revoke the session, so there is none, and the answer is a 503 without a cookie."""
    browser = app.test_client() if path == "/login" else signed_in(app)
    app.session_interface = RedisSessionInterface(Forgets(client))
    app.session_interface.store.sender._clustered = clustered
    response = browser.get(path)
    assert (response.status_code, set_cookie(response), live(client)) == (503, None, set())


# How many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clustered", FORMS)
def test_those_that_would_end_first_end_when_there_are_too_many(
    app: Flask, client: Any, clock: Clock, clustered: bool
) -> None:
    """SESSION_MAX_PER_OWNER; nobody else's."""
    app.config["SESSION_MAX_PER_OWNER"] = 2
    interface_of(app).store.sender._clustered = clustered
    other, browsers = signed_in(app, "bob"), []
    for clock.offset in range(3):
        browsers.append(signed_in(app))
    _first, second, third = browsers
    assert [browser.get("/user").text for browser in (*browsers, other)] == ["None", "ada", "ada", "bob"]
    clock.offset += 1
    second.get("/regenerate")  # one of two, under another sid
    assert [browser.get("/user").text for browser in browsers] == ["None", "ada", "ada"]
    clock.offset += 1
    fourth = signed_in(app)
    assert [browser.get("/user").text for browser in (second, third, fourth)] == ["ada", "None", "ada"]
    assert listed(client) | listed(client, "bob") == live(client)


@pytest.mark.parametrize("clustered", FORMS)
@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("path", ["/login", "/regenerate"])
def test_the_session_that_begins_stays(app: Flask, client: Any, clustered: bool, most: int, path: str) -> None:
    """Though it would end before all the others, and there are far too many of them: as many as may be are left."""
    interface_of(app).store.sender._clustered = clustered
    browsers = [signed_in(app) for _ in range(5)]
    (browser,) = browsers[:1] if path == "/regenerate" else [app.test_client()]
    app.config["SESSION_MAX_PER_OWNER"] = most
    client.zadd("OWNER:SESSION:ada", {sid: 2e9 for sid in listed(client) if sid != sid_in(browsers[0])})
    assert browser.get(path).status_code == 200
    assert browser.get("/user").text == "ada"
    assert len(live(client)) == most
    assert listed(client) == live(client)


def test_fifty_logins_at_once_leave_as_many_as_may_be(app: Flask, client: Any, request: pytest.FixtureRequest) -> None:
    """However they meet: not one too many, and not one too few. It is not about time: each may wait as it has to."""
    if not isinstance(client, fakeredis.FakeRedis):
        patient = request.getfixturevalue("server").connect(timeout=60, socket_timeout=60, socket_connect_timeout=60)
        app.session_interface = RedisSessionInterface(patient)
    app.config.update(SESSION_MAX_PER_OWNER=3, SESSION_MAX_WAIT=600)
    signed_in(app)
    with ThreadPoolExecutor(50) as pool:
        browsers = list(pool.map(lambda _: signed_in(app), range(50)))
    assert len(live(client)) == 3
    assert listed(client) == live(client)
    answers = [browser.get("/user").text for browser in browsers]
    assert answers.count("ada") == 3


@pytest.mark.parametrize(("limit", "number"), [({}, 100), ({"SESSION_MAX_PER_OWNER": None}, 105)])
def test_there_is_a_limit_unless_it_is_taken_away(app: Flask, limit: dict[str, None], number: int) -> None:
    """The default is a hundred."""
    app.config.update(limit)
    for _ in range(105):
        signed_in(app)
    assert len(sessions_of(app)) == number


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
        session.store.sender.budget = 0  # type: ignore[attr-defined]  # of RedisSession
        for ask in (interface_of(app).sessions_of, interface_of(app).revoke, interface_of(app).end):
            with pytest.raises(StoreUnavailable):
                ask("ada")
    assert len(sessions_of(app)) == 1


# When something is lost --------------------------------------------------------------------------------------------


class Counts:
    """A client that counts how often it is used, and whose connection may break with the first pipeline."""

    def __init__(self, client: Any, *, breaks: bool = False) -> None:
        self._client, self._breaks, self.trips = client, breaks, 0

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if name not in ("execute_command", "execute_all", "pipeline"):
            return attribute

        def send(*args: Any, **options: Any) -> Any:
            self.trips += 1
            if self._breaks and name != "execute_command":
                self._breaks = False
                raise redis.ConnectionError("reset")
            return attribute(*args, **options)

        return send


def test_a_revoke_whose_connection_breaks_is_sent_again(app: Flask, client: Any) -> None:
    """With all that it is to end."""
    signed_in(app)
    app.session_interface = RedisSessionInterface(Counts(client, breaks=True))
    assert revoke(app) == 1
    assert client.keys() == []


MANY = rounds(20_000, 200_000)
_TEN_THOUSAND = """
for n = ARGV[1], ARGV[1] + 9999 do
    local sid = string.format('%08x-%040x', ARGV[2] + n / 100, n)
    redis.call('ZADD', 'OWNER:SESSION:ada', ARGV[2] + n / 100, sid)
    redis.call('SET', 'SESSION:' .. sid, '{"user_id":"ada"}', 'EX', 1000)
end
"""


def test_very_many_sessions_cannot_keep_their_owner_out(server: RedisServer, clock: Clock) -> None:
    """They make neither sign-in nor list nor revoke impossible: each does its share within a request's budget."""
    app, client = Flask("app"), server.connect(socket_timeout=5)
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True)
    app.session_interface = RedisSessionInterface(client, clock=clock)
    add_views(app)
    route(app, "/list", lambda: str(len(interface_of(app).sessions_of("ada"))))
    route(app, "/revoke", lambda: str(interface_of(app).revoke("ada")))
    for first in range(0, MANY, 10_000):
        client.eval(_TEN_THOUSAND, 0, first, int(time.time()) + 1000)

    def left() -> int:
        return int(client.zcard("OWNER:SESSION:ada"))

    browsers = [signed_in(app) for _ in range(3)]
    assert [browser.get("/user").text for browser in browsers] == ["ada", "ada", "ada"]
    assert left() == client.dbsize() - 1 == MANY + 3 - 3 * 100
    assert app.test_client().get("/list").text == "5000"
    while before := left():
        assert app.test_client().get("/revoke").status_code in (200, 503)
        assert left() < before
    assert client.dbsize() == 0
    assert [browser.get("/user").text for browser in browsers] == ["None", "None", "None"]


def test_a_long_list_of_the_dead_does_not_keep_a_revoke_from_the_living(app: Flask, client: Any) -> None:
    """A few round trips for hundreds, so that it ends within a request's budget."""
    browser = signed_in(app)
    client.zadd("OWNER:SESSION:ada", {f"{number:048x}": 2e12 - number for number in range(2000)})
    counts = Counts(client)
    app.session_interface = RedisSessionInterface(counts)
    assert revoke(app) == 1
    assert counts.trips <= 4 * 5  # four for each five hundred
    assert browser.get("/user").text == "None"


def test_a_view_that_cannot_sign_out_everywhere_is_a_503(app: Flask, client: Any) -> None:
    """Not a 500, though nobody registered a handler."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    route(app, "/list", lambda: str(interface_of(app).sessions_of("ada")))
    route(app, "/revoke", lambda: str(interface_of(app).revoke("ada")))
    route(app, "/end", lambda: str(interface_of(app).end("0" * 48)))
    for path in ("/list", "/revoke", "/end"):
        assert app.test_client().get(path).status_code == 200
    breaker = interface_of(app).store.sender.breaker
    breaker.timeouts, breaker.next_try = MAX_TIMEOUTS, math.inf  # Redis is away
    for path in ("/list", "/revoke", "/end"):
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
    clock.offset = REFRESH + 1
    browser.get("/user")
    assert listed(client) == live(client)


@pytest.mark.parametrize("path", ["/user", "/missing"])
def test_a_refresh_says_until_when_the_session_may_live(app: Flask, client: Any, clock: Clock, path: str) -> None:
    """Also one of a page that never looks at the session: it is listed for as long as it may live, and no longer."""
    browser = signed_in(app)
    (before,) = sessions_of(app)
    clock.offset = 5000
    browser.get(path)
    score = client.zscore("OWNER:SESSION:ada", sid_in(browser))
    assert score == pytest.approx(clock() + IDLE + REFRESH, abs=5)
    (after,) = sessions_of(app)
    assert after.created == before.created
    assert after.refreshed is not None
    assert after.refreshed.timestamp() == pytest.approx(clock(), abs=5)


def test_redis_may_have_another_clock(app: Flask, client: Any, clock: Clock) -> None:
    """Or the host does: a list lives as long as its sessions, counted from now."""
    clock.offset = -5 * IDLE
    signed_in(app)
    assert IDLE + REFRESH <= client.ttl("OWNER:SESSION:ada") <= IDLE + REFRESH + 60


def test_a_trail_may_be_long(app: Flask, client: Any) -> None:
    """A thousand new sids in ten minutes, and then a logout with the first one."""
    browser = signed_in(app)
    sids = [sid_in(browser), *(f"{number:048x}" for number in range(1500))]
    for old, new in itertools.pairwise(sids):
        client.set(f"MOVED:{{SESSION:{old}}}", new, ex=50)
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
    first, second, third = sid_in(browser), "1" * 48, "2" * 48
    for old, new in ((first, second), (second, third), (third, second)):
        client.set(f"MOVED:{{SESSION:{old}}}", new, ex=50)
    client.delete(f"SESSION:{first}")
    response = browser.get("/logout")
    assert (response.status_code, set_cookie(response)) == (200, None)


def test_who_began_nobody_knows_when_counts_as_the_oldest(app: Flask, client: Any) -> None:
    """A session that koa signed in is first in the list. It ends in its turn when there are too many."""
    signed_in(app)
    client.set(f"SESSION:{'f' * 48}", '{"user_id":"ada"}', ex=50)
    client.zadd("OWNER:SESSION:ada", {"f" * 48: time.time() + 50})
    assert [info.created is None for info in sessions_of(app)] == [True, False]
    app.config["SESSION_MAX_PER_OWNER"] = 2
    signed_in(app)
    assert "f" * 48 not in live(client)
    assert len(live(client)) == 2
