"""Batches of requests, in rounds: every contender has its turn in each, in an order of chance.

The garbage collector stays on, as in production; what was there at the start is frozen, and it collects before each
round, off the clock.
"""

import gc
import random
import statistics
from collections.abc import Callable, Iterable
from typing import Any

from contenders import SIZE
from names import COOKIE, FLOOR, LIMIT
from visitor import Visitor, begin, timed

TYPES = ["anonymous", "untouched", "read", "nested", "write", "login", "logout"]
Figures = dict[str, Any]
Samples = Iterable[tuple[tuple[Any, ...], float]]  # label and microseconds
Unit = Callable[[], Samples]


def types_of(name: str) -> list[str]:
    """Return what a contender can do: without a session there is not much."""
    return {FLOOR: ["anonymous"], LIMIT: ["read"]}.get(name, TYPES)


def sample(name: str, app: Any, kind: str, batch: int, size: int = SIZE) -> dict[str, float]:
    """Time a batch of requests of one type. A login begins from an anonymous session; its logout goes with it."""
    if name in (FLOOR, LIMIT) or kind == "anonymous":
        return {kind: timed([Visitor(app)] * batch, kind)}
    if kind == "login":
        visitors = [begin(app, size) for _ in range(batch)]
        return {"login": timed(visitors, "login"), "logout": timed(visitors, "logout")}
    visitor = begin(app, size)
    took = timed([visitor] * batch, kind)
    if name != COOKIE:  # there, each write began with the same cookie
        visits = batch if kind == "write" else 0
        if visitor.ask("/read") != str(visits).encode():
            raise RuntimeError(f"{name}: wrong after {kind}")
    return {kind: took}


def unit(name: str, app: Any, kind: str, batch: int, *rest: Any, size: int = SIZE) -> Unit:
    """Make one entry of `rounds`: labelled with contender, request type and the rest."""
    return lambda: [((name, each, *rest), took) for each, took in sample(name, app, kind, batch, size).items()]


def rounds(units: list[Unit], number: int) -> list[Figures]:
    """Run every unit in every round; return the median and the quartiles of what each measured."""
    samples: dict[tuple[Any, ...], list[float]] = {}
    for unit in units:  # connections and caches
        list(unit())
    gc.collect()
    gc.freeze()
    for _ in range(number):
        random.shuffle(units)
        gc.collect()
        for unit in units:
            for label, took in unit():
                samples.setdefault(label, []).append(took)
    return [{"label": label, **spread(found)} for label, found in samples.items()]


def spread(found: list[float]) -> Figures:
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    return {"median": middle, "low": low, "high": high, "rounds": len(found)}
