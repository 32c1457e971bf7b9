"""The queue of jobs: what a view puts there, what a worker takes, and when it tries again."""

from __future__ import annotations

import json
import signal
import zlib
from typing import Any

import pytest
from flask import Flask
from rq.worker_registration import get_keys
from support.docstrings import keys_of
from support.roles.jobs import (
    INTERMEDIATE,
    JOB,
    QUEUE,
    RUNNING,
    InProcess,
    die,
    enqueue,
    learn,
    let_time_pass,
    make_due,
    status,
    work,
)
from support.servers import RedisServer

from roles.jobs import INTERVALS, KEPT, TIMEOUT
from roles.jobs_worker import ALIVE, Queue, make_worker

WEEK = keys_of("jobs")["rq:job:*"]


@pytest.fixture
def redis(server: RedisServer) -> Any:
    return server.connect()


def fail(**arguments: Any) -> None:
    raise LookupError("the printer is on fire")


def test_a_worker_does_what_a_view_enqueues(jobs_app: Flask, redis: Any) -> None:
    """Once, with its arguments; then the job can be looked at for an hour."""
    enqueue(jobs_app, text="hé", number=1)
    assert redis.lrange(QUEUE, 0, -1) == [JOB.encode()]
    assert json.loads(zlib.decompress(redis.hget(f"rq:job:{JOB}", "data"))) == [
        "note",
        None,
        [],
        {"text": "hé", "number": 1},
    ]
    work(jobs_app)
    work(jobs_app)
    assert jobs_app.extensions["noted"] == [{"text": "hé", "number": 1}]
    assert status(redis) == "finished"
    for key in (f"rq:job:{JOB}", f"rq:results:{JOB}"):
        assert KEPT - 60 < redis.ttl(key) <= KEPT
    assert not redis.exists(QUEUE, INTERMEDIATE, RUNNING)


def test_to_enqueue_takes_one_round_trip_and_one_transaction(jobs_app: Flask, server: RedisServer) -> None:
    """What RQ would send in three, and with a question to Redis about its version."""
    observer = server.connect()
    jobs_app.extensions["jobs"].is_checked = True
    enqueue(jobs_app)  # there is a connection then
    with observer.monitor() as monitor:
        enqueue(jobs_app)
        observer.ping()
        commands = []
        while (command := monitor.next_command()["command"]) != "PING":
            commands.append(command.split()[0])
    commands = [name for name in commands if name != "CLIENT"]  # that a connection begins with
    assert commands == ["MULTI", "DEL", "SADD", "HSET", "HSET", "RPUSH", "GET", "EXEC"]


def test_to_enqueue_again_is_the_same_job(jobs_app: Flask, redis: Any) -> None:
    """A form that was sent twice, or a view that could not know: what the job notes by its id is there once."""
    enqueue(jobs_app, n=1)
    enqueue(jobs_app, n=1)
    assert len(redis.keys("rq:job:*")) == 1


@pytest.mark.parametrize("delay", [0, 3600])
@pytest.mark.parametrize("name", ["note", "fail"])
def test_what_is_enqueued_again_waits_without_an_end(jobs_app: Flask, redis: Any, name: str, delay: int) -> None:
    """Also when it was done, or had failed: then it had a TTL, and would be gone before it is due."""
    learn(jobs_app, "fail", fail)
    enqueue(jobs_app, name)
    for _ in range(len(INTERVALS) if name == "fail" else 0):
        work(jobs_app)
        make_due(redis)
    work(jobs_app)
    assert redis.ttl(f"rq:job:{JOB}") > 0
    enqueue(jobs_app, delay=delay)
    assert redis.ttl(f"rq:job:{JOB}") == -1
    if delay:
        make_due(redis)
    noted = len(jobs_app.extensions["noted"])
    work(jobs_app)
    assert len(jobs_app.extensions["noted"]) == noted + 1
    assert redis.zcard("rq:failed:jobs") == 0, "what was done has not failed"


# Tries ------------------------------------------------------------------------------------------------------------


def test_what_fails_is_tried_again_later_and_later(jobs_app: Flask, redis: Any) -> None:
    """After 10, 60 and 300 seconds; then it is in the failed list for a week, with the reason."""
    learn(jobs_app, "fail", fail)
    enqueue(jobs_app, "fail")
    for interval in INTERVALS:
        before = redis.time()[0]
        work(jobs_app)
        assert status(redis) == "scheduled"
        assert interval - 1 <= redis.zscore("rq:scheduled:jobs", JOB) - before <= interval + 5
        assert redis.ttl(f"rq:job:{JOB}") == -1
        make_due(redis)
    work(jobs_app)
    assert status(redis) == "failed"
    assert redis.zrange("rq:failed:jobs", 0, -1) == [JOB.encode()]
    for key in (f"rq:job:{JOB}", f"rq:results:{JOB}"):
        assert WEEK - 60 < redis.ttl(key) <= WEEK


def test_a_job_that_does_not_end_fails_like_any_other(jobs_app: Flask, redis: Any) -> None:
    """When its time is over; the worker goes on with the next one, and it is tried again."""
    left: list[int] = []

    def hang() -> None:
        left.append(signal.alarm(0))
        if left[-1]:
            signal.raise_signal(signal.SIGALRM)  # its time is over

    learn(jobs_app, "hang", hang)
    enqueue(jobs_app, "hang")
    enqueue(jobs_app, job_id="a" * 32)
    work(jobs_app)
    assert TIMEOUT - 5 < left[0] <= TIMEOUT
    assert status(redis) == "scheduled"
    assert jobs_app.extensions["noted"] == [{}]
    for _ in INTERVALS:
        make_due(redis)
        work(jobs_app)
    (row,) = map(
        json.loads, jobs_app.test_cli_runner().invoke(args=["jobs", "list", "failed", "--json"]).output.splitlines()
    )
    assert "JobTimeoutException" in row["error"]


