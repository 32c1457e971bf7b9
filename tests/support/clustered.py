"""A store that takes its Redis for a Cluster: its commands go out one after the other."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ClusterCrossSlotError

from redis_store import RedisStore, StoreUnavailable


class CrossesSlots:
    """Redis, as far as a command with keys of several slots knows it: that is how one learns of a Cluster."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        raise ClusterCrossSlotError


def take_for_cluster(store: RedisStore, clustered: bool = True) -> RedisStore:
    """Let the store, and all that share its connections, learn that this is a Cluster; or not, if it is none."""
    if clustered:
        client, store.sender.client = store.sender.client, CrossesSlots()
        try:
            store.sender.run("EVAL")
        except StoreUnavailable:
            store.sender.client = client
    assert store.sender.clustered is clustered
    return store
