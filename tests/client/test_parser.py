"""The parser of answers: what redis-py's own would read, however the bytes arrive."""

from __future__ import annotations

import builtins
import select
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


class Arriving(socket.socket):
    """A socket to which bytes come in pieces, each when the one before it has been read. An empty one is the end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        ours, self.theirs = socket.socketpair()
        super().__init__(fileno=ours.detach())
        self.settimeout(0.05)
        self.pieces = list(pieces)

    def recv(self, *args: Any) -> bytes:
        self.arrive()
        return super().recv(*args)

    def recv_into(self, *args: Any) -> int:
        self.arrive()
        return super().recv_into(*args)

    def arrive(self) -> None:
        """Let the next piece come, if nothing is there."""
        if self.pieces and not select.select([self], [], [], 0)[0]:
            piece = self.pieces.pop(0)
            self.theirs.sendall(piece) if piece else self.theirs.close()


def read(
    kind: type[_RESP2Parser], pieces: Sequence[bytes], number: int, *, together: int = 1, **options: Any
) -> list[Any]:
    """So many answers, or the error that ends them, from bytes that arrive in these pieces.

    The first are those to so many commands of one write; all after them are read by redis-py's method.
    """
    with Arriving(pieces) as ours, ours.theirs:
        connection = Pool(max_connections=1, timeout=0, protocol=2, socket_timeout=0.05, **options).make_connection()
        connection.set_parser(kind)
        connection._sock = ours
        parser = connection._parser
        parser.on_connect(connection)
        found: list[Any] = []
        try:
            if isinstance(parser, Parser):
                found += parser.read_answers(together, True) if together > 1 else [parser.read_answer(True)]
            while len(found) < number:
                found.append(parser.read_response(len(found) < together))
        except Exception as error:
            found.append(error)
        return [(type(answer), str(answer)) if isinstance(answer, Exception) else answer for answer in found]


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_what_redis_py_reads(answer: bytes, decode_responses: bool) -> None:
    """In one piece or two, alone or before the next one; and the one after that, too."""
    both = answer + b"$4\r\nnext\r\n"
    for cut in range(1, len(both) + 1):
        pieces = [piece for piece in (both[:cut], both[cut:], b":7\r\n") if piece]
        expected, found = (read(kind, pieces, 3, decode_responses=decode_responses) for kind in (_RESP2Parser, Parser))
        assert found == expected, cut


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_to_one_write_are_what_redis_py_reads(answer: bytes, decode_responses: bool) -> None:
    """In one piece or two; and the one after them, too."""
    two = answer + b"*2\r\n:0\r\n*1\r\n$1\r\nx\r\n"
    for cut in range(1, len(two) + 1):
        pieces = [piece for piece in (two[:cut], two[cut:], b":7\r\n") if piece]
        options = {"together": 2, "decode_responses": decode_responses}
        expected, found = (read(kind, pieces, 3, **options) for kind in (_RESP2Parser, Parser))
        assert found == expected, cut


@pytest.mark.parametrize("size", [1000, 25_005, 25_006, 30_000])
def test_a_large_text_is_read_whole(size: int) -> None:
    """In however many pieces; and what comes after it, too."""
    both = b"$50000\r\n" + 12_500 * b"\xc3\xa4\r\n" + b"\r\n:7\r\n"
    pieces = [both[start : start + size] for start in range(0, len(both), size)]
    for decode_responses in (False, True):
        expected, found = (read(kind, pieces, 2, decode_responses=decode_responses) for kind in (_RESP2Parser, Parser))
        assert found == expected


def test_an_answer_that_does_not_come_is_a_timeout() -> None:
    """Also one of which a part came."""
    for pieces in ([], [b"$5\r\nhel"], [b"$"]):
        assert read(Parser, pieces, 1)[0][0] in (builtins.TimeoutError, TimeoutError)


def test_a_server_that_hangs_up_is_an_error() -> None:
    """Also in the middle of an answer."""
    for pieces in ([b""], [b"$5\r\nhel", b""]):
        assert read(Parser, pieces, 1) == [(ConnectionError, "Connection closed by server.")]
