"""How fast the sessions are, beside what people use today, and beside no session at all.

    python benchmarks/run.py [--short] [--write-readme] [--cache FOLDER]

Measures for about six minutes and writes table, figures and plots into benchmarks/results; with --write-readme what
the README shows of them, too. --short does everything with a few requests only, writes nothing that stays, and
checks which commands each store sends: that is for CI. No timing is ever checked: machines are noisy.

Needs the standard library, pip, which brings the peers into an environment of their own, and redis-server. With wrk,
that loads gunicorn; with node and npm, koa-session2 is counted, too.

Exit status: 0; 1, a store sends other commands than it should; 2, that could not be measured.
"""

import argparse
import http.client
import json
import os
import platform
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "conformance"))

from names import COOKIE, DJANGO, FLOOR, KOA, LIMIT, OURS, OURS_0, PEER, PEER_LAZY  # noqa: E402  # as in the next line
from servers import end_well, give_up, prepare, private_redis, program, running  # noqa: E402  # found by the line above

PEERS = ["flask-session==0.8.0", "msgspec", "django==5.2.*", "gunicorn", "matplotlib"]
PART = 300  # seconds for one part; the longest takes 100
START = 30  # seconds for gunicorn to start
VISITORS = 64  # that share the load; when two requests of one of them meet, ours merges what others lose
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"

#: The commands of one request, in the order of the alphabet; those in a script too.
COMMANDS = {
    LIMIT: {"read": "get"},
    COOKIE: {},
    PEER: {
        **dict.fromkeys(("untouched", "read", "nested", "write"), "get set"),
        **{"login": "del get set", "logout": "del get"},
    },
    PEER_LAZY: {
        **dict.fromkeys(("untouched", "read", "nested"), "get"),
        **{"write": "get set", "login": "del get set", "logout": "del get"},
    },
    DJANGO: {
        **dict.fromkeys(("read", "nested"), "get"),
        **{"write": "get get set", "login": "del exists get get set set", "logout": "del"},
    },
    OURS: {
        **dict.fromkeys(("read", "nested"), "get"),
        "write": "eval get get set",
        "login": "del eval eval expire get get set zadd zrange zremrangebyscore zscore",
        "logout": "del get zrem",
    },
}
COMMANDS[OURS_0] = COMMANDS[OURS] | {"untouched": "expire", "read": "expire get", "nested": "expire get"}
COMMANDS[KOA] = {"read": "get", "write": "get set", "login": "get set", "logout": "del get"}

# The environment and the workers ----------------------------------------------------------------------------------


def make_home(home: Path) -> Path:
    """The Python of a virtual environment with the peers; hiredis is beside it. Made now, unless it is there."""
    python, requirements = home / "venv" / "bin" / "python", ROOT / "requirements.txt"
    done, wanted = home / "done.txt", "\n".join([sys.version, *PEERS, requirements.read_text()])
    if not (done.exists() and done.read_text() == wanted):
        print("pip is bringing the peers.", flush=True)
        done.unlink(missing_ok=True)
        prepare(sys.executable, "-m", "venv", "--clear", home / "venv")
        pip = (python, "-m", "pip", "--disable-pip-version-check", "install")
        prepare(*pip, "--requirement", requirements, *PEERS)
        shutil.rmtree(home / "hiredis", ignore_errors=True)
        prepare(*pip, "--no-deps", "--target", home / "hiredis", "hiredis")
        done.write_text(wanted)
    return python


def environment(**more: str) -> dict[str, str]:
    """Ours, without what could change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "PYTHON", "GUNICORN_"))}
    return kept | more


class Bench:
    """What every part needs: the Python with the peers, a Redis, and how much to measure."""

    def __init__(self, home: Path, folder: Path, stack: ExitStack, short: bool) -> None:
        self.home, self.folder, self.stack, self.short = home, folder, stack, short
        self.python = make_home(home)
        self.socket = self.redis("main")
        self.url = f"unix://{self.socket}"

    def redis(self, name: str) -> Path:
        """One more server of our own."""
        (self.folder / name).mkdir()
        return self.stack.enter_context(private_redis(self.folder / name))

    def measure(self, part: str, with_hiredis: bool = False, **options: Any) -> Any:
        """The figures of a part of measure.py. Exits 2 if that fails."""
        settings = environment(PYTHONPATH=str(self.home / "hiredis")) if with_hiredis else environment()
        print(f"{part} …", end=" ", flush=True)
        start = time.monotonic()
        try:
            run = subprocess.run(
                [self.python, HERE / "measure.py", part, json.dumps(options)],
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                timeout=PART,
            )
        except subprocess.TimeoutExpired:
            give_up(f"{part} was not ready after {PART} seconds")
        if run.returncode:
            give_up(f"{part} could not be measured")
        print(f"{time.monotonic() - start:.0f} s", flush=True)
        return json.loads(run.stdout)


# gunicorn ---------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, cookie: str = "") -> tuple[int, str]:
    """Status, and the cookie that was set."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    response = connection.getresponse()
    response.read()
    return response.status, (response.headers["Set-Cookie"] or "").partition(";")[0]


