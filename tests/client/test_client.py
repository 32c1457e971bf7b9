"""What connect() makes is a redis-py client, with a pool of its own and one method more: execute_all()."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis._parsers import _RESP2Parser
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.exceptions import ConnectionError, DataError, NoPermissionError, ResponseError
from support.proxy import Proxy
from support.servers import PATIENCE, RedisServer
from support.stopwatch import takes

from _redis_store.connection import connect

#: A command, its options, and what shows that redis-py made something of the answer.
COMMANDS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("GET", "text"), {}),
    (("get", "text"), {}),
    ((b"GET", "text"), {}),
    (("GET", "missing"), {"keys": ["missing"]}),
    (("GET", "text"), {NEVER_DECODE: True}),
    (("SET", "other", 1.5, "EX", 9), {}),
    (("SET", "other", 1, "NX"), {}),
    (("ZRANGE", "scores", 0, -1, "WITHSCORES"), {"withscores": True}),
    (("INFO", "server"), {}),
    (("CONFIG GET", "maxmemory*"), {}),
    (("HGETALL", "hash"), {}),
    (("EXISTS", "text", "missing"), {}),
    (("LRANGE", "text", 0, 1), {}),
    (("LRANGE", "text", 0, 1), {EMPTY_RESPONSE: "nothing"}),
    (("NO SUCH COMMAND",), {}),
    (("EVAL", "return {1, {2, redis.error_reply('E no')}}", 0), {}),
    (("ECHO", b"\xff" * 70_000), {}),
    (("EVAL", "return {#ARGV[1], #ARGV[2], ARGV[3]}", 0, "a" * 70_000, "b" * 70_000, "x"), {}),
]


def outcome(function: Callable[[], Any]) -> Any:
    """What a call returns, or its exception's type and text. Volatile parts of INFO do not count."""
    try:
        answer = function()
    except Exception as error:
        answer = error
    if isinstance(answer, Exception):
        return type(answer), str(answer)
    if isinstance(answer, list):
        return [outcome(lambda item=item: item) for item in answer]  # type: ignore[misc]
    return sorted(answer) if isinstance(answer, dict) and "uptime_in_seconds" in answer else answer


@pytest.fixture
def data(server: RedisServer) -> RedisServer:
    """A server with a key of each kind."""
    client = server.connect()
    client.set("text", "ü")
    client.zadd("scores", {"one": 1, "two": 2})
    client.hset("hash", "field", "value")
    return server


CASES = [  # what is no text cannot be decoded
    (number, decode)
    for number, (command, _) in enumerate(COMMANDS)
    for decode in (False, True)
    if not (decode and isinstance(command[-1], bytes))
]


@pytest.mark.parametrize(("number", "decode"), CASES)
def test_an_answer_is_what_redis_py_makes_of_it(data: RedisServer, number: int, decode: bool) -> None:
    """By execute_command and by execute_all, errors and options included."""
    command, options = COMMANDS[number]
    ours = data.connect(decode_responses=decode)
    with redis.Redis(unix_socket_path=str(data.socket), protocol=2, decode_responses=decode) as theirs:
        expected = outcome(lambda: theirs.execute_command(*command, **options))
        theirs.delete("other")
        assert outcome(lambda: ours.execute_command(*command, **options)) == expected
        theirs.delete("other")
        (answer,) = ours.execute_all([command], **options)  # type: ignore[attr-defined]
        assert outcome(lambda: answer) == expected


def test_many_commands_are_answered_in_order(server: RedisServer) -> None:
    """Also those of several kilobytes, and none at all."""
    client: Any = server.connect()
    commands = [("ECHO", f"{n}-" * n) for n in range(1, 2000, 37)]
    assert client.execute_all(commands) == [command[1].encode() for command in commands]
    assert client.execute_all(commands[:1]) == [b"1-"]
    assert client.execute_all([]) == []


def test_many_commands_take_one_write(server: RedisServer, proxy: Proxy) -> None:
    """One segment on its way to Redis, though redis-py writes long arguments on their own."""
    client = proxy.connect(socket_timeout=5)
    client.ping()
    proxy.requests.clear()
    assert client.execute_all([("SET", "k", "v" * 7000), ("GET", "k"), ("DEL", "k")]) == [True, b"v" * 7000, 1]
    assert len(proxy.requests) == 1


def test_an_error_is_the_answer_to_its_command(server: RedisServer) -> None:
    """The others are answered all the same, and the connection is in step."""
    client: Any = server.log_in("+get", "+lpush", "+echo", "~*", max_connections=1)
    answers = client.execute_all([("LPUSH", "l", 1), ("GET", "l"), ("DEL", "l"), ("ECHO", "x")])
    assert [type(answer) for answer in answers] == [int, ResponseError, NoPermissionError, bytes]
    assert client.execute_command("ECHO", "y") == b"y"
    assert len(client.connection_pool._connections) == 1


