"""The app under gunicorn with two workers: one session, whichever of them answers.

    python conformance/workers.py

Starts a redis-server and gunicorn, signs in, asks for a page 200 times, signs out, asks 200 times again. Needs
redis-server with redis-cli, and gunicorn beside the app.

Exit status: 0, all answers agree; 1, they do not; 2, that could not be found out.
"""

import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from servers import end_well, give_up, private_redis, program, running
from werkzeug.security import generate_password_hash

ROOT = Path(__file__).resolve().parent.parent
START = 30  # seconds for gunicorn to start
REQUESTS = 200


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, method: str, path: str, cookie: str = "", form: str = "") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request(method, path, form, headers | ({"Cookie": cookie} if cookie else {}))
    return connection.getresponse()


def wait_for(port: int, gunicorn: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and gunicorn.poll() is None:
        try:
            if ask(port, "GET", "/health/ready").status == 200:
                return
        except OSError:
            time.sleep(0.1)
    give_up("gunicorn did not start")


def check(port: int, redis_cli: list[str]) -> str:
    """What was seen, in one line. AssertionError: the answers do not agree."""
    start = time.monotonic()
    response = ask(port, "POST", "/login", form="username=ada&password=lovelace")
    cookies = response.msg.get_all("Set-Cookie") or []
    cookie, _, attributes = next((text for text in cookies if text.startswith("session=")), "").partition(";")
    max_age = re.search(r"Max-Age=(\d+)", attributes)
    assert (response.status, bool(max_age)) == (303, True), (response.status, attributes)
    key = f"SESSION:{cookie.removeprefix('session=').partition('.')[0]}"
    ttl, record = (
        subprocess.run([*redis_cli, verb, key], capture_output=True, check=True, text=True).stdout.strip()
        for verb in ("TTL", "GET")
    )
    assert max_age is not None
    assert 0 <= int(max_age[1]) - int(ttl) <= 1 + time.monotonic() - start, (max_age[1], ttl)
    assert json.loads(record)["user_id"] == "ada", record
    assert all(b"ada" in ask(port, "GET", "/account", cookie).read() for _ in range(REQUESTS))
    assert ask(port, "POST", "/logout", cookie).status == 303
    seen = {ask(port, "GET", "/account", cookie).getheader("Location") for _ in range(REQUESTS)}
    assert seen == {"/login?next=/account"}, seen
    return f"TTL {ttl} = Max-Age {max_age[1]}; {2 * REQUESTS} requests before and after the logout agree"


def main() -> None:
    """Start, check, stop."""
    end_well()
    if find_spec("gunicorn") is None:
        give_up("gunicorn is not installed: .venv/bin/pip install -r requirements-dev.txt")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="workers-") as name, private_redis(Path(name)) as path:
        environment = os.environ | {
            "REDIS_URL": f"unix://{path}?socket_timeout=10",  # a machine that is busy is no outage
            "FLASK_SESSION_MAX_WAIT": "10",
            "SECRET_KEY": secrets.token_hex(32),
            "FLASK_ACCOUNTS": json.dumps({"ada": generate_password_hash("lovelace")}),
        }
        log = Path(name, "access")
        options = ["--workers=2", f"--bind=127.0.0.1:{port}", "--log-level=warning"]
        options += [f"--access-logfile={log}", "--access-logformat=%(p)s"]  # who answered
        command = [sys.executable, "-m", "gunicorn", *options, "app:create_app()"]
        with running(command, cwd=ROOT, env=environment) as gunicorn:
            wait_for(port, gunicorn)
            line = check(port, [program("redis-cli"), "-s", str(path)])
            workers = len(set(log.read_text().split()))
            assert workers == 2, f"{workers} of the workers answered"
        print(f"gunicorn with 2 workers: {line}")


if __name__ == "__main__":
    main()
