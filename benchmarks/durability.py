"""How much of what Redis acknowledged is lost when it is killed, or when a replica takes over: counted.

    .venv/bin/python benchmarks/durability.py --write-docs

Four threads write sessions (through `RedisStore`) and jobs (as RQ does: MULTI, HSET, RPUSH). They note what was
acknowledged, and when. Then the server gets SIGKILL in the middle of it. What comes back, or takes over, is asked for
all of it. Servers run with deploy/redis.conf, on ports and in folders of their own. In five minutes; ``--short``: one
round of each, in one.

SIGKILL ends the process; the kernel lives on. A power failure, which takes the kernel's buffers along, is not played.
The slow disk is one whose `fsync` takes 0.7 s: strace holds the system call, and has to be installed.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import redis
from marks import replace

from redis_store import RedisStore, StoreUnavailable, connect

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/growing.md"
HOST, WRITERS = "127.0.0.1", 4
MAX_LAG = 10  # seconds, as docs/growing.md advises

Written = tuple[float, str, str]  # when it was acknowledged; what; its name


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


class Server:
    """A redis-server with deploy/redis.conf and `options`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        folder.mkdir()
        self.command = ["redis-server", str(ROOT / "deploy/redis.conf"), "--aclfile", "", "--bind", HOST]
        self.command += ["--port", str(self.port), "--dir", str(folder), "--logfile", "log", *options]
        self.start()

    def start(self, seconds: float = 60) -> None:
        self.process = subprocess.Popen(self.command)
        wait_for(lambda: self.connect().ping(), seconds)

    def connect(self, socket_timeout: float = 5) -> Any:
        return connect(f"redis://{HOST}:{self.port}?socket_timeout={socket_timeout}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until it is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(redis.RedisError):
            if condition():
                return
        time.sleep(0.005)
    raise RuntimeError("it did not happen")


class Link:
    """Between a replica and its master: a network that stops, and loses what is under way."""

    def __init__(self, port: int) -> None:
        self.server, self.port = socket.create_server((HOST, 0)), port
        self.open = threading.Event()
        self.open.set()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            end, _ = self.server.accept()
            try:
                ends = end, socket.create_connection((HOST, self.port))
            except OSError:  # the master is dead
                end.close()
                continue
            for source, target in (ends, ends[::-1]):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not self.open.is_set():
                    return
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class Writers:
    """Threads that write, and note what was acknowledged."""

    def __init__(self, server: Server, wait: bool) -> None:
        self.client, self.wait = server.connect(), wait
        self.written: list[Written] = []
        self.refused = 0
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def _write(self) -> None:
        store = RedisStore(self.client)
        while not self.over.is_set():
            try:
                for kind, write in ("session", self._write_session), ("job", self._write_job):
                    if name := write(store):
                        self.written.append((time.monotonic(), kind, name))
            except (StoreUnavailable, redis.RedisError):
                self.refused += 1
                self.over.wait(0.01)

    def _write_session(self, store: RedisStore) -> str | None:
        sid = store.set({"user_id": "ada", "cart": ["x" * 20] * 20})
        # Replication is in order: a replica that has the marker has all that was written before.
        return sid if not self.wait or self._is_replicated() else None

    def _write_job(self, store: RedisStore) -> str | None:
        name = secrets.token_hex()
        pipeline = self.client.pipeline()
        pipeline.hset(f"rq:job:{name}", "data", "x" * 400)
        pipeline.rpush("rq:queue:jobs", name)
        pipeline.execute()
        return name if not self.wait or self._is_replicated() else None

    def _is_replicated(self) -> bool:
        pipeline = self.client.pipeline(transaction=False)
        pipeline.set("marker", 1, ex=60)
        pipeline.execute_command("WAIT", 1, 100)
        return bool(pipeline.execute()[-1])

    def stop(self) -> list[Written]:
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.client.close()
        return self.written


def count_lost(server: Server, written: list[Written]) -> dict[str, Any]:
    """Return how many of what was acknowledged are missing, and in how many seconds they were written."""
    client = server.connect()
    jobs = {name.decode() for name in client.execute_command("LRANGE", "rq:queue:jobs", 0, -1)}
    pipeline = client.pipeline(transaction=False)
    for _, kind, name in written:
        pipeline.exists(f"SESSION:{name}" if kind == "session" else f"rq:job:{name}")
    answers = pipeline.execute()
    client.close()
    there = [found and (kind != "job" or name in jobs) for found, (_, kind, name) in zip(answers, written, strict=True)]
    lost = [at for (at, _, _), found in zip(written, there, strict=True) if not found]
    return {"written": len(written), "lost": len(lost), "seconds": max(lost) - min(lost) if lost else 0.0}


def restart(folder: Path, seconds: float, *options: str, slow_disk: bool = False) -> dict[str, Any]:
    """Kill a server under load, and start it again."""
    server = Server(folder, *options)
    with slowed(server) if slow_disk else nullcontext():
        writers = Writers(server, wait=False)
        time.sleep(seconds)
        server.kill()
    written = writers.stop()
    server.start()
    found = count_lost(server, written)
    server.kill()
    return {**found, "refused": 0}


@contextmanager
def slowed(server: Server) -> Iterator[None]:
    """Have each fsync of a server take 0.7 s, until it is killed."""
    inject = "inject=fsync,fdatasync:delay_enter=700000"
    words = ["strace", "-f", "-q", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", inject]
    with subprocess.Popen([*words, "-p", str(server.process.pid)], stderr=subprocess.DEVNULL) as strace:
        status = Path(f"/proc/{server.process.pid}/status")
        wait_for(lambda: f"TracerPid:\t{strace.pid}\n" in status.read_text())
        yield


def take_over(folder: Path, seconds: float, *options: str, stalled: float = 0, wait: bool = False) -> dict[str, Any]:
    """Kill a master under load, `stalled` seconds after its replica stopped hearing from it; promote the replica."""
    folder.mkdir()
    master = Server(folder / "master", "--repl-diskless-sync-delay", "0", *options)
    link = Link(master.port)
    replica = Server(folder / "replica", "--replicaof", HOST, str(link.server.getsockname()[1]))
    wait_for(lambda: replica.connect().info("replication")["master_link_status"] == "up")
    wait_for(lambda: master.connect().info("replication")["slave0"]["state"] == "online")
    writers = Writers(master, wait)
    time.sleep(seconds)
    if stalled:
        link.open.clear()
        time.sleep(stalled)
    refused = writers.refused
    master.kill()
    written = writers.stop()
    replica.connect().execute_command("REPLICAOF", "NO", "ONE")
    found = count_lost(replica, written)
    replica.kill()
    return {**found, "refused": refused}


BOUND = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", str(MAX_LAG))
CASES: dict[str, Callable[[Path, float], dict[str, Any]]] = {
    "killed; `deploy/redis.conf`": restart,
    "killed; the same, with a slow disk": lambda folder, s: restart(folder, s, slow_disk=True),
    "killed; `appendfsync always`": lambda folder, s: restart(folder, s, "--appendfsync", "always"),
    "killed; the RDB file alone": lambda folder, s: restart(folder, s, "--appendonly", "no"),
    "master killed, its replica takes over": take_over,
    "the same, with a link that was down for 15 s": lambda folder, s: take_over(folder, s, stalled=15),
    "the same, with `min-replicas-to-write 1`": lambda folder, s: take_over(folder, s, *BOUND, stalled=15),
    "the same, counting what `WAIT` confirmed": lambda folder, s: take_over(folder, s, stalled=15, wait=True),
}


@contextmanager
def working() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="durability-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def run(rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Play each case so many times."""
    found: dict[str, list[dict[str, Any]]] = {}
    with working() as folder:
        for number, (name, case) in enumerate(CASES.items()):
            if "slow disk" in name and shutil.which("strace") is None:
                sys.exit("needs strace on the PATH (Debian: apt-get install strace)")
            times = rounds if "killed;" in name else max(1, rounds // 5)
            found[name] = [case(folder / f"{number}-{n}", seconds) for n in range(times)]
            print(f"{name}: {found[name]}", file=sys.stderr)
    return found


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return a table of it."""
    rows = ["| what happens | times | acknowledged | lost | written within | refused |"]
    rows.append("| --- " + "| ---: " * 5 + "|")
    for name, each in found.items():
        written, lost = sum(one["written"] for one in each), sum(one["lost"] for one in each)
        seconds = f"{max(one['seconds'] for one in each):.1f} s" if lost else ""
        refused = sum(one["refused"] for one in each)
        rows.append(f"| {name} | {len(each)} | {written:,} | {lost:,} | {seconds} | {refused or ''} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="one round of each, to see that it works")
    parser.add_argument("--write-docs", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    shown = table(run(1, 0.3) if options.short else run(20, 1))
    print(shown)
    if options.write_docs:
        replace(PAGE, "durability", shown.splitlines())


if __name__ == "__main__":
    main()
