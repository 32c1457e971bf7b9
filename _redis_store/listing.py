"""A session seen from outside: for a page of devices, and for the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from _redis_store import signals
from _redis_store.change import owners_of
from _redis_store.lifetime import time_left
from _redis_store.owners import GRACE, OwnerIndex, names
from _redis_store.record import load_record
from _redis_store.settings import Settings
from _redis_store.sid import began_at
from _redis_store.store import RedisStore
from _redis_store.trail import batches, end_all

ROUNDING = 2  # seconds: EX and TTL are whole numbers, and clocks are not
MAX_LISTED = 5000  # sessions of one owner that are listed: those that live longest


@dataclass(frozen=True)
class SessionInfo:
    """What is known about a session without its cookie. `sid` opens it; to show, there is `handle`."""

    sid: str = field(repr=False)
    owners: list[str]  #: none: it is anonymous
    created: datetime | None  #: when it began, or its owner signed in; None: koa began it
    refreshed: datetime | None  #: when its TTL was last set; None: it has none, or the absolute limit hides it
    ttl: int  #: seconds; -1: it has none, which should not be
    size: int  #: bytes of the record
    session: dict[str, Any] | None  #: what the app keeps in it; None: the record is malformed

    @property
    def handle(self) -> str:
        """A name of the session for pages, forms and logs, which opens nothing."""
        return make_handle(self.sid)


def make_handle(sid: str) -> str:
    """Return 16 digits of the SHA-256 of a sid."""
    return hashlib.sha256(sid.encode()).hexdigest()[:16]


def read_records(store: RedisStore, sids: Sequence[str]) -> Iterator[tuple[bytes | None, int]]:
    """Yield record and TTL (seconds; -2: there is none) of each, hundreds in one round trip. GET and TTL."""
    for batch in batches(sids):
        commands = [(name, store.key(sid)) for sid in batch for name in ("GET", "TTL")]
        answers = iter(store.sender.run_all(commands, again=True, ordered=False))
        yield from zip(answers, answers, strict=True)


def info_of(
    settings: Settings, sid: str, record: bytes | None, ttl: int, score: float | None = None
) -> SessionInfo | None:
    """Return what `read_records` found of a session. None: it has ended. `score`: its own, in an index."""
    now, began = settings.clock(), began_at(sid)
    if ttl == -2 or (left := time_left(settings, sid, now)) < 0:
        return None
    session, refreshed = load_record(record), None
    if 0 <= ttl < left - ROUNDING:  # the idle limit set EX
        refreshed = now - max(0, settings.max_age - ttl)
    elif ttl >= 0 and score:  # the absolute limit did; but the index tells
        refreshed = score - settings.listed_for
    return SessionInfo(
        sid=sid,
        owners=sorted(names(owners_of(session or {}, settings.owner_keys))),
        created=None if began is None else datetime.fromtimestamp(began, UTC),
        refreshed=None if refreshed is None else datetime.fromtimestamp(refreshed, UTC),
        ttl=ttl,
        size=len(record or b""),
        session=session,
    )


def sessions_of(store: RedisStore, settings: Settings, owner: str) -> list[SessionInfo]:
    """Return the sessions of an owner, the oldest sign-in first; at most MAX_LISTED.

    What has ended is removed from the index, but not what was added within the last minute: it may be a login whose
    record is still to come.
    """
    index = OwnerIndex(store)
    scores = {sid: score for sid, score in index.sids(owner, -MAX_LISTED, -1).items() if sid.isprintable()}
    found = dict(zip(scores, read_records(store, [*scores]), strict=True))
    old = settings.clock() + settings.listed_for - GRACE
    index.remove([owner], *[sid for sid, (record, _) in found.items() if record is None and scores[sid] < old])
    infos = [info_of(settings, sid, record, ttl, scores[sid]) for sid, (record, ttl) in found.items()]
    mine = [info for info in infos if info and owner in info.owners]
    return sorted(mine, key=lambda info: (info.created is not None, info.created, scores[info.sid]))


def end(store: RedisStore, settings: Settings, sid: str) -> bool:
    """End one session, whosever it is; return False when there was none."""
    owners = names(owners_of(store.get(sid) or {}, settings.owner_keys))
    ended = end_all(store, [sid]) > 0
    signals.tell(signals.ended, "end", int(ended))
    OwnerIndex(store).remove(owners, sid)
    return ended


def revoke(store: RedisStore, owner: str, keep: str | None = None) -> int:
    """End the sessions of an owner, but not that of `keep`; return how many there were."""
    number = OwnerIndex(store).revoke(owner, keep)
    signals.tell(signals.ended, "revoke", number)
    return number
