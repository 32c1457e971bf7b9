"""What Prometheus reads: a scrape, taken apart."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from app import create_app
from support import demo
from support.apps import SECRET_KEY
from support.project import ROOT
from support.servers import PATIENCE
from support.topology import free_ports, wait_until

TOKEN = "only-for-prometheus-" + "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CONFIG = {**demo.CONFIG, "METRICS_TOKEN": TOKEN}

#: Name and labels of a series -> its value, as `redis_up` or `role_events_total{event="job-done"}`.
Series = dict[str, float]


def make_app(client: Any) -> Flask:
    """Return the demo app, which Prometheus may scrape."""
    return create_app(CONFIG, client)


def parse(text: str) -> Series:
    """Return the series of a scrape; each is there once."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    series = {name_of(sample.name, sample.labels): sample.value for sample in samples}
    assert len(series) == len(samples)
    return series


def name_of(name: str, labels: dict[str, str]) -> str:
    inner = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inner}}}" if inner else name


def scrape(app: Flask | FlaskClient) -> Series:
    """What an app shows Prometheus."""
    web = app.test_client() if isinstance(app, Flask) else app
    answer = web.get("/metrics", headers=BEARER)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def counted(app: Flask) -> Series:
    """The counters of an app that are not 0, but for those of Redis and of times."""
    return {
        name: value
        for name, value in scrape(app).items()
        if value and name.startswith(("redis_store_", "role_")) and "_command_seconds" not in name
    }


class Gunicorn:
    """The demo app in several processes, which count together in a folder."""

    def __init__(self, url: str, folder: Path, *options: str) -> None:
        if importlib.util.find_spec("gunicorn") is None:
            pytest.skip("needs gunicorn")
        (self.port,) = free_ports(1)
        self.folder, self.log = folder / "metrics", folder / "log"
        settings = {f"FLASK_{name}": json.dumps(value) for name, value in CONFIG.items() if name != "SECRET_KEY"}
        words = ["--bind", f"127.0.0.1:{self.port}", "--access-logfile", str(self.log), "--access-logformat", "%(p)s"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *words, "--workers", "4", *options, "app:create_app()"],
            cwd=ROOT,
            env={
                **os.environ,
                **settings,
                "SECRET_KEY": SECRET_KEY,
                "REDIS_URL": url,
                "PROMETHEUS_MULTIPROC_DIR": str(self.folder),
            },
            stderr=subprocess.DEVNULL,
        )

    def ask(self, path: str, **form: str) -> str:
        """Return the answer to a GET; to a POST, if there is a form. Each has a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {**BEARER, "Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        connection.request("POST" if form else "GET", path, urlencode(form), headers)
        answer = connection.getresponse().read().decode()
        connection.close()
        return answer

    def scrape(self) -> Series:
        return parse(self.ask("/metrics"))

    def workers(self) -> list[int]:
        """The process that answered, for each request so far."""
        return [int(word.strip("<>")) for word in self.log.read_text().split()]

    def is_ready(self) -> bool:
        try:
            return "redis_up" in self.ask("/metrics")
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)


@contextmanager
def gunicorn(url: str, folder: Path, *options: str) -> Iterator[Gunicorn]:
    """The app under gunicorn, with four workers, inside the block."""
    running = Gunicorn(url, folder, *options)
    try:
        wait_until(running.is_ready)
        yield running
    finally:
        running.stop()
