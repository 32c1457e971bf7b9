"""The store's contract: seven verbs, one key each, the same on every backend."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import redis

from redis_store import MAX_DEPTH, MAX_TRIES, SID, WEEK, RedisStore, StoreUnavailable, connect


def test_set_keeps_json_under_prefix_and_sid_with_the_ttl(store: RedisStore, client: Any) -> None:
    """What koa's store writes, ours writes: compact JSON under SESSION:<sid>, with EX."""
    assert store.set({"user": "ada", "n": [1, 2]}, "abc", max_age=100) == "abc"
    assert client.get("SESSION:abc") == b'{"user":"ada","n":[1,2]}'
    assert 99 <= client.ttl("SESSION:abc") <= 100


def test_set_without_a_sid_makes_one(store: RedisStore) -> None:
    """A new sid has 192 random bits in koa's form, and is another one each time."""
    sids = {store.set({"n": n}) for n in range(50)}
    assert len(sids) == 50
    assert all(SID.fullmatch(sid) and len(sid) == 48 for sid in sids)


def test_the_default_max_age_is_koas_week(store: RedisStore, client: Any) -> None:
    """Without max_age a session lives for seven days."""
    assert WEEK == 604800
    assert WEEK - 1 <= client.ttl(store.key(store.set({"n": 1}))) <= WEEK


def test_get_returns_what_set_wrote(store: RedisStore) -> None:
    """A session comes back equal."""
    session = {"s": "ü\ud800😀", "i": 2**60, "f": 0.1, "b": True, "n": None, "l": [1, {"a": []}], "d": {"x": {"y": 1}}}
    assert store.get(store.set(session)) == session


def test_missing_is_none(store: RedisStore) -> None:
    """Absence is a value for every verb, not an exception."""
    assert store.get("no") is None
    assert store.take("no") is None
    assert store.update("no", lambda session: {"came": "back"}) is None
    assert store.destroy("no") is False
    assert store.touch("no") is False
    assert store.get("no") is None


def test_destroy_deletes_and_says_whether_there_was_one(store: RedisStore, client: Any) -> None:
    """The first destroy is True, a second one False."""
    sid = store.set({"n": 1})
    assert store.destroy(sid) is True
    assert client.exists(store.key(sid)) == 0
    assert store.destroy(sid) is False


def test_touch_sets_the_ttl_and_leaves_the_record(store: RedisStore, client: Any) -> None:
    """Keeping a session alive does not rewrite it."""
    sid = store.set({"n": 1}, max_age=10)
    assert store.touch(sid, max_age=500) is True
    assert 499 <= client.ttl(store.key(sid)) <= 500
    assert store.get(sid) == {"n": 1}


def test_add_is_for_the_first_only(store: RedisStore, client: Any) -> None:
    """A second add changes neither the record nor its TTL."""
    assert store.add("lease", {"by": 1}, max_age=10) is True
    assert store.add("lease", {"by": 2}, max_age=500) is False
    assert store.get("lease") == {"by": 1}
    assert client.ttl(store.key("lease")) <= 10


def test_take_gives_a_record_to_one_caller(store: RedisStore) -> None:
    """Of eight callers at once, one gets the single-use record."""
    store.set({"state": 1}, "once")
    barrier = threading.Barrier(8)

    def take(_: int) -> dict[str, Any] | None:
        barrier.wait(10)
        return store.take("once")

    with ThreadPoolExecutor(8) as pool:
        assert sorted(map(str, pool.map(take, range(8)))) == ["None"] * 7 + ["{'state': 1}"]


def test_update_replaces_and_sets_the_ttl(store: RedisStore, client: Any) -> None:
    """update stores what `change` makes of the session, and returns it."""
    sid = store.set({"n": 1}, max_age=10)
    assert store.update(sid, lambda session: {**session, "m": 2}, max_age=500) == {"n": 1, "m": 2}
    assert store.get(sid) == {"n": 1, "m": 2}
    assert 499 <= client.ttl(store.key(sid)) <= 500


