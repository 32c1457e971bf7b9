"""Two tiers: `pytest` shows each promise in some two minutes; `pytest --thorough` has every round, order and fault.

What the usual tier leaves out:

- Of a test with several parameters, most of their combinations. Each value of each parameter is there.
- Of the two backends, one: some tests of each promise run on fakeredis, and some on a redis-server.
- Tests, and single `pytest.param`s, with the mark `thorough`.
- Rounds: `rounds(few, many)` is how often something is done, or how many of something there are.

It leaves out the same each time: chance has no part in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings

BACKENDS = ("fakeredis", "redis-server")  # of the fixture `client`

_thorough = False


def choose(config: pytest.Config) -> None:
    """Take the tier from the command line, before the first test module is imported."""
    global _thorough
    _thorough = config.getoption("--thorough")
    slow = HealthCheck.too_slow  # so may be the machine, which is no fault
    settings.register_profile("tier", max_examples=rounds(15, 100), deadline=None, suppress_health_check=[slow])
    settings.load_profile("tier")


def rounds(few: int, many: int) -> int:
    """Return what the tier takes. For constants of a test module, too."""
    return many if _thorough else few


def spread(values: Sequence[Any], step: int) -> list[Any]:
    """Return parameters of which the usual tier takes one in so many."""
    return [pytest.param(value, marks=pytest.mark.thorough if n % step else ()) for n, value in enumerate(values)]


def left_out(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the tests that the tier leaves out."""
    if _thorough:
        return set()
    marked = {item for item in items if item.get_closest_marker("thorough")}
    return marked | _shown_by_others([item for item in items if item not in marked])


def _shown_by_others(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the tests that show no value which others do not show."""
    shown: set[object] = set()
    spare = set()
    for item in sorted(items, key=_place):
        values = _values(item)
        if values <= shown:
            spare.add(item)
        shown |= values
    return spare


def _place(item: pytest.Item) -> tuple[bool, int]:
    """Return when an item has its turn: a mixed order, always the same; those last that would be skipped."""
    needs_server = "redis-server" in _parameters(item).values() and not shutil.which("redis-server")
    return needs_server, crc32(item.nodeid.encode())


def _values(item: pytest.Item) -> set[object]:
    """Return what a test is there to show."""
    test, _, _ = item.nodeid.partition("[")
    values = {name: value for name, value in _parameters(item).items() if value not in BACKENDS or name != "client"}
    return {(test, name, repr(value)) for name, value in {"": "", **values}.items()}


def _parameters(item: pytest.Item) -> dict[str, object]:
    """Return the values of the parameters, of the test's own and of its fixtures'."""
    return item.callspec.params if hasattr(item, "callspec") else {}
