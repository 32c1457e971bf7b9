"""Promises 2 to 8 together: Hypothesis uses an app as it likes, and a model says what must come of it.

Three browsers, a Redis that is stopped, frozen, emptied and corrupted, and requests that stay in the middle of their
view while all this goes on. Read `Model` for what is promised, the rules of `Machine` for what can happen, and its
invariants for what holds after each step. When a run fails, Hypothesis prints the shortest one that does as a program.

The usual run is the same every time, so that a failure means a change and not luck. For another and longer one::

    pytest tests/test_machine.py --machine-examples 5000
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from conftest import SECRET_KEY, Clock, RedisServer, set_cookie
from flask import Flask, request, session
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.connection import UnixDomainSocketConnection
from test_races import Gate
from werkzeug.test import TestResponse

from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable

# Seconds. The clock is moved by MOVE, so an age is never near a limit, however slow the machine is that runs this.
MOVE, REFRESH_AFTER, LIFETIME, ABSOLUTE_LIFETIME = 1000, 500, 2500, 5500
SLOW = 200  # what a whole run may take: no TTL is off by more


# The app: what its views do, to a session or to the plain dict of the model ----------------------------------------

View = Callable[[Any, str, str], object]


def login(session: MutableMapping[str, str], owner: str, value: str) -> None:
    session.update(user_id=owner, place=value)


def login_afresh(session: Any, owner: str, value: str) -> None:
    session.clear()
    login(session, owner, value)
    session.regenerate()


VIEWS: dict[str, View] = {
    "read": lambda session, _, __: None,
    "write": lambda session, key, value: session.update({key: value}),
    "drop": lambda session, key, _: session.pop(key, None),
    "login": login,
    "login_afresh": login_afresh,
    "logout": lambda session, _, __: session.clear(),
    "sign_out": lambda session, _, __: session.pop("user_id", None),  # and keep the rest
    "replace_sid": lambda session, _, __: session.regenerate(),
}


def make_app(interface: RedisSessionInterface) -> Flask:
    """The two lines, and a page for each view; a gate in the request's environment holds it where it says."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, PERMANENT_SESSION_LIFETIME=LIFETIME, SESSION_REFRESH_AFTER=REFRESH_AFTER)
    app.config["SESSION_MAX_WAIT"] = BUSY  # a machine that is busy is no outage
    app.session_interface = interface

    def wait(place: str) -> None:
        if request.environ.get("hold") == place:
            request.environ["gate"].wait()

    @app.get("/public")
    def public() -> str:
        wait("before")
        return "public"

    @app.get("/<view>/<name>/<value>")
    def page(view: str, name: str, value: str) -> dict[str, str]:
        wait("before")
        seen = dict(session)
        wait("after")
        VIEWS[view](session, name, value)
        return seen

    return app


# The model ----------------------------------------------------------------------------------------------------------

Rule = TypeVar("Rule", bound=Callable[..., Any])
NEW = "a new sid"


@dataclass
class Session:
    """What the model knows of a sid that the app gave out."""

    content: dict[str, str]
    born: int  # time of the login, or of the first write
    expires: int
    state: str = "live"  # "ended", for ever; or "junk": ended, by something unreadable that is still under its key


@dataclass
class Browser:
    name: str
    cookie: str = ""
    drawer: list[str] = field(default_factory=list)  # every cookie that it was ever given
    owners: set[str] = field(default_factory=set)  # who ever signed in here


class PatientGate(Gate):
    """A run may take longer than the rounds of test_races.py."""

    def wait(self) -> None:
        self.inside.set()
        assert self.go.wait(SLOW)


@dataclass
class Asked:
    """A request, from the moment in which Flask takes its cookie until it is answered."""

    browser: Browser
    view: str
    name: str  # a key, or an owner
    value: str  # unlike all others
    sid: str = ""  # what its cookie names, if that is accepted
    due: bool = False  # whether the cookie is old enough for a refresh
    looked: bool = False
    base: dict[str, str] | None = None  # the session that it saw at its first look; None: there was none
    gate: Gate = field(default_factory=PatientGate)
    answer: Future[TestResponse] | None = None


