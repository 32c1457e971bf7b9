"""Types that an app registers, as Flask documents it: ``app.session_interface.serializer.register(Tag)``."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask, session
from flask.json.tag import JSONTag, TaggedJSONSerializer
from support.apps import interface_of, route

from _redis_store.change import merge
from _redis_store.record import dump_record, load_record
from _redis_store.tags import TAGS
from redis_store import RedisSessionInterface, RedisStore


class TagOrderedDict(JSONTag):
    """The example in Flask's documentation."""

    __slots__ = ("serializer",)
    key = " od"

    def check(self, value: Any) -> bool:
        return isinstance(value, OrderedDict)

    def to_json(self, value: Any) -> Any:
        return [[key, self.serializer.tag(item)] for key, item in value.items()]

    def to_python(self, value: Any) -> Any:
        return OrderedDict(value)


class TagPairs(TagOrderedDict):
    """Gives tuples, which JSON makes lists of."""

    def to_json(self, value: Any) -> Any:
        return tuple((key, self.serializer.tag(item)) for key, item in value.items())


Point = namedtuple("Point", "x y")


@dataclass
class Money:
    amount: Decimal
    currency: str = "EUR"


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Name(str):
    __slots__ = ()


class Rows(list[Any]):
    pass


def make_tag(tag: str, kind: type, to: Callable[[Any], Any], back: Callable[[Any], Any]) -> type[JSONTag]:
    class Tag(JSONTag):
        __slots__ = ()
        key = tag

        def check(self, value: Any) -> bool:
            return type(value) is kind

        def to_json(self, value: Any) -> Any:
            return to(value)

        def to_python(self, value: Any) -> Any:
            return back(value)

    return Tag


#: How each is registered, and a value.
KINDS: dict[str, tuple[type[JSONTag], int | None, Any]] = {
    "OrderedDict": (TagOrderedDict, 0, OrderedDict(b=(1,), a=b"x")),
    "an empty one": (TagOrderedDict, 0, OrderedDict()),
    "tuples in JSON": (TagPairs, 0, OrderedDict(b=1)),
    "Decimal": (make_tag(" decimal", Decimal, str, Decimal), None, Decimal("1.50")),
    "a key without a space": (make_tag("decimal", Decimal, str, Decimal), None, Decimal("1.50")),
    "a key of one letter": (make_tag("$", Decimal, str, Decimal), None, Decimal("1.50")),
    "a set": (make_tag(" s", set, sorted, set), None, {1, 2}),
    "frozenset": (make_tag(" fs", frozenset, sorted, frozenset), None, frozenset("ab")),
    "date": (make_tag(" da", date, date.isoformat, date.fromisoformat), None, date(2026, 1, 2)),
    "datetime, to the microsecond": (
        make_tag(" dt", datetime, datetime.isoformat, datetime.fromisoformat),
        0,
        datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    ),
    "complex": (make_tag(" c", complex, lambda c: [c.real, c.imag], lambda c: complex(*c)), None, 1 + 2j),
    "namedtuple": (make_tag("point", Point, list, lambda p: Point(*p)), 0, Point(1, 2)),
    "dataclass": (
        make_tag("m", Money, lambda m: list(map(str, astuple(m))), lambda m: Money(Decimal(m[0]), m[1])),
        None,
        Money(Decimal(1)),
    ),
    "Enum": (make_tag(" e", Color, lambda c: c.value, Color), None, Color.RED),
    "IntEnum": (make_tag(" e", Size, int, Size), 0, Size.SMALL),
    "a str subclass": (make_tag(" n", Name, str.__str__, Name), 0, Name("ada")),
    "a list subclass": (make_tag(" r", Rows, lambda rows: [*rows], Rows), 0, Rows([1, 2])),
    "bytearray": (make_tag(" ba", bytearray, bytearray.hex, bytearray.fromhex), None, bytearray(b"x")),
    "a large int": (make_tag(" i", int, str, int), 0, 2**60),
    "a float": (make_tag(" f", float, float.hex, float.fromhex), 0, 0.1),
    "NaN": (make_tag(" f", float, repr, float), 0, math.nan),
    "None": (make_tag(" no", type(None), lambda _: 1, lambda _: None), 0, None),
}


@pytest.fixture(autouse=True)
def _own_tags() -> Iterator[None]:
    """What a test registers is forgotten after it: it is for the whole process."""
    tags, order = {**TAGS.tags}, [*TAGS.order]
    yield
    TAGS.tags.clear()
    TAGS.tags.update(tags)
    TAGS.order[:] = order


def register(app: Flask, kind: str) -> Any:
    tag, index, value = KINDS[kind]
    interface_of(app).serializer.register(tag, index=index)
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_a_registered_type_comes_back(app: Flask, kind: str) -> None:
    """Alone and nested, through Redis, as it does with Flask's own sessions."""
    value = register(app, kind)
    tag, index, _ = KINDS[kind]
    flasks = TaggedJSONSerializer()
    flasks.register(tag, index=index)
    cart = {"v": value, "list": [value, {"a": value}], "tuple": (value, (value,)), "fine": [1, "a", {"b": []}]}
    browser = app.test_client()
    with browser.session_transaction() as written:
        written.update(cart)
    with app.app_context():
        expected = flasks.loads(flasks.dumps(cart))
    for _ in range(2):
        with browser.session_transaction() as read:
            assert repr(dict(sorted(read.items()))) == repr(dict(sorted(expected.items())))


