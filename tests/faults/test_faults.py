"""The fault matrix: what is broken, under load, and what nobody may notice of it but some answers with status 503."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.faults import PATIENCE, stores
from support.faults.figures import BEGIN, END, FIGURES, HEAD, PAGE, Figures, write_docs
from support.faults.house import (
    House,
    Step,
    absent,
    change_password,
    cluster,
    direct,
    durable,
    fill_up,
    flush,
    fork_worker,
    kill_master,
    kill_node,
    kill_worker,
    nothing,
    promote,
    promote_and_use,
    proxied,
    refuse_connections,
    replicated,
    restart_node,
    sentinels,
    small_pool,
    use_read_only_replica,
    wait_for_promotion,
    wait_until,
    with_password,
)
from support.faults.load import CLIENTS, RECOVERY, Load

from _redis_store.connection import SOCKET_TIMEOUT
from redis_store import RedisStore

AFTER = RECOVERY + 0.5  # seconds of load after the repair


@dataclass(frozen=True)
class Fault:
    name: str
    set_up: Callable[[House], str]
    inject: Step = nothing
    repair: Step = nothing
    hold: float = 1.0  # seconds
    healthy: float = 0.7  # seconds before it
    refuses: bool | None = True  # whether it must show as answers with status 503; None: it may
    loses: bool = False  # whether it makes Redis forget sessions
    cheap: bool = False  # whether Redis says nothing for so long that the breaker must spare the timeouts
    workers: int = 1  # processes of the app
    forked: int = 0  # workers that begin during it
    patience: float = PATIENCE  # seconds to wait until all is served again


def network(**state: Any) -> Step:
    """Make the network so."""
    return lambda house: vars(house.proxy).update(state)


def config(name: str, value: Any) -> Step:
    """Tell Redis so."""
    return lambda house: house.admin.config_set(name, value)


def patient(house: House) -> str:
    """An app that waits for Redis as long as a busy machine may take."""
    return f"{direct(house)}?socket_timeout={PATIENCE}"


def server(verb: str) -> Step:
    """Do that to the process."""
    return lambda house: getattr(house.redis, verb)()


FAULTS = [
    Fault("nothing, for comparison", direct, refuses=False),
    Fault("Redis absent at start", absent, repair=server("start"), healthy=0),
    Fault("Redis killed, restarted empty", direct, server("stop"), server("start"), loses=True),
    Fault("Redis killed, restarted with its data", durable, server("stop"), server("start")),
    Fault("Redis frozen for 5 s", direct, server("freeze"), server("thaw"), hold=5, cheap=True),
    Fault("connections reset, 1 command of 5", proxied, network(reset=0.2), network(reset=0)),
    Fault("answers lost with the connection, 1 of 5", proxied, network(lose=0.2), network(lose=0)),
    Fault("all answers lost, connections open", proxied, network(silent=True), network(silent=False), 2, cheap=True),
    Fault("50 ms of delay", proxied, network(delay=0.05), network(delay=0), refuses=False),
    Fault("200 ms of delay", proxied, network(delay=0.2), network(delay=0), refuses=None),
    Fault("1000 ms of delay", proxied, network(delay=1), network(delay=0), hold=2, cheap=True),
    Fault("out of memory, noeviction", direct, config("maxmemory", 1), config("maxmemory", 0)),
    Fault("read-only replica", replicated, use_read_only_replica, promote),
    Fault("master killed, replica promoted", replicated, kill_master, promote_and_use),
    Fault("Sentinel: master killed", sentinels, kill_master, wait_for_promotion, hold=0),
    Fault("Cluster: one of three masters killed", cluster, kill_node, restart_node, hold=2),
    Fault("maxclients reached", direct, refuse_connections, config("maxclients", 10000)),
    Fault("password changed", with_password, change_password, config("requirepass", "old")),
    Fault("FLUSHALL", direct, flush, hold=0, refuses=False, loses=True),
    Fault("evictions", direct, fill_up, config("maxmemory", 0), refuses=None, loses=True),
    Fault("8 connections for 32 threads, 50 ms late", small_pool, network(delay=0.05), network(delay=0), refuses=None),
    Fault("fork after use", direct, fork_worker, refuses=False, workers=3, forked=1),
    Fault("worker killed in the middle of requests", proxied, kill_worker, hold=0, workers=2, forked=1),
]


@pytest.fixture
def house(make_server: Any, tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(make_server, tmp_path, stack)


def play(house: House, fault: Fault) -> tuple[Figures, list[str]]:
    """Load on, break it, repair it, go on. What was measured, and what should not have been."""
    house.start_app(fault.set_up(house), fault.workers)
    load = Load(house.app.port)
    house.stack.callback(load.stop)
    time.sleep(fault.healthy)
    if fault.healthy:
        wait_until(lambda: load.serves(fault.workers))
    injected = time.monotonic()
    load.lossy_until = float("inf") if fault.loses else 0
    fault.inject(house)
    time.sleep(fault.hold)
    fault.repair(house)
    repaired = time.monotonic()
    load.lossy_until = repaired if fault.loses else 0
    time.sleep(AFTER)
    while time.monotonic() < repaired + fault.patience and not (
        time.monotonic() > repaired + AFTER + load.measure_noise()
        and load.serves(fault.workers + fault.forked, repaired + RECOVERY)
    ):
        time.sleep(0.1)  # a busy machine is allowed more time, and makes fewer requests in it
    load.stop()
    complaints = [*load.complaints(house.records(), house.jobs()), *judge(fault, load, injected, repaired)]
    return load.figures(fault.name, injected), complaints


def judge(fault: Fault, load: Load, injected: float, repaired: float) -> Iterator[str]:
    """What is wrong with the course of the fault."""
    refused = [call for call in load.calls if call.status != 200]
    is_slow = load.noise > SOCKET_TIMEOUT / 2  # the machine itself: then Redis may seem away at any time
    if fault.healthy and not is_slow and any(call.end < injected for call in refused):
        yield "something is refused before the fault"
    if not is_slow and any(call.end > repaired + RECOVERY + load.noise for call in refused):
        yield f"something is refused {max(call.end for call in refused) - repaired:.2f} s after the repair"
    if not load.serves(1, repaired + RECOVERY):
        yield "not every kind of request is served after the repair"
    if (fault.refuses and not refused) or (fault.refuses is False and refused and not is_slow):
        yield f"{len(refused)} answers are refused"
    if fault.loses != bool(load.lost):
        yield f"{load.lost} sessions are lost"
    if len(load.workers) != fault.workers + fault.forked:
        yield f"{len(load.workers)} workers answered"
    if fault.cheap:
        half = statistics.median(call.end - call.start for call in refused)
        if half > SOCKET_TIMEOUT / 2 + statistics.median(load.bare_waits()):
            yield f"half of the refusals take longer than {half:.2f} s"


@pytest.mark.parametrize(
    "fault",
    [pytest.param(each, id=each.name, marks=pytest.mark.thorough) for each in FAULTS],
)
def test_nobody_notices_more_than_a_503(house: House, fault: Fault, request: pytest.FixtureRequest) -> None:
    """Nor of that for longer than two seconds after the repair: nothing wrong, nothing late, nothing lost."""
    figures, complaints = play(house, fault)
    FIGURES.append(figures)
    if request.config.getoption("--write-docs") and len(FIGURES) == len(FAULTS):
        write_docs()
    assert not complaints, "\n".join([f"{len(complaints)} complaints", *complaints[:10]])


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("store", "complaint"),
    [
        (stores.MixesUp, "shows"),
        (stores.EndsNothing, "the (ended session .* is accepted|record of an ended session is there)"),
        (stores.WritesNothing, "no record for the cookie"),
        (stores.KeepsForEver, "a TTL of -1 seconds"),
        (stores.Crashes, "is answered 500"),
        (stores.Dawdles, r"takes 2\.\d\d s"),
    ],
)
def test_a_broken_store_is_found_out(house: House, store: type[RedisStore], complaint: str) -> None:
    """The matrix can be lost."""
    house.start_app(direct(house), store=store)
    found: list[str] = []
    deadline = time.monotonic() + 3 * PATIENCE
    while time.monotonic() < deadline:
        load = Load(house.app.port)
        house.stack.callback(load.stop)
        time.sleep(0.5)
        load.stop()
        found += load.complaints(house.records(), house.jobs())
        if any(re.match(f".*{complaint}", each) for each in found):
            return
    pytest.fail("\n".join(found[:10]))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (Fault("never repaired", direct, server("stop"), patience=0), "not every kind of request is served"),
        (Fault("forgets", direct, flush, hold=0, refuses=False), "does not find"),
        (Fault("nothing happens", patient, hold=0), "0 answers are refused"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_fault_that_takes_another_course_is_found_out(house: House, fault: Fault, complaint: str) -> None:
    """No recovery, sessions that are gone, a fault that did not happen."""
    house.records, house.jobs = dict, set  # type: ignore[method-assign]  # whether Redis is there or not
    _, complaints = play(house, fault)
    assert any(complaint in found for found in complaints)


def test_the_page_has_the_figures_of_each_fault() -> None:
    """A row for each, in their order, none with a wrong response; and on what they were measured."""
    head, _, *table, _, versions = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in [head, *table]]
    assert cells[0] == [*HEAD]
    assert [row[0] for row in cells[1:]] == [fault.name for fault in FAULTS]
    assert {row[2] for row in cells[1:]} == {"0"}
    assert all(int(row[1]) > 10 * CLIENTS for row in cells[1:])
    assert re.fullmatch(r"20\d\d-\d\d-\d\d, Python [\w.]+, Redis [\w.]+, redis-py [\w.]+, \d+ cores\.", versions)