def test_a_command_that_cannot_be_sent_costs_no_connection(server: RedisServer) -> None:
    """It is refused before one is taken."""
    client: Any = server.connect()
    client.ping()
    (connection,) = client.connection_pool._connections
    with pytest.raises(DataError):
        client.set("k", None)
    with pytest.raises(DataError):
        client.execute_all([("ECHO", "x"), ("ECHO", {})])
    assert client.connection_pool._idle == [connection]
    assert client.echo("x") == b"x"


class Breaking(_RESP2Parser):
    """A parser that fails after so many answers, when there is an error."""

    error: type[BaseException] | None = None
    answers = 0

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        kind = type(self)
        if kind.error and not kind.answers:
            raise kind.error
        kind.answers -= bool(kind.error)
        return super().read_response(*args, **kwargs)


@pytest.fixture
def breaking() -> type[Breaking]:
    return type("Breaking", (Breaking,), {})


@pytest.mark.parametrize("send", ["execute_command", "execute_all"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ResponseError, OSError])
def test_what_breaks_off_an_answer_closes_the_connection(
    server: RedisServer, breaking: type[Breaking], error: Any, send: str
) -> None:
    """Whatever it is, and after some answers; it is raised, and the next command has its own answer."""
    client: Any = server.connect(max_connections=1, parser_class=breaking)
    client.ping()
    (connection,) = client.connection_pool._connections
    many = send == "execute_all"
    breaking.error, breaking.answers = error, 1 if many else 0
    with pytest.raises(redis.ConnectionError if error is OSError else error):
        client.execute_all([("ECHO", "1"), ("ECHO", "2"), ("ECHO", "3")]) if many else client.echo("1")
    breaking.error = None
    assert connection._sock is None
    assert client.connection_pool._connections == []
    assert client.echo("4") == b"4"
    assert client.connection_pool._connections != [connection]


@pytest.mark.parametrize("use", ["execute_command", "pipeline"])
def test_a_connection_that_the_server_closed_is_replaced(server: RedisServer, use: str) -> None:
    """Before a command is sent, which therefore just works."""
    client: Any = server.connect(max_connections=1)
    for _ in range(3):
        server.connect().client_kill_filter(_id=client.client_id())
        assert (client.pipeline().ping().execute() if use == "pipeline" else [client.ping()]) == [True]


def test_an_idle_connection_with_an_unread_answer_is_replaced(server: RedisServer) -> None:
    """What it holds is nobody's answer."""
    client: Any = server.connect(max_connections=1)
    pool = client.connection_pool
    for is_read in (False, True):
        connection = pool.get_connection()
        connection.send_command("ECHO", "a stranger's")
        wait_for(connection)
        if is_read:  # the answer is in the parser already, behind another
            connection.send_command("ECHO", "the first")
            wait_for(connection, len(b"$12\r\na stranger's\r\n$9\r\nthe first\r\n"))
            connection.read_response()
        pool.release(connection)
        assert pool._idle == [connection]
        assert client.echo("mine") == b"mine"


def wait_for(connection: Any, size: int = 1) -> None:
    """Come back when so many bytes of answers have arrived."""
    deadline = time.monotonic() + PATIENCE
    while len(connection._sock.recv(size, socket.MSG_PEEK)) < size:
        assert time.monotonic() < deadline


@pytest.mark.thorough
def test_callers_wait_only_so_long_for_a_connection(server: RedisServer) -> None:
    """Then it is redis-py's own error, which says that Redis was not asked."""
    client: Any = server.connect(max_connections=2, timeout=0.2)
    connections = [client.connection_pool.get_connection() for _ in range(2)]
    for call in (lambda: client.ping(), lambda: client.pipeline().ping().execute(), client.monitor):
        with takes(0.6, least=0.2), pytest.raises(ConnectionError) as caught:
            call()
        assert str(caught.value) == "No connection available."
    assert len(client.connection_pool._waiting) == 0
    client.connection_pool.release(connections[0])
    assert client.ping()


@pytest.mark.parametrize("closed", [False, True])
def test_a_waiting_caller_goes_on_at_once(server: RedisServer, closed: bool) -> None:
    """With the connection that another one gives back, or with a new one when it was closed."""
    client: Any = server.connect(max_connections=1, timeout=60)
    pool = client.connection_pool
    pool.patience = 60
    connection = pool.get_connection()
    names: list[bytes] = []
    threads = [threading.Thread(target=lambda n=n: names.append(client.echo(n))) for n in "ab"]
    for number, thread in enumerate(threads, 1):
        thread.start()
        while len(pool._waiting) < number:
            time.sleep(0.001)
    if closed:
        connection.disconnect()
    pool.release(connection)
    for thread in threads:
        thread.join(60)
    assert names == [b"a", b"b"]
    assert len(pool._connections) == 1