@dataclass
class Outcome:
    """What a request does to the sessions when it ends, if Redis is there."""

    ends: set[str] = field(default_factory=set)
    sid: str = ""  # the session that it keeps alive, or makes; then it sets the cookie
    content: dict[str, str] | None = None  # what that session holds from now on; None: what it held
    born: int = 0
    trail: bool = False  # whether a logout that still comes for the old sid ends the new one

    @property
    def changes(self) -> bool:
        return bool(self.ends) or self.content is not None


class Copy(dict[str, str]):
    """A plain dict on which a view of the app can run."""

    def regenerate(self) -> None: ...


class Model:
    """Which sids live and what is in them; what a request sees, and what comes of it."""

    def __init__(self, absolute_lifetime: int | None) -> None:
        self.absolute_lifetime = absolute_lifetime
        self.now = 0
        self.sessions: dict[str, Session] = {}
        self.signed: dict[str, int] = {}  # cookie -> when
        self.trails: dict[str, set[str]] = {}  # old sid -> new sids

    def live(self) -> dict[str, Session]:
        return {sid: known for sid, known in self.sessions.items() if known.state == "live"}

    def present(self, sid: str) -> bool:
        """Whether there is anything under its key."""
        return sid in self.sessions and self.sessions[sid].state != "ended"

    def end(self, sid: str) -> None:
        self.sessions[sid].state = "ended"

    def end_all(self) -> None:
        for sid in self.sessions:
            self.end(sid)
        self.trails.clear()

    def move_clock(self, seconds: int) -> None:
        self.now += seconds
        for sid, known in self.sessions.items():
            if known.expires <= self.now:
                self.end(sid)

    def limit(self, born: int) -> int:
        """When a session that is used now and never again expires."""
        idle = self.now + LIFETIME
        return idle if self.absolute_lifetime is None else min(idle, born + self.absolute_lifetime)

    def open(self, asked: Asked) -> None:
        """Flask takes the cookie: is it accepted, is a refresh due?"""
        if (cookie := asked.browser.cookie) and self.now - self.signed[cookie] <= LIFETIME:
            asked.sid = cookie.partition(".")[0]
            asked.due = self.now - self.signed[cookie] > REFRESH_AFTER

    def look(self, asked: Asked) -> None:
        """The first use of the session decides what the request sees, once and for all."""
        session = self.sessions.get(asked.sid)
        asked.looked = True
        asked.base = dict(session.content) if session and session.state == "live" else None

    def leave(self, asked: Asked) -> dict[str, str]:
        """The session as its view leaves it."""
        mine = Copy(asked.base or {})
        VIEWS[asked.view](mine, asked.name, asked.value)
        return dict(mine)

    def asks(self, asked: Asked) -> bool:
        """Whether the request must ask Redis again at its end, to store what it did."""
        if asked.view == "public":
            return False
        if asked.base is None:
            return bool(self.leave(asked)) or bool(asked.view == "logout" and asked.sid)
        return self.leave(asked) != asked.base or asked.view == "replace_sid"

    def follow(self, sid: str) -> set[str]:
        """Where a session went whose sid was replaced: what a logout that comes too late ends as well."""
        ends = set()
        for to in self.trails.get(sid, ()):
            ends |= {to} if self.present(to) else self.follow(to)
        return ends

    def outcome(self, asked: Asked) -> Outcome:
        """The promises: what becomes of a request that saw `base`, now that the sessions are as they are."""
        sid, base, view = asked.sid, asked.base, asked.view
        mine = {} if view == "public" else self.leave(asked)
        if view == "public" or (base is not None and not self.asks(asked)):  # a refresh never creates
            return Outcome(sid=sid) if asked.due and self.present(sid) else Outcome()
        if base is None:  # a visitor: what is written begins a session
            ends = self.follow(sid) if view in ("logout", "login_afresh") else set()
            return Outcome(ends, NEW, mine, born=self.now) if mine else Outcome(ends)
        now = self.sessions[sid]
        if view == "logout":
            return Outcome({sid} if self.present(sid) else self.follow(sid))
        signs_in = view == "login_afresh" or mine.get("user_id") not in (None, base.get("user_id"))
        changed = {key: value for key, value in mine.items() if base.get(key) != value}
        if now.state != "live":  # it stays ended: only a login makes a session, of what it wrote alone
            ends = self.follow(sid) if view in ("login_afresh", "sign_out") else set()
            own = mine if view == "login_afresh" else changed
            return Outcome(ends, NEW, own, born=self.now) if signs_in else Outcome(ends)
        if view == "login_afresh":
            return Outcome({sid}, NEW, mine, born=self.now)
        # What others wrote to other keys meanwhile stays.
        merged = {key: value for key, value in now.content.items() if key in mine or key not in base} | changed
        if not merged:
            return Outcome({sid})
        if signs_in or view in ("sign_out", "replace_sid"):
            born = self.now if signs_in else now.born
            return Outcome({sid}, NEW, merged, born=born, trail=view == "replace_sid")
        return Outcome(sid=sid, content=merged, born=now.born)

    def apply(self, asked: Asked, outcome: Outcome, cookie: str | None) -> None:
        """The request was answered with this cookie (empty: deleted; None: left alone), and so acknowledged."""
        for sid in outcome.ends:
            self.end(sid)
        if not outcome.sid:
            assert cookie == ("" if outcome.ends else None), "only the request that ended a session deletes the cookie"
            return
        if cookie is None and not outcome.changes and self.sessions[outcome.sid].state == "junk":
            return  # EXPIRE does not look at what it keeps, but who looks has nothing to keep
        assert cookie, "what was written or refreshed comes with a cookie"
        sid = cookie.partition(".")[0]
        if outcome.sid == NEW:
            assert sid not in self.sessions, "a new sid is new"
            self.sessions[sid] = Session({}, outcome.born, 0)
            if outcome.trail:
                self.trails.setdefault(asked.sid, set()).add(sid)
        assert sid == outcome.sid or outcome.sid == NEW
        session = self.sessions[sid]
        session.content = session.content if outcome.content is None else outcome.content
        session.expires = self.limit(session.born)
        self.signed[cookie] = self.now


