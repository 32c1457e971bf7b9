"""The app: how it starts, what its pages show, who gets in, and what becomes of it while Redis is away."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import fakeredis
import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from support.apps import SECRET_KEY, set_cookie
from support.demo import (
    CONFIG,
    HASH,
    NO_REDIS,
    OURS,
    commands,
    end,
    end_others,
    key_of,
    sid_of,
    sign_in,
    sign_out,
    status,
)
from support.project import ROOT
from support.servers import PATIENCE, find_redis_server
from support.tiers import rounds
from werkzeug.security import check_password_hash, generate_password_hash

import app as app_module
from app import ROLES, create_app
from auth import MAX_INPUT, name_browser
from redis_store import connect

TRIES = rounds(1, 3)  # of which the shortest counts


@pytest.fixture
def app(least: Any) -> Flask:
    """The app itself, on both backends."""
    return create_app({**CONFIG, "SESSION_MAX_WAIT": PATIENCE}, least)


@pytest.fixture
def web(app: Flask) -> FlaskClient:
    """A browser without a cookie."""
    return app.test_client()


# The start --------------------------------------------------------------------------------------------------------


def test_the_embedded_app_needs_no_setting_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a Redis it brings its own, a secret and a demo account, which the sign-in page shows."""
    web = create_app().test_client()
    assert "<code>lovelace</code>" in web.get("/login").text
    assert sign_in(web, "ada", "lovelace").status_code == 303
    assert "<strong>ada</strong>" in web.get("/").text
    [line] = capsys.readouterr().err.splitlines()
    assert "No REDIS_URL" in line


def test_each_embedded_app_has_a_secret_of_its_own() -> None:
    """A cookie of one process means nothing to another."""
    keys = {create_app({"TESTING": True, "ACCOUNTS": {"ada": HASH}}).secret_key for _ in range(3)}
    assert len(keys) == 3
    assert all(isinstance(key, str) and len(key) == 64 for key in keys)


def test_own_accounts_replace_the_demo_account() -> None:
    """The password that everybody knows opens nothing once there are accounts."""
    web = create_app({"TESTING": True, "ACCOUNTS": {"grace": HASH}}).test_client()
    assert "demonstration" not in web.get("/login").text
    assert sign_in(web, "ada").status_code == 401
    assert sign_in(web, "grace").status_code == 303


@pytest.mark.parametrize(("run_by_flask", "warnings"), [("true", 0), ("", 1)])
def test_the_embedded_app_warns_of_other_servers(
    run_by_flask: str, warnings: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Several workers of a WSGI server would each have their own sessions; ``flask run`` has one process."""
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", run_by_flask)
    create_app({"ACCOUNTS": {"ada": HASH}})
    assert len([line for line in caplog.messages if "several workers" in line]) == warnings


def test_a_real_redis_needs_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one the start is refused, with the command that makes one."""
    monkeypatch.setenv("REDIS_URL", NO_REDIS)
    with pytest.raises(ValueError, match=r"SECRET_KEY is missing.*python3 -c '.*secrets.token_hex\(32\)"):
        create_app()


def test_a_given_client_needs_a_secret(client: Any) -> None:
    """A random secret would be another one in each worker."""
    with pytest.raises(ValueError, match="SECRET_KEY is missing"):
        create_app({"TESTING": True}, client)


def test_a_real_redis_has_no_demo_account(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Without accounts nobody gets in, and the log says so."""
    web = create_app({"TESTING": True, "SECRET_KEY": SECRET_KEY}, client).test_client()
    assert sign_in(web).status_code == 401
    assert "demonstration" not in web.get("/login").text
    assert [line for line in caplog.messages if "ACCOUNTS is empty" in line]


@pytest.mark.parametrize("variable", ["SECRET_KEY", "FLASK_SECRET_KEY"])
def test_a_secret_of_digits_is_a_secret(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flask reads its environment as JSON, in which this would be a number."""
    monkeypatch.setenv("FLASK_REDIS_URL", NO_REDIS)
    monkeypatch.setenv(variable, "1" * 32)
    assert create_app().secret_key == "1" * 32


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("SECRET_KEY", {"SECRET_KEY": "hunter2" * 4}),
        ("SECRET_KEY", {"SECRET_KEY": b"hunter2" * 4}),
        ("SECRET_KEY", {"SECRET_KEY": ""}),
        ("SECRET_KEY", {"SECRET_KEY": 10**40}),
        ("SECRET_KEY_FALLBACKS", {"SECRET_KEY_FALLBACKS": [SECRET_KEY, "hunter2"]}),
        ("SECRET_KEY_FALLBACKS", {"SECRET_KEY_FALLBACKS": "hunter2" * 10}),
    ],
)
@pytest.mark.parametrize("embedded", [True, False])
def test_a_short_key_stops_the_start(name: str, config: Mapping[str, Any], embedded: bool) -> None:
    """Every key that signs or once signed has 32 bytes or more; the message does not show it."""
    redis_of_its_own = {} if embedded else {"REDIS_URL": NO_REDIS}
    with pytest.raises(ValueError, match=f"^{name} ") as refusal:
        create_app({**CONFIG, **redis_of_its_own, **config})
    assert "hunter2" not in str(refusal.value)
    assert "00000" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "user:hunter2@localhost",
        "http://:hunter2@localhost",
        "redis://:hunter2@localhost:port",
        "redis://:hunter2@localhost:99999",
        "redis://:hunter2/@localhost",
        "redis://:hunter2@localhost?db=first",
        "redis://:hunter2@localhost?socket_timeout=soon",
    ],
)
def test_a_wrong_url_stops_the_start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names REDIS_URL and what was expected; the password is neither in it nor in its cause."""
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ValueError, match=r"^REDIS_URL .* expected redis://") as refusal:
        create_app(CONFIG)
    assert "hunter2" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize(
    "accounts",
    [
        '{"ada": ',
        ["ada"],
        None,
        {"ada": "lovelace"},
        {"ada": None},
        {"ada": HASH, "grace": ["x"]},
        {1: HASH},
        {"ada": "md5$salt$0123"},
        {"ada": "pbkdf2:lovelace:1$salt$0123"},
        {"ada": "pbkdf2:sha256:99999999999$salt$0123"},
        {"ada": HASH, "grace": generate_password_hash("hopper", "pbkdf2:sha256:2")},
    ],
)
def test_wrong_accounts_stop_the_start(accounts: Any) -> None:
    """ACCOUNTS are names and hashes of one method (others would take another time); the message shows none of them."""
    with pytest.raises(ValueError, match=r"^ACCOUNTS is a .*expected a dict of user names to hashes") as refusal:
        create_app({**CONFIG, "ACCOUNTS": accounts})
    assert not re.search(r"ada|grace|lovelace|salt|\$", str(refusal.value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_CONTENT_LENGTH", "16k"),
        ("MAX_CONTENT_LENGTH", 0),
        ("PROXIES", "one"),
        ("PROXIES", True),
        ("PROXIES", -1),
        ("PERMANENT_SESSION_LIFETIME", 0),
        ("PERMANENT_SESSION_LIFETIME", "a week"),
        ("SESSION_COOKIE_SAMESITE", "Yes"),
        ("SESSION_REFRESH_AFTER", -1),
    ],
)
def test_a_wrong_setting_stops_the_start(name: str, value: Any) -> None:
    """The message says which one, what it is and what was expected."""
    with pytest.raises(ValueError, match=f"^{name} is {value!r}; expected "):
        create_app({**CONFIG, name: value})


def test_settings_come_from_the_environment_and_then_from_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLASK_* as JSON, SECRET_KEY as text and stronger than its FLASK_ twin, the call's own strongest of all."""
    monkeypatch.setenv("FLASK_REDIS_URL", NO_REDIS)
    monkeypatch.setenv("FLASK_SECRET_KEY", "a" * 32)
    monkeypatch.setenv("SECRET_KEY", "b" * 32)
    monkeypatch.setenv("FLASK_SESSION_COOKIE_SECURE", "true")
    monkeypatch.setenv("FLASK_PERMANENT_SESSION_LIFETIME", "3600")
    monkeypatch.setenv("FLASK_ACCOUNTS", f'{{"ada": "{HASH}"}}')
    app = create_app({"PERMANENT_SESSION_LIFETIME": 60})
    assert app.secret_key == "b" * 32
    assert app.config["SESSION_COOKIE_SECURE"] is True
    assert app.config["ACCOUNTS"] == {"ada": HASH}
    assert app.permanent_session_lifetime == timedelta(minutes=1)


