"""What a user of redis-py does with a client works with that of connect(), too."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError, TimeoutError
from support.servers import RedisServer

from _redis_store.client import Client


@pytest.fixture(params=[False, True])
def client(request: pytest.FixtureRequest, server: RedisServer) -> Any:
    """A client, and one that decodes. It has two connections, and nobody waits for one."""
    client: Any = server.connect(decode_responses=request.param, max_connections=2, timeout=0.1)
    client.set("k", "v")
    yield client
    assert len(client.connection_pool._connections) <= 2


def text(client: Any, value: bytes) -> Any:
    return client.connection_pool.get_encoder().decode(value)


def test_pipelines_and_transactions_work(client: Any) -> None:
    """With the errors of redis-py, and with WATCH."""
    with client.pipeline(transaction=False) as pipeline:
        assert pipeline.get("k").incr("n").execute() == [text(client, b"v"), 1]
        with pytest.raises(ResponseError, match="Command # 2"):
            pipeline.get("k").lpush("k", 1).execute()
    assert client.transaction(lambda pipeline: [pipeline.multi(), pipeline.incr("n")], "n") == [2]
    with client.pipeline() as pipeline:
        pipeline.watch("n")
        client.incr("n")
        pipeline.multi()
        pipeline.incr("n")
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    assert client.get("n") == text(client, b"3")


def test_a_pipeline_that_is_abandoned_leaves_no_connection(client: Any) -> None:
    """Nobody reads what it has not read."""
    pipeline = client.pipeline()
    pipeline.watch("k")
    pipeline.connection.send_command("ECHO", "a stranger's")
    del pipeline
    assert client.connection_pool._connections == []
    assert client.echo("mine") == text(client, b"mine")
    assert len(client.connection_pool._connections) == 1


def test_scans_and_scripts_work(client: Any) -> None:
    """Over several rounds, and by a digest that the server does not know yet."""
    client.mset({f"key:{n}": n for n in range(50)})
    assert len({*client.scan_iter("key:*", count=5)}) == 50
    client.script_flush()
    assert client.register_script("return ARGV[1]")(args=["x"]) == text(client, b"x")


def test_pub_sub_works(client: Any) -> None:
    """On a connection that is one subscriber's alone, and closed after it."""
    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        assert client.publish("news", "x") == 1
        assert pubsub.get_message(timeout=5)["data"] == text(client, b"x")
        assert pubsub.get_message(timeout=0.01) is None
    assert client.ping()


def test_locks_work(client: Any) -> None:
    """Taken, seen, and given back."""
    with client.lock("lock", timeout=5) as lock:
        assert lock.owned()
        assert not client.lock("lock").acquire(blocking=False)
    assert not client.exists("lock")


def test_commands_that_wait_work(server: RedisServer, client: Any) -> None:
    """Within the timeout; after it, the connection is closed."""
    client.rpush("queue", 1)
    assert client.blpop("queue", timeout=1) == (text(client, b"queue"), text(client, b"1"))
    hasty = server.connect(socket_timeout=0.25)
    with pytest.raises(TimeoutError):
        hasty.blpop("queue", timeout=1)
    hasty.rpush("queue", 2)
    assert client.blpop("queue", timeout=1) == (text(client, b"queue"), text(client, b"2"))


def test_monitor_and_a_connection_of_ones_own_work(client: Any) -> None:
    """MONITOR and client() hold one for as long as they like."""
    with client.monitor() as monitor:
        client.get("k")
        assert any(monitor.next_command()["command"] == "GET k" for _ in range(3))
    with client.client() as own:
        assert isinstance(own, Client)
        assert own.get("k") == text(client, b"v")
        assert client.ping()


def test_information_is_parsed(client: Any) -> None:
    """As any redis-py client does."""
    assert isinstance(client.info("server")["uptime_in_seconds"], int)
    assert client.config_get("maxmemory") == {"maxmemory": "0"}
    assert isinstance(client.time()[0], int)
