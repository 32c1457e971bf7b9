"""Jobs while their workers are killed: what is lost, what happens twice, and how soon a job runs again.

    python benchmarks/jobs.py [--jobs NUMBER] [--every SECONDS] [--workers NUMBER] [--write-docs]

Enqueues 1,000 mails and starts two workers, as `flask jobs work` does. Every two seconds one of them is killed with
``kill -9``, together with the process of its job, and another one starts. The mail server of this program notes what
it gets. It answers 50 ms later, so that most kills hit a worker whose mail has arrived, which it cannot know. With
--write-docs the figures go into docs/jobs.md.

Needs requirements.txt, and redis-server. Exit status: 0; 1, something was lost, or happened twice that may not; 2, that
could not be measured.
"""

import argparse
import asyncio
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "conformance")]

from aiosmtpd.controller import UnthreadedController  # noqa: E402
from flask import Flask  # noqa: E402
from marks import replace  # noqa: E402
from rq.job import Job  # noqa: E402
from servers import end_well, give_up, private_redis, program  # noqa: E402  # found by the line above

from app import create_app  # noqa: E402
from redis_store import connect  # noqa: E402
from roles.jobs import INTERVALS  # noqa: E402
from roles.jobs_worker import make_worker  # noqa: E402

PAGE = ROOT / "docs" / "jobs.md"
SEND = 0.05  # seconds that the mail server takes for a mail
PATIENCE = 300  # seconds without any progress
PATIENT = {"socket_timeout": 10, "timeout": 10}  # seconds, for a busy machine


class Kill(NamedTuple):
    """The end of a worker."""

    at: float  # Unix time
    left_behind: set[str]  # ids of jobs


class MailServer:
    """Takes mail, slowly, and notes the ids of the jobs that sent it."""

    def __init__(self) -> None:
        self.ids: Counter[str] = Counter()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        (found,) = re.findall(rb"^Message-ID: <(\w+)@", envelope.content, re.M)
        self.ids[found.decode()] += 1
        await asyncio.sleep(SEND)
        return "250 OK"

    @contextmanager
    def running(self) -> Iterator[int]:
        """Yield the port."""
        loop = asyncio.new_event_loop()
        controller = UnthreadedController(self, hostname="127.0.0.1", port=0, loop=loop)
        controller.begin()  # type: ignore[no-untyped-call]
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        yield cast(asyncio.Server, controller.server).sockets[0].getsockname()[1]
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


