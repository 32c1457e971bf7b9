"""The demo app: its configuration, and what a browser does with its pages."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from _redis_store.settings import SETTINGS
from app import create_app
from support.apps import SECRET_KEY
from support.servers import PATIENCE

OURS = {"Origin": "http://localhost"}  # what a browser sends with the forms of our own pages
DEFAULT = SETTINGS["SESSION_MAX_WAIT"][0]  # seconds
NO_REDIS = "redis://127.0.0.1:1"  # nothing listens there
FAST = "pbkdf2:sha256:1"
HASH = generate_password_hash("lovelace", FAST)
CONFIG = {
    "TESTING": True,
    "SESSION_MAX_WAIT": PATIENCE,  # a machine that is busy is no outage
    "SECRET_KEY": SECRET_KEY,
    "ACCOUNTS": {"ada": HASH, "grace": generate_password_hash("hopper", FAST)},
}


def make_app(client: Any) -> Flask:
    """Return the app itself, on this Redis."""
    return create_app(CONFIG, client)


def hurry(app: Flask) -> None:
    """Let its requests wait for Redis no longer than they do by default."""
    app.config["SESSION_MAX_WAIT"] = DEFAULT


def sign_in(web: FlaskClient, username: str = "ada", password: str = "lovelace", **form: str) -> TestResponse:
    return web.post("/login", data={"username": username, "password": password, **form}, headers=OURS)


def sign_out(web: FlaskClient) -> TestResponse:
    return web.post("/logout", headers=OURS)


def end(web: FlaskClient, handle: str) -> TestResponse:
    return web.post("/sessions/end", data={"handle": handle}, headers=OURS)


def end_others(web: FlaskClient) -> TestResponse:
    return web.post("/sessions/end-others", headers=OURS)


def status(web: FlaskClient, path: str) -> int:
    with web.get(path) as answer:  # closes the file that it may be made of
        return answer.status_code


def sid_of(web: FlaskClient) -> str:
    cookie = web.get_cookie("session")
    return cookie.value.partition(".")[0] if cookie else "no cookie"


def key_of(web: FlaskClient) -> str:
    return f"SESSION:{sid_of(web)}"


def commands(server: Any) -> int:
    """How many commands about keys a redis-server has carried out so far."""
    statistics = server.info("commandstats")
    return sum(of["calls"] for name, of in statistics.items() if not re.match("cmdstat_(info|client|hello)", name))
