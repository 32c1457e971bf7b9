"""Promise 11, with koa itself: a Flask app and a koa-session2 app share their sessions through one Redis.

    python conformance/koa.py

Starts a redis-server, the koa app of the folder koa/ (once with sids of 48 hexadecimal digits, once with uuids) and a
Flask app, all for itself alone; then a browser visits both. Needs node 18.19 or newer, npm, which brings koa,
koa-session2 2.2.10 and a Redis client into a temporary folder, and redis-server.

Exit status: 0, the promise is kept; 1, it is not; 2, that could not be found out.
"""

import datetime
import json
import logging
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from flask import Flask, request, session
from redis import Redis
from servers import end_well, give_up, private_redis, program, running
from werkzeug.serving import make_server

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from redis_store import RedisSessionInterface, connect  # noqa: E402  # found by the line above

INSTALLATION = 300  # seconds for npm
START = 30  # seconds for node to start
ANSWER = 20  # seconds for one response
COOKIE = "ssw"
KOA_MAX_AGE, FLASK_MAX_AGE = 600, 1200  # seconds; two numbers, to see whose a TTL is
OUR_SIDS = r"[0-9a-f]{8}-[0-9a-f]{40}"
SIDS = {"hex": r"[0-9a-f]{48}", "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"}

VALUES = {
    "nested": {"list": [1, [2, {"three": 3}], []], "empty": {}, "null": None},
    "text": 'Grüße, 你好, "quotes", \\, \u2028, \x00 and a lone \ud83d',
    "emoji": "🦊👩‍👩‍👧",
    "ключ": "a key that is not ASCII",
    "numbers": [0, -7, 2**53 - 1, 0.1, -2.5, 1e-07, 1.5e300, 5e-324],
    "booleans": [True, False],
}
PLAIN = VALUES | {"text": 'Grüße, 你好, "quotes", \\, /, \t, \x7f and \x00', "numbers": [0, -7, 2**53 - 1, 0.1, -2.5]}
FLASK_TYPES: dict[str, Any] = {
    "tuple": (1, 2),
    "bytes": b"\x00\xff",
    "uuid": uuid.UUID(int=1),
    "time": datetime.datetime(2024, 2, 29, 12, 0, tzinfo=datetime.UTC),
}
WRITERS, WRITES = 4, 25  # threads that write to Flask at the same time, and how often each of them does


class Broken(Exception):
    """What a check found. The message says what was expected."""


def same(what: str, found: object, expected: object) -> None:
    """Broken unless both are the same as JSON: 1, 1.0 and True are three things."""
    found, expected = (json.dumps(value, sort_keys=True) for value in (found, expected))
    if found != expected:
        raise Broken(f"{what}: expected {expected}, found {found}")


def holds(what: str, condition: object) -> None:
    """Broken unless the condition is true."""
    if not condition:
        raise Broken(f"{what}: no")


class FlaskApp:
    """The same three routes as in app.js, and two for what koa has not."""

    def __init__(self, client: Redis) -> None:
        self.meanwhile: Callable[[], object] | None = None  #: what happens while the next PATCH is under way
        self.app = app = Flask(__name__)
        app.config.update(
            SESSION_USE_SIGNER=False, SESSION_COOKIE_NAME=COOKIE, PERMANENT_SESSION_LIFETIME=FLASK_MAX_AGE
        )
        app.session_interface = RedisSessionInterface(client)
        app.add_url_rule("/", view_func=lambda: dict(session), endpoint="read")
        app.add_url_rule("/", view_func=self.patch, methods=["PATCH"], defaults={"path": ""})
        app.add_url_rule("/<path:path>", view_func=self.patch, methods=["PATCH"])
        app.add_url_rule("/", view_func=self.log_out, methods=["DELETE"])
        app.add_url_rule("/types", view_func=self.write_types, methods=["PUT"])
        app.add_url_rule("/types", view_func=lambda: {"intact": session.get("types") == FLASK_TYPES}, endpoint="types")

    def patch(self, path: str) -> dict[str, Any]:
        target: Any = session
        for name in filter(None, path.split("/")):
            target = target[name]
        for key, value in request.get_json().items():
            if value is None:
                target.pop(key, None)
            else:
                target[key] = value
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return dict(session)

    def log_out(self) -> dict[str, Any]:
        session.clear()
        return {}

    def write_types(self) -> dict[str, Any]:
        session["types"] = FLASK_TYPES
        return {}


