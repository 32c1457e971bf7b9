"""A session taken apart, to be shown: the cookie as the browser sent it, and what is left of both sides. Pure."""

from __future__ import annotations

import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from redis_store import WEEK, RedisSession, shorten

#: Ours, which says when the session began. Another one is koa's.
SID = re.compile(r"([0-9a-f]{8})-[0-9a-f]{40}")
#: A signed cookie: its third part is the time of signing.
SIGNED = re.compile(r"[^.]+\.[pb]\.([A-Za-z0-9_-]{6,8})\.[A-Za-z0-9_-]{43}")
DAY = 24 * 60 * 60  # seconds
SHOWN = 6  # characters of what nobody may know in full


class Part(NamedTuple):
    """A piece of the cookie."""

    kind: str  #: its class in the style sheet
    text: str  #: as much of it as may be shown
    name: str
    meaning: str
    before: str = ""  #: what stands between it and the piece before it
    time: str = ""  #: that it says


def take_apart(session: RedisSession, values: Sequence[str]) -> list[Part]:
    """Return the pieces of the cookie that the session came with. `values`: all cookies of that name."""
    sid = session.sid
    if match := SID.fullmatch(sid):
        random = sid.partition("-")[2]
        parts = [
            Part("began", match[1], "Beginning", "when the session began:", time=show_time(int(match[1], 16))),
            Part("random", f"{random[:SHOWN]}…", "Random part", "160 bits that nobody can guess, shortened here", "-"),
        ]
    else:
        parts = [
            Part("random", shorten(sid), "Session id", "made by koa, shortened here: it does not say when it began")
        ]
    for value in values:
        pieces = value.split(".")
        if session.signed_at and pieces[0] == sid and len(pieces) == 4:
            lasts = "permanent: the cookie outlives the browser" if pieces[1] == "p" else "it ends with the browser"
            return [
                *parts,
                Part("kind", pieces[1], "Permanence", lasts, "."),
                Part(
                    "signed",
                    pieces[2],
                    "Time of signing",
                    "when the cookie was signed:",
                    ".",
                    show_time(session.signed_at),
                ),
                Part(
                    "signature",
                    f"{pieces[3][:SHOWN]}…",
                    "Signature",
                    "made with the app's secret key, which Redis does not have",
                    ".",
                ),
            ]
    return parts


def explain_refusal(cookie: str, now: float) -> str:
    """Return which check refused a cookie that did not count. `now`: the Unix time."""
    if (match := SIGNED.fullmatch(cookie)) is None:
        return "Refused by its form: ours is a sid, permanence, a time and a signature. Redis was not asked."
    age = now - int.from_bytes(urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)))
    if age > WEEK:
        return f"Refused by its age: {age / DAY:.0f} days. A session lasts a week here. Redis was not asked."
    return "Refused by its signature: it is of its time, but this is not how the app signs it. Redis was not asked."


def get_cookie_left(session: RedisSession) -> int | None:
    """Return the seconds until the browser forgets the cookie. None: it does when it is closed, or nobody knows."""
    if not session.permanent or not session.signed_at:
        return None
    return math.ceil(session.signed_at + get_lifetime(session) - session.settings.clock())


def get_lifetime(session: RedisSession) -> int:
    """Return the seconds that cookie and record got when the cookie was signed: ``Max-Age`` and ``EX``."""
    settings = session.settings
    if (match := SID.fullmatch(session.sid)) is None or not session.signed_at:
        return settings.max_age
    until = int(match[1], 16) + settings.absolute_max_age  # infinite without an absolute limit
    return max(1, int(min(settings.max_age, until - session.signed_at)))


def show_time(seconds: float) -> str:
    """Return a Unix time for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def show_span(seconds: int) -> str:
    """Return a time span for people. static/home.js goes on with it."""
    days, rest = divmod(max(0, seconds), 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} day{'' if days == 1 else 's'} {clock}" if days else clock
