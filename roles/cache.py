"""An API cache: a view's JSON is made once, and answers all who ask for the same until it is too old.

The path of one answer::

    GET /posts/trending         nothing kept     -> one request makes it, the others wait for that
                                an answer        -> that one; or 304, if the browser has it
                                its last tenth   -> one request makes the next, the others get this one
    forget("posts:trending")    nothing kept, and what is being made at that moment will not be

Keys, and how long each lives at most (for the view below; another one says so itself)::

    CACHE:SESSION:<name>           310 s   {"id", "kept"}
    CACHE:SESSION:<name>:<hash>    300 s   {"group", "tag", "lease"}, later {…, "renew", "body", "personal"}

The first is the *group* of all answers of a name. One counts only with the group's id, so one DEL forgets all. The
others are found by the hash of their URL. A *lease* is the right to make an answer. It ends with its record, so whoever
dies with it is replaced. For more URLs than `MAX_ANSWERS` the view just runs. cache_lease.py says who may make one.

An answer is *personal* if `flask.session` was asked for, by the view or before. It is given to the owner of the session
only, while their session is what it was; one for a visitor without a session, to such visitors only. Not kept: what
changed the session, or was made with one without an owner, with other cookies, or with an ``Authorization``.

Settings::

    CACHE_URL    none    the Redis of the answers, which may evict; none: that of the sessions
"""

from __future__ import annotations

import functools
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any, cast

from flask import Flask, Response, current_app, g, has_request_context, request, session
from flask.typing import ResponseReturnValue

import auth
from redis_store import RedisSession, RedisStore, StoreUnavailable, connect, is_session_accessed
from roles import tell
from roles.cache_lease import Lease, Record, admit, begin, check, claim, decide, settle

MAX_BYTES = 64 * 1024  # of an answer
RENEW = 0.9  # of its time, after which one request makes the next answer
PAUSE = 0.05  # seconds between two looks for what another request makes

EVERYBODY = ("", "")  # instead of hashes: of the owner of a session, and of what is in it


def init_app(app: Flask) -> None:
    """Add ``/posts/trending``, to try it with: without the setting, a decorated view needs nothing of this.

    ValueError: the setting is wrong.
    """
    if (url := app.config.setdefault("CACHE_URL", None)) is not None:
        try:
            app.extensions["cache"] = RedisStore(connect(url)).namespace("CACHE")
        except (TypeError, ValueError) as error:
            raise ValueError(f"CACHE_URL (not shown: it may hold a password) is wrong: {error}") from None
    app.add_url_rule("/posts/trending", view_func=trending)
    app.add_url_rule("/posts/trending/forget", view_func=forget_trending, methods=["POST"])


def forget(name: str) -> None:
    """Forget all answers of a name, also those that are being made. StoreUnavailable: they may still be given."""
    get_store().destroy(name)


class cached:
    """A decorator for a view of JSON, below its route: an answer to GET or HEAD is kept for `max_age` seconds.

    Each URL has its own. What depends on more than that and the session must say so by ``Vary``: no answer with headers
    of its own is kept. One gets older only while the next is made, which may take `lease` seconds. ValueError: one of
    the two is no whole number, 1 or more.
    """

    def __init__(self, name: str, *, max_age: int, lease: int = 10) -> None:
        for seconds in (max_age, lease):
            if type(seconds) is not int or seconds < 1:
                raise ValueError(f"{name!r}: {seconds!r}; expected seconds, a whole number, 1 or more")
        self.name, self.max_age, self.lease = name, max_age, lease

    def __call__(self, view: Callable[..., ResponseReturnValue]) -> Callable[..., Response]:
        @functools.wraps(view)
        def answer(*args: Any, **kwargs: Any) -> Response:
            return self._answer(lambda: current_app.make_response(current_app.ensure_sync(view)(*args, **kwargs)))

        return answer

    def _answer(self, make: Callable[[], Response]) -> Response:
        visitor = read_visitor()
        found, lease = self._find(visitor)
        if found.get("personal") and not lease:
            visitor = read_visitor(ask=True)
            found, lease = self._find(visitor)
        if lease:
            return self._make(make, visitor, lease)
        if found.get("body") is None:
            return make()
        return show(current_app.response_class(found["body"], mimetype="application/json"), visitor)

    def _find(self, visitor: tuple[str, str] | None) -> tuple[Record, Lease | None]:
        """Return what is kept, after a wait if it is being made; and a lease, if this request is to make the next."""
        give_up = time.monotonic() + self.lease
        try:
            while visitor and (lease := self._begin(visitor)) and time.monotonic() < give_up:
                found = check(get_store().get(lease.key) or {})
                step = decide(found, lease, auth.get_interface().clock())
                if step == "take":
                    return found, None
                if step == "make" and self._claim(lease):
                    return found, lease
                if step == "make, not keep":
                    break
                time.sleep(PAUSE)
        except StoreUnavailable as error:
            current_app.logger.warning("an answer is made without the cache: %s", error)
        return {}, None

    def _begin(self, visitor: tuple[str, str]) -> Lease | None:
        """Return a lease that nobody knows of yet, in a group that may begin with it. None: the group is full."""
        store, new = get_store(), {"id": secrets.token_hex(8), "kept": {}}
        if (group := store.get(self.name)) is None:
            group = new if store.add(self.name, new, max_age=self.max_age + self.lease) else store.get(self.name) or {}
        url = make_hash(request.method, request.root_url, request.path, request.query_string)
        name, key = str(group.get("id")), f"{self.name}:{make_hash(url, visitor[0])}"
        lease = Lease(name, url, key, make_hash(name, visitor[1]), secrets.token_hex(8))
        return lease if admit(group, lease, 0, auth.get_interface().clock()) else None

    def _claim(self, lease: Lease) -> bool:
        """Write the lease; return False if another request was first."""
        store, now = get_store(), auth.get_interface().clock()
        added = store.add(lease.key, begin(lease), max_age=self.lease)
        return added or store.update(lease.key, lambda it: claim(it, lease, now), max_age=self.lease) is not None

    def _make(self, make: Callable[[], Response], visitor: tuple[str, str] | None, lease: Lease) -> Response:
        made: Record = {}
        try:
            response = make()
            tell("cache-built")
            made["body"] = read_body(response) if read_visitor() == visitor else None
            made["personal"] = visitor == EVERYBODY and is_session_accessed()
        finally:
            self._put(made, lease)
        return response if made["body"] is None else show(response, visitor)

    def _put(self, made: Record, lease: Lease) -> None:
        """Put what was made in place of the lease. What is not kept says so for a while, and nobody waits for it."""
        now, store, kept = auth.get_interface().clock(), get_store(), any(made.values())
        max_age = self.max_age if kept else self.lease
        new = made and {"group": lease.group, "tag": lease.tag, "renew": now + max_age * RENEW, **made}
        with_it = functools.partial(admit, lease=lease, until=now + max_age, now=now)
        try:
            if kept and not store.update(self.name, with_it, max_age=self.max_age + self.lease):
                new = {}  # forgotten meanwhile, or others were first
            put = store.update(lease.key, lambda it: settle(it, lease, new, now + max_age), max_age=max_age)
            if put is None and kept:
                current_app.logger.warning("%r: an answer took longer than its lease of %d s", self.name, self.lease)
        except StoreUnavailable as error:  # the lease ends by itself
            current_app.logger.warning("an answer is not kept: %s", error)


