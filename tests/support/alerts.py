"""Alert rules: what /metrics told, minute by minute, and which alerts Prometheus' own program finds firing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session

from app import create_app
from support.apps import route
from support.project import ROOT
from support.roles import metrics, monitor, tokens
from support.roles.metrics import BEARER, Series, parse

RULES = ROOT / "deploy" / "alerts.yml"
ALERTS = re.findall(r"^ +- alert: (\w+)", RULES.read_text(), re.M)
MINUTES = 6  # that a fault lasts: longer than any alert waits


def make_app(client: Any, **config: Any) -> Flask:
    """Return the demo app with all that is watched, and pages for what a test does."""
    app = create_app({**tokens.CONFIG, **metrics.CONFIG, "MONITOR_USERS": ["ada"], **config}, client)
    route(app, "/write", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/set", lambda: session.update(x={1}))
    app.testing = False
    return app


class Watch:
    """What Prometheus has read of an app, once a minute. The minutes are not waited for."""

    def __init__(self, app: Flask) -> None:
        self.app, self.steps = app, list[Series]()
        self.web = monitor.signed_in(app)
        self.work()
        for _ in range(3):
            self.scrape()

    def work(self) -> int:
        """A page that reads and changes its session; its status."""
        return self.web.get("/write").status_code

    def scrape(self) -> Series:
        """Read it as Prometheus does, which notes in `up` whether that could be done."""
        answer = self.app.test_client().get("/metrics", headers=BEARER)
        series = parse(answer.text) if answer.status_code == 200 else {}
        self.steps.append(series | {'up{job="sessions"}': float(answer.status_code == 200)})
        return series

    def last(self, minutes: int = MINUTES) -> None:
        """All stays for so many minutes as it was found now."""
        self.scrape()
        self.steps += [self.steps[-1]] * minutes

    def problems(self) -> set[str]:
        """What /monitor says is wrong."""
        return {*monitor.problems(monitor.text_of(self.web))}

    def assert_firing(self, expected: set[str], folder: Path) -> None:
        """These alerts fire in the last minute, and no others. promtool says so."""
        names = sorted({name for step in self.steps for name in step})
        series = [{"series": name, "values": " ".join(show(step.get(name)) for step in self.steps)} for name in names]
        query = {
            "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{len(self.steps) - 1}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)],
        }
        test = {"interval": "1m", "input_series": series, "promql_expr_test": [query]}
        (folder / "test.json").write_text(json.dumps({"rule_files": [str(RULES)], "tests": [test]}))
        run = run_promtool("test", "rules", str(folder / "test.json"))
        assert run.returncode == 0, run.stdout + run.stderr


def show(value: float | None) -> str:
    """A number, or none, as promtool reads it."""
    return "_" if value is None else f"{value:.6f}"


def run_promtool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Prometheus' own program. Where there is none, the test is skipped."""
    program = shutil.which("promtool") or pytest.skip("needs promtool on the PATH")
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=60)
