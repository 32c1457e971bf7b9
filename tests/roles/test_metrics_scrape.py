"""GET /metrics: who may read it, and what it tells of Redis."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from support.demo import CONFIG, sign_in
from support.project import PERMISSIONS, ROOT
from support.roles.metrics import BEARER, TOKEN, make_app, parse, scrape
from support.servers import PATIENCE, RedisServer
from support.stopwatch import takes
from support.topology import SentinelGroup, running, wait_until

from app import create_app
from redis_store import connect
from roles import metrics

#: Of a Redis that is a master without replicas.
NAMES = {
    "redis_up",
    "redis_exporter_last_scrape_ping_time_seconds",
    "redis_memory_used_bytes",
    "redis_memory_max_bytes",
    "redis_connected_clients",
    "redis_rejected_connections_total",
    "redis_keyspace_hits_total",
    "redis_keyspace_misses_total",
    "redis_evicted_keys_total",
    "redis_rdb_last_bgsave_status",
    "redis_aof_last_write_status",
    "redis_connected_slaves",
    "redis_instance_info",
}


def of_redis(series: dict[str, float]) -> dict[str, float]:
    return {name.partition("{")[0]: value for name, value in series.items() if not re.match("redis_store_|role_", name)}


# Who may read it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xff",
        "x" * 9000,
    ],
)
def test_only_who_has_the_token_may_read_it(authorization: str | None) -> None:
    """401, which says that a bearer token is expected, and nothing of what is counted."""
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = make_app(fakeredis.FakeRedis()).test_client().get("/metrics", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].lower() == "bearer"
    assert "redis_up" not in answer.text


def test_a_session_is_no_token(least: Any) -> None:
    """Not even that of somebody who is signed in."""
    web = make_app(least).test_client()
    assert sign_in(web).status_code == 303
    assert web.get("/metrics").status_code == 401


def test_without_a_token_there_is_nothing_to_read() -> None:
    """No page, and nothing is counted."""
    client = fakeredis.FakeRedis()
    app = create_app(CONFIG, client)
    assert app.test_client().get("/metrics").status_code == 404
    assert "execute_command" not in vars(client)


@pytest.mark.thorough
@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.1", 401), (None, 401)])
def test_an_embedded_app_shows_them_on_its_own_machine(address: str | None, status: int) -> None:
    """Where there is no token to ask for."""
    web = create_app({"TESTING": True}).test_client()
    assert web.get("/metrics", environ_overrides={"REMOTE_ADDR": address}).status_code == status


@pytest.mark.parametrize("token", ["short", "", 5, b"b" * 40, ["t" * 40]])
def test_a_bad_token_stops_the_start(token: object) -> None:
    """The message names the setting, and does not show it."""
    with pytest.raises(ValueError, match=r"METRICS_TOKEN \(not shown\) .* expected at least 32 bytes"):
        create_app({**CONFIG, "METRICS_TOKEN": token}, fakeredis.FakeRedis())


def test_a_scrape_leaves_the_session_alone(least: Any) -> None:
    """It neither reads nor refreshes one, whatever cookie comes along."""
    app = make_app(least)
    app.config["SESSION_REFRESH_AFTER"] = 0
    web = app.test_client()
    sign_in(web)
    before = scrape(app)
    answer = web.get("/metrics", headers=BEARER)
    assert "Set-Cookie" not in answer.headers
    after = parse(answer.text)
    assert {name for name in after if after[name] != before[name] and "redis_store_" in name} == set()


# What it tells ------------------------------------------------------------------------------------------------------


def test_it_has_the_names_of_redis_exporter(server: RedisServer) -> None:
    """With the numbers that Redis has."""
    server.connect().config_set("maxmemory", 10**9)
    app = make_app(server.connect())
    told = of_redis(scrape(app))
    server.connect().config_set("maxmemory", 0)
    assert {*told} == NAMES
    assert told["redis_up"] == 1
    assert told["redis_memory_max_bytes"] == 10**9
    assert 0 < told["redis_memory_used_bytes"] < 10**9
    assert 0 < told["redis_exporter_last_scrape_ping_time_seconds"] < PATIENCE
    assert told["redis_rdb_last_bgsave_status"] == told["redis_aof_last_write_status"] == 1


def test_it_says_which_redis_that_is(server: RedisServer) -> None:
    """Its role, version and what it does when it is full are labels."""
    (name,) = [name for name in scrape(make_app(server.connect())) if name.startswith("redis_instance_info")]
    assert re.fullmatch(
        r'redis_instance_info{maxmemory_policy="noeviction",redis_mode="standalone",redis_version="[\d.]+",role="master"}',
        name,
    )


def test_what_the_acl_of_the_docs_allows_is_enough(server: RedisServer) -> None:
    """The app needs no more to show all of it."""
    assert {*of_redis(scrape(make_app(server.log_in(*PERMISSIONS))))} == NAMES


@pytest.mark.parametrize(
    ("ping", "told"), [("+ping", {"redis_exporter_last_scrape_ping_time_seconds"}), ("-ping", set())]
)
def test_what_the_acl_forbids_is_left_out(ping: str, told: set[str], server: RedisServer) -> None:
    """Redis is up all the same: to say no is an answer."""
    series = of_redis(scrape(make_app(server.log_in("~*", "+@all", "-info", "-slowlog", ping))))
    assert series["redis_up"] == 1
    assert {*series} == told | {"redis_up"}


def test_fakeredis_tells_that_it_is_there() -> None:
    """It has neither INFO nor a slow log."""
    told = of_redis(scrape(make_app(fakeredis.FakeRedis())))
    assert {*told} == {"redis_up", "redis_exporter_last_scrape_ping_time_seconds"}


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["refused", "stopped", "frozen"])
def test_an_unreachable_redis_is_a_zero(way: str, request: pytest.FixtureRequest) -> None:
    """No 500, and within a second; what is counted in the app is there."""
    if way == "refused":
        app = make_app(connect("redis://127.0.0.1:1"))
    else:
        server = request.getfixturevalue("make_server")()
        app = make_app(server.connect())
        assert scrape(app)["redis_up"] == 1
        server.stop() if way == "stopped" else server.freeze()
    with takes(1):
        told = scrape(app)
    assert of_redis(told) == {"redis_up": 0}
    assert told['redis_store_unavailable_total{reason="read"}'] == 0


def test_a_file_that_is_just_made_fails_no_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process makes it before it writes to it, and may be killed between the two."""
    app = make_app(fakeredis.FakeRedis())
    monkeypatch.setenv(metrics.FOLDER, str(tmp_path))
    (tmp_path / "counter_0.db").touch()
    assert scrape(app)["redis_up"] == 1


