"""Hostile clients: bombs, and text that attacks a log."""

from __future__ import annotations

import io
import logging
import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import fakeredis
import pytest
from flask import Flask, request, session
from support.apps import route, set_cookie, sid_of, sign, under_way
from support.demo import CONFIG, OURS
from support.tiers import spread
from werkzeug.serving import make_server
from werkzeug.test import create_environ, run_wsgi_app

from app import create_app

# Bombs, through a server -------------------------------------------------------------------------------------------


class Web:
    """The app behind Werkzeug's server, which lets nearly everything through; and what goes over the wire."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.peak = 0  # bytes that the last request had allocated at most
        self.server = make_server("127.0.0.1", 0, self.measure, threaded=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def measure(self, environ: Any, start_response: Any) -> list[bytes]:
        tracemalloc.start()
        page = self.app(environ, start_response)
        try:
            return list(page)
        finally:
            page.close()  # type: ignore[attr-defined]
            self.peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    def send(self, start: str, headers: list[tuple[str, bytes]], body: bytes = b"") -> bytes:
        """The bytes of the answer; none if the server hung up before it had read everything."""
        fields = [("Host", b"localhost"), ("Connection", b"close"), *headers]
        fields += [("Content-Length", str(len(body)).encode())] if body else []
        head = start.encode() + b" HTTP/1.1\r\n" + b"".join(f"{n}: ".encode() + v + b"\r\n" for n, v in fields)
        answer = b""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as connection:
            try:
                connection.sendall(head + b"\r\n")
                connection.sendall(body)
                connection.shutdown(socket.SHUT_WR)  # Werkzeug reads what its app did not, to the end
                while data := connection.recv(65536):
                    answer += data
            except OSError:
                pass
        return answer

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web(create_app({**CONFIG, "TESTING": False}, fakeredis.FakeRedis()))
    yield web
    web.stop()


ROUTES = [
    "GET /",
    "GET /login",
    "POST /login",
    "POST /logout",
    "GET /account",
    "GET /health/ready",
    "GET /nowhere",
    "PUT /login",
]
SAME = ("Origin", b"http://localhost")
FORM, JSON = ("Content-Type", b"application/x-www-form-urlencoded"), ("Content-Type", b"application/json")
PARTS = ("Content-Type", b"multipart/form-data; boundary=x")
MEGABYTES = 5 * 2**20

HEADERS: dict[str, list[tuple[str, bytes]]] = {
    "10,000 headers": [("X", b"v")] * 10_000,
    "90 headers of 60 kB": [("X", b"v" * 60_000)] * 90,
    "a header of 100 kB": [("X", b"v" * 100_000)],
    "900 cookies": [("Cookie", b"; ".join(b"c%d=v" % number for number in range(900)))],
    "400 session cookies": [("Cookie", b"; ".join([b"session=" + b"0" * 48 + b".p.aR-0Wg." + b"A" * 43] * 400))],
    "20,000 empty cookies": [("Cookie", b"s=;" * 20_000)],
    "90 Cookie headers": [("Cookie", b"session=x")] * 90,
    "a cookie of 1 MB": [("Cookie", b"session=" + b"a" * 2**20)],
    "a cookie of escapes": [("Cookie", b'session="' + b"\\012" * 15_000 + b'"')],
    "a cookie of backslashes": [("Cookie", b'session="' + b"\\" * 60_000)],
    "a type of many parameters": [("Content-Type", b"a/b" + b"; a=b" * 10_000)],
    "a million acceptable types": [("Accept", b"*/*;q=1e999," * 5000), ("Accept-Language", b"a;q=nan," * 7000)],
    "many ranges": [("Range", b"bytes=" + b"0-1," * 15_000)],
    "credentials that are none": [("Authorization", b"Digest " + b'a="' * 20_000)],
    "no host": [("Host", b"\x1b[31m\xff:99999999")],
}
BODIES: dict[str, tuple[tuple[str, bytes], bytes]] = {
    "huge JSON": (JSON, b'{"username":"' + b"a" * MEGABYTES + b'"}'),
    "deep JSON": (JSON, b"[" * 16_000),
    "huge and deep JSON": (JSON, b'{"a":' * (MEGABYTES // 5)),
    "JSON that lies": (JSON, b"\xff\xfe\x00username"),
    "a huge field": (FORM, b"username=" + b"a" * MEGABYTES),
    "very many fields": (FORM, b"a=&" * (MEGABYTES // 3)),
    "many fields": (FORM, b"a=&" * 5000),
    "deep field names": (FORM, b"a" + b"[a]" * 5000 + b"=1"),
    "bytes that are no text": (FORM, b"username=%ff%00%ed%a0%80&password=\xff\x00&next=%fe"),
    "many parts": (PARTS, b"--x\r\n" * 3000),
    "many named parts": (PARTS, b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\n\r\n' * 200 + b"--x--"),
    "a file": (
        PARTS,
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n' + b"a" * 9000 + b"\r\n--x--",
    ),
    "a part of a strange charset": (
        PARTS,
        b'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=zlib\r\n\r\na\r\n--x--',
    ),
    "no boundary": (("Content-Type", b"multipart/form-data"), b"--x\r\n"),
    "an endless boundary": (("Content-Type", b"multipart/form-data; boundary=" + b"x" * 8000), b"--x\r\n"),
}


@pytest.mark.parametrize("bomb", spread([*HEADERS, *BODIES], 4))
def test_a_bomb_is_harmless_on_every_route(web: Web, caplog: pytest.LogCaptureFixture, bomb: str) -> None:
    """Answered, or cut off by the server: no 500, no line in our log, and neither time nor memory follow its size."""
    kind, body = BODIES.get(bomb, (SAME, b""))
    for start in ROUTES:
        used = time.process_time()
        answer = web.send(start, [SAME, kind, *HEADERS.get(bomb, [])], body)
        assert time.process_time() - used < 5, start
        assert web.peak < 10 * 2**20, start
        assert not answer or answer.split(b" ")[1][:1] in (b"2", b"3", b"4"), start
    assert web.send("GET /", []).startswith(b"HTTP/1.1 200 ")
    assert [record for record in caplog.records if record.name != "werkzeug"] == []


class Malformed(io.RawIOBase):
    """A body in chunks that are none, as gunicorn tells it: by an exception that is no OSError."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise Exception("Invalid chunk size: b'zz'")


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_malformed_body_is_a_bad_request(caplog: pytest.LogCaptureFixture, method: str) -> None:
    """No 500 with a page of traceback in the log, which anybody could cause."""
    app = create_app({**CONFIG, "TESTING": False}, fakeredis.FakeRedis())
    body = {
        "wsgi.input": Malformed(),
        "wsgi.input_terminated": True,
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
    }
    answer = app.test_client().open("/login", method=method, headers=OURS, environ_overrides=body)
    assert answer.status_code == 400
    assert caplog.messages == []


