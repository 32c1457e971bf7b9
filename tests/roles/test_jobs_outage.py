"""A Redis that is away, or of which jobs had better not be: what a view says, and what the log does."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
from flask import Flask
from redis import RedisError
from support.apps import interface_of
from support.demo import CONFIG, NO_REDIS, hurry, make_app
from support.faults.network import Proxy
from support.project import PERMISSIONS
from support.roles.jobs import JOB, QUEUE, enqueue, work
from support.roles.mail import MAIL, fill_in, send, sign_in_to
from support.servers import PATIENCE, RedisServer
from support.stopwatch import takes

from app import create_app
from redis_store import StoreUnavailable, connect
from roles.jobs_worker import make_worker

WARNING = "a full Redis loses jobs"


def jobs_of(client: Any) -> int:
    return len(client.keys("rq:job:*"))


@pytest.mark.thorough
@pytest.mark.parametrize("fault", ["stopped", "frozen", "full"])
def test_a_mail_that_cannot_be_enqueued_is_a_503(make_server: Any, fault: str) -> None:
    """Within a second, and never a 303: what the visitor is told is true. Sent again afterwards, it is one job."""
    server = make_server()
    app = create_app({**CONFIG, "JOBS_REDIS_URL": server.url}, fakeredis.FakeRedis())
    web = sign_in_to(app)
    form = fill_in(web)
    ways = {
        "stopped": (server.stop, server.start),
        "frozen": (server.freeze, server.thaw),
        "full": (
            lambda: server.connect().config_set("maxmemory", 1),
            lambda: server.connect().config_set("maxmemory", 0),
        ),
    }
    begin, end = ways[fault]
    begin()
    hurry(app)
    with takes(1.2):
        answer = send(web, form)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    end()
    app.config["SESSION_MAX_WAIT"] = PATIENCE
    assert fault == "frozen" or jobs_of(server.connect()) == 0  # a frozen one may have taken it in
    assert send(web, form).status_code == 303
    assert jobs_of(server.connect()) == 1


def test_a_lost_answer_is_an_error_and_the_job_is_there_once(server: RedisServer) -> None:
    """Nobody knows whether it was enqueued; to do it again with the same id is the same job."""
    proxy = Proxy(str(server.socket))
    app = make_app(proxy.connect())
    app.extensions["noted"] = []
    app.extensions["jobs"].functions["note"] = lambda **arguments: app.extensions["noted"].append(arguments)
    proxy.lose = 1
    with pytest.raises(StoreUnavailable):
        enqueue(app)
    proxy.lose = 0
    enqueue(app)
    assert jobs_of(server.connect()) == 1
    proxy.stop()


def test_what_is_left_of_the_time_of_a_request_is_all_that_there_is(server: RedisServer) -> None:
    """The visitor's session and the queue share it."""
    app = make_app(server.connect())
    hurry(app)
    with app.test_request_context():
        interface_of(app).namespace("JOBS").sender.budget = 0.0
        with pytest.raises(StoreUnavailable, match="waiting"):
            app.extensions["jobs"].enqueue("note", {}, JOB)
    assert jobs_of(server.connect()) == 0


def test_a_key_that_somebody_else_uses_is_an_error(server: RedisServer) -> None:
    """Not a job that is silently lost."""
    server.connect().set(QUEUE, "mine")
    with pytest.raises(StoreUnavailable, match="something else"):
        enqueue(make_app(server.connect()))


def test_the_app_starts_without_the_redis_of_the_jobs() -> None:
    """Its pages work; a mail is a 503."""
    app = create_app({**CONFIG, "JOBS_REDIS_URL": NO_REDIS}, fakeredis.FakeRedis())
    web = sign_in_to(app)
    assert web.get("/mail").status_code == 200
    assert send(web, fill_in(web)).status_code == 503


