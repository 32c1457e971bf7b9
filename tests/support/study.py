"""A story on a real redis-server, and what it comes to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

from study.book import SCENARIOS
from study.recording import Words, attach
from study.redis import StoryRedis
from study.story import Run, play
from study.timeline import Step
from support.servers import RedisServer


class ServerRedis(StoryRedis):
    """A story's Redis on a server of its own, which really is stopped and full."""

    def __init__(self, server: RedisServer) -> None:
        self.own, self.full, self.away = server, False, False
        self.client: Any = attach(server.connect())

    def go_away(self) -> None:
        self.away = True
        self.own.stop()

    def come_back(self) -> None:
        self.own.start()
        self.away = False

    def fill(self) -> None:
        self.own.connect().config_set("maxmemory", "1")

    def make_room(self) -> None:
        if not self.away:
            self.own.connect().config_set("maxmemory", "0")

    def check(self, commands: Sequence[Words]) -> None:
        """The server does that itself."""


def make_redis(kind: str, request: pytest.FixtureRequest) -> StoryRedis:
    """Return an empty Redis of that kind."""
    if kind == "fakeredis":
        return StoryRedis()
    # With a file of all writes, so that it has what it had when it starts again.
    return ServerRedis(request.getfixturevalue("make_server")("--appendonly", "yes", "--appendfsync", "always"))


@cache
def told(name: str, store: str) -> Run:
    """Return a story that was told once, for all tests that only look at it."""
    return play(SCENARIOS[name], store)


def check(run: Run) -> None:
    """The promise holds with our sessions, and is broken by the thirty lines."""
    assert run.verdict.held == (run.store == "ours"), run.verdict.seen


SECRET = re.compile(r"[A-Za-z0-9_-]{32,}")  #: a sid, a signature, a token; no name of ours is as long

#: What differs each time: what was shortened, the time in a signed cookie, durations, dates, names.
CHANGES = [
    (r"[\w-]*…|[0-9a-f]{16}", "*"),
    (r"\.p\.[\w-]+\.\*", "*"),
    (r"[\d.]+ ms|in \d+ s|\d{9,}[\d.-]*|\d\d:\d\d[\d:]*( GMT)?|[\d-]+T[\d:.]+Z", "*"),
    (r"127.0.0.1:\d+|oauth_[\w-]{8}", "*"),
]


def outline_inside(step: Step) -> list[str]:
    """What a step is made of, without what differs each time."""
    return [f"{each.title} {each.why}" for each in step.inside]


def outline(run: Run) -> list[str]:
    """A run without what differs each time."""
    steps = [
        repr((step.lane, step.kind, step.title, [*step.facts], step.why, step.code, outline_inside(step)))
        for step in run.steps
    ]
    for pattern, star in CHANGES:
        steps = [re.sub(pattern, star, step) for step in steps]
    return steps