# The machine --------------------------------------------------------------------------------------------------------

NAMES = ["laptop", "phone", "library"]
BROWSERS = st.just("laptop") | st.sampled_from(NAMES)  # most happens on one, so that its requests meet
OWNERS = st.sampled_from(["ada", "bob"])
KEYS = st.sampled_from(["a", "b"])
WHAT = (
    st.tuples(st.sampled_from(["write", "drop"]), KEYS)
    | st.tuples(st.sampled_from(["login", "login_afresh"]), OWNERS)
    | st.tuples(st.sampled_from(["read", "logout", "sign_out", "replace_sid"]), st.just("-"))
)
WHICH = st.integers(0, 7)  # of what there is, the oldest first
JUNK = [b"", b"\xff\x00", b"{", b"null", b"[1]", b'{"a":{" d":5}}', b'{"a":{" u":"x"}}', b"[" * 200, "a list"]
MAX_HELD = 3
EXAMPLES, STEPS = 60, 40
PATIENCE = {"frozen": 2, "refusing": 4, "down": 4}  # requests until it is repaired
BUSY, FROZEN = 10, 0.05  # seconds to wait for an answer: the machine that runs this may be busy, a frozen Redis is not


def redis_is(*states: str) -> Callable[[Rule], Rule]:
    return precondition(lambda self: self.redis in states)