# Text that attacks a log --------------------------------------------------------------------------------------------

#: Line ends of every kind, terminal codes of seven and eight bits, bell, NUL, right-to-left override, BOM.
EVIL = "\r\n\x1b[31m\x1b]0;x\x07\x9b2J\x85\x00\x7f\u2028\u2029\u202e\u2066\ufeff %s%n {} SESSION:"
EVIL_BYTES = EVIL.encode()
IN_HEADER = EVIL.replace("\r", "").replace("\n", "").replace("\x00", "").encode().decode("latin-1")


def assert_clean(caplog: pytest.LogCaptureFixture, lines: int) -> None:
    """So many lines at most, of visible characters alone, and none of them long."""
    assert len(caplog.records) <= lines
    for message in caplog.messages:
        assert message.isprintable()
        assert len(message) < 2000


@pytest.fixture(params=["no record", "a malformed record", "an outage"])
def attacked(request: pytest.FixtureRequest) -> Flask:
    """The app with a cookie that is well signed, and what it names in three states."""
    fake = fakeredis.FakeServer()
    client = fakeredis.FakeRedis(server=fake)
    if request.param == "a malformed record":
        client.set("SESSION:" + "0" * 48, EVIL_BYTES)
    fake.connected = request.param != "an outage"
    return create_app({**CONFIG, "TESTING": False}, client)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("POST", "/logout"),
        ("GET", "/account"),
        ("GET", "/health/ready"),
        ("GET", f"/{quote_from_bytes(EVIL_BYTES)}"),
        ("GET", f"/static/{quote_from_bytes(EVIL_BYTES)}"),
        (f"GET{IN_HEADER}", "/login"),
    ],
)
def test_no_field_of_a_request_reaches_log_or_header(
    attacked: Flask, caplog: pytest.LogCaptureFixture, method: str, path: str, signed: bool
) -> None:
    """User name, next, path, query, method, host, headers, cookie: at most two lines come of it, without them."""
    caplog.set_level(logging.DEBUG)
    cookie = f"session={sign(attacked, '0' * 48)}" if signed else f"session={IN_HEADER}; {IN_HEADER}={IN_HEADER}"
    headers = {name: IN_HEADER for name in ("User-Agent", "Referer", "Accept-Language", "X-Forwarded-For", "X-Real-Ip")}
    environ = create_environ(
        f"{path}?next=/{quote_from_bytes(EVIL_BYTES)}&{quote_from_bytes(EVIL_BYTES)}=1",
        method=method,
        headers={**OURS, **headers, "Cookie": cookie},
        data={"username": EVIL, "password": EVIL, "next": f"/{EVIL}", EVIL: EVIL} if method == "POST" else None,
    )
    for host in ("localhost", IN_HEADER):
        caplog.clear()
        page, status, answer = run_wsgi_app(attacked.wsgi_app, {**environ, "HTTP_HOST": host})
        b"".join(page)
        assert status[0] != "5" or status.startswith("503 ")
        assert_clean(caplog, 2)
        assert all(f"{name}{value}".isascii() and f"{name}{value}".isprintable() for name, value in answer.items())


