"""Promise 6: the list of an owner's sessions prunes itself, has a TTL, and takes any junk."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.apps import SECRET_KEY, interface_of, sid_of
from support.clock import Clock
from support.clustered import take_for_cluster
from support.crash import Mortal
from support.owners import FORMS, IDLE, REFRESH, add_views, listed, live, owned, revoke, sessions_of, sid_in, signed_in
from support.servers import RedisServer
from support.tiers import rounds

from redis_store import OwnerIndex, RedisSessionInterface


@pytest.fixture
def app(app: Flask) -> Flask:
    add_views(app)
    return app


def listed_bytes(client: Any) -> list[bytes]:
    return list(client.zrange("OWNER:SESSION:ada", 0, -1))


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
    app: Flask, client: Any, least: Any, clock: Clock, clustered: bool, path: str, alive: int
) -> None:
    """After each number of commands, of a pipeline too.

    A name without a session goes when its time is past, and somebody signs in.
    """
    mortal = Mortal(least)
    app.session_interface = RedisSessionInterface(mortal, clock=clock)
    take_for_cluster(app.session_interface.store, clustered)
    browser = app.test_client() if path == "/login" else signed_in(app)
    with mortal.dying_after(alive):
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
