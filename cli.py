"""``flask sessions list | show | revoke | stats``: who is signed in, seen from the server's side.

For any app whose sessions are those of redis_store.py. One line gives it the commands::

    app.cli.add_command(cli.sessions)

``list``, ``show`` and ``stats`` take ``--json``: each session, or the statistics, as one JSON object on one line of
stdout, with always the same keys, times in UTC, and nothing else. What is not data goes to stderr. Exit codes: 0, done;
1, could not be done (a session that does not exist, Redis away, "no" as an answer); 2, the command was misspelt.

A whole sid opens its session, so only the first digits are shown unless ``--full-sids`` asks for all. Where a command
wants a session, the first digits do, of its sid or of the handle that the app's own pages use.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, Concatenate, ParamSpec

import click
from flask import current_app
from flask.cli import AppGroup

from owner_index import make_handle, read_all
from redis_store import SID, RedisSessionInterface, SessionInfo, StoreUnavailable

SHORT = 6  # digits of a sid that are shown, as on the app's own pages
BATCH = 100  # records that are in memory at one time
OWNER_WIDTH = 30  # characters

#: The beginning of a sid or of a handle, as somebody types it.
BEGINNING = re.compile(r"[0-9a-f][0-9a-f-]{3,47}")

P = ParamSpec("P")
sessions = AppGroup("sessions", help="List, show, count and end the sessions that are in Redis.")


def with_sessions(command: Callable[Concatenate[RedisSessionInterface, P], None]) -> Callable[P, None]:
    """Call `command` with the app's session interface; what goes wrong becomes one line on stderr, and exit code 1."""

    @functools.wraps(command)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        interface = current_app.session_interface
        if not isinstance(interface, RedisSessionInterface):
            kind = type(interface).__name__
            raise click.ClickException(f"the sessions of this app are not in Redis: its session_interface is a {kind}")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # for a terminal that lacks a letter of somebody's name
        log = logging.getLogger("redis_store")
        level = log.level
        log.setLevel(logging.ERROR)  # malformed records are counted here; a line about each would only be in the way
        try:
            interface.check(current_app)
            _refuse_embedded(interface.store.client)
            command(interface, *args, **kwargs)
        except StoreUnavailable as error:
            # A page must not wait longer for Redis, but somebody who goes through millions of sessions may well.
            hint = " (to wait longer, end the URL of Redis with ?socket_timeout=5)" if "Timeout" in str(error) else ""
            raise click.ClickException(safe(f"Redis cannot be reached, or refuses this: {error}{hint}")) from None
        finally:
            log.setLevel(level)

    return checked


def _refuse_embedded(client: Any) -> None:
    if type(client).__module__.partition(".")[0] == "fakeredis" and not _ask(client.dbsize):
        raise click.ClickException(
            "this app has no Redis: its sessions live in the memory of the server's process, where no other command "
            "sees them. Set REDIS_URL, for the server and for this command, and they can be found."
        )


def _ask(command: Callable[[], Any]) -> Any:
    try:
        return command()
    except Exception as error:  # whatever the client raises, as in RedisStore
        raise StoreUnavailable(f"the command failed with {type(error).__name__}") from None


# Finding sessions -------------------------------------------------------------------------------------------------


def scan(interface: RedisSessionInterface, *, progress: bool = True) -> Iterator[str]:
    """The sid of every session, in no order. One may come twice while Redis rearranges its keys. SCAN.

    With a progress bar, if stderr is a terminal.
    """
    client, prefix = interface.store.client, interface.store.prefix
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
    keys = iter(client.scan_iter(match=pattern, count=1000))
    # Redis tells only how many keys there are of all kinds, so the bar may end early.
    total = _ask(client.dbsize) if progress and sys.stderr.isatty() else 0
    bar = click.progressbar(length=total, label="Scanning", file=sys.stderr, update_min_steps=1000) if total else None
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


def read(interface: RedisSessionInterface, sids: Iterable[str]) -> Iterator[SessionInfo]:
    """What is in Redis about each of these, a batch at a time; nothing about those that have ended."""
    sids = iter(sids)
    while batch := list(islice(sids, BATCH)):
        for sid, (record, ttl) in zip(batch, read_all(interface.store, batch), strict=True):
            if info := interface.describe(current_app, sid, record, ttl):
                yield info


