"""One suite, two backends: fakeredis, and a real ``redis-server`` that the tests start themselves."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.apps import SECRET_KEY
from support.clock import Clock, StillClock
from support.project import PERMISSIONS
from support.servers import PATIENCE, RedisServer

from redis_store import RedisSessionInterface, RedisStore

ROLES = sorted(path.stem for path in Path(__file__).parent.glob("support/roles/[a-z]*.py"))
pytest_plugins = [
    "support.plugin",
    "support.chromium",
    *(f"support.roles.{role}" for role in ROLES),
]  # with fixtures of its own, each


@pytest.fixture
def make_server() -> Iterator[Any]:
    """Starts servers that a test may stop, freeze and start again."""
    servers: list[RedisServer] = []
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:

        def make(*options: str) -> RedisServer:
            own = Path(folder, str(len(servers)))
            own.mkdir()
            servers.append(RedisServer(own, *options))
            return servers[-1]

        yield make
        for server in servers:
            server.disconnect()
            server.thaw()
            server.stop()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def server(shared_server: RedisServer) -> Iterator[RedisServer]:
    """The tests' own redis-server, empty. Nothing stops or freezes it, so that its clients may be patient."""
    shared_server.connect().flushall()
    yield shared_server
    shared_server.disconnect()


@pytest.fixture(params=["fakeredis", "redis-server"])
def client(request: pytest.FixtureRequest) -> Any:
    """An empty Redis: each test that asks for one runs on fakeredis and on a real server."""
    if request.param == "fakeredis":
        return fakeredis.FakeRedis()
    return request.getfixturevalue("server").connect()


@pytest.fixture
def least(request: pytest.FixtureRequest, client: Any) -> Any:
    """The same Redis as `client`; on a server, the code under test may do only what the docs grant it."""
    if isinstance(client, fakeredis.FakeRedis):
        return client
    return request.getfixturevalue("server").log_in(*PERMISSIONS)


@pytest.fixture
def store(least: Any) -> RedisStore:
    return RedisStore(least)


@pytest.fixture
def app(least: Any, clock: Clock) -> Flask:
    """A Flask app with the two lines, whose clock a test may move, and no view yet."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True, SESSION_MAX_WAIT=PATIENCE)
    app.session_interface = RedisSessionInterface(least, clock=clock)
    return app


@pytest.fixture
def web(app: Flask) -> FlaskClient:
    """A browser without a cookie."""
    return app.test_client()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings do not reach the tests."""
    for name in [*os.environ]:
        if name.startswith("FLASK_") or name in ("REDIS_URL", "SECRET_KEY"):
            monkeypatch.delenv(name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def little_garbage() -> Iterator[None]:
    """The garbage collector looks at what is made from now on. After thousands of tests it would take seconds."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def still_clock() -> StillClock:
    return StillClock()
