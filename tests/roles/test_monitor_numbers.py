"""What /monitor makes of the numbers, without Redis: samples, charts, and what is wrong. And docs/monitoring.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from support.docstrings import assert_page
from support.project import PAGES

from roles.monitor import HOUR, add_replicas, judge, judge_all, show_time
from roles.monitor_charts import GAP, HEIGHT, PAUSE, WIDTH, WINDOW, add_sample, draw, draw_all, find_top, take_sample
from roles.monitor_look import without_arguments

NOW = 1_000_000.0
WELL = {
    "role": "master",
    "connected_slaves": 1,
    "slave0": {"ip": "192.0.2.1", "lag": 1},
    "maxmemory": 100,
    "used_memory": 90,
    "maxmemory_policy": "noeviction",
    "evicted_keys": 0,
    "rejected_connections": 0,
    "rdb_last_bgsave_status": "ok",
    "aof_last_write_status": "ok",
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"used_memory": 91}, ["RedisMemoryNearlyFull"]),
        ({"used_memory": 91, "maxmemory": 0}, []),
        ({"maxmemory_policy": "allkeys-lru"}, ["RedisMayEvict"]),
        ({"evicted_keys": 1}, ["RedisEvicts"]),
        ({"rejected_connections": 3}, ["RedisRefusesConnections"]),
        ({"role": "slave", "master_link_status": "up"}, ["RedisIsReplica"]),
        ({"role": "slave", "master_link_status": "down"}, ["RedisIsReplica", "RedisReplicaLostMaster"]),
        ({"slave0": {"lag": 11}}, ["RedisReplicaLags"]),
        ({"slave0": {}}, []),
        ({"rdb_last_bgsave_status": "err"}, ["RedisSnapshotFails"]),
        ({"aof_last_write_status": "err"}, ["RedisAppendFails"]),
    ],
)
def test_what_is_wrong_has_the_name_of_its_alert(change: Mapping[str, Any], expected: list[str]) -> None:
    """Each thing by itself; and what a Redis does not tell is not wrong."""
    assert [name for name, _ in judge({**WELL, **change})] == expected
    assert [name for name, _ in judge(change) if name not in expected] == []


def test_a_missing_replica_is_noticed() -> None:
    """Fewer than an hour ago, or than the setting says; in a Cluster the replicas of all masters count."""
    noted = add_replicas(None, 2, NOW)
    assert noted == (2, NOW)
    assert add_replicas([*noted], 1, NOW + HOUR) == (2, NOW)
    assert add_replicas([*noted], 1, NOW + HOUR + 1) == (1, NOW + HOUR + 1)
    assert add_replicas([*noted], 3, NOW + 1) == (3, NOW + 1)
    assert [*judge_all({"": WELL}, [], 1)] == []
    assert [*judge_all({"": WELL}, [], 2)] == [("RedisReplicaMissing", "Its replicas are 1, and should be 2.")]
    assert [*judge_all({"a:1": WELL, "b:1": WELL}, [], 2)] == []


@pytest.mark.parametrize(
    "noted", [None, 5, "x", {}, [], [2], ["2", NOW], [2, "x"], [2, NOW + 1], [[2], NOW], [2, None]]
)
def test_a_malformed_note_of_replicas_is_none(noted: object) -> None:
    """Or one of the future."""
    assert add_replicas(noted, 1, NOW) == (1, NOW)


def test_what_is_wrong_with_a_cluster_names_the_server() -> None:
    """That some of its servers are replicas is not wrong."""
    replica = {"role": "slave", "master_link_status": "down"}
    assert [*judge_all({"a:1": WELL, "b:1": replica}, ["c:1"], 1)] == [
        ("RedisDown", "c:1 does not answer."),
        ("RedisReplicaLostMaster", "b:1: It has lost its master, and what it holds grows old."),
    ]


def test_a_sample_joins_those_before() -> None:
    """Old ones go, those of the future too; of several at one moment the last one stays, until there is a next."""
    old, kept, future = {"at": NOW - WINDOW - 1, "ping": 1}, {"at": NOW - PAUSE, "ping": 2}, {"at": NOW + 1, "ping": 3}
    sample = {"at": NOW, "ping": 4}
    assert add_sample([old, kept, future], sample) == [kept, sample]
    one, two = {"at": NOW + 1, "ping": 5}, {"at": NOW + 1.5, "ping": 6}
    assert add_sample([sample], one) == [sample, one]
    assert add_sample([sample, one], two) == [sample, two]


@pytest.mark.parametrize("samples", [None, 5, "x", {}, [None, 1, [], {}, {"at": NOW}, {"at": "x", "ping": 1}]])
def test_malformed_samples_are_dropped(samples: object) -> None:
    """Whatever is there, and whatever lacks a number that there is now."""
    sample = {"at": NOW, "ping": 1}
    assert add_sample(samples, sample) == [sample]


def test_there_are_never_more_samples_than_fit() -> None:
    """However often somebody looks."""
    samples: list[Mapping[str, float]] = []
    for step in range(4 * WINDOW):
        samples = add_sample(samples, {"at": NOW + step / 2, "ping": 1})
    assert WINDOW / PAUSE <= len(samples) <= WINDOW / PAUSE + 2


def test_a_line_goes_from_left_to_right_and_has_gaps() -> None:
    """The latest is at the right edge, the top of the scale at the top, 0 at the bottom; a single point is a dot."""
    points = [(NOW - 2 * GAP, 0.0), (NOW - 1, 1.0), (NOW, 2.0)]
    assert draw(points, 2, WINDOW, NOW) == (
        f"M{WIDTH - WIDTH * 2 * GAP / WINDOW:.1f} {HEIGHT}.0h0M{WIDTH - 1}.0 {HEIGHT / 2:.1f}h0L{WIDTH}.0 0.0"
    )
    assert draw([], 2, WINDOW, NOW) == ""
    assert draw([(NOW, 0.0)], 2, WINDOW, NOW) == f"M{WIDTH}.0 {HEIGHT}.0h0"


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (0.4, 1), (1, 1), (1.01, 2), (2.1, 5), (7, 10), (10, 10), (123, 200), (4e5, 5e5)]
)
def test_a_scale_ends_with_a_round_number(highest: float, top: float) -> None:
    """Not below the highest value, and never so low that noise fills the chart."""
    assert find_top(highest, 1) == top


@pytest.mark.parametrize(
    ("age", "start"), [(0, "30 s ago"), (30, "30 s ago"), (31, "1 min ago"), (90, "2 min ago"), (300, "5 min ago")]
)
def test_a_chart_begins_where_the_samples_do(age: float, start: str) -> None:
    """Not with five minutes of nothing; and all charts show the same time."""
    samples = [{"at": NOW - age, "ping": 0.5}, {"at": NOW, "ping": 0.25}]
    (chart,) = draw_all(samples, NOW)
    assert (chart.start, chart.scale, chart.show(chart.values[-1])) == (start, "1 ms", "0.25")


def test_a_redis_that_does_not_answer_is_not_a_fast_one() -> None:
    """Without an answer there is no time of one."""
    assert take_sample(None, {}, NOW) == {"at": NOW}
    (chart,) = draw_all([{"at": NOW - 5, "ping": 2.0}, {"at": NOW}], NOW)
    assert chart.values == [2.0]


def test_two_looks_at_one_moment_make_no_rate() -> None:
    """It would be that of the looks themselves."""
    samples = [
        {"at": at, "used_memory": 1, "connected_clients": 1, "total_commands_processed": n, "ping": 1}
        | {"keyspace_hits": 1, "keyspace_misses": 1}
        for at, n in [(NOW - 10, 0), (NOW, 50), (NOW + 0.1, 70)]
    ]
    assert next(chart.values for chart in draw_all(samples, NOW) if chart.title == "Commands per second") == [5]


def test_a_restart_of_redis_is_no_rate() -> None:
    """Its counters begin anew, and a rate below 0 would be one."""

    def sample(at: float, number: int) -> dict[str, float]:
        names = ("used_memory", "connected_clients", "total_commands_processed", "keyspace_hits", "keyspace_misses")
        return {"at": at, "ping": 1, **dict.fromkeys(names, number)}

    samples = [sample(NOW - 20, 100), sample(NOW - 10, 200), sample(NOW, 5)]
    charts = {chart.title: chart.values for chart in draw_all(samples, NOW)}
    assert charts["Commands per second"] == [10]
    assert charts["Hit rate, %"] == [50]


def test_of_a_slow_command_there_is_its_name() -> None:
    """Whatever follows it."""
    entry = {"start_time": 5, "duration": 1500, "command": b"GET SESSION:a\nb", "client_name": b"x"}
    assert [*without_arguments("", [entry])] == [{"server": "", "at": 5, "ms": 1.5, "name": "GET"}]


def test_a_time_of_another_day_has_its_date() -> None:
    """A slow log goes back for weeks, and a snapshot may be an old one."""
    noon = 1_767_268_800  # 2026-01-01 12:00:00 UTC
    assert show_time(noon, noon - 3600) == "11:00:00"
    assert show_time(noon, noon - 86_400) == "2025-12-31 12:00:00"


def test_the_page_has_the_setting_and_the_key_of_the_role() -> None:
    """Those of its docstring."""
    assert_page(PAGES["docs/monitoring.md"], "monitor")
