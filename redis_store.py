"""Flask sessions in Redis, the way a koa-session2 ``RedisStore`` keeps them.

Two lines give any Flask app these sessions::

    from redis_store import RedisSessionInterface, connect
    app.session_interface = RedisSessionInterface(connect("redis://localhost:6379/0"))

The path of one request::

    browser            Flask                                  Redis
    Cookie: session -> open_session   check the signature     (nothing)
                       view           first use of session    GET SESSION:<sid>
                       save_session   a change                compare-and-set SESSION:<sid> EX <max_age>
    Set-Cookie      <- Max-Age = EX

Calls go one way: Flask -> RedisSessionInterface -> RedisStore -> client. owner_index.py keeps what signs a user out
everywhere: which sessions an owner has, and where one went whose sid was replaced.

Words: a *session* is the dict, its *record* the JSON bytes in Redis, *sid* its name, *key* the prefix and the sid,
*owner* whoever is signed in. Every time span is in **seconds** (koa-session2 counts milliseconds). A refresh is *due*
when the cookie is old enough; the *horizon* is the time until which it may be done without reading the record.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import hmac
import json
import logging
import math
import random
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import flask
from flask import Flask, Request, Response, current_app, has_request_context
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SecureCookieSession, SessionInterface
from itsdangerous import TimestampSigner
from itsdangerous.encoding import base64_decode, bytes_to_int, want_bytes
from redis import RedisCluster
from redis.exceptions import ConnectionError, ResponseError, TimeoutError
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.http import remove_entity_headers

from _redis_store.connection import SOCKET_TIMEOUT, connect
from owner_index import OwnerIndex, SessionInfo, end_all, end_moved, leave_trail

__all__ = ["RedisSession", "RedisSessionInterface", "RedisStore", "SessionInfo", "StoreUnavailable", "connect", "merge"]

log = logging.getLogger(__name__)

Session = dict[str, Any]
Change = Callable[[Session], Session | None]  # pure; None: nothing is to be written

WEEK = 7 * 24 * 60 * 60  # seconds; the default max_age of the koa store that this one follows
MAX_TIMEOUTS = 3  # in a row; then Redis counts as away
PAUSE = 0.5  # seconds between two tries while Redis is away; everything else fails at once
MAX_TRIES = 200  # rounds of a compare-and-set; every lost round is another writer's success
MAX_PAUSE = 0.001  # seconds, between two rounds
MAX_DEPTH = 100  # dicts and lists inside each other in a record; Python itself gives up at some hundreds
RETRY_AFTER = 5  # seconds, in the Retry-After header of a 503
CLOCK_SKEW = 60  # seconds that the clock of the host which signed a cookie may be ahead of ours

#: The key of a record that tells when the session began, as a Unix time. `flask.session` does not show it.
BORN = "_born"

#: What a sid looks like: koa-session2's ``getID(24)`` (ours too), or the ``uuid()`` of the store that we follow.
SID = re.compile(r"[0-9a-f]{48}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: A signed cookie: sid, "p" (permanent) or "b" (ends with the browser), the horizon if there is one, time of signing,
#: SHA-256 signature. Nothing that does not look exactly so reaches the signature check, much less Redis.
SIGNED_COOKIE = re.compile(rf"(({SID.pattern})\.([pb])(\d{{0,11}})\.([A-Za-z0-9_-]{{6,8}}))\.([A-Za-z0-9_-]{{43}})")
NO_COOKIE = ("", False, 0.0)  # what `read_cookie` makes of all else


class StoreUnavailable(Exception):
    """Redis could not be reached, did not answer in time, or refused the command.

    The only exception of this module that is about Redis, whatever the client raised. The message names the command
    and the kind of error; never a sid, which some of the client's own messages contain.
    """


class SessionUnavailable(StoreUnavailable, ServiceUnavailable):
    """`StoreUnavailable` inside a view: Flask makes it a 503, no handler needed. `save_session` adds Retry-After."""

    description = "The session store cannot be reached."


# Records ----------------------------------------------------------------------------------------------------------


def _finite(digits: str) -> float:  # what could not be written again is malformed
    if math.isfinite(number := float(digits)):
        return number
    raise ValueError(f"{digits} is not JSON")


# Compact, and ASCII: every string survives, lone surrogates too, and koa's JSON.parse reads it.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_finite).decode
_SCALARS = frozenset((str, int, float, bool, type(None)))
_TAGS = TaggedJSONSerializer()  # Flask's own, for the types that its cookie sessions keep


def _tag(value: Any) -> Any:
    """`value` in JSON's own types, with Flask's tags for the others: a tuple becomes ``{" t": [...]}``."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, dict):
        tagged = {key: _tag(item) for key, item in value.items()}
        if len(tagged) == 1 and (key := next(iter(tagged))) in _TAGS.tags:  # looks like a tag, is none: Flask marks it
            return {" di": {f"{key}__": tagged[key]}}
        return tagged
    if isinstance(value, list | tuple):
        items = [_tag(item) for item in value]
        return items if isinstance(value, list) else {" t": items}
    return _TAGS.tag(value)


def _untag(value: Any) -> Any:
    if isinstance(value, dict):
        return _TAGS.untag({key: _untag(item) for key, item in value.items()})
    return [_untag(item) for item in value] if isinstance(value, list) else value


def _is_plain(value: Any, room: int) -> bool:
    """Whether JSON keeps a dict or list as it is: JSON's own types only, no tag, at most `room` of them nested."""
    if type(value) is dict:
        for key in value:
            if type(key) is not str or (len(value) == 1 and key in _TAGS.tags):
                return False
        value = value.values()
    elif type(value) is not list:
        return False
    for item in value:  # a loop: any() takes three times as long
        if type(item) not in _SCALARS and not (room > 1 and _is_plain(item, room - 1)):
            return False
    return True


