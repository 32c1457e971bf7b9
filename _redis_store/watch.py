"""Whether an idle connection can be used: it is open, and there is nothing in it to read."""

from __future__ import annotations

import select
import sys
from types import BuiltinFunctionType
from typing import Any

from redis.exceptions import ConnectionError, TimeoutError

from _redis_store.failure import raise_interruption

#: What a connection has as its `watch`: its socket, whether something happened there, whether the parser holds bytes.
Watch = tuple[Any, Any, Any]
NO_SOCKET: Watch = (object(), None, None)


def make_ready(connection: Any) -> None:
    """Connect; again, if the server closed the connection or there is something in it that nobody has read."""
    outer = sys.exception()
    try:
        is_ready = connection._sock is not None and not connection.can_read()
    except (OSError, ConnectionError, TimeoutError) as error:
        raise_interruption(error, outer)
        is_ready = False
    if not is_ready:
        _connect_anew(connection)
    connection.watch = watch(connection)


def check_health(connection: Any) -> None:
    """Send a PING, if it is time for one. Connect again, if nothing comes back."""
    outer = sys.exception()
    try:
        connection.check_health()
    except (OSError, ConnectionError, TimeoutError) as error:
        raise_interruption(error, outer)
        if connection.is_new:
            raise
        _connect_anew(connection)
        connection.watch = watch(connection)


def _connect_anew(connection: Any) -> None:
    connection.disconnect()
    connection.is_new = True
    connection.connect()


def watch(connection: Any) -> Watch:
    """Return what tells of a connection's state in a fifth of the time that redis-py's `can_read` takes.

    Where it tells of something, `can_read` has the last word: TLS sends bytes that are no answer.
    """
    poll = getattr(select, "poll", None)
    if not isinstance(poll, BuiltinFunctionType):  # Windows has none; gevent's own switches to other greenlets
        return connection._sock, lambda timeout: True, None
    poller, parser = poll(), connection._parser
    poller.register(connection._sock, select.POLLIN)
    is_hiredis = hasattr(parser, "_reader")
    return connection._sock, poller.poll, parser._reader.has_data if is_hiredis else parser._buffer.unread_bytes
