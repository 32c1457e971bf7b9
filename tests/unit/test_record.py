"""The record: a session as JSON bytes, and back. Pure, so without Redis; stored bytes: test_store.py, too."""

from __future__ import annotations

import enum
import json
import math
from collections import Counter, OrderedDict, defaultdict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from flask.json.tag import TaggedJSONSerializer
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from werkzeug.datastructures import CombinedMultiDict, MultiDict

from _redis_store.change import merge
from _redis_store.record import dump_record, load_record
from _redis_store.shape import MAX_DEPTH


class Color(enum.Enum):
    RED = "red"


class Name(enum.StrEnum):
    ADA = "ada"


class Size(enum.IntEnum):
    SMALL = 1


class Text(str):
    __slots__ = ()


class Cart:
    """An object; since Python 3.13 its `vars` is a dict that the garbage collector does not look into."""

    def __init__(self) -> None:
        self.size = (1, 2)


class Shows(dict[str, Any]):
    """A dict that is empty to C code."""

    def items(self) -> Any:
        return {"n": 1}.items()


Point = namedtuple("Point", "x y")


def shape(value: Any) -> Any:
    """The value with the type of everything in it: for == alone, 1 is 1.0 and True, and 0.0 is -0.0."""
    if isinstance(value, dict):
        return type(value), {key: (type(key), shape(item)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [shape(item) for item in value]
    return type(value), value, math.copysign(1, value) if isinstance(value, float) else 0


def assert_comes_back(value: Any, changed: Any = None) -> None:
    """Alone, and inside whatever can hold it."""
    expected = value if changed is None else changed
    pairs = [(value, expected), ([value], [expected]), ((1, value), (1, expected)), ({"a": value}, {"a": expected})]
    pairs += [([{"a": [(value,)]}], [{"a": [(expected,)]}]), ({" t": value}, {" t": expected})]
    for written, read in pairs:
        record = dump_record({"v": written, "w": 1})
        json.loads(record)
        assert shape(load_record(record)) == shape({"v": read, "w": 1})


# Which bytes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("session", "record"),
    [
        ({}, "{}"),
        ({"user": "ada", "n": [1, 2, {"a": None}]}, '{"user":"ada","n":[1,2,{"a":null}]}'),
        ({"ü": "漢😀", "html": "</script>&"}, '{"ü":"漢😀","html":"</script>&"}'),
        ({"t": '"\\/\b\f\n\r\t\x00\x1f\x7f\u2028'}, '{"t":"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\u2028"}'),
        ({"n": [0, -1, 0.1, 1.5, 123456.789, 2**53]}, '{"n":[0,-1,0.1,1.5,123456.789,9007199254740992]}'),
        ({"b": [True, False]}, '{"b":[true,false]}'),
    ],
)
def test_the_bytes_are_those_of_json_stringify(session: Any, record: str) -> None:
    """Compact, in the order of the keys, and escaped no further: koa's record and ours are the same."""
    assert dump_record(session) == record.encode()
    assert shape(load_record(record.encode())) == shape(session)


@pytest.mark.parametrize(
    ("value", "tagged"),
    [
        ((1, "a"), '{" t":[1,"a"]}'),
        (b"\xff\x00", '{" b":"/wA="}'),
        (Markup("<b>ü</b>"), '{" m":"<b>ü</b>"}'),
        (UUID(int=5), '{" u":"00000000000000000000000000000005"}'),
        (datetime(2024, 2, 29, 12, 0, 1, tzinfo=UTC), '{" d":"Thu, 29 Feb 2024 12:00:01 GMT"}'),
        ({" t": [1]}, '{" di":{" t__":[1]}}'),
    ],
)
def test_other_types_have_flasks_own_tags(value: Any, tagged: str) -> None:
    """Flask reads our records, and we what Flask wrote."""
    assert dump_record({"v": value}) == f'{{"v":{tagged}}}'.encode()
    assert TaggedJSONSerializer().loads(f'{{"v":{tagged}}}') == {"v": value}


# What comes back -------------------------------------------------------------------------------------------------

FLASKS = {
    "tuple": (1, (2, ()), [3]),
    "empty tuple": (),
    "bytes": bytes(range(256)),
    "empty bytes": b"",
    "Markup": Markup("<b>&amp;</b>"),
    "UUID": UUID("3b241101-e2bb-4255-8caf-4136c566a962"),
    "datetime": datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC),
    "tuple in the dict of an object": vars(Cart()),
}


