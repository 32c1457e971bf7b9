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
    still. Whatever is measured is as late.
    """

    def __enter__(self) -> Stopwatch:
        self._delays: list[tuple[float, float]] = []  # when the thread was woken, and how late
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._start = time.monotonic()
        self._watcher.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds = time.monotonic() - self._start
        self._over.set()
        self._watcher.join()
        self.own = self.seconds - self.late_between(self._start, self._start + self.seconds)

    def late_between(self, start: float, end: float) -> float:
        """The seconds by which the machine was late between two times of `time.monotonic`."""
        return sum(late for woken, late in self._delays if start < woken and woken - late < end)

    @property
    def longest(self) -> float:
        """The latest that it was at once."""
        return max((late for _, late in self._delays), default=0.0)

    def _watch(self) -> None:
        before, over = time.monotonic(), False
        while not over:
            over = self._over.wait(NAP)
            now = time.monotonic()
            if now > before + NAP:
                self._delays.append((now, now - before - NAP))
            before = now


@contextmanager
def takes(most: float, least: float = 0) -> Iterator[None]:
    """Fail when the block takes longer than `most` seconds of its own, or less than `least`."""
    with Stopwatch() as watch:
        yield
    assert watch.seconds >= least
    assert watch.own < most, f"{watch.seconds:.2f} s, {watch.own:.2f} s of its own"