class Browser:
    """One visitor with one cookie jar, and what a check may look at."""

    def __init__(self, urls: dict[str, str], form: str, flask_app: FlaskApp, client: Redis) -> None:
        self.urls = urls
        self.form = form  #: a regular expression: what koa's sids look like
        self.flask_app = flask_app
        self.redis = client
        self.jar = CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )
        self.set_cookie: list[str] = []  #: the Set-Cookie headers of the last response

    def send(self, app: str, method: str, changes: object = None, path: str = "/", sid: str | None = None) -> Any:
        """The JSON that the app answers. `sid`: a cookie to send instead of the jar's."""
        body = None if changes is None else json.dumps(changes).encode()
        headers = {"Content-Type": "application/json"} | ({"Cookie": f"{COOKIE}={sid}"} if sid else {})
        message = urllib.request.Request(self.urls[app] + path, body, headers, method=method)  # loopback
        try:
            with self.opener.open(message, timeout=ANSWER) as response:
                self.set_cookie = response.headers.get_all("Set-Cookie") or []
                return json.load(response)
        except (urllib.error.URLError, TimeoutError) as error:
            raise Broken(f"{app} {method} {path}: {error}") from error

    def koa(self, method: str, changes: object = None, **options: str) -> Any:
        return self.send("koa", method, changes, **options)

    def flask(self, method: str, changes: object = None, **options: str) -> Any:
        return self.send("flask", method, changes, **options)

    @property
    def sid(self) -> str:
        """What the cookie says; empty without one."""
        values = [cookie.value or "" for cookie in self.jar]
        if len(values) > 1:
            raise Broken("the two apps set two cookies, not one")
        return "".join(values)

    def record(self, sid: str) -> str | None:
        record = self.redis.get(f"SESSION:{sid}")
        return record.decode() if isinstance(record, bytes) else None

    def expect_ttl(self, what: str, seconds: int) -> None:
        left = int(str(self.redis.ttl(f"SESSION:{self.sid}")))
        if not seconds - ANSWER <= left <= seconds:
            raise Broken(f"TTL after {what}: expected about {seconds} seconds, found {left}")


CHECKS: list[Callable[[Browser], None]] = []


def check(function: Callable[[Browser], None]) -> Callable[[Browser], None]:
    """Its docstring is the claim."""
    CHECKS.append(function)
    return function


@check
def sid_form(browser: Browser) -> None:
    """koa's sids have the form that these lines are about, and Flask takes them"""
    browser.koa("PATCH", {"by": "koa"})
    holds(f"{browser.form} is the form of the sid", re.fullmatch(browser.form, browser.sid))
    same("Flask reads", browser.flask("GET"), {"by": "koa"})


@check
def from_koa(browser: Browser) -> None:
    """A session that koa began: Flask reads and changes it, koa sees the change, the sid stays"""
    browser.koa("PATCH", {"by": "koa", "gone": 1})
    sid = browser.sid
    same("Flask reads", browser.flask("GET"), {"by": "koa", "gone": 1})
    browser.flask("PATCH", {"flask": 1, "gone": None})
    same("koa reads", browser.koa("GET"), {"by": "koa", "flask": 1})
    browser.koa("PATCH", {"koa": 2})
    same("Flask reads again", browser.flask("GET"), {"by": "koa", "flask": 1, "koa": 2})
    same("the sid", browser.sid, sid)


@check
def from_flask(browser: Browser) -> None:
    """A session that Flask began: koa reads and changes it, Flask sees the change, the sid stays"""
    browser.flask("PATCH", {"by": "Flask", "gone": 1})
    sid = browser.sid
    holds("the sid has Flask's form", re.fullmatch(OUR_SIDS, sid))
    same("koa reads", browser.koa("GET"), {"by": "Flask", "gone": 1})
    browser.koa("PATCH", {"koa": 1, "gone": None})
    same("Flask reads", browser.flask("GET"), {"by": "Flask", "koa": 1})
    browser.flask("PATCH", {"flask": 2})
    same("koa reads again", browser.koa("GET"), {"by": "Flask", "koa": 1, "flask": 2})
    same("the sid", browser.sid, sid)