def test_it_starts_without_redis() -> None:
    """Nothing is connected at the start: what needs no session works, what does is answered honestly."""
    web = create_app({**CONFIG, "REDIS_URL": NO_REDIS}).test_client()
    assert web.get("/").status_code == 200
    assert web.get("/health/live").status_code == 200
    assert web.get("/health/ready").status_code == 503


@pytest.fixture
def launch() -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts a command that runs the app; returns its process and what it printed before it was ready."""
    processes = []

    def start(*command: str, folder: Path) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        processes.append(process)
        assert process.stdout is not None
        printed = ""
        while "Running on " not in printed and (line := process.stdout.readline()):
            printed += line
        return process, printed

    yield start
    for process in processes:
        process.terminate()
        process.communicate()


def visit(printed: str) -> tuple[str, CookieJar, str]:
    """Sign in as ada at the address that a server printed: the address, the cookies and the home page."""
    url = re.findall(r"Running on (http://\S+)", printed)[0]
    jar = CookieJar()
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))
    form = urlencode({"username": "ada", "password": "lovelace"}).encode()
    with browser.open(urllib.request.Request(urljoin(url, "/login"), form, {"Origin": url})) as page:
        return url, jar, page.read().decode()


def test_flask_run_is_all_that_it_takes(launch: Any) -> None:
    """``flask run`` in the folder finds the app and runs it embedded, with one line that says so and no warning."""
    _, printed = launch(sys.executable, "-m", "flask", "run", "--port", "0", folder=ROOT)
    assert printed.count("No REDIS_URL") == 1
    _, _, page = visit(printed)
    assert "You are signed in as <strong>ada</strong>" in page


def test_run_on_redis_runs_it_on_a_redis_of_its_own(launch: Any, tmp_path: Path) -> None:
    """The script starts a server, shows how to look at it, and takes it away in the end."""
    find_redis_server()  # which the script needs
    sources = ("app.py", "auth.py", "guessing.py", "redis_store.py", "_redis_store")
    for name in (*sources, "roles", "templates", "static", "run-on-redis"):
        Path(tmp_path, name).symlink_to(ROOT / name)
    programs = Path(tmp_path, ".venv", "bin")  # stands for the one that the quick start makes
    programs.mkdir(parents=True)
    for name, command in (("python", sys.executable), ("flask", f"{sys.executable} -m flask")):
        Path(programs, name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        Path(programs, name).chmod(0o755)
    process, printed = launch("sh", str(tmp_path / "run-on-redis"), "--port", "0", folder=tmp_path)
    socket = Path(re.findall(r"redis-cli -s (\S+) ", printed)[0])
    server = connect(f"unix://{socket}")
    _, jar, page = visit(printed)
    assert "You are signed in as <strong>ada</strong>" in page
    [cookie] = [cookie for cookie in jar if cookie.name == "session"]
    assert cookie.value is not None
    assert server.keys("SESSION:*") == [f"SESSION:{cookie.value.partition('.')[0]}".encode()]
    process.terminate()
    assert process.wait(timeout=10) == 128 + 15
    with pytest.raises(redis.ConnectionError):
        server.ping()
    assert not socket.parent.exists()


# The pages --------------------------------------------------------------------------------------------------------


def test_the_home_page_shows_both_sides(web: FlaskClient, client: Any) -> None:
    """The cookie's name and attributes; the record's key, TTL and JSON."""
    sign_in(web)
    page = web.get("/").text
    short = sid_of(web)[:15]  # the time, and six random digits
    for text in (f"{short}…", f"SESSION:{short}…", "604800 s", "HttpOnly", "Lax", "&#34;user_id&#34;: &#34;ada&#34;"):
        assert text in page
    left = client.ttl(key_of(web))  # a second may have begun since
    assert any(f"<dt>TTL</dt><dd>{ttl} s</dd>" in page for ttl in (left, left + 1))


def test_no_page_shows_the_whole_sid(web: FlaskClient) -> None:
    """Otherwise a script in a page could read what HttpOnly hides from it."""
    sign_in(web)
    for path in ("/", "/account", "/sessions", "/login", "/nowhere"):
        page = web.get(path).text
        assert "</html>" in page
        assert sid_of(web)[9:21] not in page


def test_the_home_page_only_reads(web: FlaskClient, client: Any) -> None:
    """It changes neither the record nor the TTL nor the cookie."""
    sign_in(web)
    client.expire(key_of(web), 1000)
    record = client.get(key_of(web))
    answer = web.get("/")
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert client.get(key_of(web)) == record
    assert 990 < client.ttl(key_of(web)) <= 1000


def test_the_home_page_says_that_there_is_no_session(web: FlaskClient, client: Any) -> None:
    """A visitor without one gets none by looking."""
    answer = web.get("/")
    assert "You have no session" in answer.text
    assert 'href="/login"' in answer.text
    assert "Set-Cookie" not in answer.headers
    assert client.keys() == []


def test_the_home_page_survives_an_unsigned_cookie(client: Any) -> None:
    """A raw sid, as shared with koa, has no time of signing to show."""
    web = create_app({**CONFIG, "SESSION_USE_SIGNER": False}, client).test_client()
    sign_in(web)
    page = web.get("/").text
    assert "<strong>ada</strong>" in page
    assert "Signed" not in page


@pytest.mark.parametrize("record", ['{"user_id":["ada"]}', '{"user_id":5}', '{"signed_in_at":"\\ud800"}', "[]", "junk"])
def test_no_stored_record_breaks_a_page(record: str, web: FlaskClient, client: Any) -> None:
    """Whatever is in Redis, the home page shows it or nothing, and nobody is signed in by it."""
    sign_in(web)
    client.set(key_of(web), record, ex=1000)
    assert "signed in as" not in web.get("/").text
    assert web.get("/").status_code == 200
    assert web.get("/account").status_code == 303
    assert web.get("/sessions").status_code == 303


def test_a_strange_time_of_sign_in_is_not_shown(web: FlaskClient, client: Any) -> None:
    """The account page does without what it cannot read."""
    sign_in(web)
    assert "<time" in web.get("/account").text
    client.set(key_of(web), '{"user_id":"ada","signed_in_at":5}', ex=1000)
    answer = web.get("/account")
    assert answer.status_code == 200
    assert "<time" not in answer.text


def test_what_visitors_type_is_escaped(web: FlaskClient) -> None:
    """User name and next come back in the form as text, never as HTML."""
    page = sign_in(web, '"><b>', next='/"><b>').text
    assert page.count("&#34;&gt;&lt;b&gt;") == 2
    assert "<b>" not in page


@pytest.mark.parametrize("path", ["/", "/login", "/account", "/sessions", "/nowhere"])
def test_pages_work_under_the_strict_policy(path: str, web: FlaskClient) -> None:
    """Every page has the headers; none has scripts, inline styles, or anything from another site."""
    sign_in(web)
    answer = web.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    assert '<html lang="en">' in answer.text
    assert not re.search(r"<script|<style|style=|\son\w+=|(src|href|action)=\"(?!/[^/\"]|/\")", answer.text)


def test_static_files_are_there_and_may_be_cached(web: FlaskClient) -> None:
    """What the pages refer to exists, and is not forbidden to caches as pages are."""
    for path in re.findall(r"/static/[\w.]+", web.get("/login").text):
        with web.get(path) as answer:
            assert answer.status_code == 200
            assert "no-store" not in answer.headers["Cache-Control"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_live_never_asks_redis(server: Any) -> None:
    """Not even to refresh a session, where every other page would."""
    client = server.connect()
    web = create_app({**CONFIG, "SESSION_REFRESH_AFTER": 0}, client).test_client()
    sign_in(web)
    before = commands(client)
    answer = web.get("/health/live")
    assert (answer.status_code, answer.text) == (200, "ok")
    assert commands(client) == before
    web.get("/login")
    assert commands(client) > before


def test_ready_asks_redis(server: Any) -> None:
    """One PING, and JSON that says so."""
    client = server.connect()
    web = create_app(CONFIG, client).test_client()
    before = commands(client)
    answer = web.get("/health/ready")
    assert (answer.status_code, answer.json) == (200, {"redis": "ok"})
    assert commands(client) == before + 1


def test_pages_that_need_no_session_cost_nothing(server: Any) -> None:
    """The sign-in page, errors and files send Redis no command, with a cookie either."""
    client = server.connect()
    web = create_app(CONFIG, client).test_client()
    sign_in(web)
    before = commands(client)
    statuses = [status(web, path) for path in ("/login", "/static/style.css", "/nowhere", "/logout")]
    assert statuses == [200, 200, 404, 405]
    assert commands(client) == before


def test_anonymous_visitors_leave_nothing(web: FlaskClient, client: Any) -> None:
    """Reading pages and signing out make no session, no counter and no cookie."""
    for _ in range(100):
        answers = [web.get("/"), web.get("/login"), web.get("/account"), sign_out(web)]
        assert [answer.status_code for answer in answers] == [200, 200, 303, 303]
        answers += [web.get("/sessions"), end(web, "0" * 16), end_others(web)]
        assert [answer.location for answer in answers[4:]] == ["/login?next=/sessions", "/login", "/login"]
        assert not any("Set-Cookie" in answer.headers for answer in answers)
    assert client.keys() == []


# Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "method", "path", "options"),
    [
        (400, "POST", "/login", {"data": {"username": "a" * (MAX_INPUT + 1)}, "headers": OURS}),
        (400, "POST", "/login", {"data": {"password": "a" * (MAX_INPUT + 1)}, "headers": OURS}),
        (400, "GET", "/", {"headers": {"Host": "elsewhere.example"}}),
        (403, "POST", "/login", {"headers": {"Origin": "http://elsewhere.example"}}),
        (404, "GET", "/nowhere", {}),
        (405, "GET", "/logout", {}),
        (405, "GET", "/sessions/end", {}),
        (405, "GET", "/sessions/end-others", {}),
        (413, "POST", "/login", {"data": {"username": "a" * 20_000}, "headers": OURS}),
        (500, "GET", "/broken", {}),
    ],
)
def test_errors_have_a_page(status: int, method: str, path: str, options: dict[str, Any], client: Any) -> None:
    """Each error is the app's own page, with its status and the security headers."""
    app = create_app({**CONFIG, "PROPAGATE_EXCEPTIONS": False, "TRUSTED_HOSTS": ["localhost"]}, client)
    app.add_url_rule("/broken", view_func=lambda: str(1 / 0))
    answer = app.test_client().open(path, method=method, **options)
    assert answer.status_code == status
    assert answer.content_type == "text/html; charset=utf-8"
    assert f"<small>{status}</small>" in answer.text
    assert "Content-Security-Policy" in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_wrong_method_is_told_the_right_one(web: FlaskClient) -> None:
    """GET never signs anybody out, and the 405 keeps its Allow header."""
    sign_in(web)
    answer = web.get("/logout")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert web.get("/account").status_code == 200