class Line(UnixDomainSocketConnection):
    """The app's connection to Redis."""

    wait: float = BUSY

    def read_response(self, *args: Any, **options: Any) -> Any:
        return super().read_response(*args, **{"timeout": self.wait} | options)


def own(session: Any) -> Any:
    """What the app put into a session; the interface's own keys begin with an underscore."""
    return session and {key: value for key, value in session.items() if not key.startswith("_")}


class Machine(RuleBasedStateMachine):
    """Browsers, an app, and a Redis that is "up", "refusing" writes, "frozen" or "down"."""

    def __init__(
        self,
        server: RedisServer,
        clock: Clock,
        make_interface: Callable[[Any], RedisSessionInterface] = RedisSessionInterface,
        **config: Any,
    ) -> None:
        super().__init__()
        self.server, self.clock = server, clock
        self.client: Any = server.connect(socket_timeout=BUSY)  # the machine's own
        self.client.flushall()
        client = server.connect()
        client.connection_pool.connection_class = Line
        self.interface: Any = make_interface(client)
        self.app = make_app(self.interface)
        self.app.config.update(config)
        self.model = Model(config.get("SESSION_ABSOLUTE_LIFETIME"))
        self.browsers = {name: Browser(name) for name in NAMES}
        self.pool = ThreadPoolExecutor(MAX_HELD)
        self.waiting: list[Asked] = []
        self.number = 0
        self.redis = "up"
        self.doubts: list[Outcome] = []  # what a frozen Redis may still do, although the answer was a 503
        self.patience = 0

    def teardown(self) -> None:
        self.server.thaw()
        Line.wait = BUSY
        if self.redis == "down":
            self.server.start()
        for asked in self.waiting:
            asked.gate.go.set()
        self.pool.shutdown()
        self.client.config_set("min-replicas-to-write", 0)
        self.server.disconnect()
        self.clock.offset = 0

    # Requests.

    @initialize(visitors=st.fixed_dictionaries({name: st.none() | OWNERS for name in NAMES}))
    def arrive(self, visitors: dict[str, str | None]) -> None:
        """A run that must first come upon a login tries little else."""
        for name, owner in visitors.items():
            self.ask(name, "write", "a")
            if owner:
                self.ask(name, "login", owner)

    def make(self, name: str, view: str, argument: str) -> Asked:
        self.number += 1
        browser = self.browsers[name]
        if view.startswith("login"):
            browser.owners.add(argument)
        asked = Asked(browser, view, argument, f"{name}-{self.number}")
        self.model.open(asked)
        return asked

    def send(self, asked: Asked, hold: str = "") -> TestResponse:
        path = "/public" if asked.view == "public" else f"/{asked.view}/{asked.name}/{asked.value}"
        headers = {"Cookie": f"session={asked.browser.cookie}"} if asked.browser.cookie else {}
        environ = {"hold": hold, "gate": asked.gate}
        return self.app.test_client(use_cookies=False).get(path, headers=headers, environ_overrides=environ)

    def ask(self, name: str, view: str, argument: str = "-") -> None:
        """A whole request."""
        asked = self.make(name, view, argument)
        self.check(asked, self.send(asked))

    def look(self, asked: Asked) -> bool:
        """Whether the request learned what its session is, then or earlier; False: that is a 503."""
        if asked.view != "public" and not asked.looked:
            if asked.sid and self.redis in ("frozen", "down"):
                return False
            self.model.look(asked)
        return True

    def check(self, asked: Asked, response: TestResponse) -> None:
        """Hold an answer against the model."""
        status, header = response.status_code, set_cookie(response)
        assert status in (200, 503)
        self.check_that_nobody_else_is_shown(asked.browser, response)
        known = self.look(asked)
        outcome = self.model.outcome(asked) if known else Outcome()
        asks = known and self.model.asks(asked)
        if self.redis == "up":
            expected = {200}
        elif self.redis == "refusing":  # reads go on
            expected = {503} if outcome.changes else {200, 503} if asks else {200}
        else:
            expected = {200} if known and not asks else {503}
        assert status in expected, (status, expected)
        if status == 200 and asked.view != "public":
            assert own(response.json) == (asked.base or {})
        if self.redis == "frozen":
            self.doubts.append(outcome)
        if self.redis == "up":
            cookie = header and header.partition(";")[0].removeprefix("session=")
            self.model.apply(asked, outcome, cookie)
            if cookie and header:
                left = self.model.sessions[cookie.partition(".")[0]].expires - self.model.now
                assert left - SLOW < int(header.partition("Max-Age=")[2].partition(";")[0]) <= left
            if cookie is not None:
                asked.browser.cookie = cookie
            if cookie:
                asked.browser.drawer.append(cookie)
            return
        assert header is None, "a request that could not write keeps the cookie"
        assert status == 200 or int(response.headers["Retry-After"]) > 0
        self.patience -= 1
        if not self.patience:
            self.repair(empty=False)

    def check_that_nobody_else_is_shown(self, browser: Browser, response: TestResponse) -> None:
        """Needs no model: browsers never exchange cookies, so each sees what itself wrote, whatever happens."""
        for key, value in own(response.json or {}).items() if response.is_json else ():
            assert value in browser.owners if key == "user_id" else value.startswith(f"{browser.name}-")

    @rule(browser=BROWSERS)
    def public(self, browser: str) -> None:
        self.ask(browser, "public")

    @rule(browser=BROWSERS)
    def read(self, browser: str) -> None:
        self.ask(browser, "read")

    @rule(browser=BROWSERS, key=KEYS)
    def write(self, browser: str, key: str) -> None:
        self.ask(browser, "write", key)

    @rule(browser=BROWSERS, key=KEYS)
    def drop(self, browser: str, key: str) -> None:
        self.ask(browser, "drop", key)

    @rule(browser=BROWSERS, owner=OWNERS, view=st.sampled_from(["login", "login_afresh"]))
    def login(self, browser: str, owner: str, view: str) -> None:
        self.ask(browser, view, owner)

    @rule(browser=BROWSERS, view=st.sampled_from(["logout", "sign_out"]))
    def logout(self, browser: str, view: str) -> None:
        self.ask(browser, view)

    @rule(browser=BROWSERS)
    def replace_sid(self, browser: str) -> None:
        self.ask(browser, "replace_sid")

    def hold(self, place: str, name: str, view: str, argument: str) -> Any:
        if len(self.waiting) == MAX_HELD:
            self.release(self.waiting[0])
        asked = self.make(name, view, argument)
        if place == "after" and not self.look(asked):
            self.check(asked, self.send(asked))
            return
        asked.answer = self.pool.submit(self.send, asked, place)
        assert asked.gate.inside.wait(BUSY)
        self.waiting.append(asked)

    @rule(browser=BROWSERS, what=WHAT | st.just(("public", "-")))
    def hold_before_it_looks(self, browser: str, what: tuple[str, str]) -> None:
        """A request that waits in its view from now on, and has not used its session yet."""
        self.hold("before", browser, *what)

    @rule(browser=BROWSERS, what=WHAT)
    def hold_after_it_looked(self, browser: str, what: tuple[str, str]) -> None:
        """The same, but it has."""
        self.hold("after", browser, *what)

    @precondition(lambda self: self.waiting)
    @rule(which=WHICH)
    def release_one(self, which: int) -> None:
        self.release(self.waiting[which % len(self.waiting)])

    def release(self, asked: Asked) -> None:
        self.waiting.remove(asked)
        asked.gate.go.set()
        assert asked.answer
        self.check(asked, asked.answer.result(BUSY))

    @rule(browser=BROWSERS, which=WHICH)
    def replay_an_old_cookie(self, browser: str, which: int) -> None:
        """Or none, as in a private window."""
        cookies = ["", *self.browsers[browser].drawer]
        self.browsers[browser].cookie = cookies[-1 - which % len(cookies)]

    # The world. Time passes for cookies and for Redis; the trails of replaced sids are left out.

    @redis_is("up")
    @rule()
    def move_clock(self) -> None:
        self.clock.offset += MOVE
        self.model.move_clock(MOVE)
        for key in self.client.keys():
            if not key.startswith(b"MOVED:"):
                self.client.pexpire(key, self.client.pttl(key) - 1000 * MOVE)

    def pick(self, which: int) -> str:
        live = list(self.model.live())
        return live[which % len(live)]

    @redis_is("up")
    @precondition(lambda self: self.model.live())
    @rule(which=WHICH)
    def expire(self, which: int) -> None:
        sid = self.pick(which)
        assert self.client.pexpire(f"SESSION:{sid}", 0)
        self.model.end(sid)

    @redis_is("up")
    @precondition(lambda self: self.model.live())
    @rule(which=WHICH, junk=st.sampled_from(JUNK))
    def corrupt(self, which: int, junk: Any) -> None:
        sid = self.pick(which)
        key = f"SESSION:{sid}"
        if isinstance(junk, bytes):
            self.client.set(key, junk, keepttl=True)
        else:
            left = self.client.pttl(key)
            self.client.delete(key)
            self.client.rpush(key, junk)
            self.client.pexpire(key, left)
        self.model.sessions[sid].state = "junk"

    @redis_is("up")
    @rule()
    def flush(self) -> None:
        self.client.flushall()
        self.model.end_all()

    @redis_is("up")
    @rule(outage=st.sampled_from([*PATIENCE]))
    def stop(self, outage: str) -> None:
        """Or what comes near it. It is repaired after some requests, or by the next rule."""
        self.redis, self.patience, self.doubts = outage, PATIENCE[outage], []
        if outage == "down":
            self.server.stop()
        elif outage == "frozen":
            self.server.freeze()
            Line.wait = FROZEN
        else:
            self.client.config_set("min-replicas-to-write", 1)

    @redis_is(*PATIENCE)
    @rule(empty=st.booleans())
    def repair(self, empty: bool) -> None:
        """A server that was down has its data again, or is empty."""
        outage, self.redis = self.redis, "up"
        if outage == "down":
            self.server.start()
            if empty:
                self.flush()
        elif outage == "frozen":
            self.server.thaw()
            Line.wait = BUSY
            for _ in range(3):  # until all that was sent before is read
                self.server.connect(socket_timeout=BUSY).ping()
            self.settle()
        else:
            self.client.config_set("min-replicas-to-write", 0)
        self.interface.store.line.breaker.timeouts = 0  # half a second later, that is

    def settle(self) -> None:
        """A request that got a 503 was carried out, or was not; nothing between the two."""
        records = self.records()
        for sid in records.keys() - self.model.sessions.keys():
            (born, *_) = [doubt.born for doubt in self.doubts if (doubt.sid, doubt.content) == (NEW, records[sid])]
            self.model.sessions[sid] = Session(records[sid] or {}, born, self.model.limit(born))
        for sid, known in self.model.sessions.items():
            if known.state == "ended":
                continue
            if sid not in records:
                assert any(sid in doubt.ends for doubt in self.doubts)
                self.model.end(sid)
                continue
            kept = [doubt.content for doubt in self.doubts if doubt.sid == sid]
            if known.state == "live" and records[sid] != known.content:
                assert records[sid] in kept
                known.content = records[sid] or {}
            if kept and self.ttl(sid) > known.expires - self.model.now:
                known.expires = self.model.limit(known.born)

    # With the index of owners.

    @precondition(lambda self: self.redis == "up")
    @rule(owner=OWNERS, keep=st.none() | WHICH)
    def revoke(self, owner: str, keep: int | None) -> None:
        sids = [sid for sid, known in self.model.live().items() if known.content.get("user_id") == owner]
        kept = None if keep is None or not sids else sids[keep % len(sids)]
        ended = [sid for sid in sids if sid != kept]
        with self.app.app_context():
            number = self.interface.revoke(owner, keep=kept)
        for sid in ended:
            self.model.end(sid)
        left = self.records()  # what cannot be read may have been the owner's, and be deleted and counted as well
        for sid in [sid for sid in self.model.sessions if self.model.present(sid) and sid not in left]:
            assert self.model.sessions[sid].state == "junk"
            self.model.end(sid)
            number -= 1
        assert number == len(ended)

    @precondition(lambda self: self.redis == "up" and self.model.live())
    @rule(which=WHICH)
    def end(self, which: int) -> None:
        sid = self.pick(which)
        with self.app.app_context():
            assert self.interface.end(sid)
        self.model.end(sid)

    # What holds after each step. That no answer is a 500, or shows another user, or accepts an ended session, and that
    # pages without a session stay up, is checked with each answer.

    def records(self) -> dict[str, dict[str, Any] | None]:
        """All sessions that there are in Redis; None for one that cannot be read."""
        store = RedisStore(self.client)
        sids = [key.decode().removeprefix("SESSION:") for key in self.client.keys("SESSION:*")]
        return {sid: own(store.get(sid)) for sid in sids}

    def ttl(self, sid: str) -> float:
        return float(self.client.pttl(f"SESSION:{sid}") / 1000)

    @redis_is("up", "refusing")
    @invariant()
    def redis_holds_the_live_sessions_and_nothing_else(self) -> None:
        """No session came back, no update was lost, no 503 wrote, no cookie is without a record."""
        expected: dict[str, Any] = {sid: session.content for sid, session in self.model.live().items()}
        expected |= {sid: None for sid, session in self.model.sessions.items() if session.state == "junk"}
        assert self.records() == expected

    @redis_is("up", "refusing")
    @invariant()
    def every_key_has_a_ttl(self) -> None:
        """A session's is what its cookie says."""
        for key in self.client.keys():
            assert self.client.pttl(key) > 0
        for sid, known in self.model.live().items():
            left = known.expires - self.model.now
            assert left - SLOW < self.ttl(sid) <= left

    @precondition(lambda self: self.redis == "up")
    @invariant()
    def the_index_lists_the_live_sessions_of_each_owner(self) -> None:
        with self.app.app_context():
            for owner in ("ada", "bob"):
                listed = [entry.sid for entry in self.interface.sessions_of(owner)]
                live = self.model.live().items()
                assert sorted(listed) == sorted(sid for sid, kept in live if kept.content.get("user_id") == owner)


