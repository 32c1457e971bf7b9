"""Ending sessions by their sid, wherever they have gone.

A logout, or a revoke, that comes upon a sid which `regenerate` has just replaced ends the session where it went: for
ten minutes the trail of the old sid, the key ``MOVED:{SESSION:<old sid>}``, holds the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from _redis_store.sid import SID
from _redis_store.store import RedisStore

BATCH = 500  # sids that one round trip may be about


def end_moved(store: RedisStore, sid: str, keep: str | None = None) -> bool:
    """End the session where the trail of `sid` leads, however long it is; return False when there was none.

    That of `keep` stays. GET; then DEL and GET.
    """
    to, seen = _read(store.sender.run("GET", store.trail_key(sid), again=True)), {sid, keep}
    while to and to not in seen:
        seen.add(to)
        ended, trail = store.sender.run_all([store.destroying(to), ("GET", store.trail_key(to))], again=True)
        if ended:
            return True
        to = _read(trail)
    return False


def _read(trail: bytes | None) -> str:
    """Return the sid that a trail holds; nothing, if it holds none."""
    sid = (trail or b"").decode(errors="replace")
    return sid if SID.fullmatch(sid) else ""


def end_all(store: RedisStore, sids: Sequence[str], keep: str | None = None) -> int:
    """End these sessions, here or where they have moved to, but not that of `keep`; return how many there were to end.

    DEL and GET of each, in one round trip: at most BATCH sids.
    """
    commands = [command for sid in sids for command in (store.destroying(sid), ("GET", store.trail_key(sid)))]
    answers = iter(store.sender.run_all(commands, again=True, ordered=False))
    ended = 0
    for sid, there, trail in zip(sids, answers, answers, strict=True):
        ended += bool(there) or (trail is not None and end_moved(store, sid, keep))
    return ended


def batches(sids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the sids in parts of at most BATCH."""
    for start in range(0, len(sids), BATCH):
        yield sids[start : start + BATCH]