# Requests and answers -----------------------------------------------------------------------------------------------


def get_store() -> RedisStore:
    """Return the store of answers. In a request it waits no longer than one may, from when it is used first."""
    mine: RedisStore = auth.get_interface().namespace("CACHE")
    if (other := current_app.extensions.get("cache")) is None:
        return mine  # with the time budget of the session
    if not has_request_context():
        return cast(RedisStore, other)
    if "cache" not in g:
        g.cache = other.within(mine.sender.budget)
    return cast(RedisStore, g.cache)


def make_hash(*parts: object) -> str:
    """Return a hash of what visitors send: nobody can choose a key, or guess from one who asked for what."""
    return hmac.digest(str(current_app.secret_key).encode(), repr(parts).encode(), "sha256").hex()[:32]


def read_visitor(*, ask: bool = False) -> tuple[str, str] | None:
    """Return whom an answer is for: EVERYBODY, while nobody asked for the session. None: nobody keeps it."""
    alone = request.remote_user or {"Authorization", "Transfer-Encoding"} & {*dict(request.headers)}
    if alone or request.content_length or request.method not in ("GET", "HEAD") or "cookies" in vars(request):
        return None
    if not ask and not is_session_accessed():
        return EVERYBODY
    mine = cast(RedisSession, session)
    owners = [mine.get(key) or None for key in mine.settings.owner_keys]
    if mine.failure is not None or mine.modified or mine.regenerated or (mine and not any(owners)):
        return None
    return make_hash(owners), make_hash(auth.get_interface().serializer.dumps(dict(mine)))


def read_body(response: Response) -> str | None:
    """Return the JSON of an answer. None: it is no such answer, or too long, or its headers say something else."""
    plain = response.status_code == 200 and response.content_type == "application/json" and not response.is_streamed
    if not plain or {*response.headers.keys()} - {"Content-Type", "Content-Length"}:
        return None
    body = response.get_data()
    text = body.decode(errors="ignore")
    return text if text.encode() == body and len(body) <= MAX_BYTES else None


def show(response: Response, visitor: tuple[str, str] | None) -> Response:
    """Return the answer, or 304. The browser has to ask each time, for only Redis can forget."""
    # No proxy may keep it: the refresh of a session adds a cookie. Nor may a browser keep what is one person's.
    response.headers["Cache-Control"] = "private, no-cache" if visitor == EVERYBODY else "no-store"
    response.add_etag()
    return cast(Response, response.make_conditional(request))


@cached("posts:trending", max_age=300)
def trending() -> ResponseReturnValue:
    """Show the posts that are read most. A database would work long for that; here it is a pause."""
    time.sleep(0.2)
    return {
        "posts": ["Why a logout has to be final", "Sixty readers and one cold key"],
        "made_at": int(auth.get_interface().clock()),
    }


@auth.login_required
def forget_trending() -> ResponseReturnValue:
    """Forget them, as an app does after each change of what an answer is made of: 204."""
    forget("posts:trending")
    return "", 204
