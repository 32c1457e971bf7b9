"""roles/cache.py: what an answer costs, and that it can be had from several servers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from support.apps import SECRET_KEY
from support.demo import commands
from support.project import PAGES
from support.roles.cache import Desk, sign_in, who
from support.servers import RedisServer
from support.topology import ClusterGroup, running

from redis_store import RedisSessionInterface, connect
from roles.cache import forget


def make_app(client: Any) -> Flask:
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=30)
    app.session_interface = RedisSessionInterface(client)
    return app


def test_a_kept_answer_costs_two_commands(server: RedisServer) -> None:
    """A personal one three more: the session's, and the look at whether it is personal. The page says so."""
    app = make_app(server.connect())
    shared, personal, admin = Desk(app), Desk(app, who, "/who", name="who"), server.connect()
    visits = {2: (shared, app.test_client()), 5: (personal, sign_in(app, "ada"))}
    for cost, (desk, web) in visits.items():
        for _ in range(3):
            desk.ask(web)
        before = commands(admin)
        desk.ask(web)
        assert commands(admin) - before == cost
    words = " ".join(PAGES["docs/cache.md"].split())
    assert "A kept answer costs two commands of Redis, a personal one five" in words


@pytest.mark.thorough
def test_answers_are_kept_and_forgotten_on_a_cluster(tmp_path: Path) -> None:
    """No command has two keys, so they may be on several servers."""
    with running(ClusterGroup(tmp_path)) as group, closing(connect(group.url, timeout=30, socket_timeout=30)) as client:
        app = make_app(client)
        desk, web = Desk(app, who, "/answer/<word>"), sign_in(app, "ada")
        for word in "abcdefgh":
            first, again = ([desk.ask(web, path=f"/answer/{word}") for _ in range(2)] for _ in range(2))
            assert first[1] == again[0] == again[1]
        with app.app_context():
            forget("answers")
        runs = desk.runs
        assert desk.ask(web, path="/answer/a")["run"] == runs + 1
