"""What is told of an error of the client: its kind, what to do, a code of Redis; never what it quotes."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from redis.exceptions import ConnectionError, OutOfMemoryError, ResponseError

from _redis_store.failure import describe, raise_interruption


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ResponseError("MISCONF Redis is configured to save RDB snapshots 0000"), "ResponseError: MISCONF"),
        (ResponseError("NOREPLICAS Not enough good replicas to write. 0000"), "ResponseError: NOREPLICAS"),
        (ResponseError("BUSY Redis is busy running a script 0000"), "ResponseError: BUSY"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory' 0000"), "OutOfMemoryError"),
        (ConnectionError("Error 111 connecting to redis:6379"), "ConnectionError: Error 111 connecting to redis:6379"),
        (ResponseError("MISCONF0000 of another program"), "ResponseError"),
        (ResponseError("SESSION is no code of Redis: 0000"), "ResponseError"),
        (ResponseError("0000 MISCONF"), "ResponseError"),
        (ResponseError(""), "ResponseError"),
    ],
)
def test_of_what_an_error_says_only_a_known_code_is_told(error: Exception, words: str) -> None:
    """Whatever else stands there may be a key or a value."""
    assert describe(error) == words


def test_a_time_limit_that_goes_off_while_it_looks_for_one_passes_through() -> None:
    """Before any line that it runs: no library that it calls takes the ValueError for one of its own."""
    left, reached = 0, 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                raise ValueError("the limit")
        return trace

    tracer = sys.gettrace()
    while left <= 0:
        reached += 1
        left = reached
        sys.settrace(trace)
        try:
            raise_interruption(OSError(), None)
        except ValueError:
            continue
        finally:
            sys.settrace(tracer)
        assert left > 0
    assert reached > 3
