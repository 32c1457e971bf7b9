"""``flask sessions list | show | revoke | stats``: who is signed in, seen from the server's side.

For any app whose sessions are those of redis_store.py: Flask finds the commands by itself where this is installed (the
entry point ``flask.commands``).

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
import sys
from collections.abc import Callable
from itertools import islice
from typing import Concatenate, ParamSpec

import click
from flask import current_app
from flask.cli import AppGroup

from _redis_store import listing
from _redis_store.search import Search
from _redis_store.sender import StoreUnavailable
from _redis_store.sid import shorten
from _redis_store.statistics import Statistics
from _redis_store.terminal import (
    OWNER_WIDTH,
    count,
    facts_of,
    head_of_table,
    line_of_table,
    page_of,
    safe,
    to_json,
    whose,
)

P = ParamSpec("P")
sessions = AppGroup("sessions", help="List, show, count and end the sessions that are in Redis.")

owner_option = click.option("--owner", metavar="NAME", help="Look only among this owner's sessions: no scan.")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON for scripts, one object on each line.")
full_option = click.option("--full-sids", is_flag=True, help="Show whole sids. Each opens its session: take care.")


def with_search(command: Callable[Concatenate[Search, P], None]) -> Callable[P, None]:
    """Call `command` with a search of the app's sessions; what goes wrong is one line on stderr, and exit code 1."""

    @functools.wraps(command)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # for a terminal that lacks a letter of somebody's name
        log = logging.getLogger("redis_store")
        level = log.level
        log.setLevel(logging.ERROR)  # malformed records are counted here; a line about each would only be in the way
        try:
            command(Search.of(current_app), *args, **kwargs)
        except StoreUnavailable as error:
            # A page must not wait longer for Redis, but somebody who goes through millions of sessions may well.
            hint = " (to wait longer, end the URL of Redis with ?socket_timeout=5)" if "Timeout" in str(error) else ""
            raise click.ClickException(safe(f"Redis cannot be reached, or refuses this: {error}{hint}")) from None
        finally:
            log.setLevel(level)

    return checked


@sessions.command("list")
@owner_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after so many.")
@full_option
@json_option
@with_search
def list_sessions(search: Search, owner: str | None, limit: int | None, full_sids: bool, as_json: bool) -> None:
    """List all sessions, or those of one owner.

    Those of an owner: the newest sign-in first. All: in no order, as Redis finds them, and however many there are,
    since only a few are in memory at a time. Times are UTC.
    """
    if owner is None:
        # On one terminal, bar and table would be in each other's way.
        rows = search.read(search.scan(progress=not sys.stdout.isatty()))
    else:
        rows = reversed(search.sessions_of(owner))
    number = 0
    for number, row in enumerate(islice(rows, limit), 1):
        if number == 1 and not as_json:
            click.echo(head_of_table(full_sids))
        click.echo(to_json(facts_of(row, full_sids)) if as_json else line_of_table(row, full_sids))
    if not number and not as_json:
        click.echo("No sessions." if owner is None else f"No sessions of {safe(owner, OWNER_WIDTH)}.")


@sessions.command()
@click.argument("session", metavar="SESSION")
@owner_option
@full_option
@json_option
@with_search
def show(search: Search, session: str, owner: str | None, full_sids: bool, as_json: bool) -> None:
    """Show one session and its record, the JSON that is in Redis.

    SESSION is a sid, a handle, or the first digits of one (which takes a scan, unless --owner is given).
    """
    sid = search.find(session, owner)
    row = next(search.read([sid]), None)
    if row is None:
        raise click.ClickException("no session has this sid")
    raw = search.store.read(sid)  # as it is, with Flask's tags for what JSON has no type for
    record = None if row.session is None else json.loads(raw or b"null")
    if as_json:
        click.echo(to_json({**facts_of(row, full_sids), "record": record}))
        return
    click.echo(page_of(row, full_sids))
    if row.session is None:
        click.echo(f"{'Malformed':16}{safe(repr(raw), 1000)}")
    else:
        click.echo(to_json(record, indent=2))


@sessions.command()
@click.argument("session", metavar="[SESSION]", required=False)
@click.option("--owner", metavar="NAME", help="End all sessions of this owner; with SESSION, only that one of them.")
@click.option("--keep", metavar="SESSION", help="With --owner: all but this one.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_search
def revoke(search: Search, session: str | None, owner: str | None, keep: str | None, yes: bool) -> None:
    """End one session, or all sessions of an owner.

    SESSION is a sid, a handle, or the first digits of one (which takes a scan, unless --owner is given).
    """
    if session is not None and keep is None:
        _revoke_one(search, search.find(session, owner), yes)
    elif session is None and owner is not None:
        _revoke_all(search, owner, search.find(keep, owner) if keep is not None else None, yes)
    else:
        raise click.UsageError("expected SESSION, or --owner NAME, or --owner NAME --keep SESSION")


def _revoke_one(search: Search, sid: str, yes: bool) -> None:
    row = next(search.read([sid]), None)
    if row and not yes:
        who = safe(whose(row), OWNER_WIDTH)
        click.confirm(f"End the session {shorten(sid)} (owner: {who})?", abort=True, err=True)
    if not listing.end(search.store, search.settings, sid):
        raise click.ClickException("no session has this sid")
    click.echo(f"Ended {count(1)}.")


def _revoke_all(search: Search, owner: str, keep: str | None, yes: bool) -> None:
    if not yes:
        number = sum(info.sid != keep for info in search.sessions_of(owner))
        if number:
            click.confirm(f"End {count(number)} of {safe(owner, OWNER_WIDTH)}?", abort=True, err=True)
    click.echo(f"Ended {count(listing.revoke(search.store, owner, keep))}.")


@sessions.command()
@json_option
@with_search
def stats(search: Search, as_json: bool) -> None:
    """Count the sessions, their owners, bytes and TTLs.

    This reads each of them once, a few at a time. The figures are approximate while sessions come and go. Bytes are
    those of the records; Redis needs some more around them.
    """
    statistics = Statistics(search.read(search.scan()))
    click.echo(to_json(statistics.to_dict()) if as_json else statistics)
