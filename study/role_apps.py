"""The apps of the stories about roles: with the role itself, or as tutorials show it."""

from __future__ import annotations

import importlib
import secrets
from typing import Any

from flask import Flask, request

from study import seed_roles
from study.crowd import Database
from study.role_base import make_plain, make_signed
from study.tab import PATIENCE, Clock


def make_app(role: str, client: Any, clock: Clock, **config: Any) -> Flask:
    """Return an app with one of the roles."""
    app = make_signed(client, clock, **config)
    importlib.import_module(f"roles.{role}").init_app(app)
    return app


def make_tokens_of(store: str, client: Any, clock: Clock) -> Flask:
    """Return an app with ``/api``."""
    if store == "ours":
        return make_app("tokens", client, clock, ACCESS_TOKEN_KEY=secrets.token_hex(32))
    return seed_roles.make_seed_tokens(client, clock)


def make_oauth_of(store: str, client: Any, clock: Clock) -> Flask:
    """Return an app with ``/oauth``, and a provider that ends with the story."""
    from study.provider import CLIENT, Provider

    provider = Provider()
    if store == "ours":
        app = make_app("oauth", client, clock, OAUTH_ISSUER=provider.issuer, **CLIENT)
    else:
        app = seed_roles.make_seed_oauth(client, clock, provider)
    app.extensions.update(closing=[provider.close], study_provider=provider)
    return app


def make_notifications_of(store: str, client: Any, clock: Clock) -> Flask:
    """Return an app with ``/events``, and a page by which anybody says something to somebody."""
    if store == "seed":
        return seed_roles.make_seed_notifications(client, clock)
    app = make_app("notifications", client, clock)
    hub = app.extensions["notifications"]
    hub.tick, hub.heartbeat = 0.02, 1.0  # seconds; so that the story is short

    @app.post("/say")
    def say() -> str:
        app.extensions["notify"](request.form["to"], request.form["text"])
        return "It is sent."

    def wait() -> None:
        if thread := hub.thread:  # it ends with its last client
            thread.join(PATIENCE)

    app.extensions["closing"] = [wait]
    return app


def make_cache_of(store: str, client: Any, clock: Clock) -> Flask:
    """Return an app with a page that takes its database long."""
    database = Database()
    if store == "seed":
        app = seed_roles.make_seed_cache(client, clock, database)
    else:
        app = make_plain(client, clock)
        cached = importlib.import_module("roles.cache").cached

        def trending() -> Any:
            return database.read()

        view = cached("posts:trending", max_age=300)(trending)
        app.add_url_rule("/posts/trending", view_func=view)

    app.extensions["database"] = database
    return app


def make_jobs_of(store: str, client: Any, clock: Clock) -> Flask:
    """Return an app with a page that leaves a mail to a worker."""
    mails: list[str] = []
    if store == "seed":
        app = seed_roles.make_seed_jobs(client, clock, mails)
    else:
        app = make_app("jobs", client, clock)
        jobs = app.extensions["jobs"]
        jobs.functions["mail"] = lambda to: mails.append(to)
        jobs.is_checked = True  # a Redis of its own evicts nothing

        @app.post("/order")
        def order() -> str:
            jobs.enqueue("mail", {"to": request.form["to"]}, "mail-1")
            return "Thank you. A mail is on its way."

        program = importlib.import_module("study.rq_worker").RqProgram()
        app.extensions.update(program=program, closing=[program.close])
    app.extensions["mails"] = mails
    return app
