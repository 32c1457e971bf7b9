"""What a visitor's last two requests asked of Redis: kept for a moment, and put into the page that shows it.

A form's answer leads to the home page, and brings a cookie that names what the form's request asked. The home page,
or an error page, takes that, and adds what it asked itself. Of several processes, the one that is asked next may not
know what was asked before.
"""

from __future__ import annotations

import re
import secrets
import threading
from itertools import groupby, pairwise
from typing import NamedTuple, cast

from flask import Flask, Response, current_app, render_template, request, request_finished
from markupsafe import Markup

from redis_store import RedisSessionInterface
from study.explain import explain, name_role, show_answer, show_text
from study.recording import Sent, get_recording, record_requests

MAX_COMMANDS = 30  # of one request that are shown
MAX_SEEN = 200  # requests that are remembered
REMEMBERED_FOR = 60  # seconds

ASKED = Markup("<!-- what this request asked of Redis -->")  # as soon as that is known; no visitor's text looks so


class Asked(NamedTuple):
    """A command, and what it did."""

    command: Sent
    text: str  #: as it is shown
    answer: str  #: the same
    plain: str  #: in plain words
    joined: bool  #: whether it went out in one round trip with the one before


class Seen(NamedTuple):
    """A request, when it is over."""

    line: str  #: "POST /live/append"
    status: int
    groups: list[tuple[str, list[Asked]]]  #: what a role asked, with what that is for; what the session did, with ""
    total: int  #: of all commands
    more: int  #: how many of them are not shown
    trips: int
    seconds: float  #: that all of them took
    cookie: str  #: what the answer does to the session cookie


class Memory:
    """What the requests of some visitors asked, by a random name. In this process only, and not for long."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._lock = threading.Lock()

    def put(self, seen: Seen) -> str:
        """Remember a request; return its name."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._seen[name] = seen
            while len(self._seen) > MAX_SEEN:
                del self._seen[next(iter(self._seen))]
        return name

    def take(self, name: str) -> Seen | None:
        """Return a request, and forget it."""
        with self._lock:
            return self._seen.pop(name, None)


def init_app(app: Flask) -> None:
    """Record what each request asks, and show it where a page has `ASKED`."""
    app.wsgi_app = record_requests(app.wsgi_app)  # type: ignore[method-assign]
    app.extensions["live_memory"] = Memory()
    app.jinja_env.globals["asked"] = ASKED
    request_finished.connect(finish, app)


def finish(app: Flask, response: Response) -> None:
    """Put into a page what its request asked of Redis; or, if it is a form's, remember that for the home page.

    Flask calls this when the session was saved. Whatever goes wrong here is logged: nobody loses their answer by it.
    """
    try:
        show_asked(app, response)
    except Exception:
        app.logger.exception("What Redis was asked is not shown")


def show_asked(app: Flask, response: Response) -> None:
    """Do what `finish` does."""
    memory, name = app.extensions["live_memory"], f"{get_cookie_name()}_asked"
    home_url = f"{request.script_root}/"  # not url_for, which fails for a request with an impossible Host
    if request.method == "POST" and (response.location or "").partition("#")[0] == home_url:
        attributes = get_interface().get_cookie_attributes(app)
        response.set_cookie(name, memory.put(look_back(response)), max_age=REMEMBERED_FOR, **attributes)
    elif response.mimetype == "text/html" and not response.is_streamed and (mark := ASKED.encode()) in response.data:
        before = memory.take(request.cookies.get(name, ""))
        seen = [*([before] if before else []), look_back(response)]
        response.data = response.data.replace(mark, render_template("asked.html", requests=seen).encode(), 1)


def look_back(response: Response) -> Seen:
    """Return this request, which is over."""
    recording = get_recording()
    commands = recording.commands if recording else []
    asked = [
        Asked(sent, show_text(sent), show_answer(sent), explain(sent, before), is_joined(sent, before))
        for before, sent in pairwise([None, *commands[:MAX_COMMANDS]])
        if sent
    ]
    return Seen(
        f"{request.method} {request.path}",
        response.status_code,
        [(role, [*group]) for role, group in groupby(asked, lambda each: name_role(each.command))],
        len(commands),
        max(0, len(commands) - MAX_COMMANDS),
        recording.trips if recording else 0,
        sum({command.trip: command.seconds for command in commands}.values()),
        name_cookie_effect(response),
    )


def is_joined(sent: Sent, before: Sent | None) -> bool:
    """Return whether a command went out in one round trip with the one before."""
    return before is not None and before.trip == sent.trip


def name_cookie_effect(response: Response) -> str:
    """Return what a response does to the session cookie."""
    start = f"{get_cookie_name()}="
    for header in response.headers.getlist("Set-Cookie"):
        if header.startswith(start):
            age = re.search(r"; Max-Age=(\d+)", header)
            if age is None:
                return "set, until the browser is closed"
            return f"set, with Max-Age={age[1]}" if age[1] != "0" else "deleted"
    return "left alone"


def get_cookie_name() -> str:
    """Return the name of the session cookie, with which that of the other one begins: of this app alone, as it is."""
    return get_interface().get_cookie_name(current_app)


def get_interface() -> RedisSessionInterface:
    """Return the app's interface to its sessions."""
    return cast(RedisSessionInterface, current_app.session_interface)
