"""The app while Redis is away: what works, what says so, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import fakeredis
import pytest
from support.demo import CONFIG, OURS, hurry, sign_in, sign_out, status
from support.stopwatch import takes

from app import create_app


class Outage:
    """A Redis that a test can take away and bring back."""

    def __init__(self, client: Any, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self.client, self.begin, self.end = client, begin, end


@pytest.fixture(params=["fakeredis", "stopped", pytest.param("frozen", marks=pytest.mark.thorough)])
def outage(request: pytest.FixtureRequest) -> Outage:
    """It refuses connections; or, the worse of the two, it does not answer."""
    if request.param == "fakeredis":
        fake = fakeredis.FakeServer()
        begin, end = (partial(setattr, fake, "connected", value) for value in (False, True))
        return Outage(fakeredis.FakeRedis(server=fake), begin, end)
    server = request.getfixturevalue("make_server")()
    client = server.connect()
    return Outage(
        client, *((server.stop, server.start) if request.param == "stopped" else (server.freeze, server.thaw))
    )


def test_what_needs_no_session_works_without_redis(outage: Outage) -> None:
    """Home and sign-in page of a visitor without a cookie, files, the live check, and errors as ever."""
    web = create_app(CONFIG, outage.client).test_client()
    outage.begin()
    paths = ("/", "/login", "/static/style.css", "/health/live", "/nowhere", "/logout")
    assert [status(web, path) for path in paths] == [200, 200, 200, 200, 404, 405]
    assert sign_out(web).status_code == 303


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/account"),
        ("POST", "/logout"),
        ("POST", "/login"),
        ("GET", "/sessions"),
        ("POST", "/sessions/end"),
        ("POST", "/sessions/end-others"),
    ],
)
def test_what_needs_the_session_says_so_within_a_second(method: str, path: str, outage: Outage) -> None:
    """503 and Retry-After on a page that says that the session is kept; the cookie is not touched."""
    web = create_app(CONFIG, outage.client).test_client()
    sign_in(web)
    outage.begin()
    hurry(web.application)
    with takes(1):
        answer = web.open(path, method=method, headers=OURS, data={"username": "ada", "password": "lovelace"})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in answer.headers
    assert "Location" not in answer.headers
    assert "The session store cannot be reached" in answer.text
    assert "Your cookie was not touched" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" in answer.headers


def test_a_sign_in_that_was_not_stored_gives_no_cookie(outage: Outage) -> None:
    """The right password of a visitor without a cookie is a 503 as well: there would be no session behind it."""
    web = create_app(CONFIG, outage.client).test_client()
    outage.begin()
    hurry(web.application)
    with takes(1):
        answer = sign_in(web)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "Set-Cookie" not in answer.headers
    assert "Location" not in answer.headers
    assert "Your cookie was not touched" in answer.text


def test_readiness_says_no_during_an_outage_and_yes_after_it(outage: Outage) -> None:
    """A 503 with Retry-After within a second, while live stays 200; and ready again by itself."""
    web = create_app(CONFIG, outage.client).test_client()
    assert web.get("/health/ready").status_code == 200
    outage.begin()
    hurry(web.application)
    with takes(1):
        answer = web.get("/health/ready")
    assert (answer.status_code, answer.json) == (503, {"redis": "unavailable"})
    assert answer.headers["Retry-After"]
    assert web.get("/health/live").status_code == 200
    outage.end()
    assert web.get("/health/ready").status_code == 200


def test_the_app_recovers_by_itself(outage: Outage, request: pytest.FixtureRequest) -> None:
    """After an outage the same session goes on, if Redis still has it, and new ones can be made."""
    web = create_app(CONFIG, outage.client).test_client()
    sign_in(web)
    outage.begin()
    assert web.get("/account").status_code == 503
    assert sign_out(web).status_code == 503
    outage.end()
    kept = "stopped" not in request.node.name  # the tests' server keeps nothing on disk
    assert web.get("/account").status_code == (200 if kept else 303)
    assert sign_in(web, "grace", "hopper").status_code == 303
    assert "<dd>grace</dd>" in web.get("/account").text
    assert sign_out(web).status_code == 303
    assert web.get("/account").status_code == 303
