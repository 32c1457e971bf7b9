"""Where a value is that cannot be kept. Pure: what cannot, a function says."""

from __future__ import annotations

from typing import Any

import pytest

from _redis_store.place import locate
from _redis_store.shape import MAX_DEPTH


@pytest.mark.parametrize("depth", [MAX_DEPTH + 50, 1900])
def test_nobody_looks_deeper_than_a_session_may_be(depth: int) -> None:
    """What a visitor has sent may be as deep as he likes, and each look at it takes as long as it is deep."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    looks: list[object] = []

    def check(value: object) -> str:
        looks.append(value)
        levels = 0
        while isinstance(value, dict):
            levels, value = levels + 1, next(iter(value.values()))
        return "nested too deep" if levels > MAX_DEPTH else ""

    assert locate("a", value, check).endswith(", of type dict: nested too deep")
    assert len(looks) <= MAX_DEPTH + 3
