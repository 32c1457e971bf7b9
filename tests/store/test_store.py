"""The store's contract: seven verbs, one key each, the same on every backend."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import redis
from flask import Flask, session
from redis.crc import key_slot
from support.apps import SECRET_KEY, sign

from _redis_store.cookie import began_at
from _redis_store.store import MAX_TRIES, TRAIL_MAX_AGE
from redis_store import WEEK, RedisSessionInterface, RedisStore, StoreUnavailable, connect


def test_set_keeps_json_under_prefix_and_sid_with_the_ttl(store: RedisStore, client: Any) -> None:
    """What koa's store writes, ours writes: compact JSON under SESSION:<sid>, with EX."""
    assert store.set({"user": "ada", "n": [1, 2]}, "abc", max_age=100) == "abc"
    assert client.get("SESSION:abc") == b'{"user":"ada","n":[1,2]}'
    assert 99 <= client.ttl("SESSION:abc") <= 100


def test_set_without_a_sid_makes_one(store: RedisStore) -> None:
    """A new sid says when its session began, has 160 random bits, and is another one each time."""
    before = int(time.time())
    sids = {store.set({"n": n}) for n in range(50)}
    assert len(sids) == 50
    for sid in sids:
        assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{40}", sid)
        assert before <= (began_at(sid) or 0) <= time.time()


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


INDEX = b"OWNER:SESSION:ada"


def move(store: RedisStore, sid: str, to: str, seen: bytes, record: bytes, *, trail: bool = True) -> bool:
    """The commands of a move, as a session's save sends them; True: it took place."""
    commands = store.moving(sid, to, seen, record, 50, trail=trail, indexes=[INDEX])
    return bool(store.sender.run_all(commands, again=not store.sender.clustered)[-1])


@pytest.fixture(params=["one server", "cluster"])
def movers(request: pytest.FixtureRequest, store: RedisStore) -> RedisStore:
    """The store as on one server, and as on a Cluster, where the record moves in two steps."""
    store.sender._clustered = request.param == "cluster"
    return store


@pytest.mark.parametrize("trail", [True, False])
def test_a_move_leaves_the_record_under_another_sid(movers: RedisStore, client: Any, trail: bool) -> None:
    """The new record is there, with its TTL, and the old one is not; nor its entry in an index, on one server."""
    movers.set({"n": 1}, "old")
    client.zadd(INDEX, {"old": 1, "other": 2})
    assert move(movers, "old", "new", b'{"n":1}', b'{"n":2}', trail=trail)
    assert movers.get("new") == {"n": 2}
    assert movers.get("old") is None
    assert 49 <= client.ttl("SESSION:new") <= 50
    assert client.get("MOVED:{SESSION:old}") == (b"new" if trail else None)
    assert not trail or TRAIL_MAX_AGE - 1 <= client.ttl("MOVED:{SESSION:old}") <= TRAIL_MAX_AGE
    assert client.zrange(INDEX, 0, -1) == ([b"old", b"other"] if movers.sender.clustered else [b"other"])


def test_a_move_of_what_is_not_there_any_more_is_none(movers: RedisStore, client: Any) -> None:
    """Somebody else wrote, or it ended: no trail, and nothing of the old session changes."""
    movers.set({"n": 1}, "old")
    for sid, seen in (("old", b'{"n":9}'), ("gone", b'{"n":1}')):
        assert not move(movers, sid, "new", seen, b'{"n":2}')
    assert movers.get("old") == {"n": 1}
    assert client.keys("MOVED:*") == []
    assert client.exists("SESSION:new") == movers.sender.clustered  # who sent it destroys it there


def test_a_move_to_nothing_ends_the_session(movers: RedisStore, client: Any) -> None:
    """An empty session is no record."""
    movers.set({"n": 1}, "old")
    assert move(movers, "old", "new", b'{"n":1}', b"{}", trail=False)
    assert client.keys() == []