def test_update_writes_nothing_when_the_change_is_none(store: RedisStore, client: Any) -> None:
    """A change that returns None leaves record and TTL alone."""
    sid = store.set({"n": 1}, max_age=10)
    assert store.update(sid, lambda session: None, max_age=500) is None
    assert store.get(sid) == {"n": 1}
    assert client.ttl(store.key(sid)) <= 10


def test_update_calls_the_change_again_when_another_writer_was_first(store: RedisStore) -> None:
    """The change is applied to what the other one wrote: both survive."""
    sid = store.set({"n": 1})
    seen: list[int] = []

    def change(session: dict[str, Any]) -> dict[str, Any]:
        if not seen:
            store.set({"n": 10, "other": True}, sid)
        seen.append(session["n"])
        return {**session, "n": session["n"] + 1}

    assert store.update(sid, change) == {"n": 11, "other": True}
    assert seen == [1, 10]


def test_update_does_not_bring_back_what_was_destroyed_meanwhile(store: RedisStore) -> None:
    """A session that ends between the GET and the write stays ended."""
    sid = store.set({"n": 1})

    def change(session: dict[str, Any]) -> dict[str, Any]:
        store.destroy(sid)
        return session

    assert store.update(sid, change) is None
    assert store.get(sid) is None


def test_concurrent_updates_are_all_counted(store: RedisStore) -> None:
    """Eight threads increment one counter 25 times each: it is exact."""
    sid = store.set({"n": 0})

    def increment(_: int) -> None:
        for _ in range(25):
            assert store.update(sid, lambda session: {"n": session["n"] + 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, range(8)))
    assert store.get(sid) == {"n": 200}


def test_64_threads_on_one_session_all_get_through(store: RedisStore) -> None:
    """Many writers at once lose rounds, not updates."""
    sid = store.set({"n": 0})

    def increment(_: int) -> None:
        for _ in range(5):
            assert store.update(sid, lambda session: {"n": session["n"] + 1})

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(increment, range(64)))
    assert store.get(sid) == {"n": 320}


def test_an_update_to_nothing_ends_the_session(store: RedisStore, client: Any) -> None:
    """An empty session is no record."""
    sid = store.set({"n": 1})
    assert store.update(sid, lambda session: {}) == {}
    assert client.exists(store.key(sid)) == 0


def test_an_identical_write_of_somebody_else_is_not_taken_for_ours(store: RedisStore) -> None:
    """Two increments of 5 make 7, though both wanted to write the same bytes."""
    sid = store.set({"n": 5})
    others = [{"n": 6}]

    def change(session: dict[str, Any]) -> dict[str, Any]:
        if others:
            store.set(others.pop(), sid)
        return {"n": session["n"] + 1}

    assert store.update(sid, change) == {"n": 7}


def test_update_moves_a_session_to_another_sid(store: RedisStore, client: Any) -> None:
    """With `to` the new record is there, with its TTL, and the old one is not."""
    sid = store.set({"n": 1})
    assert store.update(sid, lambda session: {"n": 2}, to="new", max_age=50) == {"n": 2}
    assert store.get("new") == {"n": 2}
    assert store.get(sid) is None
    assert 49 <= client.ttl("SESSION:new") <= 50


