"""What one request did to its session, as a value: `Change`. Pure; the store makes it atomic."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from _redis_store.failure import raise_interruption
from _redis_store.record import Session, dump_record, load_record
from _redis_store.shape import MAX_DEPTH

_SCALARS = frozenset((str, int, float, bool, type(None)))


def merge(
    base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any], depth: int = MAX_DEPTH
) -> Session:
    """Return `theirs`, with what changed from `base` to `mine` on top: of two writers of different keys both win.

    On the same key `mine` wins, except that dicts are merged key by key as well; a list is one value.
    """
    merged = dict(theirs)
    for key in {**base, **mine}:
        before, now, other = (session.get(key) for session in (base, mine, theirs))
        if key not in mine:
            merged.pop(key, None)
        elif key in base and _same(before, now):
            continue
        elif depth and isinstance(now, dict) and type(other) is dict:  # no type that an app registered
            merged[key] = merge(before if isinstance(before, dict) else {}, now, other, depth - 1)
        else:
            merged[key] = now
    return merged


def _same(one: Any, other: Any) -> bool:
    """Return whether both are equal as JSON: to Python, 1 == 1.0 == True."""
    if type(one) in _SCALARS and type(other) in _SCALARS:
        return type(one) is type(other) and bool(one == other)
    return one is other or _dump(one) == _dump(other)


def _dump(value: Any) -> bytes:
    outer = sys.exception()
    try:
        return dump_record({"": value})
    except TypeError as error:  # it could not have been stored
        raise_interruption(error, outer)
        return b""


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """Return the keys that were set, changed or deleted."""
    both = before.keys() & now.keys()
    return {key for key in {**before, **now} if key not in both or not _same(before[key], now[key])}


def is_owner(value: Any) -> bool:
    """Return whether it names somebody: None, False and "" do not; 0 may be somebody's number."""
    return value is not None and value is not False and value != ""


def owners_of(session: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return who is signed in, by the keys of the session that may say so; as the record says it.

    A copy: a view may change a list in place.
    """
    owners = {key: owner for key in keys if is_owner(owner := session.get(key))}
    if all(type(owner) in _SCALARS for owner in owners.values()):
        return owners
    return load_record(dump_record(owners)) or {}


def is_empty(session: Mapping[str, Any]) -> bool:
    """Return whether there is nothing to keep.

    `permanent`, which many apps set for every visitor, says nothing alone.
    """
    return not session or (len(session) == 1 and "_permanent" in session)


def classify(before: Mapping[str, Any], after: Mapping[str, Any], *, cleared: bool, regenerated: bool) -> str:
    """Return what a request did, from the owners (by key) before and after it: login, logout, move or write.

    All but a write give the session a new sid, unless it ends. After `clear()`, `regenerate()` is a login even of the
    same owner.
    """
    if any(not _same(before.get(name), owner) for name, owner in after.items()) or (after and cleared and regenerated):
        return "login"
    if before and not after:
        return "logout"
    return "move" if regenerated or before.keys() != after.keys() else "write"


class State(Protocol):
    """What a session knows of its request."""

    record: bytes  #: what was read; empty: nothing
    owners: dict[str, Any]  #: who was signed in, by key
    cleared: bool  #: `clear` was called: nothing that is there now comes from what was read
    regenerated: bool  #: a new sid was asked for


class Change:
    """What a request made of its session. `mine`: what it holds now."""

    def __init__(self, state: State, mine: Session, owner_keys: tuple[str, ...]) -> None:
        self.record = state.record
        self.mine = {} if is_empty(mine) else mine
        self.owners_before = state.owners  #: who was signed in, by key
        self.owners_after = owners_of(mine, owner_keys)  #: who is
        if not self.record:
            self.kind = "first"
        elif state.cleared and not self.mine:
            self.kind = "logout"
        else:
            owners = self.owners_before, self.owners_after
            self.kind = classify(*owners, cleared=state.cleared, regenerated=state.regenerated)
        #: Whether it replaces what others write meanwhile, instead of being merged with it.
        self.replaces = state.cleared and self.kind in ("login", "logout")
        #: Whether somebody signs out: then the session ends wherever it has gone meanwhile.
        self.signs_out = self.replaces or self.kind == "logout"

    @functools.cached_property
    def base(self) -> Session:
        """What was read."""
        return load_record(self.record or None) or {}

    @property
    def changed(self) -> set[str]:
        """The keys that this request changed."""
        return changed_keys(self.base, self.mine)

    def apply(self, theirs: Session | None) -> Session | None:
        """Return what is to be stored over `theirs`, what is there now. None: the session has ended, and stays ended.

        An empty session ends. Over nothing, a first write is stored; and a login, of what this request wrote alone:
        no list or dict that was there before.
        """
        if theirs is not None:
            merged = self.mine if self.replaces else merge(self.base, self.mine, theirs)
            return {} if is_empty(merged) else merged
        if self.kind == "first" or (self.kind == "login" and self.replaces):
            return self.mine
        if self.kind != "login":
            return None
        changed = self.changed
        own = {
            key: value
            for key, value in self.mine.items()
            if key in changed and (key not in self.base or not isinstance(value, dict | list | tuple))
        }
        return {} if is_empty(own) else own
