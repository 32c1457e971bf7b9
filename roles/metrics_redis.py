"""What Redis tells Prometheus, by the names of redis_exporter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from redis_store import RedisStore, StoreUnavailable
from roles import combine, find_servers, get_lag, is_forbidden

TIMEOUT = 1  # seconds, at most, that a scrape waits for each server

#: The names that redis_exporter gives to what INFO says.
INFO = {
    "redis_memory_used_bytes": "used_memory",
    "redis_memory_max_bytes": "maxmemory",
    "redis_connected_clients": "connected_clients",
    "redis_rejected_connections_total": "rejected_connections",
    "redis_keyspace_hits_total": "keyspace_hits",
    "redis_keyspace_misses_total": "keyspace_misses",
    "redis_evicted_keys_total": "evicted_keys",
    "redis_rdb_last_bgsave_status": "rdb_last_bgsave_status",
    "redis_aof_last_write_status": "aof_last_write_status",
}
OF_MASTER = {"redis_connected_slaves": "connected_slaves"}
OF_REPLICA = {
    "redis_master_link_up": "master_link_status",
    "redis_master_last_io_seconds_ago": "master_last_io_seconds_ago",
}
KIND = ("role", "redis_version", "redis_mode", "maxmemory_policy")  # labels of redis_instance_info


def ask_redis(store: RedisStore) -> list[dict[str, Any]]:
    """Return what each server answers. One that cannot be reached answers nothing. Raises nothing."""
    servers = find_servers(store.within(TIMEOUT)).values()
    return [{} if options is None else ask(store.within(TIMEOUT), options) for options in servers]


def ask(store: RedisStore, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return one server's answers to commands, and the seconds that the first took."""
    found: dict[str, Any] = {}
    for command in ("INFO",) if store.sender.clustered else ("PING", "INFO"):  # redis-py fails to PING a Cluster
        start = time.perf_counter()
        try:
            found[command] = store.sender.run(command, **options)
            found["seconds"] = found.get("seconds", time.perf_counter() - start)
        except StoreUnavailable as error:  # a provider, too, may forbid it; PING is refused when the disk is full
            if is_forbidden(error):
                found["forbidden"] = True  # that is an answer
    return found


# Policy: pure functions -----------------------------------------------------------------------------------------------


def describe(servers: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    """Yield what the servers of Redis answered, as far as they did, as if they were one: at most 14 series."""
    infos = [found["INFO"] for found in servers if "INFO" in found]
    info = combine(infos)
    fields = INFO | (OF_REPLICA if info.get("role") == "slave" else OF_MASTER)
    numbers = {
        "redis_up": bool(servers) and all(servers),
        "redis_exporter_last_scrape_ping_time_seconds": find(max, servers, "seconds"),
        "redis_connected_slave_lag_seconds": find(max, [{"lag": get_lag(info)} for info in infos], "lag"),
        **{name: info.get(field) for name, field in fields.items()},
    }
    for name, value in numbers.items():
        if value is not None:
            number = value in ("ok", "up") if isinstance(value, str) else value  # a status: whether all is well
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield kind(name, "As redis_exporter has it.", float(number))
    if info:
        instance = GaugeMetricFamily("redis_instance_info", "Which Redis this is.", labels=KIND)
        instance.add_metric([str(info.get(name, "")) for name in KIND], 1)
        yield instance


def find(function: Callable[[list[Any]], Any], servers: Iterable[Mapping[str, Any]], name: str) -> Any:
    """Return the sum, say, of what several servers told. None: none did."""
    numbers = [number for found in servers if (number := found.get(name)) is not None]
    return function(numbers) if numbers else None
