"""Promise 4: two requests that change different keys of one session at the same time both win."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, session
from support.apps import content, route, set_cookie, sid_of, sign, under_way
from support.tiers import rounds
from support.values import typed

from _redis_store.record import load_record

ROUNDS = rounds(20, 200)


def test_writers_of_different_keys_both_win(app: Flask, client: Any) -> None:
    """200 rounds of two requests that overlap: both counters are exact, and so is a third that alternates."""
    route(app, "/other", lambda: session.update(b=session.get("b", 0) + 1))
    browser = app.test_client()
    browser.get("/other")
    for _ in range(ROUNDS):
        with under_way(app, browser):
            session["a"] = session.get("a", 0) + 1
            browser.get("/other")
    assert load_record(client.get(f"SESSION:{sid_of(client)}")) == {"a": ROUNDS, "b": ROUNDS + 1}


def test_on_the_same_key_the_later_one_wins(app: Flask, client: Any) -> None:
    """The request that ends later overwrites the key."""
    route(app, "/other", lambda: session.update(a="other"))
    browser = app.test_client()
    browser.get("/other")
    with under_way(app, browser):
        session["a"] = "late"
        browser.get("/other")
    assert load_record(client.get(f"SESSION:{sid_of(client)}")) == {"a": "late"}


@pytest.mark.parametrize("key", ["message", "user_id"])
def test_emptying_a_session_does_not_take_away_what_another_request_wrote(app: Flask, client: Any, key: str) -> None:
    """The last flash message was shown, or the user popped; meanwhile something was put into the cart."""
    route(app, "/other", lambda: session.update(cart=1))
    browser = app.test_client()
    with browser.session_transaction() as first:
        first[key] = "ada"
    with under_way(app, browser) as response:
        session.pop(key)
        browser.get("/other")
    assert load_record(client.get(f"SESSION:{sid_of(client)}")) == {"cart": 1}
    assert sid_of(client) in str(set_cookie(response))
    browser.set_cookie("session", sign(app, sid_of(client)))
    with under_way(app, browser) as response:
        session.pop("cart")
    assert client.keys("SESSION:*") == []
    assert str(set_cookie(response)).startswith("session=;")


@pytest.mark.parametrize("owner", [None, "ada"])
def test_clearing_that_signs_nobody_out_takes_away_only_what_was_there(app: Flask, client: Any, owner: Any) -> None:
    """A wizard starts afresh; meanwhile something was put into the cart."""
    route(app, "/other", lambda: session.update(cart=1))
    browser = app.test_client()
    with browser.session_transaction() as first:
        first.update(step=5, user_id=owner)
    with under_way(app, browser):
        session.clear()
        session.update(step=1, user_id=owner)
        browser.get("/other")
    assert content(client) == {"step": 1, "user_id": owner, "cart": 1}


def test_a_request_that_only_reads_never_writes_the_record(app: Flask, client: Any) -> None:
    """Not even over a change that came while it was reading."""
    route(app, "/other", lambda: session.update(a="other"))
    browser = app.test_client()
    browser.get("/other")
    record = b'{"a":"koa",  "b":1}'
    with under_way(app, browser):
        assert session["a"] == "other"
        client.set(f"SESSION:{sid_of(client)}", record, ex=50)
    assert client.get(f"SESSION:{sid_of(client)}") == record


def test_a_record_that_is_only_written_differently_is_not_rewritten(app: Flask, client: Any) -> None:
    """Spaces, escapes or the order in which koa wrote it are no change."""
    route(app, "/", lambda: session.update(a=1))
    browser = app.test_client()
    browser.get("/")
    record = '{ "ü": "\\u00fc", "a": 1 }'.encode()
    client.set(f"SESSION:{sid_of(client)}", record, ex=50)
    with under_way(app, browser):
        assert dict(session) == {"ü": "ü", "a": 1}
    assert client.get(f"SESSION:{sid_of(client)}") == record


def test_true_and_1_are_different_values(app: Flask, client: Any) -> None:
    """To Python they are equal; to JSON, and to whoever stored them, they are not."""
    browser = app.test_client()
    for value in (1, True, 1.0):
        with browser.session_transaction() as written:
            written["n"] = value
        assert typed(load_record(client.get(f"SESSION:{sid_of(client)}"))) == typed({"n": value})
