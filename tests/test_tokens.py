"""Tokens for programs: what is accepted, what ends a family and what does not, and what happens without Redis."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import fakeredis
import jwt
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer, TimestampSigner, URLSafeSerializer
from support.apps import SECRET_KEY, interface_of
from support.clock import StillClock
from support.crash import crash_after
from support.faults.network import Proxy
from support.servers import RedisServer
from support.tiers import rounds
from support.turns import Turns, orders
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

import auth
from app import create_app
from redis_store import OwnerIndex, RedisStore, connect
from roles import throttle
from roles.tokens import ABSOLUTE_MAX_AGE, ACCESS_MAX_AGE, GRACE, IDLE_MAX_AGE, make_name, rotate

ROOT = Path(__file__).parent.parent
ACCESS_KEY = "only-for-access-tokens-" + "0123456789abcdef"
FAST = "pbkdf2:sha256:1"
CONFIG = {
    "TESTING": True,
    "SECRET_KEY": SECRET_KEY,
    "ACCESS_TOKEN_KEY": ACCESS_KEY,
    "ACCOUNTS": {
        "ada": generate_password_hash("lovelace", FAST),
        "grace": generate_password_hash("hopper", FAST),
    },
}
PATIENT = {**CONFIG, "SESSION_MAX_WAIT": 20}  # seconds, for a busy machine
STEP = rounds(7, 1)  # from one order to the next; 1: all of them
DAY = 24 * 60 * 60
REFUSED = {"error": "Invalid or expired refresh token"}


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def app(least: Any, clock: StillClock) -> Flask:
    return create_app(PATIENT, least, clock=clock)


def post(app: Flask, path: str, **body: Any) -> TestResponse:
    """A program's request: JSON, no cookie, no Origin."""
    return app.test_client().post(f"/api/{path}", json=body)


def log_in(app: Flask, username: str = "ada", password: str = "lovelace") -> tuple[str, str]:
    """The access and the refresh token of a new family."""
    answer = post(app, "login", username=username, password=password)
    assert answer.status_code == 200, answer.text
    return answer.json["accessToken"], answer.json["refreshToken"]  # type: ignore[index]


def refresh(app: Flask, token: Any) -> str | None:
    """The next refresh token; None: this one was refused."""
    answer = post(app, "refresh", refreshToken=token)
    if answer.status_code == 200:
        assert answer.json is not None
        return str(answer.json["refreshToken"])
    assert (answer.status_code, answer.json) == (403, REFUSED)
    return None


def log_out(app: Flask, token: Any) -> None:
    answer = post(app, "logout", refreshToken=token)
    assert (answer.status_code, answer.text) == (204, "")


def call(app: Flask, method: str, path: str, authorization: str | None) -> TestResponse:
    headers = {} if authorization is None else {"Authorization": authorization}
    return app.test_client().open(f"/api/{path}", method=method, headers=headers)


def protected(app: Flask, access: str) -> int:
    return call(app, "GET", "protected", f"Bearer {access}").status_code


def log_out_everywhere(app: Flask, access: str) -> None:
    assert call(app, "POST", "logout-everywhere", f"Bearer {access}").status_code == 204


def families(client: Any) -> set[str]:
    """The names of all that live."""
    return {key.decode().removeprefix("REFRESH:SESSION:") for key in client.keys("REFRESH:SESSION:*")}


def listed(client: Any, user: str = "ada") -> set[str]:
    return {name.decode() for name in client.zrange(f"OWNER:REFRESH:SESSION:{user}", 0, -1)}


def record_of(client: Any) -> dict[str, Any]:
    (name,) = families(client)
    record: dict[str, Any] = json.loads(client.get(f"REFRESH:SESSION:{name}"))
    return record


# What a program sees ------------------------------------------------------------------------------------------------


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


def test_another_service_can_check_an_access_token(app: Flask, clock: StillClock) -> None:
    """With the key, the audience, and any JWT library: who it is, for how long, and what it is for."""
    access, _ = log_in(app)
    claims = jwt.decode(access, ACCESS_KEY, algorithms=["HS256"], audience="api")
    assert {*claims} == {"sub", "aud", "typ", "iat", "exp"}
    assert (claims["sub"], claims["aud"], claims["typ"]) == ("ada", "api", "access")
    assert claims["iat"] == clock()
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


def assert_json(answer: TestResponse) -> None:
    assert answer.mimetype == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json is not None
    assert {*answer.json} == {"error"}


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


