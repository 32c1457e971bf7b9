"""Sessions that hypothesis makes up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from markupsafe import Markup

keys = st.text(st.characters(), max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters())
    | st.binary()
    | st.uuids()
    | st.text().map(Markup)
    | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
        lambda time: time.replace(microsecond=0)
    )
)
tags = st.sampled_from([" t", " b", " m", " u", " d", " di", " t__", " di__"])
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys | tags, inner, max_size=4)
    ),
    max_leaves=12,
)
sessions = st.dictionaries(keys | tags, values, max_size=5)


def typed(value: Any) -> Any:
    """`value` with the types spelled out: to ==, True is 1 and Markup is str."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [typed(item) for item in value]
    return type(value), value
