"""Jobs: what a request need not wait for is done by a worker, at least once. RQ keeps the queue.

The path of one job::

    a view          jobs.enqueue("mail", …)  ->  HSET rq:job:<id>, RPUSH rq:queue:jobs
                    (in ten seconds: )           HSET rq:job:<id>, ZADD rq:scheduled:jobs
    a worker        takes it, runs it        ->  EXPIRE rq:job:<id>
                    failed, no try is left   ->  ZADD rq:failed:jobs
    an operator     flask jobs retry         ->  RPUSH rq:queue:jobs

Keys, and how long each lives at most::

    rq:job:<id>                604800 s   a job: so long after it failed, else 3600 s after its end
    rq:results:<id>            604800 s   what became of it, and why: as long
    rq:worker:<name>               77 s   a worker
    rq:execution:<id>:<n>          10 s   a job that runs
    rq:beat:jobs                   90 s   a worker was there

What waits has no end, nor have RQ's lists. So this Redis must not evict (``maxmemory-policy noeviction``).

jobs_worker.py is what runs jobs, jobs_list.py what lists them. Another role finds the `Jobs` in
``app.extensions["jobs"]``, adds a function to its `functions`, and enqueues that by name. They are not there where no
worker could be: on a Redis inside the app's process, and on a Cluster, which RQ cannot use. There such a role does at
once what it has to do.

Settings::

    JOBS_REDIS_URL    none    the Redis of the jobs; none: that of the sessions
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeVar, cast

import click
import rq
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext
from redis import ConnectionPool, Redis, RedisCluster, RedisError
from rq.connections import parse_connection
from rq.registry import BaseRegistry
from rq.serializers import JSONSerializer

from redis_store import WEEK, RedisSessionInterface, RedisStore, StoreUnavailable, connect
from roles import escape, tell
from roles.jobs_list import find_facts
from roles.jobs_worker import BEAT_KEY, BEAT_MAX_AGE, work

QUEUE, QUEUE_KEY, SCHEDULED_KEY = "jobs", "rq:queue:jobs", "rq:scheduled:jobs"
INTERVALS = [10, 60, 300]  # seconds until each next try; then the job has failed
TIMEOUT = 60  # seconds that a job may run
KEPT = 3600  # seconds that a finished job can be looked at; a failed one a week
STATES = ("queued", "scheduled", "started", "failed", "finished")
LINE = "{:32}  {:9}  {:19}  {:>10}  {}  {}"  # others write the last two

Q = TypeVar("Q", bound=rq.Queue)
Finder = Callable[[], list[str]]


def init_app(app: Flask) -> None:
    """Let roles enqueue, and add ``flask jobs``. ValueError: a setting is wrong."""
    group = AppGroup("jobs", help="Run jobs, list and count them, and try failed ones again.")
    for command in (work, list_jobs, retry, stats):
        group.add_command(command)
    app.cli.add_command(group)
    store = cast(RedisSessionInterface, app.session_interface).store
    if (url := app.config.setdefault("JOBS_REDIS_URL", None)) is not None:
        try:
            store = RedisStore(connect(url))
        except (TypeError, ValueError) as error:
            raise ValueError(f"JOBS_REDIS_URL (not shown: it may hold a password) is wrong: {error}") from None
    if isinstance(store.client, RedisCluster):
        if url is not None:
            raise ValueError("JOBS_REDIS_URL is a Cluster, which RQ cannot use; expected one server, or Sentinels")
        app.logger.warning("no jobs: RQ cannot use a Cluster; set JOBS_REDIS_URL to another Redis")
    elif url is not None or "embedded" not in app.extensions:
        app.extensions["jobs"] = jobs = Jobs(store)
        app.extensions.setdefault("role_problems", []).append(jobs.find_problems)


class Jobs:
    """The queue of an app."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.functions: dict[str, Callable[..., object]] = {}  # all that a worker runs, by the name that Redis has
        self.is_checked = False

    def enqueue(self, name: str, arguments: Mapping[str, Any], job_id: str, delay: int = 0) -> None:
        """Enqueue a job that begins in `delay` seconds; `arguments` are JSON. StoreUnavailable: maybe it is enqueued.

        To do it again, with the same id, is safe. RQ's commands go out by our sender, in one transaction and one round
        trip: together with the visitor's session they wait no longer than a request may.
        """
        queue = rq.Queue(QUEUE, connection=self.store.client, serializer=JSONSerializer)
        queue.redis_server_version = (6, 2, 0)  # or newer, as the store needs: RQ does not ask
        job = queue.create_job(
            name,
            kwargs=dict(arguments),
            job_id=job_id,
            description=name,  # RQ would put the arguments there
            timeout=TIMEOUT,
            result_ttl=KEPT,
            failure_ttl=WEEK,
            retry=rq.Retry(len(INTERVALS), INTERVALS),
        )
        with self.store.client.pipeline() as pipeline:
            if delay:
                queue.schedule_job(job, datetime.now(UTC) + timedelta(seconds=delay), pipeline=pipeline)
            else:
                queue.enqueue_job(job, pipeline=pipeline)
            # Names as bytes: redis-py interprets no answer to them, for what it gets is "QUEUED".
            commands = [(str(name).encode(), *rest) for (name, *rest), _ in pipeline.command_stack]
        commands = [(b"DEL", job.key), *commands]  # one of this id that has ended has a TTL, which HSET would leave
        budget = cast(RedisSessionInterface, current_app.session_interface).namespace("JOBS").sender.budget
        commands += [(b"GET", BEAT_KEY)]
        *_, answers = self.store.within(budget).sender.run_all([(b"MULTI",), *commands, (b"EXEC",)])
        if any(isinstance(answer, Exception) for answer in answers):
            raise StoreUnavailable("a job was not enqueued: a key of RQ's holds something else")
        if answers[-1] is None:
            current_app.logger.warning("a job waits: no worker was there for %d s", BEAT_MAX_AGE)
            tell("job-waits")
        self.check_eviction()

    def find_problems(self) -> list[tuple[str, str]]:
        """Return what is wrong: the name of its alert, and a sentence. Tell it too, each time. StoreUnavailable."""
        sender = self.store.within(1).sender
        queued, scheduled = sender.run("LLEN", QUEUE_KEY), sender.run("ZCARD", SCHEDULED_KEY)
        number = (queued or 0) + (scheduled or 0)  # only a worker enqueues what is due
        if not number or sender.run("GET", BEAT_KEY):
            return []
        tell("job-waits")
        return [("JobsWait", f"Jobs wait: {number}, and no worker is there.")]

    def check_eviction(self) -> None:
        """Log, once, that Redis may lose jobs. Where nobody may ask it, nobody knows."""
        if not self.is_checked:
            self.is_checked = True
            with suppress(StoreUnavailable):
                policy = self.store.sender.run("INFO", "memory").get("maxmemory_policy", "noeviction")
                if policy != "noeviction":
                    current_app.logger.warning("a full Redis loses jobs: its maxmemory-policy is %s", policy)

    def open(self, kind: type[Q]) -> Q:
        """Return the queue, for a worker or an operator: by a client that waits as long as RQ wants to."""
        _, connection_class, options = parse_connection(self.store.client)
        pool = ConnectionPool(connection_class=connection_class, **options | {"decode_responses": False})
        return kind(QUEUE, connection=Redis(connection_pool=pool), serializer=JSONSerializer)

    def move(self, queue: rq.Queue, registry: BaseRegistry, find: Finder, retries: int | None = None) -> int:
        """Enqueue what `find` finds in a registry; return how many. Of two who do so at once, one does."""

        def move(pipeline: Any) -> int:
            ids = find()
            jobs = [job for job_id in ids if (job := queue.fetch_job(job_id)) is not None]
            pipeline.multi()
            for job in jobs:
                job.retries_left = job.retries_left if retries is None else retries
                queue.enqueue_job(job, pipeline=pipeline, at_front=retries is None)  # what is due has waited already
                pipeline.persist(job.key)
            for job_id in ids:
                registry.remove(job_id, pipeline=pipeline)
            return len(jobs)

        transaction: Any = queue.connection.transaction
        return cast(int, transaction(move, registry.key, value_from_callable=True))


