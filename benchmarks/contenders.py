"""What is compared: one small app over each way to keep a session. `make_app` builds one; gunicorn calls it too.

Each has the same pages. Their names are the request types of the tables: ``/public`` never looks at the session,
``/read`` and ``/nested`` do, ``/begin`` is a visitor's first write, ``/write`` counts up, ``/login`` and ``/logout``
do what the contender's documentation tells an app to do then.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, request, session
from names import COOKIE, DJANGO, FLOOR, LIMIT, OURS, OURS_0, PEER, PEER_LAZY
from redis import Redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from redis_store import RedisSessionInterface, connect  # found by the line above

SECRET_KEY = "only-for-the-benchmarks-" * 2
SIZE = 500  # bytes of a session, unless a test is about the size


def content(size: int) -> dict[str, Any]:
    """Return a session of so many bytes of compact JSON, of many small items: texts, numbers, small dicts and lists."""

    def length(value: object) -> int:
        return len(json.dumps(value, separators=(",", ":")))

    def article(number: int) -> dict[str, Any]:
        sku = f"A-{number:05}"
        return {"sku": sku, "count": 1 + number % 3, "price": 12.5 + number % 7, "tags": ["tea", f"lot {number % 10}"]}

    filled: dict[str, Any] = {"visits": 0, "locale": "en-GB", "cart": [], "seen": {}, "note": ""}
    room, number = size - length(filled), 0
    while True:
        bought, seen = article(number), [number % 24, "a" if number % 2 else "b"]
        room -= length(bought) + length({bought["sku"]: seen})  # with a comma each, for the two braces
        if room < 0 and number:
            break
        filled["cart"].append(bought)
        filled["seen"][bought["sku"]] = seen
        number += 1
    filled["note"] = "x" * (size - length(filled))
    return filled


def _flask(regenerate: Callable[[Flask], object] = lambda app: None, **config: Any) -> Flask:
    """Make an app with the pages. `regenerate`: what its documentation asks for at a login."""
    app = Flask("benchmark")
    app.config.update(config)

    @app.get("/public")
    def public() -> str:
        return "public"

    @app.get("/read")
    def read() -> str:
        return str(session["visits"])

    @app.get("/nested")
    def nested() -> str:
        return str(len(session["cart"]))

    @app.get("/begin")
    def begin() -> str:
        session.update(content(request.args.get("size", SIZE, int)))
        return "begun"

    @app.get("/write")
    def write() -> str:
        session["visits"] += 1
        return "written"

    @app.get("/login")
    def login() -> str:
        visits = session["visits"]  # a visitor without a session is a failure, not a login
        regenerate(app)
        session["user_id"] = request.args["user"]
        return f"signed in after {visits}"

    @app.get("/logout")
    def logout() -> str:
        user = session["user_id"]  # the same
        session.clear()
        return f"signed out {user}"

    return app


def _limit(url: str) -> Flask:
    """Make the app whose view sends a GET by redis-py's own client, with nothing around it."""
    client: Any = Redis.from_url(url)
    app = _flask()
    key = f"bare:{48 * '0'}"  # as long as a session's
    client.set(key, json.dumps(content(SIZE), separators=(",", ":")))

    def read() -> str:
        return str(len(client.get(key)))

    app.view_functions["read"] = read
    return app


def _flask_session(url: str, **config: Any) -> Flask:
    """Make one with JSON by msgspec, its own choice. With its refresh off, it sends no SET and no cookie for a read."""
    from flask_session import Session

    def regenerate(app: Flask) -> None:
        app.session_interface.regenerate(session)  # type: ignore[attr-defined]

    app = _flask(regenerate, SECRET_KEY=SECRET_KEY, SESSION_TYPE="redis", SESSION_SERIALIZATION_FORMAT="json", **config)
    app.config["SESSION_REDIS"] = Redis.from_url(url)
    Session(app)
    return app


def _ours(url: str, **config: Any) -> Flask:
    app = _flask(SECRET_KEY=SECRET_KEY, **config)
    app.session_interface = RedisSessionInterface(connect(url), clock=lambda: time.time())  # which a part may move
    return app


def _django(url: str) -> Any:
    from django import setup
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    def begin(request: Any) -> None:
        request.session.update(content(int(request.GET.get("size", SIZE))))

    def write(request: Any) -> None:
        request.session["visits"] += 1

    def login(request: Any) -> None:  # as django.contrib.auth.login
        request.session["visits"]  # a visitor without a session is a failure
        request.session.cycle_key()
        request.session["user_id"] = request.GET["user"]

    views: dict[str, Callable[[Any], object]] = {
        "public": lambda request: "public",
        "read": lambda request: request.session["visits"],
        "nested": lambda request: len(request.session["cart"]),
        "begin": begin,
        "write": write,
        "login": login,
        "logout": lambda request: request.session.flush(),
    }

    def page(view: Callable[[Any], object]) -> Callable[[Any], Any]:
        return lambda request: HttpResponse(str(view(request)))

    settings.configure(
        SECRET_KEY=SECRET_KEY,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=tuple(path(name, page(view)) for name, view in views.items()),
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}},
    )
    setup()
    return get_wsgi_application()


CONTENDERS: dict[str, Callable[[str], Any]] = {
    FLOOR: lambda url: _flask(),  # no SECRET_KEY: Flask's NullSession
    LIMIT: _limit,
    COOKIE: lambda url: _flask(SECRET_KEY=SECRET_KEY),
    PEER: _flask_session,
    PEER_LAZY: lambda url: _flask_session(url, SESSION_REFRESH_EACH_REQUEST=False),
    DJANGO: _django,  # its settings are the process's: one URL for each
    OURS: _ours,
    OURS_0: lambda url: _ours(url, SESSION_REFRESH_AFTER=0),
}


def make_app(name: str, url: str) -> Any:
    """Return the WSGI app of a contender, on the Redis of `url`."""
    return CONTENDERS[name](url)
