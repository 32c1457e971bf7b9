"""The command line of an app, and the sessions that it is about."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from typing import Any

from click.testing import Result
from flask import Flask, session

import redis_store
from _redis_store import cli
from redis_store import RedisSessionInterface, RedisStore
from support.apps import SECRET_KEY, route
from support.clock import Clock
from support.project import ROOT


def prepare(app: Flask, client: Any, clock: Clock) -> Flask:
    """Return the app with a page to sign in and one to visit, and with a Redis that it may scan."""
    app.session_interface = RedisSessionInterface(client, clock=clock)
    app.add_url_rule("/login/<name>", "login", lambda name: session.update(user_id=name) or "ok")
    route(app, "/visit", lambda: session.update(cart=[1]))
    return app


def run(app: Flask, *words: str, answer: str | None = None) -> Result:
    return app.test_cli_runner().invoke(cli.sessions, words, input=answer)


def lines(app: Flask, *words: str) -> list[Any]:
    """What a command with --json prints: one document on each line, and nothing besides."""
    result = run(app, *words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def sign_in(app: Flask, name: str = "ada") -> str:
    """A session; returns its sid."""
    browser = app.test_client()
    assert browser.get(f"/login/{name}").status_code == 200
    return sid_of(browser)


def visit(app: Flask) -> str:
    """A session without an owner; returns its sid."""
    browser = app.test_client()
    browser.get("/visit")
    return sid_of(browser)


def sid_of(browser: Any) -> str:
    return str(browser.get_cookie("session").value.partition(".")[0])


def handle_of(sid: str) -> str:
    return hashlib.sha256(sid.encode()).hexdigest()[:16]


def write(client: Any, sid: str, record: str, ttl: int = 1000) -> None:
    client.set(f"SESSION:{sid}", record, ex=ttl)


def new_sid(age: float = 0) -> str:
    """A sid of a session that began so many seconds ago."""
    return redis_store.new_sid(time.time() - age)


#: A sid of each form, but for its last digit: ours, koa-session2's, a UUID.
FORMS = ["6a000000-abcdef" + "0" * 33, "abcdef" + "0" * 41, "abcdef00-0000-4000-8000-00000000000"]


def flask(server: Any, *words: str, owner: str = "ada", stderr: int = subprocess.PIPE, **more: str) -> Any:
    """``flask sessions …`` of the app itself, in a process of its own, on a Redis with one session."""
    RedisStore(server.connect()).set({"user_id": owner})
    command = [sys.executable, "-m", "flask", "sessions", *words]
    environment = {**os.environ, "REDIS_URL": server.url, "SECRET_KEY": SECRET_KEY, **more}
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, timeout=120)
