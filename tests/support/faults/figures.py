"""The table of the fault matrix: a row for each fault, and what it was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from typing import NamedTuple

import redis

from support.project import ROOT

HEAD = ("fault", "requests", "wrong responses", "503s", "longest wait", "seconds of unavailability")
PAGE = ROOT / "docs" / "faults.md"  # the table stands there, between two marks
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"


class Figures(NamedTuple):
    """A row of the table."""

    fault: str
    requests: int
    wrong: int
    refused: int  # answers with status 503, and connections that broke without an answer
    longest: float  # seconds
    unavailable: float  # seconds, from the fault until the last answer that was a refusal

    def __str__(self) -> str:
        times = f"{1000 * self.longest:.0f} ms | {self.unavailable:.1f}"
        return f"| {self.fault} | {self.requests} | {self.wrong} | {self.refused} | {times} |"


FIGURES: list[Figures] = []  # of this run


def table() -> list[str]:
    """The rows of this run, in Markdown, and what it ran on."""
    versions = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    number = versions.partition("v=")[2].partition(" ")[0]
    line = f"Python {platform.python_version()}, Redis {number}, redis-py {redis.__version__}, {os.cpu_count()} cores."
    head = [f"| {' | '.join(HEAD)} |", f"| --- {'| ---: ' * (len(HEAD) - 1)}|"]
    return [*head, *map(str, FIGURES), "", f"{datetime.now(UTC):%Y-%m-%d}, {line}"]


def write_docs() -> None:
    """The table takes the place of the one before."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    PAGE.write_text("\n".join([before + begin, *table(), end + after]))
