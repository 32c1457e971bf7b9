"""What tells that a session is as it was read. Pure: no Redis."""

from __future__ import annotations

import math
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import Markup
from support.values import leaves, sessions, typed
from werkzeug.http import http_date

from _redis_store.record import dump_record, load_record
from _redis_store.snapshot import dump_changed, dump_items, new_items, take_snapshot

FIRST: dict[str, Any] = {"a": {"b": [1, "x", None, 0.0]}, "c": "same"}


class Text(str):
    __slots__ = ()


@given(sessions, sessions)
def test_only_what_is_equal_and_of_the_same_types_has_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """What Python calls equal may have other types."""
    if dump_items(one) and dump_items(one) == dump_items(other):
        assert repr(typed(one)) == repr(typed(other))


@given(sessions)
def test_what_was_read_again_has_the_same(session: dict[str, Any]) -> None:
    """So a request that changes nothing finds nothing new."""
    record = dump_record(session)
    one, other = load_record(record), load_record(record)
    assert one is not None
    assert other is not None
    before = dump_items(one)
    assert dump_items(other) == before
    assert not before or new_items(other, dump_items(other), before) == {}


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
    assert new_items(now, dump_items(now), dump_items(FIRST)) == {"a": now["a"]}


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
    snapshot = dump_items(now)
    assert snapshot != dump_items(FIRST)
    assert new_items(now, snapshot, dump_items(FIRST)) == (now if new is None else new)


def read(record: bytes) -> tuple[dict[str, Any], Any]:
    """As a request does."""
    session = load_record(record)
    assert session is not None
    return session, take_snapshot(record, session)


#: Values that Python, JSON or marshal may take for one of the type.
ALIKE: dict[type, list[Callable[[Any], Any]]] = {
    bytes: [bytearray, memoryview, lambda value: b64encode(value).decode()],
    str: [Text, Markup, str.encode],
    int: [float, bool, str],
    bool: [int, float, str],
    float: [lambda value: int(value) if value == int(value) else -value],
    list: [tuple, set, lambda value: dict(enumerate(value))],
    tuple: [list, frozenset],
    dict: [OrderedDict, list, lambda value: {" di": value}],
    UUID: [str],
    datetime: [str, http_date],
    type(None): [lambda value: math.nan],
}


@example([b"yes"], 0)
@example([b"yes"], 1)
@given(st.lists(leaves | st.lists(leaves) | st.lists(leaves).map(tuple), max_size=3), st.integers(0, 2))
def test_a_snapshot_saves_time_and_hides_no_change(values: list[Any], number: int) -> None:
    """What takes the place of a value deep inside is found, kept or refused as it is without a snapshot."""
    record = dump_record({"a": values, "b": {"c": 1}})
    now, snapshot = read(record)
    for place, value in enumerate(now["a"]):
        alike = ALIKE.get(type(value), [lambda value: value])
        with suppress(TypeError, OverflowError):
            now["a"][place] = alike[number % len(alike)](value)

    def outcome(before: Any) -> Any:
        try:
            return dump_changed(now, record, before, modified=False)
        except TypeError as error:
            return str(error)

    assert outcome(snapshot) == outcome(())


@pytest.mark.parametrize("modified", [True, False])
@pytest.mark.parametrize(
    "record",
    [
        b'{"a":1,"b":[1.5]}',
        b'{"a":1e21,"b":"\\ud800"}',  # in our words
        b'{"a":1e+21,"b":"\\ud800"}',  # in JavaScript's
        b'{"t":{" t":[1]}}',  # with a tag
        b"{}",
    ],
)
def test_a_session_that_holds_what_it_did_is_not_written(record: bytes, modified: bool) -> None:
    """Also where a key was set to what it was, and where koa spells a number in another way."""
    session, snapshot = read(record)
    assert dump_changed(session, record, snapshot, modified=modified) is None
    assert dump_changed(session, record, (), modified=modified) is None


def test_a_record_with_spaces_is_not_written_until_a_key_is_set() -> None:
    """A script may have put them there."""
    record = b'{"a": 1, "b": 2}'
    session, snapshot = read(record)
    assert dump_changed(session, record, (), modified=False) is None
    assert dump_changed({**session, "b": 3}, record, snapshot, modified=True) == b'{"a":1,"b":3}'


@pytest.mark.parametrize("modified", [True, False])
def test_a_change_deep_inside_is_written(modified: bool) -> None:
    """Whether or not somebody set a key."""
    record = b'{"a":{"b":[1,2]},"c":3}'
    session, snapshot = read(record)
    session["a"]["b"].append(3)
    assert dump_changed(session, record, snapshot, modified=modified) == b'{"a":{"b":[1,2,3]},"c":3}'
