"""What requests cost Redis: commands, round trips, bytes on the wire, in the AOF and in memory."""

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contenders import SIZE, content, make_app
from names import COOKIE, DJANGO, KOA, LIMIT, OURS, OURS_0, PEER, PEER_LAZY
from redis import Redis
from rounds import Figures, sample, types_of
from visitor import Visitor, begin, page


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
        """Return commands, round trips (reads of the server: a pipeline is one), bytes sent and received, of each."""
        found = self._read(ask)
        ours = ("config|resetstat", "info")
        commands = {name: calls for name, calls in found.pop("commands").items() if name not in ours}
        per = {name: (value - self.overhead[name]) / requests for name, value in found.items()}
        return {"commands": {name: calls / requests for name, calls in sorted(commands.items())}, **per}


def costs(url: str, batch: int) -> list[Figures]:
    """Count what a request costs Redis and the wire."""
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
                for visitor in visitors:
                    visitor.ask(page("login"))

            def ask(visitors: list[Visitor] = visitors, kind: str = kind) -> None:
                for visitor in visitors:
                    visitor.ask(page(kind))

            figures.append({"label": [name, kind], **meter.cost(ask, batch)})
    return figures


def koa(url: str, socket: str, folder: str, batch: int) -> list[Figures]:
    """Count the same of koa-session2 with the RedisStore of conformance/koa: its commands and bytes, not its time."""
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
    """Return what read-only requests of one visitor, so many seconds apart (the clock is moved), add to the AOF."""
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
        if pause * requests > 1000 and not grown:  # seconds; a refresh must have been due
            raise RuntimeError(f"{name} looks at a clock that cannot be moved")
        figures.append({"label": [name, pause], "bytes": grown * 10_000 / requests})
    time.time = real
    return figures


MEMORY = {"anonymous": 0, "signed in": 1, "signed in, ten of each user": 10}  # sessions of a user


def memory(url: str, number: int) -> list[Figures]:
    """Return the bytes of Redis' memory for a session, in all and by kind of key."""
    admin, figures = Redis.from_url(url), []
    for name in (PEER, DJANGO, OURS):
        app = make_app(name, url)
        begin(app)
        for kind, each in MEMORY.items():
            admin.flushdb()  # the private server's
            before = admin.info("memory")["used_memory"]
            for count in range(number):
                visitor = begin(app, 300 + 8 * (count % 100))  # or it depends on the classes of the allocator
                if each:
                    visitor.ask(f"/login?user={count // each:08}")
            grown = admin.info("memory")["used_memory"] - before
            figures.append({"label": [name, kind], "bytes": grown / number, **_by_key(admin, number)})
    return figures


def _by_key(admin: Any, number: int) -> Figures:
    """Return the bytes per session of records, of owners' lists and of other keys.

    By MEMORY USAGE, not STRLEN: it counts what Redis pays, the key's name and the rounding of the allocator included.
    """
    found = {"record": 0.0, "list": 0.0, "rest": 0.0}
    for key in admin.scan_iter(count=1000):
        record = key.lower().startswith((b"session:", b":1:django."))
        kind = "list" if admin.type(key) == b"zset" else "record" if record else "rest"
        found[kind] += admin.memory_usage(key, samples=0) / number
    return found