# Policy: pure functions ---------------------------------------------------------------------------------------------


def shorten(text: object) -> str:
    """Return one short line without what a terminal would obey: others wrote it."""
    return escape(str(text)[:100])


# The command line --------------------------------------------------------------------------------------------------


@contextmanager
def opened() -> Iterator[tuple[Jobs, rq.Queue]]:
    """Yield the jobs and their queue; what goes wrong ends the command with 1."""
    if (jobs := current_app.extensions.get("jobs")) is None:
        raise click.ClickException("nobody else can reach this app's Redis, or RQ cannot use it: set JOBS_REDIS_URL")
    try:
        yield jobs, jobs.open(rq.Queue)
    except (RedisError, OSError) as error:
        raise click.ClickException(f"Redis cannot be reached, or refuses this: {shorten(error)}") from None


json_option = click.option("--json", "as_json", is_flag=True, help="JSON for scripts, one object on each line.")


@click.command("list")
@click.argument("state", type=click.Choice(STATES), required=False)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="So many of each state.")
@json_option
@with_appcontext
def list_jobs(state: str | None, limit: int, as_json: bool) -> None:
    """List jobs: all, or those of one STATE.

    The time (UTC) is since when they are in it; of a scheduled one, when it is due.
    """
    with opened() as (_, queue):
        if not as_json:
            click.echo(LINE.format("ID", "STATE", "TIME (UTC)", "TRIES LEFT", "NAME", "ERROR"))
        for facts in chain.from_iterable(find_facts(queue, each, limit) for each in ([state] if state else STATES)):
            click.echo(json.dumps(facts) if as_json else LINE.format(*map(shorten, facts.values())))


@click.command()
@click.argument("ids", metavar="[JOB]...", nargs=-1)
@with_appcontext
def retry(ids: tuple[str, ...]) -> None:
    """Enqueue each JOB that has failed again, with all its tries; without any, all that have failed."""
    ids = tuple(dict.fromkeys(ids))
    with opened() as (jobs, queue):
        failed = queue.failed_job_registry

        def find() -> list[str]:
            return [job_id for job_id in failed.get_job_ids(cleanup=False) if not ids or job_id in ids]

        number = jobs.move(queue, failed, find, retries=len(INTERVALS))
    click.echo(f"Enqueued again: {number} of {len(ids) or number}.")
    if number < len(ids):
        raise click.ClickException("the others have not failed")


@click.command()
@json_option
@with_appcontext
def stats(as_json: bool) -> None:
    """Count the jobs of each state, and the workers."""
    with opened() as (_, queue):
        counts = {"queued": queue.count}
        counts |= {each: getattr(queue, f"{each}_job_registry").get_job_count(cleanup=False) for each in STATES[1:]}
        counts["workers"] = rq.Worker.count(queue=queue)
    click.echo(json.dumps(counts) if as_json else "\n".join(f"{name:10}{n:>8}" for name, n in counts.items()))
