"""docs/testing.md: the recipes, as a developer would save and run them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

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
    assert len(blocks("python", PAGES["docs/testing.md"])) == len(RECIPES) + 1
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-qWerror", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{len(RECIPES)} passed" in run.stdout


def test_the_extra_brings_what_they_import() -> None:
    """It is `test`, as the page and the README have it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [name.partition(">")[0] for name in project["optional-dependencies"]["test"]]
    assert needed == ["fakeredis[lua]", "pytest"]
    for page in ("README.md", "docs/testing.md"):
        assert "pip install '.[test]'" in PAGES[page]
