"""Stores that break a promise: the load has to find each of them out."""

from __future__ import annotations

import random
import time
from typing import Any

from redis_store import RedisStore


class MixesUp(RedisStore):
    """Broken: now and then it answers with what somebody else asked for."""

    last: bytes | None = None

    def read(self, sid: str) -> bytes | None:
        record = super().read(sid)
        if record and random.random() < 0.1:
            record, MixesUp.last = MixesUp.last, record
        return record


class EndsNothing(RedisStore):
    """Broken: a logout is answered, and that is all."""

    def destroying(self, sid: str) -> tuple[Any, ...]:
        return ("EXISTS", self.key(sid))


class WritesNothing(RedisStore):
    """Broken: a new session is confirmed, but not stored."""

    def adding(self, *args: Any) -> tuple[Any, ...]:
        return ("ECHO", "yes")


class KeepsForEver(RedisStore):
    """Broken: a new session has no TTL."""

    def adding(self, sid: str, record: bytes, max_age: int) -> tuple[Any, ...]:
        return ("SET", self.key(sid), record, "NX")


class Crashes(RedisStore):
    """Broken: what the client raises gets out."""

    def read(self, sid: str) -> bytes | None:
        if random.random() < 0.05:
            raise OSError
        return super().read(sid)


class Dawdles(RedisStore):
    """Broken: it now and then takes longer than a request may."""

    def read(self, sid: str) -> bytes | None:
        if random.random() < 0.05:
            time.sleep(2)
        return super().read(sid)
