"""The home page as a place to study: the visitor's own session from both sides, and what requests ask of Redis.

The path of one use::

    POST /live/append         the session is changed: GET, compare-and-set
                              303 to /, with a cookie that names what was asked, in the memory of this process
    GET /                     GET; shown: cookie, record, what both requests asked of Redis

    POST /live/redis          embedded only: Redis is switched off. A page that needs it is a 503, with a button that
                              switches it on again; and after OFF_FOR seconds it comes back by itself

What the page asks out of curiosity, the TTL, is not recorded. The controls write keys of their own only: nobody
becomes somebody else by them. study/asked.py remembers what was asked.

Redis keys: none. Setting: STUDY.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from flask import Blueprint, Flask, Response, abort, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

import auth
from redis_store import RedisSession, RedisSessionInterface
from study import asked
from study.anatomy import get_cookie_left, get_lifetime, show_span, take_apart
from study.asked import get_interface
from study.book import SCENARIOS
from study.recording import attach, paused

KEYS = ("city", "colour", "note")  # that visitors put into their session; the app has other ones
CART = "cart"  # a key with a list deep inside: {"cart": {"items": [...]}}
MAX_VALUE = 100  # characters
MAX_ITEMS = 10  # in the list
OFF_FOR = 60  # seconds

blueprint = Blueprint("live", __name__, url_prefix="/live")


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
    asked.init_app(app)
    server = app.extensions.get("embedded")
    switch = app.extensions["live_switch"] = Switch(server, interface.clock) if server else None
    app.jinja_env.globals.update(redis_switch=switch, off_for=OFF_FOR)
    if switch:
        app.before_request(switch.look)
    app.register_blueprint(blueprint)


# The page ---------------------------------------------------------------------------------------------------------


def home() -> str:
    """Show the visitor's session from both sides, and what there is to try. Read it, and never make one."""
    mine = cast(RedisSession, session)
    shown: dict[str, Any] = {"user": auth.get_user(), "keys": KEYS, "max_value": MAX_VALUE, "stories": SCENARIOS}
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
            "refresh_after": mine.settings.refresh_after if mine.settings.refreshes else None,
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
