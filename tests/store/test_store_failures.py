"""What the store raises, what it sends again, and what it refuses."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from flask import Flask, session
from support.apps import SECRET_KEY, sign
from support.moves import move

from _redis_store.store import MAX_TRIES
from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable, connect


@pytest.mark.parametrize("verb", ["get", "set", "destroy", "touch", "add", "take", "update", "ttl", "move"])
def test_every_verb_raises_store_unavailable_and_nothing_else(make_server: Any, verb: str) -> None:
    """Whatever the client raises for a Redis that is gone, callers see one exception, without the sid."""
    server = make_server()
    store = RedisStore(server.connect())
    sid = store.set({"n": 1})
    server.stop()
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(sid),
        "set": lambda: store.set({"n": 2}, sid),
        "destroy": lambda: store.destroy(sid),
        "touch": lambda: store.touch(sid),
        "add": lambda: store.add(sid, {"n": 2}),
        "take": lambda: store.take(sid),
        "update": lambda: store.update(sid, lambda session: session),
        "ttl": lambda: store.ttl(sid),
        "move": lambda: move(store, sid, "0" * 48, b'{"n":1}', b'{"n":2}'),
    }
    with pytest.raises(StoreUnavailable, match=r"refused|No such file") as caught:
        calls[verb]()
    assert sid not in str(caught.value)


def test_a_command_that_the_server_does_not_know_is_store_unavailable_and_names_no_sid(make_server: Any) -> None:
    """Redis quotes the arguments of what it does not understand."""
    store = RedisStore(make_server("--rename-command", "GETDEL", "").connect())
    sid = store.set({"n": 1})
    with pytest.raises(StoreUnavailable, match="GETDEL failed with ResponseError") as caught:
        store.take(sid)
    assert sid not in str(caught.value)


@pytest.mark.parametrize("error", [OSError, AttributeError, redis.exceptions.RedisClusterException])
def test_whatever_the_client_raises_is_store_unavailable(error: type[Exception]) -> None:
    """Not all of it is a RedisError."""

    class Broken:
        def execute_command(self, *args: Any, **options: Any) -> Any:
            raise error("SESSION:abc")

        pipeline = execute_command

    with pytest.raises(StoreUnavailable, match=f"GET failed with {error.__name__}") as caught:
        RedisStore(Broken()).get("abc")
    assert "abc" not in str(caught.value)


def test_an_update_that_always_comes_second_gives_up(store: RedisStore) -> None:
    """After MAX_TRIES it says so, and has written nothing."""
    sid = store.set({"n": 0})

    def change(session: dict[str, Any]) -> dict[str, Any]:
        store.set({"n": session["n"] + 1}, sid)
        return {"mine": True}

    with pytest.raises(StoreUnavailable, match=f"{MAX_TRIES} other writers"):
        store.update(sid, change)
    assert store.get(sid) == {"n": MAX_TRIES}


@pytest.mark.parametrize("max_age", [0, -1, 1.5, 604800.0, True, None, "60"])
def test_a_max_age_that_is_no_whole_number_of_seconds_is_refused(store: RedisStore, client: Any, max_age: Any) -> None:
    """It is the caller's mistake, not an outage; koa-session2 sends EX 1.5 and loses the session."""
    sid = store.set({"n": 1})
    record = client.get(store.key(sid))
    for call in (
        lambda: store.set({"n": 2}, sid, max_age=max_age),
        lambda: store.add("other", {"n": 2}, max_age=max_age),
        lambda: store.touch(sid, max_age=max_age),
        lambda: store.update(sid, lambda session: {"n": 2}, max_age=max_age),
    ):
        with pytest.raises(ValueError, match=r"max_age is .*; expected a whole number of seconds"):
            call()
    assert client.get(store.key(sid)) == record
    assert len(client.keys()) == 1


