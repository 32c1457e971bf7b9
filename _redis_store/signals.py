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

from blinker import NamedSignal, Namespace
from flask.globals import app_ctx

from _redis_store.failure import raise_interruption

log = logging.getLogger("redis_store")

_namespace = Namespace()

created = _namespace.signal("session-created", "A session began. write: with a visitor's first data; login.")
moved = _namespace.signal("session-moved", "A session has a new sid. login, logout, regenerate.")
ended = _namespace.signal(
    "session-ended",
    "Sessions ended, `number` of them. logout; revoke; end: one, from outside; limit: SESSION_MAX_PER_OWNER. "
    "Nobody notices when one expires.",
)
refused = _namespace.signal(
    "session-refused",
    "A change was not stored. type: JSON cannot keep it; size: SESSION_MAX_BYTES; ended: its session, meanwhile.",
)
merged = _namespace.signal(
    "session-merged",
    "A change was merged with that of another request, which was first. write, login, logout, move.",
)
unreadable = _namespace.signal("session-unreadable", "What Redis holds is no session, and counts as missing. record.")
unavailable = _namespace.signal(
    "session-unavailable", "Redis could not be asked. read, write, refresh; view: a page asked for other sessions."
)


def tell(signal: NamedSignal, reason: str, number: int = 1) -> None:
    """Tell the listeners of a signal, if it has any."""
    if not signal.receivers or not number:
        return
    app = app_ctx.app if app_ctx else None
    for listener in signal.receivers_for(app):
        try:
            listener(app, reason=reason, number=number)
        except Exception as error:  # it must not decide what becomes of the session
            raise_interruption(error)
            log.exception("a listener of %s failed", signal.name)
