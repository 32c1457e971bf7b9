"""What of a stream a browser has to get: pure functions, against a stream that is never read."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roles import notifications_stream as stream
from roles.notifications_stream import NOTHING, Id, Message, catch_up, describe, extend, format_event, parse, parse_id


def make(ids: list[Id]) -> tuple[Message, ...]:
    """A stream of these messages."""
    return tuple(Message(id, after, b"{}") for id, after in zip(ids, [NOTHING, *ids], strict=False))


def received(events: bytes) -> list[str]:
    """The ids of the messages; "gap" for that."""
    found = re.findall(r"event: (\w+)\nid: (\d+-\d+)\ndata", events.decode())
    return ["gap" if kind == "gap" else id for kind, id in found]


@given(
    total=st.integers(0, 30),
    looks=st.lists(st.integers(0, 30), max_size=10),
    kept=st.integers(1, 10),
)
def test_a_client_gets_everything_or_is_told(total: int, looks: list[int], kept: int) -> None:
    """Whenever it looks, and however few messages are kept: each once, in order, and a gap exactly where some are gone.

    The model: it has seen all up to the last look; of those since, the last `kept` are there.
    """
    last, seen, ids = NOTHING, 0, [(n + 1, n) for n in range(total)]
    all_messages = make(ids)
    for look in sorted({min(look, total) for look in looks}):
        window = all_messages[max(0, look - kept) : look]
        events, last = catch_up(window, last)
        first = max(seen, look - kept)
        expected = [f"{n + 1}-{n}" for n in range(first, look)]
        assert received(events) == (["gap"] if first > seen else []) + expected
        seen = look
        assert last == (ids[look - 1] if look else NOTHING)


@given(st.integers(0, 250), st.integers(0, 250))
def test_reading_on_is_the_same_as_reading_all(before: int, after: int) -> None:
    """Up to the bound; when the last known message is gone, all has to be read."""
    everything = make([(n + 1, 0) for n in range(before + after)])
    known = everything[:before][-stream.LENGTH :]
    there = everything[-stream.LENGTH :]
    read = tuple(message for message in there if not known or message.id >= known[-1].id)
    extended = extend(known, read)
    if known and after >= stream.LENGTH:
        assert extended is None
    else:
        assert extended == there


@pytest.mark.parametrize(
    ("ids", "last", "expected"),
    [
        ([], NOTHING, []),
        ([], (5, 0), ["gap"]),  # the stream is gone
        ([(1, 0), (2, 0)], (5, 0), ["gap"]),  # it is another one, or lost its end in a failover
        ([(6, 0)], (5, 0), ["gap", "6-0"]),  # it began anew
        ([(4, 0), (5, 0)], (5, 0), []),
        ([(4, 0), (6, 0)], (5, 0), ["gap", "6-0"]),  # nobody gave that id away
    ],
)
def test_a_stream_that_changed_is_a_gap(ids: list[Id], last: Id, expected: list[str]) -> None:
    """Told once: next time there is none."""
    messages = make(ids)
    events, now = catch_up(messages, last)
    assert received(events) == expected
    assert catch_up(messages, now) == (b"", now)


def test_a_client_without_an_id_begins_at_the_end() -> None:
    """It gets an id and nothing else."""
    assert catch_up(make([(1, 0), (2, 3)]), None) == (b"event: message\nid: 2-3\n\n", (2, 3))
    assert catch_up((), None) == (b"event: message\nid: 0-0\n\n", NOTHING)


def test_an_event_has_its_kind_and_its_data() -> None:
    """In the words of the standard."""
    assert format_event((1, 2), b'{"a":1}') == b'event: message\nid: 1-2\ndata: {"a":1}\n\n'
    assert format_event((1, 2), b"{}", "gap") == b"event: gap\nid: 1-2\ndata: {}\n\n"


@given(st.text())
def test_any_text_is_an_id_or_none(text: str) -> None:
    """And what is one is written the same way, but for zeros before it."""
    id = parse_id(text)
    assert id is None or re.fullmatch(r"0*\d+-0*\d+", text)


@given(st.lists(st.tuples(st.binary(max_size=9), st.dictionaries(st.binary(max_size=7), st.binary(max_size=40)))))
def test_any_answer_can_be_read(answer: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
    """Also what somebody else wrote: no line break gets through, and the page can show it."""
    for message in parse(answer):
        assert len(format_event(message.id, message.data).splitlines()) >= 3
        assert b"\n" not in message.data
        assert b"\r" not in message.data
        assert describe(message)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"text":"Hello"}', "Hello"),
        (b'{"text":7}', "7"),
        (b'{"done":0.5}', '{"done":0.5}'),
        (b"[1]", "[1]"),
        (b"\xff", "\ufffd"),
        (b"[" * 100_000, "[" * 100_000),
    ],
)
def test_a_message_has_a_text(data: bytes, text: str) -> None:
    """Its own, or all that is in it."""
    assert describe(Message((1764142082000, 0), NOTHING, data)) == (datetime(2025, 11, 26, 7, 28, 2, tzinfo=UTC), text)