def test_a_refused_write_is_store_unavailable_and_names_no_sid(make_server: Any) -> None:
    """Out of memory: reads go on, every write says so; a refused move leaves the old session where it is."""
    store = RedisStore(make_server().connect())
    sid = store.set({"secret": "pearl"})
    store.client.config_set("maxmemory", 1)
    for write in (
        lambda: store.set({"n": 2}, sid),
        lambda: store.update(sid, lambda session: {"n": 2}),
        lambda: move(store, sid, "0" * 48, b'{"secret":"pearl"}', b'{"n":2}'),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            write()
        assert sid not in str(caught.value)
        assert "pearl" not in str(caught.value)
        assert caught.value.__context__ is None, "the client's own message quotes the command"
    assert store.get(sid) == {"secret": "pearl"}


def test_a_connection_that_the_server_closed_is_no_outage(server: Any) -> None:
    """After CLIENT KILL, as after an idle timeout, the next command goes through."""
    store = RedisStore(server.connect())
    sid = store.set({"n": 1})
    redis.Redis(unix_socket_path=str(server.socket), protocol=2).execute_command("CLIENT", "KILL", "TYPE", "normal")
    assert store.get(sid) == {"n": 1}


class Breaking:
    """A server that closes its first connection on the first command, and answers 1 later; it always answers a GET."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}"
        self.commands: list[bytes] = []
        self.answers = {b"CLIENT": b"+OK\r\n"}  #: to what redis-py says of itself, and what a test adds
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        for reply in (b"", b":1\r\n"):
            with suppress(OSError):
                connection, _ = self.listener.accept()
                connection.settimeout(2)
                with connection:
                    self.answer(connection, reply)

    def answer(self, connection: socket.socket, reply: bytes) -> None:
        while data := connection.recv(65536):
            names = re.findall(rb"\*\d+\r\n\$\d+\r\n([A-Z]+)", data)
            if all(name in self.answers for name in names):
                connection.sendall(b"".join(self.answers[name] for name in names))
                continue
            self.commands += names
            if not reply:
                return
            first = b"*2\r\n:0\r\n*0\r\n" if len(names) > 1 else reply  # an index, which has nothing too much
            connection.sendall(first + reply * (len(names) - 1))

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self.thread.join()
        self.listener.close()


@pytest.fixture
def breaking() -> Iterator[Breaking]:
    server = Breaking()
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("verb", "sent"),
    [("read", 2), ("ttl", 2), ("destroy", 2), ("touch", 2), ("add", 1), ("take", 1), ("swap", 1), ("set", 1)],
)
def test_only_what_may_be_repeated_is_sent_again(breaking: Breaking, verb: str, sent: int) -> None:
    """The connection breaks: did the command arrive? What is sent twice does no harm when it does so twice."""
    with connect(breaking.url) as client:
        store = RedisStore(client)
        calls: dict[str, Callable[[], object]] = {
            "read": lambda: bool(store.read("x")),
            "ttl": lambda: bool(store.ttl("x")),
            "destroy": lambda: store.destroy("x"),
            "touch": lambda: store.touch("x"),
            "set": lambda: store.set({"n": 1}, "x"),
            "add": lambda: store.add("x", {"n": 1}),
            "take": lambda: store.take("x"),
            "swap": lambda: store.swap("x", b'{"n":1}', b'{"n":2}'),
        }
        if sent == 2:
            assert calls[verb]() is True
        else:
            with pytest.raises(StoreUnavailable):
                calls[verb]()
        client.connection_pool.disconnect()
    assert len(breaking.commands) == sent


@pytest.mark.parametrize(
    ("what", "held", "sent"),
    [
        ("a move", True, [b"EVAL"] * 2),
        ("a login", True, [b"EVAL", b"EVAL", b"ZSCORE"] * 2),
        ("a logout", True, [b"DEL"] * 2),
        ("a refresh", True, [b"EXPIRE"] * 2),
        ("a write", True, [b"EVAL"]),
        ("a first write", False, [b"SET"]),
        ("a first login", False, [b"EVAL", b"SET", b"ZSCORE", b"DEL"]),
    ],
)
def test_of_a_save_too_only_what_may_be_repeated_is_sent_again(
    breaking: Breaking, what: str, held: bool, sent: list[bytes]
) -> None:
    """A move knows its own record again; whether a write in place was ours, nobody can tell."""
    breaking.answers[b"GET"] = b'$7\r\n{"n":1}\r\n'
    changes: dict[str, Callable[[], object]] = {
        "a move": lambda: session.regenerate(),  # type: ignore[attr-defined]
        "a login": lambda: session.update(user_id="ada"),
        "a logout": lambda: session.clear(),
        "a refresh": lambda: setattr(session, "modified", True),
        "a write": lambda: session.update(n=2),
        "a first write": lambda: session.update(n=2),
        "a first login": lambda: session.update(user_id="ada"),
    }
    app = Flask("app")
    app.secret_key = SECRET_KEY
    app.add_url_rule("/", "view", lambda: f"{changes[what]()}")
    with connect(breaking.url) as client:
        app.session_interface = RedisSessionInterface(client)
        headers = {"Cookie": f"session={sign(app, '0' * 48)}"} if held else {}
        response = app.test_client(use_cookies=False).get("/", headers=headers)
        client.connection_pool.disconnect()
    assert response.status_code == (200 if len(set(sent)) < len(sent) else 503)
    assert breaking.commands == sent
