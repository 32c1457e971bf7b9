"""A ``redis-server`` that the tests start themselves."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from _redis_store.connection import SOCKET_TIMEOUT
from redis_store import connect

PATIENCE = 30  # seconds to wait for Redis where a test is not about time, for the machine may be busy
TIMEOUTS = ("socket_timeout", "socket_connect_timeout")


def find_redis_server() -> str:
    """Return the path of ``redis-server``, for any test that starts one. Where there is none, that test is skipped."""
    return shutil.which("redis-server") or pytest.skip("needs a redis-server on the PATH")


def wait_at_most(client: Any, seconds: float, *, later: float | None = None) -> None:
    """Let a client wait so long for an answer, on the connections that it has, and on those that it makes `later`."""
    pool = client.connection_pool
    pool.timeout = seconds
    pool.connection_kwargs |= dict.fromkeys(TIMEOUTS, later or seconds)
    for connection in pool._connections:
        if (sock := connection._sock) is not None:
            sock.settimeout(seconds)


class RedisServer:
    """A private ``redis-server`` on a unix socket in a folder of its own; nobody else's Redis is ever touched.

    Its clients are patient, but while it is frozen: then they wait as long as those of `connect`.
    """

    frozen = False

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.arguments = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", *options]
        self.arguments += ["--dir", str(folder), "--logfile", str(folder / "redis.log")]
        self.clients: list[redis.Redis] = []
        self.start()

    @property
    def patient_url(self) -> str:
        """For programs that wait as long as a busy machine may take."""
        return f"{self.url}?socket_timeout={PATIENCE}"

    def start(self) -> None:
        self.process = subprocess.Popen([find_redis_server(), *self.arguments])
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.connect().ping()
                return
            except redis.RedisError:
                time.sleep(0.005)  # it is ready within a few of these
        self.stop()
        raise RuntimeError("redis-server did not start")

    def connect(self, **options: Any) -> redis.Redis:
        """A client whose connections are closed when the test is over."""
        timeouts = dict.fromkeys(["timeout", *TIMEOUTS], SOCKET_TIMEOUT if self.frozen else PATIENCE)
        self.clients.append(connect(self.url, **timeouts | options))
        return self.clients[-1]

    def log_in(self, *rules: str, **options: Any) -> redis.Redis:
        """A client that may do what these rules of Redis's ACL say, and nothing else."""
        self.connect().execute_command("ACL SETUSER", "app", "reset", "on", ">password", *rules)
        return self.connect(username="app", password="password", **options)

    def disconnect(self) -> None:
        while self.clients:
            self.clients.pop().connection_pool.disconnect()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        for client in self._clients_that_wait(PATIENCE):
            wait_at_most(client, SOCKET_TIMEOUT)
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.frozen = False
        for client in self._clients_that_wait(SOCKET_TIMEOUT):
            wait_at_most(client, PATIENCE)

    def _clients_that_wait(self, seconds: float) -> list[redis.Redis]:
        return [each for each in self.clients if each.connection_pool.connection_kwargs["socket_timeout"] == seconds]
