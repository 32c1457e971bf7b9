"""The sessions of an owner: which they are, and how they all end.

An owner's index is a sorted set of sids under ``OWNER:SESSION:<owner>``. A score is the time (Unix) until which the
session may live. What is past it is removed whenever a sid is added, and the whole set expires with its last score.
Whether a session lives, its record alone tells.

A sid is added before its record is written, and removed after the record is gone: a crash in between leaves a name
without a session, never a session without a name. Where a login and a revoke meet: the one adds the sid, writes the
record, and checks whether the sid is still there. The other one marks the sid, deletes the record, and removes the
sid. The later of them sees what the other one did. No step needs two keys, so a Redis Cluster will do.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from _redis_store.failure import raise_interruption
from _redis_store.record import dump_record, load_record
from _redis_store.sender import Command, StoreUnavailable
from _redis_store.store import RedisStore
from _redis_store.trail import BATCH, batches, end_all

log = logging.getLogger("redis_store")

GRACE = 60  # seconds: clocks may differ so much, and a login take so long between index and record
MARK = 0  # the score of a sid that is being revoked

# One step, so that no index is ever without a TTL. In seconds from now: Redis may have another clock. It removes a
# bounded number of what is past its score. It returns how many are too many, as far as one sign-in ends them, and so
# many sids and two more, the first to end first: the one that begins, and the one whose place it takes, may be in it.
_ADD = f"""
redis.call('ZADD', KEYS[1], ARGV[5], ARGV[1], ARGV[2])
local past = redis.call('ZRANGEBYSCORE', KEYS[1], '({MARK}', ARGV[3], 'LIMIT', 0, 100)
if #past > 0 then redis.call('ZREM', KEYS[1], unpack(past)) end
local last = math.max(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], math.min(math.ceil(last - ARGV[3]), 2^32) + {GRACE})
local over = math.min(redis.call('ZCARD', KEYS[1]) - ARGV[4], 100)
if over > 0 then return {{over, redis.call('ZRANGE', KEYS[1], 0, over + 1)}} end
return {{0, {{}}}}
"""


def name_of(owner: Any) -> str:
    """Return an owner as text, since Flask-Login and URLs make text of a number as well.

    As the record has him: an Enum is its value there.
    """
    if type(owner) is not str and type(owner) is not int:
        outer = sys.exception()
        try:
            owner = (load_record(dump_record({"": owner})) or {}).get("", owner)
        except (TypeError, ValueError) as error:  # JSON cannot keep it: nobody's session has it
            raise_interruption(error, outer)
    return str(owner)


def names(owners: Mapping[str, Any]) -> set[str]:
    """Return owners, by key, as text."""
    return {name_of(owner) for owner in owners.values()}


def decode(sid: bytes) -> str:
    """Return a sid as text. What an index holds may be no sid, nor text: its bytes are kept, to be removed."""
    return sid.decode(errors="surrogateescape")


def _encode(sid: str) -> bytes:
    return sid.encode(errors="surrogateescape")


class OwnerIndex:
    """The indexes of a store, one for each owner. What asks Redis, but for `remove`, raises `StoreUnavailable`."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    def key(self, owner: str) -> bytes:
        """Return the name of the index's key. Bytes: JSON can keep lone surrogates, and so a name may have some."""
        return f"OWNER:{self._store.prefix}{owner}".encode(errors="surrogatepass")

    # The commands, to be sent together with others.

    def adding(
        self, owners: Iterable[str], sid: str, now: float, max_age: float, most: int | None = None, *, new: bool = False
    ) -> list[Command]:
        """Return the commands that add a session which may live `max_age` seconds, or change until when it may.

        One that is `new` may be added twice, when its record is written in a second try: if a revoke has marked it
        between the two, it stays marked.
        Each answers with how many sessions its owner has beyond `most`, and which of all would end first.
        """
        values = (round(now + max_age, 3), sid, round(now, 3), most or 2**53, "NX" if new else "CH")
        return [("EVAL", _ADD, 1, self.key(owner), *values) for owner in owners]

    def checking(self, owners: Iterable[str], sid: str) -> list[Command]:
        """Return the commands that tell `is_listed` whether a session is still there."""
        return [("ZSCORE", self.key(owner), sid) for owner in owners]

    def removing(self, owners: Iterable[str], *sids: str) -> list[Command]:
        """Return the commands that remove sessions which have ended."""
        return [("ZREM", self.key(owner), *map(_encode, batch)) for owner in owners for batch in batches(sids)]

    @staticmethod
    def is_listed(scores: Iterable[Any]) -> bool:
        """Return whether nobody revoked the session since it was added."""
        return all(score is not None and float(score) != MARK for score in scores)

    # What is sent by itself.

    def add(self, owners: Iterable[str], sid: str, now: float, max_age: float) -> None:
        """Add a session which may live `max_age` seconds."""
        self._store.sender.run_all(self.adding(owners, sid, now, max_age))

    def lists(self, owners: Iterable[str], sid: str) -> bool:
        """Return whether nobody revoked the session since it was added."""
        return self.is_listed(self._store.sender.run_all(self.checking(owners, sid), again=True))

    def remove(self, owners: Iterable[str], *sids: str) -> None:
        """Remove sessions that have ended.

        Log a failure: the index tidies itself, and what counts is that they ended.
        """
        try:
            self._store.sender.run_all(self.removing(owners, *sids), again=True)
        except StoreUnavailable as error:
            log.warning("%s", error)

    def sids(self, owner: str, first: int, last: int) -> dict[str, float]:
        """Return sid -> score of what is at these places, the first to end first; ended or not. ZRANGE."""
        command = ("ZRANGE", self.key(owner), first, last, "WITHSCORES")
        pairs = self._store.sender.run(*command, again=True, withscores=True)
        return {decode(sid): float(score) for sid, score in pairs or ()}

    def revoke(self, owner: str, keep: str | None = None) -> int:
        """End the sessions of an owner, but not that of `keep`.

        Return how many there were. A batch that is done stays so.
        """
        ended = kept = 0
        while sids := self.sids(owner, kept, kept + BATCH - 1):
            kept += keep in sids
            ended += self.end(owner, [sid for sid in sids if sid != keep], keep)
            if len(sids) < BATCH:
                break
        return ended

    def end(self, owner: str, sids: Sequence[str], keep: str | None = None) -> int:
        """End these sessions of an owner; return how many there were to end.

        That of `keep` stays, even if one of these has moved there: an index may still have an old sid.
        """
        ended = 0
        for batch in batches(sids):
            marks = [word for sid in batch for word in (MARK, _encode(sid))]
            self._store.sender.run("ZADD", self.key(owner), "XX", *marks, again=True)
            ended += end_all(self._store, [sid for sid in batch if sid.isprintable()], keep)
            self._store.sender.run_all(self.removing([owner], *batch), again=True)
        return ended
