"""What one visitor does to an account or at an address shuts nobody else out."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from support.clock import StillClock
from support.demo import CONFIG
from support.roles.throttle import BOTS, attack, device_of, keys, known, sign_in

from app import create_app
from roles.throttle import INTERVAL, LIMITS


@pytest.fixture
def app(client: Any, still_clock: StillClock) -> Flask:
    return create_app(CONFIG, client, clock=still_clock)


def test_a_known_browser_does_not_notice_an_attack(app: Flask, client: Any) -> None:
    """Its attempts are counted at itself alone, also those that fail, and also behind the attacker's own address."""
    web = known(app)
    attack(app)
    before = {key: client.get(key) for key in keys(client)}
    assert sign_in(web, address=BOTS[0]).status_code == 401
    assert [client.get(key) for key in before] == [*before.values()]
    assert len(keys(client, "device")) == 1
    assert sign_in(web, password="lovelace", address=BOTS[0]).status_code == 303


def test_a_known_browser_guesses_no_more_than_others(app: Flask) -> None:
    """It has its own ten failures, from whatever address, and its owner others from another browser."""
    thief, owner = known(app), known(app)
    assert device_of(thief) != device_of(owner)
    assert [sign_in(thief, address=bot).status_code for bot in BOTS[:11]] == [401] * LIMITS["device"] + [429]
    assert sign_in(owner, password="lovelace").status_code == 303


def test_a_new_browser_gets_in_during_an_attack(app: Flask) -> None:
    """From an address at which nobody failed lately, the attempt goes on although the account's counter is full."""
    attack(app)
    assert sign_in(app, password="lovelace").status_code == 303


def test_a_new_address_has_one_try_during_an_attack(app: Flask, still_clock: StillClock) -> None:
    """One, or many addresses would be no limit at all; and one again when that one is forgotten."""
    attack(app)
    assert sign_in(app).status_code == 401
    answer = sign_in(app, password="lovelace")
    assert answer.status_code == 429
    still_clock.move(int(answer.headers["Retry-After"]))
    attack(app)  # takes what the account's counter forgot meanwhile
    still_clock.move(INTERVAL - int(answer.headers["Retry-After"]))
    assert sign_in(app, password="lovelace").status_code == 303


def test_a_new_address_is_told_when_it_is_free(app: Flask, still_clock: StillClock) -> None:
    """Sooner than the account, on which the attack goes on."""
    sign_in(app, "grace")
    still_clock.move(200)
    attack(app)
    assert sign_in(app).headers["Retry-After"] == str(INTERVAL - 200)
    still_clock.move(INTERVAL - 200)
    assert sign_in(app, password="lovelace").status_code == 303


def test_a_stranger_behind_the_same_address_only_slows_new_browsers(app: Flask) -> None:
    """What remains: nothing tells the two apart. A browser that is known gets in."""
    web = known(app)
    for number in range(LIMITS["address"]):
        sign_in(app, f"user{number}")
    assert sign_in(app, password="lovelace").status_code == 429
    assert sign_in(web, password="lovelace").status_code == 303


def test_an_attack_on_one_account_is_none_on_another(app: Flask) -> None:
    """Other accounts are open, from other addresses as often as ever."""
    attack(app)
    assert [sign_in(app, "grace").status_code for _ in range(9)] == [401] * 9
    assert sign_in(app, "grace", "hopper").status_code == 303


def test_other_sites_cannot_make_a_browser_fail(app: Flask, client: Any) -> None:
    """A page elsewhere that sends our form from its visitors' browsers counts for nothing."""
    assert sign_in(app, Origin="http://elsewhere.example").status_code == 403
    assert keys(client) == []
