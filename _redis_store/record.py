"""A session as JSON bytes, and back: `dump_record` and `load_record`. Pure.

The bytes are those of JavaScript's ``JSON.stringify``: compact, UTF-8. Types that JSON lacks are tagged: see tags.py.

msgspec is fast, and changes some types silently (a tuple, a set, bytes). So it writes sessions that have JSON's own
types alone. All else goes the slow way, key by key: a record is good when it decodes to what was encoded, and the error
says what is not. So does every subclass: one of dict may show other items than those that C code finds in it
(Werkzeug's MultiDict).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from _redis_store.failure import raise_interruption
from _redis_store.place import locate
from _redis_store.shape import has_jsons_types, holds, is_deep
from _redis_store.tags import are_registered, decode_slowly, encode_slowly, tag, untag

log = logging.getLogger("redis_store")

Session = dict[str, Any]

TAG = b'{" '  # how each of Flask's tags begins; inside a text the quote would be escaped
BYTES = b'{" b"'  # the tag of bytes

_REFUSALS = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def dump_record(session: Mapping[str, Any], new: Mapping[str, Any] | None = None) -> bytes:
    """Return the JSON bytes that are kept in Redis. `new`: its items that do not come from a record; by default all.

    TypeError, naming key, type and the place inside, for what neither JSON nor a tag can keep: a set, NaN, a dict whose
    keys are not strings, a list inside itself, more than MAX_DEPTH of them inside each other. As with Flask, a datetime
    comes back in UTC without its microseconds, and an IntEnum, a defaultdict or a named tuple as an int, a dict or a
    tuple.
    """
    if record := _dump_plain(session, session if new is None else new):
        return record
    return b"{%s}" % b",".join(
        [_dump_plain(item := {key: value}, item)[1:-1] or _dump_named(key, value) for key, value in session.items()]
    )


def _dump_plain(session: Mapping[str, Any], new: Mapping[str, Any]) -> bytes:
    """Return the record of a session that has JSON's own types alone, and nothing like a tag; of others, nothing."""
    outer = sys.exception()
    try:
        record = b"" if are_registered() or type(session) is not dict else _encode(session)
        if record and not holds(record, TAG) and has_jsons_types(new, record):
            return record
    except _REFUSALS as error:  # the slow way says what is wrong, if anything is
        raise_interruption(error, outer)
    return b""


def _dump_named(key: Any, value: Any) -> bytes:
    """Return one key and its value. TypeError: they would not come back."""
    member, _ = _dump_member(key, value)
    if member:
        return member
    reason = locate(key, value, _refusal_of) or "it would come back under another key (which has to be a string)"
    raise TypeError(f"session[{key!r}], of type {type(value).__name__}, does not survive JSON: {reason}")


def _dump_member(key: Any, value: Any) -> tuple[bytes, str]:
    """Return one key and its value; or nothing, and why they would not come back."""
    outer = sys.exception()
    try:
        member = {key: tag(value)}
        record = _dump(member)
        if _load(record) == member:
            return record[1:-1], ""
        encode_slowly(member)  # raises, and says what it is, if JSON does not know it
        reason = "it would come back changed"
    except _REFUSALS as error:
        raise_interruption(error, outer)
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error) or type(error).__name__
    return b"", reason


def _refusal_of(value: Any) -> str:
    """Return why the session cannot keep `value` under some key; nothing, if it can."""
    return _dump_member("", value)[1]


def _dump(value: Any) -> bytes:
    outer = sys.exception()
    try:
        return _encode(value)
    except (TypeError, UnicodeEncodeError) as error:  # a subclass of str; half a surrogate pair
        raise_interruption(error, outer)
        return encode_slowly(value).encode()


def _load(record: bytes) -> Session:
    """Return the dict that `record` holds, its tags as they are. ValueError or RecursionError: it holds none."""
    try:
        session: Session = _decode(record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        session = decode_slowly(record.decode())
    if type(session) is not dict:
        raise ValueError("no dict")
    if is_deep(session, record):
        raise ValueError("nested too deep")
    return session


def is_plain(record: bytes) -> bool:
    """Return whether koa and we would write this session in the same words."""
    return not (  # to look for one byte takes a fortieth of the time, and few records have a plus, or a backslash
        (b"+" in record and holds(record, b"e+"))  # numbers from 1e21
        or (b"\\" in record and holds(record, b"\\u"))  # half a surrogate pair in a text
        or holds(record, b"0.00000")  # numbers below 1e-5
    )


def may_have_tags(record: bytes) -> bool:
    """Return whether there may be other types than JSON's own in a record."""
    return are_registered() or holds(record, TAG)


def may_have_bytes(record: bytes) -> bool:
    """Return whether there may be bytes in a record, or a type that an app registered, which may be like them."""
    return are_registered() or holds(record, BYTES)


def load_record(record: bytes | None) -> Session | None:
    """Return what `dump_record` made into `record`.

    None for None, and, with one line in the log, for a malformed one.
    """
    if record is None:
        return None
    outer = sys.exception()
    try:
        session = _load(record)
        if (every := are_registered()) or holds(record, TAG):
            tagged = {key: value for key, value in session.items() if every or holds(_dump(value), TAG)}
            read = {key: untag(value) for key, value in tagged.items()}
            dump_record(read)  # what could be read and not be written would fail the request that reads it
            session |= read
        return session
    except Exception as error:  # no UTF-8, no JSON, nested too deep, or a planted tag that trips its decoder
        raise_interruption(error, outer)
        # Not the message: it may quote what is stored.
        log.warning("a malformed record counts as missing: %s", type(error).__name__)
    return None


def respell(record: bytes) -> bytes:
    """Return a record as we would write it: koa, or somebody's script, may have spelled it differently."""
    session = load_record(record) or {}
    return dump_record(session, session if may_have_tags(record) else {})