def test_a_scheduled_job_waits_until_it_is_due(jobs_app: Flask, redis: Any) -> None:
    """And is done once then."""
    enqueue(jobs_app, delay=3600)
    assert 3590 < redis.zscore("rq:scheduled:jobs", JOB) - redis.time()[0] <= 3600
    work(jobs_app)
    assert jobs_app.extensions["noted"] == []
    make_due(redis)
    work(jobs_app)
    work(jobs_app)
    assert jobs_app.extensions["noted"] == [{}]


def test_what_is_due_goes_first(jobs_app: Flask, redis: Any) -> None:
    """However long the queue is: it has waited already."""
    for number in range(3):
        enqueue(jobs_app, job_id=str(number) * 32, n=number)
    enqueue(jobs_app, delay=3600, n="due")
    make_due(redis)
    work(jobs_app)
    assert [noted["n"] for noted in jobs_app.extensions["noted"]] == ["due", 0, 1, 2]


def test_of_two_who_move_a_due_job_one_does(jobs_app: Flask, redis: Any) -> None:
    """The other one finds that it is gone."""
    enqueue(jobs_app, delay=3600)
    make_due(redis)
    jobs = jobs_app.extensions["jobs"]
    queues = [jobs.open(Queue) for _ in range(2)]
    due = [queue.scheduled_job_registry for queue in queues]
    counts: list[int] = []

    def find() -> list[str]:
        found: list[str] = due[0].get_jobs_to_schedule()
        if not counts:  # another worker comes in between
            counts.append(jobs.move(queues[1], due[1], due[1].get_jobs_to_schedule))
        return found

    counts.append(jobs.move(queues[0], due[0], find))
    assert counts == [1, 0]
    assert redis.lrange(QUEUE, 0, -1) == [JOB.encode()]


# Workers that die -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("running", [False, True], ids=["on the way", "running"])
def test_what_a_dead_worker_left_behind_is_tried_again(jobs_app: Flask, redis: Any, running: bool) -> None:
    """Not before that worker counts as dead: it may be slow."""
    enqueue(jobs_app)
    die(jobs_app, running=running)
    work(jobs_app)
    assert (jobs_app.extensions["noted"], redis.llen(QUEUE)) == ([], 0)
    let_time_pass(redis)
    work(jobs_app)
    assert status(redis) == "scheduled"
    make_due(redis)
    work(jobs_app)
    assert jobs_app.extensions["noted"] == [{}]
    assert not redis.exists(INTERMEDIATE, RUNNING)
    assert not redis.keys(f"{INTERMEDIATE}:*")


def test_a_job_that_kills_its_workers_fails_in_the_end(jobs_app: Flask, redis: Any) -> None:
    """As often as a job that only fails."""
    enqueue(jobs_app)
    for number in range(len(INTERVALS) + 1):
        if number:
            make_due(redis)
            with jobs_app.app_context():
                make_worker(InProcess).run_maintenance_tasks()
        die(jobs_app, running=True)
        let_time_pass(redis)
        with jobs_app.app_context():
            make_worker(InProcess).run_maintenance_tasks()
    assert status(redis) == "failed"


def test_the_heartbeat_of_a_job_is_short(jobs_app: Flask, redis: Any) -> None:
    """So that the death of its worker is noticed in seconds; while it lives, it is renewed."""
    enqueue(jobs_app)
    with jobs_app.app_context():
        worker = make_worker(InProcess)
        taken = worker.dequeue_job_and_maintain_ttl(None)
        assert taken
        execution = worker.prepare_execution(taken[0])
        ((_, first),) = redis.zrange(RUNNING, 0, -1, withscores=True)
        assert ALIVE - 2 <= first - redis.time()[0] <= ALIVE
        let_time_pass(redis)
        worker.maintain_heartbeats(taken[0], execution)
    ((_, second),) = redis.zrange(RUNNING, 0, -1, withscores=True)
    assert second >= first


def test_a_worker_that_dies_in_maintenance_does_not_end_it(jobs_app: Flask, redis: Any) -> None:
    """Its lock ends by itself, within seconds."""
    with jobs_app.app_context():
        queue = jobs_app.extensions["jobs"].open(Queue)
        assert queue.acquire_maintenance_lock()
        assert not queue.acquire_maintenance_lock()
    assert 0 < redis.ttl("rq:clean_registries:jobs") <= ALIVE


def test_a_dead_worker_is_forgotten(jobs_app: Flask, redis: Any) -> None:
    """It has a TTL, and is no longer counted afterwards."""
    with jobs_app.app_context():
        worker = make_worker(InProcess)
        worker.register_birth()  # type: ignore[no-untyped-call]
        assert 0 < redis.ttl(worker.key) <= keys_of("jobs")["rq:worker:*"]
        redis.delete(worker.key)
        make_worker(InProcess).run_maintenance_tasks()
        assert get_keys(worker.queues[0]) == set()


def test_a_worker_takes_no_orders(jobs_app: Flask, redis: Any) -> None:
    """It subscribes to no channel: RQ's would let anybody who can publish stop it."""
    seen: list[Any] = []
    learn(jobs_app, "look", lambda: seen.append(redis.pubsub_channels()))
    enqueue(jobs_app, "look")
    work(jobs_app)
    assert seen == [[]]