# Eviction ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "noeviction"])
def test_the_log_says_once_that_jobs_may_be_evicted(
    make_server: Any, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the first job, for the start must not need Redis."""
    app = make_app(make_server("--maxmemory-policy", policy).connect())
    assert WARNING not in caplog.text
    for number in range(3):
        enqueue(app, job_id=str(number) * 32)
    lines = [line for line in caplog.messages if WARNING in line]
    assert [policy in line for line in lines] == ([] if policy == "noeviction" else [True])


def test_where_nobody_may_ask_for_the_policy_the_job_is_enqueued(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The app's own user of Redis may not (INFO)."""
    enqueue(make_app(server.log_in(*PERMISSIONS)))
    assert jobs_of(server.connect()) == 1
    assert "policy" not in caplog.text


# Where there is no worker -----------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_on_a_redis_inside_the_process_the_page_sends_the_mail_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is enqueued there, and the commands say why they cannot help."""
    app = create_app({"TESTING": True})
    web = sign_in_to(app)
    assert "jobs" not in app.extensions
    assert "you wait here" in web.get("/mail").text
    assert send(web, fill_in(web)).status_code == 303
    assert f"To: {MAIL['to']}" in capsys.readouterr().out
    for command in ("list", "stats", "retry", "work"):
        result = app.test_cli_runner().invoke(args=["jobs", command])
        assert (result.exit_code, "JOBS_REDIS_URL" in result.output) == (1, True)


def test_an_app_on_a_cluster_has_no_jobs_but_on_another_redis(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """RQ cannot use a Cluster. The log says what to do."""
    cluster = connect("redis+cluster://127.0.0.1:1")
    app = create_app(CONFIG, cluster)
    assert "jobs" not in app.extensions
    (line,) = [line for line in caplog.messages if "Cluster" in line]
    assert "JOBS_REDIS_URL" in line
    with pytest.raises(ValueError, match="JOBS_REDIS_URL is a Cluster"):
        create_app({**CONFIG, "JOBS_REDIS_URL": "redis+cluster://127.0.0.1:1"}, cluster)
    enqueue(create_app({**CONFIG, "JOBS_REDIS_URL": server.url}, cluster))
    assert jobs_of(server.connect()) == 1


@pytest.mark.parametrize("url", ["", "http://localhost", "redis://:secret@host/x", 6379])
def test_a_wrong_url_stops_the_start(url: Any) -> None:
    """It is not shown, for it may hold a password."""
    with pytest.raises(ValueError, match="JOBS_REDIS_URL") as error:
        create_app({**CONFIG, "JOBS_REDIS_URL": url}, fakeredis.FakeRedis())
    assert "secret" not in str(error.value)


def test_a_worker_waits_longer_than_a_page_may(jobs_app: Flask, server: RedisServer) -> None:
    """Its client is one of its own: RQ sets the timeouts of whatever it is given."""
    client = server.connect(socket_timeout=0.25)
    app = make_app(client)
    with app.app_context():
        worker = make_worker()
        assert worker.connection.connection_pool.connection_kwargs["socket_timeout"] > worker.dequeue_timeout
    assert client.connection_pool.connection_kwargs["socket_timeout"] == 0.25


@pytest.mark.thorough
def test_a_client_that_decodes_is_no_problem(server: RedisServer) -> None:
    """For RQ it is one that does not."""
    app = make_app(server.connect(decode_responses=True))
    seen: list[Any] = []
    app.extensions["jobs"].functions["note"] = lambda **arguments: seen.append(arguments)
    enqueue(app, text="hé")
    work(app)
    assert seen == [{"text": "hé"}]


def test_without_redis_a_worker_does_not_start() -> None:
    """It says so in one line; something has to start it again."""
    app = create_app({**CONFIG, "JOBS_REDIS_URL": NO_REDIS}, fakeredis.FakeRedis())
    result = app.test_cli_runner().invoke(args=["jobs", "work"])
    assert result.exit_code == 1
    assert not isinstance(result.exception, RedisError)
    assert result.output.splitlines()[-1].startswith("Error: Redis cannot be reached")
