"""Sending commands to Redis: how long to wait for it, and what may be sent twice.

A *time budget* bounds what the commands of one request may wait, all together. A *circuit breaker* keeps a Redis that
does not answer from costing every request its timeout. Whatever the client raises becomes `StoreUnavailable`.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import RedisCluster
from redis.exceptions import ClusterCrossSlotError, ConnectionError, ResponseError, TimeoutError

from _redis_store.connection import SOCKET_TIMEOUT
from _redis_store.failure import FAILURES, POOL_IS_FULL, describe, raise_interruption

log = logging.getLogger("redis_store")

Command = tuple[Any, ...]

MAX_TIMEOUTS = 3  # in a row; then Redis counts as away
PAUSE = 0.5  # seconds between two tries while Redis is away; everything else fails at once
MAX_PAUSE = 10  # seconds; a try that was slow is paid for with a pause as long
REFILL = 0.1  # of the time in which a request does not wait goes back into its budget
NAME_SERVER = 1  # seconds; one lost server of a Cluster takes less, a silent name server takes more


class StoreUnavailable(Exception):
    """Redis could not be reached, did not answer in time, or refused the command.

    The only exception of this library that is about Redis, whatever the client raised. The message names the command
    and the kind of error; never a sid, which some of the client's own messages contain.
    """


class CrossSlot(StoreUnavailable):
    """The server is part of a Cluster, and the keys of one script belong to different slots."""


class CircuitBreaker:
    """Opens after MAX_TIMEOUTS in a row: then one command in PAUSE seconds tries, and its answer closes it.

    A failure that took as long counts like a timeout, whatever its kind: a name server may be silent for ten seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.timeouts = 0
        self.cause = ""  # the first of them, in words
        self.seconds = 0.0  # that the last failure took
        self.next_try = 0.0

    def succeed(self) -> None:
        """Note an answer."""
        self.timeouts = 0

    def fail(self, error: Exception, seconds: float = 0) -> None:
        """Note how a command failed, and how long that took. What fails at once means that nobody has to wait."""
        if str(error) not in POOL_IS_FULL:  # or Redis was not even asked
            self.seconds = min(seconds, MAX_PAUSE)
            if not isinstance(error, TimeoutError) and seconds < SOCKET_TIMEOUT:
                self.timeouts = 0
            else:
                self.cause = self.cause if self.timeouts else describe(error)
                self.timeouts += 1
        self.next_try = self.clock() + max(PAUSE, self.seconds)

    def lets_pass(self) -> bool:
        """Return whether a command may be sent now."""
        if self.timeouts < MAX_TIMEOUTS:
            return True
        if (now := self.clock()) < self.next_try:
            return False
        self.next_try = now + max(PAUSE, 2 * self.seconds)  # for the others: this one tries
        return True


class Sender:
    """Sends commands by a redis-py client. One for a process, and one for each request, with the same circuit breaker.

    Every method raises `StoreUnavailable`. A key that does not hold what the command works on reads as missing. Options
    of a command are those of the client's ``execute_command``.
    """

    def __init__(self, client: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self.client, self.clock, self.breaker = client, clock, CircuitBreaker(clock)
        self._origin = self  # the process's, which knows the server
        self._clustered = isinstance(client, RedisCluster)
        self._begin(math.inf)

    def within(self, seconds: float) -> Sender:
        """Return this sender for one request, whose commands together wait no longer than that for Redis."""
        sender = object.__new__(Sender)  # in every request: one by one, its attributes take half the time of a copy
        sender.client, sender.clock, sender.breaker = self.client, self.clock, self.breaker
        sender._origin = self._origin
        sender._begin(seconds)
        return sender

    def _begin(self, budget: float) -> None:
        self.budget = self._full = budget  # seconds that all commands together may still wait
        self._least = min(SOCKET_TIMEOUT, budget / 2)  # with less of it, nothing is sent
        self._cause = ""  # the last failure, in words
        self._refilled = budget, self.clock()  # the budget, and when that was

    @property
    def clustered(self) -> bool:
        """Whether the keys of a script may be on several servers. Then commands go out one after the other."""
        return self._origin._clustered

    def run(self, *command: Any, again: bool = False, **options: Any) -> Any:
        """Return the answer to a command. `again`: it may be sent twice, when the connection breaks, or was idle."""
        return self._wait(
            command[0], lambda: self.client.execute_command(*command, NEVER_DECODE=True, **options), again
        )

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
        outer, start = sys.exception(), self.clock()
        if (self.budget <= self._least and not self._refill(start)) or not self.breaker.lets_pass():
            raise self._not_sent(name)
        try:
            answer = send()
            self.breaker.succeed()
            return answer
        except FAILURES as error:
            raise_interruption(error, outer)
            if _is_wrong_type(error):
                self.breaker.succeed()
                log.warning("a key of another type counts as missing")
                return None
            seconds = self.clock() - start
            may_help = self._note(error, seconds)
            again = again and may_help and self.budget - seconds > self._least + seconds
            unavailable = self._unavailable(name, error)
        finally:
            self.budget -= self.clock() - start
        if again:
            return self._wait(name, send, False)
        raise unavailable  # out here, so that it does not carry the client's error along

    def _refill(self, now: float) -> bool:
        """Put back a part of the time that was not spent waiting, once that is enough for several commands."""
        before, since = self._refilled
        rest = max(0, now - since - (before - self.budget))
        budget = min(self._full, max(0, self.budget) + rest * REFILL)
        if budget <= 0 or budget < 2 * self._least:  # of within(0), both are 0
            return False
        self.budget, self._refilled = budget, (budget, now)
        return True

    def _not_sent(self, name: str) -> StoreUnavailable:
        is_spent = self.budget <= self._least
        whom, why = ("this request", self._cause or "it is slow") if is_spent else ("others", self.breaker.cause)
        return StoreUnavailable(f"{name} was not sent: Redis keeps {whom} waiting ({why})")

    def _note(self, error: Exception, seconds: float) -> bool:
        """Note how a command failed; return whether another connection may do better."""
        self._cause = describe(error)
        was_idle = getattr(error, "was_idle", False)
        # Of a Cluster's servers one may be away, and the others are not.
        if not was_idle and (seconds >= NAME_SERVER or not isinstance(self.client, RedisCluster)):
            self.breaker.fail(error, seconds)
        return was_idle or isinstance(error, ConnectionError)

    def _unavailable(self, name: str, error: Exception) -> StoreUnavailable:
        """Return what is raised instead of the client's error."""
        if isinstance(error, ClusterCrossSlotError):  # a Cluster behind one address: now we know
            self._origin._clustered = True
            return CrossSlot(f"{name} has keys of several slots")
        return StoreUnavailable(f"{name} failed with {describe(error)}")


def _is_wrong_type(error: Exception) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")