def test_a_move_whose_answer_was_lost_may_be_sent_again(store: RedisStore) -> None:
    """The second time it says what the first one did; another move, or a write in place, did not."""
    old, new = b'{"n":1}', b'{"n":2}'
    store.set({"n": 1}, "old")
    for _ in range(2):
        assert store.swap("old", old, new, to="new") is True
    assert store.swap("old", old, b'{"n":3}', to="new") is False
    assert store.swap("old", old, new, to="other") is False
    assert store.swap("new", new, old) is True
    assert store.swap("new", new, old) is False
    assert store.get("new") == {"n": 1}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b"", "empty"),
        (b"{", "cut off"),
        (b'{"n":1}{"n":2}', "two"),
        (b"5", "a number"),
        (b"[]", "a list"),
        (b"null", "what koa writes for a session set to null"),
        (b'"text"', "a string"),
        (b'\xef\xbb\xbf{"n":1}', "BOM"),
        (b'{"n":"\xff"}', "no UTF-8"),
        ('{"n":1}'.encode("utf-16"), "UTF-16"),
        (b'{"n":NaN}', "NaN"),
        (b'{"n":-Infinity}', "Infinity"),
        (b'{"n":1e999}', "a number that no float holds"),
        (b'{"n":' + b"9" * 5000 + b"}", "a number that Python refuses to read"),
        (b"[" * 100_000, "deep"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "deep and valid"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "deeper than we would write it"),
        (b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", "so deep that it could be read and not be written"),
        (b'{"a":[1,' + b"[" * 150 + b"]" * 150 + b',{"b":1}],"c":[]}', "as deep, beside what is not"),
        (b'{"n":{" u":5}}', "a planted UUID"),
        (b'{"n":{" b":"x"}}', "planted bytes"),
        (b'{"n":{" di":{}}}', "a planted dict"),
        (b'["pearl"]', "a list of something secret"),
        (b'{"n":{" u":"pearl"}}', "a UUID that is none"),
        (b'{"n":{" d":"Fri, 31 Dec 9999 23:59:59 -2300"}}', "a time that is none in UTC"),
        (b'{"n":' + b"[" * 98 + b'{" t":"abc"}' + b"]" * 98 + b"}", "deeper than it looks"),
        (b"\x80\x04\x95cposix\nsystem\n(S'true'\ntR.", "a pickle"),
    ],
)
def test_a_malformed_record_is_none_with_one_log_line_and_stays(
    store: RedisStore, client: Any, caplog: pytest.LogCaptureFixture, record: bytes, why: str
) -> None:
    """Whatever the bytes are, they are no session, no crash, no code, and still there as evidence."""
    client.set("SESSION:abc", record, ex=100)
    assert store.get("abc") is None, why
    [message] = caplog.messages
    assert re.search(r" missing: (\w*Error|StopIteration|a (int|list|NoneType|str|dict), or nested too deep)$", message)
    assert "abc" not in caplog.text
    assert "pearl" not in caplog.text
    assert store.update("abc", lambda session: {"n": 1}) is None
    assert client.get("SESSION:abc") == record


