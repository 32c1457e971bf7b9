"""The sid, a session's name. Pure.

It says when its session began: eight hexadecimal digits of Unix time, a hyphen, 40 random digits (160 bits; OWASP's
Session Management Cheat Sheet asks for 64). koa-session2's own sids are accepted, and do not say it.
"""

from __future__ import annotations

import re
import secrets
import time

#: Ours; koa-session2's ``getID(24)``; the ``uuid()`` of the store that we follow.
SID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{40}|[0-9a-f]{48}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OURS = re.compile(r"([0-9a-f]{8})-[0-9a-f]{40}")

#: As much of a sid as is shown: six random digits, and of ours the time before them.
_SHORT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{6}|.{0,6}")


def new_sid(began: float | None = None) -> str:
    """Return a sid that nobody can guess, of a session that began then (Unix time). None: now."""
    return f"{int(time.time() if began is None else began):08x}-{secrets.token_hex(20)}"


def began_at(sid: str) -> int | None:
    """Return when the session began, or its owner signed in (Unix time).

    None: the sid is koa's, and does not say it.
    """
    match = _OURS.fullmatch(sid)
    return int(match[1], 16) if match else None


def shorten(sid: str) -> str:
    """Return enough of a sid to tell it from others, and not enough to use it."""
    match = _SHORT.match(sid)
    return f"{match[0] if match else ''}…"
