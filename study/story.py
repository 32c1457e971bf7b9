"""A story: people with browsers, one app, one Redis, and what came of it."""

from __future__ import annotations

import contextvars
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask

from redis_store import RedisSessionInterface
from study.crowd import Crowd, Database
from study.jar import Jar
from study.redis import StoryRedis
from study.seed_store import SeedInterface
from study.shop import make_shop
from study.tab import Clock, Tab, World
from study.timeline import REDIS, STORY, Step, Timeline
from study.workers import Worker

DAY = 24 * 60 * 60  # seconds
STORES = ("seed", "ours")
SIDES = {"seed": "with the thirty lines", "ours": "with redis_store.py"}


@dataclass(frozen=True)
class Verdict:
    """What was promised, whether it held, and what was seen."""

    promise: str
    held: bool
    seen: str


@dataclass(frozen=True)
class Scenario:
    """A story that can be told with either store."""

    title: str
    about: str  # one sentence, for the list
    seed: str  # why the thirty lines do what they do
    ours: str  # why redis_store.py does
    ours_test: str  # what holds that, as "file::name"
    tell: Callable[[Story], None]
    sides: dict[str, str]  # by store: how it is told, in words
    make_app: Callable[[str, Any, Clock], Flask]  # the app that it is about: for a store, a client, a clock
    folds: bool = True  # whether what a sign-in sends to Redis is one step
    seed_test: str = "tests/study/test_scenarios.py::test_the_thirty_lines_break_the_promise"

    @property
    def name(self) -> str:
        """Its place in a URL."""
        return self.tell.__name__.replace("_", "-")

    @property
    def words(self) -> dict[str, str]:
        """Why a store does what it does, by store."""
        return {"seed": self.seed, "ours": self.ours}

    @property
    def tests(self) -> dict[str, str]:
        """What holds that, by store."""
        return {"seed": self.seed_test, "ours": self.ours_test}

    @property
    def code(self) -> str:
        """The function, as "file::name"."""
        return f"{self.tell.__module__.replace('.', '/')}.py::{self.tell.__name__}"


class Book(dict[str, Scenario]):
    """Scenarios by name, in the order in which they teach."""

    def tells(self, **words: Any) -> Callable[[Callable[[Story], None]], Callable[[Story], None]]:
        """Return a decorator that adds a function. Its docstring is the sentence of the list."""

        def add(tell: Callable[[Story], None]) -> Callable[[Story], None]:
            about = " ".join((tell.__doc__ or "").split())
            usual: dict[str, Any] = {"make_app": make_shop_of, "sides": SIDES}
            scenario = Scenario(about=about, tell=tell, **usual | words)
            self[scenario.name] = scenario
            return tell

        return add


@dataclass(frozen=True)
class Run:
    """A story that has been told."""

    scenario: Scenario
    store: str
    steps: Sequence[Step]
    lanes: Sequence[str]
    verdict: Verdict
    seconds: float


class Story:
    """What a scenario tells: it makes browsers, lets things happen to Redis, and says at its end what was promised."""

    def __init__(self, store: str, redis: StoryRedis, make_app: Callable[[Any, Clock], Flask]) -> None:
        clock = Clock()
        app = make_app(redis.client, clock)
        is_seed = isinstance(app.session_interface, SeedInterface)
        name = SeedInterface.name if is_seed else app.config["SESSION_COOKIE_NAME"]
        self.store, self.redis = store, redis
        self.world = World(
            app, redis, clock, Timeline("seed" if is_seed else "ours"), name, app.extensions.get("closing", [])
        )
        self.tabs: list[Tab] = []
        self.lanes: list[str] = []
        self.verdict: Verdict | None = None

    def browser(self, name: str) -> Tab:
        """Return a tab of a browser that nobody has used yet."""
        return self._open(name, Jar())

    def another_tab(self, name: str, other: Tab) -> Tab:
        """Return another tab of the same browser: they share their cookies."""
        return self._open(name, other.jar)

    def crowd(self, name: str, size: int, database: Database) -> Crowd:
        """Return browsers that do the same at once, and are one lane."""
        self.lanes.append(name)
        return Crowd(self.world, name, size, database)

    def worker(self, name: str) -> Worker:
        """Return a worker of the app, which has told what those run."""
        self.lanes.append(name)
        return Worker(self.world, name, self.world.app.extensions["program"])

    def _open(self, name: str, jar: Jar) -> Tab:
        self.lanes.append(name)
        self.tabs.append(Tab(self.world, name, jar))
        return self.tabs[-1]

    def tell(self, text: str, why: str = "") -> None:
        """Say what happens besides."""
        self.world.timeline.add(STORY, "note", text, why=why)

    def let_pass(self, days: int = 0, *, seconds: int = 0) -> None:
        """Let time pass, for cookies, for Redis and for the app."""
        span = days * DAY + seconds
        self.redis.let_pass(span)
        self.world.clock.offset += span
        says = f"{span // DAY} days pass" if days else f"{span} seconds pass"
        self.world.timeline.add(STORY, "note", says, holds=self.redis.show())
        for tab in self.tabs:
            tab.drop_cookies()

    def redis_goes_away(self) -> None:
        """Have Redis out of reach."""
        self.redis.go_away()
        self.world.timeline.add(REDIS, "redis", "is out of reach", why="Its machine restarts, or a cable is out.")

    def redis_comes_back(self) -> None:
        """Have it again."""
        self.redis.come_back()
        self.world.timeline.add(REDIS, "redis", "is back", holds=self.redis.show())

    def redis_is_full(self) -> None:
        """Have Redis refuse each write."""
        self.redis.fill()
        self.world.timeline.add(REDIS, "redis", "is full", why="It still reads, and refuses every write.")

    def promise(self, promise: str, *, held: bool, yes: str, no: str) -> None:
        """End the story: what was promised, and what is to be said if it held, and if it did not."""
        self.verdict = Verdict(promise, held, yes if held else no)


def make_shop_of(store: str, client: Any, clock: Clock) -> Flask:
    """Return the shop with the sessions of a store."""
    interface = SeedInterface(client) if store == "seed" else RedisSessionInterface(client, clock=clock)
    return make_shop(interface)


def play(scenario: Scenario, store: str, redis: StoryRedis | None = None, *, app_of: str | None = None) -> Run:
    """Tell a story with a store, "seed" or "ours", and return what happened.

    Each wait in it has an end, so that this has one too. A test may hand it another Redis, and the app of the other
    store.
    """
    start = time.perf_counter()
    redis = redis or StoryRedis()
    story = Story(store, redis, functools.partial(scenario.make_app, app_of or store))
    story.world.timeline.folds = scenario.folds
    try:
        contextvars.Context().run(scenario.tell, story)  # nothing of a request that asks for it
    finally:
        for close in reversed(story.world.closing):
            close()
        redis.make_room()
        if redis.away:
            redis.come_back()
    if story.verdict is None:
        raise RuntimeError(f"{scenario.name} has no end")
    lanes = [*dict.fromkeys(story.lanes), REDIS]
    steps = story.world.timeline.steps
    return Run(scenario, store, steps, lanes, story.verdict, time.perf_counter() - start)
