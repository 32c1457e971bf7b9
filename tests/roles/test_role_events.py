"""What roles tell whoever counts it: the signal "role-event", with a word from a short list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from blinker import signal
from flask import Flask
from support.roles.throttle import attack, sign_in
from support.roles.tokens import CONFIG, log_in, refresh

from app import create_app

Told = list[str]


@pytest.fixture
def app(least: Any) -> Flask:
    return create_app(CONFIG, least)


@pytest.fixture
def told(app: Flask) -> Iterator[Told]:
    """The words that the roles of this app say, in order."""
    told: Told = []

    def listen(sender: Any, *, reason: str, **said: Any) -> None:
        assert sender is app
        assert said == {"number": 1}
        told.append(reason)

    with signal("role-event").connected_to(listen, app):
        yield told


def test_a_throttled_sign_in_is_told(app: Flask, told: Told) -> None:
    """Each attempt that is refused, and no other."""
    sign_in(app)
    assert told == []
    attack(app)
    assert {*told} == {"sign-in-throttled"}
    before = len(told)
    sign_in(app, password="lovelace", address="198.51.100.1")
    assert len(told) == before + 1


def test_a_replayed_token_is_told(app: Flask, told: Told) -> None:
    """When a refresh token comes again after its successor was used."""
    _, first = log_in(app)
    second = refresh(app, first)
    assert refresh(app, second)
    assert told == []
    assert refresh(app, first) is None
    assert told == ["token-replayed"]
