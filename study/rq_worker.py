"""RQ's worker as roles/jobs_worker.py has it, without a process of its own: for a story."""

from __future__ import annotations

from typing import Any

from rq import SimpleWorker
from rq.timeouts import BaseDeathPenalty

from roles import jobs_worker
from study.recording import attach


class NoLimit(BaseDeathPenalty):
    """Lets a job run as long as it likes: the usual limit needs the main thread."""

    def setup_death_penalty(self) -> None:
        """Begin nothing."""

    def cancel_death_penalty(self) -> None:
        """End nothing."""


class Here(jobs_worker.Worker):
    """Does its jobs in this thread."""

    death_penalty_class = NoLimit

    def execute_job(self, job: Any, queue: Any) -> None:
        """Do a job, and do not fork."""
        SimpleWorker.execute_job(self, job, queue)  # type: ignore[arg-type]


class RqProgram:
    """What a worker of a story runs. Needs an app context."""

    def __init__(self) -> None:
        self.connections: list[Any] = []

    def _make(self) -> Here:
        worker = jobs_worker.make_worker(Here)
        self.connections.append(attach(worker.connection))
        # Where RQ keeps what it asks Redis, and fakeredis does not tell.
        setattr(worker.connection, "__rq_redis_server_version", (6, 2, 0))
        return worker  # type: ignore[return-value]

    def take(self) -> None:
        """Take a job, and note that it is at work. A killed worker leaves it so."""
        worker = self._make()
        if found := worker.dequeue_job_and_maintain_ttl(None):
            worker.prepare_execution(found[0])
            worker.prepare_job_execution(found[0], remove_from_intermediate_queue=True)

    def work(self) -> None:
        """Look after what others left behind, and do what there is to do."""
        worker = self._make()
        worker.run_maintenance_tasks()
        while found := worker.dequeue_job_and_maintain_ttl(None):
            worker.execute_job(*found)

    def close(self) -> None:
        """Close its connections."""
        for connection in self.connections:
            connection.connection_pool.disconnect()
