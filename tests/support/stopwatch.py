"""How long something takes, on a machine that may be busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

NAP = 0.005  # seconds


class Stopwatch:
    """The `seconds` that a block takes; and its `own`, without those by which the machine is late meanwhile.

    A thread that only sleeps notes how late it is woken: while others have the processor, or the whole machine stands
    still. Whatever is measured is as late. `longest` is the latest that it was.
    """

    def __enter__(self) -> Stopwatch:
        self._late, self.longest, self._over = 0.0, 0.0, threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._start = time.monotonic()
        self._watcher.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds = time.monotonic() - self._start
        self._over.set()
        self._watcher.join()
        self.own = self.seconds - self._late

    def _watch(self) -> None:
        before, over = time.monotonic(), False
        while not over:
            over = self._over.wait(NAP)
            now = time.monotonic()
            late = max(0, now - before - NAP)
            self._late, self.longest = self._late + late, max(self.longest, late)
            before = now


@contextmanager
def takes(most: float, least: float = 0) -> Iterator[None]:
    """Fail when the block takes longer than `most` seconds of its own, or less than `least`."""
    with Stopwatch() as watch:
        yield
    assert watch.seconds >= least
    assert watch.own < most, f"{watch.seconds:.2f} s, {watch.own:.2f} s of its own"
