"""The thirty lines that this project grew from, in Python, with all that they do wrong. For reading, not for use.

`SeedStore` is a store of koa-session2, which keeps JSON in Redis. `SeedInterface` is that middleware. Both do what the
originals were seen to do, which docs/learn.md goes through; a comment says where something breaks.
"""

from __future__ import annotations

import json
import secrets
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask, Request, Response, request
from flask.sessions import SessionInterface, SessionMixin

WEEK = 7 * 24 * 60 * 60 * 1000  # milliseconds


class SeedStore:
    """Three verbs on any redis-py client."""

    def __init__(self, client: Any) -> None:
        self.client = client  # without a timeout, a Redis that hangs makes every request hang

    def get(self, sid: str) -> Any:
        """Return what is stored, whatever it is. None: nothing."""
        record = self.client.execute_command("GET", f"SESSION:{sid}")
        return json.loads((record or b"null").decode())  # malformed: an error, on each request, until the TTL ends

    def set(self, session: Any, sid: str | None = None, max_age: float = WEEK) -> str:
        """Write the session, whatever was there, and return its sid."""
        sid = sid or str(uuid.uuid4())
        try:
            seconds = f"{max_age / 1000:.12g}"  # 1.5, say, which Redis refuses
            self.client.execute_command("SET", f"SESSION:{sid}", json.dumps(session), "EX", seconds)
        except Exception as error:  # so nobody learns that nothing was stored
            print(error, file=sys.stderr)
        return sid

    def destroy(self, sid: str) -> int:
        """End the session, and return how many there were."""
        return int(self.client.execute_command("DEL", f"SESSION:{sid}"))


class SeedSession(dict[str, Any], SessionMixin):
    """What ``flask.session`` is. `found` is what the store had, `sid` where it will be written."""

    def __init__(self, found: Any, sid: str | None) -> None:
        super().__init__(found if isinstance(found, dict) else {})
        self.sid, self.array = sid, isinstance(found, list)
        self.ended = self.wanted = False
        self.old = self.text()

    def clear(self) -> None:
        """Be ``ctx.session = null``."""
        super().clear()
        self.ended = True

    def refresh(self) -> None:
        """Have the session written at the end of the request, changed or not: also an anonymous one."""
        self.wanted = True

    def text(self) -> str:
        """Return the session as JSON. In that, an array has no place for keys: it loses what is written to it."""
        return "[]" if self.array else json.dumps(None if self.ended and not self else self)


class SeedInterface(SessionInterface):
    """The middleware: the raw sid in the cookie ``ssw``."""

    name = "ssw"

    def __init__(self, client: Any, max_age: float = WEEK) -> None:
        self.store, self.max_age = SeedStore(client), max_age

    def open_session(self, app: Flask, request: Request) -> SeedSession:
        """Read the session, whether the page will use it or not."""
        sid = request.cookies.get(self.name)
        if not sid:
            return SeedSession({}, None)
        found = self.store.get(sid)  # an error here is a 500 for which no handler is asked
        return SeedSession(found, secrets.token_hex(24) if found is None else sid)

    def save_session(self, app: Flask, session: SeedSession, response: Response) -> None:  # type: ignore[override]
        """Write what has changed: the whole session, over whatever another request wrote meanwhile."""
        text = session.text()
        if text == session.old and not session.wanted:
            return
        if session.sid and text in ("{}", "null"):
            self.store.destroy(session.sid)
            response.delete_cookie(self.name)  # with no domain, whatever it was set with
            return
        sid = self.store.set(json.loads(text), session.sid, self.max_age)  # nothing asks whether it ended meanwhile
        if session.wanted or sid != request.cookies.get(self.name):  # after an update the cookie keeps its old end
            end = datetime.now(UTC) + timedelta(milliseconds=self.max_age)
            response.set_cookie(self.name, sid, expires=end, httponly=True)
