"""Measures one part, in a process of its own: ``measure.py <part> <options as JSON>`` prints the figures as JSON.

run.py starts it, with the Python of an environment that has the peers. Requests are WSGI calls in this process, each
with an environ that was made before the clock starts; the clock stops when the body was read. The garbage collector
stays on, as in production; what was there at the start is frozen, and it collects before each round, off the clock.
"""

import gc
import json
import logging
import random
import secrets
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from contenders import SIZE, content, make_app
from names import COOKIE, DJANGO, FLOOR, KOA, LIMIT, OURS, OURS_0, PEER, PEER_LAZY
from redis import Redis
from redis.utils import HIREDIS_AVAILABLE
from werkzeug.test import create_environ

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "conformance"), str(ROOT / "tests")]

TYPES = ["anonymous", "untouched", "read", "nested", "write", "login", "logout"]
PAGES = {"anonymous": "/public", "untouched": "/public"}  # of the others, the name is the page's
STORES = [COOKIE, PEER, PEER_LAZY, DJANGO, OURS, OURS_0]
Figures = dict[str, Any]
Samples = Iterable[tuple[tuple[Any, ...], float]]  # label and microseconds
Unit = Callable[[], Samples]


def types_of(name: str) -> list[str]:
    """What a contender can do: without a session there is not much."""
    return {FLOOR: ["anonymous"], LIMIT: ["read"]}.get(name, TYPES)


# One request ------------------------------------------------------------------------------------------------------


