"""/metrics of several processes: they agree, and add up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.project import ROOT
from support.roles.metrics import Gunicorn, Series, gunicorn
from support.servers import RedisServer
from support.topology import wait_until

CREATED = 'redis_store_sessions_created_total{reason="login"}'


def sign_in(app: Gunicorn, times: int) -> None:
    for _ in range(times):
        app.ask("/login", username="ada", password="lovelace")


def scrape_each(app: Gunicorn, number: int) -> list[Series]:
    """What so many different workers show; several are asked at once, or one of them would answer most."""
    before, shown = len(app.workers()), list[Series]()

    def scrape() -> bool:
        with ThreadPoolExecutor(8) as pool:
            shown.extend(pool.map(lambda _: app.scrape(), range(8)))
        return len({*app.workers()[before:]}) == number

    wait_until(scrape, 60)
    return shown


def of_app(series: Series) -> Series:
    return {name: value for name, value in series.items() if name.startswith(("redis_store_", "role_"))}


def files(app: Gunicorn) -> set[str]:
    return {path.name for path in app.folder.glob("*.db")}


@pytest.mark.thorough
@pytest.mark.parametrize("option", ["--preload", "--threads=2"])
def test_four_workers_agree_and_add_up(server: RedisServer, tmp_path: Path, option: str) -> None:
    """Whichever answers, it shows what all have counted; also after one was killed, and in no more files."""
    with gunicorn(server.patient_url, tmp_path, option) as app:
        scrape_each(app, 4)
        sign_in(app, 20)
        shown = scrape_each(app, 4)
        assert all(of_app(each) == of_app(shown[0]) for each in shown)
        assert shown[0][CREATED] == 20
        assert len(shown[0]) == 49
        before = files(app)
        assert len(before) <= 2 * 5
        for worker in {*app.workers()}:
            os.kill(worker, signal.SIGKILL)
        wait_until(app.is_ready)
        sign_in(app, 5)
        shown = scrape_each(app, 4)
        assert {each[CREATED] for each in shown} == {25}
        assert files(app) == before


#: Processes that count, several generations of them, each of which is killed when all have counted.
GENERATIONS = """
import json, os, signal, sys, time
from pathlib import Path
from prometheus_client import Counter
from prometheus_client.multiprocess import MultiProcessCollector
from roles.metrics import count_together

count_together(sys.argv[1])
counter = Counter("things", "Things", registry=None)


def count() -> float:
    files = [str(file) for file in Path(sys.argv[1]).glob("*.db") if file.stat().st_size]  # one may be just made
    return sum(metric.samples[0].value for metric in MultiProcessCollector.merge(files))


seen, files = [], []
for generation in range(1, 4):
    children = []
    for child in range(4):
        children.append(os.fork())
        if children[-1] == 0:
            counter.inc(child + 1)
            signal.pause()
    while count() < 10 * generation:
        time.sleep(0.001)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.wait()
    seen.append(count())
    files.append(len([name for name in os.listdir(sys.argv[1]) if name.endswith(".db")]))
print(json.dumps([seen, files]))
"""


@pytest.mark.thorough
def test_processes_take_the_places_of_those_that_were_killed(tmp_path: Path) -> None:
    """So that nothing is lost, and a scrape reads no more files than there were processes at one time."""
    words = [sys.executable, "-c", GENERATIONS, str(tmp_path / "new")]
    run = subprocess.run(
        words,
        cwd=ROOT,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "new")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    seen, files = json.loads(run.stdout)
    assert seen == [10, 20, 30]
    assert files == [files[0]] * 3
    assert files[0] <= 5
