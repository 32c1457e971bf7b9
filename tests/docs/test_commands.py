"""Commands of the pages that no transcript shows: what they name is there, and the ones that set up are run by CI."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
from support.project import PAGES, ROOT, blocks, section

from _redis_store import servers
from _redis_store.connection import MAX_CONNECTIONS
from app import create_app
from redis_store import MAKE_KEY, connect


def test_the_first_two_commands_set_up_run_and_test() -> None:
    """What they name is there. The checks that run on each change run the commands themselves."""
    (block,) = blocks("sh", section("README.md", "Quick start"))
    run, test = block.splitlines()
    setup = "python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements.txt && "
    assert run == f"{setup}.venv/bin/flask run"
    assert test == f"{setup}.venv/bin/python -m pytest"
    assert (ROOT / "requirements.txt").exists()
    assert (ROOT / "run-on-redis").stat().st_mode & 0o111
    assert create_app({"TESTING": True}).test_client().get("/").status_code == 200


def test_the_demo_app_starts_with_the_settings_that_the_page_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line but the two with gunicorn is run, in a shell; then what gunicorn would call."""
    (block,) = blocks("sh", section("docs/operations.md", "The demo app in production"))
    install, *exports, start = block.splitlines()
    assert (install, start) == (
        ".venv/bin/pip install gunicorn",
        ".venv/bin/gunicorn --workers 4 --threads 120 --graceful-timeout 5 'app:create_app()'",
    )
    assert MAKE_KEY in block
    script = "\n".join(exports).replace(".venv/bin/python", shlex.quote(sys.executable))
    names = re.findall(r"^export (\w+)=", script, re.M)
    command = f"set -eu\n{script}\n" + "".join(f'printf "%s\\0" "${name}"\n' for name in names)
    shown = subprocess.run(["sh", "-c", command], input="lovelace\n", capture_output=True, text=True, check=True)
    for name, value in zip(names, shown.stdout.split("\0"), strict=False):
        monkeypatch.setenv(name, value)
    app = create_app()
    assert [*app.config["ACCOUNTS"]] == ["ada"]
    assert app.test_client().get("/health/live").status_code == 200


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("page", "option"), [("docs/benchmarks.md", "--write-docs"), ("docs/faults.md", "--write-docs")]
)
def test_what_measures_anew_knows_its_options(page: str, option: str) -> None:
    """The program, or pytest, lists the option in its help."""
    (command,) = blocks("sh", PAGES[page])
    words = [sys.executable if "python" in word else word for word in shlex.split(command)]
    assert option in words
    run = subprocess.run([*words, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert option in run.stdout


def test_the_conformance_with_koa_is_a_program() -> None:
    """CI runs it; here it is enough that it is there."""
    (command,) = blocks("sh", PAGES["docs/koa-session2.md"])
    assert (ROOT / command.split()[1]).exists()


def test_what_a_process_opens_is_bounded_as_the_page_says() -> None:
    """By default, and by the option of the URL."""
    text = section("docs/operations.md", "Deployment")
    assert re.findall(r"up to (\d+), as", text) == [str(MAX_CONNECTIONS)]
    ((option, number),) = re.findall(r"`\?(\w+)=(\d+)`", text)
    client = connect(f"redis://localhost/0?{option}={number}")
    assert client.connection_pool.max_connections == int(number)


def test_urls_of_several_servers_are_those_of_the_code() -> None:
    """As its docstring has them, whose tests connect with each."""
    (block,) = blocks("text", section("docs/operations.md", "Several servers"))
    urls = re.findall(r"^    (redis\+.*)$", servers.__doc__ or "", re.M)
    assert block.splitlines() == [url.replace("...", "…") for url in urls]
