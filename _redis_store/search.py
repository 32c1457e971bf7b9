"""Finding sessions in all of Redis, whosever they are. For the command line: a page has no time for a scan."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import click
from flask import Flask

from _redis_store import listing
from _redis_store.failure import FAILURES, describe, raise_interruption
from _redis_store.listing import SessionInfo, make_handle
from _redis_store.sender import StoreUnavailable
from _redis_store.settings import Settings, read
from _redis_store.sid import SID, shorten
from _redis_store.store import RedisStore
from _redis_store.terminal import OWNER_WIDTH, count, safe

IN_MEMORY = 100  # records that are in memory at one time

#: The beginning of a sid, ours or koa's, or of a handle, as somebody types it.
BEGINNING = re.compile(r"[0-9a-f][0-9a-f-]{3,48}")


@dataclass(frozen=True)
class Search:
    """The sessions of an app, from its server's side. Every method raises `StoreUnavailable`."""

    store: RedisStore
    settings: Settings

    @classmethod
    def of(cls, app: Flask) -> Search:
        """Return where to look for the sessions of `app`. ClickException: not in any Redis that we can reach."""
        interface: Any = app.session_interface
        store = getattr(interface, "store", None)
        if not isinstance(store, RedisStore):
            kind = type(interface).__name__
            raise click.ClickException(f"the sessions of this app are not in Redis: its session_interface is a {kind}")
        if (settings := read(app, getattr(interface, "clock", time.time))) is None:
            raise click.ClickException("this app has no SECRET_KEY, and so no sessions")
        if type(store.client).__module__.partition(".")[0] == "fakeredis" and not _ask(store.client.dbsize):
            raise click.ClickException(
                "this app has no Redis: its sessions live in the memory of the server's process, where no other "
                "command sees them. Set REDIS_URL, for the server and for this command, and they can be found."
            )
        return cls(store, settings)

    def scan(self, *, progress: bool = True) -> Iterator[str]:
        """Yield the sid of every session, in no order. One may come twice while Redis rearranges its keys. SCAN.

        With a progress bar, if stderr is a terminal.
        """
        client, prefix = self.store.client, self.store.prefix
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
        keys = iter(client.scan_iter(match=pattern, count=1000))
        # Redis tells only how many keys there are of all kinds, so the bar may end early.
        total = _ask(client.dbsize) if progress and sys.stderr.isatty() else 0
        bar = None
        if total:
            bar = click.progressbar(length=total, label="Scanning", file=sys.stderr, update_min_steps=1000)
        try:
            while (key := _ask(lambda: next(keys, None))) is not None:
                sid = (key.decode(errors="replace") if isinstance(key, bytes) else str(key)).removeprefix(prefix)
                if SID.fullmatch(sid):
                    yield sid
                if bar:
                    bar.update(1)
        finally:
            if bar:
                bar.render_finish()

    def sessions_of(self, owner: str) -> list[SessionInfo]:
        """Return the sessions of an owner, the oldest sign-in first. No scan."""
        return listing.sessions_of(self.store, self.settings, owner)

    def read(self, sids: Iterable[str]) -> Iterator[SessionInfo]:
        """Yield what is in Redis about each of these, a batch at a time; nothing about those that have ended."""
        sids = iter(sids)
        while batch := list(islice(sids, IN_MEMORY)):
            for sid, (record, ttl) in zip(batch, listing.read_records(self.store, batch), strict=True):
                if info := listing.info_of(self.settings, sid, record, ttl):
                    yield info

    def find(self, word: str, owner: str | None) -> str:
        """Return the sid that `word` is, or that is the only one to begin so, or whose handle does.

        ClickException: there is none, or there are several.
        """
        if SID.fullmatch(word) and owner is None:
            return word
        word = word.removesuffix("…").removesuffix("...")
        if not BEGINNING.fullmatch(word):
            raise click.UsageError("a session is named by its sid or its handle, or by their first digits: 4 or more")
        sids = self.scan() if owner is None else (info.sid for info in self.sessions_of(owner))
        found = {sid for sid in sids if sid.startswith(word) or make_handle(sid).startswith(word)}
        whose = "" if owner is None else f" of {safe(owner, OWNER_WIDTH)}"
        if not found:
            raise click.ClickException(f"no session{whose} begins with {shorten(word)}")
        if len(found) > 1:
            raise click.ClickException(f"{count(len(found))}{whose} begin with {shorten(word)}; give more digits")
        return found.pop()


def _ask(command: Callable[[], Any]) -> Any:
    outer = sys.exception()
    try:
        return command()
    except FAILURES as error:
        raise_interruption(error, outer)
        raise StoreUnavailable(f"SCAN or DBSIZE failed with {describe(error)}") from None
