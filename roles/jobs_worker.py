"""Workers: each runs the jobs of the queue (jobs.py), one at a time, at least once. They are RQ's.

The path of one job::

    BLMOVE rq:queue:jobs rq:queue:jobs:intermediate    it is on its way to a worker
    ZADD rq:wip:jobs, LREM …:intermediate              it runs, in a process of its own, and may live for 10 s
    ZADD rq:wip:jobs, every 2 s                        and for 10 s more
    ZREM rq:wip:jobs, XADD rq:results:<id>             it is done, or has failed

A worker that dies leaves a job behind. The others notice within seconds, and it is tried again, as one that failed: so
it may run twice, even twice at once, and never more often than it may be tried. Let `RedisStore.add` note what a job
does, as roles/mail.py has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import click
import rq
from flask import current_app
from flask.cli import with_appcontext
from redis import RedisError
from rq.exceptions import NoSuchJobError
from rq.intermediate_queue import IntermediateQueue
from rq.registry import clean_registries
from rq.utils import now
from rq.worker_registration import clean_worker_registry

from roles import tell

BEAT = 2  # seconds between two heartbeats of a job, and between two rounds of maintenance
BEAT_KEY = "rq:beat:jobs"
BEAT_MAX_AGE = 90  # seconds for which a beat counts: more than a job may run, for meanwhile there is none
ALIVE = 10  # seconds without a heartbeat, on the way to a worker, or in maintenance; then its worker counts as dead


def is_safe(field: bytes) -> bool:
    """Return whether a field of a job names neither a function to import nor an address to send something to."""
    return not field.endswith(b"_callback_name") and field != b"webhooks"


def is_late(since: datetime | None, now: datetime) -> bool:
    """Return whether a job takes too long to get to its worker. RQ would wait for a minute."""
    return since is not None and now - since > timedelta(seconds=ALIVE)


# RQ's classes, with what is ours -------------------------------------------------------------------------------------


class Job(rq.job.Job):
    """A job that runs nothing but a function that the app knows by its name, whatever Redis says."""

    @property
    def func(self) -> Callable[..., object]:
        functions = current_app.extensions["jobs"].functions
        if self.func_name not in functions:
            raise ValueError("the app knows no job of this name")
        return cast(Callable[..., object], functions[self.func_name])

    def __init__(self, id: str | None = None, **options: Any) -> None:
        with malformed_is_missing():
            super().__init__(id, **options)

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        with malformed_is_missing():
            super().restore({field: value for field, value in raw_data.items() if is_safe(field)})


@contextmanager
def malformed_is_missing() -> Iterator[None]:
    """Let what does not read as a job count as missing, or one would stop every worker."""
    try:
        yield
    except Exception as error:
        raise NoSuchJobError("malformed") from error


class Intermediate(IntermediateQueue):
    """The jobs that are on their way to a worker."""

    def should_be_cleaned_up(self, job_id: str) -> bool:
        return is_late(self.get_first_seen(job_id), datetime.now(UTC))

    def remove(self, job_id: str) -> None:
        super().remove(job_id)
        self.connection.delete(self.get_first_seen_key(job_id))  # it may come this way again


class Queue(rq.Queue):
    job_class = Job

    @property
    def intermediate_queue(self) -> Intermediate:
        return Intermediate(self.key, connection=self.connection)

    def acquire_maintenance_lock(self) -> bool:
        # RQ's ends after fifteen minutes, if the worker that has it dies.
        return bool(self.connection.set(self.registry_cleaning_key, 1, nx=True, ex=ALIVE))


class Worker(rq.Worker):
    """RQ's, quick to notice what another one left behind."""

    max_connection_wait_time = 5.0
    log_result_lifespan = False
    is_stopping = False

    def get_heartbeat_ttl(self, job: rq.job.Job, working_time: float = 0.0) -> int:
        return ALIVE

    def subscribe(self) -> None:
        """Take no orders by pub/sub, by which whoever can publish could stop a worker."""

    def request_stop(self, signum: Any, frame: Any) -> None:
        self.is_stopping = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def handle_job_success(self, job: rq.job.Job, *others: Any, **more: Any) -> None:
        super().handle_job_success(job, *others, **more)
        job.failed_job_registry.remove(job)  # where it still was, if it was enqueued once more after it had failed
        tell("job-done")

    def handle_job_failure(self, job: rq.job.Job, *others: Any, **more: Any) -> None:
        tries_left = job.should_retry
        super().handle_job_failure(job, *others, **more)
        if not tries_left:
            tell("job-failed")

    def run_maintenance_tasks(self) -> None:
        """Try again what was left behind, and enqueue what is due: RQ's scheduler, a process, could outlive us."""
        jobs = current_app.extensions["jobs"]
        self.connection.set(BEAT_KEY, 1, ex=BEAT_MAX_AGE)
        for queue in cast(list[Queue], self.queues):
            if queue.acquire_maintenance_lock():
                clean_registries(queue, exception_handlers=[tell_if_given_up])
                clean_worker_registry(queue)
                queue.intermediate_queue.cleanup(self, queue)
                if (scheduled := queue.scheduled_job_registry).get_jobs_to_schedule():
                    jobs.move(queue, scheduled, scheduled.get_jobs_to_schedule)
                queue.release_maintenance_lock()  # type: ignore[no-untyped-call]
        self.last_cleaned_at = now()  # type: ignore[assignment]


def make_worker(kind: type[Worker] = Worker) -> Worker:
    """Return a worker for the app's queue, which ends by itself if there is nothing to do."""
    queue = current_app.extensions["jobs"].open(Queue)
    return kind(
        queue,
        connection=queue.connection,
        job_class=queue.job_class,
        serializer=queue.serializer,
        worker_ttl=15 + BEAT,  # so that it waits for a job, and does nothing else, for BEAT
        maintenance_interval=BEAT,
        job_monitoring_interval=BEAT,
        log_job_description=False,
    )


def tell_if_given_up(job: rq.job.Job, *_: object) -> None:
    """Tell that a job whose worker was killed has failed, if it will not be tried again."""
    if not job.should_retry:
        tell("job-failed")


# The command line -------------------------------------------------------------------------------------------------


@click.command()
@click.option("--burst", is_flag=True, help="End when nothing waits.")
@with_appcontext
def work(burst: bool) -> None:
    """Run jobs, one at a time, until SIGTERM or Ctrl-C. Then the job that is running ends first.

    It ends with 1 when Redis fails it. So let something start it again; several may run, on several machines.
    """
    if (jobs := current_app.extensions.get("jobs")) is None:
        raise click.ClickException("nobody else can reach this app's Redis, or RQ cannot use it: set JOBS_REDIS_URL")
    jobs.check_eviction()
    try:
        worker = make_worker()
        worker.work(burst=burst)
    except (RedisError, OSError) as error:
        raise click.ClickException(f"Redis cannot be reached, or refuses this: {type(error).__name__}") from None
    if not (burst or worker.is_stopping):
        raise click.ClickException("the worker ended: the log says why")
