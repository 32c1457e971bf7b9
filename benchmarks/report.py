"""What the figures say: tables and text, all of them in table.md, the most important ones where people read."""

import os
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from commands import COMMANDS, listed
from names import FLOOR, LIMIT, OURS, PEER

ROOT = Path(__file__).resolve().parent.parent
SHOWN_IN = ROOT / "README.md"  # targets and pictures stand there, between two marks
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
VISITORS = 64


class Target(NamedTuple):
    """A ratio of one run. `limit`: what it would be if a session cost nothing but its Redis commands."""

    what: str
    bound: float
    measured: float
    limit: float | None = None
    at_least: bool = False

    def __str__(self) -> str:
        kept = self.measured >= self.bound if self.at_least else self.measured <= self.bound
        bound = f"{'at least' if self.at_least else 'at most'} {self.bound:.2f}"
        measured = f"{self.measured:.{2 if self.measured >= 0.1 else 3}f}"
        limit = "" if self.limit is None else f"{self.limit:.2f}"
        return f"| {self.what} | {bound} | {measured} | {'kept' if kept else 'missed'} | {limit} |"


def lookup(figures: Iterable[dict[str, Any]], field: str = "median") -> dict[tuple[Any, ...], float]:
    return {tuple(figure["label"]): figure[field] for figure in figures}


def targets(found: dict[str, Any]) -> list[Target]:
    """What the sessions are measured by."""
    took, aof = lookup(found["latency"]), lookup(found["aof"], "bytes")
    rate, stored = lookup(found["gunicorn"]["figures"], "rate"), lookup(found["stored"])
    few, many = min(label[2] for label in stored), max(label[2] for label in stored)
    untouched, read, write = (took[OURS, kind] for kind in ("untouched", "read", "write"))
    floor, get, peer = took[FLOOR, "anonymous"], took[LIMIT, "read"], took[PEER, "read"]
    reads, most = (rate[name, "read"] / rate[PEER, "read"] for name in (OURS, LIMIT))
    return [
        Target("untouched / no session", 1.25, untouched / floor),
        Target("untouched / Flask-Session", 0.17, untouched / took[PEER, "untouched"], floor / took[PEER, "untouched"]),
        Target("read / Flask-Session", 0.58, read / peer, get / peer),
        Target("read / no session, one GET", 1.3, read / get),
        Target("write / Flask-Session", 1.0, write / took[PEER, "write"]),
        Target("reads per second under gunicorn / Flask-Session", 1.45, reads, most, True),
        Target(f"read at {many:,} sessions / at {few:,}", 1.05, stored[OURS, "read", many] / stored[OURS, "read", few]),
        Target(
            f"write at {many:,} sessions / at {few:,}", 1.05, stored[OURS, "write", many] / stored[OURS, "write", few]
        ),
        Target("AOF by reads, 6 s apart / Flask-Session", 0.02, aof[OURS, 6] / aof[PEER, 0]),
    ]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"| --- {'| ---: ' * (len(head) - 1)}|", *lines, ""]


def grid(figures: list[dict[str, Any]], show: Any, first: str = "µs per request") -> list[str]:
    """Contenders down, the rest of the labels across."""
    cells = {(figure["label"][0], tuple(figure["label"][1:])): show(figure) for figure in figures}
    columns = list(dict.fromkeys(column for _, column in cells))
    names = sorted({name for name, _ in cells}, key=[FLOOR, *COMMANDS].index)
    order = ("anonymous", "signed in", "untouched", "read", "nested", "write", "login", "logout")
    columns.sort(key=lambda column: [order.index(part) if part in order else part for part in column])
    heads = [" ".join(f"{part:,}" if isinstance(part, int) else str(part) for part in column) for column in columns]
    return table(
        [first, *heads], ([str(name), *(cells.get((name, column), "") for column in columns)] for name in names)
    )


def spread(figure: dict[str, Any]) -> str:
    return f"{figure['median']:.0f} ({figure['low']:.0f} to {figure['high']:.0f})"


def median(figure: dict[str, Any]) -> str:
    return f"{figure['median']:.0f}"


