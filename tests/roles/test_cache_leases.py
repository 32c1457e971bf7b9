"""roles/cache.py: one request makes an answer, whoever else asks for it, and whatever becomes of that request."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from flask import Flask, abort, session
from support.apps import route
from support.clock import Clock
from support.crash import Mortal
from support.gate import Gate
from support.roles.cache import LEASE, MAX_AGE, Asking, Desk, record_of, sign_in, who
from support.tiers import rounds
from support.turns import Turns, orders

from redis_store import RedisSessionInterface
from roles.cache import cached, forget


class Slow(Desk):
    """A view whose run waits at a gate, if it is one of these."""

    def __init__(self, app: Flask, *waiting: int, **options: Any) -> None:
        self.gates = {run: Gate() for run in waiting}
        super().__init__(app, self.say, **options)

    def say(self) -> dict[str, Any]:
        if gate := self.gates.get(self.runs):
            gate.wait()
        return {}

    def begin(self, run: int) -> Asking:
        """A request whose view is at its gate."""
        asking = self.asking()
        assert self.gates[run].inside.wait(60)
        return asking


def test_one_request_makes_it_and_the_others_wait(app: Flask) -> None:
    """Nobody else runs the view, and all have the answer soon after."""
    desk = Slow(app, 1)
    asking = [desk.begin(1), *(desk.asking() for _ in range(rounds(4, 30)))]
    desk.gates[1].go.set()
    assert [each.answer() for each in asking] == [{"run": 1}] * len(asking)
    assert desk.runs == 1


def test_in_its_last_tenth_one_request_makes_the_next_and_nobody_waits(app: Flask, client: Any, clock: Clock) -> None:
    """The others get the old one meanwhile; then the new one has all of its time."""
    desk = Slow(app, 2)
    desk.ask()
    clock.move(MAX_AGE * 9 // 10 - 2)
    assert desk.ask() == {"run": 1}
    clock.move(3)
    asking = desk.begin(2)
    assert [desk.ask() for _ in range(3)] == [{"run": 1}] * 3
    key, _ = record_of(client)
    assert 0 < client.ttl(key) <= LEASE
    desk.gates[2].go.set()
    assert asking.answer() == desk.ask() == {"run": 2}
    assert MAX_AGE - 5 < client.ttl(key) <= MAX_AGE
    clock.move(MAX_AGE // 2)
    assert desk.ask() == {"run": 2}


@pytest.mark.parametrize("renewed", [False, True])
def test_a_process_that_dies_is_replaced_when_its_lease_ends(clock: Clock, client: Any, renewed: bool) -> None:
    """Not before, and Redis ends it by itself."""
    app, mortal = Flask("app"), Mortal(client)
    app.config.update(SECRET_KEY="k" * 32, SESSION_MAX_WAIT=30)
    app.session_interface = RedisSessionInterface(mortal, clock=clock)
    dies = 2 if renewed else 1

    def die() -> dict[str, Any]:
        if desk.runs == dies:
            mortal.left = 0
            raise KeyboardInterrupt
        return {}

    desk = Desk(app, die)
    if renewed:
        desk.ask()
        clock.move(MAX_AGE - 1)
    with mortal.dying_after(100):
        desk.ask()
    key, record = record_of(client)
    assert "lease" in record
    assert 0 < client.ttl(key) <= LEASE
    if renewed:
        assert desk.ask() == {"run": 1}
    else:
        asking = desk.asking()
        asking.join(0.2)
        assert (asking.is_alive(), desk.runs) == (True, dies)
    client.delete(key)  # as Redis does at the end of the lease
    assert (desk.ask() if renewed else asking.answer()) == {"run": dies + 1}


@pytest.mark.parametrize("status", [404, 500])
@pytest.mark.parametrize("renewed", [False, True])
def test_a_view_that_fails_frees_its_lease(app: Flask, clock: Clock, status: int, renewed: bool) -> None:
    """The next request tries at once, also one that waited; or goes on with the answer before, for a lease more."""
    app.config.update(PROPAGATE_EXCEPTIONS=False)
    gate, fails = Gate(), 2 if renewed else 1

    def fail() -> dict[str, Any]:
        if desk.runs == fails:
            gate.wait()
            abort(404) if status == 404 else int("x")
        return {}

    desk = Desk(app, fail)
    if renewed:
        desk.ask()
        clock.move(MAX_AGE - 1)
    asking = desk.asking()
    assert gate.inside.wait(60)
    waiting = desk.asking()
    gate.go.set()
    asking.join(60)
    assert asking.response.status_code == status
    assert waiting.answer()["run"] == (1 if renewed else fails + 1)
    if renewed:
        clock.move(LEASE - 1)
        assert desk.ask() == {"run": 1}
        clock.move(1)
    assert desk.ask() == {"run": fails + 1}


def test_a_view_that_is_slower_than_its_lease_is_named_in_the_log(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Another request makes the answer meanwhile, and that one is kept."""
    desk = Slow(app, 1)
    slow = desk.begin(1)
    key, _ = record_of(client)
    client.delete(key)
    assert desk.ask() == {"run": 2}
    desk.gates[1].go.set()
    with caplog.at_level(logging.WARNING):
        assert slow.answer() == {"run": 1}
    assert f"'answers': an answer took longer than its lease of {LEASE} s" in caplog.text
    assert desk.ask() == {"run": 2}