@check
def values_from_koa(browser: Browser) -> None:
    """Nested values, text of any language, emoji, floats and booleans of koa survive Flask's writes"""
    browser.koa("PATCH", VALUES)
    same("Flask reads", browser.flask("GET"), VALUES)
    browser.flask("PATCH", {"other": 1})
    same("koa reads", browser.koa("GET"), VALUES | {"other": 1})


@check
def values_from_flask(browser: Browser) -> None:
    """Nested values, text of any language, emoji, floats and booleans of Flask survive koa's writes"""
    browser.flask("PATCH", VALUES)
    same("koa reads", browser.koa("GET"), VALUES)
    browser.koa("PATCH", {"other": 1})
    same("Flask reads", browser.flask("GET"), VALUES | {"other": 1})


@check
def bytes_of_the_record(browser: Browser) -> None:
    """Flask writes what koa writes, byte by byte"""
    browser.koa("PATCH", PLAIN)
    record = browser.record(browser.sid)
    browser.flask("PATCH", {"other": 1})
    browser.flask("PATCH", {"other": None})
    same("Flask's record", browser.record(browser.sid), record)


@check
def no_key_of_ours(browser: Browser) -> None:
    """What Flask knows about a session, as since when its owner is signed in, is in no record"""
    browser.flask_app.app.config["SESSION_ABSOLUTE_LIFETIME"] = 10 * FLASK_MAX_AGE
    try:
        browser.flask("PATCH", {"cart": ["tea"]})
        same("the record", browser.record(browser.sid), '{"cart":["tea"]}')
        browser.flask("PATCH", {"user_id": 1})
        same("the record", browser.record(browser.sid), '{"cart":["tea"],"user_id":1}')
        same("koa reads", browser.koa("GET"), {"cart": ["tea"], "user_id": 1})
    finally:
        browser.flask_app.app.config["SESSION_ABSOLUTE_LIFETIME"] = None


@check
def nested_changes(browser: Browser) -> None:
    """A change inside a nested value is saved by either and seen by the other"""
    browser.koa("PATCH", {"cart": {"items": {"tea": 1}}})
    browser.flask("PATCH", {"milk": 2}, path="/cart/items")
    same("koa reads", browser.koa("GET"), {"cart": {"items": {"tea": 1, "milk": 2}}})
    browser.koa("PATCH", {"tea": None, "rice": 3}, path="/cart/items")
    same("Flask reads", browser.flask("GET"), {"cart": {"items": {"milk": 2, "rice": 3}}})


@check
def flask_types(browser: Browser) -> None:
    """Flask's own types (tuple, bytes, UUID, datetime) survive koa's writes of other keys"""
    browser.flask("PUT", {}, path="/types")
    browser.koa("PATCH", {"koa": 1})
    same("Flask reads", browser.flask("GET", path="/types"), {"intact": True})


@check
def ttl(browser: Browser) -> None:
    """The TTL is that of whoever wrote last; Flask's refresh sets it and the cookie together"""
    browser.koa("PATCH", {"n": 1})
    browser.expect_ttl("koa's write", KOA_MAX_AGE)
    for method, changes in (("GET", None), ("PATCH", {"n": 2}), ("PATCH", {"n": 2})):
        browser.redis.expire(f"SESSION:{browser.sid}", 100)
        browser.flask(method, changes)
        browser.expect_ttl(f"Flask's {method}", FLASK_MAX_AGE)
        same("cookies sent", [f"Max-Age={FLASK_MAX_AGE}" in cookie for cookie in browser.set_cookie], [True])
    browser.koa("PATCH", {"n": 3})
    browser.expect_ttl("koa's next write", KOA_MAX_AGE)


@check
def reading(browser: Browser) -> None:
    """Reading, or writing what is there already, rewrites nothing; without refreshes the TTL stays too"""
    browser.koa("PATCH", VALUES)
    record = browser.record(browser.sid)
    browser.flask("GET")
    browser.flask("PATCH", {"text": VALUES["text"]})
    same("koa's record", browser.record(browser.sid), record)
    browser.redis.expire(f"SESSION:{browser.sid}", 100)
    browser.flask_app.app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    try:
        browser.flask("GET")
    finally:
        browser.flask_app.app.config["SESSION_REFRESH_EACH_REQUEST"] = True
    browser.expect_ttl("a read", 100)
    same("cookies sent", browser.set_cookie, [])


