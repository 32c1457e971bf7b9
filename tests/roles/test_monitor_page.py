"""GET /monitor: who may look, and what is to be seen."""

from __future__ import annotations

import re
from typing import Any

import fakeredis
import pytest
from support import demo
from support.apps import set_cookie
from support.clock import Clock
from support.docstrings import assert_keys
from support.project import PERMISSIONS
from support.roles.monitor import CONFIG, facts, make_app, numbers, problems, signed_in, text_of
from support.servers import RedisServer
from support.topology import wait_until

from app import create_app

# Who may look -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "stranger"), [("/monitor", 303), ("/monitor/live", 403)])
def test_only_an_administrator_may_look(least: Any, path: str, stranger: int) -> None:
    """Who is not signed in goes to the sign-in page; another user is refused, and told why."""
    app = make_app(least)
    assert app.test_client().get(path).status_code == stranger
    answer = signed_in(app, "grace", "hopper").get(path)
    assert answer.status_code == 403
    assert "administrators" in answer.text
    assert "As of" in text_of(signed_in(app), path)


@pytest.mark.parametrize("users", [None, []])
def test_without_an_administrator_there_is_no_page(users: list[str] | None) -> None:
    """404, also for who is signed in."""
    config = demo.CONFIG if users is None else {**demo.CONFIG, "MONITOR_USERS": users}
    app = create_app(config, fakeredis.FakeRedis())
    assert signed_in(app).get("/monitor").status_code == 404


@pytest.mark.parametrize("users", ["ada", [1], [""], {"ada": 1}, True])
def test_a_bad_list_stops_the_start(users: object) -> None:
    """The message names the setting and what was expected."""
    with pytest.raises(ValueError, match=r"MONITOR_USERS is .* expected a list of user names"):
        create_app({**CONFIG, "MONITOR_USERS": users}, fakeredis.FakeRedis())


def test_in_an_embedded_app_the_demo_account_may_look() -> None:
    """And sees that fakeredis does not tell much."""
    page = text_of(signed_in(create_app({"TESTING": True})))
    assert "has no INFO" in page
    assert facts(page) == {}
    assert [*numbers(page)] == ["PING, ms"]


def test_a_page_that_is_left_open_keeps_nobody_signed_in(least: Any, clock: Clock) -> None:
    """The part that is renewed does not refresh the session; the page itself does."""
    app = make_app(least, clock=clock)
    web = signed_in(app)
    clock.move(app.config["SESSION_REFRESH_AFTER"] + 1)
    assert set_cookie(web.get("/monitor/live")) is None
    assert set_cookie(web.get("/monitor"))


# What is to be seen -------------------------------------------------------------------------------------------------


def test_it_shows_what_redis_tells(server: RedisServer) -> None:
    """Memory with its limit and policy, hit rate, connections, evictions, role, persistence; nothing is wrong."""
    admin = server.connect()
    admin.config_set("maxmemory", 2 * 10**9)
    page = text_of(signed_in(make_app(server.connect())))
    admin.config_set("maxmemory", 0)
    told = facts(page)
    assert (told["Limit"], told["When it is full"]) == ("2.0 GB", "noeviction")
    assert re.fullmatch(r"[\d.]+ MB", told["Used"])
    assert re.fullmatch(r"[\d.]+ % of [\d,]+ reads", told["Hit rate"])
    assert re.fullmatch(r"\d+ of 10000", told["Connections"])
    assert (told["Evicted"], told["Role"], told["Replicas"], told["Log (AOF)"]) == ("0", "master", "0", "off")
    assert re.fullmatch(r"([\d-]{10} )?\d\d:\d\d:\d\d UTC, ok", told["Snapshot (RDB)"])
    assert re.fullmatch(r"[\d.]+ ms", told["PING"])
    assert problems(page) == []
    assert "Nothing is wrong" in page


