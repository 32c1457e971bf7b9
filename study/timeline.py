"""What happens in a story, step by step, on one timeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from study.explain import explain, explain_cookie, is_sign_in, name_script, show_answer, show_text
from study.recording import Caller, Sent, callers
from study.redis import Entry, writes

Facts = Sequence[tuple[str, str]]

REDIS = "Redis"  # its lane
STORY = ""  # the lane of what is told besides
MAX_STEPS = 300

SIGN_IN = "stores a new session"
WHY_SIGN_IN = (
    "In one round trip the new sid enters the list of its owner, its record is written, and a look at the list tells "
    "whether somebody signed out everywhere meanwhile."
)

#: Where they are told.
STORIES = {"study/scenarios.py", "study/role_scenarios.py"}
#: What only passes commands on. Who uses it says more.
PLUMBING = {"_redis_store/sender.py", "_redis_store/client.py"}
#: Of study/ and tests/, which only tell, what a story is about.
TOLD = {f"study/{name}.py" for name in ("role_apps", "rq_worker", "seed_roles", "seed_store", "shop")}


class Place(NamedTuple):
    """A function of this project, and a line of its file that was on its way; 0: all of it."""

    name: str  # "file::name"
    line: int = 0


@dataclass(frozen=True)
class Step:
    """Something that happened."""

    number: int
    lane: str
    kind: str  # request, command, commands, wait, answer, cookie, redis or note
    title: str
    at: float  # seconds after the story began
    facts: Facts = ()
    why: str = ""
    code: Sequence[Place] = ()  # the functions that did it, the innermost first
    failed: bool = False
    holds: Sequence[Entry] | None = None  # what Redis holds afterwards; None: as before
    inside: Sequence[Step] = ()  # what this step is made of, for whoever wants to know


@dataclass
class Timeline:
    """The steps of a story. `sessions` says whose they are: "seed" or "ours"."""

    sessions: str
    steps: list[Step] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    before: Sent | None = None  # the last command since a request began
    folds: bool = False  # whether what a sign-in sends to Redis is one step

    def add(
        self, lane: str, kind: str, title: str, facts: Facts = (), *, code: Sequence[Place] = (), **more: object
    ) -> None:
        """Note that something happened now; without `code`, by the story. RuntimeError: too much did."""
        code = code or place_in_story()
        with self.lock:
            self.before = None if kind == "request" else self.before
            if len(self.steps) == MAX_STEPS:
                raise RuntimeError(f"a story has more than {MAX_STEPS} steps")
            at = time.perf_counter() - self.began
            self.steps.append(Step(len(self.steps) + 1, lane, kind, title, at, facts, code=code, **more))  # type: ignore[arg-type]

    def add_commands(self, tab: str, commands: Sequence[Sent], show: Callable[[], Sequence[Entry]]) -> None:
        """Note what a request of this tab sent to Redis, in one round trip. `show` returns what Redis holds."""
        together = f" in one round trip of {len(commands)} commands" if len(commands) > 1 else ""
        holds = show() if any(writes(sent.words) for sent in commands) and not commands[-1].failed else None
        steps = []
        for sent in commands:
            facts = [("Answer", show_answer(sent)), ("For", f"{tab}, {sent.seconds * 1000:.2f} ms{together}")]
            title = name_script(sent)
            if title != sent.text:
                facts.insert(0, ("Command", show_text(sent)))
            code, why = places_of(sent.callers), explain(sent, self.before)
            self.before = sent
            facts = [(name, text) for name, text in facts if text]
            steps.append({"title": title, "facts": facts, "why": why, "code": code, "failed": sent.failed})
        if self.folds and is_sign_in(commands):
            inside = [Step(0, REDIS, "command", at=0, **step) for step in steps]  # type: ignore[arg-type]
            facts, done_by = [inside[0].facts[-1]], inside[0].code
            self.add(REDIS, "commands", SIGN_IN, facts, why=WHY_SIGN_IN, code=done_by, inside=inside, holds=holds)
            return
        for step in steps:
            self.add(REDIS, "command", **step, holds=holds if step is steps[-1] else None)  # type: ignore[arg-type]

    def add_answer(self, tab: str, status: str, facts: Facts, cookie: str, view: str, why: str = "") -> None:
        """Note the answer to a request of this tab. `cookie`: what became of it; `why`: what else is said."""
        sets = {"seed": "study/seed_store.py::SeedInterface.save_session"}
        ours = "redis_store.py::RedisSessionInterface._set_cookie"
        code = [Place(sets.get(self.sessions, ours) if cookie else view)]
        why = why or explain_cookie(self.sessions, cookie)
        self.add(tab, "answer", f"gets {status}", facts, why=why, code=code)


def place_in_story() -> list[Place]:
    """Return the line of the story that is being told."""
    told = (Place(f"{caller.file}::{caller.name}", caller.line) for caller in callers() if caller.file in STORIES)
    return [*islice(told, 1)]


def places_of(sent_by: Sequence[Caller]) -> list[Place]:
    """Return the function that sent a command, and the one that called it; without those that only pass it on."""
    places: dict[str, Place] = {}
    for caller in sent_by:
        name = f"{caller.file}::{caller.name.partition('.<')[0]}"
        telling = caller.file.startswith(("study/", "tests/")) and caller.file not in TOLD
        if caller.file not in PLUMBING and not telling and "<" not in name:
            places.setdefault(name, Place(name, caller.line))
    return [*places.values()][:2]
