"""CACHE_URL: the answers are in a Redis of their own, which may evict, and may be away."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
from flask import Flask
from support.demo import CONFIG, sign_in
from support.roles.cache import Desk, keys
from support.servers import PATIENCE, RedisServer

from app import create_app
from roles.cache import forget


@pytest.fixture
def other(make_server: Any) -> RedisServer:
    """The Redis of the answers."""
    server: RedisServer = make_server()
    return server


@pytest.fixture
def app(server: RedisServer, other: RedisServer) -> Flask:
    config = {"CACHE_URL": f"unix://{other.socket}?socket_timeout={PATIENCE}", "SESSION_MAX_WAIT": PATIENCE}
    return create_app({**CONFIG, **config}, server.connect())


def test_answers_are_in_the_other_redis(app: Flask, server: RedisServer, other: RedisServer) -> None:
    """By the same keys; sessions are not."""
    desk, web = Desk(app), app.test_client()
    assert sign_in(web).status_code == 303
    assert [desk.ask(web) for _ in range(2)] == [{"run": 1}] * 2
    assert (len(keys(other.connect())), keys(server.connect())) == (2, [])
    assert other.connect().keys("SESSION:*") == []
    with app.app_context():
        forget("answers")
    assert desk.ask(web) == {"run": 2}


def test_an_answer_that_was_evicted_is_made_again(app: Flask, other: RedisServer) -> None:
    """With its group, or without."""
    desk, admin = Desk(app), other.connect()
    desk.ask()
    for number, evicted in enumerate([admin.keys("CACHE:SESSION:answers"), admin.keys("CACHE:SESSION:answers:*")]):
        admin.delete(*evicted)
        assert [desk.ask() for _ in range(2)] == [{"run": number + 2}] * 2


def test_without_its_redis_the_view_runs(app: Flask, other: RedisServer) -> None:
    """The session is there all the same."""
    desk, web = Desk(app), app.test_client()
    assert sign_in(web).status_code == 303
    other.stop()
    assert [desk.ask(web)["run"] for _ in range(2)] == [1, 2]
    assert web.get("/account").status_code == 200


@pytest.mark.parametrize("url", [5, "", "redis", "redis://:secret@host:1/x"])
def test_a_wrong_url_stops_the_start(url: object) -> None:
    """The message shows no password."""
    with pytest.raises(ValueError, match=r"^CACHE_URL \(not shown: .* is wrong: expected") as caught:
        create_app({**CONFIG, "CACHE_URL": url}, fakeredis.FakeRedis())
    assert "secret" not in str(caught.value)
