"""What the command line says when something goes wrong."""

from __future__ import annotations

import json
import re
from typing import Any

import fakeredis
import pytest
from flask import Flask
from support.clock import Clock
from support.commands import flask, handle_of, lines, new_sid, prepare, run, sign_in, write

from app import create_app
from redis_store import RedisSessionInterface, RedisStore

COMMANDS = ["list", "show", "revoke", "stats"]


@pytest.fixture
def app(app: Flask, client: Any, clock: Clock) -> Flask:
    """Any app with the two lines; as a Redis user who may SCAN."""
    return prepare(app, client, clock)


def words_of(command: str) -> list[str]:
    return [command, *([] if command in ("list", "stats") else ["abcdef"])]


@pytest.mark.thorough
@pytest.mark.parametrize("command", COMMANDS)
def test_an_embedded_app_has_nothing_to_show(command: str) -> None:
    """Its sessions are in the server's process, not in that of the command, which says what to do."""
    result = run(create_app({"TESTING": True}), *words_of(command))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Set REDIS_URL" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_an_app_with_sessions_of_another_kind_is_refused(command: str) -> None:
    """Flask's own, for one: there is nothing on the server."""
    app = Flask("app")
    result = run(app, *words_of(command))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "session_interface is a SecureCookieSessionInterface" in result.stderr


@pytest.mark.parametrize("where", ["refused", pytest.param("frozen", marks=pytest.mark.thorough), "fakeredis"])
@pytest.mark.parametrize("words", [*map(words_of, COMMANDS), ["list", "--owner", "ada"], ["revoke", "--owner", "ada"]])
def test_an_outage_is_one_line_and_an_exit_code(words: list[str], where: str, app: Flask, make_server: Any) -> None:
    """On stderr, with exit code 1 and no traceback; it says how to wait longer, if that could help."""
    if where != "fakeredis":
        server = make_server()
        app.session_interface = RedisSessionInterface(server.connect())
        (server.freeze if where == "frozen" else server.stop)()
    else:
        fake = fakeredis.FakeServer()
        fake.connected = False
        app.session_interface = RedisSessionInterface(fakeredis.FakeRedis(server=fake))
    result = run(app, *words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: Redis cannot be reached, or refuses this: .*\n", result.stderr)
    assert ("socket_timeout" in result.stderr) == (where == "frozen")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_app_without_a_key_is_refused(command: str, app: Flask) -> None:
    """It has no sessions, whatever there is in Redis."""
    app.secret_key = None
    result = run(app, *words_of(command))
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: this app has no SECRET_KEY, .*\n", result.stderr)


def test_an_outage_in_the_middle_of_a_command_is_one_line(app: Flask, make_server: Any) -> None:
    """A command that Redis refuses, too: here it may be scanned, but not read."""
    server = make_server()
    app.session_interface = RedisSessionInterface(server.connect())
    sign_in(app)
    server.connect().execute_command("ACL SETUSER default -get")
    result = run(app, "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: Redis cannot be reached, or refuses this: .*\n", result.stderr)


def test_malformed_records_are_counted_not_logged(app: Flask, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A line about each of thousands would hide the figures; afterwards they are logged again."""
    write(client, sid := new_sid(), "junk")
    [found] = lines(app, "stats")
    assert found["malformed"] == 1
    assert caplog.messages == []
    RedisStore(client).get(sid)
    assert len(caplog.messages) == 1


def test_a_client_that_decodes_responses_works_too(app: Flask, server: Any) -> None:
    """decode_responses makes the keys strings."""
    app.session_interface = RedisSessionInterface(server.connect(decode_responses=True))
    sid = sign_in(app)
    assert [row["handle"] for row in lines(app, "list")] == [handle_of(sid)]
    assert [row["handle"] for row in lines(app, "list", "--owner", "ada")] == [handle_of(sid)]


@pytest.mark.thorough
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    """--help works without a Redis, and is one line in the help of all."""
    app = create_app({"TESTING": True})
    text = run(app, command, "--help").stdout
    assert f"{command} [OPTIONS]" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert re.search(rf"^  {command} +\w[^.]+\.$", run(app, "--help").stdout, re.M)


def test_flask_finds_the_commands(server: Any) -> None:
    """In the folder of the app, with its settings in the environment as for the server."""
    run = flask(server, "list", "--json")
    assert (run.returncode, json.loads(run.stdout)["owners"]) == (0, ["ada"])
