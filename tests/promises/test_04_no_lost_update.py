"""Promise 4: two requests that change different keys of one session at the same time both win."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from flask import Flask, session
from hypothesis import given, settings
from hypothesis import strategies as st
from support.apps import content, route, set_cookie, sid_of, sign, under_way
from support.tiers import rounds
from support.values import sessions, typed

from _redis_store.record import load_record
from redis_store import merge

ROUNDS = rounds(20, 200)


def test_writers_of_different_keys_both_win(app: Flask, client: Any) -> None:
    """200 rounds of two requests that overlap: both counters are exact, and so is a third that alternates."""
    route(app, "/other", lambda: session.update(b=session.get("b", 0) + 1))
    browser = app.test_client()
    browser.get("/other")
    for _ in range(ROUNDS):
        with under_way(app, browser):
            session["a"] = session.get("a", 0) + 1
            browser.get("/other")
    assert load_record(client.get(f"SESSION:{sid_of(client)}")) == {"a": ROUNDS, "b": ROUNDS + 1}


def test_on_the_same_key_the_later_one_wins(app: Flask, client: Any) -> None:
    """The request that ends later overwrites the key."""
    route(app, "/other", lambda: session.update(a="other"))
    browser = app.test_client()
    browser.get("/other")
    with under_way(app, browser):
        session["a"] = "late"
        browser.get("/other")
    assert load_record(client.get(f"SESSION:{sid_of(client)}")) == {"a": "late"}


@pytest.mark.parametrize("key", ["message", "user_id"])
def test_emptying_a_session_does_not_take_away_what_another_request_wrote(app: Flask, client: Any, key: str) -> None:
    """The last flash message was shown, or the user popped; meanwhile something was put into the cart."""
    route(app, "/other", lambda: session.update(cart=1))
    browser = app.test_client()
    with browser.session_transaction() as first:
        first[key] = "ada"
    with under_way(app, browser) as response:
        session.pop(key)
        browser.get("/other")
    assert load_record(client.get(f"SESSION:{sid_of(client)}")) == {"cart": 1}
    assert sid_of(client) in str(set_cookie(response))
    browser.set_cookie("session", sign(app, sid_of(client)))
    with under_way(app, browser) as response:
        session.pop("cart")
    assert client.keys("SESSION:*") == []
    assert str(set_cookie(response)).startswith("session=;")


@pytest.mark.parametrize("owner", [None, "ada"])
def test_clearing_that_signs_nobody_out_takes_away_only_what_was_there(app: Flask, client: Any, owner: Any) -> None:
    """A wizard starts afresh; meanwhile something was put into the cart."""
    route(app, "/other", lambda: session.update(cart=1))
    browser = app.test_client()
    with browser.session_transaction() as first:
        first.update(step=5, user_id=owner)
    with under_way(app, browser):
        session.clear()
        session.update(step=1, user_id=owner)
        browser.get("/other")
    assert content(client) == {"step": 1, "user_id": owner, "cart": 1}


def test_a_request_that_only_reads_never_writes_the_record(app: Flask, client: Any) -> None:
    """Not even over a change that came while it was reading."""
    route(app, "/other", lambda: session.update(a="other"))
    browser = app.test_client()
    browser.get("/other")
    record = b'{"a":"koa",  "b":1}'
    with under_way(app, browser):
        assert session["a"] == "other"
        client.set(f"SESSION:{sid_of(client)}", record, ex=50)
    assert client.get(f"SESSION:{sid_of(client)}") == record


def test_a_record_that_is_only_written_differently_is_not_rewritten(app: Flask, client: Any) -> None:
    """Spaces, escapes or the order in which koa wrote it are no change."""
    route(app, "/", lambda: session.update(a=1))
    browser = app.test_client()
    browser.get("/")
    record = '{ "ü": "\\u00fc", "a": 1 }'.encode()
    client.set(f"SESSION:{sid_of(client)}", record, ex=50)
    with under_way(app, browser):
        assert dict(session) == {"ü": "ü", "a": 1}
    assert client.get(f"SESSION:{sid_of(client)}") == record


def test_true_and_1_are_different_values(app: Flask, client: Any) -> None:
    """To Python they are equal; to JSON, and to whoever stored them, they are not."""
    browser = app.test_client()
    for value in (1, True, 1.0):
        with browser.session_transaction() as written:
            written["n"] = value
        assert typed(load_record(client.get(f"SESSION:{sid_of(client)}"))) == typed({"n": value})


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
