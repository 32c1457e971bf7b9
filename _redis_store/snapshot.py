"""What a session was when it was read, to tell in the end whether it has changed: `dump_changed`. Pure.

A snapshot is made by marshal, which writes values with their types: a tuple is no list, True is no 1, NaN is not None.
JSON says less, and to look at each type in Python takes almost three times as long. What changed has other bytes. Equal
values may have other bytes, too, when something else refers to one of them; so of what seems to be new the record
decides. No snapshot is ever loaded. It is about as large as the record, and lives as long as the session object.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from marshal import dumps
from typing import Any

from _redis_store.failure import raise_interruption
from _redis_store.record import dump_record, is_plain, may_have_bytes, may_have_tags, respell

Snapshot = Sequence[bytes]  # one for each item of the session, in its order


def take_snapshot(record: bytes, session: Mapping[str, Any]) -> Snapshot:
    """Return what the session is that was read from this record. Empty: there can be none."""
    return () if may_have_bytes(record) else dump_items(session)  # to marshal, a bytearray is bytes


def dump_items(session: Mapping[str, Any]) -> Snapshot:
    """Return what the session is now. Empty: nothing is in it, or something that marshal cannot write."""
    outer = sys.exception()
    try:
        return [*map(dumps, session.items())]
    except ValueError as error:
        raise_interruption(error, outer)
        return ()


def dump_changed(session: Mapping[str, Any], record: bytes, before: Snapshot, *, modified: bool) -> bytes | None:
    """Return what is to be stored instead of `record`, which the session was read from. None: it says the same still.

    `modified`: a key was set or deleted. Errors are those of `dump_record`.
    """
    now = dump_items(session) if before else ()
    if now and now == before:
        return None
    new = session if may_have_tags(record) else new_items(session, now, before)  # what is as it was may need its tag
    del now  # as large as the record, whose memory it frees
    dumped = dump_record(session, new)
    if dumped == record:
        return None
    if modified and is_plain(record):  # the usual case
        return dumped
    return None if dumped == respell(record) else dumped


def new_items(session: Mapping[str, Any], now: Snapshot, before: Snapshot) -> dict[str, Any]:
    """Return the items that are not as they were before, and maybe others; all of them, where there is no snapshot."""
    if not now:
        return dict(session)
    # Place by place: a key that is set stays in its place, and to find the bytes elsewhere takes longer.
    places = zip(session.items(), now, chain(before, repeat(b"")), strict=False)
    return {key: value for (key, value), item, old in places if item != old}
