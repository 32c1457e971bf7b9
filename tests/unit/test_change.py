"""What one request did to its session, and what is to be stored over what another one left. Pure: no Redis."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiers import rounds
from support.values import leaves, sessions, typed, values

from _redis_store.change import Change, is_empty, merge, owners_of
from _redis_store.record import Session, dump_record, load_record

KEYS = ("_user_id", "user_id")


@dataclass
class Read:
    """What a session knows of its request."""

    record: bytes
    owners: dict[str, Any]
    cleared: bool
    regenerated: bool


def change_of(base: Session | None, mine: Session, *, cleared: bool = False, regenerated: bool = False) -> Change:
    """What made `base` into `mine`; None: there was no session."""
    record = b"" if base is None else dump_record(base)
    return Change(Read(record, owners_of(base or {}, KEYS), cleared, regenerated), mine, KEYS)


ADA: Session = {"cart": 1, "user_id": "ada"}
BOB: Session = {"cart": 1, "user_id": "bob"}
CART: Session = {"cart": 1}


@pytest.mark.parametrize(
    ("base", "mine", "cleared", "regenerated", "kind", "signs_out"),
    [
        (None, CART, False, False, "first", False),
        (None, ADA, True, True, "first", False),
        (CART, {"cart": 2}, False, False, "write", False),
        (CART, {"cart": 2}, True, False, "write", False),
        (CART, {}, False, False, "write", False),
        (CART, CART, False, True, "move", False),
        (CART, {}, False, True, "move", False),
        (CART, {}, True, False, "logout", True),
        (CART, {}, True, True, "logout", True),
        (CART, {"_permanent": True}, True, False, "logout", True),
        (CART, {"_permanent": True}, False, False, "write", False),
        (CART, ADA, False, False, "login", False),
        (CART, ADA, True, False, "login", True),
        (ADA, BOB, False, False, "login", False),
        (ADA, BOB, True, False, "login", True),
        (ADA, ADA | {"more": 1}, False, False, "write", False),
        (ADA, ADA, False, True, "move", False),
        (ADA, ADA, True, False, "write", False),
        (ADA, ADA, True, True, "login", True),
        (ADA, CART, False, False, "logout", True),
        (ADA, CART, False, True, "logout", True),
        (ADA, CART | {"user_id": None}, False, False, "logout", True),
        (ADA, {}, False, False, "logout", True),
        (ADA, {}, True, False, "logout", True),
        (ADA, {"message": "bye"}, True, False, "logout", True),
        (ADA | {"_user_id": "ada"}, ADA, False, False, "move", False),
        ({"user_id": ["ada"]}, {"user_id": ["ada", "bob"]}, False, False, "login", False),
        ({}, CART, False, False, "write", False),
    ],
)
def test_a_change_knows_its_kind(
    base: Session | None, mine: Session, cleared: bool, regenerated: bool, kind: str, signs_out: bool
) -> None:
    """And whether somebody signs out by it, so that the session ends wherever it has gone meanwhile."""
    change = change_of(base, mine, cleared=cleared, regenerated=regenerated)
    assert (change.kind, change.signs_out) == (kind, signs_out)


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "stored"),
    [
        (CART, {"cart": 2}, None, None),
        (CART, {"cart": 2}, CART, {"cart": 2}),
        (CART, {"cart": 2}, {"cart": 3, "other": 1}, {"cart": 2, "other": 1}),
        (CART, {}, None, None),
        (CART, {}, CART, {}),
        (CART, {}, {"cart": 2}, {}),
        (CART, {}, {"cart": 1, "other": 1}, {"other": 1}),
        (CART, {}, {"cart": 1, "_permanent": True}, {}),
        (CART, {"_permanent": True}, CART, {}),
        (CART, {"_permanent": True}, {"cart": 1, "other": 1}, {"other": 1}),
        (ADA, CART, None, None),
        (ADA, CART, ADA | {"other": 1}, {"cart": 1, "other": 1}),
        (ADA, BOB, None, {"user_id": "bob"}),
        (ADA, BOB, ADA | {"other": 1}, {"cart": 1, "user_id": "bob", "other": 1}),
        (None, CART, None, CART),
        ({"user_id": None}, {"user_id": UUID(int=5)}, None, {"user_id": UUID(int=5)}),
        ({"user_id": ["ada"]}, {"user_id": ["ada", "bob"]}, None, {}),
        ({"user_id": ["ada"]}, {"user_id": ["ada", "bob"], "_permanent": True}, None, {}),
        ({"seen": [1]}, {"seen": [1, 2], "new": [3], "user_id": "ada"}, None, {"new": [3], "user_id": "ada"}),
    ],
)
def test_a_change_says_what_is_stored(
    base: Session | None, mine: Session, theirs: Session | None, stored: Session | None
) -> None:
    """Over nothing, over what was read, and over what another request left."""
    assert change_of(base, mine).apply(theirs) == stored


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "stored"),
    [
        (ADA, BOB, ADA | {"other": 1}, BOB),
        (ADA, BOB, None, BOB),
        (ADA, {"message": "bye"}, ADA | {"other": 1}, {"message": "bye"}),
        (ADA, {"message": "bye"}, None, None),
        (ADA, {}, ADA | {"other": 1}, {}),
        (CART, {"step": 1}, {"cart": 1, "other": 1}, {"step": 1, "other": 1}),
    ],
)
def test_a_sign_in_or_out_after_clear_replaces_what_others_wrote(
    base: Session, mine: Session, theirs: Session | None, stored: Session | None
) -> None:
    """It is the last owner's; clear() by somebody who stays takes away only what was there."""
    assert change_of(base, mine, cleared=True).apply(theirs) == stored


