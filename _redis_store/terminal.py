"""Sessions as a terminal, or a script, shows them. Pure.

Names and contents come from visitors. None of them moves a cursor, colours the screen or turns the text around.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from _redis_store.listing import SessionInfo
from _redis_store.sid import shorten

OWNER_WIDTH = 30  # characters
SID_WIDTH = 49  # of ours; koa's are shorter


def safe(text: str, width: int | None = None) -> str:
    """Return `text` without what a terminal would obey (control characters, changes of direction), cut to `width`."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if width is None or len(shown) <= width else f"{shown[: width - 1]}…"


def to_json(value: object, indent: int | None = None) -> str:
    """Return JSON in printable ASCII."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def count(number: int) -> str:
    """Return "1 session", "2 sessions" and so on."""
    return f"{number} session" if number == 1 else f"{number} sessions"


def facts_of(row: SessionInfo, full_sids: bool) -> dict[str, Any]:
    """Return what ``--json`` shows of a session."""
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


def whose(row: SessionInfo) -> str:
    """Return whose session it is, for people; not safe yet."""
    return "(malformed)" if row.session is None else ", ".join(row.owners) or "-"


def head_of_table(full_sids: bool) -> str:
    """Return the names of the columns of `line_of_table`."""
    return _columns("SID", "CREATED", "LAST REFRESHED", "TTL", "OWNER", full_sids)


def line_of_table(row: SessionInfo, full_sids: bool) -> str:
    """Return a session in one line."""
    sid, owners = row.sid if full_sids else shorten(row.sid), safe(whose(row), OWNER_WIDTH)
    return _columns(sid, _minute(row.created), _minute(row.refreshed), _seconds(row.ttl), owners, full_sids)


def _columns(sid: str, created: str, refreshed: str, ttl: str, owners: str, full_sids: bool) -> str:
    # The owner comes last, so that no name, however wide its letters, moves another column.
    width = SID_WIDTH if full_sids else len(shorten("0" * 8 + "-" + "0" * 40))
    return f"{sid:{width}}  {created:16}  {refreshed:16}  {ttl:>10}  {owners}"


def page_of(row: SessionInfo, full_sids: bool) -> str:
    """Return a session in one line for each of its facts."""
    facts = facts_of(row, full_sids)
    lines = {
        "Sid": facts["sid"],
        "Handle": facts["handle"],
        "Owner": whose(row),
        "Created": facts["created"] or "-",
        "Last refreshed": facts["refreshed"] or "-",
        "TTL": _seconds(row.ttl),
        "Bytes": str(facts["bytes"]),
    }
    return "\n".join(f"{name:16}{safe(value)}" for name, value in lines.items())


def _iso(time: datetime | None) -> str | None:
    return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _minute(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M}"


def _seconds(ttl: int) -> str:
    return "none" if ttl < 0 else f"{ttl} s"
