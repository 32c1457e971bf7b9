"""A store of sessions in a dict: the seven verbs in ten lines, for a reader's own store to begin with."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

WEEK = 7 * 24 * 3600  # seconds
Session = dict[str, Any]


class DictStore:
    """Sessions in this process: each is its JSON, and the time at which it ends. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock, self.records, self.lock = clock, dict[str, tuple[float, str]](), threading.RLock()

    def get(self, sid: str) -> Session | None:
        ends, record = self.records.get(sid, (0, "null"))
        return json.loads(record) if ends > self.clock() else None

    def set(self, session: Mapping[str, Any], sid: str | None = None, *, max_age: int = WEEK) -> str:
        sid = sid or secrets.token_hex(24)
        self.records[sid] = self.clock() + max_age, json.dumps(session, allow_nan=False)
        return sid

    def destroy(self, sid: str) -> bool:
        return self.take(sid) is not None

    def touch(self, sid: str, *, max_age: int = WEEK) -> bool:
        return self.update(sid, lambda session: session, max_age=max_age) is not None

    def add(self, sid: str, value: Mapping[str, Any], *, max_age: int = WEEK) -> bool:
        with self.lock:
            return self.get(sid) is None and self.set(value, sid, max_age=max_age) == sid

    def take(self, sid: str) -> Session | None:
        with self.lock:
            session, _ = self.get(sid), self.records.pop(sid, None)
            return session

    def update(self, sid: str, change: Callable[[Session], Session | None], *, max_age: int = WEEK) -> Session | None:
        while (session := self.get(sid)) is not None and (changed := change(dict(session))) is not None:
            with self.lock:
                if self.get(sid) == session:  # or else another writer was first
                    self.set(changed, sid, max_age=max_age) if changed else self.destroy(sid)
                    return changed
        return None
