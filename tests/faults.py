"""The fault matrix's machinery: an app, a load that knows what it was promised, a bad network, and the figures.

The app runs in processes of its own, so that the load does not slow it down; this file is its program, too::

    python tests/faults.py <listening socket> <Redis URL> <number of workers> <class of the store>
"""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import os
import platform
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import redis
from flask import Flask, request, session
from werkzeug.serving import WSGIRequestHandler, make_server

from redis_store import RedisSessionInterface, RedisStore, connect

ROOT = Path(__file__).parent.parent
LIFETIME = 600  # seconds
PATIENCE = 10  # seconds that the harness itself waits for anything

# The app ----------------------------------------------------------------------------------------------------------


class MixesUp(RedisStore):
    """Broken: now and then it answers with what somebody else asked for."""

    last: bytes | None = None

    def read(self, sid: str) -> bytes | None:
        record = super().read(sid)
        if record and random.random() < 0.1:
            record, MixesUp.last = MixesUp.last, record
        return record


class EndsNothing(RedisStore):
    """Broken: a logout is answered, and that is all."""

    def destroying(self, sid: str) -> tuple[Any, ...]:
        return ("EXISTS", self.key(sid))


class WritesNothing(RedisStore):
    """Broken: a new session is confirmed, but not stored."""

    def adding(self, *args: Any) -> tuple[Any, ...]:
        return ("ECHO", "yes")


class KeepsForEver(RedisStore):
    """Broken: a new session has no TTL."""

    def adding(self, sid: str, record: bytes, max_age: int) -> tuple[Any, ...]:
        return ("SET", self.key(sid), record, "NX")


class Crashes(RedisStore):
    """Broken: what the client raises gets out."""

    def read(self, sid: str) -> bytes | None:
        if random.random() < 0.05:
            raise OSError
        return super().read(sid)


class Dawdles(RedisStore):
    """Broken: it now and then takes longer than a request may."""

    def read(self, sid: str) -> bytes | None:
        if random.random() < 0.05:
            time.sleep(2)
        return super().read(sid)


def make_app(store: RedisStore) -> Flask:
    """Each view says whose session it found; the client's `mark` names the user, and the session, that it begins."""
    app = Flask("faults")
    app.config.update(SECRET_KEY="only-for-the-faults-" * 2, PERMANENT_SESSION_LIFETIME=LIFETIME)
    app.config["SESSION_REFRESH_AFTER"] = 1  # many are due
    app.session_interface = RedisSessionInterface(store)

    def answer(*found: Any) -> dict[str, Any]:
        return {"found": found, "worker": os.getpid()}

    def found() -> dict[str, Any]:
        return answer(session.get("user_id"), session.get("token"), session.get("n", 0))

    @app.get("/public")
    def public() -> dict[str, Any]:
        return answer()

    @app.get("/read")
    def read() -> dict[str, Any]:
        return found()

    @app.post("/write")
    def write() -> dict[str, Any]:
        before = found()
        session.setdefault("token", request.args["mark"])
        session["n"] = session.get("n", 0) + 1
        return before

    @app.post("/login")
    def login() -> dict[str, Any]:
        before, mark = found(), request.args["mark"]
        session.update(user_id=f"user {mark}", token=mark, n=0)
        return before

    @app.post("/logout")
    def logout() -> dict[str, Any]:
        before = found()
        session.clear()
        return before

    return app


class _Handler(WSGIRequestHandler):
    disable_nagle_algorithm = True  # or each answer on a connection that is kept waits for 40 ms

    def log_request(self, *args: Any) -> None: ...


def serve(listener: int, url: str, workers: int, store: RedisStore) -> None:
    """Workers that share a socket and a client that was used before they began. SIGHUP: one more of them."""
    app = make_app(store)

    def fork(*_: object) -> None:
        with suppress(Exception):  # Redis may be away
            store.client.ping()
        if os.fork() == 0:
            try:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
                make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler, fd=listener).serve_forever()
            finally:
                os._exit(1)

    signal.signal(signal.SIGHUP, fork)
    for _ in range(workers):
        fork()
    while os.wait():  # one was killed
        fork()


