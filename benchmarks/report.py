"""What the figures say: tables and text, all of them in table.md, the most important ones where people read."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from commands import COMMANDS, listed
from marks import replace
from names import CONNECTIONS, FLOOR, OURS, PEER, REDIS_PY, VISITORS
from targets import lookup, medians, targets

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"  # a few ratios stand there, between two marks
PAGE = ROOT / "docs" / "benchmarks.md"  # targets and pictures, the same way
PICTURES = {
    "latency": "Microseconds per request, by type of request and store",
    "throughput": "Requests per second under gunicorn",
    "size": "Cost against the size of the session",
    "stored": "Cost against the number of stored sessions",
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"| --- {'| ---: ' * (len(head) - 1)}|", *lines, ""]


def grid(figures: list[dict[str, Any]], show: Any, first: str = "µs per request") -> list[str]:
    """Lay out contenders down, the rest of the labels across."""
    cells = {(figure["label"][0], tuple(figure["label"][1:])): show(figure) for figure in figures}
    columns = list(dict.fromkeys(column for _, column in cells))
    names = sorted({name for name, _ in cells}, key=[FLOOR, *COMMANDS, REDIS_PY].index)
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


def load(figure: dict[str, Any]) -> str:
    return f"{figure['rate']:.0f}/s, {figure['p50']:.1f} ms, {figure['p99']:.1f} ms"


def memory(figure: dict[str, Any]) -> list[str]:
    name, kind = figure["label"]
    return [f"{name}, {kind}", *(f"{figure[field]:.0f}" for field in ("bytes", "record", "list", "rest"))]


def target_table(found: dict[str, Any]) -> list[str]:
    """Return the table of targets, and below it what a session takes in Redis."""
    number = len(found["runs"])
    head = ["ratio of medians", "target", f"worst of {number} runs" if number > 1 else "one run", "each run", ""]
    record, lists = (lookup(found["memory"], field) for field in ("record", "list"))
    one, ten = lists[OURS, "signed in"], lists[OURS, "signed in, ten of each user"]
    return [
        *table(head, (target.row() for target in targets(found))),
        f"The record of a signed-in session takes {record[OURS, 'signed in']:.0f} bytes in Redis, {PEER}'s "
        f"{record[PEER, 'signed in']:.0f}. The list of its owner's sessions takes {one:.0f} more; of a user with ten "
        f"sessions, {ten:.0f} for each.",
        "",
    ]


def report(found: dict[str, Any]) -> str:
    """Return all the figures, in Markdown."""
    number, by = len(found["runs"]), found["loaded by"]
    runs = f"the medians of {number} runs" if number > 1 else "one run"
    lines = ["# How fast it is", "", f"{found['machine']}. Written by `benchmarks/run.py`: {runs}.", ""]

    def section(title: str, text: str, rows: list[str]) -> None:
        lines.extend([f"## {title}", "", text, "", *rows])

    section("Targets", "A target is kept when it is kept in every run.", target_table(found))
    section(
        "One request",
        "Microseconds in process, a session of 500 bytes: the median of interleaved rounds, and the quartiles. "
        "`nested` reads a list in the session. Django's own request is another one than Flask's.",
        grid(medians(found, "latency"), spread),
    )
    section(
        "One command",
        "Microseconds of the processor for a GET of 500 bytes: redis-py's client, and the one that `connect` makes.",
        grid(medians(found, "client"), spread, "µs per GET"),
    )
    section(
        "What it costs Redis",
        "Commands (those in a script too), round trips, bytes sent + received, from the server's own statistics.",
        grid(found["costs"], cost, "per request"),
    )
    section("1 ms of network delay", "Each answer of Redis comes 1 ms later.", grid(found["delay"], median))
    section("Size", "Bytes of the session's JSON: many small items.", grid(medians(found, "sizes"), median))
    section("Sessions stored", "Requests with sessions chosen at random.", grid(medians(found, "stored"), median))
    section("Threads", "Microseconds per request of all threads together.", grid(found["threads"], median))
    section(
        "gunicorn",
        f"Two workers, {CONNECTIONS} connections, {VISITORS} visitors, loaded by {by}: requests per second, then the "
        "time that half of them take at most, and 99 of 100. Each login is one of another visitor, who has a session.",
        grid(medians(found, "gunicorn"), load, ""),
    )
    section(
        "AOF",
        "Bytes that 10,000 read-only requests of a visitor add; so many seconds apart for ours (the clock is moved), "
        "since it refreshes once in `SESSION_REFRESH_AFTER`.",
        table(
            ["seconds apart", "bytes"],
            ([f"{row['label'][0]}, {row['label'][1]}", f"{row['bytes']:,.0f}"] for row in found["aof"]),
        ),
    )
    section(
        "Memory",
        "Bytes in Redis per session of 300 to 1,100 bytes of JSON: what the server uses more than before; then its "
        "`MEMORY USAGE` of the records, of the lists of owners, and of what is there for ten minutes after a login.",
        table(["bytes per session", "in all", "record", "list", "rest"], (memory(row) for row in found["memory"])),
    )
    return "\n".join(lines).rstrip() + "\n"


def summary(found: dict[str, Any]) -> list[str]:
    """Return what an adopter asks for first: what a request takes with ours and with the peer; what is slower."""
    goals, times = targets(found), lookup(medians(found, "latency"))
    runs = [lookup(run["latency"]) for run in found["runs"]]
    rows = [
        [
            kind,
            *(f"{times[name, kind]:.0f}" for name in (PEER, OURS)),
            ", ".join(f"{run[OURS, kind] / run[PEER, kind]:.2f}" for run in runs),
        ]
        for kind in ("untouched", "read", "write", "login", "logout")
    ]
    small, large = (
        show_range(goal.ratios) for goal in goals if re.fullmatch(rf"write, a session of \d+ KB / {PEER}", goal.what)
    )
    missed = sum(not goal.kept for goal in goals)
    return [
        *table(["µs per request, its session", PEER, "here", "ratio, each run"], rows),
        f"A write of 20 KB takes {small} times as long as {PEER}'s, one of 200 KB {large} times. "
        f"{missed} of the {len(goals)} targets that were set beforehand are missed.",
        "",
    ]


def show_range(ratios: list[float]) -> str:
    """Return the least and the greatest of several runs."""
    least, greatest = (f"{ratio:.1f}" for ratio in (min(ratios), max(ratios)))
    return least if least == greatest else f"{least} to {greatest}"


def write_docs(found: dict[str, Any], results: Path) -> None:
    """Put targets and pictures in the place of those before."""
    where = os.path.relpath(results, PAGE.parent)
    pictures = [f"![{text}]({where}/{name}.png)\n" for name, text in PICTURES.items()]
    replace(PAGE, "benchmarks", [*target_table(found), f"{found['machine']}.", "", *pictures])
    replace(README, "benchmarks", summary(found)[:-1])
