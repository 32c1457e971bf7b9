"""The load: clients that know what they were promised, and complain."""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import random
import select
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from support.faults import PATIENCE
from support.faults.app import CACHED, LIFETIME
from support.faults.figures import Figures
from support.stopwatch import Stopwatch

CLIENTS = 32  # each with one connection
BROWSERS = 3  # of each client
PAUSE = 0.1  # seconds, at most, between two requests of a client: more than the machine can bear measures only that
BUDGET = 1.0  # seconds for a request
RECOVERY = 2.0  # seconds from the repair until everything is served

#: How often. A replay shows a cookie of a session that has ended; a bare request is for a public page, without cookie.
KINDS = {
    "read": 30,
    "write": 20,
    "login": 12,
    "logout": 6,
    "replay": 12,
    "public": 10,
    "bare": 10,
    "cached": 10,
    "enqueue": 6,
}

#: Seconds that a request may take longer, as it may wait for another one that makes its answer.
WAITS = {"cached": CACHED}


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
        self.oldest = 0.0  # seconds: the age of an answer that is cached
        self.jobs: dict[str, float] = {}  # that are in the queue, as it was told; since when

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
        elif kind == "cached":
            self.check_age()
        elif kind == "enqueue":
            answer = self.ask(kind, f"/enqueue?mark={mark}", "")
            if answer and answer.found[0]:
                self.jobs[answer.found[0]] = answer.asked
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

    def check_age(self) -> None:
        """Ask for what is cached, and note how old it is."""
        now = time.time()
        answer = self.ask("cached", "/cached", "")
        if answer:
            self.oldest = max(self.oldest, now - answer.found[0])

    def ask(self, kind: str, path: str, cookie: str) -> Answer | None:
        return self.receive(self.send(self.connection, kind, path, cookie))

    def send(self, connection: http.client.HTTPConnection, kind: str, path: str, cookie: str) -> Sent:
        start = time.monotonic()
        if connection.sock and (random.random() < 0.05 or select.select([connection.sock], [], [], 0)[0]):
            connection.close()  # for another worker to get it; or the server closed it
        with suppress(OSError):
            method = "GET" if path.startswith(("/public", "/read", "/cached")) else "POST"
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
        if status != 503 or kind in ("public", "bare", "cached"):
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


class Load:
    """All the clients, and what they saw."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stopping = threading.Event()
        self.lossy_until = 0.0  #: sessions that are older may have been lost
        self.clients = [Client(number, self) for number in range(CLIENTS)]
        self.watch = Stopwatch().__enter__()
        for client in self.clients:
            client.start()

    def stop(self) -> None:
        if not self.stopping.is_set():
            self.watch.__exit__()
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

    def serves(self, workers: int, since: float = 0) -> bool:
        """Whether so many workers have answered, and every kind of request was served since then."""
        kinds = {call.kind for call in self.calls if call.status == 200 and call.start > since}
        return kinds == KINDS.keys() and len(self.workers) >= workers

    @property
    def lost(self) -> int:
        return sum(client.lost for client in self.clients)

    def measure_noise(self) -> float:
        """What the machine itself takes, in seconds: the longest wait, so far, for a page that needs no Redis.

        Or, if it stood still when nobody had asked for one, by how much a thread was late that only slept.
        """
        return max(self.watch.longest, *self.bare_waits(), 0.0)

    def bare_waits(self) -> list[float]:
        """The waits for pages that need no Redis, sorted."""
        return sorted(call.end - call.start for call in self.calls if call.kind == "bare")

    @functools.cached_property
    def noise(self) -> float:
        """The same, when the run is over."""
        return self.measure_noise()

    def figures(self, fault: str, injected: float) -> Figures:
        calls, failed = self.calls, [call for call in self.calls if call.status != 200]
        unavailable = max((call.end - injected for call in failed), default=0.0)
        longest = max(call.end - call.start for call in calls)
        return Figures(fault, len(calls), len(self.wrong), len(failed), longest, unavailable)

    def complaints(self, records: dict[str, int], jobs: set[str]) -> list[str]:
        """What must never be, whatever was broken. In Redis are now: `records`, sids with TTL; and `jobs`."""
        found = self.wrong
        found += [f"a TTL of {ttl} seconds" for ttl in records.values() if not 0 < ttl <= LIFETIME]
        for client in self.clients:
            if client.oldest > 2 * CACHED + BUDGET + self.noise:  # it is kept so long, and while the next is made
                found.append(f"an answer is {client.oldest:.2f} s old")
            ended = {promise.cookie.partition(".")[0] for promise in client.ended}
            found += ["the record of an ended session is there" for sid in ended if sid in records]
            for held in client.browsers:
                certain = held and not held.doubtful and held.since >= self.lossy_until
                if held and certain and held.cookie.partition(".")[0] not in records:
                    found.append(f"no record for the cookie of {held}")
            told = {job for job, since in client.jobs.items() if since >= self.lossy_until}
            found += ["a job is lost" for job in told if job not in jobs]
        for call in self.calls:
            took = call.end - call.start
            if took - self.watch.late_between(*call[1:3]) > BUDGET + WAITS.get(call.kind, 0) + self.noise:
                found.append(f"{call.kind} takes {took:.2f} s, when the machine itself takes {self.noise:.2f} s")
        return found
