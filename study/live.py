"""The home page as a place to study: the visitor's own session from both sides, and what requests ask of Redis.

The path of one use::

    POST /live/append         the session is changed: GET, compare-and-set
                              303 to /, with a cookie that names what was asked, in the memory of this process
    GET /                     GET; shown: cookie, record, what both requests asked of Redis

    POST /live/redis          embedded only: Redis is switched off. A page that needs it is a 503, with a button that
                              switches it on again; and after OFF_FOR seconds it comes back by itself

What the page asks out of curiosity, the TTL, is not recorded. The controls write keys of their own only: nobody
becomes somebody else by them. Of several processes, the one that is asked next may not know what was asked before.

Redis keys: none. Setting: STUDY.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    redirect,
    render_template,
    request,
    request_finished,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from markupsafe import Markup

import auth
from redis_store import RedisSession, RedisSessionInterface
from study.anatomy import get_cookie_left, get_lifetime, show_span, take_apart
from study.explain import explain
from study.recording import Sent, attach, get_recording, paused, record_requests

KEYS = ("city", "colour", "note")  # that visitors put into their session; the app has other ones
CART = "cart"  # a key with a list deep inside: {"cart": {"items": [...]}}
MAX_VALUE = 100  # characters
MAX_ITEMS = 10  # in the list
MAX_COMMANDS = 30  # of one request that are shown
MAX_SEEN = 200  # requests that are remembered
REMEMBERED_FOR = 60  # seconds
OFF_FOR = 60  # seconds

ASKED = Markup("<!-- what this request asked of Redis -->")  # as soon as that is known; no visitor's text looks so

blueprint = Blueprint("live", __name__, url_prefix="/live")


class Seen(NamedTuple):
    """A request, when it is over."""

    line: str  #: "POST /live/append"
    status: int
    commands: list[tuple[Sent, str]]  #: with what each did, in plain words
    more: int  #: how many commands are not shown
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


class Switch:
    """Takes the embedded Redis away, for a while. `server`: a ``fakeredis.FakeServer``."""

    def __init__(self, server: Any, clock: Callable[[], float]) -> None:
        self._server, self._clock = server, clock
        self._on_again = 0.0

    def turn(self, on: bool) -> None:
        self._on_again = self._clock() + OFF_FOR
        self._server.connected = on

    def look(self) -> None:
        """Bring Redis back when it is time."""
        if self.is_off and self._clock() >= self._on_again:
            self.turn(True)

    @property
    def is_off(self) -> bool:
        """Whether Redis is away."""
        return not self._server.connected


def init_app(app: Flask) -> None:
    """Add the controls, and record what each request asks of Redis. The page itself is `home`."""
    interface = cast(RedisSessionInterface, app.session_interface)
    attach(interface.store.client)
    app.wsgi_app = record_requests(app.wsgi_app)  # type: ignore[method-assign]
    app.extensions["live_memory"] = Memory()
    server = app.extensions.get("embedded")
    switch = app.extensions["live_switch"] = Switch(server, interface.clock) if server else None
    app.jinja_env.globals.update(redis_switch=switch, asked=ASKED, off_for=OFF_FOR)
    if switch:
        app.before_request(switch.look)
    app.register_blueprint(blueprint)
    request_finished.connect(finish, app)


# What a request asked ---------------------------------------------------------------------------------------------


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
    home_url = f"{request.script_root}/"  # not url_for, which fails for a request with an impossible Host
    if request.method == "POST" and (response.location or "").partition("#")[0] == home_url:
        attributes = get_interface().get_cookie_attributes(app)
        name = app.extensions["live_memory"].put(look_back(response))
        response.set_cookie(get_cookie_name(), name, max_age=REMEMBERED_FOR, **attributes)
    elif response.mimetype == "text/html" and not response.is_streamed and (mark := ASKED.encode()) in response.data:
        before = app.extensions["live_memory"].take(request.cookies.get(get_cookie_name(), ""))
        seen = [*([before] if before else []), look_back(response)]
        response.data = response.data.replace(mark, render_template("asked.html", requests=seen).encode(), 1)


def look_back(response: Response) -> Seen:
    """Return this request, which is over."""
    recording = get_recording()
    commands = recording.commands if recording else []
    return Seen(
        f"{request.method} {request.path}",
        response.status_code,
        [(command, explain(command)) for command in commands[:MAX_COMMANDS]],
        max(0, len(commands) - MAX_COMMANDS),
        recording.trips if recording else 0,
        sum({command.trip: command.seconds for command in commands}.values()),
        name_cookie_effect(response),
    )


def name_cookie_effect(response: Response) -> str:
    """Return what a response does to the session cookie."""
    start = f"{get_interface().get_cookie_name(current_app)}="
    for header in response.headers.getlist("Set-Cookie"):
        if header.startswith(start):
            age = re.search(r"; Max-Age=(\d+)", header)
            if age is None:
                return "set, until the browser is closed"
            return f"set, with Max-Age={age[1]}" if age[1] != "0" else "deleted"
    return "left alone"


def get_cookie_name() -> str:
    """Return the name of the cookie that names what was asked: of this app alone, as the session's is."""
    return f"{get_interface().get_cookie_name(current_app)}_asked"


