"""The README is executed: its commands, its transcript, and every table that names something in the code."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from flask import Flask
from support.apps import interface_of
from support.clock import Clock
from support.project import recipe
from support.servers import RedisServer
from werkzeug.security import generate_password_hash
from werkzeug.serving import make_server

from _redis_store import cli
from _redis_store.settings import SETTINGS
from app import create_app
from redis_store import RedisSessionInterface, RedisStore

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """The text under a heading."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert match, title
    return match[1]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def rows(text: str) -> list[list[str]]:
    """The cells of a section's tables, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_settings_table_is_that_of_the_code() -> None:
    """Each setting of ours, with its default; none is missing, none invented."""
    table = {row[0].strip("`"): row[1].strip("`") for row in rows(section("Settings"))}
    flasks = {*Flask.default_config, "SECRET_KEY_FALLBACKS"}
    ours = {
        name: repr(default) for name, (default, _, _) in SETTINGS.items() if name not in flasks or default is not None
    }
    assert table == ours


def test_every_promise_names_tests_that_exist() -> None:
    """Files, and the functions in them."""
    table = rows(section("What is promised, and what shows it"))
    assert len(table) == 19
    for row in table:
        names = re.findall(r"`([^`]+)`", row[1])
        assert names, row
        for name in names:
            path, _, function = name.partition("::")
            text = (ROOT / path).read_text()
            assert f"def {function}(" in text if function else text


def test_the_koa_table_names_verbs_that_exist() -> None:
    """Each verb of the store is in the table, by its name."""
    text = section("From koa-session2 to Flask")
    for verb in ("get", "set", "destroy", "touch", "add", "take", "update"):
        assert callable(getattr(RedisStore, verb))
        assert f"RedisStore.{verb}(" in text or f"`{verb}`" in text


def test_the_cost_table_is_tested_row_by_row() -> None:
    """As many rows as tests that quote one."""
    table = rows(section("The life of a request"))
    tests = (ROOT / "tests/promises/test_02_cost.py").read_text()
    assert len(table) == 11
    assert {f"Row {number}" for number in range(1, 11)} <= set(re.findall(r"Row \d+", tests))


def test_the_two_lines_are_all_that_an_app_needs(server: RedisServer) -> None:
    """The code of "In your own app" runs as it stands, but for the address."""
    code = recipe("RedisSessionInterface(connect(")
    app = Flask("own")
    exec(code.replace("redis://localhost:6379/0", server.url), {"app": app})
    assert isinstance(app.session_interface, RedisSessionInterface)
    assert len(code.splitlines()) == 2


def test_the_first_two_commands_set_up_run_and_test() -> None:
    """What they name is there. The checks that run on each change run the commands themselves."""
    run, test, redis = blocks("sh", section("Quick start"))
    setup = "python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements.txt && "
    assert run == f"{setup}.venv/bin/flask run\n"
    assert test == f"{setup}.venv/bin/python -m pytest\n"
    assert (ROOT / "requirements.txt").exists()
    assert (ROOT / redis.strip()).stat().st_mode & 0o111
    assert create_app({"TESTING": True}).test_client().get("/").status_code == 200


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


SID = r"[0-9a-f]{8}-[0-9a-f]{40}"
SHORT = r"[0-9a-f]{8}-[0-9a-f]{6}"  # as much as is shown


@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("redis-cli")), reason="needs curl and redis-cli on the PATH"
)
def test_the_transcript_is_what_happens(server: RedisServer, address: str, tmp_path: Path) -> None:
    """Each command of it, with the output that it has in the README."""
    (transcript,) = blocks("console")
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


def test_the_list_of_sessions_is_what_the_commands_print(server: RedisServer, clock: Clock) -> None:
    """With sids and times of its own."""
    (transcript,) = (block for block in blocks("text") if "flask sessions" in block)
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
def test_the_walk_with_tokens_is_what_happens(address: str, tmp_path: Path) -> None:
    """All its commands in one shell, with the outputs that they have in the README, but for the tokens themselves."""
    (transcript,) = blocks("shell-session", section("Refresh tokens"))
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", transcript, re.M)
    assert len(steps) == 8
    script = "".join(f"{command}\nprintf '\\0'\n" for command, _ in steps).replace("127.0.0.1:5000", address)
    run = subprocess.run(["sh", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    first, second = ((tmp_path / name).read_text() for name in ("first", "second"))
    assert first != second
    (check,) = re.findall(r"`(jwt\.decode\(.*\))`", section("Refresh tokens"))
    assert eval(check, {"jwt": jwt, "token": json.loads(first)["accessToken"], "key": "a" * 32})["typ"] == "access"
    for (command, expected), output in zip(steps, run.stdout.split("\0"), strict=False):
        shortened = re.sub(r'(?<=:")(eyJ|[0-9a-f]{3})[^"]{40,}', "…", output)
        assert shortened == re.sub(r"\w+…", "…", expected), command


def test_the_figures_are_those_of_the_run_that_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Table and ratios are what `benchmarks/run.py` makes of `figures.json`; nobody retouched them."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    report = importlib.import_module("report")
    results, shown = ROOT / "benchmarks" / "results", report.SHOWN_IN.read_text()
    found = json.loads((results / "figures.json").read_text())
    assert report.report(found) == (results / "table.md").read_text()
    assert "\n".join(report.target_table(found)) in shown
    assert all((results / f"{name}.png").exists() and f"results/{name}.png" in shown for name in report.PICTURES)
