"""docs/exercises.md: what each exercise changes turns exactly the test red that it names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.project import PAGES, ROOT, blocks

EXERCISES = re.findall(r"^## (\d+)\. (.*?)\n(.*?)(?=^## |\Z)", PAGES["docs/exercises.md"], re.M | re.S)
NEEDED = ("_redis_store", "docs", "roles", "static", "study", "templates", "tests")  # by the tests that are named


def copy_project(folder: Path) -> None:
    """Copy what the tests need."""
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy(path, folder)
    for name in NEEDED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def run(folder: Path, file: str) -> set[str]:
    """Return the tests of a file that fail; of one that runs on several backends, the name alone."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", file]
    env = {**os.environ, "PYTEST_ADDOPTS": ""}  # it is for this run
    run = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    failed = re.findall(r"^FAILED (.*?)(?: - .*)?$", run.stdout, re.M)
    return {re.sub(r"\[(fakeredis|redis-server).*", "", name) for name in failed}


def test_there_are_at_least_eight() -> None:
    """Numbered, each with a question and an answer."""
    assert [number for number, _, _ in EXERCISES] == [str(number + 1) for number in range(len(EXERCISES))]
    assert len(EXERCISES) >= 8
    assert all("?" in text and "<summary>Answer</summary>" in text for _, _, text in EXERCISES)


def do(text: str) -> tuple[str, str]:
    """Return the file that an exercise changes, and what is in it then."""
    (file,) = re.findall(r"^In `(.+)`, (?:delete|replace)$", text, re.M)
    old, new = (*blocks("python", text), "")[:2]
    if (code := (ROOT / file).read_text()).count(old) == 0:  # a part of a line
        old, new = old.rstrip(), new.rstrip()
    assert code.count(old) == 1
    return file, code.replace(old, new)


@pytest.mark.parametrize("text", [text for _, _, text in EXERCISES])
def test_what_an_exercise_changes_is_there(text: str) -> None:
    """Once, in the file that it names."""
    file, changed = do(text)
    assert changed != (ROOT / file).read_text()


def turn_red(text: str, folder: Path) -> set[str]:
    """Return the tests that fail once an exercise is done, of the file that it names."""
    copy_project(folder)
    file, changed = do(text)
    (folder / file).write_text(changed)
    return run(folder, named_by(text).partition("::")[0])


def named_by(text: str) -> str:
    (named,) = re.findall(r"^Red: `(.+)`$", text, re.M)
    return str(named)


@pytest.mark.thorough
def test_each_exercise_turns_the_test_red_that_it_names(tmp_path: Path) -> None:
    """In its file that test fails, and no other. Two are done at a time."""
    folders = [tmp_path / number for number, _, _ in EXERCISES]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        red = [*pool.map(turn_red, [text for _, _, text in EXERCISES], folders)]
    assert red == [{named_by(text)} for _, _, text in EXERCISES]
