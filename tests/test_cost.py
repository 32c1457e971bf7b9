"""What one request costs: the Redis commands of each row of the table, from the server's own statistics."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import SECRET_KEY, Clock, RedisServer, route, set_cookie, sign
from flask import Flask, session

from redis_store import RedisSessionInterface

SET, GET, DEL, EXPIRE, NOTHING = {"set": 1}, {"get": 1}, {"del": 1}, {"expire": 1}, dict[str, int]()
COMPARE_AND_SET = {"eval": 1, "get": 1, "set": 1}  # the script's own commands are counted too
LIST = {"eval": 1, "zadd": 1, "zremrangebyscore": 1, "zrange": 1, "expire": 1}  # one script: the owner's sids
LISTED, UNLIST = {"zscore": 1}, {"zrem": 1}
MOVE = {"eval": 1, "get": 1, "set": 1, "del": 1}  # one script, one round trip


def add(*costs: dict[str, int]) -> dict[str, int]:
    return {name: sum(cost.get(name, 0) for cost in costs) for cost in costs for name in cost}


class Meter:
    """Counts the commands that reach a real server."""

    def __init__(self, server: RedisServer) -> None:
        self.admin = server.connect()
        self.client = server.connect()
        self.client.ping()  # the commands that open a connection are not a request's

    def cost(self, app: Flask, path: str, cookie: str | None = None) -> tuple[dict[str, int], str | None]:
        """The commands of one request, and what it does to the cookie."""
        browser = app.test_client()
        if cookie is not None:
            browser.set_cookie("session", cookie)
        self.admin.config_resetstat()
        response = browser.get(path)
        statistics: dict[str, Any] = self.admin.info("commandstats")
        commands = {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in statistics.items()}
        return {name: calls for name, calls in commands.items() if "config" not in name}, set_cookie(response)


def cookie_in(header: str | None) -> str:
    """The value in a Set-Cookie."""
    return str(header).partition(";")[0].removeprefix("session=")


@pytest.fixture
def meter(server: RedisServer) -> Meter:
    return Meter(server)


@pytest.fixture
def app(meter: Meter) -> Flask:
    app = Flask("app")
    app.secret_key = SECRET_KEY
    app.session_interface = RedisSessionInterface(meter.client)
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
    assert meter.cost(app, path) == (NOTHING, None)


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
    assert meter.cost(app, path, value) == (NOTHING, None), name


def test_a_cookie_past_its_age_costs_nothing(app: Flask, meter: Meter, cookie: str, clock: Clock) -> None:
    """Row 2: too old; and too far in the future."""
    for offset in (31 * 24 * 3600 + 1, -61):
        clock.offset = offset
        assert meter.cost(app, "/read", cookie) == (NOTHING, None)
        assert meter.cost(app, "/no", cookie) == (NOTHING, None)


def test_two_cookies_of_one_name_cost_nothing(app: Flask, meter: Meter, cookie: str) -> None:
    """Row 2: one of them was planted; not even the good one is used."""
    meter.admin.config_resetstat()
    headers = {"Cookie": f"session={cookie}; session={sign(app, '0' * 48)}"}
    assert app.test_client(use_cookies=False).get("/read", headers=headers).text == "None"
    assert not any("get" in name for name in meter.admin.info("commandstats"))


def test_a_view_that_never_touches_the_session_costs_nothing(app: Flask, meter: Meter, cookie: str) -> None:
    """Row 3: none; static files and 404s included."""
    assert meter.cost(app, "/no", cookie) == (NOTHING, None)
    assert meter.cost(app, "/missing", cookie) == (NOTHING, None)


@pytest.mark.parametrize("path", ["/no", "/missing"])
def test_a_refresh_that_is_due_costs_one_expire(app: Flask, meter: Meter, cookie: str, clock: Clock, path: str) -> None:
    """Row 3: EXPIRE and the cookie."""
    clock.offset = 61
    cost, header = meter.cost(app, path, cookie)
    assert (cost, bool(header)) == (EXPIRE, True)


def test_reading_costs_one_get(app: Flask, meter: Meter, cookie: str, clock: Clock) -> None:
    """Row 4: GET, and a cookie only with a refresh."""
    assert meter.cost(app, "/read", cookie) == (GET, None)
    clock.offset = 61
    cost, header = meter.cost(app, "/read", cookie)
    assert (cost, bool(header)) == (add(GET, EXPIRE), True)


@pytest.mark.parametrize("path", ["/write", "/nested"])
def test_changing_costs_a_get_and_a_compare_and_set(app: Flask, meter: Meter, cookie: str, path: str) -> None:
    """Row 5: two round trips, and the cookie."""
    cost, header = meter.cost(app, path, cookie)
    assert (cost, bool(header)) == (add(GET, COMPARE_AND_SET), True)


def test_the_first_write_of_a_visitor_costs_one_set(app: Flask, meter: Meter) -> None:
    """Row 6: SET NX EX, and the cookie."""
    cost, header = meter.cost(app, "/write")
    assert (cost, bool(header)) == (SET, True)


def test_login_costs_a_script_for_the_record_and_a_script_and_a_look_for_the_list(
    app: Flask, meter: Meter, cookie: str
) -> None:
    """Row 7: the sid is listed; new record, old one gone, in one script; is it still listed?"""
    cost, header = meter.cost(app, "/login", cookie)
    assert (cost, bool(header)) == (add(GET, LIST, MOVE, LISTED), True)
    cost, header = meter.cost(app, "/login")
    assert (cost, bool(header)) == (add(LIST, SET, LISTED), True)


def test_regenerating_costs_one_more_for_the_trail(app: Flask, meter: Meter, cookie: str) -> None:
    """So that a logout under way finds the session; and one that is signed in changes its place in the list."""
    cost, header = meter.cost(app, "/regenerate", cookie)
    assert (cost, bool(header)) == (add(GET, SET, MOVE), True)
    _, header = meter.cost(app, "/login", cookie_in(header))
    cost, header = meter.cost(app, "/regenerate", cookie_in(header))
    assert (cost, bool(header)) == (add(GET, SET, LIST, MOVE, UNLIST, LISTED), True)


def test_logout_costs_a_get_and_a_del(app: Flask, meter: Meter, cookie: str) -> None:
    """Row 8: and the cookie is deleted; one that was signed in leaves the list."""
    cost, header = meter.cost(app, "/logout", cookie)
    assert (cost, str(header)[:9]) == (add(GET, DEL), "session=;")
    _, header = meter.cost(app, "/login")
    cost, header = meter.cost(app, "/logout", cookie_in(header))
    assert (cost, str(header)[:9]) == (add(GET, DEL, UNLIST), "session=;")


def test_a_refresh_of_a_session_that_is_signed_in_lists_it_again_once_in_an_idle_limit(
    app: Flask, meter: Meter, clock: Clock
) -> None:
    """Row 3 again: one EXPIRE, as for anybody, until the list might forget the session before it ends."""
    idle = 31 * 24 * 3600
    _, header = meter.cost(app, "/login")
    for clock.offset in (61, idle - 61):
        cost, header = meter.cost(app, "/no", cookie_in(header))
        assert (cost, bool(header)) == (EXPIRE, True)
    clock.offset = idle + 61
    cost, header = meter.cost(app, "/no", cookie_in(header))
    assert (cost, bool(header)) == (add(GET, LIST, EXPIRE), True)
    clock.offset = 2 * idle
    assert meter.cost(app, "/no", cookie_in(header))[0] == EXPIRE


def test_logout_by_a_sid_that_is_gone_costs_a_look_at_its_trail(app: Flask, meter: Meter) -> None:
    """GET, and GET again; nothing was there, and nothing is set or deleted."""
    assert meter.cost(app, "/logout", sign(app, "0" * 48)) == ({"get": 2}, None)


def test_a_raw_sid_costs_a_get_for_the_refresh(app: Flask, meter: Meter, cookie: str) -> None:
    """Without a signature, age and permanence are in Redis alone: a refresh on each request, as koa does a GET."""
    app.config["SESSION_USE_SIGNER"] = False
    sid = cookie.partition(".")[0]
    for path in ("/no", "/read"):
        cost, header = meter.cost(app, path, sid)
        assert (cost, bool(header)) == (add(GET, EXPIRE), True)
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    assert meter.cost(app, "/no", sid) == (NOTHING, None)
    assert meter.cost(app, "/read", sid) == (GET, None)
