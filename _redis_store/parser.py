"""redis-py's own parser of protocol 2, and faster with the usual answer: one that comes in one piece."""

from __future__ import annotations

from typing import Any

from redis import exceptions
from redis._parsers import _RESP2Parser
from redis.connection import DefaultParser

NO_HIREDIS = DefaultParser is _RESP2Parser


class Parser(_RESP2Parser):
    """Where hiredis is not installed: the answers of `Client`, a text or a number each, in half of the time."""

    _sock: Any
    _buffer: Any
    encoder: Any

    def read_response(self, disable_decoding: bool = False, *rest: Any, **options: Any) -> Any:
        """Return the next answer. redis-py's TimeoutError: it did not come in time; ConnectionError: Redis hung up."""
        if not rest and not options and self._buffer and not self._buffer.unread_bytes():
            try:
                data = self._sock.recv(self.socket_read_size)
            except TimeoutError as error:
                raise exceptions.TimeoutError("Timeout reading from socket") from error
            end = data.find(b"\r\n")
            kind = data[:1] if end > 0 else b""  # without the end of a line there is nothing to go by yet
            if kind == b"$" and 0 <= int(data[1:end]) == len(data) - end - 4:
                answer = data[end + 2 : -2]
                return answer if disable_decoding else self.encoder.decode(answer)
            if kind == b":" and end == len(data) - 2:
                return int(data[1:end])
            self._buffer._buffer.write(data)
            self._buffer._buffer.seek(0)
        return super().read_response(disable_decoding, *rest, **options)
