"""Tokens for programs: what a program sees, and what it has to do with browsers."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from flask import Flask
from support.clock import StillClock
from support.demo import FAST
from support.roles.tokens import (
    ACCESS_KEY,
    CONFIG,
    PATIENT,
    assert_json,
    call,
    families,
    log_in,
    log_out_everywhere,
    post,
    refresh,
)

import auth
from app import create_app
from roles.tokens import ACCESS_MAX_AGE


@pytest.fixture
def app(least: Any, still_clock: StillClock) -> Flask:
    return create_app(PATIENT, least, clock=still_clock)


def test_a_login_gives_a_pair_and_each_refresh_another(app: Flask) -> None:
    """With how long the access token is good for; and both are new each time."""
    answer = post(app, "login", username="ada", password="lovelace")
    assert answer.status_code == 200
    assert answer.json is not None
    assert {*answer.json} == {"accessToken", "refreshToken", "expiresIn"}
    assert answer.json["expiresIn"] == 900
    first = answer.json["refreshToken"]
    second = refresh(app, first)
    third = refresh(app, second)
    assert len({first, second, third, None}) == 4
    assert call(app, "GET", "protected", f"Bearer {answer.json['accessToken']}").json == {"user": "ada"}


def test_another_service_can_check_an_access_token(app: Flask, still_clock: StillClock) -> None:
    """With the key, the audience, and any JWT library: who it is, for how long, and what it is for."""
    access, _ = log_in(app)
    claims = jwt.decode(access, ACCESS_KEY, algorithms=["HS256"], audience="api")
    assert {*claims} == {"sub", "aud", "typ", "iat", "exp"}
    assert (claims["sub"], claims["aud"], claims["typ"]) == ("ada", "api", "access")
    assert claims["iat"] == still_clock()
    assert claims["exp"] == claims["iat"] + ACCESS_MAX_AGE


def test_a_refresh_gives_an_access_token_of_the_same_user(app: Flask) -> None:
    """Whoever else is signed in."""
    log_in(app)
    _, token = log_in(app, "grace", "hopper")
    for _ in range(2):  # the second time it is a retry
        answer = post(app, "refresh", refreshToken=token)
        assert answer.json is not None
        assert answer.json["expiresIn"] == 900
        assert call(app, "GET", "protected", f"Bearer {answer.json['accessToken']}").json == {"user": "grace"}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_has_no_case(app: Flask, scheme: str) -> None:
    """RFC 9110, 11.1."""
    assert call(app, "GET", "protected", f"{scheme} {log_in(app)[0]}").json == {"user": "ada"}


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic YWRhOmxvdmVsYWNl", "Token {}", "{}"])
@pytest.mark.parametrize(("method", "path"), [("GET", "protected"), ("POST", "logout-everywhere")])
def test_a_request_without_a_bearer_token_is_told_what_is_missing(
    app: Flask, client: Any, method: str, path: str, authorization: str | None
) -> None:
    """401, and a challenge; a good token under another scheme is none."""
    access, _ = log_in(app)
    answer = call(app, method, path, authorization and authorization.format(access))
    assert (answer.status_code, answer.headers.get("WWW-Authenticate")) == (401, "Bearer")
    assert len(families(client)) == 1


@pytest.mark.parametrize(
    ("username", "password", "status"),
    [
        ("ada", "wrong", 401),
        ("nobody", "lovelace", 401),
        ("", "", 401),
        (None, "lovelace", 400),
        (5, "lovelace", 400),
        ("ada", ["lovelace"], 400),
        ("ada", {}, 400),
        ("a" * (auth.MAX_INPUT + 1), "lovelace", 400),
        ("ada", "l" * (auth.MAX_INPUT + 1), 400),
        ("\ud800", "lovelace", 400),
        ("ada", "\udfff", 400),
        ("ada\n", "lovelace", 401),
    ],
)
def test_a_login_that_fails_says_why(app: Flask, client: Any, username: Any, password: Any, status: int) -> None:
    """Not more than a stranger may know; and it leaves no family."""
    answer = post(app, "login", username=username, password=password)
    assert answer.status_code == status
    assert families(client) == set()
    if status == 401:
        assert answer.json == {"error": "Wrong user name or password"}


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b'{"n":' + b"1" * 5000 + b"}", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"username=ada&password=lovelace", "application/x-www-form-urlencoded", 415),
        (b"{" + b" " * 20_000 + b"}", "application/json", 413),
    ],
)
@pytest.mark.parametrize("path", ["login", "refresh", "logout"])
def test_a_body_that_is_no_json_object_is_refused(
    app: Flask, path: str, data: bytes, content_type: str, status: int
) -> None:
    """With the status that says what is wrong with it."""
    answer = app.test_client().post(f"/api/{path}", data=data, content_type=content_type)
    assert answer.status_code == status
    assert_json(answer)


@pytest.mark.parametrize("path", ["refresh", "logout"])
@pytest.mark.parametrize(
    "options", [{}, {"json": {}}, {"json": {"refreshToken": None}}, {"json": {"refreshToken": ""}}]
)
def test_a_refresh_token_that_was_forgotten_is_asked_for(app: Flask, path: str, options: Any) -> None:
    """Also by the logout: nothing has ended."""
    answer = app.test_client().post(f"/api/{path}", **options)
    assert (answer.status_code, answer.json) == (401, {"error": "Refresh token required"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "login", 400),
        ("POST", "refresh", 401),
        ("GET", "protected", 401),
        ("GET", "login", 405),
        ("POST", "protected", 405),
        ("GET", "missing", 404),
        ("POST", "", 404),
    ],
)
def test_every_error_is_json(app: Flask, method: str, path: str, status: int) -> None:
    """Those of paths that are not there too; and nobody keeps a copy."""
    answer = app.test_client().open(f"/api/{path}", method=method)
    assert answer.status_code == status
    assert_json(answer)
    assert ("Allow" in answer.headers) == (status == 405)


def test_errors_elsewhere_are_pages(app: Flask) -> None:
    """As without the role."""
    for path in ("/missing", "/apis", "/logout"):
        assert app.test_client().get(path).mimetype == "text/html"
    assert app.test_client().post("/api//login").status_code == 308


def test_an_error_that_nobody_expected_is_json_too(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """500, and nothing of what happened."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setattr(auth, "check_password_hash", lambda *_: 1 / 0)
    answer = post(app, "login", username="ada", password="lovelace")
    assert answer.status_code == 500
    assert_json(answer)
    assert "division" not in answer.text