@check
def logout_in_flask(browser: Browser) -> None:
    """Logout in Flask ends the session in koa, also for who kept the cookie"""
    browser.koa("PATCH", {"name": "ada"})
    sid = browser.sid
    browser.flask("DELETE")
    same("the cookie", browser.sid, "")
    same("the record", browser.record(sid), None)
    same("koa reads", browser.koa("GET", sid=sid), {})


@check
def logout_in_koa(browser: Browser) -> None:
    """Logout in koa ends the session in Flask, also for who kept the cookie"""
    browser.flask("PATCH", {"name": "ada"})
    sid = browser.sid
    browser.koa("DELETE")
    same("the cookie", browser.sid, "")
    same("the record", browser.record(sid), None)
    same("Flask reads", browser.flask("GET", sid=sid), {})
    same("cookies sent", browser.set_cookie, [])


@check
def login_in_flask(browser: Browser) -> None:
    """A login in Flask moves koa's session to a new sid; koa follows, and the old sid is dead in both"""
    browser.koa("PATCH", {"cart": ["tea"]})
    old = browser.sid
    browser.flask("PATCH", {"user_id": 1})
    holds("the sid is a new one", browser.sid not in ("", old))
    same("koa reads", browser.koa("GET"), {"cart": ["tea"], "user_id": 1})
    same("the old record", browser.record(old), None)
    same("koa reads the old sid", browser.koa("GET", sid=old), {})


@check
def login_in_koa(browser: Browser) -> None:
    """A login in koa, which keeps its sid, is one in Flask; Flask's writes keep that sid too"""
    browser.flask("PATCH", {"cart": ["tea"]})
    sid = browser.sid
    browser.koa("PATCH", {"user_id": 1})
    same("Flask reads", browser.flask("GET"), {"cart": ["tea"], "user_id": 1})
    browser.flask("PATCH", {"cart": []})
    same("koa reads", browser.koa("GET"), {"cart": [], "user_id": 1})
    same("the sid", browser.sid, sid)


@check
def unknown_sid(browser: Browser) -> None:
    """Flask never adopts a sid that is not in Redis, of either form; its session of its own is koa's too"""
    for sid in ("0123456789abcdef" * 3, str(uuid.UUID(int=2**127 + 3))):
        browser.jar.clear()
        same("Flask reads", browser.flask("GET", sid=sid), {})
        browser.flask("PATCH", {"by": "Flask"}, sid=sid)
        holds("the sid is a new one", browser.sid not in ("", sid))
        same("a record of the unknown sid", browser.record(sid), None)
        same("koa reads", browser.koa("GET"), {"by": "Flask"})


@check
def junk(browser: Browser) -> None:
    """The record `null` that koa writes for a logout without a session is no session to Flask, and no error"""
    browser.koa("DELETE")
    sid = browser.sid
    same("koa's record", browser.record(sid), "null")
    same("Flask reads", browser.flask("GET"), {})
    browser.flask("PATCH", {"by": "Flask"})
    holds("the sid is a new one", browser.sid not in ("", sid))
    same("koa reads", browser.koa("GET"), {"by": "Flask"})


@check
def koa_writes_meanwhile(browser: Browser) -> None:
    """Flask loads, koa writes, Flask saves: both changes are there, nested ones and removals too"""
    browser.koa("PATCH", {"old": 1, "cart": {"tea": 1}})
    sid = browser.sid

    def meanwhile() -> None:
        browser.koa("PATCH", {"koa": 1, "old": None})
        browser.koa("PATCH", {"rice": 3}, path="/cart")

    browser.flask_app.meanwhile = meanwhile
    browser.flask("PATCH", {"milk": 2}, path="/cart")
    expected = {"koa": 1, "cart": {"tea": 1, "milk": 2, "rice": 3}}
    same("koa reads", browser.koa("GET"), expected)
    same("Flask reads", browser.flask("GET"), expected)
    same("the sid", browser.sid, sid)


