"""What tells that a session is as it was read. Pure: no Redis."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from support.values import sessions, typed

from _redis_store.record import dump_record, load_record
from _redis_store.snapshot import new_items, take_snapshot

FIRST: dict[str, Any] = {"a": {"b": [1, "x", None, 0.0]}, "c": "same"}


class Text(str):
    __slots__ = ()


@given(sessions, sessions)
def test_only_what_is_equal_and_of_the_same_types_has_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """What Python calls equal may have other types."""
    if take_snapshot(one) and take_snapshot(one) == take_snapshot(other):
        assert repr(typed(one)) == repr(typed(other))


@given(sessions)
def test_what_was_read_again_has_the_same(session: dict[str, Any]) -> None:
    """So a request that changes nothing finds nothing new."""
    record = dump_record(session)
    one, other = load_record(record), load_record(record)
    assert one is not None
    assert other is not None
    before = take_snapshot(one)
    assert take_snapshot(other) == before
    assert not before or new_items(other, take_snapshot(other), before) == {}


@pytest.mark.parametrize(
    "inside",
    [
        (1, "x", None, 0.0),
        [True, "x", None, 0.0],
        [1.0, "x", None, 0.0],
        [1, "x", None, -0.0],
        [1, "x", math.nan, 0.0],
        [1, "x", [], 0.0],
        [1, "y", None, 0.0],
        ["x", 1, None, 0.0],
        [1, b"x", None, 0.0],
    ],
)
def test_another_value_or_type_deep_inside_is_new(inside: Any) -> None:
    """Also where both are the same to Python, or to JSON."""
    now = {"a": {"b": inside}, "c": "same"}
    assert new_items(now, take_snapshot(now), take_snapshot(FIRST)) == {"a": now["a"]}


@pytest.mark.parametrize(
    ("now", "new"),
    [
        ({"c": "same", "a": FIRST["a"]}, None),
        ({"a": FIRST["a"]}, {}),
        ({"a": FIRST["a"], "d": "same"}, {"d": "same"}),
        ({**FIRST, "d": "same"}, {"d": "same"}),
        ({"a": FIRST["a"], Text("c"): "same"}, None),
        ({"a": FIRST["a"], "c": Text("same")}, None),
        ({"a": FIRST["a"], "c": {1j, object}}, None),
    ],
)
def test_other_keys_are_no_longer_the_same(now: dict[str, Any], new: dict[str, Any] | None) -> None:
    """Their order counts as well. Types that JSON lacks: everything is looked at (None)."""
    snapshot = take_snapshot(now)
    assert snapshot != take_snapshot(FIRST)
    assert new_items(now, snapshot, take_snapshot(FIRST)) == (now if new is None else new)
