"""Refresh tokens in any order of events: Hypothesis uses the API as it likes, and a model says what must come of it.

Some users on some devices, a clock, and a Redis that loses its last write in a failover. Any token that was ever given
out may come again. Read `Family` for what is promised, and the rules of `Machine` for what can happen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support.clock import StillClock
from support.roles.tokens import DAY, PATIENT, families, listed, log_in, log_out, log_out_everywhere, post, refresh
from support.servers import RedisServer
from support.tiers import rounds

from app import create_app
from roles import tokens

ACCOUNTS = {"ada": "lovelace", "grace": "hopper"}
WHICH = st.integers(0, 30)  # of what there is, the latest first
MOVES = st.sampled_from([3, 3, 8, 1000, 3 * DAY, 8 * DAY])
EXAMPLES, STEPS = rounds(6, 30), 40
UNTIL_FOUND = 300  # examples; most need few
SLOW = 200  # seconds that a whole run may take: no TTL is off by more


@dataclass
class Family:
    """What one login began, as its honest device and its thief see it."""

    user: str
    born: int
    tokens: list[str]  # by generation, all that were ever given out
    next: int = 0  # the generation that Redis expects
    at: int = 0  # when it last changed that
    used: int = 0  # when it was last refreshed, or a refresh repeated
    live: bool = True
    before: tuple[int, int, bytes] | None = None  # next and at before the last refresh, and the record

    def expires(self) -> int:
        return min(self.used + 7 * DAY, self.born + 30 * DAY)

    def successor(self, generation: int, now: int) -> int | None:
        """The generation that a token gets in exchange; None: it is refused, and the family has ended."""
        if self.live and generation >= self.next:
            self.next, self.at, self.used = generation + 1, now, now
            return generation + 1
        if self.live and generation == self.next - 1 and now <= self.at + 10:
            self.used = now
            return self.next
        self.live = False
        return None


@dataclass
class World:
    now: int
    families: list[Family] = field(default_factory=list)
    access: dict[str, str] = field(default_factory=dict)  # the last access token of each user


class Machine(RuleBasedStateMachine):
    """An app, and what was given out by it."""

    def __init__(self, app: Flask, client: Any, clock: StillClock) -> None:
        super().__init__()
        client.flushall()
        self.app, self.client, self.clock = app, client, clock
        self.clock.now = int(time.time())
        self.world = World(self.clock.now)

    def record(self, family: Family) -> bytes:
        record = self.client.get(self.key(family))
        assert isinstance(record, bytes)
        return record

    def key(self, family: Family) -> str:
        return f"REFRESH:SESSION:{tokens.make_name(family.tokens[0][:48])}"

    def pick(self, which: int, *, live: bool = False) -> Family:
        there = [family for family in self.world.families if family.live or not live]
        return there[-1 - which % len(there)]

    @rule(user=st.sampled_from([*ACCOUNTS]))
    def log_in(self, user: str) -> None:
        now = self.world.now
        self.world.access[user], token = log_in(self.app, user, ACCOUNTS[user])
        self.world.families.append(Family(user, now, [token], 0, now, now))

    @precondition(lambda self: any(family.live for family in self.world.families))
    @rule(which=WHICH, pauses=st.lists(st.sampled_from([3, 8]), max_size=3))
    def refresh_and_retry(self, which: int, pauses: list[int]) -> None:
        """An honest device, on a line that now and then loses the answer."""
        family = self.pick(which, live=True)
        latest = len(family.tokens) - 1
        self.use(family, latest)
        for pause in pauses:
            self.wait(pause)
            self.use(family, latest)

    @precondition(lambda self: any(family.live for family in self.world.families))
    @rule(which=WHICH, age=st.integers(1, 3))
    def replay(self, which: int, age: int) -> None:
        """A thief, seconds after the honest device."""
        family = self.pick(which, live=True)
        for _ in range(age):
            self.use(family, len(family.tokens) - 1)
        self.use(family, len(family.tokens) - 1 - age)

    @precondition(lambda self: any(family.live for family in self.world.families))
    @rule(which=WHICH, weeks=st.integers(1, 5))
    def use_for_weeks(self, which: int, weeks: int) -> None:
        """A device that never is idle for too long."""
        family = self.pick(which, live=True)
        for _ in range(weeks):
            self.wait(6 * DAY)
            self.use(family, len(family.tokens) - 1)

    @precondition(lambda self: self.world.families)
    @rule(which=WHICH, age=st.integers(0, 3))
    def refresh_any(self, which: int, age: int) -> None:
        """A retry, or a replay, or the token of a family that ended."""
        family = self.pick(which)
        self.use(family, max(0, len(family.tokens) - 1 - age))

    def use(self, family: Family, generation: int) -> None:
        if family.live:
            family.before = family.next, family.at, self.record(family)
        got, successor = refresh(self.app, family.tokens[generation]), family.successor(generation, self.world.now)
        if successor is None:
            assert got is None
            return
        assert got
        if successor == len(family.tokens):
            assert got not in family.tokens
            family.tokens.append(got)
        assert got == family.tokens[successor]

    @precondition(lambda self: self.world.families)
    @rule(which=WHICH, age=WHICH)
    def log_out(self, which: int, age: int) -> None:
        """With any token that the family ever had."""
        family = self.pick(which)
        log_out(self.app, family.tokens[age % len(family.tokens)])
        family.live = False

    @precondition(lambda self: self.world.access)
    @rule(which=WHICH)
    def log_out_everywhere(self, which: int) -> None:
        user = [*self.world.access][which % len(self.world.access)]
        log_out_everywhere(self.app, self.world.access[user])
        for family in self.world.families:
            family.live &= family.user != user

    @precondition(lambda self: self.world.families)
    @rule(which=WHICH, age=st.integers(0, 3))
    def forge(self, which: int, age: int) -> None:
        """A generation that was not given out, under the signature of one that was: nothing comes of it."""
        text, generation, signature = self.pick(which).tokens[-1].split(".")
        forged = f"{text}.{int(generation) + age + 1}.{signature}"
        assert refresh(self.app, forged) is None
        log_out(self.app, forged)

    @precondition(lambda self: any(family.live and family.before for family in self.world.families))
    @rule(which=WHICH)
    def fail_over(self, which: int) -> None:
        """The replica that takes over has not received the last refresh of a family."""
        there = [family for family in self.world.families if family.live and family.before]
        family = there[-1 - which % len(there)]
        assert family.before
        family.next, family.at, record = family.before
        family.before = None
        self.client.set(self.key(family), record, keepttl=True)

    @rule(seconds=MOVES)
    def wait(self, seconds: int) -> None:
        self.world.now += seconds
        self.clock.now += seconds
        for key in self.client.keys():  # Redis has a clock of its own
            self.client.pexpire(key, max(self.client.pttl(key) - 1000 * seconds, 0))
        for family in self.world.families:
            family.live &= self.world.now < family.expires()

    @invariant()
    def redis_holds_what_lives(self) -> None:
        """And no token; each record for as long as its family may live, and each family in its user's list."""
        live = [family for family in self.world.families if family.live]
        lists = {user: listed(self.client, user) for user in ACCOUNTS}
        assert families(self.client) == {self.key(family).removeprefix("REFRESH:SESSION:") for family in live}
        for family in live:
            record = json.loads(self.record(family))
            assert record == {"user": family.user, "gen": family.next, "at": family.at, "born": family.born}
            assert abs(self.client.ttl(self.key(family)) - (family.expires() - self.world.now)) < SLOW
            assert self.key(family).removeprefix("REFRESH:SESSION:") in lists[family.user]
        for user in ACCOUNTS:
            assert len(lists[user]) <= sum(family.user == user for family in self.world.families)

    def teardown(self) -> None:
        """However it went on: who logs out everywhere has no family left."""
        for user, access in self.world.access.items():
            log_out_everywhere(self.app, access)
            for family in self.world.families:
                if family.user == user:
                    assert post(self.app, "refresh", refreshToken=family.tokens[-1]).status_code == 403


