"""Promises 2 to 8 together: Hypothesis uses an app as it likes, and a model says what must come of it.

Three browsers, a Redis that is stopped, frozen, emptied and corrupted, and requests that stay in the middle of their
view while all this goes on. In support/machine/, read `Model` for what is promised, the rules of `Machine` and `World`
for what can happen, and the invariants for what holds after each step. When a run fails, Hypothesis prints the shortest
one that does as a program.

The usual run is the same every time, so that a failure means a change and not luck. For another and longer one::

    pytest tests/stateful/test_machine.py --machine-examples 5000
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from support.clock import Clock
from support.clustered import take_for_cluster
from support.machine.between import Client, CommandByCommand
from support.machine.broken import BROKEN, NobodyLooksAgain
from support.machine.machine import Machine
from support.machine.views import ABSOLUTE_LIFETIME
from support.servers import RedisServer
from support.tiers import rounds

from redis_store import RedisSessionInterface

EXAMPLES, STEPS = rounds(8, 30), 40
UNTIL_FOUND = 300  # examples; most need few


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server that has its data again after it was killed."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder), "--appendonly", "yes", "--appendfsync", "no")
        yield server
        server.stop()


@pytest.fixture
def run(request: pytest.FixtureRequest) -> settings:
    """How long Hypothesis tries: a while, always the same; or as long as one likes, always something new."""
    examples = request.config.getoption("--machine-examples")
    return settings(
        max_examples=examples or EXAMPLES,
        derandomize=not examples,
        stateful_step_count=STEPS,
        deadline=None,  # a step may start a server
    )


def try_all(machine: Callable[[], Machine], how_long: settings) -> None:
    run_state_machine_as_test(machine, settings=how_long)  # type: ignore[arg-type]  # it takes any factory


def test_the_promises_hold_whatever_happens(durable: RedisServer, clock: Clock, run: settings) -> None:
    """Any browsers, any order, any outage."""
    try_all(lambda: Machine(durable, clock), run)


def test_the_promises_hold_with_an_absolute_lifetime(durable: RedisServer, clock: Clock, run: settings) -> None:
    """However often a session is used, and whatever sid it has by then."""
    try_all(lambda: Machine(durable, clock, SESSION_ABSOLUTE_LIFETIME=ABSOLUTE_LIFETIME), run)


@pytest.mark.thorough
def test_the_promises_hold_on_a_cluster(durable: RedisServer, clock: Clock, run: settings) -> None:
    """There the commands go out one after the other, and anything may happen between two of them."""

    def make_interface(client: Any) -> RedisSessionInterface:
        interface = RedisSessionInterface(Client(client))
        take_for_cluster(interface.store)
        return interface

    try_all(lambda: CommandByCommand(durable, clock, make_interface), run)


@pytest.mark.thorough
def test_the_promises_hold_on_one_server_command_by_command(durable: RedisServer, clock: Clock, run: settings) -> None:
    """Nor does anybody rely on it that a round trip is one step."""
    try_all(lambda: CommandByCommand(durable, clock, lambda client: RedisSessionInterface(Client(client))), run)


@pytest.mark.thorough
@pytest.mark.parametrize("broken", BROKEN)
def test_the_machine_can_lose(durable: RedisServer, clock: Clock, broken: type[Any]) -> None:
    """It finds what each of these does wrong."""
    until_found = settings(
        max_examples=UNTIL_FOUND,
        derandomize=True,
        stateful_step_count=STEPS,
        deadline=None,
        phases=[Phase.generate],  # not the shortest run: any will do,
        report_multiple_bugs=False,  # and the first one
    )

    def make_interface(client: Any) -> RedisSessionInterface:
        part = broken(client)
        return part if isinstance(part, RedisSessionInterface) else RedisSessionInterface(part)

    machine = CommandByCommand if broken is NobodyLooksAgain else Machine
    with pytest.raises(AssertionError):
        try_all(lambda: machine(durable, clock, make_interface), until_found)
