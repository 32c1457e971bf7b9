"""Every order in which the Redis commands of two requests can come."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Turns:
    """A client that lets each of two threads send to Redis only when it has its turn: a command, or a pipeline."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._conditions = threading.Condition()
        self._waiting: set[str] = set()
        self._turn: str | None = None
        self._free = True

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.client, name)
        if name not in ("execute_command", "execute_all", "pipeline"):
            return attribute

        def send(*args: Any, **options: Any) -> Any:
            self._wait()
            return attribute(*args, **options)

        return send

    def _wait(self) -> None:
        name = threading.current_thread().name
        with self._conditions:
            if self._free or name not in "ab":
                return
            self._waiting.add(name)
            self._conditions.notify_all()
            assert self._conditions.wait_for(lambda: self._free or self._turn == name, 60)
            self._turn = None
            self._waiting.discard(name)
            self._conditions.notify_all()

    def run(self, order: str, **work: Callable[[], object]) -> None:
        """Run the functions `a` and `b` at the same time; `order` says who sends the next command, as in "abba"."""
        self._free = False
        threads = {name: threading.Thread(target=function, name=name) for name, function in work.items()}
        for thread in threads.values():
            thread.start()

        def settled(name: str) -> bool:  # at its next command, or done
            return name in self._waiting or not threads[name].is_alive()

        for name in order:
            with self._conditions:
                while not settled(name):
                    self._conditions.wait(0.001)
                if name in self._waiting:
                    self._turn = name
                    self._conditions.notify_all()
                    assert self._conditions.wait_for(lambda name=name: self._turn is None, 60)  # type: ignore[misc]
                    while not settled(name):
                        self._conditions.wait(0.001)
        with self._conditions:
            self._free = True
            self._conditions.notify_all()
        for thread in threads.values():
            thread.join(60)
            assert not thread.is_alive()


def orders(a: int, b: int, step: int = 1) -> Iterator[str]:
    """All the orders of `a` commands of one thread and `b` of the other; or the first of each `step`."""
    for places in itertools.islice(itertools.combinations(range(a + b), a), 0, None, step):
        yield "".join("a" if place in places else "b" for place in range(a + b))
