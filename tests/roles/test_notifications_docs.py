"""What docs/notifications.md shows is what happens; its gunicorn serves streams and pages."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest
from support.apps import SECRET_KEY
from support.demo import HASH
from support.project import PAGES, ROOT, blocks
from support.roles.notifications import Event, House, Listener, texts, wait_until
from support.servers import RedisServer
from support.topology import free_ports

PAGE = PAGES["docs/notifications.md"]


def test_the_page_shows_how_to_send(house: House) -> None:
    """From Python, and on the command line."""
    page = house.open()
    (code,) = blocks("python", PAGE)
    exec(code, {"app": house.app})
    assert json.loads(page.take(1)[0]) == {"text": "Your report is ready", "link": "/reports/7"}
    command, _ = blocks("sh", PAGE)
    assert house.app.test_cli_runner().invoke(args=shlex.split(command)[1:]).exit_code == 0
    assert page.take(1) == texts("Your report is ready")


def test_the_page_shows_what_a_browser_gets(house: House) -> None:
    """Byte for byte, but for the id."""
    page = house.open()
    house.say("Your report is ready")
    (shown,) = blocks("text", PAGE)
    got = b"".join(page.answer.readline() for _ in shown.splitlines()).decode()
    assert re.sub(r"\d+-0", "…", got) == re.sub(r"\d+-0", "…", shown)


@contextmanager
def gunicorn(url: str, *options: str) -> Iterator[str]:
    """The app, served as the page says."""
    if find_spec("gunicorn") is None:
        pytest.skip("needs gunicorn")
    (port,) = free_ports(1)
    words = [*options, f"--bind=127.0.0.1:{port}", "--log-level=warning", f"--chdir={ROOT}"]
    environment = {
        **os.environ,
        "REDIS_URL": url,
        "SECRET_KEY": SECRET_KEY,
        "FLASK_ACCOUNTS": json.dumps({"ada": HASH}),
    }
    process = subprocess.Popen([sys.executable, "-m", "gunicorn", *words, "app:create_app()"], env=environment)
    try:
        wait_until(lambda: answers(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    try:
        return ask(f"http://127.0.0.1:{port}", "GET", "/health/live")[0] == 200
    except OSError:
        return False


def ask(site: str, method: str, path: str, body: str = "", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(site.partition("://")[2], timeout=10)
    headers |= {"Content-Type": "application/x-www-form-urlencoded", "Connection": "close"}
    connection.request(method, path, body, headers)
    with connection.getresponse() as answer:
        answer.read()
    connection.close()
    return answer.status, answer.headers


@pytest.mark.thorough
@pytest.mark.parametrize("worker", ["", "--worker-class gevent"])
def test_gunicorn_serves_streams_and_pages_as_the_page_says(server: RedisServer, worker: str) -> None:
    """While there are streams, pages are served; a stream ends with its session, and one that is left is let go."""
    (command,) = re.findall(r"^\.venv/bin/gunicorn (.*) 'app:create_app\(\)'$", PAGE, re.M)
    assert worker in PAGE
    if worker and find_spec("gevent") is None:
        pytest.skip("needs gevent")
    with gunicorn(server.patient_url, *command.split(), *worker.split()) as site:
        origin = {"Origin": site}
        status, headers = ask(site, "POST", "/login", "username=ada&password=lovelace", **origin)
        assert status == 303
        (cookie,) = re.findall(r"session=([^;]*)", " ".join(headers.get_all("Set-Cookie")))
        pages = [Listener(site, cookie, query="?after=0-0") for _ in range(20)]
        assert ask(site, "GET", "/events", Cookie=f"session={cookie}")[0] == 429
        sent = ask(site, "POST", "/notifications", "message=Hello", Cookie=f"session={cookie}", **origin)
        assert sent[0] == 303
        assert [page.take(1) for page in pages] == 20 * [texts("Hello")]
        for page in pages[1:]:
            page.close()
        admin = server.connect()
        pages.append(Listener(site, cookie))
        assert pages[-1].status == 200
        assert ask(site, "POST", "/logout", Cookie=f"session={cookie}", **origin)[0] == 303
        assert pages[0].next() == Event("end")
        pages[0].close()
        pages[-1].close()
        wait_until(lambda: not admin.client_list(_type="pubsub"))
