"""How many attempts an account and an address have, and how long the others wait."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from support.clock import StillClock
from support.demo import CONFIG
from support.roles.throttle import HOME, OFFICE, keys, known, sign_in

from app import create_app
from roles.throttle import INTERVAL, LIMITS


@pytest.fixture
def app(client: Any, still_clock: StillClock) -> Flask:
    return create_app(CONFIG, client, clock=still_clock)


@pytest.mark.parametrize("username", ["ada", "nobody", "", "ä\x00:*"])
def test_an_account_has_ten_failures_at_once(username: str, app: Flask, no_hash: Callable[[], None]) -> None:
    """After these the password is not even looked at, whether there is such an account or not."""
    assert [sign_in(app, username).status_code for _ in range(LIMITS["account"])] == [401] * 10
    no_hash()
    assert sign_in(app, username).status_code == 429
    assert sign_in(app, username, "lovelace").status_code == 429


def test_known_and_unknown_accounts_get_the_same_answers(app: Flask) -> None:
    """Status, page and wait, but for the name that was typed, before and after the limit."""
    seen = []
    for username, address in (("ada", HOME), ("nobody", OFFICE)):
        answers = [sign_in(app, username, address=address) for _ in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        seen.append([(answer.headers.get("Retry-After"), answer.text.replace(username, "")) for answer in answers])
    assert seen[0] == seen[1]


def test_an_address_has_fifty_failures_at_once(app: Flask) -> None:
    """Whatever accounts it tries, one after the other; another address is not concerned."""
    names = [f"user{number}" for number in range(LIMITS["address"])]
    assert {sign_in(app, name).status_code for name in names} == {401}
    assert sign_in(app, "grace", "hopper").status_code == 429
    assert sign_in(app, "grace", "hopper", OFFICE).status_code == 303


def test_an_account_of_ones_own_buys_no_guesses(app: Flask) -> None:
    """Signing in gives back that attempt, and none of those that failed at the same address."""
    statuses = []
    for number in range(LIMITS["address"] + 5):
        if number <= LIMITS["address"] - 1:
            assert sign_in(app, "grace", "hopper").status_code == 303
        statuses.append(sign_in(app, f"user{number}").status_code)
    assert statuses == [401] * 50 + [429] * 5


def test_the_right_password_counts_nothing(app: Flask, client: Any) -> None:
    """A school may sign in behind one address, and a known browser all day; no counter is left of it."""
    for browser in (app, known(app)):
        assert {sign_in(browser, "ada", "lovelace").status_code for _ in range(60)} == {303}
        assert keys(client) == []


def test_attempts_at_the_same_time_are_all_counted(server: Any) -> None:
    """Thirty at once do not each see an empty counter: as many as the account has left get an answer."""
    app = create_app(CONFIG, server.connect(socket_timeout=10, timeout=10))  # seconds, for a busy machine
    assert sign_in(app).status_code == 401
    barrier = threading.Barrier(30)

    def guess(_: int) -> int:
        barrier.wait()
        return sign_in(app).status_code

    with ThreadPoolExecutor(30) as pool:
        statuses = Counter(pool.map(guess, range(30)))
    assert statuses == {401: LIMITS["account"] - 1, 429: 30 - LIMITS["account"] + 1}


def test_one_failure_is_forgotten_after_the_other(app: Flask, still_clock: StillClock) -> None:
    """Whoever waits as long as he was told has one try, and is told to wait again."""
    for _ in range(LIMITS["account"]):
        sign_in(app)
    for _ in range(3):
        answer = sign_in(app)
        assert answer.status_code == 429
        still_clock.move(int(answer.headers["Retry-After"]))
        assert sign_in(app).status_code == 401
        assert sign_in(app).status_code == 429


def test_a_counter_that_has_long_been_empty_takes_as_much_as_a_new_one(app: Flask, still_clock: StillClock) -> None:
    """A counter that has been empty for long, with its key still there, takes ten failures like a new one."""
    sign_in(app)
    still_clock.move(5 * INTERVAL)
    assert [sign_in(app).status_code for _ in range(11)] == [401] * 10 + [429]


def test_refused_attempts_do_not_prolong_the_wait(app: Flask, client: Any) -> None:
    """Nor do they use up what the address has left."""
    for _ in range(LIMITS["account"]):
        sign_in(app)
    waits = [int(sign_in(app).headers["Retry-After"]) for _ in range(60)]
    assert waits == sorted(waits, reverse=True)
    assert sign_in(app, "grace", "hopper").status_code == 303


def test_refused_sign_in_says_when_to_come_back(app: Flask) -> None:
    """429 on the sign-in page, with Retry-After, the same time in words, the name that was typed, and no cookie."""
    for _ in range(LIMITS["account"]):
        sign_in(app)
    answer = sign_in(app, password="lovelace")
    assert answer.status_code == 429
    wait = int(answer.headers["Retry-After"])
    assert INTERVAL - 60 < wait <= INTERVAL
    assert f"Too many attempts. Try again in {-(-wait // 60)} minutes." in re.sub(r"\s+", " ", answer.text)
    assert 'value="ada"' in answer.text
    assert "lovelace" not in answer.text
    assert "aria-invalid" not in answer.text, "nothing was found wrong with what was typed"
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize(("seconds", "words"), [(1, "1 second"), (120, "120 seconds"), (121, "3 minutes")])
def test_the_wait_is_told_in_words(seconds: int, words: str, app: Flask, still_clock: StillClock) -> None:
    """Long ones in minutes, rounded up; short ones down to the last second."""
    for _ in range(LIMITS["account"]):
        sign_in(app)
    still_clock.move(INTERVAL - seconds)
    assert f"Try again in {words}." in re.sub(r"\s+", " ", sign_in(app).text)
