"""`connect`: from a URL to a client whose timeouts, retries and limits are set on purpose; and `check_client`."""

from __future__ import annotations

import inspect
import re
from typing import Any

from redis import RedisCluster
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from _redis_store.client import Client
from _redis_store.pool import Pool
from _redis_store.servers import connect_to_several
from _redis_store.url import WrongOption, read_url

SOCKET_TIMEOUT = 0.25  # seconds, each: for a connection of the pool, to connect, for an answer
MAX_CONNECTIONS = 50  # per process; further threads wait SOCKET_TIMEOUT for one

#: What `connect` takes for one server, roughly: redis-py itself would read a wrong database as 0.
URL = re.compile(r"rediss?://[^/]*(/\d*)?(\?.*)?|unix://[^/]*/.+")


def connect(url: str, **options: Any) -> Any:
    """Return a Redis client with every timeout, retry and pool limit set on purpose. It connects on first use, not now.

    `url` is ``redis://[[user]:password@]host[:port][/db]``, ``rediss://…`` for TLS with the certificate checked, or
    ``unix:///path/to/socket[?db=0]``. For several servers, ``redis+sentinel://…`` and ``redis+cluster://…``: see
    servers.py. Options in its query string go to redis-py's connections and the pool and win over what is set here,
    `options` over both; url.py says what they may be. ValueError: the URL is none of these, or an option is wrong; the
    message names that one, and shows neither the URL nor a password in it.
    TypeError: it is no text, but None, say, from an environment variable that is not set.

    The client is a `redis.Redis` (`Client`), or a `redis.RedisCluster`. redis-py's own defaults let one command wait
    for a minute. It would also repeat commands whose answer was lost, which is wrong for GETDEL and SET NX:
    `RedisStore` repeats those that it may. And its protocol 3 disables the check for a connection with an unread
    answer, which could then be the next user's session: hence protocol 2.
    """
    if not isinstance(url, str):
        raise TypeError(f"expected a URL, as redis://localhost:6379/0; got a {type(url).__name__}")
    settings: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": SOCKET_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": MAX_CONNECTIONS,
        "timeout": SOCKET_TIMEOUT,  # the wait for a connection of the pool
    }
    hint = "known options"
    try:
        if url.startswith(("redis+", "rediss+")):
            return connect_to_several(url, settings, options)
        if URL.fullmatch(url):
            return Client.from_pool(Pool(**settings | read_url(url) | options))
    except WrongOption as error:
        hint = str(error)
    except (TypeError, ValueError, RedisError):
        pass  # its message may quote the password
    raise ValueError(
        "expected redis://[[user]:password@]host[:port][/db], rediss://…, unix:///path, redis+sentinel://…/service or "
        f"redis+cluster://…, and {hint}"
    )


def check_client(client: Any) -> None:
    """Raise TypeError, with what was given, for anything but a client that sends a command when it is told to."""
    if isinstance(client, RedisCluster):  # one of `connect` would connect, if it were asked what it has
        return
    try:
        why = _fault_of(client)
    except RuntimeError:  # a proxy for a client that each request makes: it cannot be asked yet
        return
    if why is not None:
        kind = client if isinstance(client, type) else type(client)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        raise TypeError(
            "expected a redis-py client that is not asyncio's, as connect(url) makes one, or a RedisStore; "
            f"got {'the class' if kind is client else 'a'} {name}: {why}"
        )


def _fault_of(client: Any) -> str | None:
    """Return why it is no client. None: it is one."""
    send = getattr(client, "execute_command", None)
    if isinstance(client, type):
        return "a client is an object of it"
    if inspect.iscoroutinefunction(send):
        return "its commands have to be awaited"
    if hasattr(client, "command_stack"):
        return "a pipeline sends nothing yet"
    if not callable(send) or not (hasattr(client, "execute_all") or hasattr(client, "pipeline")):
        return "it has no execute_command and pipeline"
    if type(client).__module__.startswith("redis.commands."):  # client.json(), client.ft()
        return "it is for one module of Redis"
    return None
