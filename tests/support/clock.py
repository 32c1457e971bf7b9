"""Time that a test moves."""

from __future__ import annotations

import time


class Clock:
    """The clock of the sessions, which a test moves instead of sleeping."""

    def __init__(self) -> None:
        self.offset = 0

    def __call__(self) -> float:
        return time.time() + self.offset
