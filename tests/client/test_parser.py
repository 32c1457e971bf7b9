"""The parser of answers: what redis-py's own would read, however the bytes arrive."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from redis._parsers import _RESP2Parser
from redis.exceptions import ConnectionError, TimeoutError

from _redis_store.parser import Parser
from _redis_store.pool import Pool

#: A text, numbers, none, an empty text, one that looks like two answers, several in one, an error, and what is none.
ANSWERS = [
    b"$5\r\nhello\r\n",
    b":42\r\n",
    b":-1\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$12\r\n:1\r\n$2\r\nab\r\n\r\n",
    b"+OK\r\n",
    b"*3\r\n:1\r\n$1\r\nx\r\n*-1\r\n",
    b"-ERR no\r\n",
    b"!\r\n",
]


def read(kind: type[_RESP2Parser], pieces: Sequence[bytes], number: int, **options: Any) -> list[Any]:
    """So many answers, or the error that ends them, from bytes that arrive in these pieces. An empty one: the end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # one recv() returns one piece
    with ours, theirs:
        connection = Pool(protocol=2, socket_timeout=0.05, **options).make_connection()
        connection.set_parser(kind)
        connection._sock = ours
        ours.settimeout(0.05)
        connection._parser.on_connect(connection)
        for piece in pieces:
            theirs.send(piece) if piece else theirs.close()
        found: list[Any] = []
        for disable_decoding in itertools.islice(itertools.cycle([False, True]), number):
            try:
                answer = connection._parser.read_response(disable_decoding)
            except Exception as error:
                return [*found, (type(error), str(error))]
            found.append((type(answer), str(answer)) if isinstance(answer, Exception) else answer)
        return found


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_what_redis_py_reads(answer: bytes, decode_responses: bool) -> None:
    """In one piece or two, alone or before the next one; and the one after that, too."""
    both = answer + b"$4\r\nnext\r\n"
    for cut in range(1, len(both) + 1):
        pieces = [piece for piece in (both[:cut], both[cut:], b":7\r\n") if piece]
        expected, found = (read(kind, pieces, 3, decode_responses=decode_responses) for kind in (_RESP2Parser, Parser))
        assert found == expected, cut


def test_an_answer_that_does_not_come_is_a_timeout() -> None:
    """Also one of which a part came."""
    for pieces in ([], [b"$5\r\nhel"], [b"$"]):
        assert read(Parser, pieces, 1) == [(TimeoutError, "Timeout reading from socket")]


def test_a_server_that_hangs_up_is_an_error() -> None:
    """Also in the middle of an answer."""
    for pieces in ([b""], [b"$5\r\nhel", b""]):
        assert read(Parser, pieces, 1) == [(ConnectionError, "Connection closed by server.")]
