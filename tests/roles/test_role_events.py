"""What roles tell whoever counts it: the signal "role-event", with a word from a short list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from support.apps import interface_of
from support.project import ROOT
from support.roles import jobs
from support.roles.throttle import attack, sign_in
from support.roles.tokens import CONFIG, log_in, refresh

from app import create_app
from roles import EVENTS, cache, happened

Told = list[str]


@pytest.fixture
def app(least: Any) -> Flask:
    return create_app(CONFIG, least)


@pytest.fixture
def told(app: Flask) -> Iterator[Told]:
    """The words that the roles of this app say, in order."""
    told: Told = []

    def listen(sender: Any, *, reason: str, **said: Any) -> None:
        assert sender is app
        assert said == {"number": 1}
        told.append(reason)

    with happened.connected_to(listen, app):
        yield told


def test_a_throttled_sign_in_is_told(app: Flask, told: Told) -> None:
    """Each attempt that is refused, and no other."""
    sign_in(app)
    assert told == []
    attack(app)
    assert {*told} == {"sign-in-throttled"}
    before = len(told)
    sign_in(app, password="lovelace", address="198.51.100.1")
    assert len(told) == before + 1


def test_a_replayed_token_is_told(app: Flask, told: Told) -> None:
    """When a refresh token comes again after its successor was used."""
    _, first = log_in(app)
    second = refresh(app, first)
    assert refresh(app, second)
    assert told == []
    assert refresh(app, first) is None
    assert told == ["token-replayed"]


def test_an_answer_that_is_made_for_the_cache_is_told(app: Flask, told: Told) -> None:
    """Once, however often it is given; and again when it was forgotten."""
    for _ in range(2):
        assert app.test_client().get("/posts/trending").status_code == 200
    assert told == ["cache-built"]
    with app.app_context():
        cache.forget("posts:trending")
    app.test_client().get("/posts/trending")
    assert told == ["cache-built"] * 2


def test_a_job_is_told_when_it_is_done_or_no_try_is_left(jobs_app: Flask) -> None:
    """Not when it will be tried again; a listener hears it in the process of the worker."""

    def fail(**arguments: Any) -> None:
        raise ValueError

    told: Told = []

    def listen(sender: Any, *, reason: str, **_: Any) -> None:
        told.append(reason)

    client = interface_of(jobs_app).store.client
    jobs.learn(jobs_app, "fail", fail)
    with happened.connected_to(listen, jobs_app):
        jobs.notice(jobs_app)
        jobs.enqueue(jobs_app, "note", "0" * 32)
        jobs.work(jobs_app)
        assert told == ["job-done"]
        jobs.enqueue(jobs_app, "fail")
        jobs.work(jobs_app)
        while jobs.status(client) == "scheduled":
            assert told == ["job-done"]
            jobs.make_due(client)
            jobs.work(jobs_app)
    assert told == ["job-done", "job-failed"]
    assert jobs.status(client) == "failed"


def test_a_job_for_which_there_is_no_worker_is_told(jobs_app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """As soon as the last one has not been there for longer than a job may run; /monitor says what waits."""
    told: Told = []

    def listen(sender: Any, *, reason: str, **_: Any) -> None:
        told.append(reason)

    client, problems = interface_of(jobs_app).store.client, jobs_app.extensions["jobs"].find_problems
    with jobs_app.app_context(), happened.connected_to(listen, jobs_app):
        jobs.notice(jobs_app)
        assert 60 < client.ttl("rq:beat:jobs") <= 90
        jobs.enqueue(jobs_app)
        assert (told, problems()) == ([], [])
        client.delete("rq:beat:jobs")
        jobs.enqueue(jobs_app)
        assert told == ["job-waits"]
        assert "no worker was there for 90 s" in caplog.text
        assert problems() == [("JobsWait", "Jobs wait: 2, and no worker is there.")]
        assert told == ["job-waits"] * 2
        jobs.work(jobs_app)
        client.delete("rq:beat:jobs")
        assert problems() == []
    assert told == ["job-waits"] * 2 + ["job-done"] * 2


def test_a_job_that_is_to_run_later_waits_for_a_worker_too(jobs_app: Flask) -> None:
    """Only a worker sees that it is due, or that it is to be tried again: so /monitor says it of these too."""
    problems = jobs_app.extensions["jobs"].find_problems
    with jobs_app.app_context():
        jobs.enqueue(jobs_app, delay=10)
        assert problems() == [("JobsWait", "Jobs wait: 1, and no worker is there.")]
        jobs.notice(jobs_app)
        assert problems() == []


def test_a_job_is_told_when_its_last_worker_is_killed(jobs_app: Flask) -> None:
    """Whether that had begun to run it or not; and not before."""
    told: Told = []

    def listen(sender: Any, *, reason: str, **_: Any) -> None:
        told.append(reason)

    client = interface_of(jobs_app).store.client
    with happened.connected_to(listen, jobs_app):
        for running in (True, False):
            jobs.notice(jobs_app)
            jobs.enqueue(jobs_app)
            for _ in range(4):
                assert told == []
                jobs.die(jobs_app, running=running)
                jobs.notice(jobs_app)
                jobs.let_time_pass(client)
                jobs.notice(jobs_app)
                if jobs.status(client) == "scheduled":
                    jobs.make_due(client)
                    jobs.notice(jobs_app)
            assert jobs.status(client) == "failed"
            assert told == ["job-failed"]
            told.clear()
            client.flushall()


def test_each_event_is_told_by_some_role() -> None:
    """The list has no other."""
    code = "".join(path.read_text() for path in (ROOT / "roles").glob("[a-z]*.py"))
    assert {*re.findall(r"\btell\(\"([\w-]+)\"\)", code)} == {*EVENTS}
