"""The samples of /monitor, and the charts that are made of them. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

WINDOW = 300  # seconds that a chart shows at most
SPANS = (30, 60, 120, WINDOW)  # it shows the shortest of these into which all samples go
PAUSE = 2  # seconds, at least, between two samples that are kept, however many look
GAP = 15  # seconds without a sample that a line does not bridge
WIDTH, HEIGHT = 300, 80  # of a chart

#: What of INFO is a sample.
SAMPLED = ("used_memory", "connected_clients", "total_commands_processed", "keyspace_hits", "keyspace_misses")

Sample = Mapping[str, float]


class Chart(NamedTuple):
    """What is drawn. The lowest line is 0, the highest one is `top`; it goes from `span` seconds ago to now."""

    title: str
    unit: str
    digits: int  # after the point
    values: list[float]
    path: str  # of the line, as SVG has it; a gap in time is one in the line
    top: float
    span: int
    waits: bool  # for a reading that makes a line of the dot

    def show(self, value: float) -> str:
        """Return a value as people write it."""
        return f"{value:,.{self.digits}f}"

    @property
    def scale(self) -> str:
        """The top of the scale, with its unit."""
        return f"{self.top:,.10g} {self.unit}".strip()

    @property
    def start(self) -> str:
        """When the chart begins."""
        return f"{self.span} s ago" if self.span < 60 else f"{self.span // 60} min ago"


def take_sample(ping: float | None, info: Mapping[str, float], now: float) -> Sample:
    """Return the numbers of a look that are drawn."""
    numbers = {name: info[name] for name in SAMPLED if name in info}
    return {"at": round(now, 1), **({} if ping is None else {"ping": round(ping, 2)}), **numbers}


def add_sample(samples: object, sample: Sample) -> list[Sample]:
    """Return samples with one more; without those that are old, malformed, or less complete.

    The last one stays only if it was time for it.
    """
    kept: list[Sample] = [
        each
        for each in (samples if isinstance(samples, list) else [])
        if isinstance(each, dict)
        and all(type(each.get(name)) in (int, float) for name in sample)
        and sample["at"] - WINDOW <= each["at"] <= sample["at"]
    ]
    if len(kept) > 1 and kept[-1]["at"] - kept[-2]["at"] < PAUSE:
        kept.pop()
    return [*kept, sample]


def draw_all(samples: Sequence[Sample], now: float) -> Iterator[Chart]:
    """Yield the charts of what is known."""
    span = next((each for each in SPANS if now - samples[0]["at"] <= each), WINDOW)
    pairs = [(before, after) for before, after in itertools.pairwise(samples) if after["at"] - before["at"] >= PAUSE]

    def rise(pair: tuple[Sample, Sample], name: str) -> float:
        return pair[1][name] - pair[0][name]  # less than 0: Redis was started again meanwhile

    def draw_one(title: str, unit: str, digits: int, least: float, points: Sequence[tuple[float, float]]) -> Chart:
        values = [value for _, value in points]
        top = find_top(max(values, default=0), least)
        waits = not points or points[-1][0] - points[0][0] < PAUSE
        path = draw(points[-1:] if waits else points, top, span, now)
        return Chart(title, unit, digits, values, path, top, span, waits)

    told = samples[-1].keys()
    if "used_memory" in told:
        yield draw_one("Memory, MB", "MB", 2, 1, [(each["at"], each["used_memory"] / 1e6) for each in samples])
    if "connected_clients" in told:
        yield draw_one("Connections", "", 0, 10, [(each["at"], each["connected_clients"]) for each in samples])
    if "total_commands_processed" in told:
        rates = [(pair[1]["at"], rise(pair, "total_commands_processed") / rise(pair, "at")) for pair in pairs]
        yield draw_one("Commands per second", "", 1, 10, [point for point in rates if point[1] >= 0])
    if {"keyspace_hits", "keyspace_misses"} <= told:
        reads = [(pair[1]["at"], rise(pair, "keyspace_hits"), rise(pair, "keyspace_misses")) for pair in pairs]
        hit_rates = [(at, 100 * hits / (hits + misses)) for at, hits, misses in reads if hits >= 0 < misses + hits]
        yield draw_one("Hit rate, %", "%", 1, 100, hit_rates)
    yield draw_one("PING, ms", "ms", 2, 1, [(each["at"], each["ping"]) for each in samples if "ping" in each])


def find_top(highest: float, least: float) -> float:
    """Return the top of a scale: 1, 2 or 5 with zeros behind it or before it, and not below `least`."""
    if highest <= least:
        return least
    unit = 10.0 ** math.floor(math.log10(highest))
    return next(step * unit for step in (1, 2, 5, 10) if highest <= step * unit)


def draw(points: Sequence[tuple[float, float]], top: float, span: float, now: float) -> str:
    """Return the line through values: 0 is at the bottom, now at the right; a single one is a dot."""
    path, last = "", 0.0
    for at, value in points:
        x, y = WIDTH * (1 - (now - at) / span), HEIGHT * (1 - value / top)
        path += f"{'L' if at - last < GAP else 'M'}{x:.1f} {y:.1f}" + ("" if at - last < GAP else "h0")
        last = at
    return path
