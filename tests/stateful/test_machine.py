"""Promises 2 to 8 together: Hypothesis uses an app as it likes, and a model says what must come of it.

Three browsers, a Redis that is stopped, frozen, emptied and corrupted, and requests that stay in the middle of their
view while all this goes on. Read `Model` for what is promised, the rules of `Machine` for what can happen, and its
invariants for what holds after each step. When a run fails, Hypothesis prints the shortest one that does as a program.

The usual run is the same every time, so that a failure means a change and not luck. For another and longer one::

    pytest tests/stateful/test_machine.py --machine-examples 5000
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
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
from redis import RedisError
from support.apps import SECRET_KEY, set_cookie
from support.clock import Clock
from support.gate import Gate
from support.servers import RedisServer
from support.tiers import rounds
from werkzeug.test import TestResponse

from _redis_store.cookie import began_at
from _redis_store.sender import Command
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
    """A run may take longer than the rounds of test_03_races.py."""

    def wait(self) -> None:
        self.inside.set()
        assert self.go.wait(SLOW)


@dataclass
class Asked:
    """A request, from the moment in which the app gets its cookie until it is answered."""

    browser: Browser
    view: str
    name: str  # a key, or an owner
    value: str  # unlike all others
    cookie: str
    sid: str = ""  # what its cookie names, if that is accepted
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
        self.trails: dict[str, str] = {}  # old sid -> new sid

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
        """The cookie is looked at when the session is first used, or else at the end: is it accepted?"""
        if not asked.cookie or self.now - self.signed[asked.cookie] > LIFETIME:
            return
        sid = asked.cookie.partition(".")[0]
        if self.absolute_lifetime is None or self.now - self.sessions[sid].born <= self.absolute_lifetime:
            asked.sid = sid

    def is_due(self, asked: Asked) -> bool:
        """Whether the cookie is old enough for a refresh, at the end of the request."""
        return bool(asked.sid) and self.now - self.signed[asked.cookie] > REFRESH_AFTER

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
        to = self.trails.get(sid)
        return set() if to is None else {to} if self.present(to) else self.follow(to)

    def outcome(self, asked: Asked) -> Outcome:
        """The promises: what becomes of a request that saw `base`, now that the sessions are as they are."""
        sid, base, view = asked.sid, asked.base, asked.view
        mine = {} if view == "public" else self.leave(asked)
        if view == "public":  # a refresh reads first
            return Outcome(sid=sid) if self.is_due(asked) and sid in self.live() else Outcome()
        if base is not None and not self.asks(asked):  # it never creates; but EXPIRE does not look at what it keeps
            return Outcome(sid=sid) if self.is_due(asked) and self.present(sid) else Outcome()
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
        assert cookie, "what was written or refreshed comes with a cookie"
        sid = cookie.partition(".")[0]
        if outcome.sid == NEW:
            assert sid not in self.sessions, "a new sid is new"
            self.sessions[sid] = Session({}, outcome.born, 0)
            if outcome.trail:
                self.trails[asked.sid] = sid
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
EXAMPLES, STEPS = rounds(12, 60), 40
UNTIL_FOUND = 300  # examples; most need few
PATIENCE = {"frozen": 2, "refusing": 4, "down": 4}  # requests until it is repaired
BUSY, FROZEN = 10, 0.05  # seconds to wait for an answer: the machine that runs this may be busy, a frozen Redis is not


def redis_is(*states: str) -> Callable[[Rule], Rule]:
    return precondition(lambda self: self.redis in states)


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
        self.began = int(clock())  # the model's time 0
        self.pool_of_app: Any = (client := server.connect(socket_timeout=BUSY)).connection_pool
        self.interface = make_interface(client)
        self.interface.clock = clock
        self.app = make_app(self.interface)
        self.app.config.update(config)
        self.model = Model(config.get("SESSION_ABSOLUTE_LIFETIME"))
        self.browsers = {name: Browser(name) for name in NAMES}
        self.pool = ThreadPoolExecutor(MAX_HELD + 1)
        self.waiting: list[Asked] = []
        self.number = 0
        self.redis = "up"
        self.doubts: list[Outcome] = []  # what a frozen Redis may still do, although the answer was a 503
        self.patience = 0

    def be_patient(self, seconds: float) -> None:
        """So long the app's connections wait for an answer from now on."""
        self.pool_of_app.connection_kwargs["socket_timeout"] = seconds
        for connection in self.pool_of_app._connections:
            connection.socket_timeout = seconds
            if connection._sock:
                connection._sock.settimeout(seconds)

    def teardown(self) -> None:
        self.server.thaw()
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
        return Asked(browser, view, argument, f"{name}-{self.number}", browser.cookie)

    def send(self, asked: Asked, hold: str = "") -> TestResponse:
        path = "/public" if asked.view == "public" else f"/{asked.view}/{asked.name}/{asked.value}"
        headers = {"Cookie": f"session={asked.cookie}"} if asked.cookie else {}
        environ = {"hold": hold, "gate": asked.gate}
        return self.app.test_client(use_cookies=False).get(path, headers=headers, environ_overrides=environ)

    def ask(self, name: str, view: str, argument: str = "-") -> None:
        """A whole request."""
        asked = self.make(name, view, argument)
        self.check(asked, self.send(asked))

    def look(self, asked: Asked) -> bool:
        """Whether the request learned what its session is, then or earlier; False: that is a 503."""
        if asked.looked:
            return True
        self.model.open(asked)
        if asked.view == "public":
            return True
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
            assert response.json == (asked.base or {})
        if self.redis == "frozen":
            self.doubts.append(outcome)
        if self.redis == "up":
            cookie = header and header.partition(";")[0].removeprefix("session=")
            self.model.apply(asked, outcome, cookie)
            if cookie and header:
                sid = cookie.partition(".")[0]
                assert 0 <= (began_at(sid) or 0) - self.began - self.model.sessions[sid].born < SLOW
                left = self.model.sessions[sid].expires - self.model.now
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
        for key, value in (response.json or {}).items() if response.is_json else ():
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

    def hold(self, place: str, name: str, view: str, argument: str) -> Asked:
        if len(self.waiting) == MAX_HELD:
            self.release(self.waiting[0])
        asked = self.make(name, view, argument)
        if place == "after" and not self.look(asked):
            self.check(asked, self.send(asked))
            return asked
        asked.answer = self.pool.submit(self.send, asked, place)
        assert asked.gate.inside.wait(BUSY)
        self.waiting.append(asked)
        return asked

    @rule(browser=BROWSERS, what=WHAT | st.just(("public", "-")))
    def hold_before_it_looks(self, browser: str, what: tuple[str, str]) -> None:
        """A request that waits in its view from now on, and has not used its session yet."""
        self.hold("before", browser, *what)

    @rule(browser=BROWSERS, what=WHAT)
    def hold_after_it_looked(self, browser: str, what: tuple[str, str]) -> None:
        """The same, but it has."""
        self.hold("after", browser, *what)

    @rule(
        browser=BROWSERS,
        slow=st.just(("logout", "-")) | WHAT,
        fast=st.just(("replace_sid", "-")) | WHAT,
        late=st.booleans(),
    )
    def meet(self, browser: str, slow: tuple[str, str], fast: tuple[str, str], late: bool) -> None:
        """Two requests with one cookie, of which one comes in the middle of the other; later, when both are due."""
        if late and self.redis == "up":
            self.move_clock()
        waiting = self.hold("after", browser, *slow)
        self.ask(browser, *fast)
        if waiting in self.waiting:
            self.release(waiting)

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

    @redis_is("up")
    @rule(browser=BROWSERS, view=st.sampled_from(["read", "write"]))
    def use_for_long(self, browser: str, view: str) -> None:
        """Longer than a session lives without a refresh."""
        for _ in range(LIFETIME // MOVE + 2):
            self.move_clock()
            self.ask(browser, view)

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
            self.be_patient(FROZEN)
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
            self.be_patient(BUSY)
            for _ in range(3):  # until all that was sent before is read
                self.server.connect(socket_timeout=BUSY).ping()
            self.settle()
        else:
            self.client.config_set("min-replicas-to-write", 0)
        self.interface.store.sender.breaker.timeouts = 0  # half a second later, that is

    def settle(self) -> None:
        """A request that got a 503 was carried out, or was not; nothing between the two."""
        records = self.records()
        for sid in records.keys() - self.model.sessions.keys():
            (doubt, *_) = [each for each in self.doubts if (each.sid, each.content) == (NEW, records[sid])]
            self.model.sessions[sid] = Session(records[sid] or {}, doubt.born, self.model.limit(doubt.born))
            if doubt.trail:
                self.model.trails |= dict.fromkeys(doubt.ends, sid)
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
        return {sid: store.get(sid) for sid in sids}

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


class Client:
    """The app's redis-py client, which lets something else happen between two of its commands."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.hook: Callable[[], object] | None = None
        self.left = 0  #: how many commands are sent before it

    def execute_command(self, *command: Any, **options: Any) -> Any:
        if (hook := self.hook) and threading.current_thread() is threading.main_thread():
            self.left -= 1
            if self.left < 0:
                self.hook = None
                hook()
        return self.client.execute_command(*command, **options)

    def execute_all(self, commands: list[Command], **options: Any) -> list[Any]:
        answers: list[Any] = []
        for command in commands:
            try:
                answers.append(self.execute_command(*command, **options))
            except RedisError as error:
                answers.append(error)
        return answers


class CommandByCommand(Machine):
    """The same, where all may be signed out between two commands of a request. Its app has a `Client`."""

    @redis_is("up")
    @rule(browser=BROWSERS, owner=OWNERS, view=st.sampled_from(["login", "login_afresh", "replace_sid"]), left=WHICH)
    def revoke_between_two_commands(self, browser: str, owner: str, view: str, left: int) -> None:
        """Of a request that gives a session a new sid: it ends as well, or it is in the index from now on."""
        client, revoked = self.interface.store.client, []
        of_owner = {sid for sid, known in self.model.live().items() if known.content.get("user_id") == owner}

        def revoke() -> None:
            with self.app.app_context():
                revoked.append(self.interface.revoke(owner))

        asked = self.make(browser, view, owner)
        client.hook, client.left = lambda: self.pool.submit(revoke).result(BUSY), left
        response = self.send(asked)
        client.hook = None
        if not revoked:
            self.check(asked, response)
            return
        self.look(asked)
        may_end = of_owner | self.model.outcome(asked).ends
        records = self.records()
        for sid in [sid for sid in self.model.sessions if self.model.present(sid) and sid not in records]:
            assert sid in may_end or self.model.sessions[sid].state == "junk"
            self.model.end(sid)
        assert not of_owner & self.model.live().keys(), "all that there were have ended"
        assert response.status_code in (200, 503)
        cookie = (set_cookie(response) or "").partition(";")[0].removeprefix("session=")
        asked.browser.cookie = cookie if set_cookie(response) else asked.browser.cookie
        for sid in records.keys() - self.model.sessions.keys():
            assert (response.status_code, cookie.partition(".")[0]) == (200, sid)
            content = records[sid] or {}
            if content.get("user_id") == owner:
                assert (view != "replace_sid", content["place"]) == (True, asked.value)
            born = (began_at(sid) or 0) - self.began
            born -= born % MOVE
            self.model.sessions[sid] = Session(content, born, self.model.limit(born))
        if cookie:
            sid = cookie.partition(".")[0]  # it may have ended already
            self.model.sessions.setdefault(sid, Session({}, self.model.now, 0, "ended"))
            self.model.signed[cookie] = self.model.now
            asked.browser.drawer.append(cookie)
            if self.model.sessions[sid].state == "live":
                self.model.sessions[sid].expires = self.model.limit(self.model.sessions[sid].born)
                if view == "replace_sid" and asked.sid:
                    self.model.trails[asked.sid] = sid


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


def test_the_promises_hold_on_a_cluster(durable: RedisServer, clock: Clock, run: settings) -> None:
    """There the commands go out one after the other, and anything may happen between two of them."""

    def make_interface(client: Any) -> RedisSessionInterface:
        interface = RedisSessionInterface(Client(client))
        interface.store.sender._clustered = True
        return interface

    try_all(lambda: CommandByCommand(durable, clock, make_interface), run)


def test_the_promises_hold_on_one_server_command_by_command(durable: RedisServer, clock: Clock, run: settings) -> None:
    """Nor does anybody rely on it that a round trip is one step."""
    try_all(lambda: CommandByCommand(durable, clock, lambda client: RedisSessionInterface(Client(client))), run)


# What the machine must find ----------------------------------------------------------------------------------------


class BlindWrites(RedisStore):
    """No compare-and-set: the last writer wins it all, and a logout is undone."""

    def swapping(self, sid: str, seen: bytes, record: bytes, max_age: int) -> Command:
        return ("SET", self.key(sid), record, "EX", max_age)

    def moving(self, sid: str, to: str, seen: bytes, record: bytes, max_age: int, **_: Any) -> list[Command]:
        writing = self.swapping(to, seen, record, max_age)
        return [("DEL", self.key(sid))] if record == b"{}" else [("DEL", self.key(sid)), writing]


class TheOldSidLives(RedisStore):
    """A login copies the session instead of moving it."""

    def moving(self, sid: str, to: str, seen: bytes, record: bytes, max_age: int, **options: Any) -> list[Command]:
        if record == b"{}":
            return super().moving(sid, to, seen, record, max_age, **options)
        return [("SET", self.key(to), record, "EX", max_age)]


class NoTrail(RedisStore):
    """A logout that comes upon a sid which was just replaced ends nothing."""

    def moving(self, *args: Any, trail: bool, **options: Any) -> list[Command]:
        return super().moving(*args, trail=False, **options)


class NoTTL(RedisStore):
    """What is added stays for ever."""

    def adding(self, sid: str, record: bytes, max_age: int) -> Command:
        return ("SET", self.key(sid), record, "NX")


class OutageLooksAnonymous(RedisStore):
    """Whoever is signed in sees a login page while Redis is away."""

    def read(self, sid: str) -> bytes | None:
        try:
            return super().read(sid)
        except StoreUnavailable:
            return None


class RemembersTheLastRecord(RedisStore):
    """A cache that forgets to ask whose it is."""

    last: bytes | None = None

    def read(self, sid: str) -> bytes | None:
        cls = type(self)
        cls.last = cls.last or super().read(sid)
        return cls.last


class NothingIsDestroyed(Client):
    """A logout takes only the cookie."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        return 1 if command[0] == "DEL" else super().execute_command(*command, **options)


class RefreshCreates(Client):
    """A refresh writes the record again, whether it is there or not."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        if command[0] == "EXPIRE":
            super().execute_command("SET", command[1], b'{"a":"laptop-0"}', "NX", "EX", command[2])
        return super().execute_command(*command, **options)


class FailedWritesPass(Client):
    """As in koa: printed, and answered with a 200."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*command, **options)
        except RedisError:
            if command[0] in ("EVAL", "SET") and b"SESSION:" in str(command).encode():
                return 1
            raise


class NothingIsListedAgain(Client):
    """The index of an owner knows a session only as long as its first EX."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        if command[0] == "EVAL" and "ZADD" in command[1]:
            command = (command[0], command[1].replace("'ZADD', KEYS[1],", "'ZADD', KEYS[1], 'NX',"), *command[2:])
        return super().execute_command(*command, **options)


class NobodyLooksAgain(Client):
    """A session that was revoked while it began lives on."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        return 1 if command[0] == "ZSCORE" else super().execute_command(*command, **options)


class SidsAreAdopted(RedisSessionInterface):
    """A write goes to the sid that the cookie names, also when that session ended."""

    def save_session(self, app: Flask, session: Any, response: Any) -> None:
        if session.loaded and session.sid and session and not session.record and session.failure is None:
            session.max_age = LIFETIME
            self._set_cookie(app, session, session.store.set(session, session.sid, max_age=LIFETIME), response)
        else:
            super().save_session(app, session, response)


class OwnersKeepTheirSid(RedisSessionInterface):
    """Session fixation."""

    def open_session(self, app: Flask, request: Any) -> Any:
        app.config["SESSION_OWNER_KEYS"] = ()
        return super().open_session(app, request)


BROKEN: list[type[RedisStore | RedisSessionInterface | Client]] = [
    BlindWrites,
    TheOldSidLives,
    NoTrail,
    NoTTL,
    OutageLooksAnonymous,
    RemembersTheLastRecord,
    NothingIsDestroyed,
    RefreshCreates,
    FailedWritesPass,
    NothingIsListedAgain,
    NobodyLooksAgain,
    SidsAreAdopted,
    OwnersKeepTheirSid,
]


@pytest.mark.thorough
@pytest.mark.parametrize("broken", BROKEN)
def test_the_machine_can_lose(durable: RedisServer, clock: Clock, broken: type[Any]) -> None:
    """It finds what each of these does wrong."""
    until_found = settings(
        max_examples=UNTIL_FOUND,
        derandomize=True,
        stateful_step_count=STEPS,
        deadline=None,
        phases=[Phase.generate],  # not the shortest run: any will do
    )

    def make_interface(client: Any) -> RedisSessionInterface:
        part = broken(client)
        return part if isinstance(part, RedisSessionInterface) else RedisSessionInterface(part)

    machine = CommandByCommand if broken is NobodyLooksAgain else Machine
    with pytest.raises(AssertionError):
        try_all(lambda: machine(durable, clock, make_interface), until_found)