# The runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server that has its data again after it was killed."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder), "--appendonly", "yes", "--appendfsync", "no")
        yield server
        server.stop()


@pytest.fixture
def run(request: pytest.FixtureRequest) -> settings:
    """How long Hypothesis tries: a while, always the same; or as long as one likes, always something new."""
    examples = request.config.getoption("--machine-examples")
    return settings(
        max_examples=examples or EXAMPLES,
        derandomize=not examples,
        stateful_step_count=STEPS,
        deadline=None,  # a step may start a server
    )


def try_all(machine: Callable[[], Machine], how_long: settings) -> None:
    run_state_machine_as_test(machine, settings=how_long)  # type: ignore[arg-type]  # it takes any factory


def test_the_promises_hold_whatever_happens(durable: RedisServer, clock: Clock, run: settings) -> None:
    """Any browsers, any order, any outage."""
    try_all(lambda: Machine(durable, clock), run)


def test_the_promises_hold_with_an_absolute_lifetime(durable: RedisServer, clock: Clock, run: settings) -> None:
    """However often a session is used, and whatever sid it has by then."""
    try_all(lambda: Machine(durable, clock, SESSION_ABSOLUTE_LIFETIME=ABSOLUTE_LIFETIME), run)


# What the machine must find ----------------------------------------------------------------------------------------


