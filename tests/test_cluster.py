"""A Redis Cluster: no command of the store has keys of two slots."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from conftest import SECRET_KEY, content, route, sid_of
from flask import Flask, session

from redis_store import RedisSessionInterface, RedisStore


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of one server, which refuses what several would: a command, script or transaction across slots."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs a redis-server on the PATH")
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, bus = one.getsockname()[1], other.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        options = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--save", "", "--dir", folder]
        options += ["--bind", "127.0.0.1", "--logfile", "log"]
        process = subprocess.Popen(["redis-server", "--port", str(port), *options])
        try:
            yield from _ready(port)
        finally:
            process.kill()
            process.wait()


def _ready(port: int) -> Iterator[Any]:
    """A client, once the server has all the slots; within ten seconds, or the test fails."""
    deadline = time.monotonic() + 10
    with redis.Redis(port=port, protocol=2) as admin:
        while time.monotonic() < deadline:
            try:
                info = admin.execute_command("CLUSTER INFO")
                if info["cluster_state"] == "ok":
                    break
                if info["cluster_slots_assigned"] == "0":
                    admin.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            except redis.ConnectionError:
                pass  # not up yet
            time.sleep(0.005)
        else:
            raise RuntimeError("the cluster did not start")
    with redis.RedisCluster(host="127.0.0.1", port=port, protocol=2) as client:
        yield client


def test_a_session_moves_between_slots(cluster: Any) -> None:
    """Write, login, regenerate, logout: each leaves what it leaves elsewhere."""
    app = Flask("app")
    app.secret_key = SECRET_KEY
    app.session_interface = RedisSessionInterface(cluster)
    route(app, "/start", lambda: session.update(cart=1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    route(app, "/logout", lambda: session.clear())
    browser = app.test_client()
    sids = set()
    for path in ("/start", "/login", "/regenerate"):
        assert browser.get(path).status_code == 200
        sids.add(sid_of(cluster))
    assert len(sids) == 3
    assert content(cluster) == {"cart": 1, "user_id": "ada"}
    browser.get("/logout")
    assert cluster.keys("SESSION:*") == []


def test_a_move_leaves_nothing_of_what_was_destroyed_meanwhile(cluster: Any) -> None:
    """The new record is taken back."""
    cluster.flushall()
    store = RedisStore(cluster)
    sid = store.set({"n": 1})

    def change(session: dict[str, Any]) -> dict[str, Any]:
        store.destroy(sid)
        return session

    assert store.update(sid, change, to="new") is None
    assert cluster.keys() == []