def test_little_traffic_needs_few_connections(server: RedisServer) -> None:
    """The one that was given back last is used first."""
    client: Any = server.connect()
    pool = client.connection_pool
    for connection in [pool.get_connection() for _ in range(5)]:
        pool.release(connection)
    last = pool._idle[-1]
    for _ in range(10):
        assert pool.take() is last
        pool.give_back(last)


def test_a_connection_is_given_back_once(server: RedisServer) -> None:
    """redis-py's own code may do it twice; the second time it may be another caller's."""
    pool: Any = server.connect().connection_pool
    connection = pool.get_connection()
    pool.release(connection)
    pool.release(connection)
    assert pool._idle == [connection]
    assert pool.take() is connection
    pool.release(connection)
    assert pool._idle == []


@pytest.mark.parametrize(("error", "kept"), [(ResponseError, True), (redis.WatchError, True), (KeyError, False)])
def test_redis_py_gives_back_no_connection_that_may_have_unread_answers(
    server: RedisServer, error: type[Exception], kept: bool
) -> None:
    """When anything but Redis's own errors, which are answers, has broken a pipeline off."""
    pool: Any = server.connect().connection_pool
    connection = pool.get_connection()
    try:
        raise error
    except error:
        pool.release(connection)
    assert pool._idle == pool._connections == [connection] * kept
    assert bool(connection._sock) is kept


def test_errors_that_are_kept_hold_no_connection(server: RedisServer, breaking: type[Breaking]) -> None:
    """Their tracebacks do not count: an app may log or collect them."""
    client: Any = server.connect(max_connections=3, timeout=0.1, parser_class=breaking)
    errors = []
    for _ in range(10):
        client.ping()
        breaking.error = KeyError
        with pytest.raises(KeyError) as caught:
            client.ping()
        breaking.error = None
        errors.append(caught.value)
    assert client.ping()


def test_a_server_that_is_a_replica_now_keeps_no_connection(make_server: Callable[[], RedisServer]) -> None:
    """All are closed at the first refusal: behind the same name there may be a new master."""
    server = make_server()
    client: Any = server.connect()
    pool = client.connection_pool
    for connection in [pool.get_connection() for _ in range(3)]:
        pool.release(connection)
    server.connect().replicaof("127.0.0.1", 1)
    with pytest.raises(redis.ReadOnlyError):
        client.set("k", 1)
    assert pool._connections == []


def test_disconnect_leaves_a_pool_that_works(server: RedisServer) -> None:
    """Idle connections are closed, and those in use as well: what goes on there fails."""
    client: Any = server.connect()
    held = client.connection_pool.get_connection()
    client.ping()
    client.connection_pool.disconnect(inuse_connections=False)
    assert client.connection_pool._connections == [held]
    held.send_command("PING")
    client.close()
    client.connection_pool.disconnect()
    with pytest.raises(ConnectionError):
        held.send_command("PING")
    assert client.ping()


def test_a_connection_in_use_is_closed_by_its_user(server: RedisServer) -> None:
    """Before that, no other one has its file descriptor: its user might read what is for that one."""
    client: Any = server.connect()
    held = client.connection_pool.take()
    number = held._sock.fileno()
    client.close()
    assert client.ping()
    (new,) = client.connection_pool._idle
    assert held._sock.fileno() == number != new._sock.fileno()
    assert held._sock.recv(1) == b""
    client.connection_pool.drop(held)


def test_close_closes_the_connections(server: RedisServer) -> None:
    """As in redis-py: connect() made the pool, so it is the client's own. It may be used again."""
    with connect(server.url) as client:
        client.ping()
        (connection,) = client.connection_pool._connections
    assert connection._sock is None
    assert client.ping()
    client.close()


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.socket) as proxy:
        yield proxy


def test_a_health_check_is_made(server: RedisServer) -> None:
    """When the option is set, a connection is asked now and then before it is used."""
    client: Any = server.connect(health_check_interval=1)
    client.get("k")
    client.config_resetstat()
    client.connection_pool._idle[0].next_health_check = 0
    client.get("k")
    client.get("k")
    assert server.connect().info("commandstats")["cmdstat_ping"]["calls"] == 1


def test_a_wrong_option_is_refused_when_the_client_is_made() -> None:
    """Not with the first command."""
    with pytest.raises(ValueError, match="expected redis://"):
        connect("redis://localhost", no_such_option=1)
