"""The Redis user of a worker that the documentation tells to make: what it may do is enough, and the least."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatch
from typing import Any

import pytest
from click.exceptions import ClickException
from flask import Flask
from redis import RedisError
from redis.exceptions import NoPermissionError
from support.demo import make_app
from support.project import PERMISSIONS, WORKER_PERMISSIONS
from support.roles.jobs import JOB, InProcess, die, enqueue, learn, let_time_pass, make_due, status, work
from support.roles.mail import MAIL
from support.servers import RedisServer

from roles.jobs_worker import Worker, make_worker


def fail() -> None:
    raise LookupError


def use(server: RedisServer, client: Any, log: pytest.LogCaptureFixture) -> None:
    """Whatever becomes of a job: the worker has this client."""
    app, worker, redis = make_app(server.connect()), make_app(client), server.connect()
    learn(worker, "die", lambda: os._exit(1))
    learn(worker, "fail", fail)
    enqueue(app, "mail", id=JOB, owner="ada", **MAIL)
    work(worker)
    assert (status(redis), redis.exists(f"MAIL:SESSION:{JOB}")) == ("finished", 1)
    for number, name in enumerate(("die", "fail")):
        enqueue(app, name, job_id=str(number) * 32)
    run(worker, Worker)  # with processes of their own
    for number in range(2):
        assert status(redis, str(number) * 32) == "scheduled"
    for _ in range(3):
        make_due(redis, "1" * 32)
        run(worker)
    assert status(redis, "1" * 32) == "failed"
    for running in (True, False):
        enqueue(app, "fail", job_id="a" * 32)
        die(worker, running=running)
        work(worker)
        let_time_pass(redis)
        work(worker)
        assert status(redis, "a" * 32) == "scheduled"
    for command in ("list", "stats", "retry"):
        assert worker.test_cli_runner().invoke(args=["jobs", command]).exit_code == 0
    with worker.app_context():
        make_worker(InProcess).work(max_idle_time=1)  # which waits for a job
    assert "NoPermissionError" not in log.text  # RQ goes on after some of them


def run(app: Flask, kind: type[Worker] = InProcess) -> None:
    with app.app_context():
        make_worker(kind).work(burst=True)


@pytest.mark.thorough
def test_it_is_enough_for_a_worker(jobs_app: Flask, server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """For all that a job comes to, and for an operator."""
    use(server, server.log_in(*WORKER_PERMISSIONS), caplog)


@pytest.mark.thorough
@pytest.mark.parametrize("permission", WORKER_PERMISSIONS)
def test_a_worker_needs_all_of_it(
    jobs_app: Flask, server: RedisServer, permission: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without any one of its permissions, Redis refuses something that is used."""
    admin = server.connect()
    rules = [other for other in WORKER_PERMISSIONS if other != permission]
    admin.acl_log_reset()
    with suppress(AssertionError, RedisError, ClickException, Warning):
        use(server, server.log_in(*rules), caplog)
    refused = {str(entry["object"]) for entry in admin.acl_log()}
    assert any(fnmatch(name, permission[1:]) for name in refused)


@pytest.mark.parametrize("command", ["GET SESSION:1", "DEL SESSION:1", "KEYS *", "PUBLISH a b"])
def test_a_worker_cannot_touch_a_session(server: RedisServer, command: str) -> None:
    """Nor can it look around, or tell others anything."""
    with pytest.raises(NoPermissionError):
        server.log_in(*WORKER_PERMISSIONS).execute_command(*command.split())


def test_the_app_cannot_read_a_job(server: RedisServer) -> None:
    """It puts jobs into the queue, and that is all."""
    client = server.log_in(*PERMISSIONS)
    look: list[Callable[[], Any]] = [
        lambda: client.hgetall(f"rq:job:{JOB}"),
        lambda: client.lrange("rq:queue:jobs", 0, -1),
        lambda: client.xrange(f"rq:results:{JOB}"),
    ]
    for each in look:
        with pytest.raises(NoPermissionError):
            each()
