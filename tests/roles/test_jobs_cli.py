"""`flask jobs`: what an operator sees of the queue, and does with what has failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from support.project import ROOT
from support.roles.jobs import JOB, QUEUE, die, enqueue, learn, make_due, status, work
from support.roles.mail import MAIL, Postbox, fill_in, send, sign_in_to
from support.servers import RedisServer
from support.topology import wait_until

from roles.jobs import INTERVALS, STATES


@pytest.fixture
def redis(server: RedisServer) -> Any:
    return server.connect()


def flask(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["jobs", *words])


def rows(app: Flask, *words: str) -> list[Any]:
    return [json.loads(line) for line in flask(app, "list", "--json", *words).output.splitlines()]


def fail_for_good(app: Flask, redis: Any, job_id: str, reason: str = "the printer is on fire") -> None:
    def fail() -> None:
        raise LookupError(reason)

    learn(app, "fail", fail)
    enqueue(app, "fail", job_id)
    for number in range(len(INTERVALS) + 1):
        if number:
            make_due(redis, job_id)
        work(app)
    assert status(redis, job_id) == "failed"


def test_each_job_is_listed_in_its_state(jobs_app: Flask, redis: Any) -> None:
    """With the time that counts there, in UTC, the tries that are left, and why it failed."""
    fail_for_good(jobs_app, redis, "f" * 32)
    enqueue(jobs_app, job_id="d" * 32)
    work(jobs_app)
    enqueue(jobs_app, job_id="a" * 32)
    die(jobs_app, running=True)
    enqueue(jobs_app, job_id="b" * 32, delay=3600)
    enqueue(jobs_app, job_id="c" * 32)
    listed = rows(jobs_app)
    assert [(row["state"], row["id"][0], row["tries_left"]) for row in listed] == [
        ("queued", "c", 3),
        ("scheduled", "b", 3),
        ("started", "a", 3),
        ("failed", "f", 0),
        ("finished", "d", 3),
    ]
    assert [row["error"] for row in listed if row["error"]] == ["LookupError: the printer is on fire"]
    assert listed[1]["time"] > max(row["time"] for row in listed if row["state"] != "scheduled")
    assert [row["id"][0] for row in rows(jobs_app, "failed")] == ["f"]
    head, *lines = flask(jobs_app, "list").output.splitlines()
    assert head.split() == ["ID", "STATE", "TIME", "(UTC)", "TRIES", "LEFT", "NAME", "ERROR"]
    assert [line.split()[0] for line in lines] == [row["id"] for row in listed]
    counted = json.loads(flask(jobs_app, "stats", "--json").output)
    assert counted == dict.fromkeys(STATES, 1) | {"workers": 0}
    assert flask(jobs_app, "stats").output.split() == [word for pair in counted.items() for word in map(str, pair)]


def test_to_list_changes_nothing(jobs_app: Flask, redis: Any) -> None:
    """RQ's own would try again what was abandoned."""
    enqueue(jobs_app)
    die(jobs_app, running=True)
    redis.zadd("rq:wip:jobs", {redis.zrange("rq:wip:jobs", 0, 0)[0]: 1})
    before = {key: redis.dump(key) for key in redis.keys("rq:*")}
    assert flask(jobs_app, "list").exit_code == flask(jobs_app, "stats").exit_code == 0
    assert {key: redis.dump(key) for key in redis.keys("rq:*")} == before


@pytest.mark.parametrize("result", [{"type": "2", "created_at": "1", "exc_string": "AAAA"}, {"type": "2"}], ids=str)
def test_a_result_that_cannot_be_read_stops_no_list(jobs_app: Flask, redis: Any, result: dict[str, str]) -> None:
    """Nor does a field of a job; others wrote them."""
    for job_id in ("a" * 32, "b" * 32):
        enqueue(jobs_app, job_id=job_id)
        redis.zadd("rq:failed:jobs", {job_id: 9e9})
    redis.xadd("rq:results:" + "a" * 32, result)
    redis.hset("rq:job:" + "b" * 32, "timeout", "soon")
    output = jobs_app.test_cli_runner().invoke(args=["jobs", "list", "failed"], catch_exceptions=False).output
    assert output.count("failed") == 2


def test_a_list_has_an_end(jobs_app: Flask) -> None:
    """However many jobs wait."""
    for number in range(5):
        enqueue(jobs_app, job_id=str(number) * 32)
        enqueue(jobs_app, job_id=chr(ord("a") + number) * 32, delay=60)
    assert [row["state"] for row in rows(jobs_app, "--limit", "2")] == ["queued"] * 2 + ["scheduled"] * 2


def test_what_has_failed_is_tried_again_on_demand(jobs_app: Flask, redis: Any) -> None:
    """With all its tries, and no TTL while it waits."""
    for job_id in ("a" * 32, "b" * 32, "c" * 32):
        fail_for_good(jobs_app, redis, job_id)
    learn(jobs_app, "fail", lambda: None)
    result = flask(jobs_app, "retry", "a" * 32)
    assert (result.exit_code, result.output) == (0, "Enqueued again: 1 of 1.\n")
    assert redis.ttl(f"rq:job:{'a' * 32}") == -1
    assert [(row["id"][0], row["tries_left"]) for row in rows(jobs_app, "queued")] == [("a", 3)]
    assert flask(jobs_app, "retry").output == "Enqueued again: 2 of 2.\n"
    work(jobs_app)
    assert json.loads(flask(jobs_app, "stats", "--json").output)["finished"] == 3
    assert redis.zcard("rq:failed:jobs") == 0