def test_a_session_that_is_only_read_is_not_written(app: Flask, client: Any) -> None:
    """It says the same, though its record does not look like what the fast way would write."""
    value = register(app, "OrderedDict")
    route(app, "/set", lambda: session.update(v=value, n=1))
    route(app, "/get", lambda: repr(session["v"]))
    route(app, "/change", lambda: session["v"].update(z=1))
    browser = app.test_client()
    browser.get("/set")
    before = client.get(*client.keys())
    response = browser.get("/get")
    assert (response.text, "Set-Cookie" in response.headers) == (repr(value), False)
    assert client.get(*client.keys()) == before
    browser.get("/change")
    assert browser.get("/get").text == repr(OrderedDict([*value.items(), ("z", 1)]))


@pytest.mark.parametrize("value", [{" od": [1]}, {"decimal": "1"}, {"decimal": {"decimal": 1}}, [{" od__": 1}]])
def test_what_looks_like_a_registered_tag_is_none(app: Flask, value: Any) -> None:
    """An app may have such a dict."""
    register(app, "OrderedDict")
    register(app, "a key without a space")
    record = dump_record({"v": value, "w": Decimal(2)})
    assert load_record(record) == {"v": value, "w": Decimal(2)}


def test_a_record_from_before_the_tag_was_registered_is_not_written_by_who_reads_it(app: Flask, client: Any) -> None:
    """Though it would now be written in another way: the tag is for a value that JSON has a type for, too."""
    route(app, "/set", lambda: session.update(n="ada"))
    route(app, "/get", lambda: str(session["n"]))
    browser = app.test_client()
    browser.get("/set")
    before = client.get(*client.keys())
    interface_of(app).serializer.register(make_tag(" text", str, str, str), index=0)
    response = browser.get("/get")
    assert (response.text, "Set-Cookie" in response.headers) == ("ada", False)
    assert client.get(*client.keys()) == before


def test_a_record_from_before_the_tag_was_registered_is_read(app: Flask) -> None:
    """And the other way round it is a dict: nobody takes a visitor's session away."""
    before = dump_record({"a": 1, "t": (1, 2)})
    register(app, "a key without a space")
    assert load_record(before) == {"a": 1, "t": (1, 2)}
    record = dump_record({"v": Decimal(1)})
    TAGS.tags.pop("decimal")
    TAGS.order.pop()
    assert load_record(record) == {"v": {"decimal": "1"}}


def test_a_tag_that_cannot_read_its_value_counts_as_a_malformed_record(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log, without what is stored."""
    register(app, "Decimal")
    assert load_record(b'{"v":{" decimal":"secret"}}') is None
    assert caplog.messages == ["a malformed record counts as missing: InvalidOperation"]


def test_what_a_tag_makes_has_to_be_json(app: Flask) -> None:
    """It is refused like any other value, with its place."""
    interface_of(app).serializer.register(make_tag(" s", set, lambda value: value, set))
    with pytest.raises(
        TypeError, match=r"^session\['a'\], of type list, .*: a\[0\], of type set: Object of type set is"
    ):
        dump_record({"a": [{1}]})


def test_what_is_not_registered_is_refused_as_before(app: Flask) -> None:
    """With its place."""
    register(app, "Decimal")
    with pytest.raises(TypeError, match=r"a\[1\], of type set: Object of type set is not JSON serializable$"):
        dump_record({"a": [Decimal(1), {1}]})


def test_two_requests_that_change_a_registered_value_at_once(app: Flask) -> None:
    """It is one value, which the second writer wins, and stays of its type."""
    register(app, "OrderedDict")
    base, mine, theirs = ({"v": OrderedDict(a=number), "n": number} for number in (1, 2, 3))
    merged = merge(base, mine, theirs)
    assert repr(merged["v"]) == repr(mine["v"])
    assert repr(load_record(dump_record(merged))) == repr(merged)


def test_a_key_that_is_taken_is_refused_as_in_flask(app: Flask) -> None:
    """Unless it is forced: then even Flask's own type is kept in another way."""
    tag = make_tag(" d", datetime, datetime.isoformat, datetime.fromisoformat)
    serializer = interface_of(app).serializer
    with pytest.raises(KeyError, match="already registered"):
        serializer.register(tag)
    serializer.register(tag, force=True, index=0)
    now = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    assert load_record(dump_record({"at": now})) == {"at": now}


def test_a_registered_type_is_for_all_apps_and_stores_of_the_process(app: Flask, client: Any) -> None:
    """As Flask's own serializer is."""
    value = register(app, "Decimal")
    store = RedisStore(client, "OTHER:")
    assert store.get(store.set({"v": value})) == {"v": value}
    assert RedisSessionInterface(client).serializer is interface_of(app).serializer


def test_the_serializer_cannot_be_replaced(app: Flask) -> None:
    """An error says so, instead of sessions in another format than the app thinks."""
    with pytest.raises(AttributeError, match="serializer"):
        app.session_interface.serializer = TaggedJSONSerializer()  # type: ignore[attr-defined]
