"""docs/testing.md: the recipes, as a developer would save and run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.clock import Clock
from support.dict_store import DictStore
from support.project import PAGES, ROOT, blocks, recipe, section

RECIPES = ("Seed a session", "Play an outage and its end", "Move the clock", "Revoke")


def test_the_recipes_pass_with_the_app_of_the_readme(tmp_path: Path) -> None:
    """Each block in a file, and pytest over them all."""
    shop, conftest = recipe("def create_app("), recipe("def redis_server(")
    (tmp_path / "shop.py").write_text(shop)
    (tmp_path / "conftest.py").write_text(conftest)
    for number, title in enumerate(RECIPES):
        (code,) = blocks("python", section("docs/testing.md", title))
        (tmp_path / f"test_{number}.py").write_text(code)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-qWerror", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{len(RECIPES)} passed" in run.stdout


def test_the_store_in_a_dict_is_the_one_that_keeps_the_contract() -> None:
    """Line by line, but for its docstring."""
    source = (ROOT / "tests/support/dict_store.py").read_text()
    shown, _ = blocks("python", section("docs/testing.md", "Hold your own store to the contract"))
    _, _, code = source.partition("class DictStore")
    assert shown == "class DictStore" + re.sub(r'^    """.*"""\n\n', "", code, count=1, flags=re.M)


def test_a_store_is_held_to_the_contract_by_these_lines() -> None:
    """They are those of the contract's own docstring, and pass for the store in a dict."""
    _, lines = blocks("python", section("docs/testing.md", "Hold your own store to the contract"))
    docstring, _, _ = (ROOT / "tests/store/contract.py").read_text().partition("from __future__")
    assert textwrap.indent(lines, "    ").replace("DictStore", "MyStore") in docstring
    names: dict[str, Any] = {"pytest": pytest, "Clock": Clock, "DictStore": DictStore, "CLAIMS": []}
    exec(lines, names)
    names["test_my_store_keeps_the_contract"](lambda store, later: later(int(store.add("sid", {}, max_age=9))))


def test_the_extra_brings_what_they_import() -> None:
    """It is `test`, as the page and the README have it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [name.partition(">")[0] for name in project["optional-dependencies"]["test"]]
    assert needed == ["fakeredis[lua]", "pytest"]
    for page in ("README.md", "docs/testing.md"):
        assert "pip install '.[test]'" in PAGES[page]
