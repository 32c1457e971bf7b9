"""Two tiers: `pytest` shows each promise in two minutes; `pytest --thorough` has every round, order and fault.

Three things tell them apart:

- `rounds(few, many)`: how often something is done, or how many of something there are.
- `@pytest.mark.thorough`, of a test or a `pytest.param`: only the thorough tier has it.
- `@pytest.mark.each_value`, of a test with parameters: the usual tier leaves out combinations of them, but no value of
  any, on no backend.

The usual tier is the same each time: chance has no part in what it leaves out.
"""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import settings

_thorough = False


def choose(config: pytest.Config) -> None:
    """Take the tier from the command line, before the first test module is imported."""
    global _thorough
    _thorough = config.getoption("--thorough")
    settings.register_profile("tier", max_examples=rounds(25, 100))
    settings.load_profile("tier")


def rounds(few: int, many: int) -> int:
    """Return what the tier takes. For constants of a test module, too."""
    return many if _thorough else few


def left_out(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests that the tier leaves out."""
    if _thorough:
        return []
    return [item for item in items if item.get_closest_marker("thorough")] + _shown_by_others(items)


def _shown_by_others(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests each of whose values others have, too."""
    shown: set[object] = set()
    spare = []
    combined = [item for item in items if item.get_closest_marker("each_value") and hasattr(item, "callspec")]
    for item in sorted(combined, key=lambda item: crc32(item.nodeid.encode())):  # mixed, but always in the same way
        if (values := _values(item)) <= shown:
            spare.append(item)
        shown |= values
    return spare


def _values(item: pytest.Item) -> set[object]:
    """Return what a test with parameters is there to show: each value of one, on its backend."""
    values: dict[str, object] = getattr(item, "callspec").params  # noqa: B009  # mypy does not know of it
    test, backend = item.nodeid.partition("[")[0], values.get("client")
    return {(test, backend, name, repr(value)) for name, value in values.items()}
