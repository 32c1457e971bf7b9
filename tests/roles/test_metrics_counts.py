"""What /metrics counts in the app: what becomes of sessions, what roles tell, how long the store waits."""

from __future__ import annotations

import gc
import re
from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from support.apps import interface_of, route, sid_of
from support.demo import end_others, sign_in, sign_out
from support.roles import jobs, throttle, tokens
from support.roles.metrics import CONFIG, counted, make_app, scrape
from support.servers import RedisServer

from app import create_app
from redis_store import RedisStore, signals
from roles import EVENTS, metrics, tell


@pytest.fixture
def app(least: Any) -> Flask:
    app = make_app(least)
    route(app, "/write", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/set", lambda: session.update(x={1}))
    app.testing = False
    return app


def test_sessions_that_begin_and_end_are_counted(app: Flask) -> None:
    """By what made them, and what ended them."""
    phone, laptop = app.test_client(), app.test_client()
    app.test_client().get("/write")
    sign_in(phone)
    sign_in(laptop)
    end_others(laptop)
    sign_out(laptop)
    assert counted(app) == {
        'redis_store_sessions_created_total{reason="write"}': 1,
        'redis_store_sessions_created_total{reason="login"}': 2,
        'redis_store_sessions_ended_total{reason="revoke"}': 1,
        'redis_store_sessions_ended_total{reason="logout"}': 1,
    }


def test_a_change_that_is_not_stored_is_counted(app: Flask) -> None:
    """By what was wrong with it."""
    app.test_client().get("/set")
    assert counted(app) == {'redis_store_changes_refused_total{reason="type"}': 1}


@pytest.mark.parametrize("ends", [False, True])
def test_a_conflict_is_counted(app: Flask, client: Any, ends: bool) -> None:
    """Both when the two changes are merged, and when the session was ended meanwhile."""

    def late() -> None:
        session["mine"] = 1
        key = f"SESSION:{sid_of(client)}"
        client.delete(key) if ends else client.set(key, b'{"other":1}', ex=60)

    route(app, "/late", late)
    web = app.test_client()
    web.get("/write")
    web.get("/late")
    kind = 'redis_store_changes_refused_total{reason="ended"}' if ends else "redis_store_changes_merged_total"
    made = 'redis_store_sessions_created_total{reason="write"}'
    assert counted(app) == {made: 1, "redis_store_conflicts_total": 1, kind: 1}


def test_a_503_is_counted() -> None:
    """By what Redis could not be asked for."""
    redis = fakeredis.FakeServer()
    app = make_app(fakeredis.FakeRedis(server=redis))
    web = app.test_client()
    sign_in(web)
    before = counted(app)
    redis.connected = False
    assert web.get("/account").status_code == 503
    assert counted(app) == before | {'redis_store_unavailable_total{reason="read"}': 1}


def test_a_503_of_a_role_is_counted() -> None:
    """Once: of a page that does not need its session, but for which a role asks Redis."""
    redis = fakeredis.FakeServer()
    app = make_app(fakeredis.FakeRedis(server=redis))
    redis.connected = False
    assert sign_in(app.test_client()).status_code == 503
    assert counted(app) == {'redis_store_unavailable_total{reason="view"}': 1}


def test_what_other_roles_tell_is_counted(least: Any) -> None:
    """A throttled sign-in and a replayed token; a word that is not in the list is not."""
    app = create_app(CONFIG | tokens.CONFIG, least)
    throttle.attack(app, "nobody")
    _, first = tokens.log_in(app)
    assert tokens.refresh(app, tokens.refresh(app, first))
    assert tokens.refresh(app, first) is None
    with app.app_context():
        for event in (*EVENTS, "ada", ""):
            tell(event)
    told = {name: value for name, value in counted(app).items() if name.startswith("role_")}
    assert {*told} == {f'role_events_total{{event="{event}"}}' for event in EVENTS}
    assert told['role_events_total{event="token-replayed"}'] == 2
    assert told['role_events_total{event="sign-in-throttled"}'] > 1


def test_a_job_that_waits_without_a_worker_is_counted_with_each_scrape(server: RedisServer) -> None:
    """So that its alert holds as long as it waits, though nothing else is enqueued."""
    app, name = make_app(server.connect()), 'role_events_total{event="job-waits"}'
    before = scrape(app)
    jobs.enqueue(app)
    assert [scrape(app)[name] - before[name] for _ in range(3)] == [2, 3, 4]
    jobs.notice(app)
    assert [scrape(app)[name] - before[name] for _ in range(2)] == [4, 4]


def test_a_role_whose_redis_is_away_fails_no_scrape() -> None:
    """That of the jobs, say: /monitor says so, and the log when a job is enqueued."""
    app = create_app({**CONFIG, "JOBS_REDIS_URL": "redis://127.0.0.1:1"}, fakeredis.FakeRedis())
    assert scrape(app)["redis_up"] == 1


def test_each_reason_of_the_signals_is_counted() -> None:
    """Those of `redis_store.signals`, for each signal that has a counter."""
    for event in (signals.created, signals.ended, signals.refused, signals.merged, signals.unavailable):
        for name, _, other, reasons in metrics.COUNTED:
            if other is event and name != "redis_store_conflicts":
                assert [*reasons] == re.findall(r"^ +(\w+): ", str(event.__doc__), re.M), name


def test_the_wait_for_redis_is_measured_by_verb(app: Flask, client: Any) -> None:
    """Of each of the seven verbs, one observation; several commands in one round trip are an update."""
    store: RedisStore = interface_of(app).store
    before = scrape(app)
    sid = store.set({"n": 1})
    store.get(sid)
    store.touch(sid)
    store.add("other", {"n": 1})
    store.take("other")
    store.update(sid, lambda session: {"n": 2})
    store.destroy(sid)
    store.sender.run_all([("GET", store.key("x")), ("GET", store.key("y"))])
    after = scrape(app)
    name = 'redis_store_command_seconds_count{verb="%s"}'
    assert {verb: after[name % verb] - before[name % verb] for verb in ("get", "set", "update")} == {
        "get": 2,
        "set": 5,
        "update": 2,
    }


@pytest.mark.thorough
def test_a_wait_that_was_in_vain_is_measured(make_server: Any) -> None:
    """Such as one for a Redis that does not answer: it is in the slowest bucket."""
    server: RedisServer = make_server()
    app = make_app(server.connect())
    web = app.test_client()
    sign_in(web)
    before = scrape(app)
    server.freeze()
    assert web.get("/account").status_code == 503
    after = scrape(app)
    name = 'redis_store_command_seconds_bucket{le="%s",verb="get"}'
    assert after[name % "0.1"] == before[name % "0.1"]
    assert after[name % "+Inf"] > before[name % "+Inf"]


@pytest.mark.usefixtures("little_garbage")
def test_two_apps_of_a_process_count_apart() -> None:
    """A listener hears of its own app only, and goes with it."""
    before = len(signals.created.receivers)
    one, two = (make_app(fakeredis.FakeRedis()) for _ in range(2))
    sign_in(one.test_client())
    assert counted(one)
    assert counted(two) == {}
    assert len(signals.created.receivers) == before + 2
    del one, two
    gc.collect()
    assert len(signals.created.receivers) == before
