"""docs/tokens.md: what it says of settings and keys, and that a program gets tokens as it shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import jwt
import pytest
from support.docstrings import assert_page
from support.project import PAGES, blocks
from support.servers import RedisServer
from support.serving import serve
from werkzeug.security import generate_password_hash

from app import create_app

PAGE = PAGES["docs/tokens.md"]


def test_the_page_has_the_settings_and_the_keys_of_the_role() -> None:
    """Those of its docstring."""
    assert_page(PAGE, "tokens")


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl on the PATH")
def test_a_program_gets_tokens_as_shown(server: RedisServer, tmp_path: Path) -> None:
    """All its commands in one shell, with the outputs that the page has, but for the tokens themselves."""
    config = {"SECRET_KEY": "k" * 32, "ACCOUNTS": {"ada": generate_password_hash("lovelace")}}
    (transcript,) = blocks("shell-session", PAGE)
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", transcript, re.M)
    assert len(steps) == 8
    script = "".join(f"{command}\nprintf '\\0'\n" for command, _ in steps)
    with serve(create_app({**config, "ACCESS_TOKEN_KEY": "a" * 32}, server.connect())) as site:
        words = ["sh", "-euc", script.replace("http://127.0.0.1:5000", site)]
        run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    first, second = ((tmp_path / name).read_text() for name in ("first", "second"))
    assert first != second
    (check,) = blocks("python", PAGE)
    exec(check, {"jwt": jwt, "token": json.loads(first)["accessToken"], "key": "a" * 32})
    for (command, expected), output in zip(steps, run.stdout.split("\0"), strict=False):
        shortened = re.sub(r'(?<=:")(eyJ|[0-9a-f]{3})[^"]{40,}', "…", output)
        assert shortened == re.sub(r"\w+…", "…", expected), command
