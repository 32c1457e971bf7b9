"""Promise 8 for an app's own tests: who looks into a session during an outage is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from support.apps import route
from support.clock import Clock
from support.streams import make_app, visitor

from redis_store import StoreUnavailable


@pytest.fixture
def server() -> fakeredis.FakeServer:
    """Its `connected` says whether there is a Redis."""
    return fakeredis.FakeServer()


@pytest.fixture
def client(server: fakeredis.FakeServer) -> Any:
    return fakeredis.FakeRedis(server=server)


@pytest.fixture
def app(client: Any, clock: Clock) -> Flask:
    return make_app(client, clock)


def test_session_transaction_raises_when_the_session_cannot_be_read(app: Flask, server: fakeredis.FakeServer) -> None:
    """The seed of a test is there, or the test fails right here."""
    browser = visitor(app)
    server.connected = False
    with pytest.raises(StoreUnavailable), browser.session_transaction():
        pytest.fail("it was opened")


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.update(n=2),
        lambda held: held.clear(),
        lambda held: held.update(user_id="ada"),
        lambda held: held.regenerate(),
        lambda held: held["cart"].append(2),
    ],
)
def test_session_transaction_raises_when_the_session_cannot_be_stored(
    app: Flask, server: fakeredis.FakeServer, change: Callable[[Any], Any]
) -> None:
    """Whatever the change is. The error says why."""
    browser = visitor(app)
    transaction = browser.session_transaction()
    change(transaction.__enter__())
    server.connected = False
    with pytest.raises(StoreUnavailable) as caught:
        transaction.__exit__(None, None, None)
    assert "failed with ConnectionError" in str(caught.value.__cause__)


def test_session_transaction_raises_for_a_first_write(app: Flask, server: fakeredis.FakeServer) -> None:
    """A visitor without a cookie asks Redis nothing before that."""
    server.connected = False
    browser = app.test_client()
    with pytest.raises(StoreUnavailable), browser.session_transaction() as held:
        held["user_id"] = "ada"
    assert browser.get_cookie("session") is None
    with browser.session_transaction() as held:
        assert dict(held) == {}


def test_session_transaction_raises_inside_an_except_block_too(app: Flask, server: fakeredis.FakeServer) -> None:
    """There a page would see an empty session."""
    browser = visitor(app)
    server.connected = False
    try:
        raise KeyError
    except KeyError:
        with pytest.raises(StoreUnavailable), browser.session_transaction():
            pytest.fail("it was opened")


def test_a_test_that_looks_into_the_session_of_a_page_is_told(app: Flask, server: fakeredis.FakeServer) -> None:
    """``with client:`` keeps the page's context."""
    route(app, "/public", lambda: "public")
    browser = visitor(app)
    server.connected = False
    with browser:
        browser.get("/public")
        with pytest.raises(StoreUnavailable):
            print("n" in session)
