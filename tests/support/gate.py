"""A request that is slow, for as long as a test wants."""

from __future__ import annotations

import threading


class Gate:
    """Where a slow request waits in the middle of its view until the test lets it go on."""

    def __init__(self) -> None:
        self.inside, self.go = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.inside.set()
        assert self.go.wait(60)
