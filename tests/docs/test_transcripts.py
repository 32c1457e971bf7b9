"""Transcripts of a terminal: each command is run, and prints what the page shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from support.apps import interface_of
from support.clock import Clock
from support.project import PAGES, blocks
from support.servers import RedisServer
from werkzeug.security import generate_password_hash
from werkzeug.serving import make_server

from _redis_store import cli
from app import create_app

SID = r"[0-9a-f]{8}-[0-9a-f]{40}"
SHORT = r"[0-9a-f]{8}-[0-9a-f]{6}"  # as much as is shown


@pytest.fixture
def address(server: RedisServer) -> Iterator[str]:
    """Where the app answers, on the tests' Redis."""
    config = {"SECRET_KEY": "k" * 32, "ACCOUNTS": {"ada": generate_password_hash("lovelace")}}
    app = create_app({**config, "ACCESS_TOKEN_KEY": "a" * 32}, server.connect())
    http = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))  # how soon it sees that it is over
    thread.start()
    yield f"127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def plain(output: str) -> str:
    """Without what is another one each time: times, and the signature."""
    output = re.sub(r"\w{3}, \d\d \w{3} 20[2-9]\d [\d:]{8} GMT", "DATE", output)
    return re.sub(r"\.p\.[\w-]+\.[\w-]{43}", ".SIGNATURE", output)


@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("redis-cli")), reason="needs curl and redis-cli on the PATH"
)
def test_a_session_is_seen_from_both_sides(server: RedisServer, address: str, tmp_path: Path) -> None:
    """Each command of the transcript, with the output that it has there."""
    (transcript,) = blocks("console", PAGES["docs/request.md"])
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", transcript, re.M)
    assert len(steps) == 6
    documented, real = re.findall(SID, transcript)[0], ""
    for command, expected in steps:
        command = command.replace("127.0.0.1:5000", address).replace("redis-cli", f"redis-cli -s {server.socket}")
        run = subprocess.run(
            ["sh", "-c", command.replace(documented, real)], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        real = real or re.findall(SID, run.stdout)[0]
        output = run.stdout.replace("\r", "").replace(real, documented)
        if " TTL " in command:
            assert int(expected) - 1 <= int(output) <= int(expected)
        else:
            assert plain(output) == plain(expected), command


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
    for command in re.findall(r"^\$ flask sessions (.*)$", transcript, re.M):
        words = re.sub(SHORT, newest.sid[:15], command).split()
        real += f"$ flask sessions {command}\n" + app.test_cli_runner().invoke(cli.sessions, words).stdout
    for varying in (SHORT, r"\d{4}-\d\d-\d\d \d\d:\d\d", r"\d{6} s"):
        real, transcript = (re.sub(varying, "…", text) for text in (real, transcript))
    assert real == transcript


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl on the PATH")
def test_a_program_gets_tokens_as_shown(address: str, tmp_path: Path) -> None:
    """All its commands in one shell, with the outputs that the page has, but for the tokens themselves."""
    page = PAGES["docs/tokens.md"]
    (transcript,) = blocks("shell-session", page)
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", transcript, re.M)
    assert len(steps) == 8
    script = "".join(f"{command}\nprintf '\\0'\n" for command, _ in steps).replace("127.0.0.1:5000", address)
    run = subprocess.run(["sh", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    first, second = ((tmp_path / name).read_text() for name in ("first", "second"))
    assert first != second
    (check,) = blocks("python", page)
    exec(check, {"jwt": jwt, "token": json.loads(first)["accessToken"], "key": "a" * 32})
    for (command, expected), output in zip(steps, run.stdout.split("\0"), strict=False):
        shortened = re.sub(r'(?<=:")(eyJ|[0-9a-f]{3})[^"]{40,}', "…", output)
        assert shortened == re.sub(r"\w+…", "…", expected), command
