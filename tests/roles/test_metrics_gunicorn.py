"""/metrics of four processes: they agree, and add up."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.roles.metrics import Gunicorn, Series, gunicorn
from support.servers import RedisServer
from support.topology import wait_until

CREATED = 'redis_store_sessions_created_total{reason="login"}'


def sign_in(app: Gunicorn, times: int) -> None:
    for _ in range(times):
        app.ask("/login", username="ada", password="lovelace")


def scrape_each(app: Gunicorn, number: int) -> list[Series]:
    """What so many different workers show, one after the other."""
    before, shown = len(app.workers()), []

    def scrape() -> bool:
        shown.append(app.scrape())
        return len({*app.workers()[before:]}) == number

    wait_until(scrape, 60)
    return shown


def of_app(series: Series) -> Series:
    return {name: value for name, value in series.items() if name.startswith(("redis_store_", "role_"))}


def files(app: Gunicorn) -> set[str]:
    return {path.name for path in app.folder.glob("*.db")}


@pytest.mark.parametrize("option", ["--preload", pytest.param("--threads=2", marks=pytest.mark.thorough)])
def test_four_workers_agree_and_add_up(server: RedisServer, tmp_path: Path, option: str) -> None:
    """Whichever answers, it shows what all have counted; also after one was killed, and in no more files."""
    with gunicorn(server.url, tmp_path, option) as app:
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
