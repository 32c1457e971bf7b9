"""What became of sessions, told to whoever wants to count it: Flask signals.

::

    from redis_store import signals

    @signals.ended.connect
    def count(app, reason, number, **_):
        ...

The sender is the app, or None outside an app context. Each signal has a `reason`, one of the few words that its `doc`
lists, so that it can be the label of a metric; never a sid, nor what a session holds. More may be added to what a
listener is given: take ``**_``. A listener runs within the request, so it should be quick. One that fails is a line in
the log.
"""

from __future__ import annotations

import logging
import sys
from inspect import iscoroutinefunction

from blinker import NamedSignal, Namespace
from flask.globals import app_ctx

from _redis_store.failure import raise_interruption

log = logging.getLogger("redis_store")

_namespace = Namespace()

created = _namespace.signal(
    "session-created",
    """A session began.

    write: a visitor's first data was stored
    login: somebody signed in who had no session
    """,
)
moved = _namespace.signal(
    "session-moved",
    """A session has a new sid.

    login: somebody signed in
    logout: somebody signed out, and something else is left in the session
    regenerate: it was asked for, or one of several owners left
    """,
)
ended = _namespace.signal(
    "session-ended",
    """Sessions ended, `number` of them. Nobody notices when one expires.

    logout: a request ended its own
    revoke: all of an owner's, but one that was to be kept
    end: one, from outside
    limit: an owner had more than SESSION_MAX_PER_OWNER
    """,
)
refused = _namespace.signal(
    "session-refused",
    """A change was not stored.

    type: JSON cannot keep a value
    size: the session is larger than SESSION_MAX_BYTES
    ended: the session ended meanwhile
    """,
)
merged = _namespace.signal(
    "session-merged",
    """Another request was first, and both changes are stored. What this one did:

    write: it changed the session
    login: somebody signed in
    logout: somebody signed out, and something else is left in the session
    regenerate: it gave the session a new sid
    """,
)
unreadable = _namespace.signal(
    "session-unreadable",
    """What Redis holds is no session, and counts as missing.

    record: it is malformed
    """,
)
unavailable = _namespace.signal(
    "session-unavailable",
    """Redis could not be asked.

    read: for the session
    write: to store a change; the answer is a 503
    refresh: to keep the session alive; the next request tries again
    view: for something else: the sessions of an owner, say, or to end some
    """,
)


def tell(signal: NamedSignal, reason: str, number: int = 1) -> None:
    """Tell the listeners of a signal, if it has any."""
    if not signal.receivers or signal.is_muted or not number:
        return
    app, outer = app_ctx.app if app_ctx else None, sys.exception()
    for listener in signal.receivers_for(app):
        try:
            if iscoroutinefunction(listener):
                raise TypeError("expected a function, not a coroutine function")
            listener(app, reason=reason, number=number)
        except Exception as error:  # it must not decide what becomes of the session
            raise_interruption(error, outer)
            log.exception("a listener of %s failed", signal.name)