def cost(figure: dict[str, Any]) -> str:
    if not figure["commands"]:
        return "nothing"
    commands = listed(figure["commands"]).upper()
    return f"{commands}: {figure['round trips']:.0f} trips, {figure['sent']:.0f} + {figure['received']:.0f} B"


def target_table(found: dict[str, Any]) -> list[str]:
    rows = [str(target) for target in targets(found)]
    head = "| ratio, in one run | target | measured | | if a session cost only its Redis commands |"
    return [head, "| --- | ---: | ---: | --- | ---: |", *rows, ""]


def report(found: dict[str, Any]) -> str:
    """All the figures, in Markdown."""
    lines = ["# How fast it is", "", f"{found['machine']}. Written by `benchmarks/run.py`.", ""]

    def section(title: str, text: str, rows: list[str]) -> None:
        lines.extend([f"## {title}", "", text, "", *rows])

    section("Targets", "Ratios of medians.", target_table(found))
    section(
        "One request",
        "Microseconds in process, a session of 500 bytes: the median of interleaved rounds, and the quartiles. "
        "`nested` reads a list in the session. Django's own request is another one than Flask's.",
        grid(found["latency"], spread),
    )
    section(
        "What it costs Redis",
        "Commands (those in a script too), round trips, bytes sent + received, from the server's own statistics.",
        grid(found["costs"], cost, "per request"),
    )
    section("hiredis", "The two parsers that redis-py can use, in turns.", hiredis_table(found["hiredis"]))
    section("1 ms of network delay", "Each answer of Redis comes 1 ms later.", grid(found["delay"], median))
    section("Size", "Bytes of the session's JSON.", grid(found["sizes"], median))
    section("Sessions stored", "Requests with sessions chosen at random.", grid(found["stored"], median))
    section("Threads", "Microseconds per request of all threads together.", grid(found["threads"], median))
    by = found["gunicorn"]["by"]
    section(
        "gunicorn",
        f"Two workers, 8 connections, {VISITORS} visitors, loaded by {by}: requests per second, then the time that half"
        " of them take at most, and 99 of 100.",
        grid(
            found["gunicorn"]["figures"],
            lambda figure: f"{figure['rate']:.0f}/s, {figure['p50']:.1f} ms, {figure['p99']:.1f} ms",
            "",
        ),
    )
    section(
        "AOF",
        "Bytes that 10,000 read-only requests of a visitor add; so many seconds apart for ours (the clock is moved), "
        "since it refreshes once a minute.",
        table(
            ["seconds apart", "bytes"],
            ([f"{row['label'][0]}, {row['label'][1]}", f"{row['bytes']:,.0f}"] for row in found["aof"]),
        ),
    )
    section("Memory", "Bytes in Redis per session.", grid(found["memory"], lambda figure: f"{figure['bytes']:.0f}", ""))
    return "\n".join(lines).rstrip() + "\n"


def hiredis_table(runs: list[dict[str, Any]]) -> list[str]:
    """The medians of the runs with hiredis, and of those without."""
    merged: dict[tuple[str, str], dict[bool, list[float]]] = {}
    for each in runs:
        for figure in each["figures"]:
            merged.setdefault(tuple(figure["label"]), {True: [], False: []})[each["hiredis"]].append(figure["median"])
    rows = [
        [f"{name}, {kind}", *(f"{statistics.mean(found[with_it]):.0f}" for with_it in (False, True))]
        for (name, kind), found in sorted(merged.items())
        if kind in ("untouched", "read", "write")
    ]
    return table(["µs per request", "redis-py's own parser", "hiredis"], rows)


def write_readme(found: dict[str, Any], results: Path) -> None:
    """Put targets and pictures in the place of those before."""
    before, begin, rest = SHOWN_IN.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    where = os.path.relpath(results, SHOWN_IN.parent)
    pictures = [f"![{text}]({where}/{name}.png)\n" for name, text in PICTURES.items()]
    shown = [*target_table(found), f"{found['machine']}.", "", *pictures]
    SHOWN_IN.write_text("\n".join([before + begin, *shown, end + after]))


PICTURES = {
    "latency": "Microseconds per request, by type of request and store",
    "throughput": "Requests per second under gunicorn",
    "size": "Cost against the size of the session",
    "stored": "Cost against the number of stored sessions",
}
