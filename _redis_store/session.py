"""What ``flask.session`` is during a request: Flask's own session, whose record is read when the app asks for it."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

from flask.sessions import SecureCookieSession

from _redis_store.change import changed_keys, is_empty, owners_of
from _redis_store.cookie import Cookie, choose, read_all
from _redis_store.lifetime import is_due
from _redis_store.marks import ACCESSED, GIVEN_SID, SKIP_REFRESH
from _redis_store.outage import SessionUnavailable, for_views, is_tearing_down
from _redis_store.record import load_record
from _redis_store.sender import StoreUnavailable
from _redis_store.settings import Settings
from _redis_store.signals import tell, unavailable, unreadable
from _redis_store.snapshot import Snapshot, take_snapshot
from _redis_store.store import RedisStore

log = logging.getLogger("redis_store")


class RedisSession(SecureCookieSession):
    """Flask's session, read from Redis when the app first asks for it.

    Flask says when that is: its request context sets `accessed` whenever it hands the session out. So the object
    itself is a plain dict, to everything that looks into it.
    """

    sid = ""  #: empty: the visitor has no session
    loaded = False  #: whether reading the record was tried
    record = b""  #: what was in Redis; empty: nothing, or nothing usable
    snapshot: Snapshot = ()  #: of what that is
    signed_at = 0  #: when the cookie was signed (Unix time); 0: it is not
    failure: StoreUnavailable | None = None  #: why it could not be read
    hidden = False  #: whether the session then was empty for somebody, instead of raising
    regenerated = False  #: whether it gets a new sid at the end of the request
    cleared = False  #: whether `clear` was called: nothing in it comes from the record
    touched = False  #: whether `modified` was set by hand
    max_age = 0  #: seconds, when cookie and TTL are set
    saved = False  #: whether the response is decided
    dropped = False  #: whether its changes were refused, and somebody was told
    has_response = True  #: whether a response is made with it: not if somebody else than Flask opened it

    _store: RedisStore | None = None
    _accessed = _changed = _reading = False
    _lost: frozenset[str] = frozenset()  # keys that the log has named already

    def __init__(self, settings: Settings, environ: dict[str, Any], name: str, origin: RedisStore) -> None:
        # Not super().__init__(), which would only set on_update again.
        self.settings, self.environ, self._name = settings, environ, name  # its cookies are read when needed
        self.origin = origin  #: the process's store
        self._outer_error = sys.exception()  # handled when the request began: usually None, but a server may do so
        self.owners: dict[str, Any] = {}  #: who was signed in, by key
        self._lock = threading.RLock()

    @staticmethod
    def on_update(self: RedisSession) -> None:  # as Flask's, without a closure for each request
        self._changed = True
        if self.saved:
            self.note_loss()

    @property
    def accessed(self) -> bool:
        """Whether the app asked for the session."""
        return self._accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        self._accessed = value
        if not self.loaded or self.failure is not None:
            self.load()

    @property
    def modified(self) -> bool:
        """Whether a key was set or deleted. Set by hand, it keeps the session alive, as a change does."""
        return self._changed or self.touched

    @modified.setter
    def modified(self, value: bool) -> None:
        self.touched = bool(value)

    @property
    def store(self) -> RedisStore:
        """The store, as far as this request may wait for it."""
        if self._store is None:
            self._store = self.origin.within(self.settings.max_wait)
        return self._store

    def may_be_due(self) -> bool:
        """Return whether a cookie, not checked yet, says that it is time for a refresh."""
        if "HTTP_COOKIE" not in self.environ or SKIP_REFRESH in self.environ:
            return False
        return any(cookie.permanent and is_due(self.settings, cookie.signed_at) for cookie in self._read_cookies())

    def _read_cookies(self) -> list[Cookie]:
        return read_all(self.settings, self.environ.get("HTTP_COOKIE", ""), self._name)

    def brought_another(self, sid: str) -> bool:
        """Return whether the browser sent a cookie of another sid along."""
        return any(cookie.sid != sid for cookie in self._read_cookies())

    def load(self) -> None:
        """Read the record, if nobody did. SessionUnavailable, once: Redis is away.

        From then on, and wherever Flask is answering another error already, the session is just empty: an error
        page that shows who is signed in must not fail as well. `save_session` decides what becomes of the answer.
        When the request is over it is raised each time, and a page that is being streamed breaks off; but in no
        teardown function, which Flask calls whatever the page is about.
        """
        told = self.read() and not self.saved and sys.exception() in (None, self._outer_error)
        if self.failure is not None:
            if told or (self._is_over() and not is_tearing_down()):
                raise SessionUnavailable
            self.hidden = True

    def read(self) -> bool:
        """Read the record, and return True, if nobody did. `failure` says why it could not be read."""
        with self._lock:  # a request may use threads, and what logs a problem while reading may look at the session
            first = not self.loaded and not self._reading
            if first:
                self._reading = True
                try:
                    self._read()
                    self.loaded = True
                finally:
                    self._reading = False
        return first

    def _is_over(self) -> bool:
        """Return whether Flask has forgotten the request. A page that is streamed, or a thread, may go on with it."""
        return self.saved and self.environ.get("werkzeug.request") is None

    def note_loss(self) -> None:
        """Log the keys that were changed too late to be stored."""
        if self.dropped or not self.loaded or not (self._is_over() or is_tearing_down()):
            return
        if is_empty(self) and not self.record:
            return
        if lost := changed_keys(load_record(self.record or None) or {}, self) - self._lost:
            self._lost |= lost
            log.warning("a session was changed after its response was sent, and that is lost: %.1000r", sorted(lost))

    def _read(self) -> None:
        self.environ[ACCESSED] = True
        if (given := self.environ.get(GIVEN_SID)) is not None:
            self.sid = given
        elif (cookie := choose(self.settings, self._read_cookies())) is not None:
            self.sid, self.signed_at = cookie.sid, cookie.signed_at
        if not self.sid:
            return
        try:
            record = self.store.read(self.sid)
        except StoreUnavailable as error:
            log.warning("%s", error)
            tell(unavailable, "read")
            self.failure = error
            return
        session = load_record(record)
        if record is not None and session is not None:
            dict.update(self, session)  # not self.update: nothing is modified yet
            snapshot = take_snapshot(record, session)  # not of self, which may hold more, set before
            self.remember(record, owners_of(session, self.settings.owner_keys), snapshot)
        elif record is not None:
            tell(unreadable, "record")

    def remember(self, record: bytes, owners: dict[str, Any], snapshot: Snapshot = ()) -> None:
        """Take this for what is in Redis, and who is signed in there: the next change is one of it."""
        self.record, self.owners, self.snapshot = record, owners, snapshot

    def clear(self) -> None:
        """Forget everything. A session that is still empty when the request ends is ended: this is the logout."""
        super().clear()
        self.cleared = True

    def regenerate(self) -> None:
        """Give the session a new sid when the request ends, as a change of the owner does by itself."""
        self.regenerated = True

    @for_views()
    def ttl(self) -> int | None:
        """Return the seconds until the record in Redis expires. None: there is none. StoreUnavailable."""
        return self.store.ttl(self.sid) if self.record else None

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a copy of it is a dict, and has no part in what becomes of the session

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser; what ``SESSION_PERMANENT`` says, until it is set."""
        return bool(self.get("_permanent", self.settings.permanent))

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self["_permanent"] = bool(value)
