"""The pool of connections to Redis: bounded, and whole after whatever breaks a call off.

A call may end at any bytecode: by an exception from a signal handler, or by a greenlet that is killed. So nothing here
holds a lock, and nothing is counted up and down. A connection that is in use belongs to the call that took it, and to
nobody else. When that call ends without giving it back, Python frees the connection, which closes it, and removes it
from the set of those that exist. Each step that changes what others see is one call of a C function (``list.append``,
``list.pop``, ``dict.pop``), which Python does not interrupt.
"""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from socket import SHUT_RDWR
from typing import Any
from weakref import ref

from redis import ConnectionPool
from redis.exceptions import ConnectionError, ReadOnlyError, ResponseError, TimeoutError, WatchError

from _redis_store.failure import NO_CONNECTION
from _redis_store.parser import NO_HIREDIS, Parser
from _redis_store.watch import NO_SOCKET, check_health, make_ready

ANSWERED = (ResponseError, WatchError)  # after these, redis-py has read all the answers of a pipeline or a transaction


class Pool(ConnectionPool):
    """At most `max_connections`, the last one given back first; callers wait up to `timeout` seconds for one.

    `Client` uses `take`, then `give_back` or `drop`. For the rest of redis-py (pipelines, pub/sub, MONITOR) there are
    `get_connection` and `release`, on the same connections. Other options go to redis-py's connections.
    """

    patience = 0.05  #: seconds; then a waiting call tries again: nobody tells it when Python frees a connection

    def __init__(self, *, max_connections: int, timeout: float | None, **options: Any) -> None:
        self.timeout = timeout
        if NO_HIREDIS and options.get("protocol") == 2:
            options.setdefault("parser_class", Parser)
        super().__init__(max_connections=max_connections, **options)

    def reset(self) -> None:
        """Begin anew, with no connection: when the pool is made, and in a forked process."""
        self._idle: list[Any] = []
        self._existing: set[ref[Any]] = set()  # idle or in use
        self._waiting: dict[ref[SimpleQueue[Any]], bool] = {}  # the mailboxes of waiting calls: the first came first
        self.pid = os.getpid()

    def _checkpid(self) -> None:
        if self.pid != os.getpid():  # the sockets are the parent's; closing them here does not close them there
            self.reset()

    def take(self) -> Any:
        """Return a connection that is ready for a command, and is the caller's alone.

        ConnectionError: all are in use, and none came free in time. That or TimeoutError: no new one could be made.
        """
        self._checkpid()
        connection = self._pop() or self._make() or self._wait()
        try:
            sock, has_event, has_unread = connection.watch
            if sock is not connection._sock or has_event(0) or has_unread():
                make_ready(connection)
            if connection.health_check_interval:
                check_health(connection)
        except BaseException as error:
            self.drop(connection, error)
            raise
        return connection

    def give_back(self, connection: Any) -> None:
        """Let others use a connection. All answers to what was sent must have been read.

        It must be the caller's last step with it: others may already use it when this returns.
        """
        if not self.owns_connection(connection):  # made before a fork, or connected to a former master
            return self.drop(connection)
        connection.is_new = False
        self._idle.append(connection)
        if self._waiting:
            self._serve(idle=True)

    def drop(self, connection: Any, error: BaseException | None = None) -> None:
        """Close a connection, for that error; another one may take its place."""
        connection.disconnect()
        if isinstance(error, TimeoutError) and not connection.is_new:  # a load balancer may have forgotten all
            error.was_idle = True  # type: ignore[attr-defined]
            self.disconnect(inuse_connections=False)
        self._existing.discard(ref(connection))  # a traceback may hold it for long
        if self._waiting:
            self._serve(idle=False)

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Return a connection as `take` does. redis-py gives it back with `release`."""
        connection = self.take()
        connection.is_lent = True
        return connection

    def release(self, connection: Any) -> None:
        """Give back a connection from `get_connection`, once: a second time does nothing.

        It is closed if an exception is on its way that may have left answers unread.
        """
        if not vars(connection).pop("is_lent", False):
            return
        error = sys.exception()
        if connection._sock and (error is None or isinstance(error, ANSWERED)):
            self.give_back(connection)
        else:
            self.drop(connection, error)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the idle connections, and at will hang up those in use as well: their commands fail."""
        self._checkpid()
        while connection := self._pop():
            self.drop(connection)
        for connection in self._connections if inuse_connections else ():
            if sock := connection._sock:
                with suppress(OSError):  # closed meanwhile
                    sock.shutdown(SHUT_RDWR)  # not close(): its user might go on to read what is the next connection's

    def leave_master(self, error: ReadOnlyError) -> Exception:
        """Close the idle connections, for their server is a replica now; return the error to raise."""
        self.disconnect(inuse_connections=False)
        return error

    def make_connection(self) -> Any:
        """Return a connection that is not connected yet, and does not count."""
        connection = self.connection_class(**self.connection_kwargs)
        connection.watch, connection.is_new = NO_SOCKET, True
        return connection

    def re_auth_callback(self, token: Any) -> None:
        """Let new connections authenticate with a new token; those in use go on until the server closes them."""
        self.disconnect(inuse_connections=False)

    def set_retry(self, retry: Any) -> None:
        """Let redis-py's own methods repeat commands that way; those of `Client` are sent once."""
        self.connection_kwargs["retry"] = retry
        for connection in self._connections:
            connection.retry = retry

    @property
    def _connections(self) -> list[Any]:
        """All that exist."""
        return [connection for reference in list(self._existing) if (connection := reference())]

    def _get_free_connections(self) -> list[Any]:
        return list(self._idle)

    def _get_in_use_connections(self) -> set[Any]:
        return {*self._connections} - {*self._idle}

    def _pop(self) -> Any:
        """Take the idle connection that was used last, or None."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _make(self) -> Any:
        """Make a connection, or None: there are as many as there may be."""
        while len(self._existing) < self.max_connections:
            connection = self.make_connection()
            self._existing.add(ref(connection, self._existing.discard))
            if len(self._existing) <= self.max_connections:
                return connection
            del connection  # two threads at once; the last one to get here tries again
        return None

    def _wait(self) -> Any:
        """Return what another caller gives back, first come, first served; or a new connection when one was closed."""
        deadline = math.inf if self.timeout is None else time.monotonic() + self.timeout
        while (left := deadline - time.monotonic()) > 0:
            mailbox: SimpleQueue[Any] = SimpleQueue()
            entry = ref(mailbox)
            self._waiting[entry] = True
            try:  # one may have come free just before
                connection = self._pop() or self._make() or mailbox.get(timeout=min(left, self.patience))
                if connection := connection or self._make():
                    return connection
            except Empty:
                pass
            finally:  # with no `except`: it would catch what a signal handler raises here
                self._waiting.pop(entry, False)
                if not mailbox.empty() and (late := mailbox.get_nowait()):
                    self.give_back(late)  # broken off, or too late: this one is for the next caller
        raise ConnectionError(NO_CONNECTION)

    def _serve(self, *, idle: bool) -> None:
        """Tell the call that waits longest: here is an idle connection, or (None) room for a new one."""
        for entry in list(self._waiting):
            if self._waiting.pop(entry, False) and (mailbox := entry()) is not None:  # it waits, and was not broken off
                return mailbox.put(self._pop() if idle else None)