def test_a_trail_has_its_session_as_hash_tag(client: Any) -> None:
    """On a Cluster both are in one slot; a prefix may have a tag of its own."""
    assert RedisStore(client).trail_key("abc") == "MOVED:{SESSION:abc}"
    assert RedisStore(client, "{app}:").trail_key("abc") == "MOVED:{app}:abc"


@pytest.mark.parametrize("prefix", ["SESSION:", "{app}:", "a{b", "{", "}{a}", "é: *?"])
def test_a_trail_is_where_its_session_is(client: Any, prefix: str) -> None:
    """Whatever braces are in the prefix: as Redis Cluster counts slots."""
    store = RedisStore(client, prefix)
    assert key_slot(store.trail_key("abc").encode()) == key_slot(store.key("abc").encode())


@pytest.mark.parametrize("prefix", ["a}", "{}:", "}{", "{}{a}"])
def test_a_prefix_that_leaves_no_room_for_a_hash_tag_is_refused(client: Any, prefix: str) -> None:
    """On a Cluster no sign-in would work; and nobody should learn that when he moves there."""
    with pytest.raises(ValueError, match="prefix"):
        RedisStore(client, prefix)


def test_a_move_whose_answer_was_lost_may_be_sent_again(store: RedisStore) -> None:
    """The second time it says what the first one did; another move, or a write in place, did not."""
    old, new = b'{"n":1}', b'{"n":2}'
    store.set({"n": 1}, "old")
    for _ in range(2):
        assert move(store, "old", "new", old, new)
    assert not move(store, "old", "new", old, b'{"n":3}')
    assert not move(store, "old", "other", old, new)
    assert store.swap("new", new, old) is True
    assert store.swap("new", new, old) is False
    assert store.get("new") == {"n": 1}


def test_ttl_says_how_long_a_session_has_left(store: RedisStore, client: Any) -> None:
    """None: there is none, or it has no end."""
    sid = store.set({"n": 1}, max_age=100)
    assert store.ttl(sid) in (99, 100)
    client.persist(store.key(sid))
    assert store.ttl(sid) is None
    assert store.ttl("no") is None


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
        (b'{"\xff":1}', "no UTF-8 in a key"),
        (b'{"n":"\xed\xa0\x80"}', "half a surrogate pair, unescaped"),
        (b'{"n":1', "cut off in the middle"),
        (b'{"n":1,}', "a comma"),
        (b"{'n':1}", "Python"),
        (b'{"n":"\n"}', "a line end in a text"),
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


@pytest.mark.parametrize("value", [{1, 2}, {1: "a"}, float("nan"), [[[object()]]], "\ud83d" + "\ude00"])
def test_a_value_that_does_not_survive_json_is_refused(store: RedisStore, client: Any, value: Any) -> None:
    """The error names the key and the type, and nothing is written; all that is refused: test_record.py."""
    sid = store.set({"n": 1})
    for write in (
        lambda: store.set({"fine": 1, "cart": value}, "abc"),
        lambda: store.set({"fine": 1, "cart": value}, sid),
        lambda: store.add("abc", {"fine": 1, "cart": value}),
        lambda: store.update(sid, lambda session: {"fine": 1, "cart": value}),
    ):
        with pytest.raises(TypeError, match=rf"'cart'.* of type {type(value).__name__}"):
            write()
    assert store.get(sid) == {"n": 1}
    assert len(client.keys()) == 1


def test_a_key_that_would_come_back_as_another_is_refused(store: RedisStore, client: Any) -> None:
    """As a value that would."""
    for key in ("\ud83d" + "\ude00", 1):
        with pytest.raises(TypeError, match="does not survive JSON"):
            store.set({key: 1})  # type: ignore[dict-item]
    assert client.keys() == []


def test_what_is_no_dict_is_no_session(store: RedisStore, client: Any) -> None:
    """A list would be kept as a record that nobody can read."""
    with pytest.raises(AttributeError):
        store.set([1, 2])  # type: ignore[arg-type]
    assert client.keys() == []


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
        self.listener.close()
        self.thread.join()


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
