"""Cached views, and how often they run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from flask import Flask, session
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from roles.cache import cached

MAX_AGE = 100  # seconds
LEASE = 10


class Desk:
    """A cached view, that counts its runs: what it answers is the number of the run, unless `say` says more."""

    def __init__(self, app: Flask, say: Callable[[], Any] = dict, path: str = "/answer", **options: Any) -> None:
        self.app, self.path, self.runs = app, path, 0
        decorate = cached(options.get("name", "answers"), max_age=MAX_AGE, lease=options.get("lease", LEASE))

        def view(**values: str) -> Any:
            self.runs += 1
            said = {**values, "run": self.runs}
            more = say()
            return said | more if isinstance(more, dict) else more

        app.add_url_rule(path, path, decorate(view), methods=["GET", "POST"])

    def ask(self, web: FlaskClient | None = None, **options: Any) -> Any:
        """The JSON of an answer; a new browser asks, if it is not said who."""
        return self.get(web, **options).json

    def get(self, web: FlaskClient | None = None, path: str = "", **options: Any) -> TestResponse:
        return (web or self.app.test_client()).get(path or self.path, **options)

    def asking(self, web: FlaskClient | None = None) -> Asking:
        """A request that is on its way."""
        return Asking(self, web)


class Asking(threading.Thread):
    def __init__(self, desk: Desk, web: FlaskClient | None) -> None:
        super().__init__()
        self.desk, self.web = desk, web
        self.start()

    def run(self) -> None:
        self.response = self.desk.get(self.web)

    def answer(self) -> Any:
        self.join(60)
        return self.response.json


def records(client: Any) -> dict[str, dict[str, Any]]:
    """What Redis has of answers and groups, by name."""
    return {key.decode().removeprefix("CACHE:SESSION:"): json.loads(client.get(key)) for key in keys(client)}


def keys(client: Any) -> list[bytes]:
    return sorted(client.keys("CACHE:*"))


def record_of(client: Any) -> tuple[bytes, dict[str, Any]]:
    """The one record beside its group, with its key."""
    (key,) = client.keys("CACHE:SESSION:*:*")
    return key, json.loads(client.get(key))


def sign_in(app: Flask, user: str, **more: Any) -> FlaskClient:
    """A browser whose session is the user's."""
    web = app.test_client()
    with web.session_transaction() as mine:
        mine.update(user_id=user, **more)
    return web


def who() -> dict[str, Any]:
    return {"user": session.get("user_id")}
