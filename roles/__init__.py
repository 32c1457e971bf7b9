"""What else Redis does here: each file is one role, and `app.py` lists those that there are.

Where a role is more than a file, the others begin with its name. To remove one, delete its files, and its line there;
its tests are tests/roles/test_*<name>*.py, and what these share is tests/support/roles/<name>.py.

Roles know nothing of each other. What one does it may `tell`, and who listens to `happened` may count it::

    tell("token-replayed")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from blinker import signal
from redis import RedisCluster, RedisError

from redis_store import RedisStore, StoreUnavailable, signals

#: What roles tell: a short list, so that each can be the label of a metric.
EVENTS = ("sign-in-throttled", "token-replayed", "cache-built", "job-waits", "job-done", "job-failed")

#: A signal like those of `redis_store.signals`: its sender is the app, its reason one of `EVENTS`.
happened = signal("role-event")

#: What of INFO is added up, where there are several servers; and what is well where it is a word.
SUMS = (
    "connected_clients",
    "rejected_connections",
    "total_commands_processed",
    "keyspace_hits",
    "keyspace_misses",
    "evicted_keys",
    "connected_slaves",
)
GOOD = {
    "maxmemory_policy": "noeviction",
    "master_link_status": "up",
    "rdb_last_bgsave_status": "ok",
    "aof_last_write_status": "ok",
}


def tell(event: str) -> None:
    """Tell whoever listens, if anybody does. One that fails is a line in the log."""
    signals.tell(happened, event)


def escape(text: object) -> str:
    """Return text without what a terminal would obey: others wrote it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def is_forbidden(error: StoreUnavailable) -> bool:
    """Return whether Redis did answer: that its ACL does not allow this."""
    return "Redis's ACL" in str(error)


def find_servers(store: RedisStore) -> dict[str, dict[str, Any] | None]:
    """Return the servers of a store by address, and with each what the sender's `run` needs to ask it.

    One server, also a master that sentinels name, is "" here. None: a Cluster has lost that one. Nothing: the Cluster
    cannot be reached.
    """
    if not isinstance(store.client, RedisCluster):
        return {"": {}}
    listed: Mapping[str, Mapping[str, str]] = {}
    with suppress(StoreUnavailable):  # an ACL may forbid it: then there are those that the client knows
        listed = store.sender.run("CLUSTER NODES") or {}
    joined = {name: node for name, node in listed.items() if "handshake" not in node["flags"]}
    lost = {name for name, node in joined.items() if "fail" in node["flags"] or not node["connected"]}
    try:
        if joined.keys() - lost - {node.name for node in store.client.get_nodes()}:
            store.client.nodes_manager.initialize()  # a new one, which redis-py would not notice
        known = {node.name: {"target_nodes": node} for node in store.client.get_nodes()}
    except (RedisError, OSError):  # of `connect`, it connects when it is used first
        known = {}
    return {**dict.fromkeys(lost), **known}


def combine(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what several servers say of themselves as if they were one: sums, and the worst of what has no sum.

    Memory is that of the fullest. What stands for a replica counts only if it has lost its master.
    """
    # As Redis names it; Valkey has another word.
    infos = [{"redis_mode": info["server_mode"], **info} if "server_mode" in info else info for info in infos]
    if len(infos) < 2:
        return dict(infos[0]) if infos else {}
    masters = [info for info in infos if info.get("role") != "slave"] or infos
    combined = dict(masters[0])
    for name in SUMS:
        if numbers := [info[name] for info in infos if name in info]:
            combined[name] = sum(numbers)
    for name, good in GOOD.items():
        bad = [info[name] for info in infos if info.get(name, good) != good]
        combined |= {name: bad[0]} if bad else {}
    fullest = max(infos, key=lambda info: (fill(info), info.get("used_memory", 0)))
    return combined | {name: fullest[name] for name in ("used_memory", "maxmemory") if name in fullest}


def fill(info: Mapping[str, Any]) -> float:
    """Return how full a server is, from 0 to 1. Without a limit it is 0."""
    return float(info.get("used_memory", 0) / (info.get("maxmemory") or float("inf")))


def get_lag(info: Mapping[str, Any]) -> int | None:
    """Return how many seconds ago a master last heard of its slowest replica. None: it has none, or is none."""
    replicas = [info.get(f"slave{number}") for number in range(info.get("connected_slaves", 0))]
    lags = [replica["lag"] for replica in replicas if isinstance(replica, dict) and "lag" in replica]
    return max(lags, default=None) if info.get("role") == "master" else None
