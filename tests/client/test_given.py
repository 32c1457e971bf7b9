"""What an app may give as its client, and what it is told when it gives something else."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio
from flask import Flask, g, session
from redis.sentinel import Sentinel
from support.apps import SECRET_KEY, set_cookie
from support.servers import PATIENCE, RedisServer
from werkzeug.local import LocalProxy

from redis_store import RedisSessionInterface, RedisStore, connect


class Wrapper:
    """Somebody's own client around another one, as Flask-Redis has it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class OwnAsyncClient:
    """One whose commands have to be awaited, and that is no relative of redis-py's."""

    async def execute_command(self, *args: Any, **options: Any) -> Any: ...

    def pipeline(self, transaction: bool = True) -> Any: ...


WRONG: dict[str, Callable[[], Any]] = {
    "a str": lambda: "redis://:hunter2@localhost:6379/0",
    "a bytes": lambda: b"redis://:hunter2@localhost",
    "a NoneType": lambda: None,
    "a dict": lambda: {"host": "localhost", "password": "hunter2"},
    "a bool": lambda: True,
    "a function": lambda: connect,
    "a module": lambda: redis,
    "the class redis.client.Redis": lambda: redis.Redis,
    "the class _redis_store.store.RedisStore": lambda: RedisStore,
    "a flask.app.Flask": lambda: Flask("app"),
    "a redis.connection.ConnectionPool": lambda: redis.ConnectionPool.from_url("redis://:hunter2@localhost"),
    "a redis.sentinel.Sentinel": lambda: Sentinel([("localhost", 26379)]),
    "a redis.client.Pipeline": lambda: redis.Redis().pipeline(),
    "a redis.client.PubSub": lambda: redis.Redis().pubsub(),
    "a redis.commands.json.JSON": lambda: redis.Redis().json(),
    "a redis.asyncio.client.Redis": lambda: redis.asyncio.Redis(),
    "a redis.asyncio.client.Pipeline": lambda: redis.asyncio.Redis().pipeline(),
    "a redis.asyncio.cluster.RedisCluster": lambda: redis.asyncio.RedisCluster(host="localhost"),
    "a fakeredis._clients._async.FakeRedis": lambda: fakeredis.FakeAsyncRedis(),
    f"a {__name__}.OwnAsyncClient": OwnAsyncClient,
    f"a {__name__}.Wrapper": lambda: Wrapper(redis.asyncio.Redis()),  # what it is around counts
    "a types.SimpleNamespace": lambda: SimpleNamespace(execute_command=lambda *args, **options: None),
}


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize("taken", [RedisSessionInterface, RedisStore])
def test_what_is_no_client_is_a_type_error_that_names_it(taken: Callable[[Any], Any], given: str) -> None:
    """When it is given, not with the first visitor; and no password is shown."""
    with pytest.raises(TypeError, match=re.escape(f"got {given}")) as caught:
        taken(WRONG[given]())
    assert "connect(url)" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", [None, b"redis://:hunter2@localhost", 6379, {"url": "redis://:hunter2@localhost"}])
def test_a_url_is_text(url: Any) -> None:
    """None is what an environment gives that has none."""
    with pytest.raises(TypeError, match=f"expected a URL.*got a {type(url).__name__}") as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("prefix", [None, b"SHOP:", 5])
def test_a_prefix_is_text(prefix: Any) -> None:
    """Bytes would fail with the first key."""
    with pytest.raises(TypeError, match="prefix"):
        RedisStore(fakeredis.FakeRedis(), prefix)


RIGHT: dict[str, Callable[[RedisServer], Any]] = {
    "connect": lambda server: server.connect(),
    "redis-py": lambda server: redis.Redis.from_url(server.url),
    "one connection": lambda server: redis.Redis.from_url(server.url, single_connection_client=True),
    "decoding": lambda server: redis.Redis.from_url(server.url, decode_responses=True),
    "fakeredis": lambda server: fakeredis.FakeRedis(),
    "strict fakeredis": lambda server: fakeredis.FakeStrictRedis(),
    "a wrapper": lambda server: Wrapper(server.connect()),
    "a wrapper of a wrapper": lambda server: Wrapper(Wrapper(redis.Redis.from_url(server.url))),
    "a proxy": lambda server: LocalProxy(server.connect),
    "a store": lambda server: RedisStore(server.connect(), "SHOP:"),
}


@pytest.mark.parametrize("given", RIGHT)
def test_what_sends_commands_is_a_client(server: RedisServer, given: str) -> None:
    """Whoever's it is: from sign-in to sign-out."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True, SESSION_MAX_WAIT=PATIENCE)
    part = RIGHT[given](server)
    app.session_interface = RedisSessionInterface(part)
    app.add_url_rule("/in", "in", lambda: session.update(user_id=5) or "ok")
    app.add_url_rule("/user", "user", lambda: str(session.get("user_id")))
    app.add_url_rule("/out", "out", lambda: session.clear() or "ok")  # type: ignore[func-returns-value]
    browser = app.test_client()
    assert set_cookie(browser.get("/in"))
    assert browser.get("/user").text == "5"
    assert browser.get("/out").status_code == 200
    assert browser.get("/user").text == "None"
    client = part.client if isinstance(part, RedisStore) else part
    if not isinstance(part, LocalProxy):
        client.close()


def test_a_client_that_is_not_there_yet_is_taken() -> None:
    """As a proxy for one that each app context makes."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True, SESSION_MAX_WAIT=PATIENCE)
    app.session_interface = RedisSessionInterface(LocalProxy(lambda: g.redis))
    app.add_url_rule("/in", "in", lambda: session.update(user_id=5) or "ok")
    client = fakeredis.FakeRedis()
    app.before_request(lambda: setattr(g, "redis", client))
    assert set_cookie(app.test_client().get("/in"))
