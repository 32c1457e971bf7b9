"""Redis behind sentinels: the master is found, followed when it changes, and missed for less than a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis.sentinel import MasterNotFoundError
from support.servers import PATIENCE, wait_at_most
from support.topology import SentinelGroup, at_once, live, running, wait_until

from _redis_store.connection import MAX_CONNECTIONS
from redis_store import RedisStore, StoreUnavailable, connect


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """A master, a replica and three sentinels, which let a frozen master be for a minute."""
    with running(SentinelGroup(tmp_path_factory.mktemp("sentinel"), down_after=60000)) as group:
        yield group


@pytest.fixture
def store(group: SentinelGroup) -> Iterator[RedisStore]:
    """A store of its own for each test, and no server frozen."""
    for server in group.servers:
        server.thaw()
    store = RedisStore(connect(group.url))
    yield store
    store.client.connection_pool.disconnect()


def test_a_session_lives_behind_sentinels(store: RedisStore) -> None:
    """Written, read, moved and ended."""
    live(store.client)


pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("loss", ["a planned change", "kill -9", "frozen"])
def test_a_new_master_is_followed(tmp_path: Path, loss: str) -> None:
    """Whatever became of the old one, no connection to it is used any more, and the session is still there."""
    with running(SentinelGroup(tmp_path, down_after=1000)) as group:
        store, master = RedisStore(connect(group.url)), group.get_master()
        sid = store.set({"n": 1})
        at_once(lambda: store.get(sid))  # several connections
        assert group.ask(master, "WAIT", 1, 5000) == 1
        if loss == "a planned change":
            group.ask(group.sentinels[0], "SENTINEL FAILOVER", "sessions")
        elif loss == "kill -9":
            master.stop()
        else:
            master.freeze()

        def writes() -> bool:
            try:
                return store.set({"n": 2}, sid) == sid
            except StoreUnavailable:
                return False

        wait_until(lambda: group.get_master() is not master)
        wait_until(writes)
        wait_at_most(store.client, PATIENCE)
        master.thaw()
        for _ in range(50):
            assert store.get(sid) == {"n": 2}
        assert store.update(sid, lambda session: {"n": session["n"] + 1}) == {"n": 3}
        store.client.connection_pool.disconnect()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_frozen_sentinels_cost_less_than_a_second(group: SentinelGroup, store: RedisStore, number: int) -> None:
    """One that answers is enough; and without any, a client that knows the master goes on."""
    sid = store.set({"n": 1})
    fresh = RedisStore(connect(group.url))
    for sentinel in group.sentinels[:number]:
        sentinel.freeze()
    assert at_once(lambda: fresh.get(sid)) < 1
    assert store.get(sid) == {"n": 1}
    if number < 3:
        assert fresh.get(sid) == {"n": 1}
    else:
        with pytest.raises(StoreUnavailable, match="MasterNotFoundError"):
            fresh.get(sid)


def test_a_frozen_master_costs_less_than_a_second(group: SentinelGroup, store: RedisStore) -> None:
    """Each command, of all threads."""
    sid = store.set({"n": 1})
    group.get_master().freeze()
    assert at_once(lambda: store.get(sid)) < 1
    assert at_once(lambda: store.set({}, sid)) < 1


def test_no_sentinel_is_forgotten(group: SentinelGroup, store: RedisStore) -> None:
    """However many threads find at the same time that the first of them does not answer."""
    sentinels = store.client.connection_pool.sentinel_manager

    def discover() -> None:
        with suppress(MasterNotFoundError):  # on a busy machine the others may be slow as well
            sentinels.discover_master("sessions")

    for _ in range(5):
        port = sentinels.sentinels[0].connection_pool.connection_kwargs["port"]
        first = next(sentinel for sentinel in group.sentinels if sentinel.port == port)
        first.freeze()
        at_once(discover)
        first.thaw()
        assert len({id(sentinel) for sentinel in sentinels.sentinels}) == 3


def test_the_pool_does_not_grow_in_an_outage(group: SentinelGroup) -> None:
    """A connection that found no master is closed, and counts no more."""
    store = RedisStore(connect(group.url.replace("/sessions", "/unknown")))
    for _ in range(2 * MAX_CONNECTIONS):
        with pytest.raises(StoreUnavailable):
            store.get("x")
    assert store.client.connection_pool._connections == []


def test_callers_wait_for_a_connection(group: SentinelGroup, store: RedisStore) -> None:
    """As with any other client of connect()."""
    store = RedisStore(connect(group.url, max_connections=1, timeout=PATIENCE, socket_timeout=PATIENCE))
    sid = store.set({"n": 1})
    errors: list[Any] = []

    def read() -> None:
        for _ in range(20):
            try:
                assert store.get(sid) == {"n": 1}
            except Exception as error:
                errors.append(error)

    at_once(read)
    assert errors == []
    assert len(store.client.connection_pool._connections) == 1


def test_no_connection_to_a_sentinel_is_kept(group: SentinelGroup, store: RedisStore) -> None:
    """Years may pass until it is used again, and somebody on the way has forgotten it by then."""
    store.set({}, "x")
    pools = [sentinel.connection_pool for sentinel in store.client.connection_pool.sentinel_manager.sentinels]
    assert [len(pool._connections) for pool in pools] == [0, 0, 0]
