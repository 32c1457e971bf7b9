"""deploy/alerts.yml: each alert is made to fire by a fault, and what is not wrong makes none fire."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.alerts import ALERTS, Watch, make_app, run_promtool
from support.faults.network import Proxy
from support.project import rows, section
from support.roles import jobs, throttle, tokens
from support.servers import RedisServer
from support.topology import free_ports, wait_until


class Site:
    """Where a fault happens: a Redis, an app on it, and who watches."""

    def __init__(self, make_server: Callable[..., RedisServer], folder: Path, stack: ExitStack) -> None:
        self.make_server, self.folder, self.stack = make_server, folder, stack

    def start(self, *options: str) -> Watch:
        self.redis = self.make_server(*options)
        self.admin = self.redis.connect()
        return Watch(make_app(self.redis.connect()))

    def start_pair(self) -> RedisServer:
        """Start a master and a replica; return that one."""
        port, other = map(str, free_ports(2))
        self.redis = self.make_server("--port", port, "--repl-diskless-sync-delay", "0")
        self.admin = self.redis.connect()
        replica = self.make_server("--port", other, "--replicaof", "127.0.0.1", port)
        wait_until(lambda: replica.connect().info("replication")["master_link_status"] == "up")
        wait_until(lambda: self.admin.info("replication")["slave0"]["state"] == "online")
        return replica


def nothing(site: Site) -> Watch:
    watch = site.start()
    assert watch.work() == 200
    return watch


def killed(site: Site) -> Watch:
    watch = site.start()
    site.redis.stop()
    assert watch.work() == 503
    return watch


def frozen(site: Site) -> Watch:
    watch = site.start()
    site.redis.freeze()
    assert {watch.work() for _ in range(3)} == {503}
    return watch


def slow(site: Site) -> Watch:
    watch, proxy = slowed(site)
    assert {watch.work() for _ in range(3)} == {200}
    proxy.delay = 0
    return watch


def slow_once(site: Site) -> Watch:
    watch, proxy = slowed(site)
    assert watch.web.get("/account").status_code == 200
    proxy.delay = 0
    return watch


def slowed(site: Site) -> tuple[Watch, Proxy]:
    """Where each answer takes longer than the bound of the alert, but not so long that nobody waits."""
    site.redis = site.make_server()
    proxy = Proxy(str(site.redis.socket))
    site.stack.callback(proxy.stop)
    watch = Watch(make_app(proxy.connect()))
    proxy.delay = 0.15
    return watch, proxy


def restarted(site: Site) -> Watch:
    watch = site.start()
    site.redis.stop()
    site.redis.start()
    return watch


def silent(site: Site) -> Watch:
    site.redis = site.make_server()
    return Watch(make_app(site.redis.log_in("~*", "+@all", "-info")))


def token_changed(site: Site) -> Watch:
    watch = site.start()
    watch.app.config["METRICS_TOKEN"] = "another-" * 4
    return watch


def full(site: Site) -> Watch:
    watch = site.start()
    site.admin.config_set("maxmemory", 1)
    assert watch.work() == 503
    return watch


def evicting(site: Site) -> Watch:
    watch = site.start()
    site.admin.config_set("maxmemory-policy", "volatile-ttl")
    site.admin.config_set("maxmemory", site.admin.info("memory")["used_memory"] + 2_000_000)
    for number in range(300):
        site.admin.set(f"CACHE:{number}", "x" * 20_000, ex=60)  # the first to go, and not who looks
    return watch


def out_of_connections(site: Site) -> Watch:
    watch = site.start()
    site.admin.config_set("maxclients", site.admin.info("clients")["connected_clients"])
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(site.redis.socket))
        assert b"max number of clients" in stranger.recv(100)
    return watch


def on_a_replica(site: Site) -> Watch:
    return Watch(make_app_on(site, site.start_pair()))


def make_app_on(site: Site, replica: RedisServer) -> Any:
    """An app that was connected to a master, which is a replica from now on."""
    app = make_app(replica.connect())
    replica.connect().config_set("replica-read-only", "no")  # or nobody could sign in to look
    return app


def without_its_master(site: Site) -> Watch:
    replica = site.start_pair()
    watch = Watch(make_app_on(site, replica))
    site.redis.stop()
    wait_until(lambda: replica.connect().info("replication")["master_link_status"] == "down")
    return watch


def replica_killed(site: Site) -> Watch:
    replica = site.start_pair()
    watch = Watch(make_app(site.redis.connect()))
    assert watch.problems() == set()
    replica.stop()
    wait_until(lambda: site.admin.info("replication")["connected_slaves"] == 0)
    return watch


def replica_lags(site: Site) -> Watch:
    replica = site.start_pair()
    watch = Watch(make_app(site.redis.connect()))
    replica.freeze()
    wait_until(lambda: site.admin.info("replication")["slave0"]["lag"] > 10, 30)
    return watch


def no_snapshot(site: Site) -> Watch:
    watch = site.start("--dbfilename", "dump")
    (site.redis.socket.parent / "dump").mkdir()  # it cannot be replaced by a file
    site.admin.bgsave()
    wait_until(lambda: site.admin.info("persistence")["rdb_last_bgsave_status"] == "err")
    return watch


def disk_full(site: Site) -> Watch:
    watch = site.start("--appendonly", "yes")
    (site.redis.socket.parent / "appendonlydir" / "appendonly.aof.2.incr.aof").symlink_to("/dev/full")
    site.admin.bgrewriteaof()  # from here on it writes there
    wait_until(lambda: watch.work() == 503)
    return watch


def bad_app(site: Site) -> Watch:
    watch = site.start()
    assert watch.web.get("/set").status_code == 500
    return watch


def thief(site: Site) -> Watch:
    watch = site.start()
    _, first = tokens.log_in(watch.app)
    assert tokens.refresh(watch.app, tokens.refresh(watch.app, first))
    assert tokens.refresh(watch.app, first) is None
    return watch


def guesses(site: Site) -> Watch:
    watch = site.start()
    throttle.attack(watch.app, "grace")
    return watch


def no_worker(site: Site) -> Watch:
    watch = site.start()
    jobs.enqueue(watch.app)
    for _ in range(15):  # longer than what was told counts
        watch.scrape()
    return watch


def failed_job(site: Site) -> Watch:
    watch = site.start()
    jobs.learn(watch.app, "fail", fail)
    jobs.notice(watch.app)  # a worker is there
    jobs.enqueue(watch.app, "fail")
    with jobs.handlers_kept():
        jobs.work(watch.app)
        while jobs.status(site.admin) == "scheduled":
            jobs.make_due(site.admin)
            jobs.work(watch.app)
    assert jobs.status(site.admin) == "failed"
    return watch


def fail() -> None:
    raise OSError


@dataclass(frozen=True)
class Fault:
    play: Callable[[Site], Watch]
    alerts: set[str]
    also: set[str] = field(default_factory=set)  # what comes with it
    shown: bool = True  # whether /monitor can show it
    often: bool = False  # whether the usual tier has it


FAULTS = [
    Fault(nothing, set(), often=True),
    Fault(token_changed, {"AppDown"}, shown=False),
    Fault(killed, {"RedisDown"}, {"SessionsUnavailable"}, shown=False, often=True),
    Fault(frozen, {"RedisDown"}, {"SessionsUnavailable", "RedisSlow"}, shown=False),
    Fault(slow, {"RedisSlow"}, shown=False),
    Fault(slow_once, set(), shown=False),
    Fault(restarted, {"RedisRestarted"}, shown=False),
    Fault(silent, {"RedisTellsNothing"}, shown=False),
    Fault(full, {"RedisMemoryNearlyFull"}, {"SessionsUnavailable"}, often=True),
    Fault(evicting, {"RedisEvicts", "RedisMayEvict"}, {"RedisMemoryNearlyFull"}),
    Fault(out_of_connections, {"RedisRefusesConnections"}),
    Fault(on_a_replica, {"RedisIsReplica"}),
    Fault(without_its_master, {"RedisReplicaLostMaster"}, {"RedisIsReplica"}),
    Fault(replica_killed, {"RedisReplicaMissing"}),
    Fault(replica_lags, {"RedisReplicaLags"}),
    Fault(no_snapshot, {"RedisSnapshotFails"}),
    Fault(disk_full, {"RedisAppendFails"}, {"SessionsUnavailable"}),
    Fault(bad_app, {"SessionsRefused"}, shown=False),
    Fault(thief, {"TokenReplayed"}, shown=False),
    Fault(guesses, {"SignInsThrottled"}, shown=False),
    Fault(no_worker, {"JobsWait"}),
    Fault(failed_job, {"JobsFail"}, shown=False),
]


@pytest.fixture
def site(make_server: Any, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(make_server, tmp_path, stack)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=fault.play.__name__, marks=() if fault.often else pytest.mark.thorough)
        for fault in FAULTS
    ],
)
def test_a_fault_makes_its_alerts_fire_and_no_others(fault: Fault, site: Site, tmp_path: Path) -> None:
    """On what the app tells while the fault is there; /monitor shows those that can be seen in Redis."""
    watch = fault.play(site)
    watch.last()
    watch.assert_firing(fault.alerts | fault.also, tmp_path)
    if fault.shown:
        assert watch.problems() >= fault.alerts
        assert watch.problems() <= fault.alerts | fault.also


def test_each_alert_has_a_fault_and_a_row_in_the_docs() -> None:
    """None is there that never fired, or of which nobody knows what to do."""
    assert {name for fault in FAULTS for name in fault.alerts | fault.also} == {*ALERTS}
    table = rows(section("docs/metrics.md", "Alerts"))
    assert [row[0].strip("`") for row in table] == ALERTS


def test_prometheus_takes_the_rules() -> None:
    """Its own program finds nothing wrong with them."""
    run = run_promtool("check", "rules", "deploy/alerts.yml")
    assert run.returncode == 0, run.stderr
