"""The app that exercises the pattern: its configuration, one Redis client, the pages, and rules for every request.

The only file that knows every other one; nothing imports it. ``flask run`` finds `create_app` by itself, and so does
``gunicorn 'app:create_app()'``.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import fakeredis
from flask import Flask, Response, abort, current_app, jsonify, render_template, request, session
from flask.logging import default_handler
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.security import generate_password_hash

import auth
import study.live
import study.pages
from redis_store import (
    MAKE_KEY,
    RETRY_AFTER,
    WEEK,
    RedisSession,
    RedisSessionInterface,
    SessionUnavailable,
    StoreUnavailable,
    connect,
    is_session_accessed,
    shorten,
    signals,
    skip_refresh,
)

MIN_KEY = 32  # bytes of a secret key: what its SHA-256 signatures are worth
DEMO_ACCOUNT = ("ada", "lovelace")  # only where the data is gone with the process

#: What else Redis is good for. Each is a file in roles/; to remove one, delete the file and its line.
ROLES = [
    "throttle",  # of sign-in attempts, by device, address and account
    "tokens",  # /api: access and refresh tokens, with ACCESS_TOKEN_KEY
    "oauth",  # /oauth: sign-in with an OpenID Connect provider, with OAUTH_ISSUER
    "notifications",  # /notifications: what happens on the server appears on open pages
    "metrics",  # /metrics, for Prometheus, with METRICS_TOKEN
    "cache",  # of JSON answers, as of /posts/trending
    "jobs",  # a queue of what a request need not wait for
    "mail",  # /mail: a page from which to send one
    "monitor",  # /monitor, how Redis is, for MONITOR_USERS
]

#: Endpoints, by exact name, that no browser calls with a cookie: the CSRF gate lets them pass.
CSRF_EXEMPT: frozenset[str] = frozenset()

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send "Origin: null" from our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
}


def create_app(
    config: Mapping[str, Any] | None = None, client: Any = None, *, clock: Callable[[], float] = time.time
) -> Flask:
    """Return the app, ready for any WSGI server. Redis need not be there yet.

    Settings come from, the later the stronger: the defaults of `configure`, ``FLASK_*`` in the environment (read as
    JSON), ``REDIS_URL`` and ``SECRET_KEY`` there (plain text), `config`. `client`: any redis-py client, instead of one
    for ``REDIS_URL``. Without either the app is embedded: its Redis is a fakeredis inside this process. `clock` tells
    sessions and roles the Unix time in seconds.

    ValueError: a setting is missing or wrong. The message says which and what was expected, and shows no secret.
    """
    app = Flask(__name__)
    configure(app, config or {})
    if client is None:
        client = embed_redis(app) if app.config["REDIS_URL"] is None else connect_redis(app.config["REDIS_URL"])
    app.session_interface = interface = RedisSessionInterface(client, clock=clock)
    interface.check(app)
    check_keys(app)
    app.register_blueprint(auth.blueprint)
    #: Below which paths programs ask, that want an error as JSON. A role that has such paths adds them.
    app.extensions["json_below"] = []
    for name in ROLES:
        importlib.import_module(f"roles.{name}").init_app(app)
    if app.config["STUDY"] is None:
        app.config["STUDY"] = "embedded" in app.extensions
    if app.config["STUDY"]:
        study.live.init_app(app)
        study.pages.init_app(app)
    if not app.config["ACCOUNTS"]:
        app.logger.warning("ACCOUNTS is empty: nobody can sign in with a password")

    logging.getLogger("redis_store").addHandler(default_handler)  # in the form of the app's own log lines
    app.before_request(refuse_cross_site)
    app.after_request(add_headers)
    app.register_error_handler(HTTPException, show_error)
    app.register_error_handler(StoreUnavailable, show_outage)
    app.jinja_env.globals["is_stranger"] = is_stranger
    app.add_url_rule("/", "home", study.live.home if app.config["STUDY"] else home)
    app.add_url_rule("/health/live", view_func=live)
    app.add_url_rule("/health/ready", view_func=ready)
    return app


# The start --------------------------------------------------------------------------------------------------------


def configure(app: Flask, config: Mapping[str, Any]) -> None:
    """Fill ``app.config``. ValueError: a setting that only this file uses is wrong."""
    app.config.from_mapping(
        REDIS_URL=None,
        ACCOUNTS={},  # user name -> password hash made by werkzeug.security.generate_password_hash
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=WEEK,
        MAX_CONTENT_LENGTH=16 * 1024,  # bytes; a form, or a small JSON object, is all that anyone has to send
        STUDY=None,  # whether `/` and `/study` show how sessions work; None: if the app is embedded
        PROXIES=0,  # how many are in front of the app; each adds an address to X-Forwarded-For
    )
    app.config.from_prefixed_env()
    for name in ("REDIS_URL", "SECRET_KEY"):
        for variable in (f"FLASK_{name}", name):
            if variable in os.environ:  # taken as it is: a key of digits only is no number
                app.config[name] = os.environ[variable]
    app.config.update(config)
    if type(limit := app.config["MAX_CONTENT_LENGTH"]) is not int or limit < 1:
        raise ValueError(f"MAX_CONTENT_LENGTH is {limit!r}; expected a whole number of bytes")
    if type(proxies := app.config["PROXIES"]) is not int or proxies < 0:
        raise ValueError(f"PROXIES is {proxies!r}; expected how many there are in front of the app")
    if not isinstance(studied := app.config["STUDY"], bool | None):
        raise ValueError(f"STUDY is {studied!r}; expected True, False or None")
    if proxies:  # or all visitors would share the proxy's address, and its limit of attempts to sign in
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=0)  # type: ignore[method-assign]


def embed_redis(app: Flask) -> Any:
    """Return a Redis inside this process. Make a secret and an account, if there are none: no setting is needed."""
    server = app.extensions["embedded"] = fakeredis.FakeServer()
    if app.secret_key is None:
        app.secret_key = secrets.token_hex(32)
    sign_in = ""
    if app.config["ACCOUNTS"] == {}:
        user, password = app.jinja_env.globals["demo_account"] = DEMO_ACCOUNT
        app.config["ACCOUNTS"] = {user: generate_password_hash(password)}
        sign_in = f" Sign in as {user} with the password {password}."
    if not app.testing:
        print(f" * No REDIS_URL: sessions live, and end, with this process.{sign_in}", file=sys.stderr)
        if os.environ.get("FLASK_RUN_FROM_CLI") != "true":
            app.logger.warning(
                "No REDIS_URL, and not Flask's own server: several workers would not share sessions, and whoever can "
                "reach the demo account can use it"
            )
    return fakeredis.FakeRedis(server=server)


def connect_redis(url: str) -> Any:
    """Return a client for ``REDIS_URL``, not connected yet. ValueError: the URL is wrong."""
    try:
        return connect(url)
    except ValueError as error:
        raise ValueError(f"REDIS_URL (not shown: it may hold a password) is wrong: {error}") from None


def check_keys(app: Flask) -> None:
    """Check that SECRET_KEY, and each fallback, is long enough. ValueError: one is not, or there is no SECRET_KEY."""
    if app.secret_key is None:
        raise ValueError(f"SECRET_KEY is missing; put one into the environment, made by: {MAKE_KEY}")
    fallbacks = app.config["SECRET_KEY_FALLBACKS"] or ()
    for name, key in [("SECRET_KEY", app.secret_key), *(("SECRET_KEY_FALLBACKS", key) for key in fallbacks)]:
        raw = key.encode() if isinstance(key, str) else key
        if not isinstance(raw, bytes) or len(raw) < MIN_KEY:
            raise ValueError(f"{name} (not shown) is too short; expected at least {MIN_KEY} bytes, as of: {MAKE_KEY}")


# Every request ----------------------------------------------------------------------------------------------------


def refuse_cross_site() -> None:
    """Answer 403 when a page of another site made the browser send this request (CSRF). It needs no token, and so no
    session.

    Browsers tell where a request comes from in two headers that no page can set. A client that sends neither, as
    curl, passes as long as it has no cookie that could be abused.
    """
    if request.method in ("GET", "HEAD", "OPTIONS", "TRACE") or request.endpoint in CSRF_EXEMPT:
        return
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    # The whole origin: what is on another port of this host, or came over plain http, may be somebody else's page.
    # Not request.host_url: that decodes an international host name, and browsers do not.
    if origin is not None and origin.lower() != f"{request.scheme}://{request.host}".lower():
        allowed = False
    elif site is not None:
        allowed = site in ("same-origin", "none")
    else:
        allowed = origin is not None or "Cookie" not in request.headers
    if not allowed:
        abort(403, "This form does not seem to come from a page of this site. Send it from the page here.")


def add_headers(response: Response) -> Response:
    """Tell the browser to be strict, and to keep no copy of a page, which may show a session, unless the page does."""
    response.headers.update(SECURITY_HEADERS)
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def is_stranger() -> bool:
    """Return whether a page is for nobody who is signed in. Redis is not asked for it.

    So a visitor with a session cookie may be signed in, unless the view has looked.
    """
    name = cast(RedisSessionInterface, current_app.session_interface).get_cookie_name(current_app)
    return name not in request.cookies or (is_session_accessed() and auth.get_user() is None)


def show_error(error: HTTPException) -> Response:
    """Return the page for any error, or its JSON. Neither looks at the session, which may be what failed."""
    response = cast(Response, error.get_response())  # with the error's own headers: Retry-After, Allow
    if request.path.startswith(tuple(current_app.extensions["json_below"])):
        response.content_type, response.data = "application/json", jsonify(error=error.description).data
    else:
        response.data = render_template("error.html", error=error, is_outage=isinstance(error, SessionUnavailable))
    return response


def show_outage(error: StoreUnavailable) -> Response:
    """Return the page for a 503 when a role cannot reach Redis; log and tell why. The session does so by itself."""
    if not isinstance(error, SessionUnavailable):
        current_app.logger.warning("%s", error)
        signals.tell(signals.unavailable, "view")
    response = show_error(SessionUnavailable())
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


# The pages --------------------------------------------------------------------------------------------------------


def home() -> str:
    """Show the visitor's session from both sides: the cookie and the record. Read it, and never make one."""
    mine = cast(RedisSession, session)
    if not mine.record:
        return render_template("home.html", user=None, cookie=None)
    interface = cast(RedisSessionInterface, current_app.session_interface)
    short = shorten(mine.sid)  # with all of it in the page, HttpOnly would be worth nothing
    name, ttl = interface.get_cookie_name(current_app), mine.ttl()
    cookie = {"Name": name, "Session id": short}
    if mine.signed_at:
        cookie["Signed"] = f"{datetime.fromtimestamp(mine.signed_at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    cookie["Max-Age"] = f"{mine.settings.max_age} s" if mine.permanent else "none: ends with the browser"
    cookie["HttpOnly"] = "yes" if interface.get_cookie_httponly(current_app) else "no"
    cookie["Secure"] = "yes" if interface.get_cookie_secure(current_app) else "no"
    cookie["SameSite"] = interface.get_cookie_samesite(current_app) or "not set"
    record = {"Key": interface.store.key(short), "TTL": "none" if ttl is None else f"{ttl} s"}
    text = json.dumps(json.loads(mine.record), indent=2)
    return render_template(
        "home.html", user=auth.get_user(), cookie=cookie, record=record, json=text, permanent=mine.permanent
    )


def live() -> Response:
    """Answer 200 while this process works. Redis is not asked: a restart of the app would not bring it back."""
    skip_refresh()
    return Response("ok", mimetype="text/plain")


def ready() -> ResponseReturnValue:
    """Answer 200 if Redis does, so that pages that need a session work; else 503 with Retry-After."""
    interface = cast(RedisSessionInterface, current_app.session_interface)
    try:
        interface.store.read("")  # as a page does: a PING is refused when writes are, and redis-py's fails on a Cluster
    except StoreUnavailable:
        return {"redis": "unavailable"}, 503, {"Retry-After": str(RETRY_AFTER)}
    return {"redis": "ok"}


if __name__ == "__main__":
    raise SystemExit("Start the app with: flask run")
