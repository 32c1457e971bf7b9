"""Flask sessions in Redis, the way a koa-session2 ``RedisStore`` keeps them.

Two lines give any Flask app these sessions::

    from redis_store import RedisSessionInterface, connect
    app.session_interface = RedisSessionInterface(connect("redis://localhost:6379/0"))

The path of one request::

    browser            Flask                                  Redis
    Cookie: session -> open_session   nothing yet             (nothing)
                       view           first use of session    GET SESSION:<sid>
                       save_session   a change                compare-and-set SESSION:<sid> EX <max_age>
    Set-Cookie      <- Max-Age = EX

koa-session2's ``get``, ``set`` and ``destroy`` are those of `RedisStore`, its middleware is `RedisSessionInterface`.

Words: a *session* is the dict, its *record* the JSON bytes in Redis, *sid* its name, *key* the prefix and the sid,
*owner* whoever is signed in. Every time span is in **seconds** (koa-session2 counts milliseconds).

This file is HTTP only. Read on in `_redis_store/`: session.py (what ``flask.session`` is), save.py (what becomes of
it), write.py (its way into Redis), change.py (who wins), store.py (the verbs), owners.py (all of a user's).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any
from weakref import ref

from flask import Flask, Request, Response, current_app, has_request_context, request
from flask.globals import request_ctx
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionInterface

from _redis_store import cookie, listing, settings, signals
from _redis_store.change import is_owner, merge
from _redis_store.connection import connect
from _redis_store.listing import SessionInfo
from _redis_store.marks import FAILED, GIVEN_SID, SESSION, find_session, is_session_accessed, skip_refresh
from _redis_store.outage import RETRY_AFTER, SessionUnavailable, for_views, refuse, retry_later
from _redis_store.owners import OwnerIndex, name_of
from _redis_store.save import save
from _redis_store.sender import StoreUnavailable
from _redis_store.session import RedisSession
from _redis_store.settings import MAKE_KEY, Settings
from _redis_store.sid import new_sid, shorten
from _redis_store.store import WEEK, RedisStore
from _redis_store.tags import TAGS

__all__ = [
    "MAKE_KEY",
    "RETRY_AFTER",
    "WEEK",
    "OwnerIndex",
    "RedisSession",
    "RedisSessionInterface",
    "RedisStore",
    "SessionInfo",
    "SessionUnavailable",
    "StoreUnavailable",
    "connect",
    "is_session_accessed",
    "merge",
    "new_sid",
    "shorten",
    "signals",
    "skip_refresh",
]

log = logging.getLogger(__name__)


class RedisSessionInterface(SessionInterface):
    """Flask's session hooks on a `RedisStore`: HTTP only.

    `client_or_store` is any redis-py client (`connect` makes a good one), or a ready `RedisStore`; `clock` tells the
    Unix time in seconds.
    """

    def __init__(self, client_or_store: Any, *, clock: Callable[[], float] = time.time) -> None:
        self.store = client_or_store if isinstance(client_or_store, RedisStore) else RedisStore(client_or_store)
        self.clock = clock

    @property
    def serializer(self) -> TaggedJSONSerializer:
        """Flask's serializer, whose ``register`` adds a type that JSON lacks, for all apps of the process."""
        return TAGS

    def check(self, app: Flask) -> None:
        """Fill in default settings; ValueError for a wrong one, with key, value and what was expected.

        Every request does so when a setting has changed. An app that would rather not start than fail there does it
        at its start. ValueError, too, for a missing SECRET_KEY: a request would have Flask's NullSession.
        """
        if settings.read(app, self.clock) is None:
            raise ValueError(f"SECRET_KEY is missing: nothing can be written to a session. Make one with: {MAKE_KEY}")

    def open_session(self, app: Flask, request: Request) -> RedisSession | None:
        """Return the session of a request, not read yet. None, for Flask's NullSession, when there is no SECRET_KEY."""
        if (values := settings.read(app, self.clock)) is None:
            return None
        session = RedisSession(values, request.environ, self.get_cookie_name(app), self.store)
        if find_session(request.environ) is None:  # a context inside another may have the same environ
            request.environ[SESSION] = ref(session)  # for `_get_store`
        # Flask opens it before it matches the URL, if it lets the host in. Who opens it later uses the object itself.
        if request.url_rule is not None or (request.routing_exception and request_ctx.url_adapter is not None):
            session.has_response = False
            session.load()
        return session

    # The session is one that open_session made; None when that failed, and Flask is already answering with a 500.
    def save_session(self, app: Flask, session: RedisSession | None, response: Response) -> None:  # type: ignore[override]
        """Store what the request did to its session, and tell the browser.

        The cookie is set exactly when Redis confirmed that the key's EX was, deleted only by the request that ended
        the session, and left alone otherwise: the browser may hold a newer one. A change that could not be stored
        makes the response a 503 or, where none is made with it (`session_transaction`), raises SessionUnavailable.
        TypeError, ValueError: the session holds what JSON cannot keep, or too much of it; nothing was written.
        """
        if session is None:
            return
        session.saved, sid = True, None
        try:
            sid = save(session, response.status_code)
        except StoreUnavailable as error:
            log.warning("%s", error)
            if not session.has_response:
                raise SessionUnavailable from error
            refuse(app, response)
        if session.failure is not None or FAILED in session.environ:
            retry_later(app, response)
        if session.accessed or sid is not None:
            cookie.vary_on(response)
        if sid is not None:
            self._set_cookie(app, session, sid, response)
        if response.is_streamed:
            response.call_on_close(session.note_loss)

    def _set_cookie(self, app: Flask, session: RedisSession, sid: str, response: Response) -> None:
        session.environ[GIVEN_SID] = sid
        name, attributes = self.get_cookie_name(app), self.get_cookie_attributes(app)
        if sid:
            if attributes["domain"] and session.brought_another(sid):  # from before it was set; two sessions are none
                response.delete_cookie(name, **attributes | {"domain": None})
            value = cookie.make(session.settings, sid, session.permanent)
            cookie.set_on(response, name, value, session.max_age if session.permanent else None, attributes)
        else:
            response.delete_cookie(name, **attributes)

    def get_cookie_attributes(self, app: Flask) -> dict[str, Any]:
        """Return what ``SESSION_COOKIE_*`` says, for ``set_cookie`` and ``delete_cookie`` alike."""
        return {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
            "partitioned": self.get_cookie_partitioned(app),
        }

    def namespace(self, name: str) -> RedisStore:
        """Return a store for something else, under ``name:prefix``; in a request it shares the time to wait."""
        return self._get_store().namespace(name)

    # Sign out everywhere. An owner is what the session holds under one of SESSION_OWNER_KEYS, compared as text; None,
    # False and "" are nobody. All of this raises StoreUnavailable, and all but revoke needs an app context.

    @for_views()
    def sessions_of(self, owner: object) -> list[SessionInfo]:
        """Return the sessions of an owner, the oldest sign-in first."""
        return listing.sessions_of(self._get_store(), self._get_settings(), name_of(owner)) if is_owner(owner) else []

    @for_views()
    def revoke(self, owner: object, keep: str | None = None) -> int:
        """End the sessions of an owner, except that of the sid `keep`; return how many.

        A sign-in meanwhile ends as well, or is in `sessions_of` afterwards. It may raise when some have ended.
        """
        return listing.revoke(self._get_store(), name_of(owner), keep) if is_owner(owner) else 0

    @for_views()
    def end(self, sid: str) -> bool:
        """End one session, whosever it is; return False when there was none."""
        return listing.end(self._get_store(), self._get_settings(), sid)

    def _get_settings(self) -> Settings:
        if (values := settings.read(current_app, self.clock)) is None:
            raise RuntimeError("there are no sessions without a SECRET_KEY")
        return values

    def _get_store(self) -> RedisStore:
        """Return the store; in a request its own, which waits for Redis no longer than one request may."""
        session = find_session(request.environ) if has_request_context() else None
        return session.store if isinstance(session, RedisSession) and session.origin is self.store else self.store