def test_the_slow_log_has_no_arguments(make_server: Any) -> None:
    """Of a command that was slow there is its name, and no part of a key, a record or a sid."""
    server: RedisServer = make_server("--slowlog-log-slower-than", "0")
    server.connect().execute_command("SET", "SESSION:secret-sid", "secret-record")
    page = text_of(signed_in(make_app(server.connect())))
    table = page.partition("The slow log")[2]
    assert {"SET", "EVAL", "ZSCORE"} & {*re.findall(r"<code>(.*?)</code>", table)}
    assert not re.search(r"secret|SESSION:|redis\.call|ada", table)
    assert not re.search(r"[0-9a-f]{32}", page)


def test_the_charts_have_a_table_beside_them(server: RedisServer, clock: Clock) -> None:
    """Of each: the number of now, the lowest, and the highest; a rate needs two looks."""
    web = signed_in(make_app(server.connect(), clock=clock))
    first = numbers(text_of(web))
    assert first["Commands per second"] == ["not known yet"]
    clock.move(10)
    second = numbers(text_of(web))
    assert [*second] == ["Memory, MB", "Connections", "Commands per second", "Hit rate, %", "PING, ms"]
    assert all(len(values) == 3 for values in second.values())
    rate, _, _ = map(float, second["Commands per second"])
    assert 0 < rate < 10


def test_a_chart_has_a_scale(server: RedisServer, clock: Clock) -> None:
    """The top with its unit, 0, and the time; with one reading it says that it waits for the next."""
    web = signed_in(make_app(server.connect(), clock=clock))
    first = re.findall(r'<div class="plot" aria-hidden="true">(.*?)</div>', text_of(web), re.S)
    assert all("waiting for the next reading" in plot for plot in first)
    clock.move(10)
    second = re.findall(r'<div class="plot" aria-hidden="true">(.*?)</div>', text_of(web), re.S)
    words = [re.findall(r"<span>(.*?)</span>", plot) for plot in second]
    assert [top.partition(" ")[2] for top, *_ in words] == ["MB", "", "", "%", "ms"]
    assert {zero for _, zero, *_ in words} == {"0"}
    assert [words[0][2:], words[4][2:]] == [["30 s ago", "now"]] * 2


def test_the_time_of_a_ping_is_the_same_everywhere(server: RedisServer) -> None:
    """That of this look."""
    web = signed_in(make_app(server.connect()))
    for _ in range(3):
        page = text_of(web)
        (caption,) = re.findall(r"PING, ms<b>(.*?)</b>", page)
        assert facts(page)["PING"] == f"{caption} ms"
        assert numbers(page)["PING, ms"][0] == caption


def test_samples_are_shared_and_end(client: Any, clock: Clock) -> None:
    """By all processes on one Redis, for as long as the docstring says."""
    one, two = (signed_in(make_app(client, clock=clock)) for _ in range(2))
    text_of(one)
    clock.move(10)
    assert "L" in re.findall(r'class="line" d="(.*?)"', text_of(two))[-1]
    assert_keys(client, "monitor")


def test_what_the_acl_of_the_docs_allows_is_enough(server: RedisServer) -> None:
    """The app needs no more to show all of it."""
    page = text_of(signed_in(make_app(server.log_in(*PERMISSIONS))))
    assert facts(page)
    assert "cannot be had" not in page


def test_what_the_acl_forbids_is_named(server: RedisServer) -> None:
    """The page works, and says which commands are forbidden."""
    page = text_of(signed_in(make_app(server.log_in("~*", "+@all", "-info", "-slowlog", "-ping"))))
    for command in ("PING", "INFO", "SLOWLOG GET"):
        assert f"{command} cannot be had: Redis&#39;s ACL forbids it." in page
    assert facts(page) == {}
    assert "The slow log" not in page
    assert "does not answer" not in page.partition('<div id="live"')[2]


