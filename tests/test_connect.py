"""connect(): safe settings for every kind of URL."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from redis import BlockingConnectionPool, SSLConnection, UnixDomainSocketConnection

from redis_store import MAX_CONNECTIONS, SOCKET_TIMEOUT, RedisStore, StoreUnavailable, connect

GOOD = ["redis://", "redis://h", "redis://:p@[::1]:1/", "rediss://u:p@h/0?socket_timeout=1", "unix://u@/a/b?db=2"]
URLS = ["redis://localhost:1/3", "rediss://user:password@localhost:1/3", "unix:///nowhere.sock?db=3"]


@pytest.mark.parametrize("url", URLS)
def test_every_limit_is_set_on_purpose(url: str) -> None:
    """Timeouts, retries, protocol and pool, whatever the scheme; nothing connects yet."""
    pool = connect(url).connection_pool
    assert isinstance(pool, BlockingConnectionPool)
    connection: Any = pool.make_connection()
    assert connection.socket_timeout == connection.socket_connect_timeout == pool.timeout == SOCKET_TIMEOUT
    assert connection.retry.get_retries() == 0
    assert int(connection.protocol) == 2
    assert pool.max_connections == MAX_CONNECTIONS
    assert connection.db == 3
    assert not pool.maint_notifications_enabled()


@pytest.mark.parametrize("url", GOOD)
def test_every_form_of_url_is_taken(url: str) -> None:
    """As redis-py documents them."""
    assert connect(url).connection_pool


def test_the_scheme_chooses_the_connection() -> None:
    """rediss:// is TLS with the certificate checked; unix:// is a socket in the file system."""
    tls: Any = connect(URLS[1]).connection_pool.make_connection()
    assert isinstance(tls, SSLConnection)
    assert (tls.cert_reqs.name, tls.check_hostname) == ("CERT_REQUIRED", True)
    unix = connect(URLS[2]).connection_pool.make_connection()
    assert isinstance(unix, UnixDomainSocketConnection)


@pytest.mark.parametrize(
    ("url", "options"), [("redis://localhost?socket_timeout=2", {}), ("redis://localhost", {"socket_timeout": 2})]
)
def test_what_the_caller_asks_for_wins(url: str, options: dict[str, Any]) -> None:
    """In the URL or as an argument."""
    connection: Any = connect(url, **options).connection_pool.make_connection()
    assert connection.socket_timeout == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "user:hunter22@localhost",
        "http://localhost",
        "redis:/localhost",
        "redis://:hunter22/x@localhost",
        "redis://localhost:port",
        "redis://localhost/zero",
        "unix://",
        "redis://localhost?socket_timeout=soon",
        "redis://localhost?no_such_option=1",
    ],
)
def test_what_is_no_redis_url_is_refused_at_once(url: str) -> None:
    """With what was expected, and without showing the URL: there may be a password in it."""
    with pytest.raises(ValueError, match="expected redis://") as caught:
        connect(url)
    assert "hunter22" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_server_that_accepts_and_says_nothing_costs_one_timeout() -> None:
    """Not a minute, as with the client's defaults."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = RedisStore(connect(f"redis://127.0.0.1:{silent.getsockname()[1]}"))
        start = time.monotonic()
        with pytest.raises(StoreUnavailable, match="GET failed with TimeoutError"):
            store.get("x")
        assert SOCKET_TIMEOUT <= time.monotonic() - start < 2 * SOCKET_TIMEOUT


def test_nobody_listening_costs_next_to_nothing() -> None:
    """A refused connection is told at once."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = RedisStore(connect(f"redis://127.0.0.1:{unused.getsockname()[1]}"))
        start = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.get("x")
        assert time.monotonic() - start < SOCKET_TIMEOUT


def test_one_user_never_gets_the_answer_to_another(server: Any) -> None:
    """A connection whose answer came too late is not used again: its next user would read it."""
    store = RedisStore(server.connect(max_connections=1))
    for name in ("ada", "bob"):
        store.set({"user": name}, name)
    for _ in range(20):
        server.freeze()
        with pytest.raises(StoreUnavailable):
            store.get("ada")
        server.thaw()
        assert store.get("bob") == {"user": "bob"}
