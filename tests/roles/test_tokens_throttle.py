"""Sign-in of programs is throttled as that of browsers is."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from support.clock import StillClock
from support.roles.tokens import (
    PATIENT,
    assert_json,
    log_in,
    post,
)

import auth
from app import create_app
from roles import throttle


@pytest.fixture
def app(least: Any, still_clock: StillClock) -> Flask:
    return create_app(PATIENT, least, clock=still_clock)


def test_guesses_are_counted_together_with_those_of_the_sign_in_page(app: Flask, monkeypatch: Any) -> None:
    """429 with Retry-After when there were ten, wherever they were made; the password is not even looked at."""
    web, form = app.test_client(), {"username": "ada", "password": "wrong"}
    for _ in range(throttle.LIMITS["account"] // 2):
        assert web.post("/login", data=form).status_code == 401
        assert post(app, "login", **form).status_code == 401
    monkeypatch.setattr(auth, "check_password_hash", None)
    answer = post(app, "login", username="ada", password="lovelace")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= throttle.INTERVAL
    assert_json(answer)


def test_the_right_password_counts_nothing(app: Flask, client: Any) -> None:
    """As on the sign-in page."""
    for _ in range(throttle.LIMITS["account"] + 1):
        log_in(app)
    assert client.keys("FAILED:*") == []
