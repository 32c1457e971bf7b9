"""Sending commands to Redis: how long to wait for it, and what may be sent twice.

A *time budget* bounds what the commands of one request may wait, all together. A *circuit breaker* keeps a Redis that
does not answer from costing every request its timeout. Whatever the client raises becomes `StoreUnavailable`.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import RedisCluster
from redis.exceptions import ClusterCrossSlotError, ConnectionError, ResponseError, TimeoutError

from _redis_store.connection import SOCKET_TIMEOUT

log = logging.getLogger("redis_store")

Command = tuple[Any, ...]

MAX_TIMEOUTS = 3  # in a row; then Redis counts as away
PAUSE = 0.5  # seconds between two tries while Redis is away; everything else fails at once

#: What to do about an error, by its kind and text. Its own words stay out: they quote the command.
HINTS = {
    r"(unknown|unsupported) command|command (is )?not (available|supported)": (
        "this server does not know the command, or its provider forbids it; needed are Redis 6.2 or newer and scripts "
        "(EVAL), and for fakeredis its extra: pip install 'fakeredis[lua]'"
    ),
    r"permission|user executing the script": "Redis's ACL forbids command or key; the README says what to grant",
    r"MovedError": "this is one server of a Cluster; connect to it with redis+cluster://",
}


class StoreUnavailable(Exception):
    """Redis could not be reached, did not answer in time, or refused the command.

    The only exception of this library that is about Redis, whatever the client raised. The message names the command
    and the kind of error; never a sid, which some of the client's own messages contain.
    """


class CrossSlot(StoreUnavailable):
    """The server is part of a Cluster, and the keys of one script belong to different slots."""


class CircuitBreaker:
    """Opens after MAX_TIMEOUTS in a row: then one command in PAUSE seconds tries, and its answer closes it."""

    def __init__(self) -> None:
        self.timeouts = 0
        self.next_try = 0.0  # by the monotonic clock

    def succeed(self) -> None:
        """Note an answer."""
        self.timeouts = 0

    def fail(self, error: Exception) -> None:
        """Note how a command failed. Any answer, a refused connection too, means that nobody has to wait."""
        if str(error) != "No connection available.":  # the pool's: Redis was not even asked
            self.timeouts = self.timeouts + 1 if isinstance(error, TimeoutError) else 0
        self.next_try = time.monotonic() + PAUSE

    def lets_pass(self) -> bool:
        """Return whether a command may be sent now."""
        if self.timeouts < MAX_TIMEOUTS:
            return True
        if (now := time.monotonic()) < self.next_try:
            return False
        self.next_try = now + PAUSE  # for the others: this one tries
        return True


class Sender:
    """Sends commands by a redis-py client. One for a process, and one for each request, with the same circuit breaker.

    Every method raises `StoreUnavailable`. A key that does not hold what the command works on reads as missing.
    """

    def __init__(self, client: Any, origin: Sender | None = None, budget: float = math.inf) -> None:
        self.client = client
        self.budget = budget  # seconds that all commands together may still wait
        self._origin = origin or self  # the process's, which knows the server
        if origin is None:
            self.breaker = CircuitBreaker()
            self._clustered = isinstance(client, RedisCluster)
        else:
            self.breaker = origin.breaker

    @property
    def clustered(self) -> bool:
        """Whether the keys of a script may be on several servers. Then commands go out one after the other."""
        return self._origin._clustered

    def run(self, *command: Any, again: bool = False, **options: Any) -> Any:
        """Return the answer to a command. `again`: it may be sent twice, if the connection breaks before the answer."""

        def send() -> Any:
            return self.client.execute_command(*command, NEVER_DECODE=True, **options)

        return self._wait(command[0], send, again)

    def run_all(self, commands: Sequence[Command], *, again: bool = False, ordered: bool = True) -> list[Any]:
        """Return the answers to commands, sent in this order: one round trip, but not one step.

        On a Cluster, where several servers keep no order, each is a round trip, and the first that fails is the last;
        unless they need not be `ordered`.
        """
        if len(commands) < 2 or (self.clustered and ordered):
            return [self.run(*command, again=again) for command in commands]
        answers = self._wait("a pipeline", lambda: self._pipeline(commands), again)
        for command, answer in zip(commands, answers, strict=True):
            if isinstance(answer, Exception) and not _is_wrong_type(answer):
                raise self._unavailable(command[0], answer)
        return [None if isinstance(answer, Exception) else answer for answer in answers]

    def _pipeline(self, commands: Sequence[Command]) -> list[Any]:
        if hasattr(self.client, "execute_all"):  # a client of `connect`
            return list(self.client.execute_all(commands, NEVER_DECODE=True))
        with self.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command, NEVER_DECODE=True)
            return list(pipeline.execute(raise_on_error=False))

    def _wait(self, name: str, send: Callable[[], Any], again: bool) -> Any:
        if self.budget < SOCKET_TIMEOUT or not self.breaker.lets_pass():
            raise StoreUnavailable(f"{name} was not sent: Redis keeps this request, or others, waiting")
        start = time.monotonic()
        try:
            answer = send()
            self.breaker.succeed()
            return answer
        except Exception as error:  # the client raises more than RedisError: OSError, even AttributeError
            if not isinstance(self.client, RedisCluster):  # there, one server may be away and the others are not
                self.breaker.fail(error)
            if _is_wrong_type(error):
                log.warning("a key that holds no string counts as missing")
                return None
            again = again and isinstance(error, ConnectionError)
            unavailable = self._unavailable(name, error)
        finally:
            self.budget -= time.monotonic() - start
        if again:
            return self._wait(name, send, False)
        raise unavailable  # out here, so that it does not carry the client's error along

    def _unavailable(self, name: str, error: Exception) -> StoreUnavailable:
        """Return what is raised instead of the client's error."""
        if isinstance(error, ClusterCrossSlotError):  # a Cluster behind one address: now we know
            self._origin._clustered = True
            return CrossSlot(f"{name} has keys of several slots")
        kind = type(error).__name__
        # Only a network error is safe to quote: others quote the command, and with it the sid and the session.
        words = str(error) if type(error) in (ConnectionError, TimeoutError) else _hint(f"{kind} {error}")
        return StoreUnavailable(f"{name} failed with {kind}{words and ': '}{words}")


def _is_wrong_type(error: Exception) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")


def _hint(error: str) -> str:
    return next((words for pattern, words in HINTS.items() if re.search(pattern, error[:200], re.I)), "")
