"""How fast the sessions are, beside what people use today, and beside no session at all.

    python benchmarks/run.py [--short] [--runs NUMBER] [--write-docs] [--cache FOLDER]

Measures for about twelve minutes and writes table, figures and plots into benchmarks/results; with --write-docs what
README.md and docs/benchmarks.md show of them, too. What the targets are about is measured three times (--runs), by new
processes, and the worst of the ratios counts. --short does everything once with a few requests only, writes nothing
that stays, and checks which commands each store sends: that is for CI. No timing is ever checked: machines are noisy.

Needs the standard library, pip, which brings the peers into an environment of their own, and redis-server. With wrk,
that loads gunicorn; with node and npm, koa-session2 is counted, too.

Exit status: 0; 1, a store sends other commands than it should; 2, that could not be measured.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import HERE, Bench
from commands import wrong_commands
from load import gunicorn
from report import PICTURES, report, target_table, write_docs
from servers import end_well, give_up, prepare, program  # bench.py knows where it is


def machine(bench: Bench) -> str:
    """Say what it runs on."""
    cpus = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else []
    said = subprocess.run([program("redis-server"), "--version"], capture_output=True, text=True, check=True).stdout
    versions = {"Redis": said.partition("v=")[2].partition(" ")[0], **bench.measure("versions")}
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    cores = f"{os.cpu_count()} cores of {cpus[0] if cpus else platform.processor() or platform.machine()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {cores}, Python {platform.python_version()}, {listed}"


def run(bench: Bench, short: bool, runs: int) -> dict[str, Any]:
    """Run all the parts, one after the other; those that targets are about as often as `runs` says."""
    url, socket = bench.main.url, str(bench.main.socket)

    def several(number: int, batch: int) -> dict[str, int]:
        return {"number": 2, "batch": 2} if short else {"number": number, "batch": batch}

    found: dict[str, Any] = {"machine": machine(bench)}
    batch = 5 if short else 50
    found["costs"] = bench.measure("costs", url=url, batch=batch)
    if shutil.which("node") and shutil.which("npm"):
        found["costs"] += bench.measure("koa", url=url, socket=socket, folder=str(bench.home), batch=batch)
    aof = bench.redis("aof", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")
    found["aof"] = bench.measure("aof", url=aof.url, requests=50 if short else 10_000, pauses=[0, 6, 30])
    memory = bench.redis("memory")
    found["memory"] = bench.measure("memory", url=memory.url, number=20 if short else 1000)
    threads = {"number": 2, "batch": 64} if short else {"number": 6, "batch": 512}
    found["threads"] = bench.measure("threads", url=url, counts=[1, 8, 32], **threads)
    found["delay"] = bench.measure("delay", socket=socket, seconds=0.001, **several(15, 10))
    urls = {str(count): bench.redis(str(count)).url for count in ([100, 200] if short else [1000, 100_000, 1_000_000])}
    stored = bench.measure("stored", urls=urls, runs=runs, **several(80, 25))
    found["runs"] = []
    for figures in stored:
        each = {"stored": figures}
        each["latency"] = bench.measure("latency", url=url, **several(60, 25))
        each["client"] = bench.measure("client", url=url, **several(30, 1000))
        each["sizes"] = bench.measure("sizes", url=url, lengths=[200, 2000, 20_000, 200_000], **several(20, 20))
        found["loaded by"], each["gunicorn"] = gunicorn(bench, 1 if short else 2, 1 if short else 2)
        found["runs"].append(each)
    return found


def main() -> int:
    """Prepare, measure, write; return the exit status."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="Needs pip and redis-server. Where there are wrk, and node with npm, it uses them.",
    )
    parser.add_argument(
        "--short", action="store_true", help="one minute; checks which commands are sent, writes nothing"
    )
    parser.add_argument("--runs", type=int, default=3, metavar="NUMBER", help="how often the targets are measured: 3")
    parser.add_argument("--write-docs", action="store_true", help="targets and pictures go into README and docs/")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where to keep what pip brought for the next time")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs: at least 1")
    end_well()
    start = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        home: Path = (options.cache or folder / "home").resolve()
        home.mkdir(parents=True, exist_ok=True)
        results = folder / "results" if options.short else HERE / "results"
        results.mkdir(exist_ok=True)
        bench = Bench(home, folder, stack)
        found = run(bench, options.short, 1 if options.short else options.runs)
        figures = results / "figures.json"
        figures.write_text(json.dumps(found, indent=1) + "\n")
        (results / "table.md").write_text(report(found))
        prepare(bench.python, HERE / "plots.py", figures)
        if missing := [name for name in PICTURES if not (results / f"{name}.png").exists()]:
            give_up(f"not drawn: {missing}")
        if options.write_docs and not options.short:
            write_docs(found, results)
        if not options.short:  # its ratios say nothing
            print("\n".join(target_table(found)))
        wrong = wrong_commands(found["costs"])
    print("\n".join(wrong) if wrong else "Each request sends the commands that it should.")
    print(f"{time.monotonic() - start:.0f} seconds")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