@pytest.mark.thorough
def test_a_master_and_its_replica_tell_how_far_apart_they_are(tmp_path: Path) -> None:
    """The master how long it has not heard of its replica; the replica whether it has its master."""
    with running(SentinelGroup(tmp_path, down_after=60_000)) as group:
        master, replica = group.servers[:2]
        told = scrape(make_app(master.connect()))
        assert len(told) == 50
        assert told["redis_connected_slaves"] == 1
        assert told["redis_connected_slave_lag_seconds"] < 30
        series = scrape(make_app(replica.connect()))
        assert len(series) <= 50
        assert series["redis_master_link_up"] == 1
        assert series["redis_master_last_io_seconds_ago"] < 30
        master.stop()
        app = make_app(replica.connect())
        wait_until(lambda: scrape(app)["redis_master_link_up"] == 0)


# How much it is -----------------------------------------------------------------------------------------------------


def test_there_are_at_most_50_series(server: RedisServer) -> None:
    """As many after a hundred sign-ins of different users as before; the fiftieth is the lag of a replica."""
    app = make_app(server.connect())
    before = {*scrape(app)}
    for number in range(10):
        web = app.test_client()
        sign_in(web)
        sign_in(app.test_client(), f"user {number}", "wrong")
        web.get(f"/nowhere/{number}")
    assert {*scrape(app)} == before
    assert len(before) == 49


def test_no_label_says_who_or_where(server: RedisServer) -> None:
    """Each value of a label is one of a few words that stand in the code, but for those that say which Redis it is."""
    app = make_app(server.connect())
    sign_in(app.test_client())
    names = [name for name in scrape(app) if "{" in name and not name.startswith("redis_instance_info")]
    labels = {label for name in names for label in re.findall(r'(\w+)="([^"]*)"', name)}
    assert {label for label, _ in labels} == {"reason", "event", "verb", "le"}
    words = "".join(
        (ROOT / path).read_text() for path in ("roles/metrics.py", "roles/metrics_redis.py", "roles/__init__.py")
    )
    assert all(f'"{value}"' in words for label, value in labels if label != "le")
