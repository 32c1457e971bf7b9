"""Jobs: what a view enqueues, and a worker that does not leave this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from rq import SimpleWorker

from roles.jobs_worker import Worker, make_worker
from support.demo import make_app
from support.servers import RedisServer

JOB = "0123456789abcdef" * 2
QUEUE = "rq:queue:jobs"
INTERMEDIATE = f"{QUEUE}:intermediate"
RUNNING = "rq:wip:jobs"


class InProcess(Worker):
    """Runs each job in this process: nothing else is different."""

    execute_job = SimpleWorker.execute_job


@pytest.fixture
def jobs_app(server: RedisServer) -> Iterator[Flask]:
    """The demo app; what its jobs named "note" were told is in `noted`."""
    app = make_app(server.connect())
    app.extensions["noted"] = noted = []
    learn(app, "note", lambda **arguments: noted.append(arguments))
    with handlers_kept():
        yield app


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put back, after the block, the handlers of signals that a worker replaces."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def learn(app: Flask, name: str, function: Callable[..., object]) -> None:
    """Let the app know a job."""
    app.extensions["jobs"].functions[name] = function


def enqueue(app: Flask, name: str = "note", job_id: str = JOB, delay: Any = 0, **arguments: Any) -> str:
    with app.app_context():
        app.extensions["jobs"].enqueue(name, arguments, job_id, delay)
    return job_id


def work(app: Flask) -> None:
    """Let a worker do what waits, and end."""
    with app.app_context(), handlers_kept():
        worker = make_worker(InProcess)
        worker.work(burst=True)
        worker.connection.connection_pool.disconnect()


def die(app: Flask, *, running: bool) -> None:
    """Let a worker take a job, begin to run it or not, and be gone."""
    with app.app_context():
        worker = make_worker(InProcess)
        taken = worker.dequeue_job_and_maintain_ttl(None)
        assert taken
        if running:
            worker.prepare_execution(taken[0])
            worker.prepare_job_execution(taken[0], remove_from_intermediate_queue=True)


def notice(app: Flask) -> None:
    """Let a worker see to what others left behind, and take nothing."""
    with app.app_context():
        worker = make_worker(InProcess)
        worker.run_maintenance_tasks()
        worker.connection.connection_pool.disconnect()


def make_due(client: Any, job_id: str = JOB) -> None:
    """Let the time pass until a job is due."""
    assert client.zscore("rq:scheduled:jobs", job_id) is not None
    client.zadd("rq:scheduled:jobs", {job_id: 1})


def let_time_pass(client: Any) -> None:
    """As long as a worker needs to find out that another one is gone."""
    for member in client.zrange(RUNNING, 0, -1):
        client.zadd(RUNNING, {member: 1})
    for key in client.keys(f"{INTERMEDIATE}:first_seen:*"):
        client.set(key, float(client.get(key)) - 60)


def status(client: Any, job_id: str = JOB) -> str:
    return str((client.hget(f"rq:job:{job_id}", "status") or b"none").decode())
