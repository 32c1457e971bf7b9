"""Workers of a story: programs that do what a request need not wait for, and may be killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from study.recording import Sent, recording
from study.tab import World

#: RQ sends many commands about its workers and jobs. These tell where a job is.
TOLD = {"LMOVE", "LPUSH", "LREM", "RPOP", "RPUSH", "ZADD", "ZREM", "ZREMRANGEBYSCORE"}
QUEUES = ("jobs", "rq:queue:", "rq:scheduled:", "rq:wip:")  # keys that begin so


class Program(Protocol):
    """What a worker runs."""

    def take(self) -> None:
        """Take a job, as if to do it. What a worker leaves behind that is killed then."""

    def work(self) -> None:
        """Do all jobs that there are."""


class Worker:
    """A worker with a name, which is its lane."""

    def __init__(self, world: World, name: str, program: Program) -> None:
        self.world, self.name, self.program = world, name, program

    def take_and_die(self, says: str) -> None:
        """Take a job, and be killed before it is done."""
        self._run(says, self.program.take)
        self.world.timeline.add(self.name, "wait", "is killed", why="Nothing of it is left but what Redis knows.")

    def work(self, says: str) -> None:
        """Do what there is to do."""
        self._run(says, self.program.work)

    def _run(self, says: str, run: Callable[[], None]) -> None:
        def after(commands: Sequence[Sent]) -> None:
            told = [sent for sent in commands if sent.words[0] in TOLD and sent.words[1].startswith(QUEUES)]
            self.world.timeline.add_commands(self.name, told, self.world.redis.show)

        self.world.timeline.add(self.name, "request", says)
        with self.world.app.app_context(), recording(after=after):
            run()
