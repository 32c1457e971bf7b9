"""One suite, two backends: fakeredis, and a real ``redis-server`` that the tests start themselves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fakeredis
import faults
import pytest
import redis
import tiers
from flask import Flask
from itsdangerous import TimestampSigner

from _redis_store.connection import SOCKET_TIMEOUT
from _redis_store.cookie import make
from _redis_store.record import load_record
from _redis_store.sender import Command, Sender
from _redis_store.settings import read
from redis_store import RedisSessionInterface, RedisStore, connect

SECRET_KEY = "only-for-tests-" + "0123456789abcdef" * 2

PATIENCE = 30  # seconds to wait for Redis where a test is not about time, for the machine may be busy
LEFT_OUT = pytest.StashKey[int]()  # how many tests only the thorough tier has

#: What the README lets the app's own Redis user do, as ACL rules: patterns of keys (~) and commands (+).
ACL = re.findall(r"^ACL SETUSER .*", (Path(__file__).parent.parent / "README.md").read_text(), re.M)
PERMISSIONS = re.findall(r"[~+]\S+", ACL[0])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure")
    parser.addoption("--thorough", action="store_true", help="every round, order and fault: see tests/tiers.py")
    parser.addoption("--machine-examples", type=int, help="how many runs tests/test_machine.py tries, at random")
    parser.addoption("--write-readme", action="store_true", help="the figures of the fault matrix go into the README")


def pytest_configure(config: pytest.Config) -> None:
    tiers.choose(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = tiers.left_out(items)
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=[*left_out])
    config.stash[LEFT_OUT] = len(left_out)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in faults.table() if faults.FIGURES else []:
        terminalreporter.write_line(line)
    skipped = Counter(str(report.longrepr[-1]) for report in terminalreporter.stats.get("skipped", []))
    for reason, number in skipped.items():
        terminalreporter.write_line(f"{number} tests were skipped: {reason.removeprefix('Skipped: ')}")
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"{left_out} tests were left out, and rounds of others: --thorough has them all")


def find_redis_server() -> str:
    """Return the path of ``redis-server``, for any test that starts one. Where there is none, that test is skipped."""
    return shutil.which("redis-server") or pytest.skip("needs a redis-server on the PATH")


class RedisServer:
    """A private ``redis-server`` on a unix socket in a folder of its own; nobody else's Redis is ever touched."""

    patience: float = SOCKET_TIMEOUT  # seconds, of its clients

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.arguments = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", *options]
        self.arguments += ["--dir", str(folder), "--logfile", str(folder / "redis.log")]
        self.clients: list[redis.Redis] = []
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([find_redis_server(), *self.arguments])
        deadline = time.monotonic() + 10
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
        timeouts = dict.fromkeys(["timeout", "socket_timeout", "socket_connect_timeout"], self.patience)
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
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


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
        server.patience = PATIENCE
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
    """The same Redis as `client`; on a server, the code under test may do there only what the README grants it."""
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


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings do not reach the tests."""
    for name in [*os.environ]:
        if name.startswith("FLASK_") or name in ("REDIS_URL", "SECRET_KEY"):
            monkeypatch.delenv(name)


class Clock:
    """The clock of the sessions, which a test moves instead of sleeping."""

    def __init__(self) -> None:
        self.offset = 0

    def __call__(self) -> float:
        return time.time() + self.offset


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda signer: int(clock()))  # of other cookies
    return clock


@contextmanager
def crash_after(commands: int) -> Iterator[None]:
    """The process dies when so many commands have reached Redis. Of a pipeline that may be a part."""
    wait, pipeline, left = Sender._wait, Sender._pipeline, commands

    def dying(sender: Sender, name: str, *args: Any) -> Any:
        nonlocal left
        if name != "a pipeline":
            if left < 1:
                raise KeyboardInterrupt
            left -= 1
        return wait(sender, name, *args)

    def dying_on_the_way(sender: Sender, wanted: Sequence[Command]) -> list[Any]:
        nonlocal left
        sent = wanted[:left]
        left -= len(sent)
        answers = pipeline(sender, sent) if sent else []
        if len(sent) < len(wanted):
            raise KeyboardInterrupt
        return answers

    with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Sender, "_wait", dying)
        patch.setattr(Sender, "_pipeline", dying_on_the_way)
        yield


def set_cookie(response: Any) -> str | None:
    """The session cookie that a response sets or deletes, as the browser sees it; None: it is left alone."""
    headers = [header for header in response.headers.getlist("Set-Cookie") if header.startswith("session=")]
    assert len(headers) < 2
    return headers[0] if headers else None


def sid_of(client: Any) -> str:
    """The sid of the one session that there is."""
    (key,) = client.keys("SESSION:*")
    return str(key.decode().removeprefix("SESSION:"))


def content(client: Any) -> dict[str, Any]:
    """What the app keeps in the one session that there is."""
    session = load_record(client.get(f"SESSION:{sid_of(client)}"))
    assert session
    return session


def interface_of(app: Flask) -> RedisSessionInterface:
    assert isinstance(app.session_interface, RedisSessionInterface)
    return app.session_interface


def sign(app: Flask, sid: str, *, permanent: bool = True) -> str:
    """A good cookie for any sid."""
    settings = read(app, interface_of(app).clock)
    assert settings
    return make(settings, sid, permanent)


def recipe(line: str) -> str:
    """The Python block of the README that has this line in it."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (Path(__file__).parent.parent / "README.md").read_text(), re.M | re.S
    )
    (block,) = [block for block in blocks if line in block]
    return str(block)


def route(app: Flask, path: str, view: Callable[[], Any]) -> None:
    """A view in one line: what it returns, or "ok"."""
    app.add_url_rule(path, path, lambda: view() or "ok")
