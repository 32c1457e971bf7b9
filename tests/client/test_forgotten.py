"""A connection that a load balancer, a NAT or a firewall forgot: it is open, and nothing comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask, session
from redis.exceptions import TimeoutError
from support.apps import SECRET_KEY, route
from support.proxy import Proxy
from support.servers import PATIENCE, RedisServer, wait_at_most
from support.stopwatch import Stopwatch, takes

from _redis_store.connection import SOCKET_TIMEOUT
from _redis_store.sender import MAX_TIMEOUTS
from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.socket) as proxy:
        yield proxy


def open_idle(client: Any, number: int) -> None:
    """Leave so many idle connections in its pool."""
    taken = [client.connection_pool.take() for _ in range(number)]
    for connection in taken:
        client.connection_pool.give_back(connection)


def forget(proxy: Proxy, client: Any) -> None:
    """Forget the connections that the client has. Its next ones are patient, for the machine may be busy."""
    wait_at_most(client, SOCKET_TIMEOUT, later=PATIENCE)
    proxy.forget()


VERBS: dict[str, Callable[[RedisStore], Any]] = {
    "get": lambda store: store.get("sid") == {"n": 1},
    "ttl": lambda store: store.ttl("sid"),
    "touch": lambda store: store.touch("sid"),
    "destroy": lambda store: store.destroy("sid") or store.get("sid") is None,
    "update": lambda store: store.update("sid", lambda session: {"n": 2}) == {"n": 2},
    "a pipeline": lambda store: store.sender.run_all([("GET", "x"), ("EXPIRE", store.key("sid"), 50)], again=True)[1],
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("idle", [1, pytest.param(5, marks=pytest.mark.thorough)])
def test_what_may_be_sent_twice_is_sent_on_a_new_connection(proxy: Proxy, name: str, idle: int) -> None:
    """Once, however many are forgotten: the others are not tried."""
    store = RedisStore(proxy.connect())
    store.set({"n": 1}, "sid")
    open_idle(store.client, idle)
    forget(proxy, store.client)
    with takes(2 * SOCKET_TIMEOUT, least=SOCKET_TIMEOUT):
        assert VERBS[name](store.within(PATIENCE))


@pytest.mark.thorough
def test_what_may_not_be_sent_twice_fails_once(proxy: Proxy) -> None:
    """Nobody knows whether it arrived. The next command has a new connection."""
    store = RedisStore(proxy.connect())
    open_idle(store.client, 5)
    forget(proxy, store.client)
    with pytest.raises(StoreUnavailable, match="SET failed with TimeoutError"):
        store.add("sid", {"n": 1})
    assert store.add("sid", {"n": 1})


@pytest.mark.thorough
def test_forgotten_connections_do_not_open_the_circuit_breaker(proxy: Proxy) -> None:
    """They say nothing of Redis, however many threads meet one at a time."""
    store = RedisStore(proxy.connect())
    store.set({"n": 1}, "sid")
    threads = 4 * MAX_TIMEOUTS
    open_idle(store.client, threads)
    forget(proxy, store.client)
    with ThreadPoolExecutor(threads) as pool:
        assert [*pool.map(lambda _: store.within(PATIENCE).get("sid"), range(threads))] == threads * [{"n": 1}]
    assert store.sender.breaker.timeouts == 0


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["execute_command", "execute_all", "pipeline"])
def test_each_way_of_sending_tells_that_the_connection_was_idle(proxy: Proxy, way: str) -> None:
    """redis-py's own pipeline as well; a connection just made is another matter."""
    client = proxy.connect()
    ways: dict[str, Callable[[], Any]] = {
        "execute_command": lambda: client.execute_command("PING"),
        "execute_all": lambda: client.execute_all([("PING",), ("PING",)]),
        "pipeline": lambda: client.pipeline(transaction=False).ping().ping().execute(),
    }
    open_idle(client, 3)
    wait_at_most(client, SOCKET_TIMEOUT)
    proxy.forget()
    for was_idle in (True, False):
        with pytest.raises(TimeoutError) as caught:
            ways[way]()
        assert getattr(caught.value, "was_idle", False) == was_idle
        assert client.connection_pool._get_free_connections() == []
        proxy.forget(new=True)


@pytest.mark.thorough
def test_a_health_check_covers_what_may_not_be_sent_twice(proxy: Proxy) -> None:
    """An option of redis-py's: a PING before the command, now and then."""
    store = RedisStore(proxy.connect(health_check_interval=1))
    store.set({"n": 1}, "sid")
    for connection in store.client.connection_pool._connections:
        connection.next_health_check = 0
    forget(proxy, store.client)
    assert store.add("other", {"n": 1})


@pytest.fixture
def app() -> Flask:
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True)
    route(app, "/read", lambda: str(session.get("n")))
    route(app, "/write", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/logout", lambda: session.clear())
    route(app, "/login", lambda: session.update(user_id="ada"))
    return app


@pytest.mark.parametrize("path", ["/read", "/write", "/logout", "/login"])
def test_no_page_of_a_session_notices(app: Flask, proxy: Proxy, path: str) -> None:
    """Each begins with a read."""
    app.session_interface = RedisSessionInterface(proxy.connect())
    app.config["SESSION_MAX_WAIT"] = PATIENCE
    browser = app.test_client()
    browser.get("/write")
    open_idle(app.session_interface.store.client, 4)
    forget(proxy, app.session_interface.store.client)
    with takes(1):
        assert browser.get(path).status_code == 200


@pytest.mark.thorough
@pytest.mark.parametrize("path", ["/read", pytest.param("/login", marks=pytest.mark.thorough)])
def test_a_server_that_froze_is_told_in_time(app: Flask, make_server: Any, path: str) -> None:
    """With idle connections, too: within a second, and at once when a few have waited."""
    server = make_server()
    app.session_interface = RedisSessionInterface(server.connect())
    browser = app.test_client()
    browser.get("/write")
    open_idle(server.clients[-1], 5)
    server.freeze()
    waits = []
    for _ in range(3 + MAX_TIMEOUTS):
        with Stopwatch() as watch:
            assert browser.get(path).status_code == 503
        waits.append(watch.own)
    assert max(waits) < 1
    assert min(waits[MAX_TIMEOUTS:]) < SOCKET_TIMEOUT
