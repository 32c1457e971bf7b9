"""The settings: what each may be, and all of them as one request sees them.

They are keys of ``app.config``, Flask's own and ours. They are read and checked anew when one of them has changed.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from operator import itemgetter
from typing import Any

from flask import Flask

from _redis_store.connection import SOCKET_TIMEOUT

log = logging.getLogger("redis_store")

MAKE_KEY = "python3 -c 'import secrets; print(secrets.token_hex(32))'"  # the command that makes a SECRET_KEY


def _are(values: Any, kind: Any) -> bool:
    return isinstance(values, list | tuple) and all(value and isinstance(value, kind) for value in values)


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _is_lifetime(value: Any) -> bool:
    return type(_seconds(value)) in (int, float) and 1 <= _seconds(value) < 2**31


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)  # "False" would be true, and 0 be sent as "Secure=0", which browsers take for Secure


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_wait(value: Any) -> bool:
    return type(value) in (int, float) and value >= SOCKET_TIMEOUT


def _or_none(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or accepts(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_token(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", value, re.ASCII) is not None


def _is_domain(value: Any) -> bool:
    try:
        return not value or (isinstance(value, str) and bool(value.partition(":")[0].lstrip(".").encode("idna")))
    except ValueError:  # no cookie can have it
        return False


#: What `read` checks: default (None: that is Flask's), what is accepted, in words.
SETTINGS: dict[str, tuple[Any, Callable[[Any], bool], str]] = {
    "SESSION_USE_SIGNER": (True, _is_bool, "True or False"),
    "SESSION_PERMANENT": (True, _is_bool, "True or False"),
    "SESSION_REFRESH_AFTER": (300, lambda value: type(value) is int and value >= 0, "a whole number of seconds"),
    "SESSION_ABSOLUTE_LIFETIME": (None, _or_none(_is_lifetime), "a lifetime, or None"),
    "SESSION_MAX_PER_OWNER": (100, _or_none(_is_count), "a whole number, 1 or more, or None"),
    "SESSION_MAX_WAIT": (1, _is_wait, f"{SOCKET_TIMEOUT} s or more"),
    "SESSION_MAX_BYTES": (2**20, _is_count, "a whole number of bytes"),
    "SESSION_OWNER_KEYS": (("_user_id", "user_id"), lambda value: _are(value, str), "a list of keys of the session"),
    "SESSION_COOKIE_NAME": (None, _is_token, "a name as RFC 6265 allows it"),
    "SESSION_COOKIE_PATH": (None, _or_none(_is_text), "a path, or None"),
    "SESSION_COOKIE_DOMAIN": (None, _is_domain, "a domain, or None"),
    "SESSION_COOKIE_SECURE": (None, _or_none(_is_bool), "True or False"),
    "SESSION_COOKIE_HTTPONLY": (None, _or_none(_is_bool), "True or False"),
    "SESSION_COOKIE_PARTITIONED": (None, _or_none(_is_bool), "True or False"),
    "SESSION_REFRESH_EACH_REQUEST": (None, _or_none(_is_bool), "True or False"),
    "SESSION_COOKIE_SAMESITE": (None, lambda value: str(value).title() in ("Lax", "Strict", "None"), "Lax or Strict"),
    "PERMANENT_SESSION_LIFETIME": (None, _is_lifetime, "a lifetime: a timedelta or seconds, 1 s to 68 years"),
    # As a string it would be read as a list of one-letter keys, and a cookie signed with one letter accepted.
    "SECRET_KEY_FALLBACKS": (None, _or_none(lambda value: _are(value, str | bytes)), "a list of keys"),
    "SECRET_KEY": (None, _or_none(lambda value: isinstance(value, str | bytes)), "a key: text or bytes"),
}
_values = itemgetter(*SETTINGS)

#: Settings of Flask-Session 0.8 that mean nothing here, and what to do instead. SESSION_PERMANENT and
#: SESSION_USE_SIGNER are ours as well.
FLASK_SESSION = {
    r"SESSION_TYPE": "leave it out",
    r"SESSION_REDIS": "give the client to RedisSessionInterface",
    r"SESSION_KEY_PREFIX": "give RedisSessionInterface a RedisStore(client, prefix=…)",
    r"SESSION_SERIALIZATION_FORMAT": "leave it out: records are JSON",
    r"SESSION_ID_LENGTH": "leave it out: a sid has 160 random bits",
    r"SESSION_CLEANUP_N_REQUESTS": "leave it out: Redis removes what has expired",
    r"SESSION_(CACHELIB|DYNAMODB|FILE|MEMCACHED|MONGODB|SQLALCHEMY)(_\w+)?": "leave it out: sessions are in Redis",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings as one request sees them."""

    clock: Callable[[], float]  #: Unix time, in seconds
    #: What signs cookies, the current one last; None: the cookie is the raw sid. Not in a traceback's local variables.
    keys: tuple[str | bytes, ...] | None = field(repr=False)
    permanent: bool  #: whether a session outlives the browser, unless it says otherwise
    refreshes: bool  #: whether use keeps a session alive
    refresh_after: int  #: seconds, the age of a cookie from which a refresh is due
    max_age: int  #: seconds, the idle limit: the most that EX and Max-Age can be
    absolute_max_age: float  #: seconds from the beginning of a session; infinite without a limit
    max_per_owner: int | None
    max_wait: float  #: seconds that one request may wait for Redis, in all
    max_bytes: int
    owner_keys: tuple[str, ...]  #: the keys of a session that say who is signed in

    @property
    def listed_for(self) -> int:
        """Seconds for which an owner's index knows a session: a write tells it only once in `refresh_after`."""
        return self.max_age + self.refresh_after


