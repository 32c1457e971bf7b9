"""Sign-in while Redis is away: who cannot be counted cannot try."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import fakeredis
import pytest
from support.demo import CONFIG, hurry
from support.roles.throttle import known, sign_in
from support.stopwatch import takes
from werkzeug.test import TestResponse

import auth
from app import create_app


@pytest.fixture(params=["fakeredis", "stopped", pytest.param("frozen", marks=pytest.mark.thorough), "full"])
def broken(request: pytest.FixtureRequest) -> tuple[Any, Callable[[], object]]:
    """A client, and what makes its Redis refuse, not answer, or take no more."""
    if request.param == "fakeredis":
        fake = fakeredis.FakeServer()
        return fakeredis.FakeRedis(server=fake), partial(setattr, fake, "connected", False)
    server = request.getfixturevalue("make_server")()
    client = server.connect()
    ways = {"stopped": server.stop, "frozen": server.freeze, "full": partial(client.config_set, "maxmemory", 1)}
    return client, ways[request.param]


def assert_unavailable(answer: TestResponse) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in answer.headers
    assert "Location" not in answer.headers
    assert "Your cookie was not touched" in answer.text
    assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize("password", ["lovelace", "wrong"])
@pytest.mark.parametrize("username", ["ada", "nobody"])
def test_who_cannot_be_counted_cannot_try(
    username: str, password: str, broken: tuple[Any, Callable[[], object]], no_hash: Callable[[], None]
) -> None:
    """503 within a second, for a known browser too; the password is not looked at."""
    client, break_redis = broken
    app = create_app(CONFIG, client)
    web = known(app)
    break_redis()
    hurry(app)
    no_hash()
    for browser in (app.test_client(), web):
        with takes(1):
            assert_unavailable(sign_in(browser, username, password))
        assert browser.get("/login").status_code == 200


def test_an_outage_between_counting_and_signing_in_sets_no_cookie(
    broken: tuple[Any, Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password was right, but nothing is stored: 503, and neither of the two cookies."""
    client, break_redis = broken
    app = create_app(CONFIG, client)
    monkeypatch.setattr(auth, "check_password_hash", lambda *_: break_redis() or True)
    assert_unavailable(sign_in(app, password="lovelace"))


def test_an_outage_of_the_counters_is_logged_without_a_name(
    broken: tuple[Any, Callable[[], object]], caplog: pytest.LogCaptureFixture
) -> None:
    """One line, which says what failed, and not at whose sign-in."""
    client, break_redis = broken
    app = create_app(CONFIG, client)
    break_redis()
    sign_in(app)
    [line] = caplog.messages
    assert line.startswith("SET failed with ")
    assert not re.search(r"ada|192\.0\.2|FAILED|account|address", line)
