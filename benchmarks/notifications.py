"""Browsers that wait for notifications in one process: what they get, what they cost, and what is left of them.

    python benchmarks/notifications.py [--clients 500] [--disconnects 100] [--most 2000] [--short] [--write-docs]

gunicorn serves the demo app, one worker with threads, on a Redis of its own. Ten clients belong to one owner, each with
a connection. First they only wait, more and more of them, up to --most: how long do messages take, and how much memory
does each take? Then, in another process, every client is cut off again and again while messages are sent to all, half
of the times without a goodbye, and comes back with the last id that it has. At the end all must have everything, once
and in order; and when they have left, what is left of them? It takes some seven minutes; --short half a minute, and its
times say nothing. With --write-docs the figures go into docs/notifications.md.

Needs what requirements-dev.txt brings, Linux, and redis-server. Exit status: 0; 1, something was lost, came twice, or
was left behind; 2, that could not be measured.
"""

import argparse
import asyncio
import itertools
import json
import logging
import os
import platform
import random
import re
import socket
import statistics
import struct
import sys
import tempfile
import textwrap
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import ROOT, environment, free_port, wait_for
from marks import replace
from servers import end_well, give_up, private_redis, running  # bench.py knows where it is

sys.path.insert(0, str(ROOT))

from werkzeug.security import generate_password_hash  # found by the line above

from app import create_app
from redis_store import StoreUnavailable

PER_OWNER = 10
EVERY = 2.0  # seconds between two messages to an owner
STAY = 2.5  # seconds, at most, until a client is cut off
LIMIT = 900  # seconds for all of it
SPARE = 50  # threads for pages
WRONG = ("lost", "twice", "out of order", "gaps")
PAGE = ROOT / "docs" / "notifications.md"


class Browser:
    """A client, and what it got."""

    def __init__(self, port: int, owner: str, cookie: str) -> None:
        self.port, self.owner, self.cookie = port, owner, cookie
        self.last, self.gaps, self.refused = "0-0", 0, 0
        self.got: list[int] = []
        self.delays: list[float] = []  # seconds

    async def connect(self) -> None:
        """Come back; again, if the server has no thread left."""
        while True:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
            lines = ["GET /events HTTP/1.0", "Host: x", f"Cookie: {self.cookie}", f"Last-Event-ID: {self.last}", "", ""]
            self.writer.write("\r\n".join(lines).encode())
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                head = await self.reader.readuntil(b"\r\n\r\n")
                if b" 200 " in head.partition(b"\r\n")[0]:
                    return
            self.refused += 1
            await self.leave()
            await asyncio.sleep(0.2)

    async def leave(self, *, without_goodbye: bool = False) -> None:
        if without_goodbye:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def listen(self, until: int | None = None) -> None:
        """Note what comes, up to a number."""
        while until is None or not self.got or self.got[-1] < until:
            event = await self.reader.readuntil(b"\n\n")
            if not event.startswith(b"event: "):
                continue  # retry, or a heartbeat
            kind, id, *data = event.decode().splitlines()
            self.last = id.removeprefix("id: ")
            if kind == "event: gap":
                self.gaps += 1
            elif data[0]:
                message = json.loads(data[0].removeprefix("data: "))
                self.delays.append(time.monotonic() - message["at"])
                self.got.append(message["n"])

    async def endure(self, disconnects: int, stay: float) -> None:
        """Be cut off so many times, wherever that is, and be connected at last."""
        for turn in range(disconnects):
            await self.connect()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.listen(), random.uniform(0, stay))
            await self.leave(without_goodbye=turn % 2 == 0)
        await self.connect()


class Sender(threading.Thread):
    """Sends numbers to the owners, one after the other."""

    def __init__(self, app: Any, owners: list[str], every: float) -> None:
        super().__init__(daemon=True)
        self.app, self.sent = app, {owner: list[int]() for owner in owners}
        self.pause, self.over, self.number = every / len(owners), threading.Event(), 0

    def run(self) -> None:
        owners = itertools.cycle(self.sent)
        while not self.over.wait(self.pause):
            self.send(next(owners))

    def send(self, owner: str) -> None:
        """Send the next number. If Redis did not answer in time, it may have come all the same: see `judge`."""
        self.number += 1
        with self.app.app_context(), suppress(StoreUnavailable):
            self.app.extensions["notify"](owner, {"n": self.number, "at": time.monotonic()})
            self.sent[owner].append(self.number)

    def stop(self) -> None:
        """End; the last message of each owner comes now."""
        self.over.set()
        self.join()
        for owner, sent in self.sent.items():
            before = len(sent)
            while len(sent) == before:
                self.send(owner)


class Process:
    """The worker, as Linux sees it."""

    def __init__(self, master: int) -> None:
        (self.number,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()

    def read(self) -> dict[str, int]:
        status = Path(f"/proc/{self.number}/status").read_text()
        found = {name: int(value) for name, value in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.M)}
        return found | {"files": len(os.listdir(f"/proc/{self.number}/fd"))}


