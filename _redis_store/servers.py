"""One client for several Redis servers: the master that sentinels name, or a Cluster. `connect` makes them.

Both are redis-py's own, on the `Pool` of this package, with three defects mended (seen in 6.4 to 8.1): its list of
sentinels loses one when two threads search for the master at a time; each thread that loses a server of a Cluster
searches for all the others, one thread after the other; and a Cluster's client connects when it is made, so that an
app could not start without it.

The URLs::

    redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/service[/db]
    redis+cluster://[[user]:password@]host[:port][,host[:port]...]

``rediss`` instead of ``redis`` is TLS, with the certificate checked. The hosts are the sentinels, who are asked for the
master of the service, or some servers of the Cluster, who know the others. User and password are for Redis; the
sentinels' own are the options ``sentinel_username`` and ``sentinel_password``.
"""

from __future__ import annotations

import copy
import functools
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from redis import RedisCluster, Sentinel, SentinelConnectionPool, SSLConnection
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError
from redis.retry import Retry

from _redis_store.client import Client
from _redis_store.pool import Pool
from _redis_store.url import read_url

#: Scheme, kind, user and password, hosts, a Sentinel's service, the rest.
SERVERS = re.compile(r"(rediss?)\+(sentinel|cluster)://([^/?]*@)?([^/?@#]+)(?:/([\w.-]+))?((?:/\d*)?(?:\?.*)?)")


def connect_to_several(url: str, settings: dict[str, Any], options: dict[str, Any]) -> Any:
    """Do what `connect` does, with its settings and a caller's options. ValueError, TypeError: one of them is wrong."""
    match = SERVERS.fullmatch(url)
    if match is None or bool(match[5]) != (match[2] == "sentinel"):
        raise ValueError("expected redis+sentinel://host,…/service or redis+cluster://host,…")
    scheme, kind, user, hosts, service, rest = match.groups("")
    settings = settings | read_url(f"{scheme}://{user}{rest}") | options
    if settings.keys() & {"host", "port"}:
        raise ValueError("expected no other host")
    login = {name: settings.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    Client(Pool(**settings))  # TypeError: an option is wrong
    servers = hosts.split(",")
    if kind == "cluster":
        return Cluster(servers, settings)
    sentinels = Sentinels(servers, settings | login | {"db": 0})
    tls = settings.pop("connection_class", None) is SSLConnection
    return Client.from_pool(SentinelPool(service, sentinels, ssl=tls, **settings))  # type: ignore[no-untyped-call]


def parse_address(host: str, port: int) -> dict[str, Any]:
    """Return what redis-py is told of ``host[:port]``. ValueError: it is something else."""
    address: dict[str, Any] = {"port": port} | parse_url(f"redis://{host}")
    if address.keys() == {"host", "port"}:
        return address
    raise ValueError("expected host[:port]")


class Sentinels(Sentinel):
    """They are asked for the master one after the other; together they may take as long as one server."""

    def __init__(self, hosts: list[str], settings: dict[str, Any]) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        for name in ("socket_timeout", "socket_connect_timeout"):
            settings[name] = settings[name] and settings[name] / len(hosts)
        servers = [settings | parse_address(host, 26379) for host in hosts]
        self.sentinels = [Client(Pool(**server)) for server in servers]

    def discover_master(self, service_name: str) -> Any:
        """Return the address of the master: host and port."""
        mine = copy.copy(self)  # redis-py reorders its list, and then two threads at a time can lose a sentinel from it
        mine.sentinels = [*self.sentinels]
        address = super(Sentinels, mine).discover_master(service_name)  # type: ignore[no-untyped-call]
        self.sentinels = mine.sentinels
        for sentinel in mine.sentinels:  # the next time is far off, and a load balancer may forget a connection
            sentinel.connection_pool.disconnect(inuse_connections=False)
        return address


class SentinelPool(SentinelConnectionPool, Pool):
    """Connections to the master that the sentinels name; those to a former one are closed instead of given back."""

    def leave_master(self, error: ReadOnlyError) -> Exception:
        super().leave_master(error)
        return ConnectionError("The previous master is now a slave")  # redis-py's own


class Cluster:
    """A RedisCluster that is made with the first command: its constructor connects."""

    __class__: Any = RedisCluster  # what isinstance() sees

    def __init__(self, hosts: list[str], settings: dict[str, Any]) -> None:
        if settings.pop("db", 0) != 0:
            raise ValueError("a Cluster has only database 0")
        self._settings, self._hosts = settings, {host: parse_address(host, 6379) for host in hosts}
        self._client: RedisCluster | None = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if self._client is None:
            start, wait = time.monotonic(), self._settings["timeout"]
            if not self._lock.acquire(timeout=threading.TIMEOUT_MAX if wait is None else wait):
                raise TimeoutError("another thread has not found the Cluster yet")
            try:
                self._client = self._client or ClusterClient(self._hosts, self._settings)
            finally:
                self._lock.release()
            if wait and time.monotonic() - start > 1.5 * wait:
                raise TimeoutError("there is no time left for the command")
        return getattr(self._client, name)

    def close(self) -> None:
        """Close the connections. It may be used again, as any client of `connect`."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # What Python looks for in the class of an object.

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _call(self, name: str, *words: Any) -> Any:
        return self.__getattr__(name)(*words)

    __getitem__ = functools.partialmethod(_call, "__getitem__")
    __setitem__ = functools.partialmethod(_call, "__setitem__")
    __delitem__ = functools.partialmethod(_call, "__delitem__")
    __contains__ = functools.partialmethod(_call, "__contains__")


class ClusterClient(RedisCluster):
    """A RedisCluster in which one thread asks where the keys of a lost server are now, and asks one other server.

    In redis-py all threads do that, one after the other, and each asks all servers.
    """

    def __init__(self, hosts: dict[str, dict[str, Any]], settings: dict[str, Any]) -> None:
        self._hosts, self._searching = hosts, threading.Lock()
        host, *others = random.sample([*hosts], min(2, len(hosts)))
        with self._searching:
            super().__init__(
                url=f"redis://{host}",  # redis-py takes a class of pools with a URL only
                startup_nodes=[ClusterNode(**hosts[other]) for other in others],
                connection_pool_class=functools.partial(Pool, **settings),  # redis-py drops those that it does not know
                **settings | {"retry": Retry(NoBackoff(), 1)},  # here, any one server may be lost
            )
        self.retry = settings["retry"]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "nodes_manager":
            value.initialize = functools.partial(self._search, value, value.initialize)
        super().__setattr__(name, value)

    def _search(self, manager: Any, initialize: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Ask one server for the others, unless another thread does."""
        if self._searching.acquire(blocking=False):
            try:
                known = [*(ClusterNode(**host) for host in self._hosts.values()), *manager.nodes_cache.values()]
                nodes = {node.name: node for node in known}
                others = [name for name in nodes if name != kwargs.get("last_failed_node_name")]
                node = nodes[random.choice(others or [*nodes])]  # noqa: S311  # no secret
                if node.redis_connection:  # its idle connections may be forgotten as well
                    node.redis_connection.connection_pool.disconnect(inuse_connections=False)
                manager.startup_nodes = {node.name: node}
                initialize(*args, **kwargs)
            finally:
                self._searching.release()
