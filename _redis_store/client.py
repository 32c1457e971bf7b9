"""A redis-py client whose commands take little more than half of its CPU time, and are safe to break off.

redis-py spends most of the time of a GET in its pool, and on metrics, events and retries around each command. `Client`
uses its connections and parser, and leaves the rest out. Everything else is redis-py's.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.client import EMPTY_RESPONSE, NEVER_DECODE, Pipeline
from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError

from _redis_store.parser import Parser
from _redis_store.pool import Pool

LARGE = 2**16  # bytes of a word that is sent by itself
NOT_FOR_CALLBACKS = {NEVER_DECODE, EMPTY_RESPONSE, "keys"}  # options of a command that its response callback never sees


class Client(Redis):
    """`redis.Redis` with a `Pool`. TypeError, at once and not with the first command: an option is wrong."""

    connection_pool: Pool

    def __init__(self, connection_pool: Pool, **options: Any) -> None:
        super().__init__(connection_pool=connection_pool, **options)
        connection = connection_pool.make_connection()
        self._pack = connection.pack_command
        is_ours = isinstance(connection._parser, Parser)
        self._read_answer = Parser.read_answer if is_ours else type(connection._parser).read_response
        self._read_answers = Parser.read_answers if is_ours else _read_answers
        self._is_utf8 = (connection.encoder.encoding, connection.encoder.encoding_errors) == ("utf-8", "strict")

    def execute_command(self, *command: Any, **options: Any) -> Any:
        """Send a command, and return its answer as redis-py's method does; `options` are the same."""
        if self.connection or command[0][:7] in ("HIMPORT", b"HIMPORT"):  # what depends on the state of a connection
            return super().execute_command(*command, **options)  # type: ignore[no-untyped-call]
        pieces = self._pack_all((command,))
        pool = self.connection_pool
        connection = pool.take()
        try:
            for piece in pieces:
                connection._sock.sendall(piece)
            answer = self._read_answer(connection._parser, NEVER_DECODE in options)
        except BaseException as error:
            self._close(connection, error)
            raise
        pool.give_back(connection)
        if isinstance(answer, Exception) or command[0] in self.response_callbacks:
            answer = self._interpret(command[0], answer, options)
        if isinstance(answer, Exception):
            try:
                raise answer
            finally:
                del answer  # or this frame and the error would keep each other
        return answer

    def execute_all(self, commands: Sequence[tuple[Any, ...]], **options: Any) -> list[Any]:
        """Send commands in one write, and return their answers in order: one round trip, but no transaction.

        An answer is what `execute_command` would return for it, or the exception that it would raise for an error that
        Redis answers. When anything else goes wrong this raises, and some of the commands may have run.
        """
        if not commands:
            return []
        pieces = self._pack_all(commands)
        pool = self.connection_pool
        connection = pool.take()
        try:
            for piece in pieces:
                connection._sock.sendall(piece)
            answers = self._read_answers(connection._parser, len(commands), NEVER_DECODE in options)
        except BaseException as error:
            self._close(connection, error)
            raise
        pool.give_back(connection)
        return [self._interpret(command[0], answer, options) for command, answer in zip(commands, answers, strict=True)]

    def pipeline(self, transaction: Any = True, shard_hint: Any = None) -> Pipeline:
        """Return redis-py's pipeline, which closes its connection when it is abandoned half-way."""
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)

    def _pack_all(self, commands: Sequence[tuple[Any, ...]]) -> list[bytes]:
        """Return the commands as Redis wants them: the usual ones in less than half of redis-py's time.

        In pieces, so that a large word is not copied.
        """
        pieces: list[bytes] = []
        small: list[bytes] = []  # what goes out with the next piece
        for command in commands:
            name = command[0]
            if not self._is_utf8 or type(name) is not str or not name.isalnum():  # "CONFIG GET" is two words
                return self._pack_unusual(commands)
            small.append(b"*%d\r\n" % len(command))
            for word in command:
                if type(word) is str:
                    word = word.encode()
                elif type(word) is int or type(word) is float:
                    word = repr(word).encode()
                elif type(word) is not bytes:
                    return self._pack_unusual(commands)
                if len(word) < LARGE:
                    small.append(b"$%d\r\n%b\r\n" % (len(word), word))
                else:
                    pieces += (b"".join([*small, b"$%d\r\n" % len(word)]), word)
                    small = [b"\r\n"]
        return [*pieces, b"".join(small)]

    def _pack_unusual(self, commands: Sequence[tuple[Any, ...]]) -> list[bytes]:
        return [b"".join([part for command in commands for part in self._pack(*command)])]

    def _close(self, connection: Any, error: BaseException) -> None:
        """Close a connection on which anything went wrong; raise redis-py's kinds of errors for the system's."""
        failure: Exception | None = None
        if isinstance(error, socket.timeout):
            failure = TimeoutError("Timeout while talking to Redis")
        elif isinstance(error, OSError | AttributeError):  # AttributeError: another thread closed it meanwhile
            failure = ConnectionError(f"Error while talking to {connection._host_error()}: {error}")
        self.connection_pool.drop(connection, failure or error)
        if failure is not None:
            raise failure from error

    def _interpret(self, name: Any, answer: Any, options: dict[str, Any]) -> Any:
        """Return what redis-py makes of an answer, after the command's options; an error is a value."""
        if isinstance(answer, Exception):
            if isinstance(answer, ReadOnlyError):
                answer = self.connection_pool.leave_master(answer)
            return options.get(EMPTY_RESPONSE, answer)
        if name not in self.response_callbacks:
            return answer
        options = {key: value for key, value in options.items() if key not in NOT_FOR_CALLBACKS}
        return self.response_callbacks[name](answer, **options)


def _read_answers(parser: Any, number: int, disable_decoding: bool) -> list[Any]:
    return [parser.read_response(disable_decoding) for _ in range(number)]


class _Pipeline(Pipeline):
    def reset(self) -> None:  # type: ignore[override]  # as redis-py's own: the command RESET has its name
        """Give back the connection, as redis-py does, but forget it first: it may be another caller's at once."""
        connection = self.connection
        if connection and self.watching:
            try:
                connection.send_command("UNWATCH")
                connection.read_response()
            except ConnectionError:
                connection.disconnect()  # which ends the WATCH as well
            self.watching = False
        self.connection = None
        super().reset()
        if connection:
            self.connection_pool.release(connection)

    def __del__(self) -> None:
        self.connection = None  # with answers unread, maybe: redis-py would give it back
