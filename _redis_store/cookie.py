"""The cookie that carries the sid. Pure, but for what changes a response.

A signed cookie is ``<sid>.<p or b>.<time of signing>.<signature>``: "p" for a permanent session, "b" for one that
ends with the browser. Time and signature are those of an itsdangerous ``TimestampSigner``.
"""

from __future__ import annotations

import functools
import hmac
import logging
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from typing import Any, NamedTuple

from itsdangerous.encoding import base64_encode, int_to_bytes, want_bytes
from werkzeug import Response
from werkzeug.http import dump_cookie
from werkzeug.sansio.http import parse_cookie

from _redis_store.lifetime import time_left
from _redis_store.settings import Settings
from _redis_store.sid import SID

log = logging.getLogger("redis_store")

CLOCK_SKEW = 60  # seconds that the clock of the host which signed a cookie may be ahead of ours
SALT = "redis-session"  # what the same key signed for another purpose is no session cookie

#: Nothing that does not look exactly so reaches the signature check, much less Redis.
_SIGNED = re.compile(rf"(({SID.pattern})\.([pb])\.([A-Za-z0-9_-]{{6,8}}))\.([A-Za-z0-9_-]{{43}})", re.ASCII)


class Cookie(NamedTuple):
    """What a cookie of ours says."""

    sid: str
    permanent: bool
    signed_at: int  # Unix time; 0: it is not signed
    signed: str = ""  # the part that the signature is of
    signature: str = ""


def read_all(settings: Settings, header: str, name: str) -> list[Cookie]:
    """Return what the cookies of that name say, but for those that are not ours. Their signatures are not checked."""
    cookies = []
    for value in _find_all(header, name):
        if settings.keys is None:
            if SID.fullmatch(value):
                cookies.append(Cookie(value, True, 0))
        elif match := _SIGNED.fullmatch(value):
            signed, sid, kind, at, signature = match.groups()
            cookies.append(Cookie(sid, kind == "p", _decode_time(at), signed, signature))
    return cookies


def _find_all(header: str, name: str) -> list[str]:
    """Return the values of all cookies of that name, as ``request.cookies``, which takes longer.

    It is called for every request, and a cookie of ours is never quoted, nor has spaces inside.
    """
    if '"' in header:
        return parse_cookie(header).getlist(name)
    values = []
    for part in header.split(";"):
        if name in part:
            key, _, value = part.partition("=")
            if key.strip(" \t") == name:
                values.append(value.strip(" \t"))
    return values


@functools.lru_cache(maxsize=8)  # to begin an HMAC costs more than to copy one
def _begin_signature(key: str | bytes) -> hmac.HMAC:
    """Return an HMAC-SHA-256, with the key that itsdangerous' key derivation "hmac" makes."""
    return hmac.new(hmac.digest(want_bytes(key), SALT.encode(), "sha256"), digestmod="sha256")


@functools.lru_cache(maxsize=1024)  # a visitor comes back with the cookie of the last answer, and mostly soon
def _sign(key: str | bytes, text: str) -> str:
    signature = _begin_signature(key).copy()
    signature.update(text.encode())
    return base64_encode(signature.digest()).decode()


# Most requests meet a time that others had before: to look it up takes a fifth of the time.


@functools.lru_cache(maxsize=1024)
def _decode_time(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "=" * (-len(text) % 4)))


@functools.lru_cache(maxsize=8)
def _encode_time(at: int) -> str:
    return base64_encode(int_to_bytes(at)).decode()


@functools.lru_cache(maxsize=8)
def _format_time(at: int) -> str:
    """Return a time as ``Expires`` has it; in English, in any locale."""
    weekday, month, day, time_of_day, year = time.asctime(time.gmtime(at)).split()
    return f"{weekday}, {day:0>2} {month} {year} {time_of_day} GMT"


def make(settings: Settings, sid: str, permanent: bool) -> str:
    """Return the value of a cookie: sid, permanence and time, signed together. Unsigned: the sid."""
    if settings.keys is None:
        return sid
    signed = f"{sid}.{'p' if permanent else 'b'}.{_encode_time(int(settings.clock()))}"
    return f"{signed}.{_sign(settings.keys[-1], signed)}"


def set_on(response: Response, name: str, value: str, max_age: int | None, attributes: dict[str, Any]) -> None:
    """Do what ``response.set_cookie`` does, in less time. `value` is one from `make`.

    `max_age` is in seconds; None: the cookie ends with the browser.
    """
    if type(response).set_cookie is Response.set_cookie:
        response.headers.add("Set-Cookie", dump(name, value, max_age, attributes))
    else:  # an app's own
        response.set_cookie(name, value, max_age, **attributes)


def vary_on(response: Response) -> None:
    """Say in an answer that it depends on the cookie."""
    if response.headers.getlist("Vary"):  # `in` raises and catches an error, which takes ten times as long
        response.vary.add("Cookie")
    else:  # without taking apart what is not there
        response.headers.add("Vary", "Cookie")


def dump(name: str, value: str, max_age: int | None, attributes: dict[str, Any]) -> str:
    """Return a Set-Cookie header as Werkzeug would make it."""
    before, _, after = _dump_cookie(name, **attributes).partition("=")
    if max_age is None:
        return f"{before}={value}{after}"
    return f"{before}={value}; Expires={_format_time(int(time.time()) + max_age)}; Max-Age={max_age}{after}"


#: What surrounds the value changes with the settings only.
_dump_cookie = functools.lru_cache(maxsize=8, typed=True)(dump_cookie)


def choose(settings: Settings, cookies: Sequence[Cookie]) -> Cookie | None:
    """Return the one that counts. None: none of them is good.

    After SESSION_COOKIE_DOMAIN was set, a browser sends the old cookie of its session along, and the youngest counts.
    Two different sids are two sessions, and nobody can tell which of them was planted from another host or path.
    """
    now = settings.clock()
    good = [cookie for cookie in cookies if _is_good(settings, cookie, now)]
    if len(good) < 2:
        return good[0] if good else None
    if len(sids := {cookie.sid for cookie in good}) > 1:
        log.warning("a visitor has cookies of %d sessions; none counts", len(sids))
        return None
    return max(good, key=lambda cookie: cookie.signed_at)


def _is_good(settings: Settings, cookie: Cookie, now: float) -> bool:
    """Return whether the cookie is of its time, and signed."""
    if time_left(settings, cookie.sid, now) < 0:
        return False
    if settings.keys is None:
        return True
    if not -CLOCK_SKEW <= int(now) - cookie.signed_at <= settings.max_age:
        return False
    for key in reversed(settings.keys):
        # As text: of the several spellings of one signature in base64, only ours counts.
        if hmac.compare_digest(_sign(key, cookie.signed), cookie.signature):
            return True
    return False