def run(client: Any, clock: StillClock, examples: int, *phases: Phase) -> None:
    app = create_app(PATIENT, client, clock=clock)
    usual = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        derandomize=True,
        deadline=None,
        phases=phases,
        report_multiple_bugs=False,  # it would go on looking for others
    )
    run_state_machine_as_test(lambda: Machine(app, client, clock), settings=usual)  # type: ignore[arg-type]  # it takes any factory


@pytest.mark.thorough
def test_families_live_and_end_as_promised(client: Any, still_clock: StillClock) -> None:
    """After each of many steps, in any order."""
    run(client, still_clock, EXAMPLES, Phase.generate, Phase.shrink)


Rotation = Callable[..., dict[str, Any] | None]
good = tokens.rotate
BROKEN: dict[str, Rotation] = {
    "no rotation": lambda record, generation, now: dict(record),
    "a replay is only refused": lambda record, generation, now: good(record, generation, now) or None,
    "a retry is a replay": lambda record, generation, now: (
        {} if generation < record["gen"] else good(record, generation, now)
    ),
    "a retry gets a token more": lambda record, generation, now: (
        good(record, max(generation, record["gen"]), now)
        if generation >= record["gen"] - 1 and now - record["at"] <= 10
        else good(record, generation, now)
    ),
    "a failover ends it": lambda record, generation, now: (
        {} if generation > record["gen"] else good(record, generation, now)
    ),
    "the grace has no end": lambda record, generation, now: good(record, generation, min(now, record["at"])),
    "a retry begins another grace": lambda record, generation, now: (
        (rotated := good(record, generation, now)) and {**rotated, "at": now}
    ),
    "any old token is repeated": lambda record, generation, now: good(record, max(generation, record["gen"] - 1), now),
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", BROKEN)
def test_the_machine_can_lose(
    server: RedisServer, still_clock: StillClock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It finds what each of these does wrong."""
    monkeypatch.setattr(tokens, "rotate", BROKEN[kind])
    with pytest.raises(AssertionError):
        run(server.connect(), still_clock, UNTIL_FOUND, Phase.generate)


@pytest.mark.thorough
@pytest.mark.parametrize("limit", ["IDLE_MAX_AGE", "ABSOLUTE_MAX_AGE", "GRACE"])
@pytest.mark.parametrize("factor", [0.5, 2])
def test_the_machine_knows_the_limits(
    server: RedisServer, still_clock: StillClock, monkeypatch: pytest.MonkeyPatch, limit: str, factor: float
) -> None:
    """It finds those that are too short or too long."""
    monkeypatch.setattr(tokens, limit, int(getattr(tokens, limit) * factor))
    with pytest.raises(AssertionError):
        run(server.connect(), still_clock, UNTIL_FOUND, Phase.generate)
