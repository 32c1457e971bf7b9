"""Draws the figures of run.py, into files beside them: ``plots.py <figures.json>``."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from names import COOKIE, DJANGO, FLOOR, LIMIT, OURS, OURS_0, PEER, PEER_LAZY
from targets import medians

mpl.use("Agg")

from matplotlib import pyplot as plt  # the line above comes first

# The colours of Okabe and Ito, which colour-blind people can tell apart.
COLOURS = {
    FLOOR: "#999999",
    LIMIT: "#999999",
    COOKIE: "#F0E442",
    PEER: "#D55E00",
    PEER_LAZY: "#E69F00",
    DJANGO: "#009E73",
    OURS: "#0072B2",
    OURS_0: "#56B4E9",
}
MARKERS = {PEER: "s", DJANGO: "^", OURS: "o", LIMIT: "x"}
TYPES = {
    "untouched": "session not touched",
    "read": "session read",
    "write": "session changed",
    "anonymous": "no cookie",
    "login": "login",
    "logout": "logout",
}


def finish(figure: Any, found: dict[str, Any], title: str, path: Path) -> None:
    """Write the title on top, machine, versions and date at the bottom."""
    figure.suptitle(title, fontweight="bold")
    words, _, versions = found["machine"].partition(", Python")
    figure.supxlabel(f"{words}\nPython{versions}", fontsize=6.5, color="#555555")
    figure.savefig(path, dpi=160, facecolor="white", metadata={"Software": None})
    plt.close(figure)


def bars(axes: Any, entries: list[tuple[str, float, float, float]], form: str) -> None:
    """Draw horizontal bars: name, length, and the ends of a whisker."""
    for row, (name, middle, low, high) in enumerate(reversed(entries)):
        ours = name in (OURS, OURS_0)
        axes.barh(row, middle, color=COLOURS[name], edgecolor="black" if ours else "none", height=0.72)
        if high > low:
            axes.plot([low, high], [row, row], color="black", linewidth=1)
        axes.text(max(middle, high), row, f" {middle:{form}}", va="center", fontsize=7.5)
    axes.set_yticks(range(len(entries)), [name for name, *_ in reversed(entries)], fontsize=7.5)
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)


def latency(found: dict[str, Any], folder: Path) -> None:
    figure, panels = plt.subplots(3, 2, figsize=(9, 8.4), layout="constrained")
    for axes, (kind, words) in zip(panels.flat, TYPES.items(), strict=True):
        kinds = {kind, "anonymous"} if kind == "untouched" else {kind}
        rows = {
            row["label"][0]: row
            for row in medians(found, "latency")
            if row["label"][1] in kinds and (row["label"][1] == kind or row["label"][0] == FLOOR)
        }
        entries = [
            (name, rows[name]["median"], rows[name]["low"], rows[name]["high"]) for name in COLOURS if name in rows
        ]
        bars(axes, entries, ".0f")
        axes.set_title(words, fontsize=9.5)
        axes.set_xlabel("µs per request", fontsize=7.5)
        axes.tick_params(axis="x", labelsize=7.5)
    finish(figure, found, "Time of one request, by what it does (median and quartiles)", folder / "latency.png")


def throughput(found: dict[str, Any], folder: Path) -> None:
    figure, panels = plt.subplots(2, 2, figsize=(9, 4.6), layout="constrained", sharex=True)
    measured = medians(found, "gunicorn")
    for axes, kind in zip(panels.flat, ("untouched", "read", "write", "login"), strict=True):
        rows = {row["label"][0]: row["rate"] for row in measured if row["label"][1] == kind or row["label"][0] == FLOOR}
        bars(axes, [(name, rows[name], 0, 0) for name in COLOURS if name in rows], ",.0f")
        axes.set_title(TYPES[kind], fontsize=9.5)
        axes.set_xlabel("requests per second", fontsize=7.5)
        axes.tick_params(axis="x", labelsize=7.5)
    finish(figure, found, "Throughput: gunicorn with two workers", folder / "throughput.png")


def lines(found: dict[str, Any], part: str, kinds: tuple[str, ...], label: str, title: str, path: Path) -> None:
    figure, panels = plt.subplots(1, len(kinds), figsize=(9, 3.4), layout="constrained", sharey=True)
    measured = medians(found, part)
    for axes, kind in zip(panels, kinds, strict=True):
        names = dict.fromkeys(row["label"][0] for row in measured if row["label"][1] == kind)
        for name in names:
            rows = sorted((row["label"][2], row) for row in measured if row["label"][:2] == [name, kind])
            numbers = [number for number, _ in rows]
            axes.fill_between(
                numbers, *([row[end] for _, row in rows] for end in ("low", "high")), color=COLOURS[name], alpha=0.2
            )
            axes.plot(
                numbers, [row["median"] for _, row in rows], marker=MARKERS[name], color=COLOURS[name], label=name
            )
        axes.set_xscale("log")
        axes.set_title(TYPES[kind], fontsize=9.5)
        axes.set_xlabel(label, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if part == "sizes":
        panels[0].set_yscale("log")
    else:
        panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("µs per request", fontsize=8)
    panels[0].legend(fontsize=7.5, frameon=False)
    finish(figure, found, title, path)


def main() -> None:
    """Draw them all."""
    path = Path(sys.argv[1])
    found, folder = json.loads(path.read_text()), path.parent
    latency(found, folder)
    throughput(found, folder)
    kinds = ("read", "write")
    lines(found, "sizes", kinds, "bytes of the session", "Cost against the size of the session", folder / "size.png")
    title = "Cost against the number of stored sessions"
    lines(found, "stored", kinds, "sessions in Redis", title, folder / "stored.png")


if __name__ == "__main__":
    main()
