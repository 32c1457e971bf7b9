"""One change on its way into Redis: `Write`.

Where two requests meet: each reads the record, and writes only over what it read. Who comes second reads again, and
`Change` says what is to be stored now; or that the session has ended, and stays ended.

A session that gets a new sid and has an owner is *listed*, *written* and *checked*, in this order: see owners.py.
With one server the three go out in one round trip.
"""

from __future__ import annotations

import logging
from typing import Any

from _redis_store import signals
from _redis_store.change import Change, owners_of
from _redis_store.lifetime import max_age_of
from _redis_store.owners import OwnerIndex, decode, names
from _redis_store.record import Session, dump_record, load_record
from _redis_store.sender import Command, CrossSlot, StoreUnavailable
from _redis_store.session import RedisSession
from _redis_store.sid import began_at, new_sid
from _redis_store.store import MAX_TRIES, lost_all_rounds, pause
from _redis_store.trail import end_moved

log = logging.getLogger("redis_store")


class Write:
    """One change on its way into Redis."""

    def __init__(self, session: RedisSession, mine: Session) -> None:
        self.session, self.store, self.settings = session, session.store, session.settings
        self.index = OwnerIndex(self.store)
        self.now = self.settings.clock()
        self.change = Change(session, mine, self.settings.owner_keys)
        self.old_owners = names(self.change.owners_before)  # whose indexes have the old sid
        self.sid = session.sid
        # A new sid for the same login says when that was; what begins, says so.
        began = began_at(self.sid) if self.change.kind in ("move", "logout") else None
        self.to = self.sid if self.change.kind == "write" else new_sid(self.now if began is None else began)

    def run(self, record: bytes) -> str | None:
        """Write until nobody else was first; return what `save` does."""
        seen, content = self.session.record, self.change.mine
        if not seen and self.session.cleared and self.sid:  # who was signed in, under a sid just replaced, no longer is
            end_moved(self.store, self.sid)
        for _ in range(MAX_TRIES):
            self._check_size(record)
            if self._put(seen, content, record):
                self._tell(seen, content)
                return self._finish(content, record)
            pause()
            seen = self.store.read(self.sid) or b""
            theirs = load_record(seen or None)
            applied = self.change.apply(theirs)
            if theirs is None:
                seen, ended = b"", self.change.signs_out and end_moved(self.store, self.sid)
                if not applied:
                    return self._drop(ended)
            content = applied or {}
            record = dump_record(content)
        raise lost_all_rounds()

    def _check_size(self, record: bytes) -> None:
        limit = self.settings.max_bytes
        if len(record) <= limit or (self.change.record and len(record) <= len(dump_record(self.change.base))):
            return  # it may always shrink
        raise ValueError(f"the session takes {len(record)} bytes; SESSION_MAX_BYTES allows {limit}")

    def _put(self, seen: bytes, content: Session, record: bytes) -> bool:
        """Return whether `record` took the place of `seen`; if it has an owner: listed, written and checked."""
        owners, sender = names(self._owners_of(content)), self.store.sender
        self.session.max_age = max_age_of(self.settings, self.to, self.now)
        is_new, clustered = self.to != self.sid, sender.clustered
        adding = []
        if is_new or self._refreshes_index():
            limits = self.settings.listed_for, self.settings.max_per_owner
            adding = self.index.adding(owners, self.to, self.now, *limits, new=is_new)
        checking = self.index.checking(owners, self.to) if is_new else []
        writing = self._writing(seen, record)
        try:
            again = bool(seen) and is_new and not clustered  # that script recognizes its own record
            answers = sender.run_all([*adding, *writing, *checking], again=again)
        except CrossSlot:  # a Cluster behind one address: from the next round on, one command after the other
            if clustered:
                raise
            return False
        except StoreUnavailable:
            if adding and is_new:
                self._undo()
            raise
        if seen and not answers[len(adding) + len(writing) - 1]:  # SET NX: a client may repeat it by itself
            if is_new and clustered:
                self._undo()
            return False
        if checking and not self.index.is_listed(answers[-len(checking) :]):
            self._undo()
            raise StoreUnavailable("a session was revoked while it began, or its owner's index was lost")
        if is_new:
            self._trim(dict(zip(owners, answers, strict=False)))
        return True

    def _owners_of(self, content: Session) -> dict[str, Any]:
        if content is self.change.mine:  # the usual case
            return self.change.owners_after
        return owners_of(content, self.settings.owner_keys)

    def _writing(self, seen: bytes, record: bytes) -> list[Command]:
        max_age = self.session.max_age
        if not seen:
            return [self.store.adding(self.to, record, max_age)]
        if self.to == self.sid:
            return [self.store.swapping(self.sid, seen, record, max_age)]
        indexes = [self.index.key(owner) for owner in self.old_owners]
        trail = self.change.kind == "move"
        return self.store.moving(self.sid, self.to, seen, record, max_age, trail=trail, indexes=indexes)

    def _refreshes_index(self) -> bool:
        """Return whether a write in place is the first of this SESSION_REFRESH_AFTER, and so tells the index."""
        span = max(1, self.settings.refresh_after)
        return self.session.signed_at // span != int(self.now) // span

    def _undo(self) -> None:
        """Destroy a record that nobody has the cookie of."""
        try:
            self.store.destroy(self.to)
        except StoreUnavailable as error:
            log.warning("%s", error)

    def _trim(self, too_many: dict[str, Any]) -> None:
        """End the sessions that are more than SESSION_MAX_PER_OWNER. The next sign-in does, if this one cannot."""
        for owner, (over, sids) in too_many.items():
            if over <= 0:
                continue
            others = [sid for each in sids if (sid := decode(each)) not in (self.to, self.sid)]
            was_counted = owner in self.old_owners  # under the old sid, too
            try:
                number = self.index.end(owner, others[: over - was_counted], self.to)
                signals.tell(signals.ended, "limit", number)
            except StoreUnavailable as error:
                log.warning("%s", error)

    def _tell(self, seen: bytes, content: Session) -> None:
        """Tell what became of the session."""
        kind = "regenerate" if self.change.kind == "move" else self.change.kind
        if seen not in (b"", self.session.record) and not self.change.replaces:
            signals.tell(signals.merged, kind)
        if not content:
            signals.tell(signals.ended, "logout")
        elif not seen:
            signals.tell(signals.created, "login" if self.change.owners_after else "write")
        elif kind != "write":
            signals.tell(signals.moved, kind)

    def _finish(self, content: Session, record: bytes) -> str:
        """Make the session what is stored now, so that it can be saved again."""
        session = self.session
        if self.to != self.sid and self.store.sender.clustered:
            self.index.remove(self.old_owners, self.sid)
        if content is not self.change.mine:
            dict.clear(session)
            dict.update(session, content)
        session.sid, session.regenerated = self.to, False
        session.remember(record if content else b"", self._owners_of(content))
        return session.sid if content else ""

    def _drop(self, ended: bool) -> str | None:
        """Drop the changes: the session ended meanwhile, and stays ended, however often it is saved: `record` stays."""
        self.index.remove(names(self.change.owners_after), self.to)  # listed, and then not written
        if ended:
            signals.tell(signals.ended, "logout")
            return ""
        signals.tell(signals.refused, "ended")
        # %r: no control character gets through, if names of keys come from visitors.
        changed = sorted(self.change.changed)
        self.session.dropped = True
        log.warning("a session ended while a request changed it; the changes are dropped: %.1000r", changed)
        return None
