"""What the tutorials that this project grew from show about roles, as small apps: for reading, not for use."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import jwt
from flask import Flask, Response, abort, redirect, request, session

from redis_store import WEEK
from study.crowd import Database
from study.role_base import make_plain, make_signed
from study.tab import Clock


def make_seed_tokens(client: Any, clock: Clock) -> Flask:
    """Return ``/api`` as tutorials have it: one refresh token of each user, under their name, for a week."""
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


def make_seed_oauth(client: Any, clock: Clock, provider: Any) -> Flask:
    """Return ``/oauth`` as tutorials have it: a random state, in Redis for minutes, and looked up at the end."""
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
        session["user_id"] = user or abort(403, "The provider takes a code only once.")
        return redirect("/")

    return app


def make_seed_notifications(client: Any, clock: Clock) -> Flask:
    """Return ``/events`` as tutorials have it: a channel, and whoever listens gets what is published."""
    app = make_signed(client, clock)

    @app.get("/events")
    def events() -> Response:
        channel = client.pubsub(ignore_subscribe_messages=True)
        channel.subscribe("notifications")

        def stream() -> Iterator[str]:
            with closing(channel):
                yield ": open\n\n"
                while True:
                    message = channel.get_message(timeout=0.2)
                    yield f"data: {message['data'].decode()}\n\n" if message else ":\n\n"

        return Response(stream(), mimetype="text/event-stream")

    @app.post("/say")
    def say() -> str:
        message = json.dumps({"to": request.form["to"], "text": request.form["text"]})
        client.execute_command("PUBLISH", "notifications", message)
        return "It is sent."

    return app


def make_seed_cache(client: Any, clock: Clock, database: Database) -> Flask:
    """Return a page as tutorials have it: what is kept, or else the database, and that is kept for five minutes."""
    app = make_plain(client, clock)

    @app.get("/posts/trending")
    def trending() -> Response:
        text = client.execute_command("GET", "posts:trending")
        if text is None:
            text = json.dumps(database.read())
            client.execute_command("SET", "posts:trending", text, "EX", 300)
        return Response(text, mimetype="application/json")

    return app


class SeedProgram:
    """A worker as tutorials have it: it pops a job off a list, and does it."""

    def __init__(self, client: Any, mails: list[str]) -> None:
        self.client, self.mails = client, mails

    def take(self) -> Any:
        """Return a job, which is in the list no more."""
        return self.client.execute_command("RPOP", "jobs")

    def work(self) -> None:
        """Do all that there are."""
        while job := self.take():
            self.mails.append(json.loads(job)["to"])


def make_seed_jobs(client: Any, clock: Clock, mails: list[str]) -> Flask:
    """Return a page that leaves a mail to a worker as tutorials have it: by a list."""
    app = make_plain(client, clock)
    app.extensions["program"] = SeedProgram(client, mails)

    @app.post("/order")
    def order() -> str:
        client.execute_command("LPUSH", "jobs", json.dumps({"do": "mail", "to": request.form["to"]}))
        return "Thank you. A mail is on its way."

    return app
