"""What one request costs: the Redis commands of each row of the table, from the server's own statistics.

And the round trips that they take, from a proxy between the client and the server.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask, session
from flask.globals import request_ctx
from support.apps import SECRET_KEY, interface_of, route, set_cookie, sign
from support.clock import Clock
from support.clustered import take_for_cluster
from support.servers import PATIENCE, RedisServer
from support.wire import Wire

from _redis_store.snapshot import dump_items
from redis_store import RedisSessionInterface, connect

SET, GET, DEL, EXPIRE, NOTHING = {"set": 1}, {"get": 1}, {"del": 1}, {"expire": 1}, dict[str, int]()
COMPARE_AND_SET = {"eval": 1, "get": 1, "set": 1}  # the script's own commands are counted too
LIST = {"eval": 1, "zadd": 1, "zrangebyscore": 1, "zrange": 1, "expire": 1, "zcard": 1}  # one script: the owner's sids
LISTED, UNLIST, TRAIL = {"zscore": 1}, {"zrem": 1}, {"set": 1}
MOVE = {"eval": 1, "get": 1, "set": 1, "del": 1}  # one script
#: On a Cluster too, where the script does not write the new record, and another command does.
ANYWHERE = pytest.mark.parametrize("clustered", [False, True], ids=["one server", "Cluster"])


def add(*costs: dict[str, int]) -> dict[str, int]:
    return {name: sum(cost.get(name, 0) for cost in costs) for cost in costs for name in cost}


class Meter:
    """Counts the commands that reach a real server, and the round trips that they take."""

    def __init__(self, server: RedisServer, wire: Wire, client: Any) -> None:
        self.admin, self.wire, self.client = server.connect(), wire, client
        self.client.ping()  # what opens a connection is not a request's

    def cost(self, app: Flask, path: str, cookie: str | None = None) -> tuple[dict[str, int], int, str | None]:
        """The commands of one request, its round trips, and what it does to the cookie."""
        browser = app.test_client()
        if cookie is not None:
            browser.set_cookie("session", cookie)
        self.admin.config_resetstat()
        self.wire.trips = 0
        response = browser.get(path)
        trips = self.wire.trips
        statistics: dict[str, Any] = self.admin.info("commandstats")
        commands = {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in statistics.items()}
        return {name: calls for name, calls in commands.items() if "config" not in name}, trips, set_cookie(response)


def cookie_in(header: str | None) -> str:
    """The value in a Set-Cookie."""
    return str(header).partition(";")[0].removeprefix("session=")


@pytest.fixture(params=[connect, redis.Redis.from_url], ids=["our client", "redis-py's"])
def meter(request: pytest.FixtureRequest, server: RedisServer, tmp_path: Path) -> Iterator[Meter]:
    make: Callable[..., Any] = request.param
    wire = Wire(server.socket, tmp_path / "wire.sock")
    with make(wire.url, socket_timeout=PATIENCE) as client:
        yield Meter(server, wire, client)
    wire.close()


@pytest.fixture
def app(meter: Meter, clock: Clock) -> Flask:
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=PATIENCE)
    app.session_interface = RedisSessionInterface(meter.client, clock=clock)
    route(app, "/no", lambda: "public")
    route(app, "/read", lambda: str(session.get("n")))
    route(app, "/write", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/nested", lambda: session["list"].append(1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    route(app, "/logout", lambda: session.clear())
    return app


@pytest.fixture
def cookie(app: Flask, meter: Meter) -> str:
    """Of a session that exists."""
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["list"] = []
    cookie = browser.get_cookie("session")
    assert cookie
    return cookie.value


@pytest.mark.parametrize("path", ["/no", "/read", "/logout", "/missing"])
def test_no_cookie_and_nothing_written_costs_nothing(app: Flask, meter: Meter, path: str) -> None:
    """Row 1: none, none."""
    assert meter.cost(app, path) == (NOTHING, 0, None)


def forged(app: Flask) -> dict[str, str]:
    good = sign(app, "0" * 48)
    sid, flag, stamp, signature = good.split(".")
    return {
        "empty": "",
        "nonsense": "nonsense",
        "raw sid": sid,
        "uuid": "3b241101-e2bb-4255-8caf-4136c566a962",
        "no signature": f"{sid}.{flag}.{stamp}",
        "other signature": f"{sid}.{flag}.{stamp}.{'A' * 43}",
        "other sid": ".".join(["1" * 48, flag, stamp, signature]),
        "other flag": ".".join([sid, "b", stamp, signature]),
        "other time": ".".join([sid, flag, "zzzzzz", signature]),
        "upper case": good.upper(),
        "longer": good + "A",
        "padded": good + "=",
        "a million characters": good + "A" * 1_000_000,
        "quotes": '"' + good + '"x',
        "a newline": good + "\\012",
        "Flask's own": "eyJhIjoxfQ.aR-0Wg.3jb4Q9Xl5kCk3xqYfVbF1JZ0m7A",
        "Arabic digits": good.replace("0", "\u0660"),
        "NUL": "\x00" + good,
    }


@pytest.mark.filterwarnings("ignore:The 'session' cookie is too large")
@pytest.mark.parametrize("kind", range(18))
@pytest.mark.parametrize("path", ["/no", "/read"])
def test_a_cookie_that_is_not_ours_costs_nothing(app: Flask, meter: Meter, path: str, kind: int) -> None:
    """Row 2: wrong in format or signature."""
    cookies = list(forged(app).items())
    assert len(cookies) == 18
    name, value = cookies[kind]
    assert meter.cost(app, path, value) == (NOTHING, 0, None), name


def test_a_cookie_past_its_age_costs_nothing(app: Flask, meter: Meter, cookie: str, clock: Clock) -> None:
    """Row 2: too old; and too far in the future."""
    for offset in (31 * 24 * 3600 + 1, -61):
        clock.offset = offset
        assert meter.cost(app, "/read", cookie) == (NOTHING, 0, None)
        assert meter.cost(app, "/no", cookie) == (NOTHING, 0, None)


def test_two_cookies_of_two_sessions_cost_nothing(app: Flask, meter: Meter, cookie: str) -> None:
    """Row 2: one of them was planted, and nobody knows which."""
    meter.admin.config_resetstat()
    headers = {"Cookie": f"session={cookie}; session={sign(app, '0' * 48)}"}
    assert app.test_client(use_cookies=False).get("/read", headers=headers).text == "None"
    assert not any("get" in name for name in meter.admin.info("commandstats"))


def test_a_view_that_never_touches_the_session_costs_nothing(app: Flask, meter: Meter, cookie: str) -> None:
    """Row 3: none; static files and 404s included."""
    assert meter.cost(app, "/no", cookie) == (NOTHING, 0, None)
    assert meter.cost(app, "/missing", cookie) == (NOTHING, 0, None)


@ANYWHERE
@pytest.mark.parametrize("path", ["/no", "/missing", "/read"])
def test_a_refresh_that_is_due_costs_a_get_and_an_expire(
    app: Flask, meter: Meter, cookie: str, clock: Clock, clustered: bool, path: str
) -> None:
    """Row 4: the session is read, touched or not; and the cookie. One that is signed in is listed again."""
    take_for_cluster(interface_of(app).store, clustered)
    _, _, header = meter.cost(app, "/login")
    clock.offset = 301
    cost, trips, refreshed = meter.cost(app, path, cookie)
    assert (cost, trips, bool(refreshed)) == (add(GET, EXPIRE), 2, True)
    cost, trips, refreshed = meter.cost(app, path, cookie_in(header))
    assert (cost, trips, bool(refreshed)) == (add(GET, LIST, EXPIRE), 3 if clustered else 2, True)
    assert meter.cost(app, path, cookie_in(refreshed))[2] is None  # it is not due any more


def test_reading_costs_one_get(app: Flask, meter: Meter, cookie: str) -> None:
    """Row 5: GET, and no cookie."""
    assert meter.cost(app, "/read", cookie) == (GET, 1, None)


def test_reading_costs_one_get_also_if_somebody_keeps_what_was_read(app: Flask, meter: Meter, cookie: str) -> None:
    """Row 5: the snapshot is another one then, and the record is the same."""
    held: list[Any] = []

    def hold() -> str:
        held.append(session["deep"][0])
        return str(dump_items(session) == session.snapshot)  # type: ignore[attr-defined]

    route(app, "/hold", hold)
    route(app, "/deep", lambda: session.update(deep=[[1]]))
    meter.cost(app, "/deep", cookie)
    assert meter.cost(app, "/hold", cookie) == (GET, 1, None)
    browser = app.test_client()
    browser.set_cookie("session", cookie)
    assert browser.get("/hold").text == "False"


@ANYWHERE
@pytest.mark.parametrize("path", ["/write", "/nested"])
def test_changing_costs_a_get_and_a_compare_and_set(
    app: Flask, meter: Meter, cookie: str, clustered: bool, path: str
) -> None:
    """Row 6: two round trips, and the cookie."""
    take_for_cluster(interface_of(app).store, clustered)
    cost, trips, header = meter.cost(app, path, cookie)
    assert (cost, trips, bool(header)) == (add(GET, COMPARE_AND_SET), 2, True)


@ANYWHERE
def test_a_change_of_a_session_that_is_signed_in_tells_the_list_once_in_a_while(
    app: Flask, meter: Meter, clock: Clock, clustered: bool
) -> None:
    """Row 6: it keeps the session alive, and SESSION_REFRESH_AFTER says how exactly the list has to know that."""
    take_for_cluster(interface_of(app).store, clustered)
    clock.offset = -int(clock()) % 300  # a span of SESSION_REFRESH_AFTER begins
    _, _, header = meter.cost(app, "/login")
    cost, trips, header = meter.cost(app, "/write", cookie_in(header))
    assert (cost, trips, bool(header)) == (add(GET, COMPARE_AND_SET), 2, True)
    clock.offset += 300
    cost, trips, header = meter.cost(app, "/write", cookie_in(header))
    assert (cost, trips, bool(header)) == (add(GET, LIST, COMPARE_AND_SET), 3 if clustered else 2, True)


@ANYWHERE
def test_the_first_write_of_a_visitor_costs_one_set(app: Flask, meter: Meter, clustered: bool) -> None:
    """Row 7: SET NX EX, and the cookie."""
    take_for_cluster(interface_of(app).store, clustered)
    cost, trips, header = meter.cost(app, "/write")
    assert (cost, trips, bool(header)) == (SET, 1, True)


@ANYWHERE
def test_login_costs_a_script_for_the_record_and_a_script_and_a_look_for_the_list(
    app: Flask, meter: Meter, cookie: str, clustered: bool
) -> None:
    """Row 8: the sid is listed; new record, old one gone, in one script; is it still listed?"""
    take_for_cluster(interface_of(app).store, clustered)
    cost, trips, header = meter.cost(app, "/login", cookie)
    assert (cost, trips, bool(header)) == (add(GET, LIST, MOVE, LISTED), 5 if clustered else 2, True)
    cost, trips, header = meter.cost(app, "/login")
    assert (cost, trips, bool(header)) == (add(LIST, SET, LISTED), 3 if clustered else 1, True)


@ANYWHERE
def test_regenerating_costs_a_script_with_its_trail(app: Flask, meter: Meter, cookie: str, clustered: bool) -> None:
    """Row 9: so a logout under way finds the session; one that is signed in changes its place in the list."""
    take_for_cluster(interface_of(app).store, clustered)
    cost, trips, header = meter.cost(app, "/regenerate", cookie)
    assert (cost, trips, bool(header)) == (add(GET, MOVE, TRAIL), 3 if clustered else 2, True)
    _, _, header = meter.cost(app, "/login", cookie_in(header))
    cost, trips, header = meter.cost(app, "/regenerate", cookie_in(header))
    # The script looks at the index before it moves anything; on a Cluster that is elsewhere.
    expected = add(GET, LIST, MOVE, TRAIL, UNLIST, LISTED, {} if clustered else {"zcard": 1})
    assert (cost, trips, bool(header)) == (expected, 6 if clustered else 2, True)


@ANYWHERE
def test_logout_costs_a_get_and_a_del(app: Flask, meter: Meter, cookie: str, clustered: bool) -> None:
    """Row 10: and the cookie is deleted; one that was signed in leaves the list."""
    take_for_cluster(interface_of(app).store, clustered)
    cost, trips, header = meter.cost(app, "/logout", cookie)
    assert (cost, trips, str(header)[:9]) == (add(GET, DEL), 2, "session=;")
    _, _, header = meter.cost(app, "/login")
    cost, trips, header = meter.cost(app, "/logout", cookie_in(header))
    assert (cost, trips, str(header)[:9]) == (add(GET, DEL, UNLIST), 3 if clustered else 2, "session=;")


def test_logout_by_a_sid_that_is_gone_costs_a_look_at_its_trail(app: Flask, meter: Meter) -> None:
    """GET, and GET again; nothing was there, and nothing is set or deleted."""
    assert meter.cost(app, "/logout", sign(app, "0" * 48)) == ({"get": 2}, 2, None)


def test_a_raw_sid_costs_a_get_for_the_refresh(app: Flask, meter: Meter, cookie: str) -> None:
    """Without a signature, age and permanence are in Redis alone: a refresh on each request, as koa does a GET."""
    app.config["SESSION_USE_SIGNER"] = False
    sid = cookie.partition(".")[0]
    for path in ("/no", "/read"):
        cost, trips, header = meter.cost(app, path, sid)
        assert (cost, trips, bool(header)) == (add(GET, EXPIRE), 2, True)
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    assert meter.cost(app, "/no", sid) == (NOTHING, 0, None)
    assert meter.cost(app, "/read", sid) == (GET, 1, None)


def test_a_session_is_freed_with_its_request(app: Flask) -> None:
    """At once: a large one that waited for the garbage collector would cost it more time than reading does."""
    seen: list[weakref.ref[Any]] = []

    def write() -> None:
        session["n"] = session.get("n", 0) + 1
        seen.append(weakref.ref(request_ctx.session))

    route(app, "/", write)
    browser = app.test_client()
    gc.disable()
    try:
        browser.get("/")
        browser.get("/")
        assert [reference() for reference in seen] == [None, None]
    finally:
        gc.enable()