def _fits(value: Any, room: int) -> bool:
    """Whether at most `room` dicts and lists are inside each other."""
    for item in value.values() if type(value) is dict else value:
        if type(item) in (dict, list) and not (room > 1 and _fits(item, room - 1)):
            return False
    return True


def dump_record(session: Mapping[str, Any]) -> bytes:
    """The JSON bytes that are kept in Redis.

    TypeError, naming key and type, for what neither JSON nor Flask's tags can keep: a set, NaN, a dict whose keys are
    not strings, a list inside itself, more than MAX_DEPTH of them inside each other. As with Flask, a datetime comes
    back in UTC without its microseconds, and an IntEnum, a defaultdict or a named tuple as an int, a dict or a tuple.
    """
    if type(session) is dict and _is_plain(session, MAX_DEPTH):
        try:
            text = _encode(session)
            if "\\ud" not in text or _decode(text) == session:  # two lone surrogates would come back as one letter
                return text.encode()
        except (ValueError, RecursionError):  # NaN, or an int of thousands of digits; below it is named
            pass
    members = []
    for key, value in session.items():
        try:
            tagged = _tag(value)
            text = _encode(tagged)
            if not isinstance(key, str) or _decode(_encode({key: tagged})) != {key: tagged}:
                raise TypeError("it would come back changed (a key has to be a string)")
            if type(tagged) in (dict, list) and not _fits(tagged, MAX_DEPTH - 1):
                raise TypeError("it is nested too deep")
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            kind = type(value).__name__
            raise TypeError(f"session[{key!r}], of type {kind}, does not survive JSON: {error}") from None
        members.append(f"{_encode(key)}:{text}")
    return f"{{{','.join(members)}}}".encode()


def load_record(record: bytes | None) -> Session | None:
    """What `dump_record` made into `record`. None for None, and, with one line in the log, for a malformed record."""
    if record is None:
        return None
    try:
        session = _decode(text := record.decode())
        # Too few brackets cannot be too deep; to count them is quicker than to look.
        if isinstance(session, dict) and (text.count("{") + text.count("[") < MAX_DEPTH or _fits(session, MAX_DEPTH)):
            if '" ' not in text:  # with which each tag starts
                return session
            session = {key: _untag(value) for key, value in session.items()}
            dump_record(session)  # what could be read and not be written would fail the request that reads it
            return session
        problem = f"a {type(session).__name__}, or nested too deep"
    except Exception as error:  # no UTF-8, no JSON, nested too deep, or a planted tag that trips its decoder
        problem = type(error).__name__
    log.warning("a malformed record counts as missing: %s", problem)
    return None


# The store --------------------------------------------------------------------------------------------------------


class Line:
    """The way to Redis: runs commands, and decides how long to wait for them and which may be sent twice.

    One for a process, and one for each request that needs Redis, with its own budget and the same breaker.
    """

    def __init__(self, client: Any, breaker: Breaker, left: float = math.inf) -> None:
        self.client = client
        self.breaker = breaker
        self.left = left  # seconds that all commands together may still wait

    def run(self, *command: Any, again: bool = False, **options: Any) -> Any:
        """The answer to a command. `again`: it may be sent twice, if the connection breaks before the answer."""
        return self._ask(command[0], lambda: self.client.execute_command(*command, **options), again)

    def run_all(self, commands: Iterable[tuple[Any, ...]], **options: Any) -> list[Any]:
        """The answers to commands that may be sent twice: in one round trip, but not in one step."""
        commands = [*commands]

        def send() -> list[Any]:
            with self.client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command, **options)
                answers = pipeline.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception) and not _is_wrong_type(answer):
                    raise answer
            return [None if isinstance(answer, Exception) else answer for answer in answers]

        return list(self._ask("a pipeline", send, True))

    def _ask(self, name: str, send: Callable[[], Any], again: bool) -> Any:
        if self.left < SOCKET_TIMEOUT or not self.breaker.lets_pass():
            raise StoreUnavailable(f"{name} was not sent: Redis keeps this request, or others, waiting")
        start = time.monotonic()
        try:
            answer = send()
            self.breaker.timeouts = 0
            return answer
        except Exception as error:  # the client raises more than RedisError: OSError, even AttributeError
            if not isinstance(self.client, RedisCluster):  # there, one server may be away and the others are not
                self.breaker.count(error)
            if _is_wrong_type(error):
                log.warning("a key that holds no string counts as missing")
                return None
            again = again and isinstance(error, ConnectionError)
            # Only a network error is safe to quote: others quote the command, and with it the sid and the session.
            words = f": {error}" if type(error) in (ConnectionError, TimeoutError) else ""
            unavailable = StoreUnavailable(f"{name} failed with {type(error).__name__}{words}")
        finally:
            self.left -= time.monotonic() - start
        if again:
            return self._ask(name, send, False)
        raise unavailable  # out here, so that it does not carry the client's error along


def _is_wrong_type(error: Exception) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")


class Breaker:
    """Keeps a Redis that does not answer from costing every request its timeout.

    After MAX_TIMEOUTS in a row nothing passes but one command in PAUSE seconds, which tries; its answer opens the way.
    """

    def __init__(self) -> None:
        self.timeouts = 0
        self.next_try = 0.0  # by the monotonic clock

    def count(self, error: Exception) -> None:
        """Note how a command failed. Any answer, a refused connection too, means that nobody has to wait."""
        if str(error) != "No connection available.":  # the pool's: it was not even asked
            self.timeouts = self.timeouts + 1 if isinstance(error, TimeoutError) else 0
        self.next_try = time.monotonic() + PAUSE

    def lets_pass(self) -> bool:
        if self.timeouts < MAX_TIMEOUTS:
            return True
        if (now := time.monotonic()) < self.next_try:
            return False
        self.next_try = now + PAUSE  # for the others: this one tries
        return True


