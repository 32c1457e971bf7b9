"""What is in an owner's stream of notifications, and what of it a browser has to get. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

LENGTH = 100  # messages
MAX_BYTES = 2048  # of a message, as JSON

Id = tuple[int, int]  # milliseconds of Unix time, and a number
NOTHING: Id = (0, 0)  # before the first message


class Message(NamedTuple):
    id: Id
    after: Id  # of the one before
    data: bytes  # JSON, in one line


# Policy: pure functions ---------------------------------------------------------------------------------------------


def parse_id(text: str) -> Id | None:
    """Return an id. None: it is none."""
    match = re.fullmatch(r"([0-9]{1,20})-([0-9]{1,20})", text)
    return (int(match[1]), int(match[2])) if match else None


def format_id(id: Id) -> str:
    """Return an id as Redis and browsers have it."""
    return f"{id[0]}-{id[1]}"


def parse(answer: Any) -> tuple[Message, ...]:
    """Return the messages of an answer to XRANGE. In one that somebody else wrote, things may be missing."""
    found = []
    for id, fields in answer or ():
        ids = [parse_id(text.decode("latin-1")) or NOTHING for text in (id, fields.get(b"after", b""))]
        found.append(Message(ids[0], ids[1], fields.get(b"message", b"").translate(None, b"\r\n") or b"{}"))
    return tuple(found)


def extend(known: tuple[Message, ...], read: tuple[Message, ...]) -> tuple[Message, ...] | None:
    """Return all messages, after reading on from the last known one. None: that is gone, and all have to be read."""
    if not known:
        return read
    return (known + read[1:])[-LENGTH:] if read and read[0].id == known[-1].id else None


def get_end(messages: tuple[Message, ...]) -> Id:
    """Return the id of the last message."""
    return messages[-1].id if messages else NOTHING


def catch_up(messages: tuple[Message, ...], last: Id | None) -> tuple[bytes, Id]:
    """Return the events for a client that has got `last`, and what it has got then. None: it begins with what comes.

    What is before the first of them has to be `last`. Otherwise something may be missing.
    """
    end = get_end(messages)
    if last is None:
        return format_event(end), end
    later = [message for message in messages if message.id > last]
    before = later[0].after if later else end
    gap = format_event(before, b"{}", "gap") if before != last else b""
    return gap + b"".join(format_event(message.id, message.data) for message in later), end


def format_event(id: Id, data: bytes = b"", kind: str = "message") -> bytes:
    """Return an event. From one without data the browser learns the id, and its page nothing."""
    return f"event: {kind}\nid: {format_id(id)}\n".encode() + (b"data: %b\n\n" % data if data else b"\n")


def dump(message: Mapping[str, Any] | str) -> bytes:
    """Return a message as JSON. TypeError, ValueError: see `notify`."""
    content = {"text": message} if isinstance(message, str) else dict(message)
    data = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(data) > MAX_BYTES:
        raise ValueError(f"the message has {len(data)} bytes; expected at most {MAX_BYTES}")
    return data


def describe(message: Message) -> tuple[datetime, str]:
    """Return when a message was sent, and its text."""
    text = message.data.decode(errors="replace")
    with suppress(ValueError, AttributeError, RecursionError):
        text = str(json.loads(text).get("text", text))
    return datetime.fromtimestamp(min(message.id[0] / 1000, 4e9), UTC), text
