"""The merge of what two requests wrote to one session: a pure function of three dicts."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.values import sessions, typed

from redis_store import merge


def test_nested_dicts_are_merged_key_by_key() -> None:
    """Unlike Spring Session, which merges the top level only."""
    base = {"cart": {"a": 1, "b": {"x": 1, "gone": 1}}, "list": [1]}
    mine = {"cart": {"a": 2, "b": {"x": 1}}, "list": [1, 2], "mine": 1}
    theirs = {"cart": {"a": 1, "b": {"x": 5, "gone": 1}, "c": 3}, "list": [9], "theirs": 1}
    assert merge(base, mine, theirs) == {
        "cart": {"a": 2, "b": {"x": 5}, "c": 3},
        "list": [1, 2],
        "mine": 1,
        "theirs": 1,
    }


@pytest.mark.parametrize(("mine", "theirs"), [({"x": 1}, 5), (5, {"x": 1}), ([], {"x": 1}), ({"x": 1}, None)])
def test_a_dict_and_something_else_are_not_merged(mine: Any, theirs: Any) -> None:
    """On one key the later one wins."""
    assert merge({}, {"a": mine}, {"a": theirs}) == {"a": mine}
    assert merge({"a": 0}, {"a": mine}, {"a": theirs}) == {"a": mine}


def test_two_requests_that_begin_the_same_dict_both_win() -> None:
    """``session.setdefault("cart", {})["a"] = 1`` in both."""
    assert merge({}, {"cart": {"a": 1}}, {"cart": {"b": 2}}) == {"cart": {"a": 1, "b": 2}}


def same(one: Any, other: Any) -> bool:
    """Equal, and of equal types."""
    return bool(typed(one) == typed(other))


@pytest.mark.parametrize(
    ("before", "now"),
    [(1, True), (1, 1.0), ([1], [True]), ([{"x": 0}], [{"x": False}]), ([1], (1,)), ((), [])],
)
def test_a_merge_tells_values_apart_that_are_equal_to_python_alone(before: Any, now: Any) -> None:
    """Also inside lists; and what did not change gives way to what somebody else wrote."""
    for one, other in ((before, now), (now, before)):
        assert same(merge({"a": one}, {"a": other}, {"a": one, "b": 1}), {"a": other, "b": 1})
        assert merge({"a": one}, {"a": copy.deepcopy(one)}, {"a": "theirs"}) == {"a": "theirs"}


@given(sessions, sessions)
@settings(deadline=None)
def test_a_merge_without_another_writer_is_what_i_wrote(base: dict[str, Any], mine: dict[str, Any]) -> None:
    """merge(base, mine, base) == mine"""
    assert same(merge(base, mine, base), mine)


@given(sessions, sessions)
@settings(deadline=None)
def test_a_merge_without_a_change_of_mine_is_what_they_wrote(base: dict[str, Any], theirs: dict[str, Any]) -> None:
    """merge(base, base, theirs) == theirs, also if lists and dicts of `base` were read from the record again."""
    assert same(merge(base, base, theirs), theirs)
    assert same(merge(base, copy.deepcopy(base), theirs), theirs)


@given(sessions, sessions)
@settings(deadline=None)
def test_two_who_did_the_same_did_it_once(base: dict[str, Any], mine: dict[str, Any]) -> None:
    """merge(base, mine, mine) == mine"""
    assert same(merge(base, mine, mine), mine)


@given(sessions, st.data())
@settings(deadline=None)
def test_changes_of_different_keys_commute(base: dict[str, Any], data: st.DataObject) -> None:
    """Whoever comes first, the result is the same, and holds both changes."""
    names = sorted({*base, "p", "q"})
    ours = set(data.draw(st.lists(st.sampled_from(names))))
    gone = set(data.draw(st.lists(st.sampled_from(names))))

    def change(keys: set[str], value: int) -> dict[str, Any]:
        return {key: item for key, item in base.items() if key not in keys} | {key: value for key in keys - gone}

    mine, theirs = change(ours, 1), change(set(names) - ours, 2)
    assert same(merge(base, mine, theirs), merge(base, theirs, mine))
    for key in names:
        assert merge(base, mine, theirs).get(key) == (mine if key in ours else theirs).get(key)


@given(sessions, sessions, sessions)
@settings(deadline=None)
def test_a_merge_leaves_its_arguments_alone(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """It is pure, as RedisStore.update asks of a change."""
    before = typed([base, mine, theirs])
    merge(base, mine, theirs)
    assert typed([base, mine, theirs]) == before