def wait_for(port: int, gunicorn: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and gunicorn.poll() is None:
        try:
            if ask(port, "/public")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    give_up("gunicorn did not start")


# What wrk sends: one visitor after the other. Requests are formatted before the clock starts.
_VISITORS = """
local cookies, requests, number = {%s}, {}, 0
function init(args)
    for i, cookie in ipairs(cookies) do requests[i] = wrk.format("GET", nil, {Cookie = cookie}) end
end
function request()
    number = number %% #requests + 1
    return requests[number]
end
"""


def load_by_wrk(port: int, path: str, cookies: list[str], seconds: int) -> dict[str, float]:
    url = f"http://127.0.0.1:{port}{path}"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_VISITORS % ", ".join(f'"{cookie}"' for cookie in cookies))
        script.flush()
        wrk = [program("wrk"), "-t1", "-c8", f"-d{seconds}s", "--latency", "-s", script.name, url]
        said = subprocess.run(wrk, check=True, capture_output=True, text=True, timeout=PART).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        give_up(f"{url} fails:\n{said}")
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    times = {share: float(value) * units[unit] for share, value, unit in re.findall(r"(\d+)% +([\d.]+)(\w+)", said)}
    rate = re.search(r"Requests/sec: +([\d.]+)", said)
    assert rate is not None, said
    return {"rate": float(rate[1]), "p50": times["50"], "p99": times["99"]}


def load_by_python(port: int, path: str, cookies: list[str], seconds: int) -> dict[str, float]:
    """Where there is no wrk; slower than that, so it measures itself as well."""
    took: list[float] = []
    statuses: set[int] = set()
    end = time.monotonic() + seconds

    def visit() -> None:
        while (start := time.monotonic()) < end:
            cookie = random.choice(cookies)
            statuses.add(ask(port, path, cookie)[0])
            took.append(1000 * (time.monotonic() - start))

    with ThreadPoolExecutor(8) as pool:
        for visitor in [pool.submit(visit) for _ in range(8)]:
            visitor.result()  # it raises what went wrong
    if statuses != {200}:
        give_up(f"{path} fails with {statuses}")
    shares = statistics.quantiles(took, n=100)
    return {"rate": len(took) / seconds, "p50": shares[49], "p99": shares[98]}


def gunicorn(bench: Bench, number: int, seconds: int) -> dict[str, Any]:
    """Requests per second, and milliseconds that half of them, and 99 of 100, take at most: medians of the rounds."""
    load = load_by_wrk if shutil.which("wrk") else load_by_python
    print("gunicorn …", end=" ", flush=True)
    start = time.monotonic()
    cases: list[tuple[str, str, int]] = []
    with ExitStack() as stack:
        for name in (FLOOR, LIMIT, PEER, OURS):
            port = free_port()
            options = ["--workers=2", f"--bind=127.0.0.1:{port}", "--log-level=error", f"--chdir={HERE}"]
            command = [str(bench.python), "-m", "gunicorn", *options, f"contenders:make_app({name!r}, {bench.url!r})"]
            server = stack.enter_context(running(command, env=environment()))
            wait_for(port, server)
            pages = {FLOOR: ["public"], LIMIT: ["read"]}.get(name, ["public", "read", "write"])
            cases += [(name, page, port) for page in pages]
        found: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(number):
            for name, page, port in cases:  # with new cookies each time, or a refresh would be due
                cookies = [ask(port, "/begin")[1] if name in (PEER, OURS) else "none=" for _ in range(VISITORS)]
                found.setdefault((name, page), []).append(load(port, f"/{page}", cookies, seconds))
    figures = [
        {"label": [name, "untouched" if page == "public" else page]}
        | {each: statistics.median(figure[each] for figure in rounds) for each in ("rate", "p50", "p99")}
        for (name, page), rounds in found.items()
    ]
    print(f"{time.monotonic() - start:.0f} s", flush=True)
    return {"by": load.__name__.removeprefix("load_by_"), "figures": figures}


# The run ----------------------------------------------------------------------------------------------------------


def machine(bench: Bench) -> str:
    """What it ran on."""
    cpus = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else []
    said = subprocess.run([program("redis-server"), "--version"], capture_output=True, text=True, check=True).stdout
    versions = {"Redis": said.partition("v=")[2].partition(" ")[0], **bench.measure("versions")}
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    cores = f"{os.cpu_count()} cores of {cpus[0] if cpus else platform.processor() or platform.machine()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {cores}, Python {platform.python_version()}, {listed}"


