"""Stores, clients and interfaces that break a promise: the machine has to find each of them out."""

from __future__ import annotations

from typing import Any

from flask import Flask
from redis import RedisError

from _redis_store.sender import Command
from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable
from support.machine.between import Client
from support.machine.views import LIFETIME


class BlindWrites(RedisStore):
    """No compare-and-set: the last writer wins it all, and a logout is undone."""

    def swapping(self, sid: str, seen: bytes, record: bytes, max_age: int) -> Command:
        return ("SET", self.key(sid), record, "EX", max_age)

    def moving(self, sid: str, to: str, seen: bytes, record: bytes, max_age: int, **_: Any) -> list[Command]:
        writing = self.swapping(to, seen, record, max_age)
        return [("DEL", self.key(sid))] if record == b"{}" else [("DEL", self.key(sid)), writing]


class TheOldSidLives(RedisStore):
    """A login copies the session instead of moving it."""

    def moving(self, sid: str, to: str, seen: bytes, record: bytes, max_age: int, **options: Any) -> list[Command]:
        if record == b"{}":
            return super().moving(sid, to, seen, record, max_age, **options)
        return [("SET", self.key(to), record, "EX", max_age)]


class NoTrail(RedisStore):
    """A logout that comes upon a sid which was just replaced ends nothing."""

    def moving(self, *args: Any, trail: bool, **options: Any) -> list[Command]:
        return super().moving(*args, trail=False, **options)


class NoTTL(RedisStore):
    """What is added stays for ever."""

    def adding(self, sid: str, record: bytes, max_age: int) -> Command:
        return ("SET", self.key(sid), record, "NX")


class OutageLooksAnonymous(RedisStore):
    """Whoever is signed in sees a login page while Redis is away."""

    def read(self, sid: str) -> bytes | None:
        try:
            return super().read(sid)
        except StoreUnavailable:
            return None


class RemembersTheLastRecord(RedisStore):
    """A cache that forgets to ask whose it is."""

    last: bytes | None = None

    def read(self, sid: str) -> bytes | None:
        cls = type(self)
        cls.last = cls.last or super().read(sid)
        return cls.last


class NothingIsDestroyed(Client):
    """A logout takes only the cookie."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        return 1 if command[0] == "DEL" else super().execute_command(*command, **options)


class RefreshCreates(Client):
    """A refresh writes the record again, whether it is there or not."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        if command[0] == "EXPIRE":
            super().execute_command("SET", command[1], b'{"a":"laptop-0"}', "NX", "EX", command[2])
        return super().execute_command(*command, **options)


class FailedWritesPass(Client):
    """As in koa: printed, and answered with a 200."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*command, **options)
        except RedisError:
            if command[0] in ("EVAL", "SET") and b"SESSION:" in str(command).encode():
                return 1
            raise


class NothingIsListedAgain(Client):
    """The index of an owner knows a session only as long as its first EX."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        if command[0] == "EVAL" and "ZADD" in command[1]:
            command = (command[0], command[1].replace("'ZADD', KEYS[1],", "'ZADD', KEYS[1], 'NX',"), *command[2:])
        return super().execute_command(*command, **options)


class NobodyLooksAgain(Client):
    """A session that was revoked while it began lives on."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        return 1 if command[0] == "ZSCORE" else super().execute_command(*command, **options)


class SidsAreAdopted(RedisSessionInterface):
    """A write goes to the sid that the cookie names, also when that session ended."""

    def save_session(self, app: Flask, session: Any, response: Any) -> None:
        if session.loaded and session.sid and session and not session.record and session.failure is None:
            session.max_age = LIFETIME
            self._set_cookie(app, session, session.store.set(session, session.sid, max_age=LIFETIME), response)
        else:
            super().save_session(app, session, response)


class OwnersKeepTheirSid(RedisSessionInterface):
    """Session fixation."""

    def open_session(self, app: Flask, request: Any) -> Any:
        app.config["SESSION_OWNER_KEYS"] = ()
        return super().open_session(app, request)


BROKEN: list[type[RedisStore | RedisSessionInterface | Client]] = [
    BlindWrites,
    TheOldSidLives,
    NoTrail,
    NoTTL,
    OutageLooksAnonymous,
    RemembersTheLastRecord,
    NothingIsDestroyed,
    RefreshCreates,
    FailedWritesPass,
    NothingIsListedAgain,
    NobodyLooksAgain,
    SidsAreAdopted,
    OwnersKeepTheirSid,
]
