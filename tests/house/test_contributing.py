"""What CONTRIBUTING.md, the Makefile and the changelog say is so."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
from support.project import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERBS = re.findall(r"^([a-z]+):.*## ", MAKEFILE, re.M)
MADE = {".venv", "dist/", ".example"}  # by a command, or no path at all
PATHS = sorted({path for path in re.findall(r"`([^` ]*[/.][^` ]*)`", PAGE) if re.fullmatch(r"[\w./-]+", path)} - MADE)


def test_the_page_explains_each_verb_of_the_makefile() -> None:
    """In its order; but for the list itself."""
    assert VERBS[0] == "help"
    assert re.findall(r"^\| `make (\w+)`", PAGE, re.M) == VERBS[1:]


def test_ci_and_the_page_use_verbs_that_there_are() -> None:
    """And CI checks with each verb that checks something."""
    used = re.findall(r"\bmake ([a-z]+)$", (ROOT / ".ci/run").read_text(), re.M)
    others = {"help", "run", "test", "browser"}
    assert {*used} == {*VERBS} - others, "the README's commands run and test, and thorough has the browser"
    assert {*re.findall(r"`make (\w+)", PAGE)} <= {*VERBS}


@pytest.mark.parametrize(
    "verb", ["help", "run", "test", "thorough", "browser", "check", "conformance", "benchmark", "dist"]
)
def test_a_verb_runs_programs_that_there_are(verb: str) -> None:
    """As make itself reads it."""
    command = ["make", "--dry-run", "--assume-old=.venv/ready", verb]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        pytest.skip("needs make")
    assert run.returncode == 0, run.stderr
    assert run.stdout
    assert "install --quiet -r" not in run.stdout
    for path in re.findall(r"\w+/\w+\.py", run.stdout):
        assert (ROOT / path).exists()


@pytest.mark.parametrize("path", PATHS)
def test_a_path_on_the_page_leads_somewhere(path: str) -> None:
    """To a file or a folder of the project."""
    assert (ROOT / path).exists()


def test_the_page_is_one_page() -> None:
    """It is read before anything is changed, so it may not be long."""
    assert len(PAGE.split()) <= 750


def test_the_changelog_begins_with_the_version_that_a_wheel_would_have() -> None:
    """With its date, or not released yet; and a version is there once."""
    parts = re.findall(r"^## \[(.+)\] - (\d{4}-\d\d-\d\d|unreleased)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    versions = [version for version, _ in parts]
    assert versions[0] == PROJECT["version"]
    assert len({*versions}) == len(versions)
    assert "unreleased" not in [date for _, date in parts[1:]]


def test_a_package_index_gets_addresses_that_people_look_for() -> None:
    """All under one roof."""
    addresses = PROJECT["urls"]
    assert {*addresses} == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert all(address.startswith(addresses["Homepage"]) for address in addresses.values())