def test_a_key_of_another_redis_type_is_none_and_stays(
    store: RedisStore, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A list under the key is no session either."""
    client.rpush("SESSION:abc", "x")
    assert store.get("abc") is None
    assert store.take("abc") is None
    assert len(caplog.messages) == 2
    assert client.lrange("SESSION:abc", 0, -1) == [b"x"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({1, 2}, "set"),
        (object(), "object"),
        (float("nan"), "float"),
        (float("-inf"), "float"),
        ({1: "a"}, "dict"),
        ([{"deep": [{2: "b"}]}], "list"),
        ([1, {"deep": {3}}], "list"),
        (1j, "complex"),
        (bytearray(b"x"), "bytearray"),
        ("\ud83d" + "\ude00", "str"),  # two halves of a pair, which JSON joins
        (["\ud83d" + "\ude00"], "list"),
        ({"\ud83d" + "\ude00": 1, "\U0001f600": 2}, "dict"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "datetime"),
    ],
)
def test_a_value_that_does_not_survive_json_is_refused(store: RedisStore, client: Any, value: Any, kind: str) -> None:
    """The error names the key and the type, and nothing is written."""
    for write in (
        lambda: store.set({"fine": 1, "cart": value}, "abc"),
        lambda: store.add("abc", {"fine": 1, "cart": value}),
    ):
        with pytest.raises(TypeError, match=rf"'cart'.* of type {kind}"):
            write()
    assert client.keys() == []


def test_a_key_that_would_come_back_as_another_is_refused(store: RedisStore, client: Any) -> None:
    """As a value that would."""
    with pytest.raises(TypeError, match="does not survive JSON"):
        store.set({"\ud83d" + "\ude00": 1})
    assert client.keys() == []


def test_what_is_no_dict_is_no_session(store: RedisStore, client: Any) -> None:
    """A list would be kept as a record that nobody can read."""
    with pytest.raises(AttributeError):
        store.set([1, 2])  # type: ignore[arg-type]
    assert client.keys() == []


def test_a_list_inside_itself_is_refused(store: RedisStore) -> None:
    """So is what has no end."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match=r"'cart'.* of type list"):
        store.set({"cart": loop})


@pytest.mark.parametrize("core", ["core", []])
def test_what_can_be_written_can_be_read(store: RedisStore, core: Any) -> None:
    """The limit of nesting is the same in both directions."""
    value: Any = core
    for _ in range(MAX_DEPTH - (2 if core == [] else 1)):
        value = [value]
    session = {"flat": [[]] * 200, "deep": value}
    assert store.get(store.set(session)) == session
    with pytest.raises(TypeError, match=r"'deep'.* of type list.* nested too deep"):
        store.set(session | {"deep": [value]})


def test_a_key_that_is_no_string_is_refused(store: RedisStore) -> None:
    """JSON would make 1 into "1"."""
    with pytest.raises(TypeError, match="session\\[1\\]"):
        store.set({1: "a"})  # type: ignore[dict-item]


def test_the_prefix_is_the_stores(client: Any) -> None:
    """Two stores with different prefixes do not see each other's records."""
    one, two = RedisStore(client, "ONE:"), RedisStore(client, "TWO:")
    sid = one.set({"n": 1})
    assert two.get(sid) is None
    assert client.keys() == [f"ONE:{sid}".encode()]


def test_a_client_that_decodes_responses_works_too(server: Any) -> None:
    """Records are compared as bytes whatever the client was made for."""
    client = server.connect(decode_responses=True)
    store = RedisStore(client)
    sid = store.set({"n": "ü"})
    assert store.update(sid, lambda session: {**session, "m": 1}) == {"n": "ü", "m": 1}
    assert store.take(sid) == {"n": "ü", "m": 1}
    client.execute_command("SET", store.key(sid), b"\xff")
    assert store.get(sid) is None


@pytest.mark.parametrize("verb", ["get", "set", "destroy", "touch", "add", "take", "update", "move"])
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
        "move": lambda: store.swap(sid, b'{"n":1}', b'{"n":2}', to="0" * 48),
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
        lambda: store.update(sid, lambda session: {"n": 2}, to="0" * 48),
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


@pytest.fixture
def breaking() -> Iterator[tuple[str, list[bytes]]]:
    """A server that closes its first connection on the first command, and answers 1 later. URL, and what came."""
    commands: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket, reply: bytes) -> None:
        while data := connection.recv(65536):
            if b"CLIENT" in data:  # what redis-py says of itself
                connection.sendall(b"+OK\r\n" * data.count(b"CLIENT"))
                continue
            commands.append(data.split(b"\r\n")[2])
            if not reply:
                return
            connection.sendall(reply)

    def serve() -> None:
        for reply in (b"", b":1\r\n"):
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.settimeout(2)
                with connection:
                    answer(connection, reply)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"redis://127.0.0.1:{listener.getsockname()[1]}", commands
    listener.shutdown(socket.SHUT_RDWR)  # wakes accept
    listener.close()
    thread.join()


@pytest.mark.parametrize(
    ("verb", "sent"),
    [("read", 2), ("destroy", 2), ("touch", 2), ("move", 2), ("add", 1), ("take", 1), ("swap", 1), ("set", 1)],
)
def test_only_what_may_be_repeated_is_sent_again(breaking: tuple[str, list[bytes]], verb: str, sent: int) -> None:
    """The connection breaks: did the command arrive? What is sent twice does no harm when it does so twice."""
    url, commands = breaking
    with connect(url) as client:
        store = RedisStore(client)
        calls: dict[str, Callable[[], object]] = {
            "read": lambda: bool(store.read("x")),
            "destroy": lambda: store.destroy("x"),
            "touch": lambda: store.touch("x"),
            "move": lambda: store.swap("x", b'{"n":1}', b'{"n":2}', to="y"),
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
    assert len(commands) == sent
