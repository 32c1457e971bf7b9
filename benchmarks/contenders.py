"""What is compared: one small app over each way to keep a session. `make_app` builds one; gunicorn calls it too.

Each has the same pages. Their names are the request types of the tables: ``/public`` never looks at the session,
``/read`` and ``/nested`` do, ``/begin`` is a visitor's first write, ``/write`` counts up, ``/login`` and ``/logout``
do what the contender's documentation tells an app to do then.
"""

import json
import sys
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
    """A session of so many bytes of compact JSON: a number, texts, and a list of dicts."""

    def length(value: object) -> int:
        return len(json.dumps(value, separators=(",", ":")))

    def article(number: int) -> dict[str, Any]:
        return {"sku": f"A-{number:04}", "title": "Darjeeling, first flush", "count": 1, "price": 12.5}

    filled: dict[str, Any] = {"visits": 0, "locale": "en-GB", "cart": [article(0)], "note": ""}
    more = (size - length(filled)) // (length(article(0)) + 1)
    filled["cart"] = [article(number) for number in range(more + 1)]
    filled["note"] = "x" * (size - length(filled))
    return filled


def _flask(**config: Any) -> Flask:
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
        if regenerate := getattr(app.session_interface, "regenerate", None):  # Flask-Session: "call it at a login"
            regenerate(session)
        session["user_id"] = request.args["user"]
        return "signed in"

    @app.get("/logout")
    def logout() -> str:
        session.clear()
        return "signed out"

    return app


def _limit(url: str) -> Flask:
    app, client = _flask(), connect(url)
    key = f"bare:{48 * '0'}"  # as long as a session's
    client.set(key, json.dumps(content(SIZE), separators=(",", ":")))

    def read() -> str:
        return str(len(client.get(key)))

    app.view_functions["read"] = read
    return app


def _flask_session(url: str, **config: Any) -> Flask:
    from flask_session import Session

    app = _flask(SECRET_KEY=SECRET_KEY, SESSION_TYPE="redis", SESSION_SERIALIZATION_FORMAT="json", **config)
    app.config["SESSION_REDIS"] = Redis.from_url(url)
    Session(app)
    return app


def _ours(url: str, **config: Any) -> Flask:
    app = _flask(SECRET_KEY=SECRET_KEY, **config)
    app.session_interface = RedisSessionInterface(connect(url))
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
    """The WSGI app of a contender, on the Redis of `url`."""
    return CONTENDERS[name](url)