# Cross-site requests ----------------------------------------------------------------------------------------------

SAME, OTHER = "http://localhost", "http://elsewhere.example"


@pytest.mark.parametrize("cookie", [True, False])
@pytest.mark.parametrize(
    ("origin", "site", "passes"),
    [
        (SAME, None, True),
        ("HTTP://LocalHost", None, True),
        (SAME, "same-origin", True),
        (SAME, "none", True),
        (SAME, "same-site", False),
        (SAME, "cross-site", False),
        (SAME, "", False),
        (None, "same-origin", True),
        (None, "none", True),
        (None, "same-site", False),
        (None, "cross-site", False),
        (None, "Same-Origin", False),
        (OTHER, None, False),
        (OTHER, "same-origin", False),
        (OTHER, "none", False),
        ("null", None, False),
        ("null", "same-origin", False),
        ("", None, False),
        ("https://localhost", None, False),
        ("http://localhost:8000", None, False),
        ("http://localhost.elsewhere.example", None, False),
        ("http://elsewhere.example/http://localhost", None, False),
        (f"{SAME}/", None, False),
        (f"{SAME}, {OTHER}", None, False),
        (None, None, None),
    ],
)
def test_cross_site_requests_are_refused(
    origin: str | None, site: str | None, passes: bool | None, cookie: bool, web: FlaskClient
) -> None:
    """Origin is ours if it is there; Sec-Fetch-Site too; neither is there only for who has no cookie to abuse."""
    if cookie:
        sign_in(web)
    headers = {name: value for name, value in [("Origin", origin), ("Sec-Fetch-Site", site)] if value is not None}
    answer = web.post("/logout", headers=headers)
    assert answer.status_code == (303 if (not cookie if passes is None else passes) else 403)
    assert web.get("/account").status_code == (200 if cookie and answer.status_code == 403 else 303)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "MOVE"])
