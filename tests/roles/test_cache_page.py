"""docs/cache.md: its code, its keys, and that its figures are those of a program that anyone can run."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pytest
from flask import Flask, request
from support.docstrings import assert_page
from support.project import PAGES, ROOT, blocks, tables
from support.servers import find_redis_server

from roles import cache, cache_lease

PAGE = PAGES["docs/cache.md"]
OURS = "roles/cache.py"


def test_the_page_has_the_keys_and_the_setting_of_the_role() -> None:
    """Those of its docstring."""
    assert_page(PAGE, "cache")


def test_the_page_has_the_limits_of_the_code() -> None:
    """How many answers are kept, and how long they may be."""
    words = " ".join(PAGE.split())
    assert f"A name keeps {cache_lease.MAX_ANSWERS} of them, of {cache.MAX_BYTES // 1024} KiB at most" in words
    assert cache.cached("name", max_age=1).lease == 10
    assert "`cached(…, lease=10)`" in PAGE


def test_the_code_of_the_page_keeps_and_forgets(app: Flask) -> None:
    """Posts are read once, and again after one was written."""
    posts: list[str] = []
    reads: list[None] = []

    def read_posts() -> list[str]:
        reads.append(None)
        return posts

    (code,) = blocks("python", PAGE)
    exec(code, {"app": app, "request": request, "read_posts": read_posts, "write_post": posts.append})
    web = app.test_client()
    assert [web.get("/posts/trending").json for _ in range(2)] == [{"posts": []}] * 2
    assert web.post("/posts", data={"text": "news"}).status_code == 204
    assert [web.get("/posts/trending").json for _ in range(2)] == [{"posts": ["news"]}] * 2
    assert len(reads) == 2


def figures() -> dict[str, dict[str, str]]:
    """The table of the page: for each way, what was measured."""
    (table,) = [table for table in tables(PAGE) if table[0][0] == "what"]
    return {way: {row[0]: row[column] for row in table[1:]} for column, way in enumerate(table[0]) if column}


def test_the_page_has_the_figures_of_a_whole_run() -> None:
    """One run of the view for 240 readers, none stale of 10,000; and the picture is that of such a run."""
    found: Any = figures()
    assert [*found] == ["cache-aside", "dogpile.cache", OURS]
    assert found["cache-aside"]["cold: builds"] == "240"
    assert found[OURS]["cold: builds"] == "1"
    assert found[OURS]["expiry: builds each time"] == "1.00"
    assert found[OURS]["forgotten while it is made: stale afterwards, of 10,000"] == "0"
    assert found[OURS]["Redis away: answers with status 200, of 10"] == "10"
    assert re.search(
        r"^20\d\d-\d\d-\d\d, Python [\w.]+, Redis [\w.]+, redis-py [\w.]+, dogpile.cache [\w.]+, ", PAGE, re.M
    )
    picture = ElementTree.fromstring((ROOT / "docs/cache.svg").read_text())
    texts = {element.text for element in picture.iter() if element.tag.endswith("text")}
    assert {"60 readers: 60 view runs", "60 readers: 1 view run"} <= texts


@pytest.mark.thorough
def test_the_program_that_measures_finds_the_counts_right() -> None:
    """In its short form, on a Redis of its own; and it knows the option that the page has."""
    find_redis_server()
    program = [sys.executable, str(ROOT / "benchmarks/cache.py")]
    run = subprocess.run([*program, "--short"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    (command,) = blocks("sh", PAGE)
    usage = subprocess.run([*program, "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert command.split()[1:] == ["benchmarks/cache.py", "--write-docs"]
    assert "--write-docs" in usage
