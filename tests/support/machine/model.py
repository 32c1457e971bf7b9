"""What is promised: which sids live and what is in them, what a request sees, and what comes of it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from werkzeug.test import TestResponse

from support.gate import Gate
from support.machine.views import LIFETIME, REFRESH_AFTER, SLOW, VIEWS

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
