"""A move, which the store offers to a save and not to an app."""

from __future__ import annotations

from redis_store import RedisStore

INDEX = b"OWNER:SESSION:ada"


def move(store: RedisStore, sid: str, to: str, seen: bytes, record: bytes, *, trail: bool = True) -> bool:
    """The commands of a move, as a session's save sends them; True: it took place."""
    commands = store.moving(sid, to, seen, record, 50, trail=trail, indexes=[INDEX])
    return bool(store.sender.run_all(commands, again=not store.sender.clustered)[-1])
