"""Time that a test moves."""

from __future__ import annotations

import time


class Clock:
    """The clock of the sessions, which a test moves instead of sleeping."""

    def __init__(self) -> None:
        self.offset = 0

    def __call__(self) -> float:
        return time.time() + self.offset

    def move(self, seconds: int) -> None:
        """Let so many seconds pass."""
        self.offset += seconds


class StillClock:
    """A clock that stands still, but when a test moves it."""

    def __init__(self) -> None:
        self.now = int(time.time())

    def __call__(self) -> int:
        return self.now

    def move(self, seconds: int) -> None:
        self.now += seconds
