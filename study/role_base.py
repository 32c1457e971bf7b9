"""What the apps of the stories about roles have in common."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.security import generate_password_hash

import auth
from redis_store import WEEK, RedisSessionInterface
from study.shop import PASSWORDS, home, show_error
from study.tab import PATIENCE, Clock


def make_plain(client: Any, clock: Clock) -> Flask:
    """Return an app with our sessions, and a page that says who is signed in."""
    app = Flask(__name__, static_folder=None)
    app.config.update(SECRET_KEY=secrets.token_hex(32), PERMANENT_SESSION_LIFETIME=WEEK)
    app.config["SESSION_MAX_WAIT"] = PATIENCE  # only a story says when Redis is away, and no busy machine
    app.session_interface = interface = RedisSessionInterface(client, clock=clock)
    interface.check(app)
    app.logger.disabled = True
    app.register_error_handler(HTTPException, show_any_error)
    app.add_url_rule("/", "home", home)
    return app


def make_signed(client: Any, clock: Clock, **config: Any) -> Flask:
    """Return such an app where people sign in as in the demo app."""
    app = make_plain(client, clock)
    hashes = {user: generate_password_hash(password, "pbkdf2:sha256:1") for user, password in PASSWORDS.items()}
    app.config.update(ACCOUNTS=hashes, **config)
    app.register_blueprint(auth.blueprint)
    app.extensions["json_below"] = []  # below which paths programs ask, that want an error as JSON
    return app


def show_any_error(error: HTTPException) -> ResponseReturnValue:
    """Say in words, or in JSON, what went wrong."""
    if request.path.startswith(tuple(current_app.extensions.get("json_below", ()))):
        return {"error": error.description}, error.code or 500
    return show_error(error)