def send(app: Any, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
    """Status, headers and body of the answer."""
    head: list[Any] = []
    body = app(environ.copy(), lambda status, headers, error=None: head.extend((status, headers)))
    try:
        return head[0], head[1], b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


class Visitor:
    """A browser, as far as cookies go."""

    def __init__(self, app: Any, cookies: dict[str, str] | None = None) -> None:
        self.app = app
        self.cookies = cookies or {}

    def environ(self, path: str) -> dict[str, Any]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return create_environ(path, headers={"Cookie": cookie} if cookie else {})

    def keep(self, answer: tuple[str, list[tuple[str, str]], bytes]) -> bytes:
        """Do what the answer says of cookies; its body. RuntimeError: it is no success."""
        status, headers, body = answer
        if not status.startswith("200"):
            raise RuntimeError(f"{status}: {body[:200]!r}")
        for name, header in headers:
            if name.lower() == "set-cookie":
                name, _, value = header.partition(";")[0].partition("=")
                self.cookies[name] = value
        return body

    def ask(self, path: str) -> bytes:
        return self.keep(send(self.app, self.environ(path)))


def begin(app: Any, size: int = SIZE) -> Visitor:
    """A visitor with a session of `size` bytes."""
    visitor = Visitor(app)
    visitor.ask(f"/begin?size={size}")
    return visitor


def timed(visitors: list[Visitor], path: str) -> float:
    """Microseconds per request, when each visitor asks once."""
    environs = [visitor.environ(path) for visitor in visitors]
    app, answers = visitors[0].app, []
    start = time.perf_counter()
    for environ in environs:
        answers.append(send(app, environ))
    took = time.perf_counter() - start
    for visitor, answer in zip(visitors, answers, strict=True):
        visitor.keep(answer)
    return 1e6 * took / len(visitors)


def sample(name: str, app: Any, kind: str, batch: int, size: int = SIZE) -> dict[str, float]:
    """A batch of requests of one type. A login and the logout after it go together."""
    if name in (FLOOR, LIMIT) or kind == "anonymous":
        return {kind: timed([Visitor(app)] * batch, PAGES.get(kind, f"/{kind}"))}
    if kind == "login":
        visitors = [begin(app, size) for _ in range(batch)]
        took = timed(visitors, f"/login?user={secrets.token_hex(4)}")
        return {"login": took, "logout": timed(visitors, "/logout")}
    visitor = begin(app, size)
    took = timed([visitor] * batch, PAGES.get(kind, f"/{kind}"))
    if name != COOKIE:  # there, each write began with the same cookie
        visits = batch if kind == "write" else 0
        if visitor.ask("/read") != str(visits).encode():
            raise RuntimeError(f"{name}: wrong after {kind}")
    return {kind: took}


def rounds(units: list[Unit], number: int) -> list[Figures]:
    """Every unit in every round, in an order of chance; the median and the quartiles of what each measured."""
    samples: dict[tuple[Any, ...], list[float]] = {}
    for unit in units:  # connections and caches
        list(unit())
    gc.collect()
    gc.freeze()
    for _ in range(number):
        random.shuffle(units)
        gc.collect()
        for unit in units:
            for label, took in unit():
                samples.setdefault(label, []).append(took)
    return [{"label": label, **spread(found)} for label, found in samples.items()]


def spread(found: list[float]) -> Figures:
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    return {"median": middle, "low": low, "high": high, "rounds": len(found)}


def unit(name: str, app: Any, kind: str, batch: int, *rest: Any, size: int = SIZE) -> Unit:
    """One entry of `rounds`: labelled with contender, request type and the rest."""
    return lambda: [((name, each, *rest), took) for each, took in sample(name, app, kind, batch, size).items()]


# The parts --------------------------------------------------------------------------------------------------------


def latency(url: str, number: int, batch: int, names: list[str] | None = None) -> list[Figures]:
    """Every request type of every contender."""
    apps = {name: make_app(name, url) for name in names or [FLOOR, LIMIT, *STORES]}
    return rounds(
        [unit(name, app, kind, batch) for name, app in apps.items() for kind in types_of(name) if kind != "logout"],
        number,
    )


def hiredis(url: str, number: int, batch: int) -> Figures:
    """The same for the few that targets speak of; run.py starts this with hiredis and without."""
    figures = latency(url, number, batch, [FLOOR, LIMIT, PEER, OURS])
    return {"hiredis": HIREDIS_AVAILABLE, "figures": figures}


def sizes(url: str, number: int, batch: int, lengths: list[int]) -> list[Figures]:
    """Sessions of other sizes."""
    apps = {name: make_app(name, url) for name in (PEER, DJANGO, OURS)}
    units = [
        unit(name, app, kind, batch, size, size=size)
        for name, app in apps.items()
        for kind in ("untouched", "read", "write")
        for size in lengths
    ]
    return rounds(units, number)


def delay(socket: str, number: int, batch: int, seconds: float) -> list[Figures]:
    """With a network that delivers each answer of Redis later."""
    from faults import Proxy

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
    """`batch` requests by 1, 8 or 32 threads, each with a session of its own: microseconds per request in all."""
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


# One script for ten thousand: a record is copied under sids of its own, with its TTL.
_FILL = """
local record, ttl = redis.call('GET', KEYS[1]), redis.call('TTL', KEYS[1])
for i = 1, ARGV[3] do
    redis.call('SET', ARGV[1] .. redis.sha1hex(ARGV[2] .. i) .. string.format('%08x', i), record, 'EX', ttl)
end
"""


def fill(client: Any, prefix: str, number: int) -> None:
    """Copies of the only session in this database, until there are so many."""
    (key,) = client.scan_iter(f"{prefix}*")
    for start in range(1, number, 10_000):
        client.eval(_FILL, 1, key, prefix, secrets.token_hex(8), min(10_000, number - start))


def stored(urls: dict[str, str], number: int, batch: int) -> list[Figures]:
    """Requests with sessions chosen at random, on servers that hold more and more, so many for each contender."""
    units: list[Unit] = []
    for count, url in urls.items():
        for name, prefix, database in ((PEER, "session:", 1), (OURS, "SESSION:", 2)):
            app, client = make_app(name, f"{url}?db={database}"), Redis.from_url(f"{url}?db={database}")
            begin(app)
            fill(client, prefix, int(count))

            def ask(
                name: str = name, app: Any = app, client: Any = client, prefix: str = prefix, count: str = count
            ) -> Samples:
                sids = [client.randomkey().decode().removeprefix(prefix) for _ in range(batch)]
                if name == OURS:
                    sids = [app.session_interface.make_cookie(app, sid, True) for sid in sids]
                visitors = [Visitor(app, {"session": sid}) for sid in sids]
                for kind in random.sample(["read", "write"], 2):
                    yield (name, kind, int(count)), timed(visitors, f"/{kind}")

            units.append(ask)
    return rounds(units, number)


class Meter:
    """The server's own statistics of some requests."""

    def __init__(self, url: str) -> None:
        self.admin = Redis.from_url(url)
        self.overhead = self._read(lambda: None)  # of counting

    def _read(self, ask: Callable[[], object]) -> Figures:
        self.admin.config_resetstat()
        ask()
        statistics: dict[str, Any] = self.admin.info("stats")  # first: how long the other answer is, depends
        commands: dict[str, Any] = self.admin.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in commands.items()}
        names = {"round trips": "total_reads_processed", "sent": "total_net_input_bytes"}
        names["received"] = "total_net_output_bytes"
        return {"commands": calls} | {name: statistics[field] for name, field in names.items()}

    def cost(self, ask: Callable[[], object], requests: int) -> Figures:
        """Commands, round trips (what the server read: a pipeline is one), bytes sent and received, per request."""
        found = self._read(ask)
        ours = ("config|resetstat", "info")
        commands = {name: calls for name, calls in found.pop("commands").items() if name not in ours}
        per = {name: (value - self.overhead[name]) / requests for name, value in found.items()}
        return {"commands": {name: calls / requests for name, calls in sorted(commands.items())}, **per}


