"""Tokens: what a program asks for, and what Redis has of it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fakeredis
import pytest
from flask import Flask
from itsdangerous import Signer
from werkzeug.test import TestResponse

import auth
from app import create_app
from redis_store import RedisStore
from support import demo
from support.apps import SECRET_KEY
from support.clock import StillClock
from support.faults.network import Proxy
from support.servers import RedisServer
from support.turns import Turns

ACCESS_KEY = "only-for-access-tokens-" + "0123456789abcdef"
CONFIG = {**demo.CONFIG, "ACCESS_TOKEN_KEY": ACCESS_KEY}
PATIENT = {**CONFIG, "SESSION_MAX_WAIT": 20}  # seconds, for a busy machine
DAY = 24 * 60 * 60
REFUSED = {"error": "Invalid or expired refresh token"}


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


def assert_json(answer: TestResponse) -> None:
    assert answer.mimetype == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json is not None
    assert {*answer.json} == {"error"}


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


RSA_PUBLIC = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""


def encode(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def away() -> Any:
    """A client that reaches no Redis: an answer that is no 503 was made without asking it."""
    server = fakeredis.FakeServer()
    server.connected = False
    return fakeredis.FakeRedis(server=server)


FAMILY = "0123456789abcdef" * 3


def sign(text: str, key: str = SECRET_KEY, salt: str = "refresh token", **options: Any) -> str:
    settings: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256} | options
    return Signer(key, salt=salt, **settings).sign(text).decode()


def assert_unavailable(answer: TestResponse) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert_json(answer)


@pytest.fixture
def turns(client: Any) -> Turns:
    return Turns(client)


@pytest.fixture
def meeting(turns: Turns, still_clock: StillClock) -> Flask:
    app = create_app(PATIENT, turns, clock=still_clock)
    app.extensions["auth_check"] = auth.fits  # not throttled
    return app


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    """Between the app and the tests' redis-server."""
    proxy = Proxy(str(server.socket))
    yield proxy
    proxy.stop()