def test_what_has_not_failed_is_not_tried_again(jobs_app: Flask, redis: Any) -> None:
    """The exit code tells."""
    enqueue(jobs_app)
    result = flask(jobs_app, "retry", JOB, "unknown")
    assert (result.exit_code, "0 of 2" in result.output) == (1, True)
    assert redis.lrange(QUEUE, 0, -1) == [JOB.encode()]


def test_nothing_that_others_wrote_moves_a_cursor(jobs_app: Flask, redis: Any) -> None:
    """Names, reasons and ids: control characters are shown, not sent."""
    fail_for_good(jobs_app, redis, "f" * 32, reason="\x1b[2J\u202egone\r")
    redis.hset(f"rq:job:{'f' * 32}", "description", "\x1b]0;title\x07")
    redis.rpush(QUEUE, "\x1b[31mred")
    output = flask(jobs_app, "list").output
    assert "\\x1b]0;title\\x07" in output
    assert "\\x1b[31mred" in output
    assert "\\x1b[2J\\u202egone" in output
    assert all(character.isprintable() or character == "\n" for character in output)


# A process of its own -----------------------------------------------------------------------------------------------


def start(server: RedisServer, *words: str, **settings: str) -> subprocess.Popen[str]:
    """Begin a command of `flask jobs`, as an operator does."""
    environment = {"REDIS_URL": server.patient_url, "SECRET_KEY": "k" * 32, "PYTHONPATH": str(ROOT), **settings}
    return subprocess.Popen(
        [sys.executable, "-m", "flask", "jobs", *words],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_worker_sends_what_a_view_enqueued(jobs_app: Flask, server: RedisServer, postbox: Postbox) -> None:
    """In a process of its own, with the settings of its environment."""
    enqueue(jobs_app, "mail", id=JOB, owner="ada", **MAIL)
    process = start(server, "work", "--burst", FLASK_MAIL_SERVER=f"smtp://127.0.0.1:{postbox.port}")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    (mail,) = postbox.mails
    assert mail["Message-ID"] == f"<{JOB}@localhost>"
    assert MAIL["to"] not in output
    assert status(server.connect()) == "finished"
    assert server.connect().exists(f"MAIL:SESSION:{JOB}")


def test_the_pages_of_the_owner_hear_how_far_a_mail_is(jobs_app: Flask, redis: Any) -> None:
    """By the notifications: that it is on its way, is being sent, and was sent."""
    web = sign_in_to(jobs_app)
    form = fill_in(web)
    assert send(web, form).status_code == 303
    work(jobs_app)
    stream = redis.xrange("NOTIFICATIONS:SESSION:ada")
    heard = [json.loads(fields[b"message"]) for _, fields in stream]
    assert [(message["job"], message["progress"]) for message in heard] == [(form["id"], n) for n in (0, 50, 100)]


def test_a_mail_server_that_is_away_is_asked_again(jobs_app: Flask, redis: Any, postbox: Postbox) -> None:
    """The mail arrives once, when it is back."""
    jobs_app.config["MAIL_SERVER"] = f"smtp://127.0.0.1:{postbox.port}"
    postbox.refuses = 2
    enqueue(jobs_app, "mail", id=JOB, owner="ada", **MAIL)
    for number in range(3):
        if number:
            make_due(redis)
        work(jobs_app)
    assert len(postbox.mails) == 1
    enqueue(jobs_app, "mail", id=JOB, owner="ada", **MAIL)
    work(jobs_app)
    assert len(postbox.mails) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_asked_to_stop_ends_its_job_first(
    jobs_app: Flask, server: RedisServer, postbox: Postbox, number: signal.Signals
) -> None:
    """And takes no other one; its exit code is 0."""
    redis, may_go_on = server.connect(), threading.Event()
    postbox.waits_for = may_go_on
    enqueue(jobs_app, "mail", id=JOB, owner="ada", **MAIL)
    process = start(server, "work", FLASK_MAIL_SERVER=f"smtp://127.0.0.1:{postbox.port}")
    wait_until(lambda: status(redis) == "started")
    process.send_signal(number)
    enqueue(jobs_app, "mail", "a" * 32, id="a" * 32, owner="ada", **MAIL)
    may_go_on.set()
    output, _ = process.communicate(timeout=120)
    assert (process.returncode, status(redis), status(redis, "a" * 32)) == (0, "finished", "queued"), output
    assert redis.smembers("rq:workers") == set()


@pytest.mark.thorough
def test_a_worker_whose_redis_goes_away_ends_with_1(make_server: Any) -> None:
    """So that what started it starts it again."""
    server = make_server()
    process = start(server, "work")
    wait_until(lambda: server.connect().smembers("rq:workers"))
    server.connect().config_set("maxmemory", 1)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output


@pytest.mark.parametrize("key", [f"rq:results:{JOB}", f"rq:job:{JOB}"])
def test_a_key_of_another_type_ends_no_list(jobs_app: Flask, redis: Any, key: str) -> None:
    """The job is there, and what cannot be read of it is malformed."""
    fail_for_good(jobs_app, redis, JOB)
    redis.delete(key)
    redis.set(key, "x")
    result = flask(jobs_app, "list", "failed")
    assert (result.exit_code, JOB in result.output, "(malformed)" in result.output) == (0, True, True)


def test_a_job_that_is_named_twice_is_one(jobs_app: Flask, redis: Any) -> None:
    """All of them are enqueued again."""
    fail_for_good(jobs_app, redis, JOB)
    assert flask(jobs_app, "retry", JOB, JOB).output == "Enqueued again: 1 of 1.\n"
