"""The rotation of refresh tokens: one successor for each, a retry, and a replay."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fakeredis
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from support.clock import StillClock
from support.faults.network import Proxy
from support.roles.tokens import (
    CONFIG,
    PATIENT,
    assert_unavailable,
    families,
    listed,
    log_in,
    log_out,
    losing_the_swap,
    post,
    record_of,
    refresh,
    sign,
)
from support.servers import RedisServer

from app import create_app
from roles.tokens import GRACE, IDLE_MAX_AGE, rotate


@pytest.fixture
def app(least: Any, still_clock: StillClock) -> Flask:
    return create_app(PATIENT, least, clock=still_clock)


def test_a_retry_gets_the_same_token_to_the_letter(app: Flask, still_clock: StillClock) -> None:
    """As often as it likes, until the grace is over; and that token is good."""
    _, first = log_in(app)
    second = refresh(app, first)
    for _ in range(GRACE):
        still_clock.move(1)
        assert refresh(app, first) == second
    assert refresh(app, second) not in (first, second, None)


def test_a_replay_ends_the_family_and_is_logged(
    app: Flask, client: Any, still_clock: StillClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with the user and a handle; the token of the honest user is worth nothing from then on."""
    _, first = log_in(app)
    second = refresh(app, first)
    (name,) = families(client)
    still_clock.move(GRACE + 1)
    assert refresh(app, first) is None
    assert caplog.messages == [f"a refresh token of 'ada' was used again: family {name[:16]} ends"]
    assert families(client) == listed(client) == set()
    assert [refresh(app, token) for token in (first, second)] == [None, None]
    assert len(caplog.messages) == 1


def test_the_grace_is_for_the_last_token_only(app: Flask, client: Any) -> None:
    """One of two refreshes ago is a replay at once."""
    _, first = log_in(app)
    assert refresh(app, refresh(app, first))
    assert refresh(app, first) is None
    assert families(client) == set()


def test_a_retry_does_not_prolong_the_grace(app: Flask, still_clock: StillClock) -> None:
    """It counts from the refresh."""
    _, first = log_in(app)
    assert refresh(app, first)
    still_clock.move(GRACE)
    assert refresh(app, first)
    still_clock.move(1)
    assert refresh(app, first) is None


def test_two_devices_do_not_disturb_each_other(app: Flask, still_clock: StillClock) -> None:
    """Neither by a refresh, nor by a logout, nor by a replay."""
    (_, phone), (_, laptop), (_, stolen) = log_in(app), log_in(app), log_in(app)
    assert refresh(app, stolen)
    still_clock.move(GRACE + 1)
    assert refresh(app, stolen) is None
    log_out(app, laptop)
    assert refresh(app, laptop) is None
    assert refresh(app, phone)


@pytest.mark.parametrize("kind", ["fakeredis", "redis-server"])
def test_many_refreshes_of_one_token_at_once_give_one_successor(kind: str, request: Any) -> None:
    """64, as a program with as many threads does it; and nobody is taken for a thief."""
    if kind == "fakeredis":
        client = fakeredis.FakeRedis()
    else:
        client = request.getfixturevalue("server").connect(socket_timeout=10, timeout=10)  # s, for a busy machine
    app = create_app(PATIENT, client)
    _, token = log_in(app)
    barrier = threading.Barrier(64)

    def ask(_: int) -> str | None:
        barrier.wait()
        return refresh(app, token)

    with ThreadPoolExecutor(64) as pool:
        (successor,) = set(pool.map(ask, range(64)))
    assert successor
    assert record_of(client)["gen"] == 1
    assert refresh(app, successor)


def test_a_refresh_whose_answer_was_lost_is_repeated(server: RedisServer, proxy: Proxy) -> None:
    """Redis did it, and the app cannot know: 503. The retry gets the token that the first try would have given."""
    app = create_app(CONFIG, proxy.connect())
    _, first = log_in(app)
    with losing_the_swap(proxy):
        assert_unavailable(post(app, "refresh", refreshToken=first))
    assert record_of(server.connect())["gen"] == 1, "it was done"
    second = refresh(app, first)
    assert second == sign(f"{first[:48]}.1")
    assert record_of(server.connect())["gen"] == 1, "and not once more"
    assert refresh(app, second)


def test_a_failover_that_lost_the_last_refresh_ends_nothing(app: Flask, client: Any) -> None:
    """Redis is one generation behind, and the honest user with the newer token goes on."""
    _, token = log_in(app)
    second = refresh(app, token)
    (name,) = families(client)
    before = client.get(f"REFRESH:SESSION:{name}")
    third = refresh(app, second)
    client.set(f"REFRESH:SESSION:{name}", before, ex=IDLE_MAX_AGE)
    fourth = refresh(app, third)
    assert len({second, third, fourth, None}) == 4
    assert record_of(client)["gen"] == 3
    assert refresh(app, fourth)


@given(st.integers(0, 50), st.integers(-3, 3), st.integers(-5, 15))
def test_a_rotation_goes_on_repeats_itself_or_ends_the_family(gen: int, offset: int, age: int) -> None:
    """What is newer or expected goes on, what was replaced just now is repeated, and all else ends it."""
    record = {"user": "ada", "gen": gen, "at": 1000, "born": 900, "more": [1]}
    generation = max(0, gen + offset)
    rotated = rotate(record, generation, 1000 + age)
    if generation >= gen:
        assert rotated == {**record, "gen": generation + 1, "at": 1000 + age}
    else:
        assert rotated == (record if generation == gen - 1 and age <= GRACE else {})
    assert record == {"user": "ada", "gen": gen, "at": 1000, "born": 900, "more": [1]}, "it is pure"
