"""The store: sessions as JSON under ``prefix + sid``, each with a TTL. Knows Redis, and neither HTTP nor cookies."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from _redis_store.connection import check_client
from _redis_store.record import Session, dump_record, load_record
from _redis_store.sender import Command, Sender, StoreUnavailable
from _redis_store.sid import new_sid

WEEK = 7 * 24 * 60 * 60  # seconds; the default max_age of the koa store that this one follows
MAX_TRIES = 200  # rounds of a compare-and-set; every lost round is another writer's success
JITTER = 0.001  # seconds, between two rounds
TRAIL_MAX_AGE = 600  # seconds for which a request under way can still find where its session was moved to

#: A key with a hash tag, in the words of Redis Cluster: what is in its first braces alone chooses the server.
_TAGGED = re.compile(r"[^{]*\{[^}]+\}")

# Lua runs in one step: nobody can write between the comparison and what follows it. An empty session is no record.
_COMPARE_AND_SET = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '{}' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
return 1
"""

# Keys: the old record, its trail; and, but on a Cluster, where they are elsewhere: the new record, the indexes that
# list the old sid. ZCARD fails, in time, for an index that is no sorted set: a script that fails undoes nothing. It
# may be sent twice, when its answer is lost: then the old record is gone, and if the new one holds exactly ours, the
# first time worked.
_MOVE = f"""
local new = KEYS[3]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return new and redis.call('GET', new) == ARGV[2] and 1 or 0
end
for i = 4, #KEYS do redis.call('ZCARD', KEYS[i]) end
if ARGV[4] ~= '' then redis.call('SET', KEYS[2], ARGV[4], 'EX', {TRAIL_MAX_AGE}) end
if new and ARGV[2] ~= '{{}}' then redis.call('SET', new, ARGV[2], 'EX', ARGV[3]) end
redis.call('DEL', KEYS[1])
for i = 4, #KEYS do redis.call('ZREM', KEYS[i], ARGV[5]) end
return 1
"""


