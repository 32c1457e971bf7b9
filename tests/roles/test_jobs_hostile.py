"""Whatever somebody writes into the Redis of the jobs: no worker runs it, and none stops for it."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from support.roles.jobs import INTERMEDIATE, JOB, QUEUE, die, enqueue, learn, let_time_pass, make_due, status, work
from support.servers import RedisServer

GOOD = "f" * 32


@pytest.fixture
def redis(server: RedisServer) -> Any:
    return server.connect()


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file that is there when somebody else's code ran."""
    return tmp_path / "trace"


class Trap:
    """Its pickle runs a command when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch {self.trace}",)


def plant(redis: Any, job_id: str = JOB, **fields: Any) -> None:
    """Put a job into the queue, without the app."""
    data = zlib.compress(json.dumps(["note", None, [], {}]).encode())
    fields = {"data": data, "origin": "jobs", "status": "queued", "timeout": 60, "description": "note"} | fields
    redis.hset(f"rq:job:{job_id}", mapping={name: value for name, value in fields.items() if value is not None})
    redis.rpush(QUEUE, job_id)


def call(*data: Any) -> bytes:
    return zlib.compress(json.dumps(data).encode())


def test_a_planted_pickle_is_not_loaded(jobs_app: Flask, redis: Any, trace: Path) -> None:
    """Wherever RQ keeps what a serializer wrote: the call, the meta data, the result."""
    trap = pickle.dumps(Trap(trace))
    plant(redis, data=zlib.compress(trap), meta=trap, result=trap)
    redis.xadd(f"rq:results:{JOB}", {"type": 1, "return_value": base64.b64encode(trap), "created_at": 1})
    work(jobs_app)
    assert status(redis) == "failed"
    jobs_app.test_cli_runner().invoke(args=["jobs", "list"])
    assert not trace.exists()
    pickle.loads(trap)  # it would have worked
    assert trace.exists()


@pytest.mark.parametrize(
    "data",
    [
        ("os.system", None, ["touch {trace}"], {}),
        ("system", "os", ["touch {trace}"], {}),
        ("builtins.exec", None, ["open('{trace}', 'w')"], {}),
        ("roles.mail.send_mail", None, [], {}),
        (["note"], None, [], {}),
        (None, None, [], {}),
    ],
    ids=str,
)
def test_a_function_that_no_role_added_does_not_run(jobs_app: Flask, redis: Any, trace: Path, data: Any) -> None:
    """The name in the job is looked up; nothing is imported."""
    plant(redis, data=zlib.compress(json.dumps(data).replace("{trace}", str(trace)).encode()))
    work(jobs_app)
    assert status(redis) == "failed"
    assert not trace.exists()


def test_a_planted_callback_is_not_called(jobs_app: Flask, redis: Any, trace: Path) -> None:
    """RQ would import a function by that name when the job succeeds, fails, is abandoned or stopped."""
    module = trace.with_name("planted.py")
    module.write_text(f"def touch(*_):\n    open({str(trace)!r}, 'w')\n")
    names = dict.fromkeys([f"{kind}_callback_name" for kind in ("success", "failure", "stopped")], "planted.touch")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(trace.parent))
        plant(redis, **names)
        work(jobs_app)
        assert status(redis) == "finished"
        plant(redis, data=call("unknown", None, [], {}), **names)
        work(jobs_app)
        assert status(redis) == "failed"
        plant(redis, **names)
        die(jobs_app, running=True)
        let_time_pass(redis)
        work(jobs_app)
        assert status(redis) == "failed"
    assert not trace.exists()


def test_a_planted_webhook_is_not_sent(jobs_app: Flask, redis: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Or whoever can write to Redis could send requests from behind the firewall."""
    hook = {"url": "http://127.0.0.1:1/", "job_status": "finished"}
    plant(redis, webhooks=json.dumps([hook]))
    work(jobs_app)
    assert status(redis) == "finished"
    assert "webhook" not in caplog.text


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "bogus"},
        {"data": None},
        {"timeout": "soon"},
        {"retry_intervals": "{"},
        {"worker_name": b"\xff"},
        {"created_at": "yesterday"},
        {"dependency_ids": "["},
    ],
    ids=str,
)
def test_a_malformed_job_counts_as_missing(jobs_app: Flask, redis: Any, fields: dict[str, Any]) -> None:
    """A worker passes it by, does the next one, and tidies up."""
    plant(redis, **fields)
    enqueue(jobs_app, job_id=GOOD)
    work(jobs_app)
    work(jobs_app)
    assert jobs_app.extensions["noted"] == [{}]
    assert not redis.exists(INTERMEDIATE)


@pytest.mark.parametrize("member", [b"two words", b"", b"x" * 10_000, b"*"])
def test_what_is_no_id_stops_no_worker(jobs_app: Flask, redis: Any, member: bytes) -> None:
    """In the queue, or among the scheduled ones."""
    redis.rpush(QUEUE, member)
    enqueue(jobs_app, job_id=GOOD)
    enqueue(jobs_app, job_id=JOB, delay=60)
    make_due(redis)
    redis.zadd("rq:scheduled:jobs", {member: 1})
    work(jobs_app)
    work(jobs_app)
    assert jobs_app.extensions["noted"] == [{}, {}]


def test_nothing_that_a_job_leaves_is_a_pickle(jobs_app: Flask, redis: Any) -> None:
    """Not its result either, nor why it failed."""
    learn(jobs_app, "odd", lambda: {1, 2})
    learn(jobs_app, "fail", lambda: 1 // 0)
    for number, name in enumerate(("note", "odd", "fail")):
        enqueue(jobs_app, name, job_id=str(number) * 32)
    work(jobs_app)
    for key in redis.keys("rq:job:*"):
        for value in redis.hgetall(key).values():
            assert not value.startswith(b"\x80")
    for key in redis.keys("rq:results:*"):
        for _, fields in redis.xrange(key):
            value = base64.b64decode(fields.get(b"return_value", b""))
            assert not value or json.loads(value)
