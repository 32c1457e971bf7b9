"""The options of the command line, and what a run says at its end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from support import tiers
from support.faults import figures
from support.templates import compile_once

LEFT_OUT = pytest.StashKey[int]()  # how many tests only the thorough tier has


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure")
    parser.addoption("--thorough", action="store_true", help="every round, order and fault: see tests/support/tiers.py")
    parser.addoption(
        "--machine-examples", type=int, help="how many runs tests/stateful/test_machine.py tries, at random"
    )
    parser.addoption("--write-docs", action="store_true", help="figures and pictures go into docs/")


def pytest_configure(config: pytest.Config) -> None:
    tiers.choose(config)
    compile_once()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = tiers.left_out(items)
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=[*left_out])
    config.stash[LEFT_OUT] = len(left_out)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in figures.table() if figures.FIGURES else []:
        terminalreporter.write_line(line)
    skipped = Counter(str(report.longrepr[-1]) for report in terminalreporter.stats.get("skipped", []))
    for reason, number in skipped.items():
        terminalreporter.write_line(f"skipped, {number} of them: {reason.removeprefix('Skipped: ')}")
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"{left_out} tests were left out, and rounds of others: --thorough has them all")
