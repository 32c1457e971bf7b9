"""Notifications: what happens on the server appears in the browser, by Server-Sent Events.

The path of one message::

    notify("ada", "Hello")       -> XADD to ada's stream, PUBLISH on a channel of the same name: a wake-up
    each process with her tabs  <-  the wake-up; XRANGE from the last message that it has read
    GET /events                 <-  id: 1764142082000-0, data: {"text": "Hello"}
    GET /events, once more       -> Last-Event-ID: 1764142082000-0
                                <-  what came since; before it a "gap" event, if something may be missing

Keys, and how long each lives at most::

    NOTIFICATIONS:SESSION:<owner>    604800 s   a stream of the last `LENGTH` messages: "message", and "after"

The stream is the truth. A wake-up only says "read", for pub/sub is at most once. ``after`` is the id of the message
before, by which a reader sees that some are missing in between.

notifications_stream.py says what of a stream a browser has to get, and is pure. notifications_hub.py is one process:
its browsers, and the one thread that reads Redis for all of them.

Settings::

    NOTIFICATIONS_MAX_CLIENTS   100   clients of one process; its server needs a thread for each, and some for pages
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import click
from flask import Blueprint, Flask, Response, abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

import auth
from redis_store import (
    RETRY_AFTER,
    WEEK,
    RedisSession,
    RedisSessionInterface,
    RedisStore,
    StoreUnavailable,
    skip_refresh,
)
from roles.notifications_hub import Client, Hub
from roles.notifications_stream import LENGTH, NOTHING, describe, dump, format_id, parse, parse_id

MAX_AGE = WEEK  # seconds, from the last message
MAX_CLIENTS_PER_OWNER = 20  # of one process: nobody takes all of its threads

# One step, so that no message is added in between.
_ADD = f"""
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local after = last and last[1] or '0-0'
local id = redis.call('XADD', KEYS[1], 'MAXLEN', {LENGTH}, '*', 'after', after, 'message', ARGV[1])
redis.call('EXPIRE', KEYS[1], {MAX_AGE})
redis.call('PUBLISH', KEYS[1], '')
return id
"""

blueprint = Blueprint("notifications", __name__, cli_group=None)


def init_app(app: Flask) -> None:
    """Add ``/events``, ``/notifications`` and ``flask notify``. ValueError: the setting is wrong."""
    limit = app.config.setdefault("NOTIFICATIONS_MAX_CLIENTS", 100)
    if type(limit) is not int or limit < 1:
        raise ValueError(f"NOTIFICATIONS_MAX_CLIENTS is {limit!r}; expected a whole number, 1 or more")
    app.extensions["notify"] = notify  # for other roles
    app.extensions["notifications"] = Hub(app)
    app.register_blueprint(blueprint)
    app.jinja_env.globals.setdefault("role_pages", {})["Notifications"] = "/notifications"  # type: ignore[index]


def notify(owner: str, message: Mapping[str, Any] | str) -> str:
    """Tell an owner something, on all pages that are open and those that connect later; return the message's id.

    `message` is an object for JSON; text stands for ``{"text": …}``. Needs an app context. TypeError: JSON has no
    such type. ValueError: it has more than `MAX_BYTES`, or JSON cannot hold it: NaN, half a surrogate pair, an object
    inside itself. StoreUnavailable: perhaps it was stored, and the answer was lost.
    """
    data, store = dump(message), get_store()
    if (id := store.sender.run("EVAL", _ADD, 1, store.key(owner), data)) is None:
        raise StoreUnavailable("EVAL failed: the key of a stream holds something else")
    return str(id.decode())


# The pages ------------------------------------------------------------------------------------------------------------


@blueprint.get("/events")
def events() -> Response:
    """Send the visitor's messages as they come. It does not keep the session alive: nobody asked for it.

    401: nobody is signed in. 429, 503: there are too many clients.
    """
    skip_refresh()
    hub = cast(Hub, current_app.extensions["notifications"])
    # Not flask.session, which would be kept alive. Without a SECRET_KEY there would be none, and no user.
    held = cast(RedisSession, hub.interface.open_session(current_app, request))
    if (user := auth.get_user(held)) is None:
        abort(401)
    key = get_store().key(user).encode()
    sock = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    mine = Client(key, hub.interface.store.key(held.sid), sock)
    with hub.lock:  # or requests that come at once would take the same last place
        clients = [client for client in hub.get_clients() if not client.has_hung_up()]
        if len(clients) >= current_app.config["NOTIFICATIONS_MAX_CLIENTS"]:
            raise ServiceUnavailable("Too many pages wait for notifications.", retry_after=RETRY_AFTER)
        if [client.key for client in clients].count(key) >= MAX_CLIENTS_PER_OWNER:
            raise TooManyRequests("Too many of your pages wait for notifications.", retry_after=RETRY_AFTER)
        if request.method != "HEAD":
            hub.clients.add(mine)
    last = parse_id(request.headers.get("Last-Event-ID") or request.args.get("after", ""))
    stream = () if request.method == "HEAD" else hub.serve(mine, last)
    response = Response(stream, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
    response.call_on_close(lambda: hub.leave(mine))  # also if nobody reads the stream
    return response


@blueprint.route("/notifications", methods=["GET", "POST"])
@auth.login_required
def page() -> ResponseReturnValue:
    """Show the last messages. POST ``message``: send one to oneself; 303, or 400 if it is too long."""
    user, store = cast(str, auth.get_user()), get_store()
    if request.method == "POST":
        try:
            notify(user, auth.read_form().get("message", ""))
        except ValueError as error:
            abort(400, str(error))
        return redirect(url_for(".page"), 303)
    messages = parse(store.sender.run("XRANGE", store.key(user), "-", "+", again=True))
    return render_template(
        "notifications.html",
        user=user,
        embedded="embedded" in current_app.extensions,  # no other process reaches its Redis
        messages=[describe(message) for message in reversed(messages)],
        last=format_id(messages[-1].id if messages else NOTHING),
    )


@blueprint.cli.command("notify")
@click.argument("owner")
@click.argument("message")
def notify_command(owner: str, message: str) -> None:
    """Send MESSAGE to OWNER, whose open pages show it."""
    if current_app.extensions.get("embedded"):
        raise click.ClickException("nobody would get it: this app's Redis is in its own process; set REDIS_URL")
    try:
        click.echo(notify(owner, message))
    except (StoreUnavailable, ValueError) as error:
        raise click.ClickException(str(error)) from None


def get_store() -> RedisStore:
    """Return the store of the streams. In a request it waits for Redis no longer than that may."""
    return cast(RedisSessionInterface, current_app.session_interface).namespace("NOTIFICATIONS")