class BlindWrites(RedisStore):
    """No compare-and-set: the last writer wins it all, and a logout is undone."""

    def swap(self, sid: str, seen: bytes, record: bytes, *, max_age: int = 0, to: str | None = None) -> bool:
        if record != b"{}":
            self.line.run("SET", self.key(to or sid), record, "EX", max_age)
        if record == b"{}" or to not in (None, sid):
            self.line.run("DEL", self.key(sid))
        return True


class NothingIsDestroyed(RedisStore):
    """A logout takes only the cookie."""

    def destroy(self, sid: str) -> bool:
        return True


class TheOldSidLives(RedisStore):
    """A login copies the session instead of moving it."""

    def swap(self, sid: str, seen: bytes, record: bytes, *, max_age: int = 0, to: str | None = None) -> bool:
        swapped = super().swap(sid, seen, record, max_age=max_age, to=to)
        if swapped and to not in (None, sid):
            self.line.run("SET", self.key(sid), seen, "EX", max_age)
        return swapped


class NoTTL(RedisStore):
    """What is added stays for ever."""

    def add(self, sid: str, value: Any, *, max_age: int = 0) -> bool:
        added = super().add(sid, value, max_age=max_age)
        self.line.run("PERSIST", self.key(sid))
        return added


class RefreshCreates(RedisStore):
    """A refresh writes the record again, whether it is there or not."""

    def touch(self, sid: str, *, max_age: int = 0) -> bool:
        self.line.run("SET", self.key(sid), b"{}", "NX", "EX", max_age)
        return super().touch(sid, max_age=max_age)


