"""Workers under the faults of the matrix: each job that was enqueued is done, and its effect in Redis is there once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.apps import SECRET_KEY
from support.demo import make_app
from support.faults import house as faults
from support.project import ROOT
from support.roles.jobs import enqueue
from support.roles.mail import MAIL

pytestmark = pytest.mark.thorough

JOBS = [f"{number:032x}" for number in range(20)]
PATIENCE = 120  # seconds until all is done: what a worker left behind is noticed after ten, if that one was alone


class Fault(NamedTuple):
    name: str
    set_up: faults.Step
    inject: faults.Step
    repair: faults.Step = faults.nothing


FAULTS = [
    Fault(
        "Redis killed, restarted with its data",
        faults.durable,
        lambda house: house.redis.stop(),
        lambda house: house.redis.start(),
    ),
    Fault("Redis frozen", faults.direct, lambda house: house.redis.freeze(), lambda house: house.redis.thaw()),
    Fault(
        "out of memory, noeviction",
        faults.direct,
        lambda house: house.admin.config_set("maxmemory", 1),
        lambda house: house.admin.config_set("maxmemory", 0),
    ),
    Fault("all connections cut", faults.direct, lambda house: house.admin.client_kill_filter(_type="normal")),
]


class Worker(threading.Thread):
    """`flask jobs work`, which something starts again whenever it ends, until it is asked to stop."""

    def __init__(self, **settings: str) -> None:
        super().__init__()
        self.environment = {**os.environ, "SECRET_KEY": SECRET_KEY, "PYTHONPATH": str(ROOT), **settings}
        self.over, self.starts = False, 0
        self.start_one()

    def start_one(self) -> None:
        command = [sys.executable, "-m", "flask", "jobs", "work"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stderr=subprocess.DEVNULL)
        self.starts += 1

    def run(self) -> None:
        while self.process.wait() != 0 and not self.over:
            self.start_one()

    def stop(self) -> None:
        self.over = True
        self.process.terminate()
        self.join()


@contextmanager
def working(**settings: str) -> Iterator[Worker]:
    worker = Worker(**settings)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


@pytest.fixture
def matrix(make_server: Any, tmp_path: Path) -> Iterator[faults.House]:
    with ExitStack() as stack:
        yield faults.House(make_server, tmp_path, stack)


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in FAULTS])
def test_each_job_is_done_whatever_happens_to_redis(matrix: faults.House, tmp_path: Path, fault: Fault) -> None:
    """None is lost and none has failed, however often it was tried; nothing is left to do."""
    url, mails = fault.set_up(matrix), tmp_path / "mails"
    redis = matrix.redis.connect(timeout=PATIENCE, socket_timeout=PATIENCE)  # of the test: the machine may be busy
    matrix.admins, app = [redis], make_app(redis)
    for job_id in JOBS:
        enqueue(app, "mail", job_id, id=job_id, owner="ada", **MAIL)
    with working(REDIS_URL=url, FLASK_MAIL_SERVER=f"file:{mails}"):
        wait_until(lambda: mails.exists() and len(mails.read_text()) > 0)
        fault.inject(matrix)
        time.sleep(1)
        fault.repair(matrix)
        wait_until(lambda: is_done(redis))
    assert redis.zcard("rq:failed:jobs") == 0
    assert {*re.findall(r"^Message-ID: <(\w+)@", mails.read_text(), re.M)} == {*JOBS}
    assert sorted(redis.keys("MAIL:SESSION:*")) == [f"MAIL:SESSION:{job_id}".encode() for job_id in JOBS]
    assert not redis.exists("rq:queue:jobs", "rq:queue:jobs:intermediate", "rq:wip:jobs", "rq:scheduled:jobs")


def is_done(redis: Any) -> bool:
    """Whether all are; what is to be tried again later is due as soon as nobody has the lease of its mail."""
    for job_id in redis.zrange("rq:scheduled:jobs", 0, -1):
        if not redis.exists(f"MAIL:SESSION:{job_id.decode()}:lease"):
            redis.zadd("rq:scheduled:jobs", {job_id: 1}, xx=True)
    return bool(redis.zcard("rq:finished:jobs") + redis.zcard("rq:failed:jobs") == len(JOBS))


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