def test_good_answers_are_kept_by_nobody(app: Flask) -> None:
    """They hold tokens."""
    access, token = log_in(app)
    for answer in (
        post(app, "login", username="ada", password="lovelace"),
        post(app, "refresh", refreshToken=token),
        call(app, "GET", "protected", f"Bearer {access}"),
        post(app, "logout", refreshToken=token),
        call(app, "POST", "logout-everywhere", f"Bearer {access}"),
    ):
        assert answer.status_code in (200, 204)
        assert answer.headers["Cache-Control"] == "no-store"


def test_an_unknown_user_costs_as_much_as_a_wrong_password(app: Flask, monkeypatch: Any) -> None:
    """One hash, of the same method."""
    seen: list[str] = []
    monkeypatch.setattr(auth, "check_password_hash", lambda known, _: seen.append(known.split("$")[0]))
    for username in ("ada", "nobody"):
        post(app, "login", username=username, password="wrong")
    assert seen == [FAST, FAST]


class Spy:
    """A client that notes its commands."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.commands: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def execute_command(self, *command: Any, **options: Any) -> Any:
        self.commands.append(repr(command))
        return self._client.execute_command(*command, **options)


def test_a_program_makes_and_reads_no_session(client: Any) -> None:
    """No cookie, no record; and one that a browser brings along is neither looked at nor refreshed."""
    app = create_app({**CONFIG, "SESSION_REFRESH_AFTER": 0}, spy := Spy(client))
    access, token = log_in(app)
    assert client.keys("SESSION:*") == []
    web, ours = app.test_client(), {"Origin": "http://localhost", "Authorization": f"Bearer {access}"}
    assert web.post("/login", data={"username": "ada", "password": "lovelace"}, headers=ours).status_code == 303
    spy.commands.clear()
    for path in ("login", "refresh", "logout", "logout-everywhere"):
        body = {"username": "ada", "password": "lovelace", "refreshToken": token}
        answer = web.post(f"/api/{path}", json=body, headers=ours)
        assert answer.status_code in (200, 204)
        assert "Set-Cookie" not in answer.headers
    assert web.get("/api/protected", headers=ours).status_code == 200
    assert len(spy.commands) > 10
    assert not [command for command in spy.commands if "'SESSION:" in command]


def test_browsers_and_programs_sign_out_each_by_themselves(app: Flask, client: Any) -> None:
    """Neither logout, nor one of everywhere, is about the other kind."""
    web, ours = app.test_client(), {"Origin": "http://localhost"}
    access, token = log_in(app)
    assert web.post("/login", data={"username": "ada", "password": "lovelace"}, headers=ours).status_code == 303
    log_out_everywhere(app, access)
    assert refresh(app, token) is None
    assert web.get("/account").status_code == 200
    _, token = log_in(app)
    assert web.post("/sessions/end-others", headers=ours).status_code == 303
    assert web.post("/logout", headers=ours).status_code == 303
    assert client.keys("SESSION:*") == []
    assert refresh(app, token)


def test_a_page_of_another_site_cannot_use_it_with_a_browsers_cookies(app: Flask) -> None:
    """The gate is that of every request, and answers in JSON."""
    web = app.test_client()
    web.set_cookie("session", "some")
    answer = web.post("/api/login", json={"username": "ada", "password": "lovelace"})
    assert answer.status_code == 403
    assert_json(answer)
