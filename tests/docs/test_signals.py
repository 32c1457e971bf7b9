"""docs/signals.md: its code runs, and its table has every signal and every reason."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask, session
from support.apps import route
from support.project import PAGES, blocks, rows

from redis_store import signals

PAGE = PAGES["docs/signals.md"]


def test_a_listener_counts_what_ended(app: Flask) -> None:
    """As the page writes it."""
    (code,) = blocks("python", PAGE)
    names: dict[str, Any] = {}
    exec(code, names)
    route(app, "/write", lambda: session.update(n=1))
    route(app, "/logout", lambda: session.clear())
    browser = app.test_client()
    browser.get("/write")
    browser.get("/logout")
    assert names["ended"] == {"logout": 1}


def test_the_table_has_the_signals_and_reasons_of_the_code() -> None:
    """Each reason stands in the signal's own documentation, and no other does."""
    table: dict[str, set[str]] = {}
    name = ""
    for first, reasons, _ in rows(PAGE):
        name = first.strip("`") or name
        table.setdefault(name, set()).update(re.findall(r"`(\w+)`", reasons))
    signal = type(signals.created)
    found = {name: value.__doc__ or "" for name, value in vars(signals).items() if isinstance(value, signal)}
    assert table.keys() == found.keys()
    for name, listed in table.items():
        assert set(re.findall(r"^ +(\w+): ", found[name], re.M)) == listed, name