class App:
    """The running app."""

    def __init__(self, url: str, log: Path, *, workers: int = 1, store: type[RedisStore] = RedisStore) -> None:
        self.log = log
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, log.open("w") as file:
            self.port: int = listener.getsockname()[1]
            descriptor = listener.fileno()
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(descriptor), url, str(workers), store.__name__],
                pass_fds=[descriptor],
                stderr=file,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                start_new_session=True,  # a group of its own, which ends as one
            )

    def worker(self) -> int:
        """The process id of one of the workers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", "/public")
        process = json.loads(connection.getresponse().read())["worker"]
        connection.close()
        return int(process)

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


# The network ------------------------------------------------------------------------------------------------------


class Proxy:
    """A TCP proxy to a Redis, whose network goes bad when a test says so."""

    def __init__(self, target: str) -> None:
        self.target = target  #: path of a unix socket; may change
        self.delay = 0.0  #: seconds that each answer is late
        self.reset = 0.0  #: share of the commands that reset their connection instead
        self.lose = 0.0  #: share of the answers that reset their connection instead
        self.silent = False  #: whether answers are swallowed
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                pair = client, server
                self._pairs.add(pair)
                try:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    server.connect(self.target)
                except OSError:
                    self._end(pair)
                    continue
                for source, sink in (pair, pair[::-1]):
                    self._threads.append(threading.Thread(target=self._pass_on, args=(source, sink, pair)))
                    self._threads[-1].start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        answers = source is pair[1]
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.delay:
                    time.sleep(self.delay)
                if random.random() < (self.lose if answers else self.reset):
                    break
                if not (answers and self.silent):
                    sink.sendall(data)
        self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pairs.discard(pair)
        for end in pair:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST, not FIN
            with suppress(OSError):
                end.shutdown(socket.SHUT_RD)  # wakes the other thread
            end.close()

    def cut(self) -> None:
        """Reset every connection."""
        for pair in [*self._pairs]:
            self._end(pair)

    def stop(self) -> None:
        self.delay = 0
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(PATIENCE)
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)


# The load ---------------------------------------------------------------------------------------------------------

CLIENTS = 32  # each with one connection
BROWSERS = 3  # of each client
PAUSE = 0.1  # seconds, at most, between two requests of a client: more than the machine can bear measures only that
BUDGET = 1.0  # seconds for a request
RECOVERY = 2.0  # seconds from the repair until everything is served

#: How often. A replay shows a cookie of a session that has ended; a bare request is for a public page, without cookie.
KINDS = {"read": 30, "write": 20, "login": 12, "logout": 6, "replay": 12, "public": 10, "bare": 10}


@dataclass
class Promise:
    """A session, as far as its browser can know it."""

    user: str | None
    token: str
    cookie: str
    since: float
    low: int = 0  # what it has counted to: at least,
    high: int = 0  # and at most, if the writes that were answered 503 did happen
    doubtful: bool = False  # it may have ended: a login or logout was answered 503


class Answer(NamedTuple):
    asked: float  # when
    found: list[Any]
    cookie: str | None  # None: it sets none; "": it deletes it


class Call(NamedTuple):
    kind: str
    start: float
    end: float
    status: int  # 0: the connection broke


class Sent(NamedTuple):
    kind: str
    connection: http.client.HTTPConnection
    start: float


class Client(threading.Thread):
    """Some browsers, which make one request after the other; and now and then a second one, to race with a logout."""

    def __init__(self, number: int, load: Load) -> None:
        super().__init__(daemon=True)
        self.load = load
        self.connection, self.tab = (
            http.client.HTTPConnection("127.0.0.1", load.port, timeout=PATIENCE) for _ in range(2)
        )
        self.marks = (f"{number}.{serial}" for serial in itertools.count())
        self.browsers: list[Promise | None] = [None] * BROWSERS
        self.ended: list[Promise] = []
        self.calls: list[Call] = []
        self.wrong: list[str] = []
        self.workers: set[int] = set()  # those that answered
        self.lost = 0

    def run(self) -> None:
        while not self.load.stopping.wait(random.uniform(0, PAUSE)):
            try:
                self.step()
            except Exception as error:
                self.wrong.append(f"no answer that can be understood: {error!r}")
        self.connection.close()
        self.tab.close()

    def step(self) -> None:
        number = random.randrange(BROWSERS)
        (kind,) = random.choices([*KINDS], [*KINDS.values()])
        mark = next(self.marks)
        if kind == "bare":
            self.ask(kind, "/public", "")
        elif kind == "replay":
            if self.ended:
                self.replay(random.choice(self.ended[-30:]), mark)
        else:
            self.browsers[number] = self.visit(kind, mark, self.browsers[number])

    def visit(self, kind: str, mark: str, held: Promise | None) -> Promise | None:
        """A request; what its browser holds then. If nobody knows what became of it, both are possible from now on."""
        race = None
        if held and kind in ("login", "logout") and random.random() < 0.5:
            race = self.send(self.tab, "write", f"/write?mark={mark}", held.cookie)
            held.high += 1
        answer = self.ask(kind, f"/{kind}?mark={mark}", held.cookie if held else "")
        if held and race:
            other = self.receive(race)
            if other and other.found[:2] not in ([held.user, held.token], [None, None]):
                self.wrong.append(f"{race.kind} shows {other.found} to {held}")
        if answer:
            return self.believe(kind, mark, held, answer, raced=race is not None)
        if held:
            held.high += kind == "write"
            held.doubtful |= kind in ("login", "logout")
        return held

    def ask(self, kind: str, path: str, cookie: str) -> Answer | None:
        return self.receive(self.send(self.connection, kind, path, cookie))

    def send(self, connection: http.client.HTTPConnection, kind: str, path: str, cookie: str) -> Sent:
        start = time.monotonic()
        if connection.sock and (random.random() < 0.05 or select.select([connection.sock], [], [], 0)[0]):
            connection.close()  # for another worker to get it; or the server closed it
        with suppress(OSError):
            method = "GET" if path.startswith(("/public", "/read")) else "POST"
            connection.request(method, path, headers={"Cookie": f"session={cookie}"} if cookie else {})
        return Sent(kind, connection, start)

    def receive(self, sent: Sent) -> Answer | None:
        """None: it was not served."""
        kind, connection, start = sent
        status = 0
        try:
            response = connection.getresponse()
            body = response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            connection.close()
        self.calls.append(Call(kind, start, time.monotonic(), status))
        if not status:
            return None
        header = response.getheader("Set-Cookie")
        given = None if header is None else header.partition(";")[0].removeprefix("session=")
        if status == 200:
            content = json.loads(body)
            self.workers.add(content["worker"])
            return Answer(start, content["found"], given)
        if status != 503 or kind in ("public", "bare"):
            self.wrong.append(f"{kind} is answered {status}")
        elif given is not None or not response.getheader("Retry-After"):
            self.wrong.append(f"{kind} is a 503 that sets a cookie or does not say when to try again")
        return None

    def believe(self, kind: str, mark: str, held: Promise | None, answer: Answer, *, raced: bool) -> Promise | None:
        """What the browser holds after an answer; and whether that is what it was promised before."""
        cookie = answer.cookie
        if cookie == "" and kind != "logout":
            self.wrong.append(f"{kind} takes the cookie away")
        if kind != "public":
            held = self.compare(kind, held, answer.found)
        if kind == "login":
            self.ended += filter(None, [held])
            held = Promise(f"user {mark}", mark, cookie or "", answer.asked, high=raced)
        elif kind == "logout":
            self.ended += filter(None, [held])
            return None
        elif kind == "write" and held is None:
            held = Promise(None, mark, cookie or "", answer.asked, low=1, high=1)
        elif kind == "write" and held is not None:
            held.low = held.high = answer.found[2] + 1
        if held is None:
            if cookie and kind != "public":
                self.wrong.append(f"{kind} sets a cookie for no session")
            return None
        if not (held.cookie or cookie):
            self.wrong.append(f"{kind} begins a session without a cookie")
        held.cookie = cookie or held.cookie
        return held

    def compare(self, kind: str, held: Promise | None, found: list[Any]) -> Promise | None:
        """The session that is still there, of that which was promised."""
        if held and found[:2] == [held.user, held.token]:
            if not held.low <= found[2] <= held.high:
                self.wrong.append(f"{kind} finds a count of {found[2]}, not of {held.low} to {held.high}")
            held.low = found[2]
            return held
        if found != [None, None, 0]:
            self.wrong.append(f"{kind} shows {found} to {held}")
        elif held and not held.doubtful and held.since >= self.load.lossy_until:
            self.wrong.append(f"{kind} does not find {held}")
        if held:
            self.ended.append(held)
            self.lost += not held.doubtful
        return None

    def replay(self, ended: Promise, mark: str) -> None:
        answer = self.ask("replay", f"/{random.choice(['read', 'write'])}?mark={mark}", ended.cookie)
        if answer and answer.found != [None, None, 0]:
            self.wrong.append(f"the ended session {ended} is accepted: {answer.found}")


class Figures(NamedTuple):
    """A row of the table."""

    fault: str
    requests: int
    wrong: int
    refused: int  # answers with status 503, and connections that broke without an answer
    longest: float  # seconds
    unavailable: float  # seconds, from the fault until the last answer that was a refusal

    def __str__(self) -> str:
        times = f"{1000 * self.longest:.0f} ms | {self.unavailable:.1f}"
        return f"| {self.fault} | {self.requests} | {self.wrong} | {self.refused} | {times} |"


class Load:
    """All the clients, and what they saw."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stopping = threading.Event()
        self.lossy_until = 0.0  #: sessions that are older may have been lost
        self.clients = [Client(number, self) for number in range(CLIENTS)]
        for client in self.clients:
            client.start()

    def stop(self) -> None:
        self.stopping.set()
        deadline = time.monotonic() + 2 * PATIENCE
        for client in self.clients:
            client.join(max(0, deadline - time.monotonic()))
        assert not any(client.is_alive() for client in self.clients)

    @property
    def calls(self) -> list[Call]:
        return [call for client in self.clients for call in client.calls]

    @property
    def wrong(self) -> list[str]:
        return [wrong for client in self.clients for wrong in client.wrong]

    @property
    def workers(self) -> set[int]:
        return set().union(*(client.workers for client in self.clients))

    @property
    def lost(self) -> int:
        return sum(client.lost for client in self.clients)

    def measure_noise(self) -> float:
        """What the machine itself takes, in seconds: the longest wait, so far, for a page that needs no Redis."""
        return max((call.end - call.start for call in self.calls if call.kind == "bare"), default=0.0)

    @functools.cached_property
    def noise(self) -> float:
        """The same, when the run is over."""
        return self.measure_noise()

    def figures(self, fault: str, injected: float) -> Figures:
        calls, failed = self.calls, [call for call in self.calls if call.status != 200]
        unavailable = max((call.end - injected for call in failed), default=0.0)
        longest = max(call.end - call.start for call in calls)
        return Figures(fault, len(calls), len(self.wrong), len(failed), longest, unavailable)

    def complaints(self, records: dict[str, int]) -> list[str]:
        """What must never be, whatever was broken. `records`: the TTL of each sid that is in Redis now."""
        found = self.wrong
        found += [f"a TTL of {ttl} seconds" for ttl in records.values() if not 0 < ttl <= LIFETIME]
        for client in self.clients:
            ended = {promise.cookie.partition(".")[0] for promise in client.ended}
            found += ["the record of an ended session is there" for sid in ended if sid in records]
            for held in client.browsers:
                certain = held and not held.doubtful and held.since >= self.lossy_until
                if held and certain and held.cookie.partition(".")[0] not in records:
                    found.append(f"no record for the cookie of {held}")
        for call in self.calls:
            if (took := call.end - call.start) > BUDGET + self.noise:
                found.append(f"{call.kind} takes {took:.2f} s, when the machine itself takes {self.noise:.2f} s")
        return found


# The table --------------------------------------------------------------------------------------------------------

HEAD = ("fault", "requests", "wrong responses", "503s", "longest wait", "seconds of unavailability")
FIGURES: list[Figures] = []
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"


def table() -> list[str]:
    """The rows of this run, in Markdown, and what it ran on."""
    versions = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    number = versions.partition("v=")[2].partition(" ")[0]
    line = f"Python {platform.python_version()}, Redis {number}, redis-py {redis.__version__}, {os.cpu_count()} cores."
    head = [f"| {' | '.join(HEAD)} |", f"| --- {'| ---: ' * (len(HEAD) - 1)}|"]
    return [*head, *map(str, FIGURES), "", f"{datetime.now(UTC):%Y-%m-%d}, {line}"]


def write_readme() -> None:
    """The table takes the place of the one before."""
    readme = ROOT / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    readme.write_text("\n".join([before + begin, *table(), end + after]))


if __name__ == "__main__":
    descriptor, url, workers, kind = sys.argv[1:]
    serve(int(descriptor), url, int(workers), globals()[kind](connect(url)))