def get_interface() -> RedisSessionInterface:
    return cast(RedisSessionInterface, current_app.session_interface)


# The page ---------------------------------------------------------------------------------------------------------


def home() -> str:
    """Show the visitor's session from both sides, and what there is to try. Read it, and never make one."""
    mine = cast(RedisSession, session)
    shown: dict[str, Any] = {"user": auth.get_user(), "keys": KEYS, "max_value": MAX_VALUE}
    if mine.record:
        interface = get_interface()
        with paused():
            ttl = mine.ttl()
        name = interface.get_cookie_name(current_app)
        parts = take_apart(mine, request.cookies.getlist(name))
        shown |= {
            "name": name,
            "parts": parts,
            "attributes": show_attributes(interface),
            "lifetime": get_lifetime(mine),
            "cookie_left": get_cookie_left(mine),
            "permanent": mine.permanent,
            "key": (interface.store.key(""), *parts),
            "ttl": ttl,
            "json": show_json(mine.record),
            "size": len(mine.record),
            "present": [key for key in (*KEYS, CART) if key in mine],
            "show_span": show_span,
        }
    return render_template("live.html", **shown)


def show_json(record: bytes) -> str:
    """Return the JSON of a record for people; half a surrogate pair, which no page can hold, as JSON escapes it."""
    text = json.dumps(json.loads(record), indent=2, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()


def show_attributes(interface: RedisSessionInterface) -> str:
    """Return the attributes of the session cookie, as in its header."""
    attributes = interface.get_cookie_attributes(current_app)
    flags = [name for name, key in (("HttpOnly", "httponly"), ("Secure", "secure")) if attributes[key]]
    return "; ".join([*flags, f"Path={attributes['path']}", f"SameSite={attributes['samesite'] or 'not set'}"])


# The controls -----------------------------------------------------------------------------------------------------


@blueprint.post("/put")
def put() -> ResponseReturnValue:
    """Put ``value`` under ``key``. 400: that is no key for visitors, or the value is too long."""
    form = auth.read_form()
    if (key := form.get("key")) not in KEYS:
        abort(400, f"Of this session you can put {', '.join(KEYS)}.")
    session[key] = read_value()
    return back()


@blueprint.post("/delete")
def delete() -> ResponseReturnValue:
    """Delete ``key``, if it is there. 400: that is no key for visitors."""
    if (key := auth.read_form().get("key")) not in (*KEYS, CART):
        abort(400, f"Of this session you can delete {', '.join((*KEYS, CART))}.")
    session.pop(key, None)
    return back()


@blueprint.post("/append")
def append() -> ResponseReturnValue:
    """Append ``value`` to the list deep inside the session; a full list loses its first item. 400: it is too long."""
    value = read_value()
    cart = session.get(CART)
    if not isinstance(cart, dict) or not isinstance(cart.get("items"), list):
        cart = session[CART] = {"items": []}
    cart["items"].append(value)  # no session.modified: the store sees it
    del cart["items"][:-MAX_ITEMS]
    return back()


@blueprint.post("/new-sid")
def new_sid() -> ResponseReturnValue:
    """Give the session a new sid. Without a session nothing happens."""
    cast(RedisSession, session).regenerate()
    return back()


@blueprint.post("/read")
def read() -> ResponseReturnValue:
    """Read the session, and nothing else."""
    session.get("user_id")
    return back()


@blueprint.post("/nothing")
def nothing() -> ResponseReturnValue:
    """Do not touch the session."""
    return back()


@blueprint.post("/redis")
def switch_redis() -> ResponseReturnValue:
    """Switch the embedded Redis on or off, as ``state`` says. 404: it is another Redis. 400: another state."""
    if (switch := current_app.extensions["live_switch"]) is None:
        abort(404)
    if (state := auth.read_form().get("state")) not in ("on", "off"):
        abort(400, "Redis can be switched on and off.")
    switch.turn(state == "on")
    return back()


def read_value() -> str:
    """Return the field ``value``. 400: it is empty, or too long."""
    value = auth.read_form().get("value", "").strip()
    if not 0 < len(value) <= MAX_VALUE:
        abort(400, f"A value has 1 to {MAX_VALUE} characters.")
    return value


def back() -> Response:
    """Return to the home page, where it says what Redis was asked."""
    return cast(Response, redirect(url_for("home", _anchor="asked"), 303))
