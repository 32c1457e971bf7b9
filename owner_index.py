"""How to end sessions without their cookie: which ones an owner has, and where one went whose sid was replaced.

The list of an owner is a sorted set of sids under ``OWNER:SESSION:<owner>``, beside the records.

`RedisSessionInterface` keeps it by itself. A sid is listed before its record is written, and taken off the list after
the record is gone, so that a crash in between leaves a name without a session, never a session without a name. Whether
a session lives, its record alone tells.

A score is a promise: the session is gone by then, unless it is listed again. It is two idle limits away, so that a
session is listed again once in an idle limit, however often it is refreshed. What is past its score is dropped
whenever a sid is added, and the whole list when its last score is past.

Where a login and a revoke meet: the one lists the sid, writes the record, and looks whether the sid is still listed.
The other one marks the sid, deletes the record, and takes the sid off the list. The later of them sees what the other
one did. No step needs two keys, so a Redis Cluster will do.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis_store import RedisStore

GRACE = 60  # seconds: clocks may differ so much, and a login take so long between list and record
BATCH = 500  # sids that one round trip may be about
MARK = 0  # the score of a sid that is being revoked
TRAIL_MAX_AGE = 600  # seconds for which a request under way can still find where its session was moved to

# One step, so that no list is ever without a TTL. In seconds from now: Redis may have another clock.
_ADD = f"""
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '({MARK}', ARGV[3])
redis.call('EXPIRE', KEYS[1], redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2] - ARGV[3])
"""


@dataclass(frozen=True)
class SessionInfo:
    """A session seen from outside: for a page of devices, say. `sid` opens it; to show, there is `handle`."""

    sid: str = field(repr=False)
    owners: list[str]  #: none: it is anonymous
    created: datetime | None  #: when it began, or its owner signed in; None: the record does not tell
    refreshed: datetime | None  #: when its TTL was last set; None: the absolute limit hides it
    ttl: int  #: seconds; -1: it has none, which should not be
    size: int  #: bytes of the record
    session: dict[str, Any] | None  #: what the app keeps in it; None: the record is malformed

    @property
    def handle(self) -> str:
        """Names the session in pages, forms and logs, and opens nothing."""
        return make_handle(self.sid)


def make_handle(sid: str) -> str:
    """16 digits of the SHA-256 of a sid."""
    return hashlib.sha256(sid.encode()).hexdigest()[:16]


class OwnerIndex:
    """The lists of sids. Every method raises `StoreUnavailable` when Redis does not do it."""

    def __init__(self, sessions: RedisStore) -> None:
        self._sessions = sessions
        self._prefix = sessions.beside("OWNER").prefix
        self._run = sessions.line.run

    def key(self, owner: str) -> bytes:
        """The name of the list's key in Redis. Bytes: JSON can keep lone surrogates, and so a name may have some."""
        return (self._prefix + owner).encode(errors="surrogatepass")

    def add(self, owners: Iterable[str], sid: str, now: float, max_age: int) -> float:
        """List a session; returns the time until which it may be kept alive without being listed again."""
        until = math.inf
        for owner in owners:
            until = int(now) + 2 * max_age
            self._run("EVAL", _ADD, 1, self.key(owner), until + GRACE, sid, int(now))
        return until

    def discard(self, owners: Iterable[str], *sids: str) -> None:
        """Take sessions that have ended off the lists."""
        for owner in owners:
            for batch in batches([*sids]):
                self._run("ZREM", self.key(owner), *batch)

    def lists(self, owners: Iterable[str], sid: str) -> bool:
        """Whether nobody revoked the session since it was added."""
        scores = [self._run("ZSCORE", self.key(owner), sid) for owner in owners]
        return all(score is not None and float(score) != MARK for score in scores)

    def sids(self, owner: str) -> dict[str, float]:
        """Sid -> score of all that is listed, ended or not."""
        pairs = self._run("ZRANGE", self.key(owner), 0, -1, "WITHSCORES", withscores=True)
        return {sid.decode(errors="replace") if isinstance(sid, bytes) else sid: score for sid, score in pairs or ()}

    def read(self, owner: str, now: float, max_age: int) -> tuple[list[tuple[str, bytes, int]], list[str]]:
        """Sid, record and TTL (seconds) of each session that lives; and the sids that are to be discarded."""
        scores = self.sids(owner)
        found = list(zip(scores, read_all(self._sessions, [*scores]), strict=True))
        # Not what was added within the last minute: it may be a login whose record is still to come.
        gone = [sid for sid, (record, _) in found if record is None and scores[sid] < int(now) + 2 * max_age]
        return [(sid, record, ttl) for sid, (record, ttl) in found if record is not None], gone

    def revoke(self, owner: str, sids: list[str]) -> int:
        """End these sessions of an owner; returns how many there were to end."""
        ended = 0
        for batch in batches(sids):
            marks = [word for sid in batch for word in (MARK, sid)]
            self._run("ZADD", self.key(owner), "XX", *marks)
            ended += end_all(self._sessions, batch)
            self.discard([owner], *batch)
        return ended


# The trail: a logout, or a revoke, that comes upon a sid which `regenerate` has just replaced ends the session where it
# went. Under ``MOVED:SESSION:<old sid>`` there is {new sid: True}: what may have become the new one.


def leave_trail(store: RedisStore, sid: str, to: str) -> None:
    """Note, before it happens, that the session of `sid` moves to another."""
    trails = store.beside("MOVED")
    if not trails.add(sid, {to: True}, max_age=TRAIL_MAX_AGE):
        trails.update(sid, lambda trail: {**trail, to: True}, max_age=TRAIL_MAX_AGE)


def end_moved(store: RedisStore, sid: str) -> bool:
    """Whether there was a session to end where the trail of `sid` leads, however long it is."""
    trails, ended, ahead, seen = store.beside("MOVED"), False, [sid] if sid else [], {sid}
    while ahead:
        for to in trails.get(ahead.pop()) or {}:
            if store.destroy(to):
                ended = True
            elif to not in seen:
                ahead.append(to)
            seen.add(to)
    return ended


def read_all(store: RedisStore, sids: list[str]) -> Iterator[tuple[bytes | None, int]]:
    """Record and TTL (seconds; -2: there is none) of each, hundreds in one round trip. GET and TTL."""
    for batch in batches(sids):
        commands = [(name, store.key(sid)) for sid in batch for name in ("GET", "TTL")]
        answers = iter(store.line.run_all(commands, NEVER_DECODE=True))
        yield from zip(answers, answers, strict=True)


def end_all(store: RedisStore, sids: list[str]) -> int:
    """End these sessions, here or where they have moved to; returns how many there were to end. One round trip."""
    trails = store.beside("MOVED")
    commands = [command for sid in sids for command in (("DEL", store.key(sid)), ("GET", trails.key(sid)))]
    answers = iter(store.line.run_all(commands))
    return sum(
        bool(there) or (trail is not None and end_moved(store, sid))
        for sid, there, trail in zip(sids, answers, answers, strict=True)
    )


def batches(sids: list[str]) -> list[list[str]]:
    """In parts of at most BATCH."""
    return [sids[start : start + BATCH] for start in range(0, len(sids), BATCH)]