class RedisStore:
    """Sessions in Redis. One primitive, the compare-and-set, and seven verbs; each is one step on one key.

    Missing and expired are None, or False; a malformed record reads as missing, and stays until it is overwritten,
    taken or destroyed. Every verb raises `StoreUnavailable`; those that write raise TypeError for a value that does
    not survive JSON, and ValueError for a `max_age` that is not a whole number of seconds, 1 or more.

    `client` is any redis-py client but asyncio's, preferably one of `connect`; TypeError: it is none. A sid is any
    string. ValueError: braces in the prefix are no hash tag, and so no other key could be on the same server of a
    Cluster as a session's.
    """

    def __init__(self, client: Any, prefix: str = "SESSION:") -> None:
        check_client(client)
        if not isinstance(prefix, str):
            raise TypeError(f"expected a prefix that is text; got a {type(prefix).__name__}")
        if "}" in prefix and not _TAGGED.match(prefix):
            raise ValueError(f"prefix is {prefix!r}; expected no braces, or some text in them")
        self.client = client
        self.prefix = prefix
        self.sender = Sender(client)

    def within(self, seconds: float) -> RedisStore:
        """Return this store for one request, whose commands together wait no longer than that for Redis."""
        return self._copy(self.prefix, self.sender.within(seconds))

    def namespace(self, name: str) -> RedisStore:
        """Return a store for something else, with keys that begin with ``name:prefix``; with the same time budget."""
        return self._copy(f"{name}:{self.prefix}", self.sender)

    def _copy(self, prefix: str, sender: Sender) -> RedisStore:
        store = object.__new__(type(self))  # copy.copy would take three times as long, in every request that reads
        vars(store).update(vars(self))
        store.prefix, store.sender = prefix, sender
        return store

    def key(self, sid: str) -> str:
        """Return the name of the session's key in Redis."""
        return self.prefix + sid

    def trail_key(self, sid: str) -> str:
        """Return the name of the key that leads from a replaced sid to its successor.

        The old key is its hash tag, or has the same: on a Cluster both are in one slot.
        """
        key = self.key(sid)
        return f"MOVED:{key}" if _TAGGED.match(key) else f"MOVED:{{{key}}}"

    def get(self, sid: str) -> Session | None:
        """Return the session. GET; koa-session2's ``get``."""
        return load_record(self.read(sid))

    def read(self, sid: str) -> bytes | None:
        """Return the session's record, as it is in Redis. GET."""
        record: bytes | None = self.sender.run("GET", self.key(sid), again=True)
        return record

    def ttl(self, sid: str) -> int | None:
        """Return the seconds that the session has left, rounded. None: there is none, or it has no end. TTL."""
        seconds: int = self.sender.run("TTL", self.key(sid), again=True)
        return seconds if seconds >= 0 else None

    def set(self, session: Mapping[str, Any], sid: str | None = None, *, max_age: int = WEEK) -> str:
        """Write the session, whatever was there; return its sid, a new one if none is given. SET EX; koa's ``set``."""
        sid = sid or new_sid()
        self.sender.run("SET", self.key(sid), dump_record(session), "EX", _whole(max_age))
        return sid

    def destroy(self, sid: str) -> bool:
        """End the session; return False when there was none (or its answer was lost). DEL; koa's ``destroy``."""
        return bool(self.sender.run(*self.destroying(sid), again=True))

    def touch(self, sid: str, *, max_age: int = WEEK) -> bool:
        """Keep the session for `max_age` seconds from now; return False when there is none. EXPIRE."""
        return bool(self.sender.run("EXPIRE", self.key(sid), _whole(max_age), again=True))

    def add(self, sid: str, value: Mapping[str, Any], *, max_age: int = WEEK) -> bool:
        """Write if there is nothing yet; return False, and change nothing, when there is. SET NX EX."""
        return bool(self.sender.run(*self.adding(sid, dump_record(value), max_age)))

    def take(self, sid: str) -> Session | None:
        """Read and delete in one step: of many callers one gets it. GETDEL."""
        return load_record(self.sender.run("GETDEL", self.key(sid)))

    def update(self, sid: str, change: Callable[[Session], Session | None], *, max_age: int = WEEK) -> Session | None:
        """Make the session ``change(session)`` and lose nothing that others write: GET, then a compare-and-set.

        `change` must be pure: if another writer was first, it is called again with what that one wrote. None from it
        writes nothing; an empty dict ends the session. Return what was written. None: nothing was, for there is no
        (well-formed) session, and none comes back from the dead. StoreUnavailable also after MAX_TRIES lost rounds.
        """
        for _ in range(MAX_TRIES):
            seen = self.read(sid)
            session = load_record(seen)
            changed = None if session is None else change(session)
            if seen is None or changed is None:
                return None
            if self.swap(sid, seen, dump_record(changed), max_age=max_age):
                return changed
            pause()
        raise lost_all_rounds()

    def swap(self, sid: str, seen: bytes, record: bytes, *, max_age: int = WEEK) -> bool:
        """Write `record` if the stored one still is `seen`: the one primitive, a compare-and-set in a script."""
        return bool(self.sender.run(*self.swapping(sid, seen, record, max_age)))

    # The commands of a write, to be sent together with others. A last answer that is true: it took place.

    def destroying(self, sid: str) -> Command:
        """Return the command of `destroy`."""
        return ("DEL", self.key(sid))

    def adding(self, sid: str, record: bytes, max_age: int) -> Command:
        """Return the command of `add`."""
        return ("SET", self.key(sid), record, "EX", _whole(max_age), "NX")

    def swapping(self, sid: str, seen: bytes, record: bytes, max_age: int) -> Command:
        """Return the command of `swap`."""
        return ("EVAL", _COMPARE_AND_SET, 1, self.key(sid), seen, record, _whole(max_age))

    def moving(
        self, sid: str, to: str, seen: bytes, record: bytes, max_age: int, *, trail: bool, indexes: Iterable[bytes] = ()
    ) -> list[Command]:
        """Return the commands of a `swap` by which the session moves to another sid, and may leave a trail.

        One script, which removes the old sid from `indexes`. On a Cluster the new record is written before the old
        one goes, and has to be destroyed if the last answer is false; and the indexes are left to the caller.
        """
        keys: list[str | bytes] = [self.key(sid), self.trail_key(sid)]
        before: list[Command] = []
        if not self.sender.clustered:
            keys += [self.key(to), *indexes]
        elif record != b"{}":
            before = [("SET", self.key(to), record, "EX", _whole(max_age))]
        values = (seen, record, _whole(max_age), to if trail else "", sid)
        return [*before, ("EVAL", _MOVE, len(keys), *keys, *values)]


def pause() -> None:
    """Wait a moment before the next round, so that many writers do not go in step."""
    time.sleep(random.uniform(0, JITTER))  # noqa: S311  # no secret


def lost_all_rounds() -> StoreUnavailable:
    """Return the error of a writer to whom others were always first."""
    return StoreUnavailable(f"{MAX_TRIES} other writers were first")


def _whole(max_age: int) -> int:
    if type(max_age) is int and max_age >= 1:
        return max_age
    raise ValueError(f"max_age is {max_age!r}; expected a whole number of seconds, 1 or more")