def run(bench: Bench) -> dict[str, Any]:
    """All the parts, one after the other."""
    short, url = bench.short, bench.url
    found: dict[str, Any] = {"machine": machine(bench)}
    found["costs"] = bench.measure("costs", url=url, batch=5 if short else 50)
    if shutil.which("node") and shutil.which("npm"):
        found["costs"] += bench.measure(
            "koa", url=url, socket=str(bench.socket), folder=str(bench.home), batch=5 if short else 50
        )
    found["latency"] = bench.measure("latency", url=url, number=2 if short else 120, batch=2 if short else 25)
    found["hiredis"] = [
        bench.measure("hiredis", with_hiredis=with_it, url=url, number=2 if short else 10, batch=2 if short else 50)
        for with_it in (False, True) * (1 if short else 4)
    ]
    lengths = [200, 2000, 20_000, 200_000]
    found["sizes"] = bench.measure(
        "sizes", url=url, number=2 if short else 20, batch=2 if short else 20, lengths=lengths
    )
    found["threads"] = bench.measure(
        "threads", url=url, number=2 if short else 10, batch=64 if short else 512, counts=[1, 8, 32]
    )
    found["delay"] = bench.measure(
        "delay", socket=str(bench.socket), number=2 if short else 20, batch=2 if short else 10, seconds=0.001
    )
    counts = [100, 200] if short else [1000, 100_000, 1_000_000]
    urls = {str(count): f"unix://{bench.redis(str(count))}" for count in counts}
    found["stored"] = bench.measure("stored", urls=urls, number=2 if short else 120, batch=2 if short else 25)
    log = bench.redis("aof")
    cli = [program("redis-cli"), "-s", str(log), "CONFIG", "SET"]
    for setting in (("auto-aof-rewrite-percentage", "0"), ("appendonly", "yes")):
        subprocess.run([*cli, *setting], check=True, capture_output=True, timeout=START)
    found["aof"] = bench.measure("aof", url=f"unix://{log}", requests=50 if short else 10_000, pauses=[0, 6, 30])
    found["memory"] = bench.measure("memory", url=f"unix://{bench.redis('memory')}", number=20 if short else 2000)
    found["gunicorn"] = gunicorn(bench, 1 if short else 5, 1 if short else 2)
    return found


def wrong_commands(costs: list[dict[str, Any]]) -> list[str]:
    """What a store sent, where it is not what COMMANDS says."""
    counted = {tuple(row["label"]) for row in costs}
    names = {name for name, _ in counted}
    wrong = [
        f"{name}, {kind}: not counted"
        for name, kinds in COMMANDS.items()
        for kind in kinds
        if (name, kind) not in counted and (name in names or name != KOA)  # koa: where there is Node
    ]
    for row in costs:
        name, kind = row["label"]
        expected, whole = COMMANDS[name].get(kind, ""), all(calls % 1 == 0 for calls in row["commands"].values())
        if listed(row["commands"]) != expected or not whole:
            wrong.append(f"{name}, {kind}: expected {expected or 'nothing'}, found {row['commands']}")
    return wrong


# What it says -----------------------------------------------------------------------------------------------------


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


def listed(commands: dict[str, float]) -> str:
    """So many of each, by name."""
    return " ".join(name for name, calls in commands.items() for _ in range(round(calls)))


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
    """Targets and pictures take the place of those before."""
    readme = ROOT / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    where = results.relative_to(ROOT)
    pictures = [f"![{text}]({where / name}.png)\n" for name, text in PICTURES.items()]
    shown = [*target_table(found), f"{found['machine']}.", "", *pictures]
    readme.write_text("\n".join([before + begin, *shown, end + after]))


PICTURES = {
    "latency": "Microseconds per request, by type of request and store",
    "throughput": "Requests per second under gunicorn",
    "size": "Cost against the size of the session",
    "stored": "Cost against the number of stored sessions",
}


def main() -> int:
    """Prepare, measure, write; the exit status."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="Needs pip and redis-server. Where there are wrk, and node with npm, it uses them.",
    )
    parser.add_argument(
        "--short", action="store_true", help="one minute; checks which commands are sent, writes nothing"
    )
    parser.add_argument("--write-readme", action="store_true", help="targets and pictures go into the README")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where to keep what pip brought for the next time")
    options = parser.parse_args()
    end_well()
    start = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        home: Path = (options.cache or folder / "home").resolve()
        home.mkdir(parents=True, exist_ok=True)
        results = folder / "results" if options.short else HERE / "results"
        results.mkdir(exist_ok=True)
        bench = Bench(home, folder, stack, options.short)
        found = run(bench)
        figures = results / "figures.json"
        figures.write_text(json.dumps(found, indent=1) + "\n")
        (results / "table.md").write_text(report(found))
        prepare(bench.python, HERE / "plots.py", figures)
        if missing := [name for name in PICTURES if not (results / f"{name}.png").exists()]:
            give_up(f"not drawn: {missing}")
        if options.write_readme and not options.short:
            write_readme(found, results)
        if not options.short:
            print("\n".join(target_table(found)))
        wrong = wrong_commands(found["costs"])
    print("\n".join(wrong) if wrong else "Each request sends the commands that it should.")
    print(f"{time.monotonic() - start:.0f} seconds")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
