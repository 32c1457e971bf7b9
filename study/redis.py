"""The Redis of a story: one of its own, which can go away, be full, and let days pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import fakeredis
from redis.exceptions import OutOfMemoryError, RedisError

from study.recording import Words, attach, paused, shorten_text

#: Commands that change nothing. Redis carries them out when it is full.
READS = {"EXISTS", "GET", "PING", "PUBLISH", "TTL", "XRANGE", "XREAD", "ZCARD", "ZRANGE", "ZRANGEBYSCORE", "ZSCORE"}
HIDDEN = (b"rq:clean", b"rq:execution", b"rq:queues", b"rq:results", b"rq:worker")  # what RQ keeps besides
MAX_SHOWN = 120  # characters of a value


class Entry(NamedTuple):
    """A key of Redis, as it may be shown."""

    key: str
    value: str
    ttl: int | None  # seconds; None: it has no end


class StoryRedis:
    """A Redis inside this process. Tests have another, on a real server."""

    def __init__(self) -> None:
        self.server = fakeredis.FakeServer()
        self.client: Any = attach(fakeredis.FakeRedis(server=self.server))
        self.full = self.away = False

    def go_away(self) -> None:
        """Be out of reach from now on."""
        self.away, self.server.connected = True, False

    def come_back(self) -> None:
        """Be there again, with all that was there before."""
        self.away, self.server.connected = False, True

    def fill(self) -> None:
        """Have no memory left: every write is refused."""
        self.full = True

    def make_room(self) -> None:
        """Take writes again."""
        self.full = False

    def check(self, commands: Sequence[Words]) -> None:
        """Refuse a write as a full Redis does, which fakeredis cannot be. It is asked before each round trip."""
        if self.full and any(writes(words) for words in commands):
            raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")

    def keys(self) -> list[str]:
        """Return the names of all keys."""
        with paused():
            return sorted(key.decode() for key in self.client.keys("*"))

    def let_pass(self, seconds: int) -> None:
        """Let so many seconds pass for each key."""
        with paused():
            for key in self.client.keys("*"):
                left = self.client.ttl(key)
                if 0 <= left <= seconds:
                    self.client.delete(key)
                elif left > 0:
                    self.client.expire(key, left - seconds)
                if key.startswith(b"rq:") and self.client.type(key) == b"zset":  # its clock is not ours to move
                    for member, score in self.client.zrange(key, 0, -1, withscores=True):
                        self.client.zadd(key, {member: score - seconds})

    def show(self) -> list[Entry]:
        """Return all that is in it, as it may be shown; nothing, while it is away."""
        with paused():
            try:
                keys = sorted(self.client.keys("*"))
                return [self._show(key) for key in keys if not key.startswith(HIDDEN)]
            except RedisError:
                return []

    def _show(self, key: bytes) -> Entry:
        read: dict[bytes, Callable[[], str]] = {
            b"hash": lambda: f"a job, {self.client.hget(key, 'status').decode()}",
            b"list": lambda: "a list: " + ", ".join(value.decode() for value in self.client.lrange(key, 0, 4)),
            b"stream": lambda: f"a stream of {self.client.xlen(key)}",
            b"string": lambda: self.client.get(key).decode(errors="replace"),
            b"zset": lambda: (
                f"a list of {self.client.zcard(key)}: "
                + ", ".join(member.decode() for member in self.client.zrange(key, 0, 4))
            ),
        }
        kind = self.client.type(key)
        value = shorten_text(read.get(kind, lambda: f"a {kind.decode()}")())
        ttl = self.client.ttl(key)
        return Entry(shorten_text(key.decode()), value[:MAX_SHOWN], ttl if ttl >= 0 else None)


def writes(words: Words) -> bool:
    """Return whether a command may change something."""
    return str(words[0]).upper() not in READS
