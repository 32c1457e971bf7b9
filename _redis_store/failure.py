"""What the client and the system raise when Redis cannot be asked, and what somebody else raises meanwhile."""

from __future__ import annotations

import re
import signal
from _signal import getsignal  # type: ignore[import-not-found]  # signal's makes Enums: slow, and it catches ValueError
from types import CodeType
from typing import Any

from redis.exceptions import ConnectionError, RedisClusterException, RedisError, TimeoutError

#: AttributeError and ValueError: a connection that another thread closed meanwhile, or a host name that can be none.
FAILURES = (RedisError, RedisClusterException, OSError, AttributeError, ValueError)

NO_CONNECTION = "No connection available."  # our pool's words, and those of one of redis-py's
POOL_IS_FULL = (NO_CONNECTION, "Too many connections")  # in all pools' words: Redis was not even asked

#: What to do about an error, by its kind and text. Its own words stay out: they quote the command.
HINTS = {
    r"(unknown|unsupported) command|command (is )?not (available|supported)": (
        "this server does not know the command, or its provider forbids it; needed are Redis 6.2 or newer and scripts "
        "(EVAL), and for fakeredis its extra: pip install 'fakeredis[lua]'"
    ),
    r"permission|user executing the script": "Redis's ACL forbids command or key; see docs/operations.md",
    r"MovedError": "this is one server of a Cluster; connect to it with redis+cluster://",
}

#: Words with which Redis begins an error, and which are not in the name of redis-py's exception. No other is told.
CODES = re.compile(
    "(?:MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|UNKILLABLE|NOAUTH|WRONGPASS|NOPERM|OOM|READONLY|LOADING"
    "|NOSCRIPT|EXECABORT|NOPROTO)(?= )"
)


def describe(error: BaseException) -> str:
    """Return what may be told of a client's error: only a network error is safe to quote.

    Others quote the command, and with it the sid and the session. Of these there is the code, if Redis has one for it.
    """
    kind = type(error).__name__
    if type(error) in (ConnectionError, TimeoutError):
        words = str(error)
    else:
        words = _hint(f"{kind} {error}") or (code[0] if (code := CODES.match(str(error))) else "")
    return f"{kind}: {words}" if words else kind


def _hint(error: str) -> str:
    return next((words for pattern, words in HINTS.items() if re.search(pattern, error[:200], re.I)), "")


def raise_interruption(error: BaseException, outer: BaseException | None) -> None:
    """Raise what a signal handler raised in the middle of a call, if the client made `error` of it.

    A job's time limit may be any exception, the builtin TimeoutError too, which is also what a socket raises. `outer`
    is what was being handled before the call. It is too late for one that the client has kept to itself.
    """
    codes = {_code_of(handler) for handler in map(getsignal, range(1, signal.NSIG)) if callable(handler)} - {None}
    link: BaseException | None = error
    while codes and link is not None and link is not outer:
        traceback = link.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code in codes:
                raise link
            traceback = traceback.tb_next
        link = link.__cause__ or link.__context__


def _code_of(handler: Any) -> CodeType | None:
    """Return the code of a signal handler: a function, a method, a partial one, or an object that can be called."""
    handler = getattr(handler, "func", handler)
    code: CodeType | None = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    return code
