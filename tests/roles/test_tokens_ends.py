"""The ends of a family of tokens, and what ends none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from support.clock import StillClock
from support.docstrings import assert_keys
from support.roles.tokens import (
    DAY,
    PATIENT,
    families,
    listed,
    log_in,
    log_out,
    log_out_everywhere,
    protected,
    record_of,
    refresh,
)

from app import create_app
from roles.tokens import ABSOLUTE_MAX_AGE, IDLE_MAX_AGE


@pytest.fixture
def app(least: Any, still_clock: StillClock) -> Flask:
    return create_app(PATIENT, least, clock=still_clock)


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_a_logout_ends_the_family_of_its_token(app: Flask, client: Any, generation: int) -> None:
    """Of whatever generation, since it is the device's all the same; the second time there is nothing left to do."""
    held = [log_in(app)[1]]
    for _ in range(2):
        held.append(refresh(app, held[-1]) or "")
    log_out(app, held[generation])
    assert families(client) == listed(client) == set()
    assert [refresh(app, token) for token in held] == [None] * 3
    log_out(app, held[generation])


def test_a_logout_everywhere_ends_all_families_of_the_user(app: Flask, client: Any) -> None:
    """On every device, and nobody else's."""
    _, other = log_in(app, "grace", "hopper")
    pairs = [log_in(app) for _ in range(3)]
    log_out_everywhere(app, pairs[0][0])
    assert [refresh(app, token) for _, token in pairs] == [None] * 3
    assert listed(client) == set()
    assert len(families(client)) == 1
    assert refresh(app, other)


def test_an_access_token_outlives_its_family(app: Flask) -> None:
    """For its 15 minutes: whoever checks it asks nobody."""
    access, token = log_in(app)
    log_out(app, token)
    log_out_everywhere(app, access)
    assert protected(app, access) == 200


def test_a_user_who_is_gone_cannot_refresh(app: Flask) -> None:
    """Nor is the token used up by that."""
    _, token = log_in(app)
    accounts = app.config["ACCOUNTS"]
    app.config["ACCOUNTS"] = {"grace": accounts["grace"]}
    assert refresh(app, token) is None
    app.config["ACCOUNTS"] = accounts
    assert refresh(app, token)


def test_a_family_ends_when_it_is_idle(app: Flask, client: Any) -> None:
    """Each refresh begins the seven days anew."""
    _, token = log_in(app)
    for _ in range(2):
        (name,) = families(client)
        assert IDLE_MAX_AGE - 5 <= client.ttl(f"REFRESH:SESSION:{name}") <= IDLE_MAX_AGE
        client.expire(f"REFRESH:SESSION:{name}", 100)
        token = refresh(app, token) or ""
    client.delete(f"REFRESH:SESSION:{name}")  # as Redis does then
    assert refresh(app, token) is None


def test_a_family_ends_thirty_days_after_its_login(
    app: Flask, client: Any, still_clock: StillClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is refreshed: no EX goes beyond, and a record that is there all the same is not accepted."""
    _, token = log_in(app)
    (name,) = families(client)
    for day in range(5, 30, 5):
        still_clock.move(5 * DAY)
        token = refresh(app, token) or ""
        assert client.ttl(f"REFRESH:SESSION:{name}") <= min(7, 30 - day) * DAY
    still_clock.move(5 * DAY - 20)
    token = refresh(app, token) or ""
    assert 15 <= client.ttl(f"REFRESH:SESSION:{name}") <= 20
    client.persist(f"REFRESH:SESSION:{name}")
    still_clock.move(20)
    assert refresh(app, token) is None
    assert caplog.messages == []


def test_a_family_is_listed_for_as_long_as_it_can_live(app: Flask, client: Any, still_clock: StillClock) -> None:
    """By its login alone: on its last day, and after logins on others, it still ends with all of them."""
    access, token = log_in(app)
    for _ in range(5):
        still_clock.move(5 * DAY)
        token = refresh(app, token) or ""
    assert client.ttl("OWNER:REFRESH:SESSION:ada") >= ABSOLUTE_MAX_AGE
    still_clock.move(5 * DAY - 1)
    token = refresh(app, token) or ""
    log_in(app)
    assert len(listed(client)) == 2
    log_out_everywhere(app, access)
    assert families(client) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"user": 5},
        {"user": ["ada"]},
        {"user": None},
        {"gen": "0"},
        {"gen": None},
        {"gen": 0.5},
        {"gen": True},
        {"at": "now"},
        {"born": "now"},
        {"born": True},
        {"born": -1e300},
    ],
)
def test_a_record_that_is_not_ours_is_refused_and_stays(
    app: Flask, client: Any, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It may be evidence; and it is no replay."""
    _, token = log_in(app)
    (name,) = families(client)
    junk = json.dumps(record_of(client) | change).encode()
    client.set(f"REFRESH:SESSION:{name}", junk)
    assert refresh(app, token) is None
    assert client.get(f"REFRESH:SESSION:{name}") == junk
    assert caplog.messages == []
    log_out(app, token)


@pytest.mark.parametrize("junk", [b"", b"{", b"[1]", b"{}", b"\xff", b"[" * 200])
def test_a_malformed_record_is_refused_and_a_logout_ends_it(app: Flask, client: Any, junk: bytes) -> None:
    """403, and the logout ends it."""
    _, token = log_in(app)
    (name,) = families(client)
    client.set(f"REFRESH:SESSION:{name}", junk)
    assert refresh(app, token) is None
    log_out(app, token)
    assert families(client) == set()


def test_tokens_keep_the_keys_that_they_name(app: Flask, client: Any) -> None:
    """Of a family, the record and the entry in its user's list, each with its TTL."""
    assert refresh(app, log_in(app)[1])
    assert_keys(client, "tokens")