def find(interface: RedisSessionInterface, word: str, owner: str | None) -> str:
    """The sid that `word` is, or that is the only one to begin so, or whose handle does. ClickException: none is."""
    if SID.fullmatch(word) and owner is None:
        return word
    word = word.removesuffix("…").removesuffix("...")
    if not BEGINNING.fullmatch(word):
        raise click.UsageError("a session is named by its sid or its handle, or by their first digits: 4 or more")
    found = set()
    for sid in scan(interface) if owner is None else (info.sid for info in interface.sessions_of(owner)):
        if sid.startswith(word) or make_handle(sid).startswith(word):
            found.add(sid)
    whose = "" if owner is None else f" of {safe(owner, OWNER_WIDTH)}"
    if not found:
        raise click.ClickException(f"no session{whose} begins with {shorten(word)}")
    if len(found) > 1:
        raise click.ClickException(f"{len(found)} sessions{whose} begin with {shorten(word)}; give more digits")
    return found.pop()


# Showing them -----------------------------------------------------------------------------------------------------


def safe(text: str, width: int | None = None) -> str:
    """`text` without what a terminal would obey (control characters, changes of direction), cut to `width`."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if width is None or len(shown) <= width else f"{shown[: width - 1]}…"


def to_json(value: object, indent: int | None = None) -> str:
    """JSON in printable ASCII."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def describe(row: SessionInfo, full_sids: bool) -> dict[str, Any]:
    """What ``--json`` shows of a session."""
    return {
        "sid": row.sid if full_sids else shorten(row.sid),
        "handle": row.handle,
        "owners": row.owners,
        "created": _iso(row.created),
        "refreshed": _iso(row.refreshed),
        "ttl": None if row.ttl < 0 else row.ttl,
        "bytes": row.size,
        "malformed": row.session is None,
    }


def shorten(sid: str) -> str:
    """Enough of a sid to tell it from others, and not enough to use it."""
    return f"{sid[:SHORT]}…"


def _iso(time: datetime | None) -> str | None:
    return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _minute(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M}"


def _seconds(ttl: int) -> str:
    return "none" if ttl < 0 else f"{ttl} s"


def _owners(row: SessionInfo) -> str:
    return "(malformed)" if row.session is None else ", ".join(row.owners) or "-"


def _count(number: int) -> str:
    return f"{number} session" if number == 1 else f"{number} sessions"


# The commands -----------------------------------------------------------------------------------------------------

owner_option = click.option("--owner", metavar="NAME", help="Look only among this owner's sessions: no scan.")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON for scripts, one object on each line.")
full_option = click.option("--full-sids", is_flag=True, help="Show whole sids. Each opens its session: take care.")
session_argument = click.argument("session", metavar="SESSION")


@sessions.command("list")
@owner_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after so many.")
@full_option
@json_option
@with_sessions
def list_sessions(
    interface: RedisSessionInterface, owner: str | None, limit: int | None, full_sids: bool, as_json: bool
) -> None:
    """List all sessions, or those of one owner.

    Those of an owner: the newest sign-in first. All: in no order, as Redis finds them, and however many there are,
    since only a few are in memory at a time. Times are UTC.
    """
    if owner is None:
        # On one terminal, bar and table would be in each other's way.
        sids = scan(interface, progress=not sys.stdout.isatty())
    else:
        sids = (info.sid for info in reversed(interface.sessions_of(owner)))
    width, empty = 48 if full_sids else SHORT + 1, True
    for row in islice(read(interface, sids), limit):
        if as_json:
            click.echo(to_json(describe(row, full_sids)))
            continue
        if empty:
            click.echo(f"{'SID':{width}}  {'CREATED':16}  {'LAST REFRESHED':16}  {'TTL':>10}  OWNER")
            empty = False
        sid = row.sid if full_sids else shorten(row.sid)
        times = f"{_minute(row.created):16}  {_minute(row.refreshed):16}  {_seconds(row.ttl):>10}"
        # The owner comes last, so that no name, however wide its letters, moves another column.
        click.echo(f"{sid:{width}}  {times}  {safe(_owners(row), OWNER_WIDTH)}")
    if empty and not as_json:
        click.echo("No sessions." if owner is None else f"No sessions of {safe(owner, OWNER_WIDTH)}.")


