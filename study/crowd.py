"""Many who ask for the same at once, and a database that is slow as long as a story wants."""

from __future__ import annotations

import threading
from collections import Counter
from contextvars import copy_context

from study.recording import recording
from study.tab import PATIENCE, World

KNOWS = 2  # commands after which a request knows that another one is at work


class Database:
    """Works until it is told to finish, and counts how often it has to."""

    def __init__(self) -> None:
        self.asked = 0
        self.changed = threading.Condition()
        self.finished = threading.Event()

    def read(self) -> dict[str, list[str]]:
        """Return what everybody wants, after a long time."""
        with self.changed:
            self.asked += 1
            self.changed.notify_all()
        if not self.finished.wait(PATIENCE):
            raise TimeoutError("nobody let the database finish")
        return {"posts": ["Why a logout has to be final"]}

    def wait_until_busy(self) -> None:
        """Wait until somebody has asked."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.asked, PATIENCE):
                raise TimeoutError("nobody asked the database")

    def finish(self) -> None:
        """Let it have worked."""
        self.finished.set()


class Crowd:
    """Browsers without cookies, which are one lane. Of what they do only the sum is told."""

    def __init__(self, world: World, name: str, size: int, database: Database) -> None:
        self.world, self.name, self.size, self.database = world, name, size, database
        self.others = 0  # how often the database was asked before
        self.sent: Counter[int] = Counter()  # commands, by number of the browser
        self.statuses: list[int] = []
        self.threads: list[threading.Thread] = []

    def ask(self, path: str, says: str) -> None:
        """Ask for a page; return when each of them has to wait for something."""
        self.others = others = self.database.asked
        self.world.timeline.add(self.name, "request", says, [("Request", f"GET {path}, {self.size} times")])
        for number in range(self.size):
            run = copy_context().run
            self.threads.append(threading.Thread(target=run, args=(self._ask, path, number), name=f"{number}, held"))
            self.threads[-1].start()
        self.world.closing.append(self._join)
        with self.database.changed:
            if not self.database.changed.wait_for(lambda: self._count_waiting(others) >= self.size, PATIENCE):
                raise TimeoutError("not all of them came so far that they had to wait")

    def _count_waiting(self, others: int) -> int:
        """Return how many are at the database, without those who were before, or know that somebody is."""
        return self.database.asked - others + sum(number >= KNOWS for number in self.sent.values())

    def _ask(self, path: str, number: int) -> None:
        def count(commands: object) -> None:
            with self.database.changed:
                self.sent[number] += 1
                self.database.changed.notify_all()

        with recording(self.world.redis.check, count):
            answer = self.world.app.test_client(use_cookies=False).get(path)
        self.statuses.append(answer.status_code)

    def finish(self) -> None:
        """Wait until all of them have their answers."""
        self._join()
        said = ", ".join(f"{number} times {status}" for status, number in Counter(self.statuses).items())
        facts = [("Status", said), ("Database", f"worked {self.database.asked - self.others} times for them")]
        self.world.timeline.add(self.name, "answer", "get their answers", facts)

    def _join(self) -> None:
        self.database.finish()
        for thread in self.threads:
            thread.join(2 * PATIENCE)