# Lua runs in one step: nobody can write between the comparison and what follows it. An empty session is no record.
# A move may be sent twice, when its answer is lost. The second time the old key is gone; if the new one holds exactly
# our record, the first one worked.
_SWAP = """
local moves = KEYS[1] ~= KEYS[2]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return moves and redis.call('GET', KEYS[2]) == ARGV[2] and 1 or 0
end
if ARGV[2] ~= '{}' then redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3]) end
if ARGV[2] == '{}' or moves then redis.call('DEL', KEYS[1]) end
return 1
"""


class RedisStore:
    """Sessions as JSON under ``prefix + sid``, each with a TTL. Knows Redis, and neither HTTP nor cookies.

    Missing and expired are None, or False; a malformed record reads as missing, and stays until it is overwritten,
    taken or destroyed. Every verb raises `StoreUnavailable`; those that write raise TypeError for a value that does
    not survive JSON, and ValueError for a `max_age` that is not a whole number of seconds, 1 or more.

    `client` is any redis-py client, preferably one of `connect`; a sid is any string. No command needs two keys of a
    Redis Cluster to be on one server.
    """

    def __init__(self, client: Any, prefix: str = "SESSION:") -> None:
        self.client = client
        self.prefix = prefix
        self.line = Line(client, Breaker())

    def within(self, seconds: float) -> RedisStore:
        """This store for one request, whose commands together wait no longer than that for Redis."""
        store = copy.copy(self)
        store.line = Line(self.client, self.line.breaker, seconds)
        return store

    def beside(self, name: str) -> RedisStore:
        """A store on the same line, for what belongs to the sessions of this one: ``name:prefix``."""
        store = copy.copy(self)
        store.prefix = f"{name}:{self.prefix}"
        return store

    def key(self, sid: str) -> str:
        """The name of the session's key in Redis."""
        return self.prefix + sid

    def get(self, sid: str) -> Session | None:
        """The session. GET; koa-session2's ``get``."""
        return load_record(self.read(sid))

    def read(self, sid: str) -> bytes | None:
        """The session's record, as it is in Redis. GET."""
        record: bytes | None = self.line.run("GET", self.key(sid), again=True, NEVER_DECODE=True)
        return record

    def set(self, session: Mapping[str, Any], sid: str | None = None, *, max_age: int = WEEK) -> str:
        """Write the session, whatever was there; returns its sid, a new one if none is given. SET EX; koa's ``set``."""
        sid = sid or new_sid()
        self.line.run("SET", self.key(sid), dump_record(session), "EX", _whole(max_age))
        return sid

    def destroy(self, sid: str) -> bool:
        """End the session; False when there was none (or a lost answer made it ask twice). DEL; koa's ``destroy``."""
        return bool(self.line.run("DEL", self.key(sid), again=True))

    def touch(self, sid: str, *, max_age: int = WEEK) -> bool:
        """Keep the session for `max_age` seconds from now; False when there is none. EXPIRE."""
        return bool(self.line.run("EXPIRE", self.key(sid), _whole(max_age), again=True))

    def add(self, sid: str, value: Mapping[str, Any], *, max_age: int = WEEK) -> bool:
        """Write if there is nothing yet; False, and nothing changed, when there is. SET NX EX."""
        return bool(self.line.run("SET", self.key(sid), dump_record(value), "EX", _whole(max_age), "NX"))

    def take(self, sid: str) -> Session | None:
        """Read and delete in one step: of many callers one gets it. GETDEL."""
        return load_record(self.line.run("GETDEL", self.key(sid), NEVER_DECODE=True))

    def update(self, sid: str, change: Change, *, max_age: int = WEEK, to: str | None = None) -> Session | None:
        """Make the session ``change(session)`` and lose nothing that others write: GET, then a compare-and-set.

        `change` must be pure: if another writer was first, it is called again with what that one wrote. None from it
        writes nothing; an empty dict ends the session. Returns what was written, or None: nothing was, for there is no
        (well-formed) session, and none comes back from the dead. StoreUnavailable also after MAX_TRIES lost rounds.
        `to`: the session moves to this sid, which must be new.
        """
        for _ in range(MAX_TRIES):
            seen = self.read(sid)
            session = load_record(seen)
            changed = None if session is None else change(session)
            if seen is None or changed is None:
                return None
            if self.swap(sid, seen, dump_record(changed), max_age=max_age, to=to):
                return changed
            time.sleep(random.uniform(0, MAX_PAUSE))  # noqa: S311  # no secret: so that many do not go in step
        raise StoreUnavailable(f"{MAX_TRIES} other writers were first")

    def swap(self, sid: str, seen: bytes, record: bytes, *, max_age: int = WEEK, to: str | None = None) -> bool:
        """The one primitive: if the record of `sid` still is `seen`, `record` takes its place, there or under `to`."""
        old, new = self.key(sid), self.key(to or sid)
        if old == new or not isinstance(self.client, RedisCluster):
            return bool(self.line.run("EVAL", _SWAP, 2, old, new, seen, record, _whole(max_age), again=old != new))
        # On a Cluster the two keys live on two servers: one after the other, the new record before the old one goes.
        if record != b"{}":
            self.line.run("SET", new, record, "EX", _whole(max_age))
        if self.line.run("EVAL", _SWAP, 2, old, old, seen, b"{}", max_age):
            return True
        self.line.run("DEL", new, again=True)
        return False


def _whole(max_age: int) -> int:
    if type(max_age) is int and max_age >= 1:
        return max_age
    raise ValueError(f"max_age is {max_age!r}; expected a whole number of seconds, 1 or more")


def now() -> float:
    """Unix time, in seconds."""
    return time.time()


def new_sid() -> str:
    """192 random bits as 48 hexadecimal digits, like koa-session2's ``getID(24)``."""
    return secrets.token_hex(24)


# Policy: pure functions, which the store makes atomic ----------------------------------------------------------------