@pytest.mark.parametrize("kind", FLASKS)
def test_each_of_flasks_types_comes_back_alone_and_nested(kind: str) -> None:
    """And is then of the same type."""
    assert_comes_back(FLASKS[kind])


PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    0.0,
    -0.0,
    -1,
    "",
    "1",
    "true",
    "null",
    [],
    {},
    [True, 1, 1.0, "1"],
    {"": {"": ""}},
]
PLAIN += [2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**22, 10**100, -(10**1000)]
PLAIN += [1e22, 1e-7, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 123456789012345680.0]
PLAIN += ["\ud800", "\udc00\ud800", "ü\ud800😀", ["\ud83d", "\ude00"], {"\udfff": 1}, {"a\ud800": "\ud800"}]
PLAIN += ['{" ', '{" t":[1]}', "\\", '"', "\x00", "\x85\u2028\ufeff"]
PLAIN += [
    {" t": [1]},
    {" t": [1], "b": 1},
    {" d": 5},
    {" u": "x"},
    {" di": {" t__": 1}},
    {" x": 1},
    {"t ": 1},
    {" ": 1},
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: f"{value!a:.40}")
def test_what_json_knows_comes_back_with_its_type(value: Any) -> None:
    """Numbers of any size, 1 beside 1.0 and True, half surrogate pairs, and what only looks like a tag."""
    assert_comes_back(value)


CHANGED = {
    "a datetime in another zone": (
        datetime(2024, 1, 1, 1, 0, 0, 999999, tzinfo=timezone(timedelta(hours=1))),
        datetime(2024, 1, 1, tzinfo=UTC),
    ),
    "a datetime without a zone": (datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),
    "an IntEnum": (Size.SMALL, 1),
    "a StrEnum": (Name.ADA, "ada"),
    "a subclass of str": (Text("x"), "x"),
    "a defaultdict": (defaultdict(int, n=1), {"n": 1}),
    "an OrderedDict": (OrderedDict(n=1), {"n": 1}),
    "a Counter": (Counter("aab"), {"a": 2, "b": 1}),
    "a named tuple": (Point(1, [2]), (1, [2])),
    "a MultiDict": (MultiDict([("a", "1"), ("a", "2"), ("b", "3")]), {"a": "1", "b": "3"}),
    "two of them in one": (CombinedMultiDict([MultiDict([("a", "1")])]), {"a": "1"}),
    "a dict that shows something else": (Shows(), {"n": 1}),
    "a dict inside such a dict": (MultiDict([("a", {"b": (1,)})]), {"a": {"b": (1,)}}),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_subclass_comes_back_as_what_flask_makes_of_it(kind: str) -> None:
    """Nothing that the app can see in it is lost."""
    value, expected = CHANGED[kind]
    assert_comes_back(value, expected)
    flask = TaggedJSONSerializer()
    assert shape(flask.loads(flask.dumps({"v": value}))) == shape({"v": expected})


texts = st.text(st.characters(blacklist_categories=())) | st.sampled_from([" t", " di", " b", '{" t":[]}', "[[["])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.binary()
    | st.uuids()
    | texts.map(Markup)
    | st.datetimes(datetime(1900, 1, 1), timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=0))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
sessions = st.dictionaries(texts, values, max_size=4)


