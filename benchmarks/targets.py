"""What the sessions are measured by, and whether they keep it.

A target is a ratio of two medians of one run. It is kept when it is kept in every run: the worst one counts.
"""

import statistics
from typing import Any, NamedTuple

from names import FLOOR, LIMIT, OURS, PEER, PEER_LAZY, REDIS_PY

Found = dict[str, Any]
Label = tuple[Any, ...]


class Target(NamedTuple):
    """A bound, and the ratio that was measured in each run, or once."""

    what: str
    bound: float
    ratios: list[float]
    at_least: bool = False

    @property
    def worst(self) -> float:
        return min(self.ratios) if self.at_least else max(self.ratios)

    @property
    def kept(self) -> bool:
        return self.worst >= self.bound if self.at_least else self.worst <= self.bound

    def row(self) -> list[str]:
        """Return the cells of the table: what, bound, the worst ratio, all of them, the verdict."""
        verdict = "kept" if self.kept else f"missed by {100 * abs(self.worst / self.bound - 1):.1f} %"
        every = ", ".join(f"{ratio:.3f}" for ratio in self.ratios) if len(self.ratios) > 1 else "measured once"
        bound = f"at {'least' if self.at_least else 'most'} {self.bound:.2f}"
        return [self.what, bound, f"{self.worst:.3f}", every, verdict]


def lookup(figures: list[Found], field: str = "median") -> dict[Label, float]:
    """Return a field of each figure, by label."""
    return {tuple(figure["label"]): figure[field] for figure in figures}


def medians(found: Found, part: str) -> list[Found]:
    """Return the figures of a part that was run several times: the median of each field."""
    runs: list[list[Found]] = [run[part] for run in found["runs"]]
    by_label = [{tuple(figure["label"]): figure for figure in run} for run in runs]
    return [
        {"label": figure["label"]}
        | {
            field: statistics.median(run[tuple(figure["label"])][field] for run in by_label)
            for field in figure
            if field != "label"
        }
        for figure in runs[0]
    ]


def targets(found: Found) -> list[Target]:
    """Return them all, in the order of the table."""

    def ratios(part: str, one: Label, other: Label, field: str = "median") -> list[float]:
        runs = [lookup(run[part], field) for run in found["runs"]]
        return [run[one] / run[other] for run in runs]

    def to(other: str, kind: str, bound: float, of: str = "") -> Target:
        return Target(f"{kind} / {other}", bound, ratios("latency", (OURS, kind), (other, of or kind)))

    def size(length: int, kind: str) -> Target:
        what = f"{kind}, a session of {length // 1000} KB / {PEER}"
        return Target(what, 1.0, ratios("sizes", (OURS, kind, length), (PEER, kind, length)))

    def rate(kind: str, bound: float) -> Target:
        found = ratios("gunicorn", (OURS, kind), (PEER, kind), "rate")
        return Target(f"{kind}s per second under gunicorn / {PEER}", bound, found, at_least=True)

    counts = {figure["label"][2] for figure in found["runs"][0]["stored"]}
    few, many = min(counts), max(counts)

    def stored(kind: str) -> Target:
        what = f"{kind} at {many:,} sessions / at {few:,}"
        return Target(what, 1.05, ratios("stored", (OURS, kind, many), (OURS, kind, few)))

    aof, record = lookup(found["aof"], "bytes"), lookup(found["memory"], "record")
    login = to(PEER, "login", 1.0)
    return [
        to(PEER, "untouched", 0.16),
        to(FLOOR, "untouched", 1.35, of="anonymous"),
        to(PEER, "read", 0.55),
        to(PEER_LAZY, "read", 1.0),
        to(LIMIT, "read", 1.2),
        to(PEER_LAZY, "nested", 1.0),
        to(PEER, "write", 1.0),
        login._replace(what=f"{login.what} with its `regenerate()`"),
        to(PEER, "logout", 1.0),
        *(size(length, kind) for length in (20_000, 200_000) for kind in ("read", "write")),
        rate("read", 1.3),
        rate("write", 1.0),
        rate("login", 1.0),
        Target("CPU of one command, our client / redis-py's", 0.5, ratios("client", (OURS, "GET"), (REDIS_PY, "GET"))),
        Target(f"AOF by reads 6 s apart / {PEER}", 0.02, [aof[OURS, 6] / aof[PEER, 0]]),
        *(stored(kind) for kind in ("read", "write")),
        Target(
            f"record of a signed-in session / {PEER}'s", 1.0, [record[OURS, "signed in"] / record[PEER, "signed in"]]
        ),
    ]