_MISSING = object()


def merge(base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Session:
    """`theirs`, with what changed from `base` to `mine` on top: of two writers of different keys both win.

    On the same key `mine` wins, except that dicts are merged key by key in their turn; a list is one value. Pure.
    """
    merged = dict(theirs)
    for key in {**base, **mine}:
        before, now, other = (session.get(key, _MISSING) for session in (base, mine, theirs))
        if now is _MISSING:
            merged.pop(key, None)
        elif _same(before, now):
            continue
        elif isinstance(now, dict) and isinstance(other, dict):
            merged[key] = merge(before if isinstance(before, dict) else {}, now, other)
        else:
            merged[key] = now
    return merged


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: to Python, 1 == 1.0 == True."""
    if type(one) is not type(other) or type(one) in _SCALARS:
        return type(one) is type(other) and bool(one == other)
    return one is other or dump_record({"": one}) == dump_record({"": other})


def classify(before: Mapping[str, Any], after: Mapping[str, Any], *, cleared: bool, moving: bool) -> str:
    """What a request did, from the owners (key -> value) before and after it: login, logout, move or write.

    All but a write give the session a new sid, unless it ends. After `clear()`, `regenerate()` is a login even of the
    same owner. Pure.
    """
    if any(before.get(name) != owner for name, owner in after.items()) or (after and cleared and moving):
        return "login"
    if before and not after:
        return "logout"
    return "move" if moving or before != after else "write"


def owners_of(session: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Who is signed in, by the session keys that may say so; a copy, for a view may change a list in place. Pure."""
    return copy.deepcopy({key: session[key] for key in keys if session.get(key) is not None})


def born(session: Mapping[str, Any]) -> float:
    """When the session began (Unix time); 0 if it does not tell."""
    at = session.get(BORN)
    return float(at) if isinstance(at, int | float) and 0 < at < now() + CLOCK_SKEW else 0.0


def stamp(session: Mapping[str, Any], at: float) -> Session:
    """The session with the time of its birth as its last key; without one if that is 0, or the session empty. Pure."""
    rest = {key: value for key, value in session.items() if key != BORN}
    return {**rest, BORN: at} if rest and at else rest


def _misses_session(session: RedisSession, status: int) -> bool:
    """Whether an answer that was made without its session, in an outage, has to become a 503.

    An error page other than 401, 403 and 500 does not; nor an answer by code that was told of the outage. Unless the
    session was changed, or asked for again.
    """
    return session.modified or status == 500 or (session.hidden and (status < 400 or status in (401, 403)))


# The session ------------------------------------------------------------------------------------------------------


class RedisSession(SecureCookieSession):
    """What ``flask.session`` is during a request: Flask's own session, but its record is read on first use.

    As there, `modified` is True after a change. A change inside a nested list or dict is found without it.
    """

    def __init__(
        self,
        store: RedisStore,
        sid: str,
        *,
        permanent: bool,
        due: bool,
        horizon: float,
        oldest: float,
        budget: float,
        owner_keys: Iterable[str],
    ) -> None:
        super().__init__()
        self._store = store
        self._budget = budget  # seconds that the request may wait for Redis, in all
        self._store_within: RedisStore | None = None  # made when it is needed
        self._owner_keys = owner_keys
        self._oldest = oldest  # Unix time; a session that began before counts as expired
        self._permanent = permanent  # unless the session says otherwise
        self._outer_error = sys.exception()  # handled when the request began: usually None, but a server may do so
        self._lock = threading.RLock()
        self._reading = False
        self.sid = sid  #: "": the visitor has no session
        self.due = due  #: whether it is time to refresh cookie and TTL
        self.horizon = horizon  #: until when (Unix time) it may be kept alive without looking at the record
        self.born = 0.0  #: when it began (Unix time); 0: the record does not tell
        self.max_age = 0  #: seconds, when cookie and TTL are set
        self.loaded = False  #: whether the request used its session
        self.record = b""  #: what was in Redis; empty: nothing, or nothing usable
        self.owners: dict[str, Any] = {}  #: who was signed in then
        self.failure: StoreUnavailable | None = None  #: why that could not be read
        self.hidden = False  #: whether the session then looked empty to somebody, instead of raising
        self.exposed = False  #: whether it may have changed: the view did more than look at numbers and texts
        self.moving = False  #: whether the session gets a new sid at the end of the request
        self.cleared = False  #: whether `clear` was called: nothing in it comes from the record
        self.saved = False  #: whether the response is decided

    @property
    def store(self) -> RedisStore:
        """The store, as far as this request may wait for it."""
        if self._store_within is None:
            self._store_within = self._store.within(self._budget)
        return self._store_within

    def load(self) -> None:
        """Read the record, once. SessionUnavailable, once: Redis is away.

        From then on, and wherever Flask is answering another error already, the session just looks empty: an error
        page that shows who is signed in must not fail in its turn. `save_session` decides what becomes of the answer.
        """
        with self._lock:  # a request may use threads, and what logs a problem while reading may look at the session
            first = not self.loaded and not self._reading
            if first:
                self._reading = True
                try:
                    self._read()
                    self.loaded = self.accessed = True
                finally:
                    self._reading = False
        if self.failure is not None:
            if first and not self.saved and sys.exception() is self._outer_error:
                raise SessionUnavailable
            self.hidden = True

    def _read(self) -> None:
        try:
            record = self.store.read(self.sid) if self.sid else None
        except StoreUnavailable as error:
            log.warning("%s", error)
            self.failure = error
        else:
            session = load_record(record)
            if record is not None and session is not None and not 0 < (at := born(session)) < self._oldest:
                self.record, self.born = record, at
                self.owners = owners_of(session, self._owner_keys)
                session.pop(BORN, None)
                dict.update(self, session)  # not self.update: nothing is modified yet

    def clear(self) -> None:
        """Forget everything. A session that is still empty when the request ends is ended: this is the logout."""
        self.load()
        super().clear()
        self.cleared = True

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return copy.deepcopy(dict(self), memo)

    def regenerate(self) -> None:
        """Give the session a new sid when the request ends, as a change of the owner does by itself."""
        self.load()
        self.moving = True

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser; what ``SESSION_PERMANENT`` says, until it is set."""
        return bool(self.get("_permanent", self._permanent))

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self["_permanent"] = bool(value)


def _after_load(method: Callable[..., Any], looks: bool) -> Callable[..., Any]:
    """The method, which reads the record first. `looks`: it changes nothing, and gives away nothing but its answer."""

    @functools.wraps(method)
    def load_and_call(self: RedisSession, *args: Any, **kwargs: Any) -> Any:
        if not self.loaded or self.failure is not None:
            self.load()
        self.exposed = self.exposed or not looks  # before it runs: update() may fail halfway
        answer = method(self, *args, **kwargs)
        if type(answer) not in _SCALARS:
            self.exposed = True
        return answer

    return load_and_call


# Every method of a dict: those that only look at what is in it, and those that change it, or give away all of it.
_LOOKS = "__contains__ __eq__ __getitem__ __len__ __ne__ __repr__ get".split()
_OTHERS = """__delitem__ __ior__ __iter__ __or__ __reversed__ __ror__ __setitem__ copy items keys pop popitem setdefault
    update values""".split()
for _name in (*_LOOKS, *_OTHERS):
    setattr(RedisSession, _name, _after_load(getattr(SecureCookieSession, _name), _name in _LOOKS))


# The interface ----------------------------------------------------------------------------------------------------


def _are(values: Any, kind: Any) -> bool:
    return isinstance(values, list | tuple) and all(value and isinstance(value, kind) for value in values)


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _is_lifetime(value: Any) -> bool:
    return type(_seconds(value)) in (int, float) and 1 <= _seconds(value) < 2**31


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


#: What `check` looks at: default (None: that is Flask's), what is accepted, in words.
SETTINGS: dict[str, tuple[Any, Callable[[Any], bool], str]] = {
    "SESSION_USE_SIGNER": (True, lambda value: isinstance(value, bool), "True or False"),
    "SESSION_PERMANENT": (True, lambda value: isinstance(value, bool), "True or False"),
    "SESSION_REFRESH_AFTER": (60, lambda value: type(value) is int and value >= 0, "a whole number of seconds"),
    "SESSION_ABSOLUTE_LIFETIME": (None, lambda value: value is None or _is_lifetime(value), "a lifetime, or None"),
    "SESSION_MAX_PER_OWNER": (
        None,
        lambda value: value is None or _is_count(value),
        "a whole number, 1 or more, or None",
    ),
    "SESSION_MAX_WAIT": (1, lambda value: type(value) in (int, float) and value >= SOCKET_TIMEOUT, "0.25 s or more"),
    "SESSION_MAX_BYTES": (2**20, _is_count, "a whole number of bytes"),
    "SESSION_OWNER_KEYS": (("_user_id", "user_id"), lambda value: _are(value, str), "a list of keys of the session"),
    **{
        f"SESSION_{name}": (None, lambda value: not isinstance(value, str), "True or False")  # "False" would be true
        for name in ("COOKIE_SECURE", "COOKIE_HTTPONLY", "COOKIE_PARTITIONED", "REFRESH_EACH_REQUEST")
    },
    "SESSION_COOKIE_SAMESITE": (None, lambda value: str(value).title() in ("Lax", "Strict", "None"), "Lax or Strict"),
    "PERMANENT_SESSION_LIFETIME": (None, _is_lifetime, "a lifetime: a timedelta or seconds, 1 s to 68 years"),
    # As a string it would be read as a list of one-letter keys, and a cookie signed with one letter accepted.
    "SECRET_KEY_FALLBACKS": (None, lambda value: value is None or _are(value, str | bytes), "a list of keys"),
}


@functools.lru_cache(maxsize=8)  # building a signer costs more than signing, and deriving its keys as much
def _make_signer(keys: tuple[Any, ...], salt: str) -> TimestampSigner:
    derived = [hmac.digest(want_bytes(key), salt.encode(), "sha256") for key in keys]  # as key_derivation="hmac" would
    return TimestampSigner(derived, salt=salt, key_derivation="none", digest_method=hashlib.sha256)


@contextmanager
def _for_views() -> Iterator[None]:
    """In a request, a `StoreUnavailable` becomes one that Flask answers with a 503."""
    try:
        yield
    except StoreUnavailable as error:
        if not has_request_context():
            raise
        log.warning("%s", error)
        raise SessionUnavailable(retry_after=RETRY_AFTER) from None


class RedisSessionInterface(SessionInterface):
    """Flask's session hooks on a `RedisStore`: the cookie, the configuration, and who may write what.

    `client_or_store` is any redis-py client (`connect` makes a good one), or a ready `RedisStore`.
    """

    session_class = RedisSession
    salt = "redis-session"  # what the same key signed for another purpose is no session cookie

    def __init__(self, client_or_store: Any) -> None:
        self.store = client_or_store if isinstance(client_or_store, RedisStore) else RedisStore(client_or_store)

    def check(self, app: Flask) -> None:
        """Fill in default settings; ValueError for a wrong one, with key, value and what was expected.

        Called with an app's first request. An app that would rather not start than fail there calls it at its start.
        """
        if app.extensions.get("redis_session") is self:  # it was checked before
            return
        for name, (default, accepts, expected) in SETTINGS.items():
            value = app.config.setdefault(name, default)
            if not accepts(value):
                shown = "not shown" if "SECRET" in name else repr(value)
                raise ValueError(f"{name} is {shown}; expected {expected}")
        app.extensions["redis_session"] = self

    def open_session(self, app: Flask, request: Request) -> RedisSession | None:
        """The session of a request, not read yet. None, for Flask's NullSession, when there is no SECRET_KEY."""
        self.check(app)
        if app.config["SESSION_USE_SIGNER"] and not app.secret_key:
            return None
        cookies = request.cookies.getlist(self.get_cookie_name(app))
        # Of two cookies with one name, one was planted from another host or path; nobody can tell which.
        sid, due, horizon = self.read_cookie(app, cookies[0]) if len(cookies) == 1 else NO_COOKIE
        return self.session_class(
            self.store,
            sid,
            permanent=app.config["SESSION_PERMANENT"],
            due=due,
            horizon=horizon,
            oldest=now() - self.get_absolute_max_age(app),
            budget=app.config["SESSION_MAX_WAIT"],
            owner_keys=self.get_owner_keys(app),
        )

    # The session is one that open_session made; None when that failed, and Flask is already answering with a 500.
    def save_session(self, app: Flask, session: RedisSession | None, response: Response) -> None:  # type: ignore[override]
        """Store what the request did to its session, and tell the browser in the same breath.

        The cookie is set exactly when Redis confirmed that the key's EX was, deleted only by the request that ended
        the session, and left alone otherwise: the browser may hold a newer one. A change that could not be stored makes
        the response a 503.
        TypeError, ValueError: the session holds what JSON cannot keep, or too much of it; nothing was written.
        """
        if session is None:
            return
        session.saved = True
        sid = None  # what the browser is to hold: None, what it holds already; "", no cookie
        try:
            if session.failure is None:
                sid = self._save(app, session)
            elif _misses_session(session, response.status_code):
                raise session.failure
        except StoreUnavailable as error:
            log.warning("%s", error)
            self._refuse(app, response)
        if session.failure is not None and response.status_code == 503:
            response.headers.setdefault("Retry-After", str(RETRY_AFTER))
        if session.accessed or sid is not None:
            if "Vary" in response.headers:
                response.vary.add("Cookie")
            else:  # without taking apart what is not there
                response.headers["Vary"] = "Cookie"
        if sid is None:
            return
        name, attributes = self.get_cookie_name(app), self.get_cookie_attributes(app)
        if sid:
            permanent = session.permanent if session.loaded else True  # only such a session is refreshed unread
            cookie = self.make_cookie(app, sid, permanent, session.horizon)
            response.set_cookie(name, cookie, max_age=session.max_age if permanent else None, **attributes)
        else:
            response.delete_cookie(name, **attributes)

    def _refuse(self, app: Flask, response: Response) -> None:
        """Make `response` a 503 in place. It is too late for an exception: Flask would not ask any handler."""
        error = SessionUnavailable()
        try:
            page = app.make_response(app.handle_http_exception(error))  # the app's own page, if it has one
        except Exception:
            log.exception("the app's page for a 503 failed")
            page = app.make_response(error.get_response())
        if hasattr(response.response, "close"):
            response.call_on_close(response.response.close)
        remove_entity_headers(response.headers, allowed=())
        for name in ("Location", "Set-Cookie", "ETag", "Cache-Control", "Content-Disposition"):
            response.headers.remove(name)
        response.direct_passthrough = False
        response.status_code = 503
        response.content_type = page.content_type
        response.cache_control.no_store = True
        response.headers["Retry-After"] = str(RETRY_AFTER)
        response.set_data(page.get_data())

    # The cookie.

    def get_max_age(self, app: Flask) -> int:
        """Seconds: the idle limit, ``PERMANENT_SESSION_LIFETIME``. The most that EX and Max-Age can be."""
        return int(app.permanent_session_lifetime.total_seconds())

    def get_absolute_max_age(self, app: Flask) -> float:
        """Seconds that a session can last from its beginning, or from the sign-in; infinite without a limit."""
        limit = app.config["SESSION_ABSOLUTE_LIFETIME"]
        return math.inf if limit is None else float(_seconds(limit))

    def get_owner_keys(self, app: Flask) -> Iterable[str]:
        """The keys of a session that say who is signed in."""
        keys: Iterable[str] = app.config["SESSION_OWNER_KEYS"]
        return keys

    def get_signer(self, app: Flask) -> TimestampSigner:
        """It signs with ``SECRET_KEY``, and accepts ``SECRET_KEY_FALLBACKS`` too."""
        fallbacks = app.config["SECRET_KEY_FALLBACKS"] or ()
        return _make_signer((*fallbacks, app.secret_key), self.salt)

    def make_cookie(self, app: Flask, sid: str, permanent: bool, horizon: float = math.inf) -> str:
        """The cookie's value: sid, permanence and horizon, signed together with the time. Unsigned: the sid."""
        if not app.config["SESSION_USE_SIGNER"]:
            return sid
        until = "" if horizon == math.inf else int(horizon)
        return self.get_signer(app).sign(f"{sid}.{'p' if permanent else 'b'}{until}").decode()

    def read_cookie(self, app: Flask, value: str) -> tuple[str, bool, float]:
        """The cookie's sid, whether a refresh is due, and the horizon. NO_COOKIE: it is not ours, or past its age."""
        refresh = app.config["SESSION_REFRESH_EACH_REQUEST"]
        if not app.config["SESSION_USE_SIGNER"]:  # then it does not tell its age, and a refresh is always due
            return (value, refresh, 0.0) if SID.fullmatch(value) else NO_COOKIE
        if (match := SIGNED_COOKIE.fullmatch(value)) is None:
            return NO_COOKIE
        signed, sid, kind, until, signed_at, signature = match.groups()
        signer = self.get_signer(app)
        if not signer.verify_signature(signed, signature):  # half the time of unsign()
            return NO_COOKIE
        # Without one, the record need never be looked at; unless an absolute limit was set since.
        horizon = float(until) if until else math.inf if self.get_absolute_max_age(app) == math.inf else 0.0
        at, max_age = signer.get_timestamp(), self.get_max_age(app)
        age = at - bytes_to_int(base64_decode(signed_at))
        if not -CLOCK_SKEW <= age <= max_age or (until and at > horizon):
            return NO_COOKIE
        if (after := app.config["SESSION_REFRESH_AFTER"]) >= max_age:
            after = max_age // 2  # or it would never be due in time
        return sid, refresh and kind == "p" and (after == 0 or age > after), horizon

    def get_cookie_attributes(self, app: Flask) -> dict[str, Any]:
        """What ``SESSION_COOKIE_*`` says, for ``set_cookie`` and ``delete_cookie`` alike."""
        names = ("domain", "path", "secure", "httponly", "samesite", "partitioned")
        return {name: getattr(self, f"get_cookie_{name}")(app) for name in names}

    # The record. Each returns what the browser is to hold, as in save_session.

    def _save(self, app: Flask, session: RedisSession) -> str | None:
        if session.modified or (session.due and now() + self.get_max_age(app) > session.horizon):
            session.load()  # the cookie alone does not tell for how long it may be kept alive
        if not session.loaded:
            return self._refresh(app, session, set()) if session.due else None
        if not session and session.cleared:
            return self._end(app, session)
        due = session.modified or (session.due and session.permanent)
        if not (due or session.exposed or session.moving):  # numbers and texts cannot change in place
            return None
        mine = stamp(session, session.born)
        if not session.record:
            if mine and session.cleared:  # whoever was signed in, under a sid that was just replaced, no longer is
                end_moved(session.store, session.sid)
            return self._create(app, session, mine) if mine else None
        record = dump_record(mine)
        if session.moving or (due and self._lacks_birth(app, session)) or _is_change(session, record):
            return self._write(app, session, mine, record)
        return self._refresh(app, session, _names(self._owners(app, mine))) if due else None

    def _refresh(self, app: Flask, session: RedisSession, owners: set[str]) -> str | None:
        try:
            if session.store.touch(session.sid, max_age=self._set_life(app, session, owners, session.sid)):
                return session.sid
            self._delist(session.store, owners, session.sid)
        except StoreUnavailable as error:  # nothing is lost: the next request tries again
            log.warning("%s", error)
        return None

    def _create(self, app: Flask, session: RedisSession, content: Session) -> str | None:
        # Always a new sid: one that the visitor brought along may be known to somebody else (session fixation).
        sid, owners = new_sid(), _names(self._owners(app, content))
        if owners or self.get_absolute_max_age(app) < math.inf:
            session.born = now()
        mine = stamp(content, session.born)
        record = dump_record(mine)
        self._limit(app, session, record)
        # False only if a client that repeats commands by itself sent it twice; then the record is ours, and there.
        session.store.add(sid, mine, max_age=self._set_life(app, session, owners, sid))
        session.sid, session.record, session.moving = sid, record, False
        session.owners = self._owners(app, mine)
        dict.clear(session)  # after a login that outlived the session before it, nothing of that may be saved later
        dict.update(session, stamp(content, 0))
        return self._settle(app, session, owners)

    def _write(self, app: Flask, session: RedisSession, mine: Session, record: bytes) -> str | None:
        before, after = session.owners, self._owners(app, mine)
        kind = classify(before, after, cleared=session.cleared, moving=session.moving)
        afresh = session.cleared and kind in ("login", "logout")  # then it is not merged with what others write
        sid, to = session.sid, session.sid if kind == "write" else new_sid()
        if kind == "login" or self._lacks_birth(app, session):
            session.born = now()
            mine = stamp(mine, session.born)
            record = dump_record(mine)
        self._limit(app, session, record)
        if kind == "move":
            leave_trail(session.store, sid, to)

        def change(theirs: Session) -> Session:
            merged = mine if afresh else merge(load_record(session.record) or {}, mine, theirs)
            merged = stamp(merged, born(merged))
            self._limit(app, session, dump_record(merged))
            return merged

        max_age = self._set_life(app, session, _names(after), to)
        stored: Session | None = mine
        if not session.store.swap(sid, session.record, record, max_age=max_age, to=to):
            stored = session.store.update(sid, change, max_age=max_age, to=to)
        if not stored or to != sid:
            self._delist(session.store, _names(before), sid)
        if stored is None:
            self._delist(session.store, _names(after), to)
            return self._come_late(app, session, kind, mine)
        session.sid, session.record, session.moving = to, record if stored else b"", False
        session.owners = after if stored else {}
        if stored and to != sid:
            return self._settle(app, session, _names(after))
        return to if stored else ""

    def _come_late(self, app: Flask, session: RedisSession, kind: str, mine: Session) -> str | None:
        """The session ended meanwhile, and stays ended, however often it is saved: so its record is not forgotten.

        A sign-out also ends it where it was moved to.
        """
        leaves = kind == "logout" or (kind == "login" and session.cleared)
        ended = leaves and end_moved(session.store, session.sid)
        base = load_record(session.record) or {}
        changed = [key for key in {**base, **mine} if not _same(base.get(key, _MISSING), mine.get(key, _MISSING))]
        if kind == "login":  # a session of its own, of what this request wrote: no list or dict that was there before
            own = [key for key in changed if key in mine and (key not in base or type(mine[key]) in _SCALARS)]
            content = stamp(mine if session.cleared else {key: mine[key] for key in own}, 0)
            if content:
                return self._create(app, session, content)
        if ended:
            return ""
        # %r: no control character gets through, if names of keys come from visitors.
        log.warning("a session ended while a request changed it; the changes are dropped: %.1000r", sorted(changed))
        return None

    def _end(self, app: Flask, session: RedisSession) -> str | None:
        owners, record = _names(session.owners), session.record
        session.owners, session.record = {}, b""
        ended = bool(record) and session.store.destroy(session.sid)
        self._delist(session.store, owners, session.sid)
        return "" if ended or end_moved(session.store, session.sid) else None

    def _lacks_birth(self, app: Flask, session: RedisSession) -> bool:
        """Whether an absolute limit has nothing to count from: koa began the session, or there was no limit then."""
        return not session.born and self.get_absolute_max_age(app) < math.inf

    def _set_life(self, app: Flask, session: RedisSession, owners: set[str], sid: str) -> int:
        """Seconds for EX and Max-Age, within both limits; its owners' lists know the session for at least that long."""
        idle, at = self.get_max_age(app), now()
        end = session.born + self.get_absolute_max_age(app) if session.born else math.inf
        session.max_age = max(1, int(min(idle, end - at)))
        unlisted = at + session.max_age > session.horizon or (owners and session.horizon == math.inf)
        if sid != session.sid or (session.loaded and unlisted):
            session.horizon = min(end, OwnerIndex(session.store).add(owners, sid, at, idle))
        return session.max_age

    def _settle(self, app: Flask, session: RedisSession, owners: set[str]) -> str:
        """Once the record is there: has the owner too many sessions, and has somebody revoked this one meanwhile?"""
        index = OwnerIndex(session.store)
        if most := app.config["SESSION_MAX_PER_OWNER"]:
            for owner in owners:
                infos = self._sessions_of(app, session.store, owner)
                index.revoke(owner, [info.sid for info in infos[:-most]])
        if index.lists(owners, session.sid):
            return session.sid
        session.store.destroy(session.sid)
        raise StoreUnavailable("a session was revoked while it began, or its owner's list was lost")

    def _delist(self, store: RedisStore, owners: set[str], *sids: str) -> None:
        try:
            OwnerIndex(store).discard(owners, *sids)
        except StoreUnavailable as error:  # the list is tidied by itself; what counts is that the session has ended
            log.warning("%s", error)

    def _owners(self, app: Flask, session: Mapping[str, Any] | None) -> dict[str, Any]:
        return owners_of(session or {}, self.get_owner_keys(app))

    def _limit(self, app: Flask, session: RedisSession, record: bytes) -> None:
        limit = app.config["SESSION_MAX_BYTES"]
        if len(record) > limit and len(record) > len(_rewrite(session.record or b"{}")):  # it may always shrink
            raise ValueError(f"the session takes {len(record)} bytes; SESSION_MAX_BYTES allows {limit}")

    # Sign out everywhere. An owner is what the session holds under one of SESSION_OWNER_KEYS, compared as text.

    @_for_views()
    def sessions_of(self, owner: object) -> list[SessionInfo]:
        """The sessions of an owner, the oldest sign-in first. Needs an app context. StoreUnavailable."""
        self.check(current_app)
        return self._sessions_of(current_app, self._get_store(), str(owner))

    @_for_views()
    def revoke(self, owner: object, keep: str | None = None) -> int:
        """End the sessions of an owner, except that of the sid `keep`; returns how many. StoreUnavailable.

        A sign-in at the same time either ends as well, or is in `sessions_of` afterwards. When this raises, some may
        have ended; do it again.
        """
        index = OwnerIndex(self._get_store())
        return index.revoke(str(owner), [sid for sid in index.sids(str(owner)) if sid != keep])

    @_for_views()
    def end(self, sid: str) -> bool:
        """End one session, whosever it is; False when there was none. Needs an app context. StoreUnavailable."""
        self.check(current_app)
        store = self._get_store()
        owners = _names(self._owners(current_app, store.get(sid)))
        ended = end_all(store, [sid]) > 0
        self._delist(store, owners, sid)
        return ended

    def _get_store(self) -> RedisStore:
        """The store; in a request its own, which waits for Redis no longer than one request may."""
        if has_request_context() and isinstance(flask.session, RedisSession) and flask.session._store is self.store:
            return flask.session.store
        return self.store

    def describe(self, app: Flask, sid: str, record: bytes | None, ttl: int) -> SessionInfo | None:
        """What `owner_index.read_all` found of a session. None: it has ended, maybe by the absolute limit."""
        idle, limit, at = self.get_max_age(app), self.get_absolute_max_age(app), now()
        session = load_record(record)
        start = born(session or {})
        if ttl == -2 or 0 < start < at - limit:
            return None
        capped = ttl < 0 or (start > 0 and ttl > start + limit - at - 2)  # EX was not the idle limit
        return SessionInfo(
            sid,
            sorted(_names(self._owners(app, session))),
            datetime.fromtimestamp(start, UTC) if start else None,
            None if capped else datetime.fromtimestamp(at - max(0, idle - ttl), UTC),
            ttl,
            len(record or b""),
            None if session is None else {key: value for key, value in session.items() if key != BORN},
        )

    def _sessions_of(self, app: Flask, store: RedisStore, owner: str) -> list[SessionInfo]:
        live, gone = OwnerIndex(store).read(owner, now(), self.get_max_age(app))
        self._delist(store, {owner}, *gone)
        infos = [info for each in live if (info := self.describe(app, *each)) and owner in info.owners]
        return sorted(infos, key=lambda info: (info.created is not None, info.created, info.sid))


def _is_change(session: RedisSession, record: bytes) -> bool:
    """Whether `record` says something else than what was read."""
    if record == session.record:
        return False
    if session.modified and session.record.isascii():  # it does; koa writes the same in other words if it is not ASCII
        return True
    return record != _rewrite(session.record)


def _rewrite(record: bytes) -> bytes:
    """A record as we would write it."""
    session = load_record(record) or {}
    return dump_record(stamp(session, born(session)))


def _names(owners: Mapping[str, Any]) -> set[str]:
    """Owners as text, since Flask-Login and URLs turn a number into text as well."""
    return {str(owner) for owner in owners.values()}