@sessions.command()
@session_argument
@owner_option
@full_option
@json_option
@with_sessions
def show(interface: RedisSessionInterface, session: str, owner: str | None, full_sids: bool, as_json: bool) -> None:
    """Show one session and its record, the JSON that is in Redis.

    SESSION is a sid, a handle, or the first digits of one (which takes a scan, unless --owner is given).
    """
    sid = find(interface, session, owner)
    row = next(read(interface, [sid]), None)
    if row is None:
        raise click.ClickException("no session has this sid")
    facts = describe(row, full_sids)
    # As it is: with Flask's tags for what JSON has no type for, and with the time of the sign-in.
    raw = interface.store.read(sid)
    record = None if row.session is None else json.loads(raw or b"null")
    if as_json:
        click.echo(to_json({**facts, "record": record}))
        return
    lines = {
        "Sid": facts["sid"],
        "Handle": facts["handle"],
        "Owner": _owners(row),
        "Created": facts["created"] or "-",
        "Last refreshed": facts["refreshed"] or "-",
        "TTL": _seconds(row.ttl),
        "Bytes": str(facts["bytes"]),
    }
    for name, value in lines.items():
        click.echo(f"{name:16}{safe(value)}")
    if row.session is None:
        click.echo(f"{'Malformed':16}{safe(repr(raw), 1000)}")
    else:
        click.echo(to_json(record, indent=2))


@sessions.command()
@click.argument("session", metavar="[SESSION]", required=False)
@click.option("--owner", metavar="NAME", help="End all sessions of this owner; with SESSION, only that one of them.")
@click.option("--keep", metavar="SESSION", help="With --owner: all but this one.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_sessions
def revoke(
    interface: RedisSessionInterface, session: str | None, owner: str | None, keep: str | None, yes: bool
) -> None:
    """End one session, or all sessions of an owner.

    SESSION is a sid, a handle, or the first digits of one (which takes a scan, unless --owner is given).
    """
    if (session is None and owner is None) or (keep is not None and (session or owner is None)):
        raise click.UsageError("expected SESSION, or --owner NAME, or --owner NAME --keep SESSION")
    if session is not None:
        sid = find(interface, session, owner)
        row = next(read(interface, [sid]), None)
        if row and not yes:
            who = safe(_owners(row), OWNER_WIDTH)
            click.confirm(f"End the session {shorten(sid)} (owner: {who})?", abort=True, err=True)
        if not interface.end(sid):
            raise click.ClickException("no session has this sid")
        click.echo(f"Ended {_count(1)}.")
        return
    kept = find(interface, keep, owner) if keep is not None else None
    if not yes:
        number = sum(info.sid != kept for info in interface.sessions_of(owner))
        if number:
            who = safe(str(owner), OWNER_WIDTH)
            click.confirm(f"End {_count(number)} of {who}?", abort=True, err=True)
    click.echo(f"Ended {_count(interface.revoke(owner, kept))}.")


@sessions.command()
@json_option
@with_sessions
def stats(interface: RedisSessionInterface, as_json: bool) -> None:
    """Count the sessions, their owners, bytes and TTLs.

    This reads each of them once, a few at a time. The figures are approximate while sessions come and go. Bytes are
    those of the records; Redis needs some more around them.
    """
    found: Counter[str] = Counter()
    sizes: Counter[int] = Counter()
    ttls: Counter[int] = Counter()
    owners: set[int] = set()  # hashes, which take less memory than names
    for row in read(interface, scan(interface)):
        found["malformed" if row.session is None else "signed_in" if row.owners else "anonymous"] += 1
        if row.ttl < 0:
            found["without_ttl"] += 1
        else:
            ttls[row.ttl] += 1
        sizes[row.size] += 1
        owners.update(map(hash, row.owners))
    numbers = {
        "sessions": found["signed_in"] + found["anonymous"],
        "signed_in": found["signed_in"],
        "anonymous": found["anonymous"],
        "owners": len(owners),
        "malformed": found["malformed"],
        "without_ttl": found["without_ttl"],
    }
    total = sum(size * times for size, times in sizes.items())
    spreads = {"bytes": {**spread(sizes), "total": total}, "ttl": spread(ttls)}
    if as_json:
        click.echo(to_json({**numbers, **spreads}))
        return
    for name, number in numbers.items():
        label = ("  " if name in ("signed_in", "anonymous") else "") + name.replace("_", " ")
        remark = "  (each should have one)" if name == "without_ttl" and number else ""
        click.echo(f"{label:13}{number:>12}{remark}".replace(" ttl", " TTL"))
    for label, values in (("bytes", spreads["bytes"]), ("TTL (s)", spreads["ttl"])):
        for name, value in values.items():
            click.echo(f"{label:8}{name:6}{'-' if value is None else value:>11}")


def spread(values: Counter[int]) -> dict[str, int | None]:
    """Smallest, middle and largest of the values, each counted as often as it came."""
    if not values:
        return {"min": None, "median": None, "max": None}
    passed, middle = 0, min(values)
    for value in sorted(values):
        passed, middle = passed + values[value], value
        if 2 * passed >= values.total():
            break
    return {"min": min(values), "median": middle, "max": max(values)}
