"""A move: a session goes to another sid, and leaves a trail for a logout that comes too late."""

from __future__ import annotations

from typing import Any

import pytest
from redis.crc import key_slot
from support.clustered import take_for_cluster
from support.moves import INDEX, move

from _redis_store.store import TRAIL_MAX_AGE
from redis_store import RedisStore


@pytest.fixture(params=["one server", "cluster"])
def movers(request: pytest.FixtureRequest, store: RedisStore) -> RedisStore:
    """The store as on one server, and as on a Cluster, where the record moves in two steps."""
    return take_for_cluster(store, request.param == "cluster")


@pytest.mark.parametrize("trail", [True, False])
def test_a_move_leaves_the_record_under_another_sid(movers: RedisStore, client: Any, trail: bool) -> None:
    """The new record is there, with its TTL, and the old one is not; nor its entry in an index, on one server."""
    movers.set({"n": 1}, "old")
    client.zadd(INDEX, {"old": 1, "other": 2})
    assert move(movers, "old", "new", b'{"n":1}', b'{"n":2}', trail=trail)
    assert movers.get("new") == {"n": 2}
    assert movers.get("old") is None
    assert 49 <= client.ttl("SESSION:new") <= 50
    assert client.get("MOVED:{SESSION:old}") == (b"new" if trail else None)
    assert not trail or TRAIL_MAX_AGE - 1 <= client.ttl("MOVED:{SESSION:old}") <= TRAIL_MAX_AGE
    assert client.zrange(INDEX, 0, -1) == ([b"old", b"other"] if movers.sender.clustered else [b"other"])


def test_a_move_of_what_is_not_there_any_more_is_none(movers: RedisStore, client: Any) -> None:
    """Somebody else wrote, or it ended: no trail, and nothing of the old session changes."""
    movers.set({"n": 1}, "old")
    for sid, seen in (("old", b'{"n":9}'), ("gone", b'{"n":1}')):
        assert not move(movers, sid, "new", seen, b'{"n":2}')
    assert movers.get("old") == {"n": 1}
    assert client.keys("MOVED:*") == []
    assert client.exists("SESSION:new") == movers.sender.clustered  # who sent it destroys it there


def test_a_move_to_nothing_ends_the_session(movers: RedisStore, client: Any) -> None:
    """An empty session is no record."""
    movers.set({"n": 1}, "old")
    assert move(movers, "old", "new", b'{"n":1}', b"{}", trail=False)
    assert client.keys() == []


def test_a_trail_has_its_session_as_hash_tag(client: Any) -> None:
    """On a Cluster both are in one slot; a prefix may have a tag of its own."""
    assert RedisStore(client).trail_key("abc") == "MOVED:{SESSION:abc}"
    assert RedisStore(client, "{app}:").trail_key("abc") == "MOVED:{app}:abc"


@pytest.mark.parametrize("prefix", ["SESSION:", "{app}:", "a{b", "{", "}{a}", "é: *?"])
def test_a_trail_is_where_its_session_is(client: Any, prefix: str) -> None:
    """Whatever braces are in the prefix: as Redis Cluster counts slots."""
    store = RedisStore(client, prefix)
    assert key_slot(store.trail_key("abc").encode()) == key_slot(store.key("abc").encode())


@pytest.mark.parametrize("prefix", ["a}", "{}:", "}{", "{}{a}"])
def test_a_prefix_that_leaves_no_room_for_a_hash_tag_is_refused(client: Any, prefix: str) -> None:
    """On a Cluster no sign-in would work; and nobody should learn that when he moves there."""
    with pytest.raises(ValueError, match="prefix"):
        RedisStore(client, prefix)


def test_a_move_whose_answer_was_lost_may_be_sent_again(store: RedisStore) -> None:
    """The second time it says what the first one did; another move, or a write in place, did not."""
    old, new = b'{"n":1}', b'{"n":2}'
    store.set({"n": 1}, "old")
    for _ in range(2):
        assert move(store, "old", "new", old, new)
    assert not move(store, "old", "new", old, b'{"n":3}')
    assert not move(store, "old", "other", old, new)
    assert store.swap("new", new, old) is True
    assert store.swap("new", new, old) is False
    assert store.get("new") == {"n": 1}
