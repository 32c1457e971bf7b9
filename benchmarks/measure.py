"""Measures one part, in a process of its own: ``measure.py <part> <options as JSON>`` prints the figures as JSON.

run.py starts it, with the Python of an environment that has the peers.
"""

import json
import logging
import secrets
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from contenders import SIZE, content, make_app
from costs import aof, costs, koa, memory
from names import COOKIE, DJANGO, FLOOR, LIMIT, OURS, OURS_0, PEER, PEER_LAZY, REDIS_PY
from redis import Redis
from redis.utils import HIREDIS_AVAILABLE
from rounds import Figures, Samples, Unit, rounds, types_of, unit
from stored import stored
from visitor import Visitor, begin, send

from redis_store import connect  # contenders.py knows where it is

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "conformance"), str(ROOT / "tests")]

STORES = [COOKIE, PEER, PEER_LAZY, DJANGO, OURS, OURS_0]


def latency(url: str, number: int, batch: int) -> list[Figures]:
    """Time every request type of every contender."""
    apps = {name: make_app(name, url) for name in (FLOOR, LIMIT, *STORES)}
    return rounds(
        [unit(name, app, kind, batch) for name, app in apps.items() for kind in types_of(name) if kind != "logout"],
        number,
    )


def sizes(url: str, number: int, batch: int, lengths: list[int]) -> list[Figures]:
    """Time sessions of other sizes."""
    apps = {name: make_app(name, url) for name in (PEER, DJANGO, OURS)}
    units = [
        unit(name, app, kind, batch, size, size=size)
        for name, app in apps.items()
        for kind in ("read", "write")
        for size in lengths
    ]
    return rounds(units, number)


def client(url: str, number: int, batch: int) -> list[Figures]:
    """Return the microseconds of the processor that one GET takes, by redis-py's client and by ours, in turns."""
    clients = {REDIS_PY: Redis.from_url(url), OURS: connect(url)}
    key, record = f"bare:{secrets.token_hex(24)}", json.dumps(content(SIZE))
    clients[REDIS_PY].set(key, record)

    def get(name: str) -> Samples:
        client = clients[name]
        if client.get(key) != record.encode():
            raise RuntimeError(f"{name}: wrong answer")
        start = time.process_time()  # of the process: all its threads, and what the system does for it
        for _ in range(batch):
            client.get(key)
        yield (name, "GET"), 1e6 * (time.process_time() - start) / batch

    def one(name: str) -> Unit:
        return lambda: get(name)

    return rounds([one(name) for name in clients], number)


def delay(socket: str, number: int, batch: int, seconds: float) -> list[Figures]:
    """Time requests over a network that delivers each answer of Redis later."""
    from support.faults.network import Proxy

    proxy = Proxy(socket)
    try:
        proxy.delay = seconds
        apps = {name: make_app(name, proxy.url) for name in (LIMIT, PEER, PEER_LAZY, DJANGO, OURS, OURS_0)}
        kinds = ("untouched", "read", "write", "login")
        return rounds(
            [unit(name, app, kind, batch) for name, app in apps.items() for kind in kinds if kind in types_of(name)],
            number,
        )
    finally:
        proxy.stop()


def threads(url: str, number: int, batch: int, counts: list[int]) -> list[Figures]:
    """Time `batch` requests by 1, 8 or 32 threads, each with a session of its own: microseconds per request in all."""
    apps = {name: make_app(name, url) for name in (LIMIT, PEER, OURS)}

    def together(name: str, kind: str, count: int) -> Samples:
        app = apps[name]
        visitors = [Visitor(app) if name == LIMIT else begin(app) for _ in range(count)]
        barrier = threading.Barrier(count + 1)
        failures: list[str] = []

        def run(visitor: Visitor) -> None:
            environ = visitor.environ(f"/{kind}")
            barrier.wait()
            answers = [send(app, environ) for _ in range(batch // count)]
            failures.extend(status for status, _, _ in answers if not status.startswith("200"))

        workers = [threading.Thread(target=run, args=(visitor,)) for visitor in visitors]
        for worker in workers:
            worker.start()
        barrier.wait()
        start = time.perf_counter()
        for worker in workers:
            worker.join()
        took = time.perf_counter() - start
        if failures:
            raise RuntimeError(f"{name}, {count} threads: {failures[:3]}")
        yield (name, kind, count), 1e6 * took / (batch // count * count)

    def one(name: str, kind: str, count: int) -> Unit:
        return lambda: together(name, kind, count)

    kinds = {name: ("read",) if name == LIMIT else ("read", "write") for name in apps}
    return rounds([one(name, kind, count) for name in apps for kind in kinds[name] for count in counts], number)


def versions() -> dict[str, str]:
    """Return those of what is compared."""
    names = ("flask", "werkzeug", "redis", "flask-session", "msgspec", "django", "gunicorn")
    parser = {"hiredis": version("hiredis")} if HIREDIS_AVAILABLE else {}
    return {"redis-py" if name == "redis" else name: version(name) for name in names} | parser


PARTS: dict[str, Callable[..., Any]] = {
    part.__name__: part for part in (latency, sizes, client, delay, threads, stored, costs, koa, aof, memory, versions)
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    json.dump(PARTS[sys.argv[1]](**json.loads(sys.argv[2])), sys.stdout)
