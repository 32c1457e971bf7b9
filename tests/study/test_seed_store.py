"""The short store does what its originals were seen to do: commands, cookie and status of each case."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from redis import Redis
from support.servers import RedisServer

from study.browser import Browser
from study.seed_store import WEEK, SeedInterface

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
EVERY_PAGE: dict[str, Callable[[], Any]] = {
    "/unused": lambda: None,
    "/read": lambda: session.get("user"),
    "/login": lambda: session.update(user="ada", cart=[1]),
    "/equal": lambda: session.update(user="ada"),
    "/update": lambda: session.update(theme="dark"),
    "/nested": lambda: session["cart"].append(2),
    "/logout": lambda: session.clear(),
    "/empty": lambda: [session.pop(key) for key in [*session]],
    "/refresh": lambda: session.refresh(),  # type: ignore[attr-defined]
}


class Seen:
    """A client that writes down what it sends."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.commands: list[tuple[Any, ...]] = []

    def execute_command(self, *command: Any) -> Any:
        self.commands.append(command)
        return self.client.execute_command(*command)

    @property
    def names(self) -> str:
        """The commands, and then none."""
        names = " ".join(command[0] for command in self.commands)
        self.commands.clear()
        return names


@pytest.fixture
def seen() -> Seen:
    return Seen(fakeredis.FakeRedis())


def make_app(client: Any, max_age: float = WEEK) -> Flask:
    app = Flask("seed")
    app.session_interface = SeedInterface(client, max_age)
    for path, view in EVERY_PAGE.items():
        app.add_url_rule(path, path, lambda view=view: str(view() and "yes"))
    return app


@pytest.fixture
def app(seen: Seen) -> Flask:
    return make_app(seen)


@pytest.fixture
def ada(app: Flask, seen: Seen) -> Browser:
    """Somebody who has signed in."""
    browser = Browser(app)
    browser.get("/login")
    seen.commands.clear()
    return browser


def key_of(browser: Browser) -> str:
    return f"SESSION:{browser.cookies['ssw']}"


def cookie(response: Any) -> str | None:
    """The header that sets or deletes the cookie."""
    return response.headers.get("Set-Cookie")  # type: ignore[no-any-return]


def test_an_anonymous_visitor_who_reads_costs_nothing(app: Flask, seen: Seen) -> None:
    """No command, no cookie."""
    response = Browser(app).get("/read")
    assert (response.status_code, seen.names, cookie(response)) == (200, "", None)


def test_a_login_writes_with_an_end_and_sets_the_cookie(app: Flask, seen: Seen) -> None:
    """SET with EX; the cookie is the raw sid, a UUID, for every path, and hidden from scripts."""
    response = Browser(app).get("/login")
    ((_, key, record, *ex),) = seen.commands
    assert ex == ["EX", "604800"]
    assert json.loads(record) == {"user": "ada", "cart": [1]}
    assert re.fullmatch(f"ssw={UUID}; Expires=[^;]*; HttpOnly; Path=/", cookie(response) or "")
    assert key.removeprefix("SESSION:") in (cookie(response) or "")


@pytest.mark.parametrize("path", ["/read", "/equal", "/unused"])
def test_what_changes_nothing_reads_all_the_same(ada: Browser, seen: Seen, path: str) -> None:
    """GET, without a cookie, and the TTL stays: also for a page that never uses the session."""
    seen.client.expire(key_of(ada), 99)
    response = ada.get(path)
    assert (response.status_code, seen.names, cookie(response)) == (200, "GET", None)
    assert 90 < seen.client.ttl(key_of(ada)) <= 99


@pytest.mark.parametrize("path", ["/update", "/nested"])
def test_an_update_moves_the_end_of_the_key_and_not_of_the_cookie(ada: Browser, seen: Seen, path: str) -> None:
    """GET and SET under the same sid; the cookie is not sent again."""
    seen.client.expire(key_of(ada), 99)
    assert cookie(ada.get(path)) is None
    assert seen.names == "GET SET"
    assert 604800 - 5 < seen.client.ttl(key_of(ada)) <= 604800


@pytest.mark.parametrize("path", ["/logout", "/empty"])
def test_a_logout_deletes_record_and_cookie(ada: Browser, seen: Seen, path: str) -> None:
    """With the path, and no domain."""
    deleted = cookie(ada.get(path)) or ""
    assert seen.names == "GET DEL"
    assert deleted.startswith("ssw=;")
    assert "Path=/" in deleted
    assert "Domain" not in deleted


def test_a_logout_without_a_cookie_leaves_a_junk_record(app: Flask, seen: Seen) -> None:
    """The record says null, and the visitor gets its cookie."""
    browser = Browser(app)
    assert cookie(browser.get("/logout"))
    assert seen.names == "SET"
    assert seen.client.get(key_of(browser)) == b"null"


