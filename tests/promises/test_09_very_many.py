"""Forged cookies and anonymous visits by the hundred thousand: no command, no key, and no time."""

from __future__ import annotations

import hashlib
import logging
import random
import time
import timeit
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Request
from itsdangerous import TimestampSigner
from support.apps import SECRET_KEY, interface_of, sign
from support.clock import Clock
from support.demo import CONFIG, OURS, commands
from support.servers import RedisServer
from support.tiers import rounds
from werkzeug.sansio.http import parse_cookie
from werkzeug.test import create_environ, run_wsgi_app

from _redis_store import cookie as cookies
from _redis_store.settings import read
from app import create_app
from redis_store import new_sid

EACH = rounds(1_000, 10_000)  # cookies of each of the shapes below
HITS = rounds(1_000, 33_334)  # of each of the requests of anonymous visitors
BATCH = 100  # cookies, timed together
LIMIT = 50e-6  # seconds of the processor for each
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def signer(key: str, salt: str) -> TimestampSigner:
    return TimestampSigner(key, salt, key_derivation="hmac", digest_method=hashlib.sha256)


def late(app: Flask, clock: Clock, offset: int) -> str:
    """Signed by us, so many seconds from now."""
    interface_of(app).clock = clock
    clock.offset = offset
    cookie = sign(app, new_sid(time.time()))
    clock.offset = 0
    return cookie


def change_one(cookie: str) -> str:
    """Any character but the last, two of whose bits mean nothing."""
    place = random.randrange(len(cookie) - 1)
    other = random.choice(ALPHABET.replace(cookie[place], ""))
    return cookie[:place] + other + cookie[place + 1 :]


ANOTHER_KEY = signer("another-" + SECRET_KEY, "redis-session")
ANOTHER_SALT = signer(SECRET_KEY, "cookie-session")
SHAPES: dict[str, Callable[[Flask, Clock], str]] = {
    "random bytes": lambda app, clock: random.randbytes(random.randrange(200)).decode("latin-1"),
    "random signature": lambda app, clock: f"{new_sid(time.time())}.p.aR-0Wg.{''.join(random.choices(ALPHABET, k=43))}",
    "another key": lambda app, clock: ANOTHER_KEY.sign(f"{new_sid(time.time())}.p").decode(),
    "another salt": lambda app, clock: ANOTHER_SALT.sign(f"{new_sid(time.time())}.p").decode(),
    "past its age": lambda app, clock: late(app, clock, -7 * 24 * 3600 - 1 - random.randrange(10**8)),
    "from the future": lambda app, clock: late(app, clock, 90 + random.randrange(10**8)),
    "cut off": lambda app, clock: (good := sign(app, new_sid(time.time())))[: random.randrange(len(good))],
    "one character changed": lambda app, clock: change_one(sign(app, new_sid(time.time()))),
    "as long as browsers keep": lambda app, clock: sign(app, new_sid(time.time())) + random.choice(ALPHABET) * 4000,
    "several": lambda app, clock: "; session=".join(change_one(sign(app, new_sid(time.time()))) for _ in range(3)),
    "two sessions": lambda app, clock: "; session=".join(sign(app, new_sid(time.time())) for _ in range(2)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_forged_cookies_cost_no_command_and_less_than_50_us_each(
    server: RedisServer, clock: Clock, caplog: pytest.LogCaptureFixture, shape: str
) -> None:
    """To a page that reads the session; the time is the processor's, of the best batch, as machines are noisy.

    Without what a log takes to write the one line that two good cookies make.
    """
    caplog.set_level(logging.ERROR, logger="redis_store")
    app = create_app(CONFIG, server.connect())
    interface = interface_of(app)
    interface.clock = clock
    admin, environ = server.connect(), create_environ()
    before = commands(admin)
    taken = []
    for _ in range(EACH // BATCH):
        cookies = [f"session={SHAPES[shape](app, clock)}" for _ in range(BATCH)]
        start = time.thread_time()
        for cookie in cookies:
            opened = interface.open_session(app, Request({**environ, "HTTP_COOKIE": cookie}))
            assert opened is not None
            opened.accessed = True  # as Flask says it when the view uses the session
            assert not opened, cookie
        taken.append((time.thread_time() - start) / BATCH)
    assert min(taken) < LIMIT
    assert commands(admin) == before


def fastest(work: Callable[..., object], *args: Any) -> float:
    """Seconds of the processor, at best."""
    return min(timeit.repeat(lambda: work(*args), repeat=rounds(10, 50), number=1, timer=time.thread_time))


@pytest.mark.parametrize("signed", [True, False])
def test_a_cookie_of_a_megabyte_costs_less(server: RedisServer, signed: bool) -> None:
    """Than a quarter of parsing it with Werkzeug: a signature over all of it would take longer. Nor does a raw sid."""
    app = create_app({**CONFIG, "SESSION_USE_SIGNER": signed}, server.connect())
    settings = read(app, interface_of(app).clock)
    assert settings
    good = f"{new_sid(time.time())}.p.aR-0Wg.{'A' * 43}"
    for value in ("a" * 2**20, "0" * 2**20, good + "A" * 2**20, good.replace(".", "." * 2**18), "." * 2**20):
        header = f"session={value}"
        assert cookies.read_all(settings, header, "session") == []
        taken = fastest(cookies.read_all, settings, header, "session")
        parsing = fastest(parse_cookie, header)
        assert taken < parsing / 4


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", "200 OK"), ("GET", "/login", "200 OK"), ("POST", "/logout", "303 ")]
)
def test_anonymous_hits_leave_no_key(
    server: RedisServer, caplog: pytest.LogCaptureFixture, method: str, path: str, status: str
) -> None:
    """Every second one with a forged cookie: no key, no command at all, no cookie, no line in the log."""
    app = create_app(CONFIG, server.connect())
    admin = server.connect()
    before = commands(admin)
    environ = create_environ(path, method=method, headers=OURS)
    for _ in range(HITS // 2):
        for cookie in ({}, {"HTTP_COOKIE": f"session={new_sid(time.time())}.p.aR-0Wg.{'A' * 43}"}):
            page, answer, headers = run_wsgi_app(app.wsgi_app, {**environ, **cookie})
            assert b"<html" in b"".join(page)
            assert answer.startswith(status)
            assert "Set-Cookie" not in headers
    assert commands(admin) == before
    assert admin.keys() == []
    assert caplog.messages == []
