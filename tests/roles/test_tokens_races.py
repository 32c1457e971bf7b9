"""Two requests about tokens at the same time, in each order of their commands; and a crash between two."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask import Flask
from support.clock import StillClock
from support.crash import Mortal
from support.faults.network import Proxy
from support.roles.tokens import (
    CONFIG,
    PATIENT,
    assert_json,
    assert_unavailable,
    families,
    listed,
    log_in,
    log_out,
    log_out_everywhere,
    losing_the_swap,
    post,
    refresh,
)
from support.servers import RedisServer
from support.tiers import rounds
from support.turns import Turns, orders
from werkzeug.test import TestResponse

import auth
from app import create_app
from redis_store import OwnerIndex
from roles.tokens import GRACE

STEP = rounds(7, 1)  # from one order to the next; 1: all of them


@pytest.fixture
def app(least: Any, still_clock: StillClock) -> Flask:
    return create_app(PATIENT, least, clock=still_clock)


def test_a_login_and_a_logout_everywhere_in_any_order(meeting: Flask, client: Any, turns: Turns) -> None:
    """The login is answered 503 and has ended, or it was the later one, and is good; what was before has ended."""
    later = 0
    for order in orders(3, 4):
        client.flushall()
        access, token = log_in(meeting)
        answers: list[TestResponse] = []
        turns.run(
            order,
            a=lambda: answers.append(post(meeting, "login", username="ada", password="lovelace")),  # noqa: B023
            b=lambda: log_out_everywhere(meeting, access),  # noqa: B023
        )
        assert refresh(meeting, token) is None, order
        assert families(client) <= listed(client), order
        later += len(families(client))
        if answers[0].status_code == 503:
            assert_json(answers[0])
            assert families(client) == set(), order
        else:
            assert answers[0].json is not None
            log_out_everywhere(meeting, access)
            assert refresh(meeting, answers[0].json["refreshToken"]) is None, order
    assert later, "in some order the login is the later one"


def test_a_login_that_did_not_look_again_would_lose_the_race(
    meeting: Flask, client: Any, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orders above include one in which a login slips through a logout."""
    monkeypatch.setattr(OwnerIndex, "lists", lambda *_: True)
    for order in orders(3, 4):
        client.flushall()
        access, _ = log_in(meeting)
        turns.run(order, a=lambda: log_in(meeting), b=lambda: log_out_everywhere(meeting, access))  # noqa: B023
        if not families(client) <= listed(client):
            return
    pytest.fail("no order lost")


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["logout", "everywhere", "replay"])
def test_a_refresh_brings_no_family_back(
    meeting: Flask, client: Any, turns: Turns, way: str, still_clock: StillClock
) -> None:
    """In any order of its commands with those of what ends the family."""
    for order in orders(4, 4):
        client.flushall()
        access, first = log_in(meeting)
        token = refresh(meeting, refresh(meeting, first))
        ends: dict[str, Callable[[], object]] = {
            "logout": partial(log_out, meeting, token),
            "everywhere": partial(log_out_everywhere, meeting, access),
            "replay": partial(refresh, meeting, first),
        }
        got: list[str | None] = []
        turns.run(order, a=lambda: got.append(refresh(meeting, token)), b=ends[way])  # noqa: B023
        assert families(client) == listed(client) == set(), order
        assert refresh(meeting, got[0] or token) is None, order


@pytest.mark.thorough
def test_two_refreshes_in_any_order_give_one_successor(meeting: Flask, client: Any, turns: Turns) -> None:
    """Whoever loses the compare-and-set looks again, and repeats what the other one got."""
    for order in orders(4, 4):
        client.flushall()
        _, token = log_in(meeting)
        got: list[str | None] = []
        work = partial(lambda got, token: got.append(refresh(meeting, token)), got, token)
        turns.run(order, a=work, b=work)
        assert len(got) == 2
        assert got[0] == got[1] != token, order
        assert got[0], order


def test_a_refresh_lists_a_family_again(app: Flask, client: Any) -> None:
    """When Redis lost the list: a logout everywhere ends it all the same."""
    access, token = log_in(app)
    client.delete("OWNER:REFRESH:SESSION:ada")
    token = refresh(app, token) or ""
    log_out_everywhere(app, access)
    assert refresh(app, token) is None


def test_a_replay_whose_answer_is_lost_is_logged(
    server: RedisServer, proxy: Proxy, still_clock: StillClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The family is gone then, and a retry is refused like any other token; so it has to be said before."""
    app = create_app(CONFIG, proxy.connect(), clock=still_clock)
    _, first = log_in(app)
    refresh(app, first)
    still_clock.move(GRACE + 1)
    with losing_the_swap(proxy):
        assert_unavailable(post(app, "refresh", refreshToken=first))
    assert families(server.connect()) == set()
    assert refresh(app, first) is None
    assert len([m for m in caplog.messages if "was used again" in m]) == 1


def test_a_lost_list_makes_no_family_that_nobody_can_end(app: Flask, client: Any, monkeypatch: Any) -> None:
    """Evicted in the middle of a login, say: 503, and there is none."""
    lists = OwnerIndex.lists

    def lose(index: OwnerIndex, *args: Any) -> bool:
        client.delete("OWNER:REFRESH:SESSION:ada")
        return lists(index, *args)

    monkeypatch.setattr(OwnerIndex, "lists", lose)
    assert_unavailable(post(app, "login", username="ada", password="lovelace"))
    assert families(client) == set()


@pytest.mark.parametrize("alive", range(4))
def test_a_crash_in_a_login_leaves_no_family_that_is_not_listed(least: Any, client: Any, alive: int) -> None:
    """After each number of its three commands: what is there, a logout everywhere ends."""
    mortal = Mortal(least)
    app = create_app(PATIENT, mortal)
    app.extensions["auth_check"] = auth.fits  # not throttled
    with mortal.dying_after(alive):
        log_in(app)
    assert families(client) <= listed(client)
    assert len(families(client)) == (alive >= 2)
