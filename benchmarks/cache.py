"""What a cache does when many ask at once: cache-aside as in the tutorials, dogpile.cache, and roles/cache.py.

    python benchmarks/cache.py [--short] [--write-docs]

Measures for about three minutes and prints a table; with --write-docs that goes into docs/cache.md, and the picture
into docs/cache.svg. --short does everything once with a few requests, writes nothing, and checks the counts of
roles/cache.py: that is for CI. No timing is ever checked: machines are noisy.

Needs what the app needs, and redis-server; dogpile.cache has its column where it is installed.

Exit status: 0; 1, a count of roles/cache.py is wrong; 2, that could not be measured.
"""

import argparse
import itertools
import logging
import multiprocessing
import os
import platform
import random
import signal
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import redis
from cached_views import ASIDE, BUILDS, NAMES, OURS, Views
from marks import replace

HERE = Path(__file__).resolve().parent
PAGE, PICTURE = HERE.parent / "docs" / "cache.md", HERE.parent / "docs" / "cache.svg"
sys.path.insert(0, str(HERE.parent / "conformance"))

from servers import end_well, private_redis  # noqa: E402  # found by the line above

fork = multiprocessing.get_context("fork")


class Size(NamedTuple):
    """How much is done."""

    processes: int
    readers: int  # threads of each
    seconds: float  # that the view works
    tries: int  # of forgetting
    load: float  # seconds under load, in which answers get too old

    lease: int = 2


FULL, SHORT = Size(4, 60, 0.5, 10_000, 10.0), Size(2, 10, 0.2, 100, 3.0, 1)


class Call(NamedTuple):
    """What a reader saw."""

    start: float
    end: float
    built: float  # when that began; 0: it did not
    status: int


class Bench:
    """One Redis, emptied before each part."""

    def __init__(self, socket: Path, size: Size) -> None:
        self.socket, self.size = socket, size

    def views(self, **options: Any) -> Views:
        values = {"seconds": self.size.seconds, "max_age": 60, "lease": 10} | options
        return Views(str(self.socket), **values)

    def begin(self) -> redis.Redis:
        client = redis.Redis(unix_socket_path=str(self.socket), protocol=2)
        client.flushall()
        return client

    def read(self, way: str, processes: int, load: float = 0, query: str = "", **options: Any) -> list[Call]:
        """Let readers of several processes begin at the same moment; under `load`, ask again and again so long."""
        barrier, results = fork.Barrier(processes * self.size.readers), fork.SimpleQueue()

        def work() -> None:
            logging.disable()
            calls = read_all(self.views(**options), way, self.size.readers, barrier, load, query)
            results.put([tuple(call) for call in calls])

        workers = [fork.Process(target=work) for _ in range(processes)]
        for worker in workers:
            worker.start()
        calls = [Call(*call) for _ in workers for call in results.get()]
        for worker in workers:
            worker.join()
        return calls


def read_all(views: Views, way: str, readers: int, barrier: Any, load: float, query: str) -> list[Call]:
    """Ask in as many threads; return what each saw."""
    calls: list[Call] = []
    building = threading.local()
    build = views.read

    def note() -> Any:
        building.since = time.monotonic()
        return build()

    views.read = note

    def read() -> None:
        web = views.app.test_client()
        barrier.wait()
        end = time.monotonic() + load
        while True:
            building.since, start = 0.0, time.monotonic()
            status = web.get(f"/{way}{query}").status_code
            calls.append(Call(start, time.monotonic(), building.since, status))
            if time.monotonic() >= end:
                break
            time.sleep(random.uniform(0, 1))

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return calls


def longest(calls: list[Call]) -> float:
    return max((call.end - call.start for call in calls), default=0.0)


# The parts ---------------------------------------------------------------------------------------------------------


def cold(bench: Bench, way: str) -> dict[str, Any]:
    """Nothing is kept when all ask."""
    bench.begin()
    calls = bench.read(way, bench.size.processes)
    return {"cold: builds": sum(call.built > 0 for call in calls), "cold: longest response": longest(calls)}


