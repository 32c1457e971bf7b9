"""Promise 1: a change inside a list or dict is saved, or refused, also where msgspec writes what is there now and what
was there in the same bytes. No key is set, so that the session is compared with its record.
"""

from __future__ import annotations

import copy
import math
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask


@dataclass
class Point:
    y: int


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([1, 2], (1, 2)),
        ("eA==", b"x"),
        ("00000000-0000-0000-0000-000000000005", uuid.UUID(int=5)),
        ("2026-11-21T01:02:03Z", datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC)),
    ],
)
def test_a_change_of_the_type_alone_is_saved(app: Flask, before: Any, after: Any) -> None:
    """The next request finds the new type."""
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["cart"] = {"x": before}
    with browser.session_transaction() as second:
        second["cart"]["x"] = copy.deepcopy(after)
        assert not second.modified
    with browser.session_transaction() as third:
        assert repr(third["cart"]) == repr({"x": after})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"x": None}, {"x": math.nan}),
        ({"1": 2}, {1: 2}),
        ({"x": [1]}, {"x": {1}}),
        ({"x": {"y": 1}}, {"x": Point(1)}),
    ],
)
def test_a_change_to_what_json_cannot_keep_is_refused(app: Flask, before: Any, after: Any) -> None:
    """With the error that names the key, as when the key itself is set."""
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["cart"] = before

    def change() -> None:
        with browser.session_transaction() as second:
            second["cart"].clear()
            second["cart"].update(copy.deepcopy(after))  # nothing else refers to what is in it
            assert not second.modified

    with pytest.raises(TypeError, match=r"^session\['cart'\], of type dict, does not survive JSON: "):
        change()


@pytest.mark.parametrize("after", [bytearray(b"yes"), memoryview(b"yes")])
def test_what_is_only_like_bytes_is_refused(app: Flask, after: Any) -> None:
    """Also in the place of equal bytes."""
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["cart"] = {"x": b"yes"}

    def change() -> None:
        with browser.session_transaction() as second:
            second["cart"]["x"] = type(after)(b"yes")  # nothing else refers to it
            assert not second.modified

    with pytest.raises(TypeError, match=r"^session\['cart'\], of type dict, does not survive JSON: "):
        change()
