"""What can be broken, and how it is repaired: each fault is played in a house of its own."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from redis_store import RedisStore
from support.faults import PATIENCE
from support.faults.app import App
from support.faults.network import Proxy
from support.servers import RedisServer, find_redis_server
from support.topology import free_ports

Step = Callable[["House"], Any]
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")  # what was acknowledged survives kill -9


class House:
    """What one fault is played in: an app, its Redis, and what may be between them."""

    redis: RedisServer
    replica: RedisServer
    proxy: Proxy
    app: App

    def __init__(self, make_server: Callable[..., RedisServer], folder: Path, stack: ExitStack) -> None:
        self.make_server, self.folder, self.stack = make_server, folder, stack
        self.nodes: list[RedisServer] = []
        self.admins: list[Redis] = []  #: of the servers that hold the sessions; connected before the fault

    def start_redis(self, *options: str) -> RedisServer:
        server = self.make_server(*options)
        self.nodes.append(server)
        self.admins.append(server.connect())
        self.admins[-1].ping()
        return server

    def start_proxy(self) -> str:
        self.proxy = Proxy(str(self.redis.socket))
        self.stack.callback(self.proxy.stop)
        return self.proxy.url

    def start_app(self, url: str, workers: int = 1, store: type[RedisStore] = RedisStore) -> None:
        self.app = App(url, self.folder / "log", workers=workers, store=store)
        self.stack.callback(self.app.stop)
        wait_until(self.app.worker)

    @property
    def admin(self) -> Redis:
        return self.admins[0]

    def records(self) -> dict[str, int]:
        """The TTL of each session's sid, on whatever server it is."""
        ttls: dict[str, int] = {}
        for admin in self.admins:
            keys: Any = admin.keys("SESSION:*")
            with admin.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.ttl(key)
                ttls.update(zip([key.decode().removeprefix("SESSION:") for key in keys], pipe.execute(), strict=True))
        return ttls

    def jobs(self) -> set[str]:
        """The ids of the jobs that are in the queue, and not half there."""
        found: set[str] = set()
        for admin in self.admins:
            keys: Any = admin.keys("rq:*")
            if b"rq:queue:jobs" in keys:
                queue: Any = admin.lrange("rq:queue:jobs", 0, -1)
                found |= {job_id.decode() for job_id in queue if b"rq:job:" + job_id in keys}
        return found


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (RedisError, OSError, http.client.HTTPException):
            pass
        time.sleep(0.01)
    raise RuntimeError("the test's own servers are not ready")


# Set up: what is there before the fault; returns the URL that the app gets.


def direct(house: House, *options: str) -> str:
    house.redis = house.start_redis(*options)
    return house.redis.url


def durable(house: House) -> str:
    return direct(house, *DURABLE)


def absent(house: House) -> str:
    url = direct(house)
    house.redis.stop()
    return url


def proxied(house: House) -> str:
    direct(house)
    return house.start_proxy()


def small_pool(house: House) -> str:
    return f"{proxied(house)}?max_connections=8"


def with_password(house: House) -> str:
    url = direct(house)
    house.admin.config_set("requirepass", "old")
    return url.replace("unix://", "unix://:old@")


def pair(house: House) -> None:
    """A master and a replica."""
    master, replica = map(str, free_ports(2))
    direct(house, "--port", master, "--repl-diskless-sync-delay", "0")
    house.replica = house.make_server("--port", replica, "--replicaof", "127.0.0.1", master)
    observer = house.replica.connect()
    wait_until(lambda: observer.info("replication")["master_link_status"] == "up")


def replicated(house: House) -> str:
    """The app knows one address, which is that of whichever is to be used."""
    pair(house)
    return house.start_proxy()


def sentinels(house: House) -> str:
    """A master, a replica and three Sentinels."""
    pair(house)
    port = house.admin.config_get("port")["port"]
    addresses = []
    for number in map(str, free_ports(3)):
        config = house.folder / f"sentinel-{number}.conf"
        lines = [
            f"port {number}",
            "bind 127.0.0.1",
            f"dir {house.folder}",
            f"sentinel monitor faults 127.0.0.1 {port} 2",
        ]
        lines += ["sentinel down-after-milliseconds faults 500", "sentinel failover-timeout faults 2000"]
        config.write_text("\n".join(lines))
        log = str(house.folder / f"sentinel-{number}.log")
        process = subprocess.Popen([find_redis_server(), str(config), "--sentinel", "--logfile", log])
        house.stack.callback(process.wait, PATIENCE)
        house.stack.callback(process.kill)
        addresses.append(f"127.0.0.1:{number}")
        with Redis(port=int(number), protocol=2) as sentinel:
            wait_until(lambda: sentinel.sentinel_master("faults")["num-slaves"] == 1)
    for address in addresses:
        with Redis(port=int(address.partition(":")[2]), protocol=2) as sentinel:
            wait_until(lambda: sentinel.sentinel_master("faults")["num-other-sentinels"] == 2)
    return f"redis+sentinel://{','.join(addresses)}/faults/0"


