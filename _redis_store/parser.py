"""redis-py's own parser of protocol 2, and a faster way to the usual answers: those that have come completely."""

from __future__ import annotations

from typing import Any

from redis._parsers import _RESP2Parser
from redis._parsers.socket import SERVER_CLOSED_CONNECTION_ERROR
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError

NO_HIREDIS = DefaultParser is _RESP2Parser


class Parser(_RESP2Parser):
    """Where hiredis is not installed: the answers of `Client`, in half of the time.

    Its methods return what `read_response` does. Nothing of earlier answers may be unread, and the builtin TimeoutError
    says that nothing came in time.
    """

    _sock: Any
    _buffer: Any
    encoder: Any

    def read_answer(self, disable_decoding: bool) -> Any:
        """Return the answer to one command."""
        data = self._sock.recv(self.socket_read_size)
        end = data.find(b"\r\n")
        kind = data[:1] if end > 0 else b""  # without the end of a line there is nothing to go by yet
        if kind == b"$" and (size := int(data[1:end])) >= 0 and (missing := end + size + 4 - len(data)) >= 0:
            answer = self._complete(data[end + 2 :], size) if missing else data[end + 2 : -2]
            return answer if disable_decoding else self.encoder.decode(answer)
        if kind == b":" and end == len(data) - 2:
            return int(data[1:end])
        return self._read_slowly(data, 1, disable_decoding)[0]

    def read_answers(self, number: int, disable_decoding: bool) -> list[Any]:
        """Return the answers to so many commands."""
        data = self._sock.recv(self.socket_read_size)
        answers, end = [], 0
        try:
            for _ in range(number):
                answer, end = _parse(data, end)
                answers.append(answer)
        except ValueError:
            end = -1
        if end == len(data) and (disable_decoding or not self.encoder.decode_responses):
            return answers
        return self._read_slowly(data, number, disable_decoding)

    def _read_slowly(self, data: bytes, number: int, disable_decoding: bool) -> list[Any]:
        """Return the answers, which begin with `data`, as redis-py reads them."""
        self._buffer._buffer.write(data)
        self._buffer._buffer.seek(0)
        return [self.read_response(disable_decoding) for _ in range(number)]

    def _complete(self, begin: bytes, size: int) -> bytes:
        """Return a text of that size, which begins so; read it, and the end of its line."""
        line = bytearray(size + 2)
        view, come = memoryview(line), len(begin)
        view[:come] = begin
        while come < len(line):
            if not (number := self._sock.recv_into(view[come:])):
                raise ConnectionError(SERVER_CLOSED_CONNECTION_ERROR)
            come += number
        return bytes(view[:size])


def _parse(data: bytes, start: int) -> tuple[Any, int]:
    """Return the answer that begins there, and where it ends. ValueError: it is not complete, or not a usual one."""
    end = data.index(b"\r\n", start)
    kind, size, position = data[start : start + 1], int(data[start + 1 : end]), end + 2
    if kind == b":":
        return size, position
    if kind == b"$" and size >= 0 and len(data) >= position + size + 2:
        return data[position : position + size], position + size + 2
    if kind != b"*" or size < 0:
        raise ValueError("not usual")
    answers = []
    for _ in range(size):
        answer, position = _parse(data, position)
        answers.append(answer)
    return answers, position
