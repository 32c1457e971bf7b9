"""docs/jobs.md: what it says of settings, keys and times, its example, and its transcript."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask, current_app
from support.docstrings import block, keys_of
from support.project import PAGES, blocks, tables
from support.roles.jobs import JOB, enqueue, learn, make_due, work
from support.servers import RedisServer

from roles import jobs, jobs_worker

PAGE = PAGES["docs/jobs.md"]
TEXT = " ".join(PAGE.split())


def test_the_page_has_the_settings_and_the_keys_of_the_role() -> None:
    """Those of its docstring."""
    by_head = {table[0][0]: table[1:] for table in tables(PAGE)}
    assert [row[0].strip("`") for row in by_head["setting"]] == [line.split()[0] for line in block("jobs", "Settings")]
    shown = {re.sub("<.*?>", "*", key.strip("`")): int(ttl.removesuffix(" s")) for key, ttl, _ in by_head["key"]}
    assert shown == keys_of("jobs")


def test_the_page_has_the_times_of_the_code() -> None:
    """When a job is tried again, and when its worker counts as dead."""
    first, second, third = jobs.INTERVALS
    assert f"tried again after {first}, {second} and {third} seconds" in TEXT
    assert f"longer than {jobs.TIMEOUT} seconds" in TEXT
    assert f"after {jobs_worker.ALIVE} seconds without a heartbeat" in TEXT
    assert jobs_worker.BEAT == 2
    assert "two seconds late at most" in TEXT


def test_the_example_of_the_page_is_a_job(jobs_app: Flask) -> None:
    """It is enqueued, for later, and done."""
    seen: list[Any] = []
    names: dict[str, Any] = {"current_app": current_app, "uuid4": lambda: type("id", (), {"hex": JOB})}
    exec(blocks("python", PAGE)[0], names)
    names["init_app"](jobs_app)
    learn(jobs_app, "resize", lambda **arguments: seen.append(arguments))
    with jobs_app.app_context():
        names["view"]()
        make_due(current_app.extensions["jobs"].store.client)
    work(jobs_app)
    assert seen == [{"picture": "cat.jpg", "width": 80}]


def test_the_commands_show_what_the_page_shows(jobs_app: Flask, server: RedisServer) -> None:
    """But for ids, times, and how wide the columns are."""
    steps = re.findall(r"^\$ .venv/bin/flask (.*)\n((?:(?!\$ ).*\n)*)", blocks("console", PAGE)[0], re.M)
    scheduled, failed = re.findall(r"^(\w{32})  (?:scheduled|failed)", steps[0][1], re.M)

    def refuse() -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    learn(jobs_app, "mail", refuse)
    enqueue(jobs_app, "mail", failed)
    for _ in jobs.INTERVALS:
        work(jobs_app)
        make_due(server.connect(), failed)
    work(jobs_app)
    enqueue(jobs_app, "mail", scheduled, delay=600)
    for command, expected in steps:
        shown = jobs_app.test_cli_runner().invoke(args=command.split()).output
        assert _without_times(shown) == _without_times(expected)


def _without_times(text: str) -> list[str]:
    return [re.sub(r"\d{4}-\S+ \S+", "time", line).rstrip() for line in text.splitlines()]
