"""Monitoring: a page that shows an administrator how Redis is, with charts of the last five minutes.

The path of one look::

    GET /monitor        -> PING, INFO, SLOWLOG GET; of a Cluster, to each server
                        -> GET, SET MONITOR:SESSION:samples: the numbers of now join those before
                        <- a page; its charts are SVG, made here
    GET /monitor/events <- the part of the page that changes, every five seconds (static/monitor.js listens)
    GET /monitor/live   <- the same, once: where the server has no thread left for a stream

Keys, and how long each lives at most::

    MONITOR:SESSION:samples    3600 s   {"samples": [{"at", "ping", …}, …], "replicas": [how many there were, and when]}

Only who looks takes samples; all who look, and all processes, share them. The slow log is shown without the arguments
of its commands, for they are sids. A page that is left open does not keep its session alive.

monitor_look.py asks Redis; monitor_charts.py makes samples and charts; monitor_stream.py is what all open pages of a
process share.

Settings::

    MONITOR_USERS      []   names of the users who may look; without any there is no /monitor
                            (if the app's Redis is inside its process: the demo account)
    MONITOR_REPLICAS    0   replicas that there have to be; with fewer, or fewer than an hour ago, some are missing
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

from flask import Blueprint, Flask, Response, abort, current_app, render_template, request
from werkzeug.exceptions import TooManyRequests

import auth
from redis_store import RETRY_AFTER, RedisSession, RedisSessionInterface, StoreUnavailable, skip_refresh
from roles import get_lag
from roles.monitor_charts import add_sample, draw_all, take_sample
from roles.monitor_look import Look, explain, look
from roles.monitor_stream import Pages

HOUR = 3600  # seconds for which the samples, and how many replicas there were, outlive the last look

blueprint = Blueprint("monitor", __name__)


def init_app(app: Flask) -> None:
    """Add the page, if there is somebody to look at it. ValueError: the setting is wrong."""
    demo: Any = app.jinja_env.globals.get("demo_account", ())  # of an app whose Redis is inside its process
    users = app.config.setdefault("MONITOR_USERS", [*demo[:1]])
    if not isinstance(users, list) or not all(isinstance(user, str) and user for user in users):
        raise ValueError(f"MONITOR_USERS is {users!r}; expected a list of user names")
    replicas = app.config.setdefault("MONITOR_REPLICAS", 0)
    if type(replicas) is not int or replicas < 0:
        raise ValueError(f"MONITOR_REPLICAS is {replicas!r}; expected a whole number, 0 or more")
    if users:
        app.extensions["monitor"] = Pages(functools.partial(make_part, app), functools.partial(may_look, app))
        app.register_blueprint(blueprint)
        app.jinja_env.globals.setdefault("role_pages", {})["Redis"] = "/monitor"  # type: ignore[index]


@blueprint.get("/monitor")
@auth.login_required
def page() -> str:
    """Show all of it. 403 for a user who is no administrator."""
    check(auth.get_user())
    return render_template("monitor.html", **describe())


@blueprint.get("/monitor/live")
def live() -> str:
    """Show the part that changes. 403 for anybody else. It does not keep the session alive: no person asked for it."""
    open_session()
    return make_part(current_app)


@blueprint.get("/monitor/events")
def events() -> Response:
    """Send the part that changes, again and again. 403 for anybody else; 429: too many pages are open."""
    pages: Pages = current_app.extensions["monitor"]
    stream = pages.serve(open_session().sid)
    if not pages.join(stream):
        raise TooManyRequests("Too many pages show Redis.", retry_after=RETRY_AFTER)
    sock: Any = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    with suppress(AttributeError):  # where the server does not tell
        sock.settimeout(pages.patience)
    response = Response(stream, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
    response.call_on_close(lambda: pages.leave(stream))
    return response


def open_session() -> RedisSession:
    """Return the session of an administrator. It is not flask.session, which would be kept alive."""
    skip_refresh()
    held = cast(RedisSession, get_interface().open_session(current_app, request))
    check(auth.get_user(held))
    return held


def check(user: str | None) -> None:
    """403: this user may not look."""
    if user not in current_app.config["MONITOR_USERS"]:
        abort(403, "This page is for administrators: the users whom the setting MONITOR_USERS names.")


def may_look(app: Flask, sid: str) -> bool:
    """Return whether a session is an administrator's still. StoreUnavailable."""
    with app.app_context():
        return auth.get_user(get_interface().store.get(sid) or {}) in app.config["MONITOR_USERS"]


def make_part(app: Flask) -> str:
    """Return the part of the page that changes."""
    with app.app_context():
        return render_template("monitor_live.html", **describe())