@check
def both_write(browser: Browser) -> None:
    """While Flask writes in four threads, nothing that koa writes is lost (koa itself may lose what Flask does)"""
    browser.koa("PATCH", {"koa": {}})

    def write(number: int) -> None:
        for count in range(WRITES):
            browser.flask("PATCH", {f"flask{number}": count})

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, number) for number in range(WRITERS)]
        names = [str(count) for count in range(2 * WRITES)]
        for name in names:
            browser.koa("PATCH", {name: name}, path="/koa")
        for writer in writers:
            writer.result()
    same("koa's keys", browser.flask("GET")["koa"], {name: name for name in names})


@check
def koa_writes_during_login(browser: Browser) -> None:
    """Flask loads, koa writes, Flask logs somebody in: koa's change moves along to the new sid"""
    browser.koa("PATCH", {"cart": ["tea"]})
    old = browser.sid
    browser.flask_app.meanwhile = lambda: browser.koa("PATCH", {"cart": ["tea", "rice"]})
    browser.flask("PATCH", {"user_id": 1})
    holds("the sid is a new one", browser.sid not in ("", old))
    same("koa reads", browser.koa("GET"), {"cart": ["tea", "rice"], "user_id": 1})
    same("the old record", browser.record(old), None)


@check
def koa_logs_out_meanwhile(browser: Browser) -> None:
    """Flask loads, koa logs out, Flask saves: the session stays ended, and Flask sends no cookie"""
    browser.koa("PATCH", {"name": "ada"})
    sid = browser.sid
    browser.flask_app.meanwhile = lambda: browser.koa("DELETE")
    browser.flask("PATCH", {"late": 1})
    same("cookies sent by Flask", browser.set_cookie, [])
    same("the cookie", browser.sid, "")
    same("the record", browser.record(sid), None)


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """The URL of the app, served by a thread for each request on a free port of this machine alone."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(ANSWER)
        server.server_close()


@contextmanager
def koa_app(folder: Path, socket: Path, sids: str) -> Iterator[str]:
    """The URL of app.js, run in `folder`. It ends with us even if we are killed: its standard input does."""
    options = {"socket": str(socket), "cookie": COOKIE, "maxAge": KOA_MAX_AGE, "sids": sids}
    command = [program("node"), "app.js", json.dumps(options)]
    pipe = subprocess.PIPE
    with running(command, cwd=folder, stdin=pipe, stdout=pipe, stderr=None) as process:
        assert process.stdout is not None  # for mypy: it is a pipe
        ready, _, _ = select.select([process.stdout], [], [], START)
        port = process.stdout.readline().strip() if ready else ""
        if not port.isdecimal():
            give_up(f"koa did not start in {START} seconds: {port or 'node says above why, if it knows'}")
        yield f"http://127.0.0.1:{port}"


def install(folder: Path) -> None:
    """app.js with its packages in `folder`."""
    shutil.copytree(HERE / "koa", folder)
    npm = [program("npm"), "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--omit=peer"]
    try:
        subprocess.run(npm, cwd=folder, check=True, capture_output=True, text=True, timeout=INSTALLATION)
    except subprocess.TimeoutExpired:
        give_up(f"npm install did not end in {INSTALLATION} seconds")
    except subprocess.CalledProcessError as error:
        give_up(f"npm install failed:\n{error.stdout}{error.stderr}")


def main() -> int:
    """Start the apps, print one line a check, end the apps; the exit status."""
    for name in ("node", "npm", "redis-server"):
        program(name)
    end_well()
    logging.disable(logging.WARNING)  # what Flask and redis_store.py have to say about the requests below
    failures = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="koa-")))
        install(folder / "koa")
        socket = stack.enter_context(private_redis(folder))
        client = stack.enter_context(connect(f"unix://{socket}", socket_timeout=ANSWER))
        for sids, form in SIDS.items():
            flask_app = FlaskApp(client)
            with koa_app(folder / "koa", socket, sids) as koa, serving(flask_app.app) as flask:
                for function in CHECKS:
                    flask_app.meanwhile = None
                    try:
                        function(Browser({"koa": koa, "flask": flask}, form, flask_app, client))
                    except Exception as error:
                        failures += 1
                        reason = error if isinstance(error, Broken) else repr(error)
                        print(f"FAIL {sids:<5}{function.__doc__}\n     {reason}", flush=True)
                    else:
                        print(f"ok   {sids:<5}{function.__doc__}", flush=True)
    print(f"{failures} checks failed." if failures else "Flask and koa share their sessions.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
