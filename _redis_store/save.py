"""What becomes of a session when its request ends: `save`."""

from __future__ import annotations

import logging

from _redis_store import signals
from _redis_store.change import is_empty
from _redis_store.lifetime import is_due, max_age_of
from _redis_store.owners import OwnerIndex, names
from _redis_store.record import dump_record
from _redis_store.sender import StoreUnavailable
from _redis_store.session import RedisSession
from _redis_store.snapshot import dump_changed
from _redis_store.trail import end_moved
from _redis_store.write import Write

log = logging.getLogger("redis_store")


def save(session: RedisSession, status: int) -> str | None:
    """Store what a request did to its session. Return the sid that the browser is to hold from now on.

    Empty: no cookie. None: what it holds already; it may be a newer one. `status` is that of the answer.

    StoreUnavailable: a change could not be stored, or the answer was made without the session. TypeError, ValueError:
    the session holds what JSON cannot keep, or too much of it; nothing was written.
    """
    if not session.loaded:
        if not session.may_be_due():
            return None
        session.read()
    if session.failure is None:
        try:
            return _save(session)
        except StoreUnavailable:
            signals.tell(signals.unavailable, "write")
            raise
        except (TypeError, ValueError) as error:
            if not session.dropped:  # Flask asks again, for its page of the error
                session.dropped = True
                signals.tell(signals.refused, "type" if isinstance(error, TypeError) else "size")
            raise
    if _is_missed(session, status):
        raise session.failure
    return None


def _is_missed(session: RedisSession, status: int) -> bool:
    """Return whether an answer that was made without its session, in an outage, has to become a 503.

    An error page other than 401, 403 and 500 does not; nor an answer by code that was told of the outage. Unless the
    session was changed, or asked for again.
    """
    if not session.accessed:
        return False
    return session.modified or status == 500 or (session.hidden and (status < 400 or status in (401, 403)))


def _save(session: RedisSession) -> str | None:
    """Return what `save` does, for a session that could be read."""
    mine = dict(session)
    if is_empty(mine):
        if session.cleared:
            return _end(session)
        if not session.record:
            return None
    if session.regenerated or not session.record:
        record: bytes | None = dump_record(mine)
    else:
        record = dump_changed(mine, session.record, session.snapshot, modified=session.modified)
    if record is not None:
        return Write(session, mine).run(b"{}" if is_empty(mine) else record)
    # One that ends with the browser, too, when a key was set: Flask then sends its cookie.
    if session.touched or ((session.permanent or session.modified) and is_due(session.settings, session.signed_at)):
        return _refresh(session)
    return None


def _end(session: RedisSession) -> str | None:
    """End the session, here or where it has moved to meanwhile."""
    sender, ended = session.store.sender, 0
    if session.record:
        removing = OwnerIndex(session.store).removing(names(session.owners), session.sid)
        ended, *_ = sender.run_all([session.store.destroying(session.sid), *removing], again=True)
    session.remember(b"", {})
    if not ended and not (session.sid and end_moved(session.store, session.sid)):
        return None
    signals.tell(signals.ended, "logout")
    return ""


def _refresh(session: RedisSession) -> str | None:
    """Keep the session alive, and listed."""
    store, settings, now = session.store, session.settings, session.settings.clock()
    index, owners = OwnerIndex(store), names(session.owners)
    session.max_age = max_age_of(settings, session.sid, now)
    adding = index.adding(owners, session.sid, now, settings.listed_for)
    try:
        if store.sender.run_all([*adding, ("EXPIRE", store.key(session.sid), session.max_age)], again=True)[-1]:
            return session.sid
        index.remove(owners, session.sid)
    except StoreUnavailable as error:  # nothing is lost: the next request tries again
        log.warning("%s", error)
        signals.tell(signals.unavailable, "refresh")
    return None
