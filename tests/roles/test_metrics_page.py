"""docs/metrics.md: what it says of settings and series, and the configuration that it shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import fakeredis
import pytest
from support.deployed import Deployment
from support.docstrings import assert_page
from support.project import PAGES, blocks, section
from support.roles.metrics import make_app, scrape

from roles import metrics_redis

PAGE = PAGES["docs/metrics.md"]


def test_the_page_has_the_setting_of_the_role() -> None:
    """That of its docstring."""
    assert_page(PAGE, "metrics")


def test_the_page_has_each_series(request: pytest.FixtureRequest) -> None:
    """Those that may come from Redis, and those that this app counts."""
    listed = re.findall(r"^\| `(\w+)`", section("docs/metrics.md", "What it tells"), re.M)
    of_redis = {*metrics_redis.INFO, *metrics_redis.OF_MASTER, *metrics_redis.OF_REPLICA}
    of_redis |= {"redis_instance_info", "redis_connected_slave_lag_seconds"}
    shown = {re.sub(r"(_bucket|_sum|_count)?({.*)?$", "", name) for name in scrape(make_app(fakeredis.FakeRedis()))}
    assert {*listed} == shown | of_redis
    assert len({*listed}) == len(listed)


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool on the PATH")
def test_prometheus_takes_the_configuration_of_the_page(tmp_path: Path) -> None:
    """As it stands there."""
    (tmp_path / "token").write_text("t" * 32)
    (text,) = blocks("yaml", PAGE)
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/metrics-token", str(tmp_path / "token")))
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool on the PATH")
def test_prometheus_finds_nothing_wrong_with_the_series() -> None:
    """Their names, units and texts are as it wants them."""
    app = make_app(fakeredis.FakeRedis())
    text = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {app.config['METRICS_TOKEN']}"}).text
    run = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_command_of_the_page_writes_the_token(tmp_path: Path) -> None:
    """That of deploy/make-secrets, as Prometheus has to send it."""
    deployment = Deployment(tmp_path)
    (command,) = blocks("sh", section("docs/metrics.md", "What Prometheus needs"))
    subprocess.run(["sh", "-eu", "-c", command], cwd=tmp_path, check=True)
    assert (tmp_path / "metrics-token").read_text() == deployment.app["FLASK_METRICS_TOKEN"]
