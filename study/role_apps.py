"""The apps of the stories about roles: as the documents show it that this project grew from, and ours."""

from __future__ import annotations

import importlib
import secrets
from typing import Any

import jwt
from flask import Flask, abort, redirect, request, session
from werkzeug.exceptions import HTTPException
from werkzeug.security import generate_password_hash

import auth
from redis_store import WEEK, RedisSessionInterface
from study.shop import PASSWORDS, home, show_error
from study.tab import Clock


def make_app(role: str, client: Any, clock: Clock, **config: Any) -> Flask:
    """Return an app with sign-in, our sessions, and one of the roles."""
    app = make_plain(client, clock)
    hashes = {user: generate_password_hash(password, "pbkdf2:sha256:1") for user, password in PASSWORDS.items()}
    app.config.update(ACCOUNTS=hashes, **config)
    app.register_blueprint(auth.blueprint)
    importlib.import_module(f"roles.{role}").init_app(app)
    return app


def make_plain(client: Any, clock: Clock) -> Flask:
    """Return an app with our sessions, and a page that says who is signed in."""
    app = Flask(__name__, static_folder=None)
    app.config.update(SECRET_KEY=secrets.token_hex(32), PERMANENT_SESSION_LIFETIME=WEEK)
    app.session_interface = interface = RedisSessionInterface(client, clock=clock)
    interface.check(app)
    app.logger.disabled = True
    app.register_error_handler(HTTPException, show_error)
    app.add_url_rule("/", "home", home)
    return app


def make_tokens_of(store: str, client: Any, clock: Clock) -> Flask:
    """Return an app with ``/api``."""
    if store == "ours":
        return make_app("tokens", client, clock, ACCESS_TOKEN_KEY=secrets.token_hex(32))
    return make_seed_tokens(client, clock)


def make_seed_tokens(client: Any, clock: Clock) -> Flask:
    """Return ``/api`` as the documents have it: one refresh token of each user, under their name, for a week."""
    app, key = make_plain(client, clock), secrets.token_hex(32)

    def make_token(user: str, kind: str, seconds: int) -> str:
        return jwt.encode({"sub": user, "typ": kind, "exp": int(clock()) + seconds}, key, "HS256")

    @app.post("/api/login")
    def login() -> Any:
        user = request.get_json()["username"]
        token = make_token(user, "refresh", WEEK)
        client.execute_command("SET", f"refresh_token:{user}", token, "EX", WEEK)
        return {"accessToken": make_token(user, "access", 900), "refreshToken": token}

    @app.post("/api/refresh")
    def refresh() -> Any:
        token = request.get_json()["refreshToken"]
        user = jwt.decode(token, key, ["HS256"], options={"verify_exp": False})["sub"]
        if client.execute_command("GET", f"refresh_token:{user}") != token.encode():
            abort(403)
        return {"accessToken": make_token(user, "access", 900)}

    return app


def make_oauth_of(store: str, client: Any, clock: Clock) -> Flask:
    """Return an app with ``/oauth``, and a provider that ends with the story."""
    from study.provider import CLIENT, Provider

    provider = Provider()
    if store == "ours":
        app = make_app("oauth", client, clock, OAUTH_ISSUER=provider.issuer, **CLIENT)
    else:
        app = make_seed_oauth(client, clock, provider)
    app.extensions.update(study_close=[provider.close], study_provider=provider)
    return app


def make_seed_oauth(client: Any, clock: Clock, provider: Any) -> Flask:
    """Return ``/oauth`` as the documents have it: a random state, in Redis for minutes, and looked up at the end."""
    app = make_plain(client, clock)

    @app.get("/oauth/login")
    def login() -> Any:
        state = secrets.token_urlsafe()
        client.execute_command("SET", f"oauth_state:{state}", "1", "EX", 600)
        return redirect(f"{provider.issuer}/authorize?redirect_uri=/oauth/callback&state={state}")

    @app.get("/oauth/callback")
    def callback() -> Any:
        if client.execute_command("GET", f"oauth_state:{request.args['state']}") is None:
            abort(400)
        user, _ = provider.begun.pop(request.args["code"], (None, ""))  # a code is good once
        session["user_id"] = user or abort(403)
        return redirect("/")

    return app
