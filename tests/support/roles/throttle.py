"""Attempts to sign in: from where, by which browser, and what Redis counts of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import auth
from support.demo import OURS

HOME, OFFICE = "192.0.2.1", "192.0.2.2"
BOTS = [f"198.51.100.{number}" for number in range(30)]


def sign_in(
    browser: Flask | FlaskClient,
    username: str | bytes = "ada",
    password: str = "wrong",
    address: str = HOME,
    **headers: str,
) -> TestResponse:
    """An attempt from an address; of an app's new browser, if no other is given."""
    web = browser.test_client() if isinstance(browser, Flask) else browser
    form = {"username": username, "password": password}
    return web.post("/login", data=form, headers=OURS | headers, environ_overrides={"REMOTE_ADDR": address})


def known(app: Flask, username: str = "ada", password: str = "lovelace", address: str = HOME) -> FlaskClient:
    """A browser that has signed in to the account, and out."""
    web = app.test_client()
    assert sign_in(web, username, password, address).status_code == 303
    web.delete_cookie("session")
    return web


def device_of(web: FlaskClient) -> str:
    cookie = web.get_cookie("session_device")
    assert cookie is not None
    return cookie.value


def attack(app: Flask, username: str = "ada") -> None:
    """From many addresses, until the account's counter is full."""
    answers = [sign_in(app, username, address=bot).status_code for bot in BOTS for _ in range(2)]
    assert answers[0] == 401
    assert answers[-1] == 429


def keys(client: Any, kind: str = "*") -> list[str]:
    return [key.decode() for key in client.keys(f"FAILED:SESSION:{kind}:*")]


@pytest.fixture
def no_hash(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, to compute the hash of a password fails the test."""

    def fail(*arguments: object) -> bool:
        raise AssertionError("a password was looked at")

    return partial(monkeypatch.setattr, auth, "check_password_hash", fail)
