"""What one process holds: the figures are those of a run, and the program that makes them works."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from support.project import PAGES, ROOT, section, tables
from support.servers import find_redis_server

FIGURES = section("docs/notifications.md", "How many one process holds")


def test_the_page_has_figures_of_a_run_without_a_fault() -> None:
    """With as many clients as were promised, each cut off a hundred times; and README.md names the last row."""
    (table,) = tables(FIGURES)
    text = " ".join(FIGURES.split())
    found = re.search(
        r"500 clients of another process were cut off 100 times each, .* Of [\d,]+ messages (.*) gaps\.", text
    )
    assert found
    assert re.findall(r"\d+", found[1]) == ["0", "0", "0"]
    assert int(re.findall(r"(\d+) threads", text)[-1]) <= 500 + 50 + 3, "gunicorn's own, and three"
    most, *_, each = table[-1]
    assert f"One process holds {most} browsers that wait, for {each} each" in " ".join(PAGES["README.md"].split())


@pytest.mark.thorough
def test_the_program_that_measures_works() -> None:
    """With few clients, each cut off some times: it finds nothing lost, twice, or left behind."""
    find_redis_server()
    if find_spec("gunicorn") is None or sys.platform != "linux":
        pytest.skip("needs gunicorn, and Linux")
    command = [sys.executable, "benchmarks/notifications.py", "--short"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "40 clients of another process were cut off 5 times each" in run.stdout