def joins(value: Any) -> bool:
    """Whether two halves of a surrogate pair stand side by side, which JSON makes one letter of."""
    if isinstance(value, dict):
        return any(joins(key) or joins(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(map(joins, value))
    return (
        isinstance(value, str)
        and value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") != value
        and (json.loads(json.dumps(value)) != value)
    )


@given(sessions)
def test_what_flask_keeps_is_kept(session: dict[str, Any]) -> None:
    """With every type, or it is refused: then Flask would have changed it."""
    try:
        record = dump_record(session)
    except TypeError:
        assert joins(session)
        return
    assert shape(load_record(record)) == shape(session)
    flask = TaggedJSONSerializer()
    assert shape(flask.loads(flask.dumps(session))) == shape(session)


@given(sessions, sessions, sessions)
def test_what_is_merged_can_be_written(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Of three sessions that can be kept."""
    if not any(map(joins, (base, mine, theirs))):
        merged = merge(base, mine, theirs)
        assert shape(load_record(dump_record(merged))) == shape(merged)


# What is refused -------------------------------------------------------------------------------------------------

loop: list[Any] = []
loop.append(loop)
REFUSED: dict[str, tuple[Any, str]] = {
    "a set": ({1, 2}, "set"),
    "an empty set": (set(), "set"),
    "a frozenset": (frozenset(), "frozenset"),
    "an object": (object(), "object"),
    "NaN": (math.nan, "float"),
    "infinity": (-math.inf, "float"),
    "a complex number": (1j, "complex"),
    "a Decimal": (Decimal("1.5"), "Decimal"),
    "a Decimal that is whole": (Decimal(1), "Decimal"),
    "an Enum": (Color.RED, "Enum|Color"),
    "a date": (date(2024, 1, 1), "date"),
    "a timedelta": (timedelta(1), "timedelta"),
    "a bytearray": (bytearray(b"x"), "bytearray"),
    "a memoryview": (memoryview(b"x"), "memoryview"),
    "a range": (range(3), "range"),
    "a number as a key": ({1: "a"}, "dict"),
    "True as a key": ({True: "a"}, "dict"),
    "None as a key": ({None: "a"}, "dict"),
    "bytes as a key": ({b"a": 1}, "dict"),
    "a tuple as a key": ({(1,): 1}, "dict"),
    "two halves of a pair": ("\ud83d" + "\ude00", "str"),
    "two halves of a pair in a key": ({"\ud83d" + "\ude00": 1}, "dict"),
    "two keys that become one": ({"\ud83d" + "\ude00": 1, "\U0001f600": 2}, "dict"),
    "an integer that Python does not write": (10**5000, "int"),
    "a time that is none in UTC": (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "datetime"),
    "a list inside itself": (loop, "list"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_would_not_come_back_is_refused_with_key_and_type(why: str) -> None:
    """Alone and nested; and what it is inside of is what the session holds under that key."""
    value, kind = REFUSED[why]
    for cart, name in ((value, kind), ([value], "list"), ({"a": (1, value)}, "dict"), ((value,), "tuple")):
        with pytest.raises(TypeError, match=rf"^session\['cart'\], of type ({name}), does not survive JSON: "):
            dump_record({"fine": 1, "cart": cart})


@pytest.mark.parametrize("key", [1, None, True, 1.5, b"a", (1,), "\ud83d" + "\ude00"])
def test_a_key_that_would_come_back_as_another_is_refused(key: Any) -> None:
    """JSON would make 1 into "1"."""
    with pytest.raises(TypeError, match=r"^session\[.*\], of type str, does not survive JSON"):
        dump_record({key: "a"})


@pytest.mark.parametrize("value", [{1}, [{"a": {2}}], Decimal(1)])
def test_the_error_names_the_value_inside_a_list_and_not_the_list(value: Any) -> None:
    """The set, and not only the list that it is in."""
    with pytest.raises(TypeError, match=r"Object of type (set|Decimal) is not JSON serializable$"):
        dump_record({"cart": value})


PLACES: dict[str, tuple[Any, Any, str]] = {
    "in a list of dicts": (
        "cart",
        {"items": [{"price": 1.5}] * 17 + [{"price": Decimal("1.5")}]},
        r"cart\.items\[17\]\.price, of type Decimal: Object of type Decimal is not JSON serializable",
    ),
    "the value itself": ("cart", {1}, "Object of type set is not JSON serializable"),
    "in a tuple": ("cart", [1, (2, [math.nan])], r"cart\[1\]\[1\]\[0\], of type float: Out of range .*"),
    "the first of two": ("cart", {"a": {1}, "b": {2}}, r"cart\.a, of type set: .*"),
    "a key": ("cart", {"items": [{}, {7: 1}]}, r"cart\.items\[1\], of type dict: its key 7, of type int, would .*"),
    "a key of the value itself": ("cart", {True: 1}, "its key True, of type bool, would come back changed .*"),
    "behind a key that is no string": ("cart", {(1, 2): {3}}, r"cart\[\(1, 2\)\], of type set: .*"),
    "a key of the session": (5, 1, "it would come back under another key .*"),
    "behind a key of the session": (5, [{1}], r"\[5\]\[0\], of type set: .*"),
    "keys that are no names": (
        "my cart",
        {"": [{"a b": {"\n": {1}}}]},
        r"\['my cart'\]\[''\]\[0\]\['a b'\]\['\\n'\], .*",
    ),
    "a list inside itself": ("cart", {"a": [0, loop]}, r"cart\.a\[1\]\[0\], of type list: it is inside itself"),
    "in what looks like a tag": ("cart", {" t": [{1}]}, r"cart\[' t'\]\[0\], of type set: .*"),
    "in a subclass of dict": ("cart", defaultdict(list, a=[b"", {1}]), r"cart\.a\[1\], of type set: .*"),
    "half surrogate pairs": ("cart", {"a": "\ud83d" + "\ude00"}, r"cart\.a, of type str: it would come back changed"),
    "a key that is long": ("cart", {"k" * 1000: {1}}, r"cart\.k{55}…k{60}, of type set: .*"),
}


@pytest.mark.parametrize("where", PLACES)
def test_the_error_says_where_the_value_is(where: str) -> None:
    """As one writes it in JavaScript or Jinja, and what is the matter there; the session itself has nothing to hide."""
    key, value, words = PLACES[where]
    with pytest.raises(TypeError, match=rf"^session\[{key!r}\], of type \w+, does not survive JSON: {words}$"):
        dump_record({"fine": 1, key: value})


# How deep --------------------------------------------------------------------------------------------------------


def nest(kind: str, depth: int, core: Any = 1) -> Any:
    """So many dicts or lists, one in the other, around `core`."""
    for number in range(depth):
        core = [core] if kind == "lists" or (kind == "both" and number % 2) else {"a": core}
    return core


@pytest.mark.parametrize("kind", ["lists", "dicts", "both"])
@pytest.mark.parametrize("beside", [None, "[" * 500, "]}" * 500, "{[" * 300, '"[[{\\'])
def test_a_hundred_levels_pass_and_a_hundred_and_one_are_refused_both_ways(kind: str, beside: Any) -> None:
    """The session itself is one. Brackets inside texts are none, whether they pair or not."""
    fits = {"beside": beside, "deep": nest(kind, MAX_DEPTH - 1), "flat": [[]] * 300}
    record = dump_record(fits)
    assert load_record(record) == fits
    deeper = fits | {"deep": nest(kind, MAX_DEPTH)}
    with pytest.raises(TypeError, match=r"^session\['deep'\], of type (list|dict), .* nested too deep"):
        dump_record(deeper)
    assert load_record(json.dumps(fits).encode()) == fits
    assert load_record(json.dumps(deeper).encode()) is None


@pytest.mark.parametrize("text", ["[" * 200, "]" * 200, "[]" * 200, "}{" * 200, '["' * 200])
def test_brackets_inside_texts_do_not_count(text: str) -> None:
    """As a value, as a key, between others that are real, and beside what is tagged."""
    for session in ({"a": text}, {text: 1}, {"a": [[[text]], {text: [text, {}]}]}, {"a": (text, [()])}):
        assert load_record(dump_record(session)) == session


def test_the_error_says_what_is_nested_too_deep() -> None:
    """The way there is long: its two ends are shown."""
    comments = {"fine": nest("dicts", 5), "bad": nest("dicts", MAX_DEPTH)}
    with pytest.raises(TypeError, match=r": tree\.bad\.a\.a\.[a.]*…[a.]*, of type int: nested too deep$"):
        dump_record({"tree": comments})


def test_a_tuple_counts_as_the_two_that_it_is_written_as() -> None:
    """A dict, its tag, and a list: what can be written can be read."""
    value: Any = 1
    for _ in range((MAX_DEPTH - 1) // 2):
        value = (value,)
    session = {"a": value}
    assert load_record(dump_record(session)) == session
    with pytest.raises(TypeError, match="nested too deep"):
        dump_record({"a": (value,)})