@pytest.mark.parametrize("path", ["/", "/login", "/logout", "/sessions/end", "/sessions/end-others", "/nowhere"])
def test_every_unsafe_method_is_guarded(method: str, path: str, web: FlaskClient) -> None:
    """The gate comes before routing, views and sessions."""
    assert web.open(path, method=method, headers={"Origin": OTHER}).status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_pass(method: str, web: FlaskClient) -> None:
    """A link on another site may lead here."""
    answer = web.open("/", method=method, headers={"Origin": OTHER, "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("host", "scheme", "origin", "status"),
    [
        ("app.example", "https", "https://app.example", 303),
        ("app.example", "https", "http://app.example", 403),
        ("app.example:443", "https", "https://app.example", 303),
        ("app.example:8443", "https", "https://app.example:8443", 303),
        ("app.example:8443", "https", "https://app.example", 403),
        ("xn--bcher-kva.example", "https", "https://xn--bcher-kva.example", 303),
        ("[::1]:5000", "http", "http://[::1]:5000", 303),
    ],
)
def test_ours_is_what_the_server_says(host: str, scheme: str, origin: str, status: int, web: FlaskClient) -> None:
    """Behind a proxy, too, whose scheme the WSGI server passes on as wsgi.url_scheme."""
    headers = {"Host": host, "Origin": origin}
    answer = web.post("/logout", headers=headers, environ_overrides={"wsgi.url_scheme": scheme})
    assert answer.status_code == status


@pytest.mark.parametrize(("endpoint", "status"), [("auth.logout", 303), ("auth", 403), ("auth.logout2", 403)])
def test_exempt_is_an_exact_endpoint(
    endpoint: str, status: int, web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate lets an endpoint pass by its whole name, and none unless somebody listed it."""
    assert app_module.CSRF_EXEMPT == frozenset()
    monkeypatch.setattr(app_module, "CSRF_EXEMPT", frozenset({endpoint}))
    assert web.post("/logout", headers={"Origin": OTHER}).status_code == status


# Signing in and out -----------------------------------------------------------------------------------------------


def test_signing_in_sets_cookie_and_record_alike(web: FlaskClient, client: Any) -> None:
    """TTL is the cookie's Max-Age, seven days, and the cookie is out of reach for scripts and other sites."""
    answer = sign_in(web)
    assert (answer.status_code, answer.location) == (303, "/")
    cookie = set_cookie(answer) or ""
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"} <= set(cookie.split("; "))
    assert sorted(client.keys()) == [b"OWNER:SESSION:ada", key_of(web).encode()]
    assert client.ttl(key_of(web)) == 604800


def test_a_secure_cookie_is_one_setting_away(client: Any) -> None:
    """SESSION_COOKIE_SECURE, for an app that is only reached by https."""
    web = create_app({**CONFIG, "SESSION_COOKIE_SECURE": True}, client).test_client()
    cookies = sign_in(web).headers.getlist("Set-Cookie")
    assert len(cookies) == 2
    assert all("Secure" in cookie.split("; ") for cookie in cookies)


def test_unknown_user_and_wrong_password_get_one_answer(web: FlaskClient) -> None:
    """401 and the same page, but for the name that was typed; the password does not come back."""
    pages = []
    for username in ("ada", "nobody"):
        answer = sign_in(web, username, "a wrong password")
        assert answer.status_code == 401
        assert f'value="{username}"' in answer.text
        assert "a wrong password" not in answer.text
        pages.append(answer.text.replace(username, ""))
    assert pages[0] == pages[1]


@pytest.mark.parametrize("method", ["pbkdf2:sha256:300000", "scrypt:32768:8:1"])
def test_unknown_user_and_wrong_password_take_one_time(method: str, client: Any) -> None:
    """Both compute one hash of the method of the accounts, and that is nearly all of the time."""
    accounts = {"ada": generate_password_hash("lovelace", method)}
    web = create_app({**CONFIG, "ACCOUNTS": accounts}, client).test_client()

    def seconds(work: Callable[[], object]) -> float:
        start = time.thread_time()  # of the processor: other processes do not count
        work()
        return time.thread_time() - start

    one = min(seconds(partial(check_password_hash, accounts["ada"], "wrong")) for _ in range(TRIES))
    for username in ("ada", "nobody", ""):
        taken = min(seconds(partial(sign_in, web, username, "wrong")) for _ in range(TRIES))
        assert taken > one / 2


@pytest.mark.parametrize("form", [{}, {"username": "ada"}, {"password": "lovelace"}, {"username": "ADA"}])
def test_an_incomplete_form_signs_nobody_in(form: dict[str, str], web: FlaskClient) -> None:
    """A missing field is a wrong one."""
    assert web.post("/login", data=form, headers=OURS).status_code == 401


def test_the_query_string_signs_nobody_in(web: FlaskClient) -> None:
    """Passwords in a URL would end up in logs; they are not looked for there."""
    assert web.get("/login?username=ada&password=lovelace").status_code == 200
    assert web.post("/login?username=ada&password=lovelace", headers=OURS).status_code == 401
    assert web.get_cookie("session") is None


def test_each_sign_in_gives_a_new_sid(web: FlaskClient, client: Any) -> None:
    """Also for the same user again; the sid before it is dead at once."""
    sids = []
    for username, password in [("ada", "lovelace"), ("ada", "lovelace"), ("grace", "hopper")]:
        assert sign_in(web, username, password).status_code == 303
        sids.append(sid_of(web))
        assert f"<dd>{username}</dd>" in web.get("/account").text
    assert len(set(sids)) == 3
    assert [name for name in client.keys() if name.startswith(b"SESSION:")] == [key_of(web).encode()]


def test_a_foreign_sid_is_not_adopted(web: FlaskClient, client: Any) -> None:
    """Whoever plants a cookie before the sign-in does not know the sid after it (session fixation)."""
    sign_in(web)
    planted = web.get_cookie("session")
    assert planted is not None
    victim = web.application.test_client()
    victim.set_cookie("session", planted.value)
    sign_in(victim, "grace", "hopper")
    assert sid_of(victim) != sid_of(web)
    assert web.get("/account").status_code == 303


def test_nothing_of_the_session_before_is_taken_along(web: FlaskClient, client: Any) -> None:
    """Signing in begins with an empty session."""
    sign_in(web)
    client.set(key_of(web), '{"user_id":"ada","basket":[1]}', ex=1000)
    sign_in(web, "grace", "hopper")
    assert b"basket" not in client.get(key_of(web))


def test_signing_out_ends_the_session_on_both_sides(web: FlaskClient, client: Any) -> None:
    """The record is gone, the cookie deleted, and a copy of the cookie worth nothing."""
    sign_in(web)
    cookie = web.get_cookie("session")
    assert cookie is not None
    answer = sign_out(web)
    assert (answer.status_code, answer.location) == (303, "/")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert client.keys() == []
    web.set_cookie("session", cookie.value)
    assert web.get("/account").status_code == 303
    assert "You have no session" in web.get("/").text


def test_the_account_page_says_who_and_since_when(web: FlaskClient) -> None:
    """And sends nobody's data to who is not signed in."""
    assert "ada" not in web.get("/account").text
    sign_in(web)
    page = web.get("/account").text
    assert "<dd>ada</dd>" in page
    assert time.strftime("%Y-%m-%d", time.gmtime()) in page


def test_a_deleted_account_is_signed_in_no_more(web: FlaskClient, client: Any) -> None:
    """The session is still there, but nobody by that name is."""
    sign_in(web)
    accounts = {"grace": CONFIG["ACCOUNTS"]["grace"]}  # type: ignore[index]
    later = create_app({**CONFIG, "ACCOUNTS": accounts}, client).test_client()
    cookie = web.get_cookie("session")
    assert cookie is not None
    later.set_cookie("session", cookie.value)
    assert later.get("/account").status_code == 303
    assert "signed in as" not in later.get("/").text


def test_a_page_that_needs_a_user_is_reached_after_all(web: FlaskClient) -> None:
    """Its address, with the query, goes along through failed attempts until the sign-in leads back to it."""
    answer = web.get("/account?tab=two&x=%2F")
    assert answer.location == "/login?next=/account?tab%3Dtwo%26x%3D%252F"
    page = web.get(answer.location).text
    assert 'name="next" value="/account?tab=two&amp;x=%2F"' in page
    page = sign_in(web, password="wrong", next="/account?tab=two&x=%2F").text
    assert 'name="next" value="/account?tab=two&amp;x=%2F"' in page
    assert sign_in(web, next="/account?tab=two&x=%2F").location == "/account?tab=two&x=%2F"


@pytest.mark.parametrize("target", ["/", "/account", "/account?x=//y", "/a//b", "/a:b@c", "/%5Cx", "/%2F/x", "/é"])
def test_next_may_be_any_path_of_this_site(target: str, web: FlaskClient) -> None:
    """The browser goes where it was told to."""
    assert sign_in(web, next=target).location == target.replace("é", "%C3%A9")


@pytest.mark.parametrize(
    "target",
    [
        "",
        "account",
        "//elsewhere.example",
        "///elsewhere.example",
        "/\\elsewhere.example",
        "\\\\elsewhere.example",
        "/a\\b",
        "http://elsewhere.example",
        "http:elsewhere.example",
        "javascript:alert(1)",
        " /account",
        " //elsewhere.example",
        "/\t/elsewhere.example",
        "/\n/elsewhere.example",
        "/\r\nSet-Cookie: a=b",
        "\t//elsewhere.example",
        "/\x00/elsewhere.example",
        "/\x7f/elsewhere.example",
        "/account\n",
        "@elsewhere.example",
        "?next=/",
    ],
)
def test_next_never_leaves_this_site(target: str, web: FlaskClient) -> None:
    """Whatever a browser might take for another site leads home, and is not kept in the form."""
    assert 'name="next"' not in sign_in(web, password="wrong", next=target).text
    assert sign_in(web, next=target).location == "/"


# Devices ----------------------------------------------------------------------------------------------------------

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36"
)
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
PIXEL = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "


@pytest.fixture
def browser(app: Flask) -> Callable[..., FlaskClient]:
    """Makes browsers in which ada, or somebody else, is signed in."""

    def make(username: str = "ada", password: str = "lovelace", user_agent: str = FIREFOX) -> FlaskClient:
        web = app.test_client()
        form = {"username": username, "password": password}
        assert web.post("/login", data=form, headers={**OURS, "User-Agent": user_agent}).status_code == 303
        return web

    return make


def handles(web: FlaskClient) -> list[str]:
    """What the page calls the sessions that it lists, in its order."""
    return re.findall(r'name="handle" value="([0-9a-f]{16})"', web.get("/sessions").text)


def names(web: FlaskClient) -> list[str]:
    """The browsers that the page lists, in its order."""
    return [re.sub(r"<.*", "", name).strip() for name in re.findall(r"<h2>(.*)</h2>", web.get("/sessions").text)]


def test_the_devices_page_lists_the_users_sessions(browser: Any) -> None:
    """Which browser, since when, when last; nobody else's; with a button for each, and this one marked and first."""
    browser(user_agent=CHROME)
    web = browser()
    browser("grace", "hopper", PIXEL)
    page = web.get("/sessions").text
    assert names(web) == ["Firefox on Linux", "Chrome on Windows"]
    assert page.count("<button") == 3
    assert re.findall(r"<h2>(.*?) <strong[^>]*>this one</strong></h2>", page) == ["Firefox on Linux"]
    times = re.findall(r'<time datetime="([\d-]{10}T[\d:]{8}\+00:00)">[\d-]{10} [\d:]{5} UTC</time>', page)
    assert len(times) == 4
    assert {abs(datetime.fromisoformat(at).timestamp() - time.time()) < 60 for at in times} == {True}


def test_the_devices_page_begins_with_the_latest_used(browser: Any, client: Any) -> None:
    """But for this one, which is first."""
    one, two, three = (browser(user_agent=name) for name in ("one/1", "two/2", "three/3"))
    for web, ttl in ((one, 1000), (two, 3000), (three, 2000)):
        client.expire(key_of(web), ttl)
    assert names(one) == ["one", "two", "three"]
    assert names(three) == ["three", "two", "one"]


def test_alone_there_are_no_others_to_end(browser: Any) -> None:
    """With one device the page has one button."""
    assert browser().get("/sessions").text.count("<button") == 1


def test_ending_one_ends_that_one(browser: Any) -> None:
    """The page says so, once; the others go on."""
    web, other, third = (browser() for _ in range(3))
    handle = handles(other)[0]
    answer = end(web, handle)
    assert (answer.status_code, answer.location) == (303, "/sessions")
    page = web.get("/sessions").text
    assert "That session has ended." in page
    assert handle not in page
    assert 'role="status"' not in web.get("/sessions").text
    assert [device.get("/account").status_code for device in (web, other, third)] == [200, 303, 200]


def test_ending_this_one_signs_out(browser: Any, client: Any) -> None:
    """As the button on the other pages does: the cookie goes, too, and nothing comes in its place."""
    web, other = browser(), browser()
    answer = end(web, handles(web)[0])
    assert (answer.status_code, answer.location) == (303, "/")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert client.keys("SESSION:*") == [key_of(other).encode()]


def test_ending_the_others_keeps_this_one(browser: Any) -> None:
    """And everybody else's."""
    web, *others = (browser() for _ in range(3))
    grace = browser("grace", "hopper")
    answer = end_others(web)
    assert (answer.status_code, answer.location) == (303, "/sessions")
    assert "2 other sessions have ended." in web.get("/sessions").text
    assert [device.get("/account").status_code for device in (web, *others, grace)] == [200, 303, 303, 200]
    end_others(web)
    assert "No other sessions have ended." in web.get("/sessions").text


@pytest.mark.parametrize("handle", ["", "0" * 16, "*", "\x00", "é", "a" * 10_000])
def test_an_unknown_handle_ends_nothing(handle: str, browser: Any) -> None:
    """It may be that of a session that ended in the meantime."""
    web, other = browser(), browser()
    assert end(web, handle).location == "/sessions"
    assert len(handles(other)) == 2


def test_nobody_ends_anothers_session(browser: Any) -> None:
    """A handle means something only to the user whose it is; a sid means nothing here."""
    web, grace = browser(), browser("grace", "hopper")
    for name in (handles(grace)[0], sid_of(grace)):
        end(web, name)
    assert grace.get("/account").status_code == 200


def test_a_link_cannot_claim_that_a_session_ended(browser: Any) -> None:
    """The notice is kept in the session, not in an address that anyone may send."""
    web = browser()
    end(web, "0" * 16)
    assert 'role="status"' in web.get("/sessions").text
    assert 'role="status"' not in web.get("/sessions?ended=1&_flashes=1").text


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        (CHROME, "Chrome on Windows"),
        (f"{CHROME} Edg/137.0.0.0", "Edge on Windows"),
        (f"{CHROME} OPR/121.0.0.0", "Opera on Windows"),
        (f"{PHONE}Mobile/15E148 Safari/604.1", "Safari on iPhone"),
        (f"{PHONE}CriOS/137.0 Mobile/15E148 Safari/604.1", "Chrome on iPhone"),
        (f"{PHONE}FxiOS/139.0 Mobile/15E148 Safari/605.1.15", "Firefox on iPhone"),
        (f"{PIXEL}Chrome/137.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"{PIXEL}SamsungBrowser/28.0 Chrome/130.0 Mobile Safari/537.36", "Samsung Internet on Android"),
        (
            "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/137.0 Safari/537.36",
            "Chrome on ChromeOS",
        ),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.5 Safari/605.1.15", "Safari on macOS"),
        ("Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) Version/18.5 Mobile/15E148 Safari/604.1", "Safari on iPad"),
        ("Firefox/140.0", "Firefox"),
        ("curl/8.5.0", "curl"),
        ("python-requests/2.32.3", "python-requests"),
        ("Mozilla/5.0 (compatible)", "Mozilla"),
        ("a" * 1000, "a" * 40),
        ("", "Unknown browser"),
        ("\x1b[31mred", "Unknown browser"),
        ("bell\x07/1", "bell"),
        ("é", "Unknown browser"),
    ],
)
def test_browsers_have_short_names(user_agent: str, name: str) -> None:
    """Made of the header User-Agent: printable, and of at most 40 characters, whatever that says."""
    assert name_browser(user_agent) == name


