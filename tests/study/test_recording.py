"""The recorder: a request's commands in order, with answers and times, without a secret; and nothing when it is off."""

from __future__ import annotations

import threading
from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from redis.exceptions import OutOfMemoryError, RedisError

from redis_store import OwnerIndex, RedisSessionInterface, RedisStore, new_sid, shorten
from study.recording import attach, get_recording, paused, record_requests, recording, shorten_text
from study.seed_store import SeedStore


@pytest.fixture
def store(client: Any) -> RedisStore:
    return RedisStore(attach(client))


def test_commands_are_recorded_in_order_with_answers(store: RedisStore) -> None:
    """As they are sent, whichever verb sends them."""
    sid = new_sid()
    with recording() as sent:
        store.get(sid)
        store.add(sid, {"n": 1})
        store.get(sid)
    key = f"SESSION:{shorten(sid)}"
    assert [command.text for command in sent.commands] == [
        f"GET {key}",
        f'SET {key} {{"n":1}} EX 604800 NX',
        f"GET {key}",
    ]
    assert [command.answer for command in sent.commands] == ["(nil)", "OK", '{"n":1}']


def test_the_short_store_is_recorded_as_well(client: Any) -> None:
    """It uses the client directly."""
    with recording() as sent:
        SeedStore(attach(client)).get("unknown")
    assert [command.words for command in sent.commands] == [("GET", "SESSION:unknown")]


def test_what_goes_out_together_is_one_round_trip(store: RedisStore) -> None:
    """A pipeline is recorded when it is sent, each command with its own answer."""
    with recording() as sent:
        store.sender.run_all([("SET", "a", "1"), ("GET", "a"), ("GET", "b")])
        store.sender.run("GET", "b")
    assert [(command.words[0], command.answer, command.trip) for command in sent.commands] == [
        ("SET", "OK", 1),
        ("GET", "1", 1),
        ("GET", "(nil)", 1),
        ("GET", "(nil)", 2),
    ]


def test_the_clients_own_methods_are_recorded(client: Any) -> None:
    """And a transaction, with the WATCH before it."""
    attach(client)
    with recording() as sent, client.pipeline() as pipeline:
        client.rpush("list", "a", "b")
        client.lrange("list", 0, -1)
        pipeline.watch("list")
        pipeline.get("other")
        pipeline.multi()
        pipeline.set("other", 1).incr("other")
        pipeline.execute()
    assert [command.words[0] for command in sent.commands] == ["RPUSH", "LRANGE", "WATCH", "GET", "SET", "INCRBY"]
    assert sent.commands[1].answer == "[a, b]"


def test_an_error_is_an_answer(store: RedisStore) -> None:
    """It is raised all the same."""
    store.client.execute_command("RPUSH", "list", "a")
    with recording() as sent, pytest.raises(RedisError):
        store.client.execute_command("GET", "list")
    assert sent.commands[0].failed
    assert "WRONGTYPE" in sent.commands[0].answer or "wrong kind" in sent.commands[0].answer


def test_a_command_can_be_stopped_before_it_is_sent(store: RedisStore) -> None:
    """By what is called before each round trip; the client then looks as if Redis had refused."""

    def refuse(commands: Any) -> None:
        raise OutOfMemoryError("full")

    with recording(before=refuse) as sent, pytest.raises(OutOfMemoryError):
        store.client.execute_command("SET", "a", 1)
    assert sent.commands[0].answer == "(error) OutOfMemoryError: full"
    assert store.client.get("a") is None


def test_no_secret_is_recorded(store: RedisStore) -> None:
    """Neither the sid nor the hash of an owner, wherever they stand; a script is named by its commands."""
    sid, to = new_sid(), new_sid()
    store.set({"user_id": "ada", "token": "k" * 40}, sid)
    record = store.read(sid) or b""
    with recording() as sent:
        store.sender.run_all(store.moving(sid, to, record, record, 60, trail=True))
        store.sender.run_all(OwnerIndex(store).adding(["ada"], to, 0, 60, 9, new=True))
    shown = repr(sent.commands)
    assert len(sent.commands) == 2
    assert sid not in shown
    assert to not in shown
    assert "kkkkkkk" not in shown
    assert sent.commands[0].words[1] == "<script: GET ZCARD SET DEL ZREM>"


def test_a_cookie_is_shown_in_parts() -> None:
    """What is short in it stays whole."""
    cookie = f"6a000000-{'ab' * 20}.p.aPQpzQ.{'x' * 43}"
    assert shorten_text(f"session={cookie}") == "session=6a000000-ababab….p.aPQpzQ.xxxxxx…"


def test_the_name_of_a_field_is_shown_whole() -> None:
    """Words joined by _ are no secret; with a digit or a capital they may be one."""
    assert shorten_text("success_callback_name x") == "success_callback_name x"
    for secret in ("success_callback_nam3", "Success_callback_name", "success_callback_name-", "abcdefghijklmnopqrstu"):
        assert "success_callback" not in shorten_text(secret)
        assert len(shorten_text(secret)) < 20


def test_a_long_value_is_cut(store: RedisStore) -> None:
    """A record may be a megabyte."""
    with recording() as sent:
        store.sender.run("SET", "a", "long text " * 1000)
    assert len(sent.commands[0].text) < 300


def test_a_command_says_who_sent_it(store: RedisStore) -> None:
    """The functions of this project, the innermost first."""
    with recording() as sent:
        store.get(new_sid())
    names = [(caller.file, caller.name) for caller in sent.commands[0].callers]
    assert ("_redis_store/store.py", "RedisStore.read") in names
    assert ("tests/study/test_recording.py", "test_a_command_says_who_sent_it") in names
    assert "study/recording.py" not in dict(names)


def test_nothing_is_recorded_outside_the_block(store: RedisStore) -> None:
    """Nor where it is paused, nor in another thread."""
    store.get("a")
    with recording() as sent:
        with paused():
            store.get("b")
        thread = threading.Thread(target=store.get, args=("c",))
        thread.start()
        thread.join()
        store.get("d")
    store.get("e")
    assert [command.words[1] for command in sent.commands] == ["SESSION:d"]


def test_attaching_twice_records_once(client: Any) -> None:
    """It is the same client."""
    assert attach(attach(client)) is client
    with recording() as sent:
        client.get("a")
    assert len(sent.commands) == 1


def test_a_request_is_recorded_to_its_end(client: Any) -> None:
    """What the view sees, and what is sent after it."""
    app = Flask("recorded")
    app.secret_key = "k" * 32
    app.session_interface = RedisSessionInterface(attach(client))
    recordings: list[Any] = []

    def home() -> str:
        session["n"] = session.get("n", 0) + 1
        recordings.append(get_recording())
        return str(len(recordings[-1].commands))

    app.add_url_rule("/", "home", home)
    app.wsgi_app = record_requests(app.wsgi_app)  # type: ignore[method-assign]
    browser = app.test_client()
    assert [browser.get("/").text for _ in range(2)] == ["0", "1"]
    assert [[command.words[0] for command in sent.commands] for sent in recordings] == [["SET"], ["GET", "EVAL"]]
    assert get_recording() is None


def test_an_attached_client_is_the_same_to_everybody_else() -> None:
    """Its class and its answers stay what they were."""
    client: Any = fakeredis.FakeRedis()
    assert attach(client) is client
    assert client.set("a", 1) is True
    assert client.pipeline().get("a").execute() == [b"1"]
    assert isinstance(client, fakeredis.FakeRedis)