def read(app: Flask, clock: Callable[[], float]) -> Settings | None:
    """Return the app's settings of this moment. None: it has no SECRET_KEY, and so no sessions.

    ValueError: one is wrong. The message has key, value and what was expected, and shows no secret.
    """
    known = app.extensions.get("redis_session")
    if known is not None:
        seen, settings = known
        try:
            values = _values(app.config)
        except KeyError:  # one was removed: its default counts
            values = ()
        if seen == (values, clock):
            return settings  # type: ignore[no-any-return]
    settings = _check(app, clock)
    if known is None and (others := _find_others(app)):
        log.warning("settings of Flask-Session mean nothing here: %s", "; ".join(others))
    # A list is copied, so that a change inside it is seen.
    values = tuple([list(value) if isinstance(value, list) else value for value in _values(app.config)])
    app.extensions["redis_session"] = (values, clock), settings
    return settings


def _find_others(app: Flask) -> list[str]:
    """Return each setting of Flask-Session's that the app has, with what to do instead."""
    return [
        f"{name} ({instead})"
        for name in sorted(map(str, app.config))
        for pattern, instead in FLASK_SESSION.items()
        if re.fullmatch(pattern, name)
    ]


def _check(app: Flask, clock: Callable[[], float]) -> Settings | None:
    """Fill in defaults, and return all settings. ValueError: one is wrong."""
    config = app.config
    for name, (default, accepts, expected) in SETTINGS.items():
        value = config.setdefault(name, default)
        if not accepts(value):
            shown = "not shown" if "SECRET" in name else repr(value)
            raise ValueError(f"{name} is {shown}; expected {expected}")
    if config["SESSION_USE_SIGNER"] and not app.secret_key:
        return None
    keys = (*(config["SECRET_KEY_FALLBACKS"] or ()), app.secret_key)
    max_age = int(app.permanent_session_lifetime.total_seconds())
    limit, after = config["SESSION_ABSOLUTE_LIFETIME"], config["SESSION_REFRESH_AFTER"]
    return Settings(
        clock=clock,
        keys=keys if config["SESSION_USE_SIGNER"] else None,
        permanent=config["SESSION_PERMANENT"],
        refreshes=bool(config["SESSION_REFRESH_EACH_REQUEST"]),
        refresh_after=after if after < max_age else max_age // 2,  # or it would never be due in time
        max_age=max_age,
        absolute_max_age=math.inf if limit is None else float(_seconds(limit)),
        max_per_owner=config["SESSION_MAX_PER_OWNER"],
        max_wait=config["SESSION_MAX_WAIT"],
        max_bytes=config["SESSION_MAX_BYTES"],
        owner_keys=tuple(config["SESSION_OWNER_KEYS"]),
    )
