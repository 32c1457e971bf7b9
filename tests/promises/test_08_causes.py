"""What a 503 tells whoever runs the app: the cause, and what to do about it; no sid and no value."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from redis.exceptions import (
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ResponseError,
)
from support.project import ROOT
from support.servers import RedisServer

from redis_store import RedisStore, StoreUnavailable

WITHOUT_LUA = """
import logging, sys
sys.modules["lupa"] = None  # what the extra brings
import fakeredis
from flask import Flask, session
from redis_store import RedisSessionInterface

logging.basicConfig(format="%(message)s")
app = Flask("app")
app.secret_key = "k" * 32
app.session_interface = RedisSessionInterface(fakeredis.FakeRedis())
app.add_url_rule("/", "write", lambda: session.update(n=session.get("n", 0) + 1) or "ok")
app.add_url_rule("/in", "in", lambda: session.update(user_id=5) or "ok")
browser = app.test_client()
print(*[browser.get(path).status_code for path in ("/", "/", "/in")])
"""


def test_fakeredis_without_its_extra_says_so() -> None:
    """In the log, at the first command that needs it, and at each one after."""
    run = subprocess.run([sys.executable, "-c", WITHOUT_LUA], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["200", "503", "503"]
    lines = run.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("EVAL failed with ") for line in lines)
    assert all("pip install 'fakeredis[lua]'" in line for line in lines)


@pytest.mark.parametrize(
    "rules",
    [
        "~* +get",  # not EVAL
        "~* +get +eval",  # not what the script does
        "~OTHER:* +get +eval +set +del",  # not these keys
    ],
)
def test_a_user_that_may_not_do_it_is_named_as_the_cause(server: RedisServer, rules: str) -> None:
    """Whichever part of its permissions is missing, and without the sid."""
    sid = RedisStore(server.connect()).set({"n": 1}, "0" * 48)
    store = RedisStore(server.log_in(*rules.split()))
    with pytest.raises(StoreUnavailable, match=r"EVAL failed with \w+: .*ACL.*docs/operations.md") as caught:
        store.swap(sid, b'{"n":1}', b"{}")
    assert "0000" not in str(caught.value)


@pytest.mark.parametrize(("command", "arguments"), [("EVAL", ("return 1", "0")), ("GETDEL", ("SESSION:0000",))])
def test_a_server_that_forbids_a_command_is_named_as_the_cause(make_server: Any, command: str, arguments: Any) -> None:
    """As a provider does it; alone and in a pipeline."""
    sender = RedisStore(make_server("--rename-command", command, "").connect()).sender
    for send in (lambda: sender.run(command, *arguments), lambda: sender.run_all([("PING",), (command, *arguments)])):
        with pytest.raises(StoreUnavailable, match=rf"{command} failed with \w+: .*provider.*6\.2") as caught:
            send()
        assert "0000" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ResponseError("unknown command `EVAL`, with args beginning with: `0000`, "), "fakeredis"),  # Dragonfly
        (ResponseError("unsupported command 'eval' 0000"), "provider"),  # Envoy
        (ResponseError("Command is not available: 'EVAL' 0000"), "provider"),  # Upstash
        (ResponseError("ACL failure in script: User app has no permissions to run the 'set' command"), "ACL"),  # 7.2
        (NoPermissionError("No permissions to access a key"), "ACL"),
        (MovedError("3999 127.0.0.1:6381"), "redis+cluster"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory' 0000."), ""),
        (ResponseError("wrong number of arguments for 'eval' command"), ""),
    ],
)
def test_an_error_says_what_to_do_and_quotes_nothing(error: Exception, words: str) -> None:
    """Where there is something to do."""

    class Refuses:
        def execute_command(self, *args: Any, **options: Any) -> Any:
            raise error

        pipeline = execute_command

    with pytest.raises(StoreUnavailable) as caught:
        RedisStore(Refuses()).get("0000")
    text = str(caught.value)
    assert text.startswith(f"GET failed with {type(error).__name__}")
    assert (words in text) if words else text.endswith(type(error).__name__)
    assert "0000" not in text
    assert "127.0.0.1" not in text
