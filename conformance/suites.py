"""Promise 1, by other people's tests: what passes with Flask's own sessions passes with `RedisSessionInterface`.

    python conformance/suites.py [--redis] [--cache FOLDER]

Four test-suites (Flask's, its tutorial's, Flask-Login's, Flask-WTF's) run twice, from the source distributions that
pip downloads: as they are, and with the plugin `swap.py`. No test is left out; one that fails both ways is listed, and
one that passes with Flask's own sessions alone is a regression. Needs the standard library, pip, and for ``--redis``
the program redis-server.

Exit status: 0, the promise is kept; 1, it is not; 2, that could not be found out.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from servers import end_well, give_up, prepare, private_redis

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Suite:
    """A test-suite: the source distribution that it is in, and where in there."""

    name: str
    distribution: str
    version: str
    folder: str = "."


SUITES = [
    Suite("Flask", "flask", "3.1.3"),
    Suite("Flask's tutorial", "flask", "3.1.3", "examples/tutorial"),
    Suite("Flask-Login", "flask-login", "0.6.3"),
    Suite("Flask-WTF", "flask-wtf", "1.3.0"),
]
SOURCES = sorted({f"{suite.distribution}=={suite.version}" for suite in SUITES})
NEEDS = [
    *("redis", "msgspec", "fakeredis[lua]"),  # redis_store.py and swap.py
    "pytest>=8.4,<9",  # pytest 9 cannot collect Flask 3.1.3's tests
    *("asgiref", "greenlet", "python-dotenv", "blinker"),  # Flask's tests
    "semantic-version",  # Flask-Login's
    *("flask-babel", "flask-reuploaded", "email-validator"),  # Flask-WTF's
]
TESTS = 600  # seconds for one run of one suite; Flask's takes 2
ENOUGH = 0.9  # of a suite's tests must pass with Flask's own sessions, or the run says nothing about ours


def make_home(home: Path) -> Path:
    """The Python of a virtual environment in `home`, with the sources beside it. Made now, unless it is there."""
    python = home / "venv" / "bin" / "python"
    done, wanted = home / "done.txt", "\n".join([sys.version, *SOURCES, *NEEDS])
    if python.exists() and done.exists() and done.read_text() == wanted:
        return python
    print("pip is bringing the test-suites and what they need.", flush=True)
    done.unlink(missing_ok=True)
    shutil.rmtree(home / "sources", ignore_errors=True)
    prepare(sys.executable, "-m", "venv", "--clear", home / "venv")
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    prepare(*pip, "install", *SOURCES, *NEEDS)
    for source in SOURCES:
        # Only this one as a source distribution: with ":all:" pip also builds the tools that it builds with.
        folder, name = home / "sources" / source, source.partition("==")[0]
        prepare(*pip, "download", "--no-deps", "--no-binary", name, "--dest", folder, source)
        for archive in list(folder.iterdir()):
            shutil.unpack_archive(archive, folder)
            archive.unlink()
    done.write_text(wanted)
    return python


@dataclass(frozen=True)
class Run:
    """How one run of a suite ended."""

    passed: set[str]
    skipped: set[str]
    failed: dict[str, str]  # name: the traceback
    said: dict[str, str]  # what the plugin counted
    broken: str | None  # what pytest printed, if it could not run the tests


def run(python: Path, suite: Suite, folder: Path, extra: Sequence[str], environment: dict[str, str]) -> Run:
    """Run the suite in the folder where it was unpacked, with temporary files in `folder`."""
    (source,) = (python.parents[2] / "sources" / f"{suite.distribution}=={suite.version}").iterdir()
    if not (source / suite.folder / "tests").is_dir():
        give_up(f"the source distribution {source.name} carries no tests for {suite.name}")
    report = folder / "report.xml"
    # Flask-Login asks for the time in a way that Python 3.12 warns of, and its settings make warnings errors.
    options = [
        "-q",
        "-W",
        "ignore:datetime.datetime.utcnow:DeprecationWarning",
        "-p",
        "no:cacheprovider",
        f"--junit-xml={report}",
        f"--basetemp={folder / 'tmp'}",
        *extra,
    ]
    settings = ("FLASK_", "PYTEST_", "PYTHON")  # whoever runs this may have some; the suites count on none
    outside = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    try:
        process = subprocess.run(  # ours
            [python, "-m", "pytest", *options],
            cwd=source / suite.folder,
            env=outside | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TESTS,
        )
    except subprocess.TimeoutExpired:
        return Run(set(), set(), {}, {}, f"not finished after {TESTS} seconds")
    if process.returncode not in (0, 1) or not report.exists():  # 0: all passed; 1: some failed
        return Run(set(), set(), {}, {}, process.stdout)
    result = Run(set(), set(), {}, {}, None)
    root = ET.parse(report).getroot()  # our own pytest wrote it
    for case in root.iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        trouble = [child for child in case if child.tag in ("failure", "error")]
        if trouble:
            result.failed[name] = "\n".join(child.text or "" for child in trouble)
        elif case.find("skipped") is not None:
            result.skipped.add(name)
        else:
            result.passed.add(name)
    result.said.update({entry.get("name", ""): entry.get("value", "") for entry in root.iter("property")})
    return result


def compare(suite: Suite, own: Run, ours: Run) -> int:
    """Print the suite's line, and what is to be said about it; the exit status."""
    if own.broken is not None or len(own.passed) < ENOUGH * (len(own.passed) + len(own.failed) + len(own.skipped)):
        print(f"{suite.name} does not run with Flask's own sessions, which says nothing about ours:")
        print(own.broken or "\n".join(f"{name}\n{text}" for name, text in own.failed.items()))
        return 2
    if ours.broken is not None:
        print(f"{suite.name} does not run with our sessions:\n{ours.broken}")
        return 1
    lost = sorted(own.passed - ours.passed)
    saved, records = int(ours.said.get("saved", 0)), int(ours.said.get("records", 0))
    print(
        f"{suite.name:<18}{suite.version:<9}{len(own.passed):>7}{len(ours.passed):>11}{len(lost):>18}"
        f"     {saved} responses, {records} records left"
    )
    for name in sorted(own.failed.keys() & ours.failed.keys()):
        print(f"    fails with Flask's own sessions too: {name}")
    for name in sorted(own.skipped & ours.skipped):
        print(f"    skipped with Flask's own sessions too: {name}")
    for name in lost:
        print(f"    FAILS WITH OUR SESSIONS ONLY: {name}\n{ours.failed.get(name, 'it was not run')}")
    silent = not saved or not records or ours.said.get("saved_by_flask") != "0"
    if silent:
        print(f"    THE SWAP DID NOT WORK, so the numbers say nothing: {ours.said}")
    return 1 if lost or silent else 0


