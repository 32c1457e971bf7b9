"""The store's contract: seven verbs, one key each, the same on every backend."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from _redis_store.sid import began_at
from redis_store import WEEK, RedisStore


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
        barrier.wait(60)
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


def test_ttl_says_how_long_a_session_has_left(store: RedisStore, client: Any) -> None:
    """None: there is none, or it has no end."""
    start, sid = time.monotonic(), store.set({"n": 1}, max_age=100)
    assert 0 <= 100 - (store.ttl(sid) or 0) <= 1 + time.monotonic() - start
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