def describe() -> dict[str, Any]:
    """Return what the page says of Redis as it is now."""
    seen, now = look(get_interface().store), get_interface().clock()
    info, kept = seen.info, remember(seen, now)
    most = max(kept["replicas"][0], current_app.config["MONITOR_REPLICAS"])
    return {
        "seen": seen,
        "info": info,
        "get_lag": get_lag,
        "problems": [*judge_all(seen.infos, seen.down, most), *ask_others(seen)],
        "charts": [*draw_all(kept["samples"], now)],
        "now": now,
        "show_time": functools.partial(show_time, now),
        "embedded": current_app.extensions.get("embedded"),
    }


def get_interface() -> RedisSessionInterface:
    """Return the app's interface to its sessions."""
    return cast(RedisSessionInterface, current_app.session_interface)


def ask_others(seen: Look) -> Iterator[tuple[str, str]]:
    """Yield what other roles find wrong."""
    for find in current_app.extensions.get("role_problems", ()):
        try:
            yield from find()
        except StoreUnavailable as error:
            seen.refused["What is wrong with a role"] = explain(error)


def remember(seen: Look, now: float) -> dict[str, Any]:
    """Return the samples of the last minutes with this one, and the most replicas of the last hour.

    They are kept for the next look, if that can be done.
    """
    store, before = get_interface().namespace("MONITOR"), dict[str, Any]()
    with suppress(StoreUnavailable):
        before = store.get("samples") or {}
    kept = {
        "samples": add_sample(before.get("samples"), take_sample(seen.ping, seen.info, now)),
        "replicas": add_replicas(before.get("replicas"), seen.info.get("connected_slaves", 0), now),
    }
    try:
        store.set(kept, "samples", max_age=HOUR)  # of two at the same moment, one is enough
    except StoreUnavailable as error:  # full, say, or a replica: then this page is needed
        seen.refused["A place for the samples of the charts"] = explain(error)
    return kept


# Policy: pure functions -----------------------------------------------------------------------------------------------


def add_replicas(noted: object, number: int, now: float) -> tuple[int, float]:
    """Return the most replicas that were seen in the last hour, and when."""
    match noted:
        case [int(most), int() | float() as at] if number < most and now - HOUR <= at <= now:
            return most, at
    return number, now


def judge_all(infos: Mapping[str, Mapping[str, Any]], down: Iterable[str], most: int) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the servers, of which there should be so many replicas."""
    for name in down:
        yield "RedisDown", f"{name} does not answer."
    for name, info in infos.items():
        for alert, sentence in judge(info):
            if not (name and alert == "RedisIsReplica"):  # in a Cluster some are, and the client knows which
                yield alert, f"{name}: {sentence}" if name else sentence
    masters = [info for info in infos.values() if info.get("role") == "master"]
    if masters and (number := sum(info.get("connected_slaves", 0) for info in masters)) < most:
        yield "RedisReplicaMissing", f"Its replicas are {number}, and should be {most}."


def judge(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong: the name of its alert in deploy/alerts.yml, and a sentence."""
    if (limit := info.get("maxmemory", 0)) and info.get("used_memory", 0) > 0.9 * limit:
        yield "RedisMemoryNearlyFull", "More than 90 % of the memory that it may use is used."
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        yield "RedisMayEvict", f"When it is full, it removes sessions: its policy is {info['maxmemory_policy']}."
    if number := info.get("evicted_keys"):
        yield "RedisEvicts", f"It was full, and has removed {number} keys since it started."
    if number := info.get("rejected_connections"):
        yield "RedisRefusesConnections", f"It has refused {number} connections since it started: all were taken."
    if info.get("role") == "slave":
        yield "RedisIsReplica", "It is a replica, and takes no writes."
    if info.get("master_link_status", "up") != "up":
        yield "RedisReplicaLostMaster", "It has lost its master, and what it holds grows old."
    if (get_lag(info) or 0) > 10:
        yield "RedisReplicaLags", f"A replica was last heard of {get_lag(info)} seconds ago."
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield "RedisSnapshotFails", "It could not write its last snapshot (RDB)."
    if info.get("aof_last_write_status", "ok") != "ok":
        yield "RedisAppendFails", "It could not write its append-only file (AOF)."


def show_time(now: float, at: float) -> str:
    """Return a time of day; with the date, if it is not today's."""
    today, then = (datetime.fromtimestamp(seconds, UTC) for seconds in (now, at))
    return f"{then:%H:%M:%S}" if then.date() == today.date() else f"{then:%Y-%m-%d %H:%M:%S}"