@pytest.mark.parametrize(
    "fields",
    [
        {"redis_version": "7.0.0"},
        {"role": "slave", "used_memory": 5_000_000, "maxmemory": 0},
        {"role": "master", "maxmemory": 1000, "connected_clients": 3, "keyspace_hits": 5},
        {"keyspace_misses": 5, "total_commands_processed": 9, "aof_enabled": 1, "rdb_last_bgsave_status": "ok"},
        {"rdb_last_save_time": 1_767_268_800, "maxclients": 10, "master_link_status": "up"},
    ],
)
def test_of_an_info_with_few_fields_there_is_what_it_has(server: RedisServer, fields: dict[str, Any]) -> None:
    """As a provider may cut it down, or a program that is not quite Redis; the rest is said not to be told."""
    redis = server.connect()
    redis.set_response_callback("INFO", lambda *_, **__: fields)
    web = signed_in(make_app(redis))
    text_of(web)
    page = text_of(web)
    told = facts(page)
    assert "not told" in told.values()
    assert told["Used"] == ("5.0 MB" if "used_memory" in fields else "not told")
    assert told["Connections"] == ("3" if "connected_clients" in fields else "not told")
    assert told["Hit rate"] == "not told"
    assert ("Memory, MB" in numbers(page)) is ("used_memory" in fields)
    assert numbers(page)["PING, ms"]


def test_a_full_redis_is_shown(make_server: Any) -> None:
    """Though nothing can be kept for the charts then."""
    server: RedisServer = make_server()
    web = signed_in(make_app(server.connect()))
    server.connect().config_set("maxmemory", 1)
    page = text_of(web)
    assert problems(page) == ["RedisMemoryNearlyFull"]
    assert "A place for the samples of the charts cannot be had: OutOfMemoryError." in page
    assert numbers(page)["PING, ms"]


def test_a_redis_that_cannot_save_is_shown(make_server: Any) -> None:
    """It refuses what would write, and says so by a code."""
    server: RedisServer = make_server("--dbfilename", "dump", "--save", "3600 1")
    web = signed_in(make_app(server.connect()))
    (server.socket.parent / "dump").mkdir()  # it cannot be replaced by a file
    admin = server.connect()
    admin.bgsave()
    wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
    page = text_of(web)
    assert problems(page) == ["RedisSnapshotFails"]
    assert "A place for the samples of the charts cannot be had: ResponseError: MISCONF." in page


@pytest.mark.parametrize(
    "record",
    [b"[", b"[]", b'{"samples":5}', b'{"samples":[1,null,[],{}]}', b'{"samples":[{"at":"x","ping":1}]}', b"\xff"],
)
def test_malformed_samples_count_as_none(client: Any, record: bytes) -> None:
    """Whoever wrote them; the page works, and writes good ones."""
    client.set("MONITOR:SESSION:samples", record)
    web = signed_in(make_app(client))
    assert numbers(text_of(web))["PING, ms"]
    assert b'"ping"' in client.get("MONITOR:SESSION:samples")


def test_hostile_text_of_redis_is_shown_as_text(server: RedisServer) -> None:
    """A policy, a version, and a command of the slow log: none becomes a part of the page."""
    redis, hostile = server.connect(), "<img/src=x>"
    info = redis.info() | dict.fromkeys(
        ["maxmemory_policy", "redis_version", "role", "rdb_last_bgsave_status"], hostile
    )
    entry = {"start_time": 5, "duration": 1500, "command": f"{hostile} key".encode()}
    redis.set_response_callback("INFO", lambda *_, **__: info)
    redis.set_response_callback("SLOWLOG GET", lambda *_, **__: [entry])
    page = text_of(signed_in(make_app(redis)))
    told, shown = facts(page), "&lt;img/src=x&gt;"
    assert f"its policy is {shown}" in page
    assert told["When it is full"] == told["Role"] == shown
    assert told["Version"].startswith(shown)
    assert f"<code>{shown}</code>" in page
    assert "<img" not in page
    assert re.findall(r"<script[^>]*>(.*?)</script>", page) == [""]
    assert not re.search(r" (on\w+|style)=", page)
