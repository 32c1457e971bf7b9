"""Who may make an answer, and which one counts. Pure: the store makes each step atomic."""

from __future__ import annotations

from typing import Any, NamedTuple

MAX_ANSWERS = 100  # of a name; of personal ones as many for each owner

Record = dict[str, Any]


class Lease(NamedTuple):
    group: str
    url: str  # a hash
    key: str  # where the answer is kept
    tag: str  # with which it counts, for this visitor
    id: str


# Policy: pure functions, which the store makes atomic ---------------------------------------------------------------


def decide(record: Record, lease: Lease, now: float) -> str:
    """Return what a request does: "take" what the record says, "make" an answer, keep it or not, or "wait" for one."""
    record = check(record)
    if record.get("group") != lease.group:  # none, or forgotten
        return "make"
    if record.get("tag") != lease.tag:  # the session was another one, or is: who makes an answer for that, goes on
        return "make, not keep" if "lease" in record else "make"
    if "renew" not in record:
        return "wait"
    return "take" if "lease" in record or now < record["renew"] else "make"


def claim(record: Record, lease: Lease, now: float) -> Record | None:
    """Return the record with a lease, beside an answer that counts. None: another request has a lease."""
    answer = check(record) if (record.get("group"), record.get("tag")) == (lease.group, lease.tag) else {}
    return {**answer, **begin(lease)} if decide(record, lease, now) == "make" else None


def begin(lease: Lease) -> Record:
    """Return a record with a lease."""
    return {"group": lease.group, "tag": lease.tag, "lease": lease.id}


def settle(record: Record, lease: Lease, new: Record, later: float) -> Record | None:
    """Return `new` in place of a lease; if there is none, the answer before it, until `later`. None: it has ended."""
    before = {key: check(record).get(key) for key in ("group", "tag", "body", "personal")} | {"renew": later}
    return (new or (before if before["body"] else {})) if record.get("lease") == lease.id else None


def check(record: Record) -> Record:
    """Return the record; an empty one, if somebody else wrote it: as a miss, not an error."""
    renew, body = record.get("renew", 0), record.get("body")
    well = (
        type(renew) in (int, float) and isinstance(body, str | None) and isinstance(record.get("personal"), bool | None)
    )
    return record if well else {}


def admit(group: Record, lease: Lease, until: float, now: float) -> Record | None:
    """Return the group, which keeps an answer of this URL as well. None: it is full, or another one by now."""
    kept = group.get("kept")
    if group.get("id") != lease.group or not isinstance(kept, dict):
        return None
    others = {url: end for url, end in kept.items() if isinstance(end, int | float) and end > now and url != lease.url}
    return {"id": lease.group, "kept": {**others, lease.url: until}} if len(others) < MAX_ANSWERS else None
