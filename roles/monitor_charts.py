"""The samples of /monitor, and the charts that are made of them. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

WINDOW = 300  # seconds that a chart shows
PAUSE = 2  # seconds, at least, between two samples, however many look
GAP = 15  # seconds without a sample that a line does not bridge
WIDTH, HEIGHT = 300, 80  # of a chart

#: What of INFO is a sample.
SAMPLED = ("used_memory", "connected_clients", "total_commands_processed", "keyspace_hits", "keyspace_misses")

Sample = Mapping[str, float]


def take_sample(ping: float | None, info: Mapping[str, float], now: float) -> Sample:
    """Return the numbers of a look that are drawn."""
    numbers = {name: info[name] for name in SAMPLED if name in info}
    return {"at": round(now, 1), "ping": round(ping or 0, 3), **numbers}


def add_sample(samples: object, sample: Sample) -> list[Sample]:
    """Return samples with one more, if it is time for one; without those that are old, malformed, or less complete."""
    kept: list[Sample] = [
        each
        for each in (samples if isinstance(samples, list) else [])
        if isinstance(each, dict)
        and all(type(each.get(name)) in (int, float) for name in sample)
        and sample["at"] - WINDOW <= each["at"] <= sample["at"]
    ]
    return kept if kept and sample["at"] - kept[-1]["at"] < PAUSE else [*kept, sample]


def draw_all(samples: Sequence[Sample], now: float) -> Iterator[tuple[str, list[float], str]]:
    """Yield charts: a title with the unit, the values, and the path of a line, as SVG has it."""
    pairs = [(before, after) for before, after in itertools.pairwise(samples) if after["at"] > before["at"]]

    def rise(pair: tuple[Sample, Sample], name: str) -> float:
        return pair[1][name] - pair[0][name]  # less than 0: Redis was started again meanwhile

    if "used_memory" in samples[-1]:
        yield draw("Memory, MB", [(each["at"], each["used_memory"] / 1e6) for each in samples], now)
        yield draw("Connections", [(each["at"], each["connected_clients"]) for each in samples], now)
        rates = [(pair[1]["at"], rise(pair, "total_commands_processed") / rise(pair, "at")) for pair in pairs]
        yield draw("Commands per second", [point for point in rates if point[1] >= 0], now)
        reads = [(pair[1]["at"], rise(pair, "keyspace_hits"), rise(pair, "keyspace_misses")) for pair in pairs]
        yield draw(
            "Hit rate, %",
            [(at, 100 * hits / (hits + misses)) for at, hits, misses in reads if hits >= 0 < misses + hits],
            now,
        )
    yield draw("PING, ms", [(each["at"], each["ping"]) for each in samples], now)


def draw(title: str, points: Sequence[tuple[float, float]], now: float) -> tuple[str, list[float], str]:
    """Return one chart. The lowest line is 0, the highest value is at the top; a gap in time is one in the line."""
    values, path, last = [value for _, value in points], "", 0.0
    for at, value in points:
        x, y = WIDTH * (1 - (now - at) / WINDOW), HEIGHT * (1 - value / (max(values) or 1))
        path += f"{'L' if at - last < GAP else 'M'}{x:.1f} {y:.1f}" + ("" if at - last < GAP else "h0")
        last = at
    return title, values, path