def test_an_unknown_sid_is_replaced_by_a_write(app: Flask, seen: Seen) -> None:
    """By one of 48 digits."""
    browser = Browser(app, {"ssw": "unknown"})
    assert cookie(browser.get("/login"))
    assert seen.names == "GET SET"
    assert re.fullmatch("[0-9a-f]{48}", browser.cookies["ssw"])


@pytest.mark.parametrize("record", ["{", '\ufeff{"user":"ada"}'])
def test_a_malformed_record_is_an_error_as_long_as_it_lives(ada: Browser, seen: Seen, record: str) -> None:
    """Each request is a 500, and changes nothing."""
    seen.client.set(key_of(ada), record, ex=99)
    assert [ada.get(path).status_code for path in ("/read", "/logout", "/login")] == [500, 500, 500]
    assert seen.names == "GET GET GET"


def test_a_key_of_another_type_is_an_error(ada: Browser, seen: Seen) -> None:
    """The same."""
    seen.client.delete(key_of(ada))
    seen.client.rpush(key_of(ada), "x")
    assert ada.get("/read").status_code == 500


def test_a_record_that_is_a_number_gives_its_sid_away(app: Flask, seen: Seen) -> None:
    """Whoever brings that sid, writes there."""
    seen.client.set("SESSION:planted", "5")
    assert cookie(Browser(app, {"ssw": "planted"}).get("/login")) is None
    assert json.loads(seen.client.get("SESSION:planted"))["user"] == "ada"


def test_a_record_that_is_an_array_loses_every_write(app: Flask, seen: Seen) -> None:
    """The answer is a 200."""
    seen.client.set("SESSION:list", "[]")
    assert Browser(app, {"ssw": "list"}).get("/login").status_code == 200
    assert seen.client.get("SESSION:list") == b"[]"


def test_an_end_that_is_no_whole_second_is_refused_in_silence(seen: Seen) -> None:
    """The answer is a 200 with a cookie, and nothing is stored."""
    browser = Browser(make_app(seen, max_age=1500))
    response = browser.get("/login")
    assert seen.commands[0][-2:] == ("EX", "1.5")
    assert (response.status_code, bool(cookie(response))) == (200, True)
    assert seen.client.keys() == []


def test_two_writers_of_different_keys_lose_one(ada: Browser, seen: Seen) -> None:
    """Both read, then both write all that they have."""
    with ada.visit() as slow:
        slow["cart"] = 3
        ada.write(theme="dark")
    assert seen.names == "GET GET SET SET"
    assert ada.sees() == {"user": "ada", "cart": 3}


def test_a_slow_write_brings_an_ended_session_back(ada: Browser, seen: Seen) -> None:
    """The browser has no cookie any more; whoever copied it is signed in."""
    thief = Browser(ada.app, ada.cookies)
    with ada.visit() as slow:
        slow["cart"] = 3
        assert (cookie(ada.get("/logout")) or "").startswith("ssw=;")
    assert seen.names == "GET GET DEL SET"
    assert thief.sees()["user"] == "ada"


def test_a_refresh_on_each_request_writes_each_time(ada: Browser, app: Flask, seen: Seen) -> None:
    """All of it, with its cookie; and a junk record for each anonymous visitor."""
    assert [bool(cookie(ada.get("/refresh"))) for _ in range(2)] == [True, True]
    assert seen.names == "GET SET GET SET"
    before = len(seen.client.keys())
    assert cookie(Browser(app).get("/refresh"))
    assert len(seen.client.keys()) == before + 1


def test_a_login_keeps_the_sid(app: Flask, seen: Seen) -> None:
    """Whoever planted it is signed in as well."""
    browser = Browser(app)
    browser.write(cart=1)
    before = dict(browser.cookies)
    browser.write(user="ada")
    assert browser.cookies == before


@pytest.mark.parametrize("rule", ["OOM", "ACL"])
def test_a_refused_write_is_a_success_with_a_cookie(server: RedisServer, rule: str) -> None:
    """Redis is full, or forbids it: 200, and nothing is stored."""
    client = server.log_in("~*", "+@all", "-set") if rule == "ACL" else server.connect()
    admin = server.connect()
    admin.config_set("maxmemory", "1" if rule == "OOM" else "0")
    try:
        response = Browser(make_app(client)).get("/login")
    finally:
        admin.config_set("maxmemory", "0")
    assert (response.status_code, bool(cookie(response)), admin.keys()) == (200, True, [])


@pytest.mark.thorough
def test_a_frozen_redis_makes_the_request_hang(make_server: Callable[[], RedisServer]) -> None:
    """It goes on when Redis does."""
    frozen = make_server()
    browser = Browser(make_app(Redis(unix_socket_path=str(frozen.socket), socket_timeout=None)))
    browser.get("/login")
    frozen.freeze()
    statuses: list[int] = []
    page = threading.Thread(target=lambda: statuses.append(browser.get("/read").status_code))
    page.start()
    page.join(1)
    assert page.is_alive()
    frozen.thaw()
    page.join()
    assert statuses == [200]
    browser.app.session_interface.store.client.close()  # type: ignore[attr-defined]
