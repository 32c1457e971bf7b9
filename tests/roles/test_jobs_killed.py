"""Workers that are killed: the program that measures what becomes of their jobs, and what it has measured."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.project import PAGES, ROOT, section, tables
from support.servers import find_redis_server

JOBS = 50


def figures(text: str) -> dict[str, int]:
    """The rows of the table, with whole numbers."""
    (table,) = tables(text)
    return {name: int(figure.removesuffix(" s")) for name, figure in table[1:]}


def assert_good(found: dict[str, int], jobs: int) -> None:
    assert [found[name] for name in ("jobs that were lost", "jobs that failed")] == [0, 0]
    assert found["notes, made by `add`: one for each job"] == jobs
    assert found["mails that were sent more often"] == 0
    assert found["mails that were sent twice, with one `Message-ID`"] <= found["workers that were killed"]


@pytest.mark.thorough
def test_jobs_survive_workers_that_are_killed() -> None:
    """None is lost, each has its effect once, and a mail goes out twice only if a kill came in between."""
    find_redis_server()
    pytest.importorskip("aiosmtpd")
    command = [sys.executable, "benchmarks/jobs.py", "--jobs", str(JOBS), "--every", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    found = figures(run.stdout)
    assert found["workers that were killed"] > 1
    assert_good(found, JOBS)


def test_the_figures_of_the_page_are_good_ones() -> None:
    """Those of a thousand jobs, and of the program as it is."""
    found = figures(section("docs/jobs.md", "What was measured"))
    assert_good(found, 1000)
    assert found["jobs, for 2 workers"] == 1000
    assert found["from a kill until its job ran again: median"] < 60
    assert all(name in (ROOT / "benchmarks/jobs.py").read_text() for name in found if "workers" not in name)
    assert "--write-docs" in PAGES["docs/jobs.md"]