@pytest.mark.parametrize("session", ['"user_id":"ada"', '"user_id":"ada","browser":5'])
@pytest.mark.parametrize("sid", ["0" * 48, "6a000000-" + "0" * 40])
def test_a_session_that_does_not_tell_is_listed_all_the_same(session: str, sid: str, browser: Any, client: Any) -> None:
    """It may have begun before the app asked for browsers, or elsewhere: koa's sids do not say when."""
    web = browser()
    client.set(f"SESSION:{sid}", f"{{{session}}}", ex=1000)
    client.zadd("OWNER:SESSION:ada", {sid: 2**40})
    assert names(web) == ["Firefox on Linux", "Unknown browser"]
    assert ("<dt>Signed in</dt><dd>unknown</dd>" in web.get("/sessions").text) == ("-" not in sid)


def test_the_name_of_a_browser_is_escaped(browser: Any) -> None:
    """The header is the visitor's to choose."""
    page = browser(user_agent='"><b>').get("/sessions").text
    assert page.count("&#34;&gt;&lt;b&gt;") == 2
    assert "<b>" not in page


def test_a_list_that_redis_does_not_give_is_a_503(make_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Also when the session itself could be read; the log says why, and the session goes on."""
    server = make_server()
    web = create_app(CONFIG, server.connect()).test_client()
    sign_in(web)
    server.connect().execute_command("ACL SETUSER default -zrange")
    for answer in (web.get("/sessions"), end(web, "0" * 16), end_others(web)):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "Set-Cookie" not in answer.headers
        assert "Your cookie was not touched" in answer.text
        assert "Content-Security-Policy" in answer.headers
    assert len([line for line in caplog.messages if line.startswith("ZRANGE failed")]) == 3
    assert web.get("/account").status_code == 200


# Redis away -------------------------------------------------------------------------------------------------------


class Outage:
    """A Redis that a test can take away and bring back."""

    def __init__(self, client: Any, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self.client, self.begin, self.end = client, begin, end


@pytest.fixture(params=["fakeredis", "stopped", "frozen"])
def outage(request: pytest.FixtureRequest) -> Outage:
    """It refuses connections; or, the worse of the two, it does not answer."""
    if request.param == "fakeredis":
        fake = fakeredis.FakeServer()
        begin, end = (partial(setattr, fake, "connected", value) for value in (False, True))
        return Outage(fakeredis.FakeRedis(server=fake), begin, end)
    server = request.getfixturevalue("make_server")()
    client = server.connect()
    return Outage(
        client, *((server.stop, server.start) if request.param == "stopped" else (server.freeze, server.thaw))
    )


def test_what_needs_no_session_works_without_redis(outage: Outage) -> None:
    """Home and sign-in page of a visitor without a cookie, files, the live check, and errors as ever."""
    web = create_app(CONFIG, outage.client).test_client()
    outage.begin()
    paths = ("/", "/login", "/static/style.css", "/health/live", "/nowhere", "/logout")
    assert [status(web, path) for path in paths] == [200, 200, 200, 200, 404, 405]
    assert sign_out(web).status_code == 303


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/account"),
        ("POST", "/logout"),
        ("POST", "/login"),
        ("GET", "/sessions"),
        ("POST", "/sessions/end"),
        ("POST", "/sessions/end-others"),
    ],
)
def test_what_needs_the_session_says_so_within_a_second(method: str, path: str, outage: Outage) -> None:
    """503 and Retry-After on a page that says that the session is kept; the cookie is not touched."""
    web = create_app(CONFIG, outage.client).test_client()
    sign_in(web)
    outage.begin()
    start = time.monotonic()
    answer = web.open(path, method=method, headers=OURS, data={"username": "ada", "password": "lovelace"})
    assert time.monotonic() - start < 1
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in answer.headers
    assert "Location" not in answer.headers
    assert "The session store cannot be reached" in answer.text
    assert "Your cookie was not touched" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" in answer.headers


def test_a_sign_in_that_was_not_stored_gives_no_cookie(outage: Outage) -> None:
    """The right password of a visitor without a cookie is a 503 as well: there would be no session behind it."""
    web = create_app(CONFIG, outage.client).test_client()
    outage.begin()
    start = time.monotonic()
    answer = sign_in(web)
    assert time.monotonic() - start < 1
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "Set-Cookie" not in answer.headers
    assert "Location" not in answer.headers
    assert "Your cookie was not touched" in answer.text


def test_ready_says_no_and_yes_again(outage: Outage) -> None:
    """A 503 with Retry-After within a second, while live stays 200; and ready again by itself."""
    web = create_app(CONFIG, outage.client).test_client()
    assert web.get("/health/ready").status_code == 200
    outage.begin()
    start = time.monotonic()
    answer = web.get("/health/ready")
    assert time.monotonic() - start < 1
    assert (answer.status_code, answer.json) == (503, {"redis": "unavailable"})
    assert answer.headers["Retry-After"]
    assert web.get("/health/live").status_code == 200
    outage.end()
    assert web.get("/health/ready").status_code == 200


def test_it_recovers_by_itself(outage: Outage, request: pytest.FixtureRequest) -> None:
    """After an outage the same session goes on, if Redis still has it, and new ones can be made."""
    web = create_app(CONFIG, outage.client).test_client()
    sign_in(web)
    outage.begin()
    assert web.get("/account").status_code == 503
    assert sign_out(web).status_code == 503
    outage.end()
    kept = "stopped" not in request.node.name  # the tests' server keeps nothing on disk
    assert web.get("/account").status_code == (200 if kept else 303)
    assert sign_in(web, "grace", "hopper").status_code == 303
    assert "<dd>grace</dd>" in web.get("/account").text
    assert sign_out(web).status_code == 303
    assert web.get("/account").status_code == 303


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_removed_with_its_file_and_its_line(role: str, tmp_path: Path) -> None:
    """What is left runs, and has none of its pages."""
    for path in [*ROOT.glob("*.py"), ROOT / "_redis_store", ROOT / "templates", ROOT / "static", ROOT / "roles"]:
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, tmp_path / path.name)
    (tmp_path / f"roles/{role}.py").unlink()
    text = (tmp_path / "app.py").read_text()
    (line,) = re.findall(rf'^    "{role}",.*\n', text, re.M)
    (tmp_path / "app.py").write_text(text.replace(line, ""))
    program = """
import app
oauth = {"OAUTH_ISSUER": "https://example.com", "OAUTH_CLIENT_ID": "app", "OAUTH_CLIENT_SECRET": "secret"}
made = app.create_app({"TESTING": True, **oauth})
web = made.test_client()
print(app.__file__, web.get("/").status_code, web.get("/login").status_code, sorted({*made.blueprints} - {"auth"}))
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == f"{tmp_path / 'app.py'} 200 200 {sorted({*ROLES} - {role})}\n"