async def sign_in(port: int, owner: str) -> str:
    """Return the session's cookie."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = f"username={owner}&password=p"
    lines = ["POST /login HTTP/1.0", "Host: x", "Origin: http://x", f"Content-Length: {len(body)}"]
    writer.write("\r\n".join([*lines, "Content-Type: application/x-www-form-urlencoded", "", body]).encode())
    answer = (await reader.read()).decode()
    writer.close()
    found = re.search(r"^Set-Cookie: (session=[^;]+)", answer, re.M)
    return found[1] if found else give_up(f"no sign-in:\n{answer[:200]}")


def judge(browsers: list[Browser], sent: dict[str, list[int]]) -> dict[str, int]:
    """Count what is wrong."""
    return {
        "lost": sum(len({*sent[each.owner]} - {*each.got}) for each in browsers),
        "twice": sum(len(each.got) - len({*each.got}) for each in browsers),
        "out of order": sum(each.got != sorted(each.got) for each in browsers),
        "gaps": sum(each.gaps for each in browsers),
    }


class Bench:
    """The app, its Redis, and the clients."""

    def __init__(self, stack: ExitStack, most: int) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.url = f"unix://{stack.enter_context(private_redis(folder))}"
        self.owners = [f"owner{number}" for number in range(-(-most // PER_OWNER))]
        accounts = dict.fromkeys(self.owners, generate_password_hash("p", "pbkdf2:sha256:1"))
        self.port, self.cookies = free_port(), dict[str, str]()
        settings = {"REDIS_URL": self.url, "SECRET_KEY": "k" * 32, "FLASK_ACCOUNTS": json.dumps(accounts)}
        settings["FLASK_NOTIFICATIONS_MAX_CLIENTS"] = str(most)
        options = [f"--threads={most + SPARE}", f"--worker-connections={most + 500}", "--graceful-timeout=1"]
        options += [f"--bind=127.0.0.1:{self.port}", "--log-level=error", f"--chdir={ROOT}"]
        command = [sys.executable, "-m", "gunicorn", *options, "app:create_app()"]
        server = stack.enter_context(running(command, env=environment() | settings))
        wait_for("gunicorn", server, self.answers)
        self.process, self.app = Process(server.pid), make_app(self.url)

    def answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(100)

    async def sign_in(self) -> None:
        for owner in self.owners:
            self.cookies[owner] = await sign_in(self.port, owner)

    def begin(self, number: int, every: float) -> tuple[list[Browser], Sender]:
        """Return clients, and who sends to them; with streams that are empty."""
        owners = self.owners[: -(-number // PER_OWNER)]
        client: Any = self.app.session_interface.store.client
        client.delete(*(f"NOTIFICATIONS:SESSION:{owner}" for owner in owners))
        browsers = [Browser(self.port, owner, self.cookies[owner]) for owner in owners for _ in range(PER_OWNER)]
        return browsers[:number], Sender(self.app, owners, every)

    async def end(self, browsers: list[Browser]) -> dict[str, int]:
        """Let all clients leave; return what is left of them."""
        for each in browsers:
            await each.leave()
        client: Any = self.app.session_interface.store.client
        for _ in range(300):
            await asyncio.sleep(0.1)
            if not client.client_list(_type="pubsub"):
                return self.process.read()
        give_up("the thread that reads for the clients did not end")

    async def storm(self, number: int, disconnects: int, stay: float, every: float) -> tuple[list[Browser], Any]:
        """Cut all clients off, again and again, while messages are sent. They are connected when this returns."""
        browsers, sender = self.begin(number, every)
        start = time.monotonic()
        sender.start()
        await asyncio.gather(*(each.endure(disconnects, stay) for each in browsers))
        await asyncio.to_thread(sender.stop)
        ends = {owner: numbers[-1] for owner, numbers in sender.sent.items()}
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(each.listen(ends[each.owner]) for each in browsers)), 60)
        found = {"clients": number, "disconnects": disconnects, "seconds": time.monotonic() - start}
        found |= {"sent": sender.number, "received": sum(len(each.got) for each in browsers)}
        found["refused"] = sum(each.refused for each in browsers)
        return browsers, found | judge(browsers, sender.sent)

    async def wait(self, browsers: list[Browser], seconds: float, every: float) -> dict[str, float]:
        """Let clients that are connected wait for messages; return how many milliseconds these took."""
        sender = Sender(self.app, [*dict.fromkeys(each.owner for each in browsers)], every)
        listening = [asyncio.create_task(each.listen()) for each in browsers]
        await asyncio.sleep(1)
        sender.start()
        await asyncio.sleep(1)
        for each in browsers:
            each.delays.clear()  # of the beginning
        await asyncio.sleep(seconds)
        for task in listening:
            task.cancel()
        await asyncio.to_thread(sender.stop)
        shares = statistics.quantiles([1000 * delay for each in browsers for delay in each.delays], n=100)
        rate = sum(len(each.delays) for each in browsers) / seconds
        return {"clients": len(browsers), "rate": rate, "p50": shares[49], "p99": shares[98]} | self.process.read()


def make_app(url: str) -> Any:
    """Return the app from which messages are sent."""
    return create_app({"REDIS_URL": url, "SECRET_KEY": "k" * 32, "ACCOUNTS": {"": generate_password_hash("")}})


async def hold(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """Let more and more clients wait; return the figures of each number."""
    await bench.sign_in()
    found: dict[str, Any] = {"start": bench.process.read(), "waits": []}
    for number in range(options.clients, options.most + 1, options.clients):
        browsers, _ = bench.begin(number, options.every)
        for first in range(0, number, 50):  # not all at once
            await asyncio.gather(*(each.connect() for each in browsers[first : first + 50]))
        found["waits"].append(await bench.wait(browsers, options.seconds, options.every))
        await bench.end(browsers)
    return found


async def cut_off(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """Cut clients off; return what they got, and what the process had before and afterwards.

    Before that a tenth of it is done: then the server has all its threads, and keeps them.
    """
    await bench.sign_in()
    browsers, _ = await bench.storm(options.clients, options.disconnects // 10 + 1, options.stay, options.every)
    before = await bench.end(browsers)
    browsers, storm = await bench.storm(options.clients, options.disconnects, options.stay, options.every)
    return {"storm": storm, "before": before, "after": await bench.end(browsers)}


def grown(found: dict[str, Any]) -> float:
    """Return the bytes by which the process grew for each connection that came and went."""
    grown = found["after"]["VmRSS"] - found["before"]["VmRSS"]
    return float(1024 * grown / (found["storm"]["clients"] * (found["storm"]["disconnects"] + 1)))


def faults(found: dict[str, Any]) -> list[str]:
    """Return what is wrong, in words."""
    wrong = [f"{found['storm'][what]} {what}" for what in WRONG if found["storm"][what]]
    before, after = found["before"], found["after"]
    if after["Threads"] > found["storm"]["clients"] + SPARE + 3:  # gunicorn's own, and three
        wrong.append(f"{after['Threads']} threads are left")
    if after["files"] > before["files"] + 60:  # the client of Redis may have as many connections
        wrong.append(f"{before['files']} open files, then {after['files']}")
    if found["storm"]["disconnects"] > 50 and grown(found) > 1000:
        wrong.append(f"{grown(found):.0f} bytes of memory for each connection that came and went")
    return wrong


def report(found: dict[str, Any]) -> list[str]:
    """Return the table, what became of clients that were cut off, and what was left of them."""
    storm, before, after = found["storm"], found["before"], found["after"]
    rows = [
        f"| {wait['clients']:,} | {wait['rate']:.0f} | {wait['p50']:.0f} ms | {wait['p99']:.0f} ms "
        f"| {wait['VmRSS'] / 1024:.0f} MB | {(wait['VmRSS'] - found['start']['VmRSS']) / wait['clients']:.0f} KB |"
        for wait in found["waits"]
    ]
    then, now = (
        f"{state['VmRSS'] / 1024:.0f} MB, {state['Threads']:,} threads and {state['files']} open files"
        for state in (before, after)
    )
    text = (
        f"{storm['clients']:,} clients of another process were cut off {storm['disconnects']} times each, within "
        f"{storm['seconds']:.0f} s; {storm['refused']} times there was a 503, and another try. Of "
        f"{storm['received']:,} messages {storm['lost']} were lost, {storm['twice']} came twice, and there were "
        f"{storm['gaps']} gaps. Without any client that process had {then} before, and {now} afterwards: gunicorn "
        f"keeps its threads, and each grows a little with what it does. {datetime.now(UTC):%Y-%m-%d}, "
        f"Python {platform.python_version()}, gunicorn {version('gunicorn')}, {os.cpu_count()} cores."
    )
    return [
        "| clients | messages received per second | half of them within | 99 of 100 within | memory | for each |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        *textwrap.wrap(text, 120),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--disconnects", type=int, default=100)
    parser.add_argument("--most", type=int, default=2000)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    if options.short:
        options.clients, options.disconnects, options.most = 40, 5, 80
    options.stay, options.every, options.seconds = (0.5, 0.2, 1) if options.short else (STAY, EVERY, 12)
    end_well()
    logging.disable()
    found: dict[str, Any] = {}
    for part, most in ((hold, options.most), (cut_off, options.clients)):
        with ExitStack() as stack:
            bench = Bench(stack, most)
            found |= asyncio.run(asyncio.wait_for(part(bench, options), LIMIT))
    print(json.dumps(found, indent=1), *report(found), sep="\n")
    if options.write_docs:
        replace(PAGE, "benchmarks", report(found))
    wrong = faults(found)
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