def expiry(bench: Bench, way: str) -> dict[str, Any]:
    """Answers get too old, again and again, while many ask."""
    client, max_age = bench.begin(), 2
    bench.views(max_age=max_age, seconds=0).app.test_client().get(f"/{way}")
    client.delete(BUILDS)
    calls = bench.read(way, bench.size.processes, bench.size.load, max_age=max_age)
    built = sorted(call.built for call in calls if call.built)
    times = 1 + sum(later - earlier > max_age / 2 for earlier, later in itertools.pairwise(built))
    return {
        "expiry: builds each time": len(built) / times,
        "expiry: longest response of those who do not build": longest([call for call in calls if not call.built]),
        "expiry: longest response of one who builds": longest([call for call in calls if call.built]),
    }


def killed(bench: Bench, way: str) -> dict[str, Any]:
    """The process that makes the answer is killed with -9; then another one asks."""
    client, lease = bench.begin(), bench.size.lease
    worker = fork.Process(target=lambda: bench.views(lease=lease, seconds=60).app.test_client().get(f"/{way}"))
    worker.start()
    while not client.exists(BUILDS):
        time.sleep(0.01)
    start = time.monotonic()
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join()
    bench.views(lease=lease, seconds=0).app.test_client().get(f"/{way}")
    return {f"killed: next answer, with a lease of {lease} s": time.monotonic() - start}


def fails(bench: Bench, way: str) -> dict[str, Any]:
    """The first build fails, while others wait for it."""
    bench.begin()
    calls = bench.read(way, 1, query="?fail=1")
    return {
        "failing build: answers that fail": sum(call.status == 500 for call in calls),
        "failing build: longest response": longest(calls),
    }


