"""The app, which runs in processes of its own, so that the load does not slow it down. This file is its program::

python -m support.faults.app <listening socket> <Redis URL> <number of workers> <class of the store>
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from flask import Flask, request, session
from redis import RedisCluster
from werkzeug.serving import WSGIRequestHandler, make_server

from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable, connect
from roles.cache import cached
from roles.jobs import Jobs
from support.faults import PATIENCE, stores
from support.project import ROOT

LIFETIME = 600  # seconds
CACHED = 1  # seconds for which an answer is kept, and for which a request may make the next


def make_app(store: RedisStore) -> Flask:
    """Each view says whose session it found; the client's `mark` names the user, and the session, that it begins."""
    app = Flask("faults")
    app.config.update(SECRET_KEY="only-for-the-faults-" * 2, PERMANENT_SESSION_LIFETIME=LIFETIME)
    app.config["SESSION_REFRESH_AFTER"] = 1  # many are due
    app.session_interface = RedisSessionInterface(store)

    def answer(*found: Any) -> dict[str, Any]:
        return {"found": found, "worker": os.getpid()}

    def found() -> dict[str, Any]:
        return answer(session.get("user_id"), session.get("token"), session.get("n", 0))

    @app.get("/public")
    def public() -> dict[str, Any]:
        return answer()

    @app.get("/cached")
    @cached("cached", max_age=CACHED, lease=CACHED)
    def kept() -> dict[str, Any]:
        return answer(time.time())

    add_jobs(app, store, answer)

    @app.get("/read")
    def read() -> dict[str, Any]:
        return found()

    @app.post("/write")
    def write() -> dict[str, Any]:
        before = found()
        session.setdefault("token", request.args["mark"])
        session["n"] = session.get("n", 0) + 1
        return before

    @app.post("/login")
    def login() -> dict[str, Any]:
        before, mark = found(), request.args["mark"]
        session.update(user_id=f"user {mark}", token=mark, n=0)
        return before

    @app.post("/logout")
    def logout() -> dict[str, Any]:
        before = found()
        session.clear()
        return before

    return app


def add_jobs(app: Flask, store: RedisStore, answer: Callable[..., Any]) -> None:
    """A view that says which job it has enqueued; on a Cluster, which RQ cannot use, none."""
    jobs = None if isinstance(store.client, RedisCluster) else Jobs(store)

    @app.post("/enqueue")
    def enqueue() -> Any:
        if jobs is None:
            return answer(None)
        job_id = request.args["mark"].replace(".", "-")
        jobs.enqueue("nothing", {}, job_id)
        return answer(job_id)

    @app.errorhandler(StoreUnavailable)
    def refuse(error: StoreUnavailable) -> tuple[str, int, dict[str, str]]:
        return str(error), 503, {"Retry-After": "5"}


class _Handler(WSGIRequestHandler):
    disable_nagle_algorithm = True  # or each answer on a connection that is kept waits for 40 ms

    def log_request(self, *args: Any) -> None: ...


def serve(listener: int, url: str, workers: int, store: RedisStore) -> None:
    """Workers that share a socket and a client that was used before they began. SIGHUP: one more of them."""
    app = make_app(store)

    def fork(*_: object) -> None:
        with suppress(Exception):  # Redis may be away
            store.client.ping()
        if os.fork() == 0:
            try:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
                make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler, fd=listener).serve_forever()
            finally:
                os._exit(1)

    signal.signal(signal.SIGHUP, fork)
    for _ in range(workers):
        fork()
    while os.wait():  # one was killed
        fork()


class App:
    """The running app."""

    def __init__(self, url: str, log: Path, *, workers: int = 1, store: type[RedisStore] = RedisStore) -> None:
        self.log = log
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, log.open("w") as file:
            self.port: int = listener.getsockname()[1]
            descriptor = listener.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "support.faults.app", str(descriptor), url, str(workers), store.__name__],
                pass_fds=[descriptor],
                stderr=file,
                env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
                start_new_session=True,  # a group of its own, which ends as one
            )

    def worker(self) -> int:
        """The process id of one of the workers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", "/public")
        process = json.loads(connection.getresponse().read())["worker"]
        connection.close()
        return int(process)

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


if __name__ == "__main__":
    descriptor, url, workers, kind = sys.argv[1:]
    store = getattr(stores, kind, RedisStore)
    serve(int(descriptor), url, int(workers), store(connect(url)))