def main() -> int:
    """Prepare, run and compare all the suites; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--redis", action="store_true", help="on a private redis-server, not in a fakeredis")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where to keep what pip brought for the next time")
    options = parser.parse_args()
    end_well()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="suites-")))
        socket = stack.enter_context(private_redis(folder)) if options.redis else None
        home: Path = (options.cache or folder / "home").resolve()
        home.mkdir(parents=True, exist_ok=True)
        python = make_home(home)
        plugin = folder / "plugin"  # and nothing else of ours: the suites have an app.py and tests of their own
        plugin.mkdir()
        for file in (HERE / "swap.py", HERE.parent / "redis_store.py"):
            shutil.copy(file, plugin)
        shutil.copytree(HERE.parent / "_redis_store", plugin / "_redis_store")
        print(f"Sessions in {'redis-server' if socket else 'fakeredis'}, Python {sys.version.split()[0]}")
        print("suite             version  Flask's       ours  only ours fails     ours was used for", flush=True)
        statuses = []
        for number, suite in enumerate(SUITES):
            environment = {"PYTHONPATH": str(plugin)}
            if socket is not None:
                environment["SWAP_REDIS_URL"] = f"unix://{socket}?db={number}"
            folders = [folder / f"{number}-own", folder / f"{number}-ours"]
            for each in folders:
                each.mkdir()
            own = run(python, suite, folders[0], [], {})
            ours = run(python, suite, folders[1], ["-p", "swap"], environment)
            statuses.append(compare(suite, own, ours))
            sys.stdout.flush()
        everywhere = [python, HERE / "flask_login_everywhere.py"]
        statuses.append(
            subprocess.run(everywhere, env=os.environ | {"PYTHONPATH": str(plugin)}, timeout=TESTS).returncode
        )
        print("What passes with Flask's own sessions passes with ours." if not any(statuses) else "NOT PROVED.")
        return 1 if 1 in statuses else max(statuses)


if __name__ == "__main__":
    sys.exit(main())
