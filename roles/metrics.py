"""Metrics: how Redis is, what becomes of sessions, and how long the store waits, for Prometheus.

The path of one scrape::

    GET /metrics   Authorization: Bearer <token>
                   -> PING, INFO
                   <- their answers, and what all processes have counted

Before that it asks the other roles what is wrong, so that what lasts is told again with each scrape.

Keys: none. Signals feed the counters: those of the sessions, and what other roles tell. What comes from
Redis has the name that redis_exporter gives it. There are never more than 50 series, and no label holds a user, a sid
or a path. When Redis is away, ``redis_up`` is 0, and all that is counted here is there. A Cluster counts as one: sums,
and of what has no sum the worst of its servers.

The processes of a server with several of them count together in the folder that ``PROMETHEUS_MULTIPROC_DIR`` names in
the environment. Without it each process answers for itself.

Settings::

    METRICS_TOKEN   none   text of at least 32 bytes, which Prometheus has to send; without it there is no /metrics
                           (but for this machine, if the app's Redis is inside its process)
"""

from __future__ import annotations

import functools
import hmac
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client import values as prometheus_values
from prometheus_client.multiprocess import MultiProcessCollector
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from redis_store import RedisSessionInterface, StoreUnavailable, signals, skip_refresh
from roles import EVENTS, happened
from roles.metrics_redis import ask_redis, describe

MIN_TOKEN = 32  # bytes
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

MERGES = ("write", "login", "logout", "regenerate")

#: A counter; its label, if it has one; the signal that feeds it, and the reasons that count. No other makes a series.
COUNTED = [
    ("redis_store_sessions_created", "reason", signals.created, ("write", "login")),
    ("redis_store_sessions_ended", "reason", signals.ended, ("logout", "revoke", "end", "limit")),
    ("redis_store_changes_refused", "reason", signals.refused, ("type", "size", "ended")),
    ("redis_store_changes_merged", "", signals.merged, MERGES),
    ("redis_store_conflicts", "", signals.merged, MERGES),
    ("redis_store_conflicts", "", signals.refused, ("ended",)),
    ("redis_store_unavailable", "reason", signals.unavailable, ("read", "write", "refresh", "view")),
    ("role_events", "event", happened, EVENTS),
]

#: The store's verbs in three classes, by the command of each: to read, to write, to compare and set.
VERBS = {"GET": "get", "SET": "set", "GETDEL": "set", "EXPIRE": "set", "DEL": "set", "EVAL": "update"}
BUCKETS = (0.01, 0.1)  # seconds: what is slow, and what is nearly a timeout

blueprint = Blueprint("metrics", __name__)


def init_app(app: Flask) -> None:
    """Count from now on, and add ``/metrics``, if it may be read. ValueError: the setting is wrong."""
    token = app.config.setdefault("METRICS_TOKEN", None)
    if token is None and not app.extensions.get("embedded"):
        return
    if token is not None and (not isinstance(token, str) or len(token.encode()) < MIN_TOKEN):
        raise ValueError(f"METRICS_TOKEN (not shown) is too short, or no text; expected at least {MIN_TOKEN} bytes")
    app.extensions["metrics"] = Metrics(app)
    app.register_blueprint(blueprint)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Return what Prometheus reads, whether Redis is there or not. 401 without the token."""
    skip_refresh()
    if not is_allowed():
        raise Unauthorized("This page is for Prometheus.", www_authenticate=WWWAuthenticate("bearer"))
    return Response(generate_latest(current_app.extensions["metrics"]), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def is_allowed() -> bool:
    """Return whether the request has the token; where there is none, whether it comes from this machine."""
    if (token := current_app.config["METRICS_TOKEN"]) is None:
        return request.remote_addr in ("127.0.0.1", "::1")
    given, expected = request.headers.get("Authorization", ""), f"Bearer {token}"
    return hmac.compare_digest(given.encode(), expected.encode())


# Counting -------------------------------------------------------------------------------------------------------------


class Metrics:
    """What an app counts from its start on, with how Redis is now."""

    def __init__(self, app: Flask) -> None:
        if folder := os.environ.get(FOLDER):
            count_together(folder)
        self.registry = CollectorRegistry()
        counters: dict[str, Counter] = {}
        self.listeners = []  # the signals keep them weakly
        for name, label, event, reasons in COUNTED:
            if name not in counters:
                counters[name] = Counter(name, f"By the signal {event.name}.", label.split(), registry=self.registry)
            by_reason = {each: counters[name].labels(each) if label else counters[name] for each in reasons}
            self.listeners.append(functools.partial(count, by_reason))
            event.connect(self.listeners[-1], app)
        name, text = "redis_store_command_seconds", "How long the store waited for an answer."
        waits = Histogram(name, text, ["verb"], buckets=BUCKETS, registry=self.registry)
        self.store = cast(RedisSessionInterface, app.session_interface).store
        time_commands(self.store.client, {verb: waits.labels(verb).observe for verb in VERBS.values()})

    def collect(self) -> Iterator[Metric]:
        """Yield all of it, as a collector of Prometheus' library does."""
        servers = ask_redis(self.store)
        yield from describe(servers)
        if all(servers):  # else no role could ask it either
            ask_others()
        if folder := os.environ.get(FOLDER):
            files = [str(file) for file in Path(folder).glob("*.db") if file.stat().st_size]  # one may be just made
        for metric in MultiProcessCollector.merge(files) if folder else self.registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def ask_others() -> None:
    """Let other roles find what is wrong: what they tell of it is counted."""
    for find in current_app.extensions.get("role_problems", ()):
        with suppress(StoreUnavailable):  # Redis is gone meanwhile, or theirs is another one
            find()


def count(by_reason: Mapping[str, Counter], app: Flask, reason: str, number: int, **_: Any) -> None:
    """Count what a signal tells."""
    if reason in by_reason:
        by_reason[reason].inc(number)


def time_commands(client: Any, observe: Mapping[str, Callable[[float], None]]) -> None:
    """Give a client methods that do what its own do, and measure how long it takes. Several at once are an update."""

    def timed(send: Callable[..., Any], verb: str = "") -> Callable[..., Any]:
        def send_timed(*words: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return send(*words, **options)
            finally:
                if (kind := verb or VERBS.get(words[0])) is not None:
                    observe[kind](time.perf_counter() - start)

        return send_timed

    def pipeline(*arguments: Any, **options: Any) -> Any:
        made = make_pipeline(*arguments, **options)
        made.execute = timed(made.execute, "update")
        return made

    make_pipeline = client.pipeline
    client.execute_command, client.pipeline = timed(client.execute_command), pipeline
    if hasattr(client, "execute_all"):  # of `connect`, which sends several without a pipeline
        client.execute_all = timed(client.execute_all, "update")


@functools.cache
def count_together(folder: str) -> None:
    """Have the processes that use this folder count in files there, each in its own: once for each process.

    Who takes the place of one that has ended goes on in its files. So a scrape never reads more of them than there were
    processes at one time.
    """
    fcntl = import_module("fcntl")  # not on Windows
    os.makedirs(folder, exist_ok=True)

    @functools.cache
    def take_place(process: int) -> tuple[int, Any]:
        for number in range(1000):
            file = open(os.path.join(folder, f"{number}.lock"), "w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return number, file  # open, and so locked, as long as the process lives, however it ends
            except BlockingIOError:
                file.close()
        raise RuntimeError(f"{folder} has no place for another process")

    prometheus_values.ValueClass = prometheus_values.MultiProcessValue(lambda: take_place(os.getpid())[0])
