"""The app's start: what it needs, what it refuses, and what it is told by its configuration."""

from __future__ import annotations

import re
import subprocess
import sys
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import pytest
import redis
from support.apps import SECRET_KEY
from support.demo import CONFIG, HASH, NO_REDIS, sign_in
from support.project import ROOT
from support.servers import find_redis_server
from werkzeug.security import generate_password_hash

from app import create_app
from redis_store import connect


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
    assert url.endswith("soon") == ("socket_timeout once, as seconds" in str(refusal.value))


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
        ("STUDY", "yes"),
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


def test_the_app_starts_without_redis() -> None:
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


@pytest.mark.thorough
def test_run_on_redis_runs_it_on_a_redis_of_its_own(launch: Any, tmp_path: Path) -> None:
    """The script starts a server, shows how to look at it and how to work for it, and takes it away in the end."""
    find_redis_server()  # which the script needs
    sources = ("app.py", "auth.py", "redis_store.py", "_redis_store")
    for name in (*sources, "roles", "study", "templates", "static", "run-on-redis"):
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
    [worker] = re.findall(r"^  (REDIS_URL=.* \.venv/bin/flask jobs work)$", printed, re.M)
    done = subprocess.run(["sh", "-c", f"{worker} --burst"], cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0
    process.terminate()
    assert process.wait(timeout=60) == 128 + 15
    with pytest.raises(redis.ConnectionError):
        server.ping()
    assert not socket.parent.exists()