def test_a_bug_is_json_too(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_unknown_user_costs_as_much_as_a_wrong_password(app: Flask, monkeypatch: Any) -> None:
    """One hash, of the same method."""
    seen: list[str] = []
    monkeypatch.setattr(auth, "check_password_hash", lambda known, _: seen.append(known.split("$")[0]))
    for username in ("ada", "nobody"):
        post(app, "login", username=username, password="wrong")
    assert seen == [FAST, FAST]


# Browsers and programs ----------------------------------------------------------------------------------------------


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


# Rotation -----------------------------------------------------------------------------------------------------------


def test_a_retry_gets_the_same_token_to_the_letter(app: Flask, clock: StillClock) -> None:
    """As often as it likes, until the grace is over; and that token is good."""
    _, first = log_in(app)
    second = refresh(app, first)
    for _ in range(GRACE):
        clock.move(1)
        assert refresh(app, first) == second
    assert refresh(app, second) not in (first, second, None)


def test_a_replay_ends_the_family_and_is_logged(
    app: Flask, client: Any, clock: StillClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with the user and a handle; the token of the honest user is worth nothing from then on."""
    _, first = log_in(app)
    second = refresh(app, first)
    (name,) = families(client)
    clock.move(GRACE + 1)
    assert refresh(app, first) is None
    assert caplog.messages == [f"a refresh token of 'ada' was used again: family {name[:16]} ends"]
    assert families(client) == listed(client) == set()
    assert [refresh(app, token) for token in (first, second)] == [None, None]
    assert len(caplog.messages) == 1


def test_the_grace_is_for_the_last_token_only(app: Flask, client: Any) -> None:
    """One of two refreshes ago is a replay at once."""
    _, first = log_in(app)
    assert refresh(app, refresh(app, first))
    assert refresh(app, first) is None
    assert families(client) == set()


def test_a_retry_does_not_prolong_the_grace(app: Flask, clock: StillClock) -> None:
    """It counts from the refresh."""
    _, first = log_in(app)
    assert refresh(app, first)
    clock.move(GRACE)
    assert refresh(app, first)
    clock.move(1)
    assert refresh(app, first) is None


def test_two_devices_do_not_disturb_each_other(app: Flask, clock: StillClock) -> None:
    """Neither by a refresh, nor by a logout, nor by a replay."""
    (_, phone), (_, laptop), (_, stolen) = log_in(app), log_in(app), log_in(app)
    assert refresh(app, stolen)
    clock.move(GRACE + 1)
    assert refresh(app, stolen) is None
    log_out(app, laptop)
    assert refresh(app, laptop) is None
    assert refresh(app, phone)


@pytest.mark.parametrize("kind", ["fakeredis", "redis-server"])
def test_many_refreshes_of_one_token_at_once_give_one_successor(kind: str, request: Any) -> None:
    """64, as a program with as many threads does it; and nobody is taken for a thief."""
    if kind == "fakeredis":
        client = fakeredis.FakeRedis()
    else:
        client = request.getfixturevalue("server").connect(socket_timeout=10, timeout=10)  # s, for a busy machine
    app = create_app(PATIENT, client)
    _, token = log_in(app)
    barrier = threading.Barrier(64)

    def ask(_: int) -> str | None:
        barrier.wait()
        return refresh(app, token)

    with ThreadPoolExecutor(64) as pool:
        (successor,) = set(pool.map(ask, range(64)))
    assert successor
    assert record_of(client)["gen"] == 1
    assert refresh(app, successor)


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    """Between the app and the tests' redis-server."""
    proxy = Proxy(str(server.socket))
    yield proxy
    proxy.stop()


@contextmanager
def losing_the_swap(proxy: Proxy) -> Iterator[None]:
    """Redis does a compare-and-set, and its answer is lost."""
    swap = RedisStore.swap

    def lose(store: RedisStore, *args: Any, **options: Any) -> bool:
        proxy.lose = 1
        return swap(store, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RedisStore, "swap", lose)
        yield
    proxy.lose = 0


def test_a_lost_answer_costs_nothing(server: RedisServer, proxy: Proxy) -> None:
    """Redis did it, and the app cannot know: 503. The retry gets the token that the first try would have given."""
    app = create_app(CONFIG, connect(proxy.url))
    _, first = log_in(app)
    with losing_the_swap(proxy):
        assert_unavailable(post(app, "refresh", refreshToken=first))
    assert record_of(server.connect())["gen"] == 1, "it was done"
    second = refresh(app, first)
    assert second == sign(f"{first[:48]}.1")
    assert record_of(server.connect())["gen"] == 1, "and not once more"
    assert refresh(app, second)


def test_a_failover_that_lost_the_last_refresh_ends_nothing(app: Flask, client: Any) -> None:
    """Redis is one generation behind, and the honest user with the newer token goes on."""
    _, token = log_in(app)
    second = refresh(app, token)
    (name,) = families(client)
    before = client.get(f"REFRESH:SESSION:{name}")
    third = refresh(app, second)
    client.set(f"REFRESH:SESSION:{name}", before, ex=IDLE_MAX_AGE)
    fourth = refresh(app, third)
    assert len({second, third, fourth, None}) == 4
    assert record_of(client)["gen"] == 3
    assert refresh(app, fourth)


@given(st.integers(0, 50), st.integers(-3, 3), st.integers(-5, 15))
def test_rotation_by_itself(gen: int, offset: int, age: int) -> None:
    """What is newer or expected goes on, what was replaced just now is repeated, and all else ends it."""
    record = {"user": "ada", "gen": gen, "at": 1000, "born": 900, "more": [1]}
    generation = max(0, gen + offset)
    rotated = rotate(record, generation, 1000 + age)
    if generation >= gen:
        assert rotated == {**record, "gen": generation + 1, "at": 1000 + age}
    else:
        assert rotated == (record if generation == gen - 1 and age <= GRACE else {})
    assert record == {"user": "ada", "gen": gen, "at": 1000, "born": 900, "more": [1]}, "it is pure"


# The ends of a family -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_a_logout_ends_the_family_of_its_token(app: Flask, client: Any, generation: int) -> None:
    """Of whatever generation, since it is the device's all the same; the second time there is nothing left to do."""
    held = [log_in(app)[1]]
    for _ in range(2):
        held.append(refresh(app, held[-1]) or "")
    log_out(app, held[generation])
    assert families(client) == listed(client) == set()
    assert [refresh(app, token) for token in held] == [None] * 3
    log_out(app, held[generation])


def test_a_logout_everywhere_ends_all_families_of_the_user(app: Flask, client: Any) -> None:
    """On every device, and nobody else's."""
    _, other = log_in(app, "grace", "hopper")
    pairs = [log_in(app) for _ in range(3)]
    log_out_everywhere(app, pairs[0][0])
    assert [refresh(app, token) for _, token in pairs] == [None] * 3
    assert listed(client) == set()
    assert len(families(client)) == 1
    assert refresh(app, other)


def test_an_access_token_outlives_its_family(app: Flask) -> None:
    """For its 15 minutes: whoever checks it asks nobody."""
    access, token = log_in(app)
    log_out(app, token)
    log_out_everywhere(app, access)
    assert protected(app, access) == 200


def test_a_user_who_is_gone_cannot_refresh(app: Flask) -> None:
    """Nor is the token used up by that."""
    _, token = log_in(app)
    accounts = app.config["ACCOUNTS"]
    app.config["ACCOUNTS"] = {"grace": accounts["grace"]}
    assert refresh(app, token) is None
    app.config["ACCOUNTS"] = accounts
    assert refresh(app, token)


def test_a_family_ends_when_it_is_idle(app: Flask, client: Any) -> None:
    """Each refresh begins the seven days anew."""
    _, token = log_in(app)
    for _ in range(2):
        (name,) = families(client)
        assert IDLE_MAX_AGE - 5 <= client.ttl(f"REFRESH:SESSION:{name}") <= IDLE_MAX_AGE
        client.expire(f"REFRESH:SESSION:{name}", 100)
        token = refresh(app, token) or ""
    client.delete(f"REFRESH:SESSION:{name}")  # as Redis does then
    assert refresh(app, token) is None


def test_a_family_ends_thirty_days_after_its_login(
    app: Flask, client: Any, clock: StillClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is refreshed: no EX goes beyond, and a record that is there all the same is not accepted."""
    _, token = log_in(app)
    (name,) = families(client)
    for day in range(5, 30, 5):
        clock.move(5 * DAY)
        token = refresh(app, token) or ""
        assert client.ttl(f"REFRESH:SESSION:{name}") <= min(7, 30 - day) * DAY
    clock.move(5 * DAY - 1)
    token = refresh(app, token) or ""
    assert client.ttl(f"REFRESH:SESSION:{name}") == 1
    client.persist(f"REFRESH:SESSION:{name}")
    clock.move(1)
    assert refresh(app, token) is None
    assert caplog.messages == []


def test_a_family_is_listed_for_as_long_as_it_can_live(app: Flask, client: Any, clock: StillClock) -> None:
    """By its login alone: on its last day, and after logins on others, it still ends with all of them."""
    access, token = log_in(app)
    for _ in range(5):
        clock.move(5 * DAY)
        token = refresh(app, token) or ""
    assert client.ttl("OWNER:REFRESH:SESSION:ada") >= ABSOLUTE_MAX_AGE
    clock.move(5 * DAY - 1)
    token = refresh(app, token) or ""
    log_in(app)
    assert len(listed(client)) == 2
    log_out_everywhere(app, access)
    assert families(client) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"user": 5},
        {"user": ["ada"]},
        {"user": None},
        {"gen": "0"},
        {"gen": None},
        {"gen": 0.5},
        {"gen": True},
        {"at": "now"},
        {"born": "now"},
        {"born": True},
        {"born": -1e300},
    ],
)
def test_a_record_that_is_not_ours_is_refused_and_stays(
    app: Flask, client: Any, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It may be evidence; and it is no replay."""
    _, token = log_in(app)
    (name,) = families(client)
    junk = json.dumps(record_of(client) | change).encode()
    client.set(f"REFRESH:SESSION:{name}", junk)
    assert refresh(app, token) is None
    assert client.get(f"REFRESH:SESSION:{name}") == junk
    assert caplog.messages == []
    log_out(app, token)


@pytest.mark.parametrize("junk", [b"", b"{", b"[1]", b"{}", b"\xff", b"[" * 200])
def test_a_malformed_record_is_nothing_special(app: Flask, client: Any, junk: bytes) -> None:
    """403, and the logout ends it."""
    _, token = log_in(app)
    (name,) = families(client)
    client.set(f"REFRESH:SESSION:{name}", junk)
    assert refresh(app, token) is None
    log_out(app, token)
    assert families(client) == set()


# Where two meet -----------------------------------------------------------------------------------------------------


@pytest.fixture
def turns(client: Any) -> Turns:
    return Turns(client)


@pytest.fixture
def meeting(turns: Turns, clock: StillClock) -> Flask:
    app = create_app(PATIENT, turns, clock=clock)
    app.extensions["auth_check"] = auth.fits  # not throttled
    return app


def test_a_login_and_a_logout_everywhere_in_any_order(meeting: Flask, client: Any, turns: Turns) -> None:
    """The login is answered 503 and has ended, or it was the later one, and is good; what was before has ended."""
    later = 0
    for order in orders(3, 4):
        client.flushall()
        access, token = log_in(meeting)
        answers: list[TestResponse] = []
        turns.run(
            order,
            a=lambda: answers.append(post(meeting, "login", username="ada", password="lovelace")),  # noqa: B023
            b=lambda: log_out_everywhere(meeting, access),  # noqa: B023
        )
        assert refresh(meeting, token) is None, order
        assert families(client) <= listed(client), order
        later += len(families(client))
        if answers[0].status_code == 503:
            assert_json(answers[0])
            assert families(client) == set(), order
        else:
            assert answers[0].json is not None
            log_out_everywhere(meeting, access)
            assert refresh(meeting, answers[0].json["refreshToken"]) is None, order
    assert later, "in some order the login is the later one"


def test_a_login_that_did_not_look_again_would_lose_the_race(
    meeting: Flask, client: Any, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orders above include one in which a login slips through a logout."""
    monkeypatch.setattr(OwnerIndex, "lists", lambda *_: True)
    for order in orders(3, 4):
        client.flushall()
        access, _ = log_in(meeting)
        turns.run(order, a=lambda: log_in(meeting), b=lambda: log_out_everywhere(meeting, access))  # noqa: B023
        if not families(client) <= listed(client):
            return
    pytest.fail("no order lost")


@pytest.mark.parametrize("way", ["logout", "everywhere", "replay"])
def test_a_refresh_brings_no_family_back(
    meeting: Flask, client: Any, turns: Turns, way: str, clock: StillClock
) -> None:
    """In any order of its commands with those of what ends the family."""
    for order in orders(4, 4, STEP):
        client.flushall()
        access, first = log_in(meeting)
        token = refresh(meeting, refresh(meeting, first))
        ends: dict[str, Callable[[], object]] = {
            "logout": partial(log_out, meeting, token),
            "everywhere": partial(log_out_everywhere, meeting, access),
            "replay": partial(refresh, meeting, first),
        }
        got: list[str | None] = []
        turns.run(order, a=lambda: got.append(refresh(meeting, token)), b=ends[way])  # noqa: B023
        assert families(client) == listed(client) == set(), order
        assert refresh(meeting, got[0] or token) is None, order


def test_two_refreshes_in_any_order_give_one_successor(meeting: Flask, client: Any, turns: Turns) -> None:
    """Whoever loses the compare-and-set looks again, and repeats what the other one got."""
    for order in orders(4, 4, STEP):
        client.flushall()
        _, token = log_in(meeting)
        got: list[str | None] = []
        work = partial(lambda got, token: got.append(refresh(meeting, token)), got, token)
        turns.run(order, a=work, b=work)
        assert len(got) == 2
        assert got[0] == got[1] != token, order
        assert got[0], order


def test_a_refresh_lists_a_family_again(app: Flask, client: Any) -> None:
    """When Redis lost the list: a logout everywhere ends it all the same."""
    access, token = log_in(app)
    client.delete("OWNER:REFRESH:SESSION:ada")
    token = refresh(app, token) or ""
    log_out_everywhere(app, access)
    assert refresh(app, token) is None


def test_a_replay_whose_answer_is_lost_is_logged(
    server: RedisServer, proxy: Proxy, clock: StillClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The family is gone then, and a retry is refused like any other token; so it has to be said before."""
    app = create_app(CONFIG, connect(proxy.url), clock=clock)
    _, first = log_in(app)
    refresh(app, first)
    clock.move(GRACE + 1)
    with losing_the_swap(proxy):
        assert_unavailable(post(app, "refresh", refreshToken=first))
    assert families(server.connect()) == set()
    assert refresh(app, first) is None
    assert len([m for m in caplog.messages if "was used again" in m]) == 1


def test_a_lost_list_makes_no_family_that_nobody_can_end(app: Flask, client: Any, monkeypatch: Any) -> None:
    """Evicted in the middle of a login, say: 503, and there is none."""
    lists = OwnerIndex.lists

    def lose(index: OwnerIndex, *args: Any) -> bool:
        client.delete("OWNER:REFRESH:SESSION:ada")
        return lists(index, *args)

    monkeypatch.setattr(OwnerIndex, "lists", lose)
    assert_unavailable(post(app, "login", username="ada", password="lovelace"))
    assert families(client) == set()


@pytest.mark.parametrize("alive", range(4))
def test_a_crash_in_a_login_leaves_no_family_that_is_not_listed(app: Flask, client: Any, alive: int) -> None:
    """After each number of its three commands: what is there, a logout everywhere ends."""
    app.extensions["auth_check"] = auth.fits  # not throttled
    with crash_after(alive):
        log_in(app)
    assert families(client) <= listed(client)
    assert len(families(client)) == (alive >= 2)


# What is no token ---------------------------------------------------------------------------------------------------

RSA_PUBLIC = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""


def encode(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: Any, claims: Any, key: bytes | str, digest: str = "sha256") -> str:
    """A JWT by hand: whatever a library would refuse to make."""
    text = f"{encode(header)}.{encode(claims)}"
    raw = key if isinstance(key, bytes) else key.encode()
    return f"{text}.{encode(hmac.digest(raw, text.encode(), digest))}"


def good_claims() -> dict[str, Any]:
    now = int(time.time())
    return {"sub": "ada", "aud": "api", "typ": "access", "iat": now, "exp": now + 100}


HS256 = {"alg": "HS256", "typ": "JWT"}
CONFUSED: dict[str, Callable[[], str]] = {
    "none": lambda: f"{encode({'alg': 'none'})}.{encode(good_claims())}.",
    "None": lambda: f"{encode({'alg': 'None'})}.{encode(good_claims())}.",
    "no algorithm": lambda: forge({"typ": "JWT"}, good_claims(), ACCESS_KEY),
    "algorithm null": lambda: forge({"alg": None}, good_claims(), ACCESS_KEY),
    "algorithm in a list": lambda: forge({"alg": ["HS256"]}, good_claims(), ACCESS_KEY),
    "none with a good signature": lambda: forge({"alg": "none"}, good_claims(), ACCESS_KEY),
    "HS256 without a signature": lambda: forge(HS256, good_claims(), ACCESS_KEY).rpartition(".")[0] + ".",
    "HS384 with the right key": lambda: forge({"alg": "HS384"}, good_claims(), ACCESS_KEY, "sha384"),
    "HS512 with the right key": lambda: forge({"alg": "HS512"}, good_claims(), ACCESS_KEY, "sha512"),
    "hs256": lambda: forge({"alg": "hs256"}, good_claims(), ACCESS_KEY),
    "RS256 with the right key": lambda: forge({"alg": "RS256"}, good_claims(), ACCESS_KEY),
    "RS256 with a public key": lambda: forge({"alg": "RS256"}, good_claims(), RSA_PUBLIC),
    "ES256 with nothing": lambda: forge({"alg": "ES256"}, good_claims(), b"")[:-43],
    "HS256 with a public key": lambda: forge(HS256, good_claims(), RSA_PUBLIC),
    "HS256 with an empty key": lambda: forge(HS256, good_claims(), b""),
    "HS256 with the SECRET_KEY": lambda: forge(HS256, good_claims(), SECRET_KEY),
    "a key in the header": lambda: forge(
        {"alg": "HS256", "jwk": {"kty": "oct", "k": encode(b"k" * 32)}}, good_claims(), "k" * 32
    ),
    "a kid that is a path": lambda: forge({"alg": "HS256", "kid": "/dev/null"}, good_claims(), b""),
    "a header that must be understood": lambda: forge({"alg": "HS256", "crit": ["x"]}, good_claims(), "k" * 32),
    "a header nested deep": lambda: forge(b"[" * 3000, good_claims(), ACCESS_KEY),
    "expired": lambda: forge(HS256, good_claims() | {"exp": int(time.time()) - 1}, ACCESS_KEY),
    "not yet": lambda: forge(HS256, good_claims() | {"nbf": int(time.time()) + 100}, ACCESS_KEY),
    "another audience": lambda: forge(HS256, good_claims() | {"aud": "other"}, ACCESS_KEY),
    "another type": lambda: forge(HS256, good_claims() | {"typ": "refresh"}, ACCESS_KEY),
    "type in a list": lambda: forge(HS256, good_claims() | {"typ": ["access"]}, ACCESS_KEY),
    "a number for a user": lambda: forge(HS256, good_claims() | {"sub": 5}, ACCESS_KEY),
    "exp that is no time": lambda: forge(HS256, good_claims() | {"exp": "later"}, ACCESS_KEY),
    "exp that is infinite": lambda: forge(HS256, good_claims() | {"exp": float("inf")}, ACCESS_KEY),
    "claims in a list": lambda: forge(HS256, [good_claims()], ACCESS_KEY),
    "changed": lambda: forge(HS256, good_claims(), ACCESS_KEY).replace(
        encode(good_claims()), encode(good_claims() | {"sub": "grace"})
    ),
    **{
        f"without {name}": partial(
            lambda name: forge(HS256, {key: value for key, value in good_claims().items() if key != name}, ACCESS_KEY),
            name,
        )
        for name in good_claims()
    },
    "two parts": lambda: "a.b",
    "not ASCII": lambda: "\xe9.\xe9.\xe9",
    "words": lambda: "some words",
}


def test_a_token_by_hand_is_as_good_as_one_of_the_library(app: Flask) -> None:
    """Or the ones below would be refused for another reason."""
    assert protected(app, forge(HS256, good_claims(), ACCESS_KEY)) == 200
    ahead = good_claims() | {"iat": int(time.time()) + 30}
    assert protected(app, forge(HS256, ahead, ACCESS_KEY)) == 200, "from a host whose clock is ahead"


@pytest.mark.parametrize("kind", CONFUSED)
def test_what_is_no_access_token_is_refused(kind: str) -> None:
    """403, with one message for all, and a challenge that says that the token is to blame; Redis is not needed."""
    app = create_app(CONFIG, away())
    for method, path in (("GET", "protected"), ("POST", "logout-everywhere")):
        answer = call(app, method, path, f"Bearer {CONFUSED[kind]()}")
        assert (answer.status_code, answer.json) == (403, {"error": "Invalid or expired access token"})
        assert_json(answer)


def test_a_refresh_token_opens_nothing_but_a_refresh(app: Flask) -> None:
    """And an access token no refresh."""
    access, token = log_in(app)
    assert protected(app, token) == 403
    assert refresh(app, access) is None
    assert refresh(app, token)


def test_an_access_token_expires_after_fifteen_minutes(app: Flask, clock: StillClock) -> None:
    """Made as long ago as that, it is refused."""
    clock.move(-ACCESS_MAX_AGE - 1)
    old, _ = log_in(app)
    clock.move(60)
    new, _ = log_in(app)
    assert (protected(app, old), protected(app, new)) == (403, 200)


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00")))
def test_no_authorization_header_is_a_server_error(header: str) -> None:
    """Whatever is in it."""
    app = create_app(CONFIG, away())
    for authorization in (header, f"Bearer {header}", f"Bearer {encode(header.encode())}.{encode(b'{}')}.x"):
        assert call(app, "GET", "protected", authorization).status_code in (401, 403)


def away() -> Any:
    """A client that reaches no Redis: an answer that is no 503 was made without asking it."""
    server = fakeredis.FakeServer()
    server.connected = False
    return fakeredis.FakeRedis(server=server)


FAMILY = "0123456789abcdef" * 3


def sign(text: str, key: str = SECRET_KEY, salt: str = "refresh token", **options: Any) -> str:
    settings: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256} | options
    return Signer(key, salt=salt, **settings).sign(text).decode()


FORGED: dict[str, Any] = {
    "another key": sign(f"{FAMILY}.0", "k" * 32),
    "an empty key": sign(f"{FAMILY}.0", ""),
    "the access tokens' key": sign(f"{FAMILY}.0", ACCESS_KEY),
    "the salt of the session": sign(f"{FAMILY}.0", salt="redis-session"),
    "the salt of the counters": sign(f"{FAMILY}.0", salt="throttle"),
    "the default salt": sign(f"{FAMILY}.0", salt="itsdangerous.Signer"),
    "another derivation": sign(f"{FAMILY}.0", key_derivation="django-concat"),
    "another generation": sign(f"{FAMILY}.0").replace(".0.", ".1."),
    "no signature": f"{FAMILY}.0",
    "an empty signature": f"{FAMILY}.0.",
    "no generation": sign(FAMILY),
    "a negative generation": sign(f"{FAMILY}.-1"),
    "a large generation": sign(f"{FAMILY}.{10**9}"),
    "foreign digits": sign(f"{FAMILY}.\u0661"),
    "another family": sign("family.0"),
    "junk in the signature": sign(f"{FAMILY}.0") + "!!!!",
    "a line more": sign(f"{FAMILY}.0") + "\n",
    "a session cookie": TimestampSigner(
        SECRET_KEY, salt="redis-session", key_derivation="hmac", digest_method=hashlib.sha256
    )
    .sign(f"{FAMILY}.p")
    .decode(),
    "of a serializer": URLSafeSerializer(SECRET_KEY, salt="refresh token").dumps([FAMILY, 0]),
    "long": "a" * 10_000,
    "words": "some words \ud800",
    "a number": 5,
    "a list": [sign(f"{FAMILY}.0")],
    "an object": {"refreshToken": sign(f"{FAMILY}.0")},
    "true": True,
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_tokens_revoke_nobody(kind: str) -> None:
    """They do not even reach Redis: refused with the message for all, and nothing to log out."""
    app = create_app(CONFIG, away())
    assert refresh(app, FORGED[kind]) is None
    log_out(app, FORGED[kind])


def test_a_token_that_was_not_given_out_is_refused(app: Flask, client: Any) -> None:
    """Rightly signed, of a family that is not there."""
    assert refresh(app, sign(f"{FAMILY}.0")) is None
    assert families(client) == set()


def test_refresh_tokens_outlive_a_change_of_the_secret_key(client: Any) -> None:
    """As session cookies do, as long as the old key is a fallback; the next one is signed with the new key."""
    token: str | None = log_in(create_app(CONFIG, client))[1]
    new = CONFIG | {"SECRET_KEY": "another-key-of-thirty-two-bytes!"}
    assert refresh(create_app(new, client), token) is None
    token = refresh(create_app(new | {"SECRET_KEY_FALLBACKS": [SECRET_KEY]}, client), token)
    assert token
    assert refresh(create_app(new, client), token)


def test_a_dump_of_redis_is_worth_nothing(app: Flask, client: Any) -> None:
    """No token is in it, nor what one is signed from; and the record's name signed by nobody opens nothing."""
    access, first = log_in(app)
    held = [access, first, refresh(app, first) or ""]
    dump = b"".join(key + (client.get(key) or b"") for key in client.keys("REFRESH:SESSION:*"))
    dump += b"".join(client.zrange("OWNER:REFRESH:SESSION:ada", 0, -1))
    assert b"ada" in dump
    for token in held:
        for part in token.split("."):
            assert len(part) < 2 or part.encode() not in dump
    (name,) = families(client)
    assert name == hashlib.sha256(first[:48].encode()).hexdigest()
    assert record_of(client).keys() == {"user", "gen", "at", "born"}


# Redis away ---------------------------------------------------------------------------------------------------------


def assert_unavailable(answer: TestResponse) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert_json(answer)


class Fault(NamedTuple):
    kind: str
    client: Any
    begin: Callable[[], object]
    end: Callable[[], object]


@pytest.fixture(params=["fakeredis", "stopped", "frozen", "full", "few replicas"])
def fault(request: pytest.FixtureRequest) -> Fault:
    """A Redis that will refuse, not answer, or take no more."""
    kind = request.param
    if kind == "fakeredis":
        fake = fakeredis.FakeServer()
        set_connected = partial(setattr, fake, "connected")
        return Fault(
            kind, fakeredis.FakeRedis(server=fake), partial(set_connected, False), partial(set_connected, True)
        )
    server = request.getfixturevalue("make_server")()
    client = server.connect()
    ways = {"stopped": (server.stop, server.start), "frozen": (server.freeze, server.thaw)}
    for name, option in (("full", "maxmemory"), ("few replicas", "min-replicas-to-write")):
        ways[name] = partial(client.config_set, option, 1), partial(client.config_set, option, 0)
    return Fault(kind, client, *ways[kind])


def test_an_outage_is_a_503_and_never_a_refusal(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    """Within a second; what needs no Redis works. No token is in the log, and none is used up."""
    app = create_app(CONFIG, fault.client)
    (access, token), (_, other) = log_in(app), log_in(app)
    fault.begin()
    asked = {
        "login": partial(post, app, "login", username="ada", password="lovelace"),
        "wrong": partial(post, app, "login", username="ada", password="wrong"),
        "refresh": partial(post, app, "refresh", refreshToken=token),
        "unknown": partial(post, app, "refresh", refreshToken=sign(f"{FAMILY}.0")),
        "everywhere": partial(call, app, "POST", "logout-everywhere", f"Bearer {access}"),
        "logout": partial(post, app, "logout", refreshToken=other),
    }
    reads = fault.kind in ("full", "few replicas")
    # Redis says that there is no such family; and a full one still deletes.
    other_answers = {"unknown": 403 if reads else 503, "logout": 204 if fault.kind == "full" else 503}
    for name, ask in asked.items():
        start = time.monotonic()
        answer = ask()
        assert time.monotonic() - start < 1.3
        if (expected := other_answers.get(name, 503)) == 503:
            assert_unavailable(answer)
        assert answer.status_code == expected, name
    assert (protected(app, access), protected(app, token)) == (200, 403)
    assert refresh(app, FORGED["another key"]) is None
    for text in (token, token[:48], access, make_name(token[:48])):
        assert text not in caplog.text
    fault.end()
    interface_of(app).store.sender.breaker.timeouts = 0
    if fault.kind != "stopped":  # which forgot everything
        assert refresh(app, token)


@pytest.mark.parametrize("path", ["login", "refresh", "logout", "logout-everywhere"])
def test_a_request_waits_no_longer_than_it_may(proxy: Proxy, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """In all its commands: after a first answer that takes 0.2 s of 0.3, nothing is left for the second one."""
    app = create_app(CONFIG, connect(proxy.url))
    app.extensions["auth_check"] = auth.fits  # not throttled
    access, token = log_in(app)
    app.config["SESSION_MAX_WAIT"], proxy.delay = 0.3, 0.2
    headers, body = {"Authorization": f"Bearer {access}"}, {"username": "ada", "password": "lovelace"}
    answer = app.test_client().post(f"/api/{path}", headers=headers, json={**body, "refreshToken": token})
    if path == "logout":  # the family ended with the first answer; the second command would only have tidied the list
        assert answer.status_code == 204
        assert caplog.messages == ["ZREM was not sent: Redis keeps this request waiting (it is slow)"]
    else:
        assert_unavailable(answer)


# Settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "",
        "short",
        "k" * 31,
        5,
        True,
        b"k" * 32,
        ["k" * 32],
        SECRET_KEY,
        "an-old-key-of-at-least-32-bytes!",
        "b" * 32,
        "\ud800" * 32,
        RSA_PUBLIC,
        "ssh-rsa " + "A" * 40,
        json.dumps({"kty": "oct", "k": "k" * 43}),
    ],
)
def test_a_wrong_key_stops_the_start_and_is_not_shown(key: Any) -> None:
    """Too short, no string, or one that signs other things already; with the command that makes a good one."""
    config = CONFIG | {"SECRET_KEY_FALLBACKS": ["an-old-key-of-at-least-32-bytes!", b"b" * 32], "ACCESS_TOKEN_KEY": key}
    with pytest.raises(
        ValueError, match=r"^ACCESS_TOKEN_KEY \(not shown\) .*print\(secrets.token_hex\(32\)\)'$"
    ) as caught:
        create_app(config, fakeredis.FakeRedis())
    assert not isinstance(key, str) or len(key) < 6 or key not in str(caught.value)


@pytest.mark.parametrize("audience", ["", None, 5, ["api"]])
def test_a_wrong_audience_stops_the_start(audience: Any) -> None:
    """It is a string."""
    with pytest.raises(ValueError, match=f"^ACCESS_TOKEN_AUDIENCE is {re.escape(repr(audience))}; expected"):
        create_app(CONFIG | {"ACCESS_TOKEN_AUDIENCE": audience}, fakeredis.FakeRedis())


def test_tokens_of_one_audience_are_none_of_another() -> None:
    """Though the key is the same."""
    ours, theirs = (
        create_app(CONFIG | {"ACCESS_TOKEN_AUDIENCE": name}, fakeredis.FakeRedis()) for name in ("ours", "theirs")
    )
    access, _ = log_in(ours)
    assert (protected(ours, access), protected(theirs, access)) == (200, 403)


def test_without_a_key_there_is_no_api() -> None:
    """And the app says so to whoever asks which roles it has."""
    off = create_app({key: value for key, value in CONFIG.items() if key != "ACCESS_TOKEN_KEY"}, fakeredis.FakeRedis())
    on = create_app(CONFIG, fakeredis.FakeRedis())
    assert post(off, "login", username="ada", password="lovelace").status_code == 404
    assert "tokens" not in off.blueprints
    assert "tokens" in on.blueprints


def test_the_embedded_app_needs_no_key() -> None:
    """It makes one, another each time."""
    first, second = (create_app({"TESTING": True}) for _ in range(2))
    assert protected(first, log_in(first)[0]) == 200
    assert protected(second, log_in(first)[0]) == 403


def test_the_key_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every setting of Flask's."""
    monkeypatch.setenv("FLASK_ACCESS_TOKEN_KEY", ACCESS_KEY)
    monkeypatch.setenv("FLASK_ACCESS_TOKEN_AUDIENCE", "ours")
    app = create_app({"TESTING": True})
    assert jwt.decode(log_in(app)[0], ACCESS_KEY, algorithms=["HS256"], audience="ours")["sub"] == "ada"