@pytest.mark.parametrize("target", ["/\x85", "/\u2028\u202e", "/\x9b31m", "/%0d%0aSet-Cookie:a=b", "/\ufeff/é"])
def test_next_becomes_a_header_of_visible_ascii(target: str) -> None:
    """What browsers take for text, and proxies may not, is percent-encoded on the way to the page one came for."""
    browser = create_app(CONFIG, fakeredis.FakeRedis()).test_client()
    form = {"username": "ada", "password": "lovelace", "next": target}
    answer = browser.post("/login", data=form, headers=OURS)
    assert answer.status_code == 303
    assert answer.headers["Location"].isascii()
    assert answer.headers["Location"].isprintable()
    assert answer.headers["Location"].startswith("/%")


@pytest.mark.parametrize("names", [[EVIL], [f"{EVIL}{number}" for number in range(1000)], ["x" * 500_000]])
def test_names_of_session_keys_are_harmless_in_the_log(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture, names: list[str]
) -> None:
    """An app may take them from its visitors: changes that are dropped are named in one line, which has an end."""
    route(app, "/start", lambda: session.update(n=1))
    route(app, "/logout", lambda: session.clear())
    browser = app.test_client()
    browser.get("/start")
    with under_way(app, browser):
        session.update(dict.fromkeys(names, 1))
        browser.get("/logout")
    [message] = caplog.messages
    assert "the changes are dropped: ['" in message
    assert_clean(caplog, 1)


def test_the_error_about_a_value_is_harmless_in_the_log(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the key, and Flask logs it with a traceback."""
    route(app, "/set", lambda: session.update({request.args["name"]: {1}}))
    app.testing = False
    assert app.test_client().get("/set", query_string={"name": EVIL}).status_code == 500
    assert len(caplog.records) == 2  # Flask saves the session of its page for the 500, too
    for record in caplog.records:
        lines = logging.Formatter().format(record).split("\n")
        assert "of type set, does not survive JSON" in lines[-1]
        assert all(line.isprintable() for line in lines)


# A session of 10 MB ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["x" * 10**7, ["x"] * (10**7 // 4), b"x" * 7_500_000], ids=["str", "list", "bytes"])
def test_a_session_of_10_mb_is_refused_and_nothing_is_written(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    """The app has a bug: a 500 whose log says both sizes, briefly; record, TTL and cookie stay what they were."""
    route(app, "/start", lambda: session.update(n=1))
    route(app, "/big", lambda: session.update(big=value))
    app.testing = False
    browser = app.test_client()
    browser.get("/start")
    sid = sid_of(client)
    client.expire(f"SESSION:{sid}", 500)
    for visitor in (browser, app.test_client()):
        caplog.clear()
        answer = visitor.get("/big")
        assert (answer.status_code, set_cookie(answer)) == (500, None)
        text = logging.Formatter().format(caplog.records[0])
        assert re.search(r"ValueError: the session takes 100000\d\d bytes; SESSION_MAX_BYTES allows 1048576$", text)
        assert len(caplog.text) < 10_000
    assert client.keys() == [f"SESSION:{sid}".encode()]
    assert client.get(f"SESSION:{sid}") == b'{"n":1}'
    assert 490 < client.ttl(f"SESSION:{sid}") <= 500