def costs(url: str, batch: int) -> list[Figures]:
    """What a request costs Redis and the wire."""
    meter, figures = Meter(url), []
    for name in (LIMIT, COOKIE, PEER, PEER_LAZY, DJANGO, OURS, OURS_0):
        app = make_app(name, url)
        sample(name, app, "read" if name == LIMIT else "login", 1)  # the connection, and what it says first
        for kind in types_of(name):
            if name == LIMIT or kind == "anonymous":
                visitors = [Visitor(app) for _ in range(batch)]
            else:
                visitors = [begin(app) for _ in range(batch)]
            if kind == "logout":
                for number, visitor in enumerate(visitors):
                    visitor.ask(f"/login?user={number}")
            path = "/login?user=ada" if kind == "login" else PAGES.get(kind, f"/{kind}")

            def ask(visitors: list[Visitor] = visitors, path: str = path) -> None:
                for visitor in visitors:
                    visitor.ask(path)

            figures.append({"label": [name, kind], **meter.cost(ask, batch)})
    return figures


def koa(url: str, socket: str, folder: str, batch: int) -> list[Figures]:
    """The same of koa-session2 with the RedisStore of conformance/koa: its commands and bytes, not its time."""
    from koa import COOKIE, install, koa_app

    home = Path(folder) / "koa"
    if not (home / "node_modules" / "koa-session2").is_dir():
        install(home)
    meter, figures = Meter(url), []
    with koa_app(home, Path(socket), "hex") as base:

        def ask(method: str, cookie: str = "", changes: object = None) -> str:
            data = None if changes is None else json.dumps(changes).encode()
            request = urllib.request.Request(base, data, {"Cookie": cookie}, method=method)  # loopback
            with urllib.request.urlopen(request, timeout=10) as response:
                return (response.headers["Set-Cookie"] or "").partition(";")[0]

        for kind, method, changes in [
            ("anonymous", "GET", None),
            ("read", "GET", None),
            ("write", "PATCH", {"visits": 1}),
            ("login", "PATCH", {"user_id": "ada"}),
            ("logout", "DELETE", None),
        ]:
            cookies = ["" if kind == "anonymous" else ask("PATCH", "", content(SIZE)) for _ in range(batch)]
            assert kind == "anonymous" or all(cookie.startswith(f"{COOKIE}=") for cookie in cookies)

            def run(cookies: list[str] = cookies, method: str = method, changes: object = changes) -> None:
                for cookie in cookies:
                    ask(method, cookie, changes)

            figures.append({"label": [KOA, kind], **meter.cost(run, batch)})
    return figures


def aof(url: str, requests: int, pauses: list[int]) -> list[Figures]:
    """What read-only requests of one visitor, so many seconds apart (the clock is moved), add to the AOF."""
    admin, figures, real, ahead = Redis.from_url(url), [], time.time, 0.0
    time.time = lambda: real() + ahead  # what all the contenders look at
    for name, pause in [(PEER, 0), (PEER_LAZY, 0), (DJANGO, 0), *((OURS, pause) for pause in pauses), (OURS_0, 0)]:
        visitor = begin(make_app(name, url))
        visitor.ask("/read")
        before = admin.info("persistence")["aof_current_size"]
        for _ in range(requests):
            ahead += pause
            visitor.ask("/read")
        grown = admin.info("persistence")["aof_current_size"] - before
        figures.append({"label": [name, pause], "bytes": grown * 10_000 / requests})
    time.time = real
    return figures


def memory(url: str, number: int) -> list[Figures]:
    """Bytes of Redis' memory for a session of a visitor, and of a user who is signed in; overhead included."""
    admin, figures = Redis.from_url(url), []
    for name in (PEER, DJANGO, OURS):
        app = make_app(name, url)
        begin(app)
        for kind in ("anonymous", "signed in"):
            admin.flushdb()  # the private server's
            before = admin.info("memory")["used_memory"]
            for user in range(number):
                visitor = begin(app)
                if kind == "signed in":
                    visitor.ask(f"/login?user={user}")
            figures.append({"label": [name, kind], "bytes": (admin.info("memory")["used_memory"] - before) / number})
    return figures


def versions() -> dict[str, str]:
    """Of what is compared."""
    names = ("flask", "werkzeug", "redis", "flask-session", "msgspec", "django", "gunicorn")
    return {"redis-py" if name == "redis" else name: version(name) for name in names}


PARTS: dict[str, Callable[..., Any]] = {
    part.__name__: part for part in (latency, hiredis, sizes, delay, threads, stored, costs, koa, aof, memory, versions)
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    json.dump(PARTS[sys.argv[1]](**json.loads(sys.argv[2])), sys.stdout)