def test_a_change_names_the_keys_that_it_is_about() -> None:
    """For the log: set, changed (1 is not True), removed; not what is equal, a list that was read again included."""
    change = change_of(
        {"same": [1], "gone": 1, "type": 1, "deep": {"x": [1]}},
        {"same": [1], "type": True, "deep": {"x": [2]}, "new": None},
    )
    assert sorted(change.changed) == ["deep", "gone", "new", "type"]


# Sessions that have keys in common, and mostly an owner.
close = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.sampled_from(["ada", "bob", "", None, False, 0, ["ada"]]) | leaves,
        "_user_id": st.sampled_from(["ada", "bob"]) | leaves,
        "_permanent": st.booleans(),
        "a": values,
        "b": values,
        "c": st.dictionaries(st.sampled_from("xyz"), values, max_size=3),
    },
)
some = close | sessions
changes = st.builds(change_of, st.none() | some, some, cleared=st.booleans(), regenerated=st.booleans())
many = settings(max_examples=rounds(40, 150), deadline=None)


@given(changes, st.none() | some)
@many
def test_every_change_can_be_applied_to_everything(change: Change, theirs: Session | None) -> None:
    """Never an error. None: only over nothing. Empty, or worth a record: one that comes back as it was."""
    stored = change.apply(theirs)
    if stored is None:
        assert theirs is None
        assert change.kind in ("write", "move", "logout")
    else:
        assert not stored or not is_empty(stored)
        assert typed(load_record(dump_record(stored))) == typed(stored)


@given(changes, some)
@many
def test_a_change_applied_twice_is_applied_once(change: Change, theirs: Session) -> None:
    """Whoever comes upon what they wrote themselves writes the same again."""
    if stored := change.apply(theirs):
        again = change.apply(copy.deepcopy(stored))
        assert typed(again) == typed(stored)


@given(changes)
@many
def test_over_what_was_read_a_change_stores_what_the_request_made_of_it(change: Change) -> None:
    """Nobody else was there: as in any session store."""
    assert typed(change.apply(copy.deepcopy(change.base))) == typed(change.mine)


@given(changes, some)
@many
def test_over_what_another_left_a_change_replaces_or_merges(change: Change, theirs: Session) -> None:
    """The last owner's is replaced; everything else is merged, and never lost."""
    merged = change.mine if change.replaces else merge(change.base, change.mine, theirs)
    assert typed(change.apply(theirs)) == typed({} if is_empty(merged) else merged)
    if not change.replaces:
        untouched = {*theirs} - {*change.changed}
        stored = change.apply(theirs)
        assert stored == {} or all(typed(stored[key]) == typed(theirs[key]) for key in untouched if stored)


@given(changes)
@many
def test_over_nothing_only_a_beginning_is_stored(change: Change) -> None:
    """A first write; a login, of what this request wrote alone: nothing of the session that ended comes back."""
    stored = change.apply(None)
    if change.kind not in ("first", "login"):
        assert stored is None
    elif change.kind == "first" or change.replaces:
        assert typed(stored) == typed(change.mine)
    else:
        assert stored is not None
        assert {*stored} <= {*change.changed}
        for key, value in stored.items():
            assert typed(value) == typed(change.mine[key])
            assert key not in change.base or not isinstance(value, dict | list | tuple)


@given(changes, st.none() | some)
@many
def test_applying_a_change_changes_nothing_else(change: Change, theirs: Session | None) -> None:
    """It is pure: it may be applied in every round of a race."""
    before = typed([change.base, change.mine, change.owners_before, change.owners_after, theirs])
    change.apply(theirs)
    assert typed([change.base, change.mine, change.owners_before, change.owners_after, theirs]) == before


@pytest.mark.parametrize(
    ("session", "owners"),
    [
        ({}, {}),
        ({"user_id": ""}, {}),
        ({"user_id": None, "_user_id": False}, {}),
        ({"user_id": 0}, {"user_id": 0}),
        ({"user_id": "ada", "_user_id": 5, "name": "x"}, {"user_id": "ada", "_user_id": 5}),
    ],
)
def test_nobody_is_no_owner(session: Session, owners: dict[str, Any]) -> None:
    """Not "", False or None; but 0 may be somebody's number."""
    assert owners_of(session, KEYS) == owners


@given(some)
@many
def test_owners_are_a_copy(session: Session) -> None:
    """A view may change a list in place, and is seen to have done so."""
    owners = owners_of(session, ["user_id", "a", "c"])
    before = copy.deepcopy(owners)
    for value in session.values():
        if isinstance(value, list | dict):
            value.clear()
    assert owners == before


@pytest.mark.parametrize("session", [{}, {"_permanent": True}, {"_permanent": False}])
def test_permanent_alone_is_nothing_to_keep(session: Session) -> None:
    """Many apps set it for every visitor. But a key is a key, whatever its value."""
    assert is_empty(session)
    assert not is_empty(session | {"a": None})