def forgotten(bench: Bench, way: str) -> dict[str, Any]:
    """What an answer is made of changes, and it is forgotten, while it is being made; then somebody asks again."""
    bench.begin()
    results = fork.SimpleQueue()

    def work(number: int, processes: int = 2) -> None:
        logging.disable()
        data, stale = [0], 0
        with tempfile.TemporaryDirectory(prefix="cache-") as folder, private_redis(Path(folder)) as socket:
            views = Views(str(socket), 0, 60, 10)
            views.read = lambda: data[0]
            web, other = views.app.test_client(), views.app.test_client()
            for _ in range(bench.size.tries // processes):
                views.seconds = random.uniform(0, 0.002)
                views.forget[way]()
                building = threading.Thread(target=lambda: other.get(f"/{way}"))
                building.start()
                time.sleep(random.uniform(0, 0.005))
                data[0] += 1
                views.forget[way]()
                building.join()
                stale += (web.get(f"/{way}").json or {})["found"] != data[0]
        results.put(stale)

    workers = [fork.Process(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    stale = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    return {f"forgotten while it is made: stale afterwards, of {bench.size.tries:,}": stale}


def away(way: str) -> dict[str, Any]:
    """Nobody listens: does the view run?"""
    logging.disable()
    views = Views("/nowhere/redis.sock", 0, 60, 10)
    views.redis.incr = lambda *_: 0  # nothing counts here
    statuses = [views.app.test_client().get(f"/{way}").status_code for _ in range(10)]
    logging.disable(logging.NOTSET)
    return {"Redis away: answers with status 200, of 10": statuses.count(200)}


# The report --------------------------------------------------------------------------------------------------------


def report(found: dict[str, dict[str, Any]], server: str) -> str:
    """Return the table, and on what it was measured."""

    def show(value: Any) -> str:
        return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"

    rows = [f"| what | {' | '.join(found)} |", f"| --- |{' ---: |' * len(found)}"]
    for name in next(iter(found.values())):
        unit = " (s)" if "longest" in name or "killed" in name else ""
        rows.append(f"| {name}{unit} | {' | '.join(show(each[name]) for each in found.values())} |")
    versions = f"Python {platform.python_version()}, Redis {server}, redis-py {version('redis')}"
    if "dogpile.cache" in found:
        versions += f", dogpile.cache {version('dogpile.cache')}"
    return "\n".join([*rows, "", f"{datetime.now(UTC):%Y-%m-%d}, {versions}, {os.cpu_count()} cores.\n"])


def draw(panels: dict[str, list[Call]]) -> str:
    """Return a picture, an SVG: a line for each reader; where it is thick, the view runs."""
    width, left, top, height = 330, 20, 62, 4
    end = max(call.end - min(each.start for each in calls) for calls in panels.values() for call in calls)
    parts = []
    for number, (title, calls) in enumerate(panels.items()):
        x, begin = left + number * (width + 40), min(call.start for call in calls)
        builds = sum(call.built > 0 for call in calls)
        words = "view runs" if builds > 1 else "view run"
        parts.append(f'<text x="{x}" y="26" class="title">{title}</text>')
        parts.append(f'<text x="{x}" y="46">{len(calls)} readers: {builds} {words}</text>')
        for row, call in enumerate(sorted(calls, key=lambda call: (not call.built, call.end))):
            a, b = (x + width * (at - begin) / end for at in (call.start, call.end))
            y, kind = top + row * height, "build" if call.built else "wait"
            parts.append(f'<line x1="{a:.1f}" x2="{b:.1f}" y1="{y}" y2="{y}" class="{kind}"/>')
        bottom = top + len(calls) * height + 4
        parts.append(f'<path d="M{x} {bottom}h{width}" class="axis"/>')
        parts.append(f'<text x="{x}" y="{bottom + 18}">0</text>')
        parts.append(f'<text x="{x + width}" y="{bottom + 18}" text-anchor="end">{end:.1f} s</text>')
    size = f'width="{2 * width + 80}" height="{bottom + 52}"'
    y = bottom + 40
    key = f'<path d="M{left} {y - 4}h24" class="build"/><text x="{left + 32}" y="{y}">the view runs</text>'
    key += (
        f'<path d="M{left + 150} {y - 4}h24" class="wait"/><text x="{left + 182}" y="{y}">waits for its answer</text>'
    )
    style = (
        "text{font:13px sans-serif;fill:#24292f}.title{font-weight:bold}.axis{stroke:#57606a}"
        ".build{stroke:#d55e00;stroke-width:3}.wait{stroke:#0072b2;stroke-width:1.2}"
        "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.axis{stroke:#8b949e}"
        ".build{stroke:#ff9340}.wait{stroke:#56b4e9}}"
    )
    title = "<title>Sixty readers of one cold key: the view runs sixty times, or once</title>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([head, title, f"<style>{style}</style>", *parts, key, "</svg>\n"])


def wrong(figures: dict[str, Any]) -> list[str]:
    """Name the counts that are not what roles/cache.py promises."""
    promised = {"cold: builds": 1, "expiry: builds each time": 1, "failing build: answers that fail": 1}
    promised |= {name: 0 for name in figures if "stale" in name} | {name: 10 for name in figures if "away" in name}
    return [f"{name}: {figures[name]}, not {count}" for name, count in promised.items() if figures[name] != count]


def main() -> int:
    """Measure, print, write; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="ten seconds; checks the counts, writes nothing")
    parser.add_argument("--write-docs", action="store_true", help="table and picture go into docs/")
    options = parser.parse_args()
    end_well()
    size = SHORT if options.short else FULL
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="cache-") as folder, private_redis(Path(folder)) as socket:
        bench = Bench(socket, size)
        server = str(bench.begin().info("server")["redis_version"])
        for name in [OURS] if options.short else NAMES:
            found[name] = {}
            for part in (cold, expiry, killed, fails, forgotten):
                found[name] |= part(bench, name)
            found[name] |= away(name)
        pictured = {}
        for title, name in {"Cache-aside": ASIDE, "With a lease": OURS}.items():
            bench.begin()
            pictured[title] = bench.read(name, 1)
    print(table := report(found, server))
    picture = draw(pictured)
    if options.write_docs and not options.short:
        replace(PAGE, "figures", table.splitlines())
        PICTURE.write_text(picture)
    print("\n".join(errors := wrong(found[OURS])) or "Each count of roles/cache.py is what it promises.")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
