"""What is told of an error of the client: its kind, what to do, a code of Redis; never what it quotes."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError, OutOfMemoryError, ResponseError

from _redis_store.failure import describe


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
