"""The counters, as Redis has them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from support.clock import StillClock
from support.demo import CONFIG
from support.docstrings import assert_keys
from support.roles.throttle import OFFICE, attack, keys, known, sign_in

from app import create_app
from roles.throttle import INTERVAL, LIMITS, drain, fill, level


@pytest.fixture
def app(client: Any, still_clock: StillClock) -> Flask:
    return create_app(CONFIG, client, clock=still_clock)


def test_every_counter_expires(app: Flask, client: Any) -> None:
    """Each key has a TTL, no longer than its counter takes to be empty when it is full."""
    web = known(app)
    for _ in range(20):
        sign_in(web)
        sign_in(app)
        sign_in(app, password="lovelace")
    sign_in(app, password="lovelace", address=OFFICE)
    assert Counter(key.split(":")[2] for key in keys(client)) == {"device": 1, "address": 1, "account": 1}
    for key in keys(client):
        assert 0 < client.ttl(key) <= LIMITS[key.split(":")[2]] * INTERVAL


def test_nothing_but_the_counters_remembers_a_failure(app: Flask, client: Any) -> None:
    """Nothing else remembers a failure."""
    attack(app)
    for key in keys(client):
        client.pexpire(key, 0)
    assert keys(client) == []
    assert [sign_in(app).status_code for _ in range(11)] == [401] * 10 + [429]


def test_only_a_password_that_is_to_be_looked_at_is_counted(app: Flask, client: Any) -> None:
    """Only a password that is to be looked at does; not a page, and not a form that is refused."""
    web = app.test_client()
    web.get("/login")
    web.head("/login")
    web.get("/login?username=ada&password=wrong")
    sign_in(web, "a" * 1001)
    assert keys(client) == []


@pytest.mark.parametrize("username", ["ada", "*", "a:b", "a" * 1000, b"\xff\xed\xa0\x80", "\U0001f600", "\r\n", "\x00"])
def test_no_input_is_part_of_a_key(username: str | bytes, app: Flask, client: Any) -> None:
    """Kind and hash, always of one length; neither name nor address is in Redis."""
    assert sign_in(app, username, address="203.0.113.77").status_code == 401
    assert len(keys(client)) == 2
    for key in keys(client):
        assert re.fullmatch(r"FAILED:SESSION:(account|address):[A-Za-z0-9_-]{43}", key)
        assert re.fullmatch(rb'{"empty_at":\d+}', client.get(key))


def test_the_name_of_a_counter_is_a_hash_with_our_key(client: Any) -> None:
    """Who has a dump of Redis cannot try out names and addresses without the secret."""
    seen = []
    for key in ("k" * 32, "l" * 32):
        sign_in(create_app({**CONFIG, "SECRET_KEY": key}, client))
        seen.append(len(keys(client)))
    assert seen == [2, 4]


@pytest.mark.parametrize("record", ["junk", "[]", "{}", '{"empty_at":"soon"}', '{"empty_at":null}', '{"empty_at":1.5}'])
def test_a_malformed_counter_counts_as_missing(record: str, app: Flask, client: Any) -> None:
    """It neither opens the door nor closes it: counting begins anew."""
    sign_in(app)
    for key in keys(client):
        client.set(key, record, ex=1000)
    assert [sign_in(app).status_code for _ in range(11)] == [401] * 10 + [429]


def test_a_wrong_clock_makes_nobody_wait_longer(app: Flask, client: Any) -> None:
    """A counter that claims to be full until a distant day is just full."""
    sign_in(app)
    for key in keys(client):
        client.set(key, '{"empty_at":99999999999}', ex=1000)
    assert int(sign_in(app).headers["Retry-After"]) <= INTERVAL


@given(st.integers(0, 20 * INTERVAL), st.integers(1, 50), st.integers(0, 2**31))
def test_what_is_counted_and_taken_back_leaves_nothing_behind(left: int, failures: int, now: int) -> None:
    """What is counted and then taken back leaves nothing behind; a full counter takes nothing."""
    record = {"empty_at": now + left}
    filled = fill(record, failures, now)
    assert (filled is None) == (left > (failures - 1) * INTERVAL)
    if filled is not None:
        assert level(filled, failures, now) == left + INTERVAL
        assert drain(filled, failures, now) == (record if left else {})


def test_throttling_keeps_the_keys_that_it_names(app: Flask, client: Any) -> None:
    """A counter of each kind, with its TTL, when somebody and a known browser mistyped a password."""
    assert [sign_in(browser).status_code for browser in (known(app), app)] == [401, 401]
    assert_keys(client, "throttle")