class Workers:
    """So many workers at any time. A process that has loaded the app begins each, so that it is at work at once."""

    def __init__(self, url: str, port: int, number: int, log: Path) -> None:
        environment = os.environ | {"JOBS_URL": url, "JOBS_SERVER": f"smtp://127.0.0.1:{port}"}
        with log.open("w") as file:
            self.nursery = subprocess.Popen(
                [sys.executable, __file__, "--nursery"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
        self.pids = [self.start() for _ in range(number)]

    def start(self) -> int:
        pipes = cast(IO[str], self.nursery.stdin), cast(IO[str], self.nursery.stdout)
        print("one more", file=pipes[0], flush=True)
        return int(pipes[1].readline())

    def kill(self) -> int:
        """Kill the one that began first, with the process of its job; return its process id. Another one begins."""
        pid = self.pids.pop(0)
        for each in [pid, *children_of(pid)]:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self.pids.append(self.start())
        return pid

    def stop(self) -> None:
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        self.nursery.communicate()  # its workers have its pipes, and so this is when they have ended, too


def nursery() -> None:
    """Begin a worker, as `flask jobs work` does, for each line that comes in."""
    app = make_app(os.environ["JOBS_URL"], MAIL_SERVER=os.environ["JOBS_SERVER"])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are killed
    for _ in sys.stdin:
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with app.app_context():
                make_worker().work(logging_level="ERROR")
            os._exit(0)
        print(pid, flush=True)


def make_app(url: str, **settings: Any) -> Flask:
    """Return the app that enqueues, and that of the workers."""
    return create_app({"SECRET_KEY": "only-for-the-jobs-" * 2, "TESTING": True, **settings}, connect(url, **PATIENT))


def children_of(pid: int) -> list[int]:
    """Return the processes that a process began."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def left_behind(client: Any, pid: int) -> set[str]:
    """Return the ids of the jobs that this worker ran, and of those that are on the way to any worker."""
    mine = set()
    for key in client.keys("rq:execution:*"):
        worker = client.hget(key, "worker_name") or b""
        if int(client.hget(f"rq:worker:{worker.decode()}", "pid") or 0) == pid:
            mine.add(key.split(b":")[2].decode())
    return mine | {job_id.decode() for job_id in client.lrange("rq:queue:jobs:intermediate", 0, -1)}


def counts(client: Any) -> tuple[int, int, int]:
    """Return how many jobs are finished, failed, and anything else."""
    waiting = client.llen("rq:queue:jobs") + client.llen("rq:queue:jobs:intermediate")
    waiting += client.zcard("rq:scheduled:jobs") + client.zcard("rq:wip:jobs")
    return client.zcard("rq:finished:jobs"), client.zcard("rq:failed:jobs"), waiting


def wait_of(job: Job, kills: list[Kill]) -> float | None:
    """Return the seconds from the kill that left this job behind until it ran for the last time. None: none did."""
    begun = job.started_at.timestamp() if job.started_at else 0
    ends = [kill.at for kill in kills if job.id in kill.left_behind and kill.at < begun]
    return begun - max(ends) if ends and job.retries_left != len(INTERVALS) else None


def run(url: str, number: int, every: float, workers: int, folder: Path) -> dict[str, Any]:
    """Enqueue, kill until all is done, and return the figures."""
    client, app, mails = connect(url, **PATIENT), make_app(url), MailServer()
    with app.app_context():
        for n in range(number):
            job_id = f"{n:032x}"
            mail = {"to": "ada@example.com", "subject": f"Number {n}", "text": "Hello"}
            app.extensions["jobs"].enqueue("mail", {"id": job_id, "owner": "ada", **mail}, job_id)
    kills: list[Kill] = []
    begun, progress = time.monotonic(), (time.monotonic(), 0)
    with mails.running() as port:
        processes = Workers(url, port, workers, folder / "workers.log")
        try:
            while sum(counts(client)[:2]) < number or counts(client)[2]:
                time.sleep(every)
                if (done := sum(counts(client)[:2])) > progress[1]:
                    progress = (time.monotonic(), done)
                if time.monotonic() - progress[0] > PATIENCE:
                    give_up(f"no progress: {counts(client)}\n{(folder / 'workers.log').read_text()[-2000:]}")
                if client.llen("rq:queue:jobs"):  # the last ones are left to end
                    at, pid = time.time(), processes.kill()
                    time.sleep(0.2)  # what was on its way to another one has arrived
                    kills.append(Kill(at, left_behind(client, pid)))
        finally:
            processes.stop()
    took = time.monotonic() - begun
    jobs = [job for job in Job.fetch_many([f"{n:032x}" for n in range(number)], client, "json") if job]
    finished, failed, _ = counts(client)
    return {
        "jobs": number,
        "workers": workers,
        "seconds": took,
        "kills": len(kills),
        "left behind": sum(len(INTERVALS) - (job.retries_left or 0) for job in jobs),  # nothing else fails here
        "lost": number - finished + sum(f"{n:032x}" not in mails.ids for n in range(number)),
        "failed": failed,
        "notes": len(client.keys("MAIL:SESSION:*")),
        "mails": sum(mails.ids.values()),
        "twice": sum(count == 2 for count in mails.ids.values()),
        "more": sum(count > 2 for count in mails.ids.values()),
        "again": [wait for job in jobs if (wait := wait_of(job, kills)) is not None],
    }


def table(found: dict[str, Any]) -> list[str]:
    """Return the figures in Markdown."""
    again = found["again"] or [0.0]
    said = subprocess.run([program("redis-server"), "--version"], capture_output=True, text=True, check=True).stdout
    versions = f"Python {platform.python_version()}, Redis {said.partition('v=')[2].partition(' ')[0]}"
    rows = {
        f"jobs, for {found['workers']} workers": found["jobs"],
        "workers that were killed": found["kills"],
        "tries that they left unfinished": found["left behind"],
        "jobs that were lost": found["lost"],
        "jobs that failed": found["failed"],
        "notes, made by `add`: one for each job": found["notes"],
        "mails that were sent twice, with one `Message-ID`": found["twice"],
        "mails that were sent more often": found["more"],
        "from a kill until its job ran again: median": f"{statistics.median(again):.0f} s",
        "the longest of these": f"{max(again):.0f} s",
        "until all was done": f"{found['seconds']:.0f} s",
    }
    lines = ["| what | figure |", "| --- | ---: |", *(f"| {name} | {figure} |" for name, figure in rows.items())]
    return [*lines, "", f"{datetime.now(UTC):%Y-%m-%d}, {versions}, {os.cpu_count()} cores."]


def main() -> int:
    """Measure, show, write; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000, metavar="NUMBER", help="how many: 1000")
    parser.add_argument("--every", type=float, default=2, metavar="SECONDS", help="from one kill to the next: 2")
    parser.add_argument("--workers", type=int, default=2, metavar="NUMBER", help="at a time: 2")
    parser.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write-docs", action="store_true", help="the figures go into docs/jobs.md")
    options = parser.parse_args()
    if options.nursery:
        nursery()
        return 0
    end_well()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobs-")))
        socket = stack.enter_context(private_redis(folder))
        found = run(f"unix://{socket}", options.jobs, options.every, options.workers, folder)
    lines = table(found)
    print("\n".join(lines))
    if options.write_docs:
        replace(PAGE, "jobs", lines)
    good = not (found["lost"] or found["failed"] or found["more"]) and found["notes"] == found["jobs"]
    return 0 if good and found["twice"] <= found["kills"] else 1


if __name__ == "__main__":
    sys.exit(main())
