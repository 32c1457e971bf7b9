"""The code of the pages runs as it stands there."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from support.project import PAGES, ROOT, blocks, recipe, section
from support.servers import RedisServer

from redis_store import MAKE_KEY, RedisSessionInterface


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is in the README's `shop.py`."""
    monkeypatch.setenv("FLASK_SECRET_KEY", "only-for-tests-" * 3)
    names: dict[str, Any] = {"__name__": "shop"}
    exec(recipe("def create_app("), names)
    return names


def test_the_complete_app_signs_in_and_out(shop: dict[str, Any]) -> None:
    """With a prefix of its own; a visitor who only looks has no session."""
    redis = fakeredis.FakeRedis()
    client = shop["create_app"](redis).test_client()
    assert client.get("/").json == {}
    assert redis.keys() == []
    client.post("/login", data={"name": "ada"})
    assert len(redis.keys("SHOP:*")) == 1
    assert client.get("/").json == {"user_id": "ada"}
    client.post("/logout")
    assert client.get("/").json == {}
    assert redis.keys("SHOP:*") == []


def test_the_complete_app_is_found_by_flask(tmp_path: Path) -> None:
    """By the commands of the README, but that they list the routes, and no server starts."""
    (tmp_path / "shop.py").write_text(recipe("def create_app("))
    (commands,) = blocks("sh", section("README.md", "A complete app"))
    assert MAKE_KEY in commands
    flask = f"{shlex.quote(sys.executable)} -m flask --app shop routes"
    script = commands.replace(".venv/bin/flask --app shop run", flask).replace(
        "$(python3", f"$({shlex.quote(sys.executable)}"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(["sh", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "/login" in run.stdout, run.stderr


def test_the_complete_app_does_not_start_without_a_secret(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` says which command makes one."""
    monkeypatch.delenv("FLASK_SECRET_KEY")
    with pytest.raises(ValueError, match="SECRET_KEY is missing"):
        shop["create_app"](fakeredis.FakeRedis())


def test_the_two_lines_are_all_that_an_app_needs(server: RedisServer) -> None:
    """They run as they stand, but for the address."""
    (code,) = blocks("python", section("README.md", "Install"))
    app = Flask("own")
    exec(code.replace("redis://localhost:6379/0", server.url), {"app": app})
    assert isinstance(app.session_interface, RedisSessionInterface)
    assert len(code.splitlines()) == 2


def test_a_user_is_signed_out_everywhere_else_by_two_lines(shop: dict[str, Any]) -> None:
    """All but this one."""
    (code,) = blocks("python", section("README.md", "Sign a user out everywhere"))
    app = shop["create_app"](fakeredis.FakeRedis())
    here, elsewhere = app.test_client(), app.test_client()
    names: dict[str, Any] = {"app": app, "session": session}

    def everywhere() -> str:
        exec(code, names)
        return "alone"

    app.add_url_rule("/everywhere", view_func=everywhere, methods=["POST"])
    for client in (elsewhere, here):
        client.post("/login", data={"name": "ada"})
    assert here.post("/everywhere").status_code == 200
    assert len(names["sessions"]) == 2
    assert [client.get("/").json for client in (here, elsewhere)] == [{"user_id": "ada"}, {}]


def test_a_user_ends_one_session_by_its_handle(shop: dict[str, Any]) -> None:
    """One of their own; somebody else's stays."""
    app = shop["create_app"](fakeredis.FakeRedis())
    exec(recipe("def end_session("), {"app": app})
    phone, laptop, other = (app.test_client() for _ in range(3))
    for client, name in ((phone, "ada"), (laptop, "ada"), (other, "bob")):
        client.post("/login", data={"name": name})
    with app.app_context():
        first, second = app.session_interface.sessions_of("ada")
        (bobs,) = app.session_interface.sessions_of("bob")
    assert [row["handle"] for row in phone.get("/sessions").json] == [first.handle, second.handle]
    for handle in (bobs.handle, second.handle):
        phone.post("/sessions/end", data={"handle": handle})
    assert [client.get("/").json for client in (phone, laptop, other)] == [{"user_id": "ada"}, {}, {"user_id": "bob"}]


def test_a_test_client_needs_one_line(shop: dict[str, Any]) -> None:
    """And no server."""
    (code,) = blocks("python", section("README.md", "Test your app"))
    exec(code, shop | {"fakeredis": fakeredis}, names := dict[str, Any]())
    assert names["client"].get("/").status_code == 200


def test_a_prefix_of_ones_own_is_that_of_the_keys(server: RedisServer) -> None:
    """Of the page of settings; nothing is written under another one."""
    (code, _) = blocks("python", PAGES["docs/settings.md"])
    app = Flask("own")
    app.secret_key = "k" * 32
    app.add_url_rule("/", "home", lambda: str(session.update(user_id=7)))
    exec(code.replace("redis://localhost:6379/0", server.url), {"app": app})
    app.test_client().get("/")
    keys: Any = server.connect().keys()
    assert sorted(key.partition(b":")[0] for key in keys) == [b"OWNER", b"SHOP"]
    assert all(b"SHOP:" in key for key in keys)