class OutageLooksAnonymous(RedisStore):
    """Whoever is signed in sees a login page while Redis is away."""

    def read(self, sid: str) -> bytes | None:
        try:
            return super().read(sid)
        except StoreUnavailable:
            return None


class FailedWritesPass(RedisStore):
    """As in koa: printed, and answered with a 200."""

    def swap(self, *args: Any, **options: Any) -> bool:
        try:
            return super().swap(*args, **options)
        except StoreUnavailable:
            return True


class RemembersTheLastRecord(RedisStore):
    """A cache that forgets to ask whose it is."""

    last: bytes | None = None

    def read(self, sid: str) -> bytes | None:
        cls = type(self)
        cls.last = cls.last or super().read(sid)
        return cls.last


class SidsAreAdopted(RedisSessionInterface):
    """A write goes to the sid that the cookie names, also when that session ended."""

    def _create(self, app: Flask, session: Any, mine: dict[str, Any]) -> str | None:
        old = session.sid
        new = super()._create(app, session, mine)
        if not old or not new:
            return new
        self.store.destroy(new)
        session.sid = self.store.set(mine, old, max_age=self.get_max_age(app))
        return str(session.sid)


class OwnersKeepTheirSid(RedisSessionInterface):
    """Session fixation."""

    def _owners(self, app: Flask, session: Any) -> dict[str, Any]:
        return {}


BROKEN: list[type[RedisStore | RedisSessionInterface]] = [
    BlindWrites,
    NothingIsDestroyed,
    TheOldSidLives,
    NoTTL,
    RefreshCreates,
    OutageLooksAnonymous,
    FailedWritesPass,
    RemembersTheLastRecord,
    SidsAreAdopted,
    OwnersKeepTheirSid,
]


@pytest.mark.parametrize("broken", BROKEN)
def test_the_machine_can_lose(durable: RedisServer, clock: Clock, broken: type[Any]) -> None:
    """It finds what each of these does wrong."""
    until_found = settings(
        max_examples=5 * EXAMPLES,
        derandomize=True,
        stateful_step_count=STEPS,
        deadline=None,
        phases=[Phase.generate],  # not the shortest run: any will do
    )

    def make_interface(client: Any) -> RedisSessionInterface:
        part = broken(client)
        return part if isinstance(part, RedisSessionInterface) else RedisSessionInterface(part)

    with pytest.raises(AssertionError):
        try_all(lambda: Machine(durable, clock, make_interface), until_found)
