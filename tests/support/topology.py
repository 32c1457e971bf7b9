"""Redis on several ports of this machine: with sentinels that watch over it, or as a Cluster."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from flask import Flask, session

from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable
from support.apps import SECRET_KEY, route
from support.servers import PATIENCE, RedisServer
from support.stopwatch import Stopwatch

HOST = "127.0.0.1"
SERVICE = "sessions"
CHANCE = random.SystemRandom()  # which nobody seeds: other tests may run at the same time


def free_ports(number: int) -> list[int]:
    """Ports that nobody uses, and that the system gives to nobody who asks for any: those are 32768 and more."""
    ports: list[int] = []
    while len(ports) < number:
        port = CHANCE.randrange(10_000, 32_768)
        with suppress(OSError), socket.create_server((HOST, port)):
            ports += {port} - {*ports}
    return ports


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Come back when it is so; an error after that many seconds. Redis may be away meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        time.sleep(0.01)
    raise RuntimeError("it did not happen in time")


def at_once(function: Callable[[], Any], threads: int = 20) -> float:
    """The seconds of its own that it takes until all threads have done it. StoreUnavailable is an answer, too."""

    def run() -> None:
        ready.wait()
        try:
            function()
        except StoreUnavailable:
            pass

    ready = threading.Barrier(threads + 1)
    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    with Stopwatch() as watch:
        ready.wait()
        for worker in workers:
            worker.join()
    return watch.own


class TcpServer(RedisServer):
    """A private ``redis-server`` on a port."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, url: str = f"redis://{HOST}:PORT") -> None:
        self.port = port or free_ports(1)[0]
        self.url = url.replace("PORT", str(self.port))
        kind = ["--port", "0", "--tls-port"] if url.startswith("rediss:") else ["--port"]
        self.arguments = [*options, *kind, str(self.port), "--bind", HOST, "--dir", str(folder)]
        self.arguments += ["--logfile", str(folder / f"{self.port}.log")]
        self.clients: list[redis.Redis] = []
        self.start()


class Group:
    """Servers that belong together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[TcpServer] = []

    def add(self, *options: str, port: int | None = None) -> TcpServer:
        self.servers.append(TcpServer(self.folder, *options, port=port))
        return self.servers[-1]

    def ask(self, server: TcpServer, *command: Any) -> Any:
        """The answer of one server, which may be slow, to its administrator."""
        with redis.Redis(host=HOST, port=server.port, protocol=2, socket_timeout=5) as admin:
            return admin.execute_command(*command)


class SentinelGroup(Group):
    """A master, its replica, and sentinels; these act when the master says nothing for `down_after` milliseconds."""

    def __init__(self, folder: Path, *, down_after: int, sentinels: int = 3) -> None:
        super().__init__(folder)
        self.number, self.down_after = sentinels, down_after

    def start(self) -> None:
        options = ["--save", "", "--repl-diskless-sync-delay", "0"]
        master = self.add(*options)
        replica = self.add(*options, "--replicaof", HOST, str(master.port))
        wait_until(lambda: self.ask(replica, "INFO", "replication")["master_link_status"] == "up")
        self.sentinels = []
        for port in free_ports(self.number):
            config = self.folder / f"{port}.conf"
            config.write_text(
                f"sentinel monitor {SERVICE} {HOST} {master.port} {self.number // 2 + 1}\n"
                f"sentinel down-after-milliseconds {SERVICE} {self.down_after}\n"
                f"sentinel failover-timeout {SERVICE} 2000\n"
            )
            self.sentinels.append(self.add(str(config), "--sentinel", port=port))
        self.url = f"redis+sentinel://{','.join(f'{HOST}:{one.port}' for one in self.sentinels)}/{SERVICE}"
        wait_until(self.is_well)

    def is_well(self) -> bool:
        """Whether each sentinel knows the other ones, the same master, and a replica that could take over."""
        masters = set()
        for sentinel in self.sentinels:
            master = self.ask(sentinel, "SENTINEL MASTERS")[SERVICE]
            (replica,) = self.ask(sentinel, "SENTINEL SLAVES", SERVICE)
            masters.add((master["port"], replica["port"]))
            if master["num-other-sentinels"] != len(self.sentinels) - 1 or replica["master-link-status"] != "ok":
                return False
            if any(state["is_sdown"] or state["is_odown"] for state in (master, replica)):
                return False
        return len(masters) == 1

    def get_master(self) -> TcpServer:
        """The server that the sentinels take for the master."""
        _, port = self.ask(self.sentinels[0], "SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))


class ClusterGroup(Group):
    """Masters that share the slots of a Cluster between them."""

    def __init__(self, folder: Path, *, masters: int = 3) -> None:
        super().__init__(folder)
        self.masters = masters
        self.ports = free_ports(2 * masters)
        self.url = f"redis+cluster://{','.join(f'{HOST}:{port}' for port in self.ports[::2])}"

    def start(self) -> None:
        for port, bus in zip(self.ports[::2], self.ports[1::2], strict=True):
            options = ["--cluster-enabled", "yes", "--cluster-config-file", f"{port}.nodes", "--cluster-port", str(bus)]
            self.add("--save", "", "--cluster-node-timeout", "60000", *options, port=port)
        edges = [16384 * number // self.masters for number in range(self.masters + 1)]
        for number, server in enumerate(self.servers):
            self.ask(server, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            self.ask(server, "CLUSTER ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
            self.ask(server, "CLUSTER MEET", HOST, *self.ports[:2])
        wait_until(lambda: all(self.is_ready(server) for server in self.servers))

    def is_ready(self, server: TcpServer) -> bool:
        """Whether it knows who has each slot."""
        info = self.ask(server, "CLUSTER INFO")
        return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(len(self.servers)))

    def get_owner(self, key: str) -> TcpServer:
        """The server that has a key's slot."""
        slot = self.ask(self.servers[0], "CLUSTER KEYSLOT", key)
        for first, last, (_, port, *_), *_ in self.ask(self.servers[0], "CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == port)
        raise LookupError(key)

    def get_key_of(self, server: TcpServer, prefix: str = "SESSION:") -> str:
        """The end of a key that this server has."""
        return next(str(n) for n in range(1000) if self.get_owner(f"{prefix}{n}") is server)


@contextmanager
def running(group: Any) -> Iterator[Any]:
    """The group, started; ended whatever happens."""
    try:
        group.start()
        yield group
    finally:
        for server in group.servers:
            server.disconnect()
            server.thaw()
            server.stop()


def live(client: Any) -> None:
    """A session from its beginning to its end, with a login and a new sid between."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=PATIENCE)
    app.session_interface = RedisSessionInterface(client)
    route(app, "/start", lambda: session.update(cart=1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    route(app, "/logout", lambda: session.clear())
    browser, store, sids = app.test_client(), RedisStore(client), []
    for path in ("/start", "/login", "/regenerate"):
        assert browser.get(path).status_code == 200
        cookie = browser.get_cookie("session")
        assert cookie
        sids.append(cookie.value.split(".")[0])
    first, second, third = [store.get(sid) for sid in sids]
    assert first is second is None
    assert third == {"cart": 1, "user_id": "ada"}
    assert browser.get("/logout").status_code == 200
    assert store.get(sids[-1]) is None