@pytest.mark.thorough
def test_a_wait_is_not_longer_than_a_lease(app: Flask, client: Any) -> None:
    """Then the view runs for whoever waited, and no answer of theirs is kept."""
    desk = Slow(app, 1, lease=1)
    first = desk.begin(1)
    key, record = record_of(client)
    client.persist(key)
    assert desk.ask() == {"run": 2}
    assert record_of(client) == (key, record)
    desk.gates[1].go.set()
    first.join(60)


# forget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("renewed", [False, True])
def test_what_is_being_made_is_forgotten(app: Flask, clock: Clock, renewed: bool) -> None:
    """It is not kept, and who asks afterwards does not wait for it."""
    desk = Slow(app, 2 if renewed else 1)
    if renewed:
        desk.ask()
        clock.move(MAX_AGE - 1)
    (run,) = desk.gates
    slow = desk.begin(run)
    with app.app_context():
        forget("answers")
    assert desk.ask() == {"run": run + 1}
    desk.gates[run].go.set()
    assert slow.answer() == {"run": run}
    assert desk.ask() == {"run": run + 1}


@pytest.mark.parametrize("renewed", [False, True])
def test_no_order_of_commands_brings_a_stale_answer_back(client: Any, clock: Clock, renewed: bool) -> None:
    """One request makes an answer; another one changes what it is made of, and forgets it."""
    turns, data = Turns(client), {"value": 0}
    app = Flask("app")
    app.config.update(SECRET_KEY="k" * 32, SESSION_MAX_WAIT=30)
    app.session_interface = RedisSessionInterface(turns, clock=clock)
    desk = Desk(app, data.copy)

    def change() -> None:
        turns.execute_command("GET", "anything")  # its turn, before it changes something
        data["value"] += 1
        with app.app_context():
            forget("answers")

    for order in orders(10, 2, rounds(4, 1)):
        client.delete(*client.keys("CACHE:*"), "anything")
        if renewed:
            desk.ask()
            clock.move(MAX_AGE - 1)
        turns.run(order, a=desk.ask, b=change)
        for _ in range(2):
            assert desk.ask()["value"] == data["value"], order


def test_a_session_leaves_the_lease_of_another_one_alone(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """Of the same owner, with something else in it: its view runs, nobody waits, and the other's answer is kept."""
    gate = Gate()

    def say() -> dict[str, Any]:
        if desk.runs == 2:
            gate.wait()
        return who()

    desk, one, two = Desk(app, say), sign_in(app, "ada"), sign_in(app, "ada")
    route(app, "/note", lambda: session.update(note=1))
    two.get("/note")
    desk.ask(one)  # it is personal
    asking = desk.asking(one)
    assert gate.inside.wait(60)
    assert [desk.ask(two)["run"] for _ in range(2)] == [3, 4]
    gate.go.set()
    assert asking.answer()["run"] == desk.ask(one)["run"] == 2
    assert [desk.ask(two)["run"] for _ in range(2)] == [5, 5]
    assert "lease" not in caplog.text


@pytest.mark.parametrize(
    "planted", [{"renew": "x"}, {"renew": None}, {"renew": True}, {"body": 5}, {"body": ["x"]}, {"personal": "no"}]
)
def test_a_record_that_somebody_else_wrote_is_a_miss(app: Flask, client: Any, planted: dict[str, Any]) -> None:
    """Whatever types it has: the view runs, and its answer takes the place."""
    desk = Desk(app)
    desk.ask()
    key, record = record_of(client)
    client.set(key, json.dumps({**record, **planted}), ex=MAX_AGE)
    assert [desk.ask() for _ in range(2)] == [{"run": 2}] * 2


@pytest.mark.parametrize("wrong", [{"max_age": 0}, {"max_age": 1.5}, {"max_age": 5, "lease": 0}, {"max_age": "5"}])
def test_wrong_seconds_are_noticed_where_a_view_is_decorated(wrong: Any) -> None:
    """Not by its first visitor."""
    with pytest.raises(ValueError, match=r"'answers': .*; expected seconds, a whole number, 1 or more"):
        cached("answers", **wrong)
