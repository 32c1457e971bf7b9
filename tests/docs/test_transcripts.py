"""Transcripts of a terminal: each command is run, and prints what the page shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.apps import interface_of
from support.clock import Clock
from support.project import PAGES, blocks, recipe
from support.servers import RedisServer
from support.serving import serve
from werkzeug.security import generate_password_hash

from _redis_store import cli
from app import create_app

SID = r"[0-9a-f]{8}-[0-9a-f]{40}"
SHORT = r"[0-9a-f]{8}-[0-9a-f]{6}"  # as much as is shown

NEEDS_PROGRAMS = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("redis-cli")), reason="needs curl and redis-cli on the PATH"
)


@pytest.fixture
def site(server: RedisServer) -> Iterator[str]:
    """Where the app answers, on the tests' Redis."""
    config = {"SECRET_KEY": "k" * 32, "ACCOUNTS": {"ada": generate_password_hash("lovelace")}}
    with serve(create_app(config, server.connect())) as site:
        yield site


def plain(output: str) -> str:
    """Without what is another one each time: times, and the signature."""
    output = re.sub(r"\w{3}, \d\d \w{3} 20[2-9]\d [\d:]{8} GMT", "DATE", output)
    return re.sub(r"\.p\.[\w-]+\.[\w-]{43}", ".SIGNATURE", output)


@NEEDS_PROGRAMS
def test_a_session_is_seen_from_both_sides(server: RedisServer, site: str, tmp_path: Path) -> None:
    """Each command of the transcript, with the output that it has there."""
    assert replay("docs/request.md", server, site, tmp_path) == 6


@NEEDS_PROGRAMS
def test_the_complete_app_is_seen_from_both_sides(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's own app: each command of the transcript below it."""
    monkeypatch.setenv("FLASK_SECRET_KEY", "only-for-tests-" * 3)
    names: dict[str, Any] = {"__name__": "shop"}
    exec(recipe("def create_app("), names)
    with serve(names["create_app"](server.connect())) as site:
        assert replay("README.md", server, site, tmp_path) == 2


def replay(page: str, server: RedisServer, site: str, folder: Path) -> int:
    """Run the commands of a page's transcript, and compare what they print; return how many there are."""
    (transcript,) = blocks("console", PAGES[page])
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", transcript, re.M)
    documented, real = re.findall(SID, transcript)[0], ""
    for command, expected in steps:
        command = command.replace("http://127.0.0.1:5000", site).replace("redis-cli", f"redis-cli -s {server.socket}")
        run = subprocess.run(
            ["sh", "-c", command.replace(documented, real)], cwd=folder, capture_output=True, text=True, check=True
        )
        real = real or re.findall(SID, run.stdout)[0]
        output = run.stdout.replace("\r", "").replace(real, documented)
        if " TTL " in command:
            assert int(expected) - 1 <= int(output) <= int(expected)
        else:
            assert plain(output) == plain(expected), command
    return len(steps)


def test_the_commands_list_sessions_as_shown(server: RedisServer, clock: Clock) -> None:
    """With sids and times of its own."""
    transcript, *_ = blocks("text", PAGES["docs/sign-out-everywhere.md"])
    app = create_app(
        {"SECRET_KEY": "k" * 32, "ACCOUNTS": {"ada": generate_password_hash("lovelace")}}, server.connect()
    )
    interface_of(app).clock = clock
    for _ in range(2):
        app.test_client().post("/login", data={"username": "ada", "password": "lovelace"})
        clock.offset += 19
    with app.app_context():
        _, newest = interface_of(app).sessions_of("ada")
    real = ""
    for command in re.findall(r"^\$ .venv/bin/flask sessions (.*)$", transcript, re.M):
        words = re.sub(SHORT, newest.sid[:15], command).split()
        real += f"$ .venv/bin/flask sessions {command}\n" + app.test_cli_runner().invoke(cli.sessions, words).stdout
    for varying in (SHORT, r"\d{4}-\d\d-\d\d \d\d:\d\d", r"\d{6} s"):
        real, transcript = (re.sub(varying, "…", text) for text in (real, transcript))
    assert real == transcript