def cluster(house: House) -> str:
    """Three masters, without replicas; each can be reached while another one is not."""
    ports = [*map(str, free_ports(6))]
    for port, bus in zip(ports[:3], ports[3:], strict=True):
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "500", "--cluster-require-full-coverage", "no"]
        house.start_redis("--port", port, "--cluster-port", bus, "--bind", "127.0.0.1", *options, *DURABLE)
    for number, admin in enumerate(house.admins):
        admin.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        admin.execute_command("CLUSTER ADDSLOTSRANGE", 16384 * number // 3, 16384 * (number + 1) // 3 - 1)
        admin.execute_command("CLUSTER MEET", "127.0.0.1", ports[0], ports[3])
    wait_until(lambda: is_whole(house))
    return f"redis+cluster://{','.join(f'127.0.0.1:{port}' for port in ports[:3])}"


def is_whole(house: House) -> bool:
    infos = [admin.execute_command("CLUSTER INFO") for admin in house.admins]
    return all(info["cluster_state"] == "ok" and info["cluster_slots_ok"] == "16384" for info in infos)


# Inject and repair, where one line is not enough.


def nothing(house: House) -> None: ...


def synchronise(house: House) -> None:
    """Hold all writes until the replica has whatever was acknowledged.

    Replication is asynchronous: without this, the last logouts before the master dies might be lost with it, and the
    sessions be there again. docs/operations.md says so, under "Failover"; here nothing may be.
    """
    house.admin.execute_command("CLIENT PAUSE", 1000 * PATIENCE, "WRITE")
    offset = house.admin.info("replication")["master_repl_offset"]
    replica = house.replica.connect()
    wait_until(lambda: replica.info("replication")["slave_repl_offset"] >= offset)


def use_replica(house: House) -> None:
    house.proxy.target = str(house.replica.socket)
    house.proxy.cut()
    house.admins = [house.replica.connect()]


def use_read_only_replica(house: House) -> None:
    synchronise(house)
    use_replica(house)


def kill_master(house: House) -> None:
    synchronise(house)
    house.redis.stop()


def promote(house: House) -> None:
    house.replica.connect().replicaof("NO", "ONE")


def promote_and_use(house: House) -> None:
    promote(house)
    use_replica(house)


def wait_for_promotion(house: House) -> None:
    house.admins = [house.replica.connect()]
    wait_until(lambda: house.admin.info("replication")["role"] == "master")


def kill_node(house: House) -> None:
    house.redis = house.nodes[1]
    house.redis.stop()


def restart_node(house: House) -> None:
    house.redis.start()
    wait_until(lambda: is_whole(house))


def flush(house: House) -> None:
    house.admin.flushall()


def fork_worker(house: House) -> None:
    house.app.process.send_signal(signal.SIGHUP)


def fill_up(house: House) -> None:
    """Something else that lives in the same Redis pushes the sessions out."""
    used = house.admin.info("memory")["used_memory"]
    house.admin.config_set("maxmemory-policy", "allkeys-random")
    house.admin.config_set("maxmemory", used + 2_000_000)
    for number in range(1000):
        house.admin.set(f"CACHE:{number}", "x" * 20_000, ex=60)


def refuse_connections(house: House) -> None:
    house.admin.config_set("maxclients", 1)
    house.admin.client_kill_filter(_type="normal", skipme=True)


def change_password(house: House) -> None:
    house.admin.config_set("requirepass", "new")
    house.admin.client_kill_filter(_type="normal", skipme=True)  # who is there already may stay


def kill_worker(house: House) -> None:
    """Each of its requests is waiting for Redis just then."""
    house.proxy.delay = 0.1
    time.sleep(0.1)
    os.kill(house.app.worker(), signal.SIGKILL)
    house.proxy.delay = 0
