"""The page of a user's devices: it lists their sessions, and ends them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.demo import CONFIG, OURS, end, end_others, key_of, make_app, sid_of, sign_in

from app import create_app
from auth import name_browser


@pytest.fixture
def app(least: Any) -> Flask:
    """The app itself, on both backends."""
    return make_app(least)


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
def test_a_session_without_browser_or_beginning_is_listed_all_the_same(
    session: str, sid: str, browser: Any, client: Any
) -> None:
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
