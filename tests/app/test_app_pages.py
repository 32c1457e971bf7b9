"""The app's pages: what they show, what they cost, and what an error looks like."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient
from support.demo import CONFIG, OURS, commands, end, end_others, key_of, make_app, sid_of, sign_in, sign_out, status

from app import create_app
from auth import MAX_INPUT


@pytest.fixture
def app(least: Any) -> Flask:
    """The app itself, on both backends."""
    return make_app(least)


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


def test_the_home_page_shows_a_record_without_an_end(web: FlaskClient, client: Any) -> None:
    """As somebody else may have stored it."""
    sign_in(web)
    client.persist(key_of(web))
    assert "<dt>TTL</dt><dd>none</dd>" in web.get("/").text


MENU = re.compile(r'<a href="(/[^"]*)"( aria-current="page")?>', re.ASCII)


def menu(page: str) -> dict[str, bool]:
    """The addresses in the menu of a page, and whether each is that of the page."""
    return {path: bool(mark) for path, mark in MENU.findall(page.partition("<nav")[2].partition("</nav>")[0])}


def test_the_menu_has_what_the_visitor_may_see(web: FlaskClient) -> None:
    """The sign-in for a stranger, their own pages for a user; and the page that it is on is marked."""
    for path in ("/", "/login", "/nowhere"):
        assert menu(web.get(path).text) == {"/": path == "/", "/login": path == "/login"}
    sign_in(web)
    for path in ("/", "/login", "/nowhere", "/account", "/sessions"):
        found = menu(web.get(path).text)
        assert {"/", "/account", "/sessions"} <= found.keys()
        assert "/login" not in found
        assert [each for each, is_here in found.items() if is_here] == [path] * (path in found)


def test_the_menu_of_a_visitor_who_is_not_signed_in_has_the_sign_in(web: FlaskClient, client: Any) -> None:
    """Also when there is a cookie, as soon as the page knows that nobody is signed in."""
    sign_in(web)
    client.set(key_of(web), b'{"city":"London"}', ex=1000)
    assert menu(web.get("/").text).keys() == {"/", "/login"}


def test_the_sign_in_page_speaks_of_the_session_that_is_there(web: FlaskClient) -> None:
    """It does not look into it; a stranger has none."""
    words = "This browser has a session already"
    assert words not in web.get("/login").text
    sign_in(web)
    assert words in web.get("/login").text


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


def test_liveness_never_asks_redis(server: Any) -> None:
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


def test_readiness_asks_redis(server: Any) -> None:
    """One GET, and JSON that says so."""
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


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "Go back, and send it in another way."),
        (403, "Nothing was done."),
        (404, "Look for a typing error"),
        (405, "Open that page, and use its button."),
        (413, "A form has at most 16384 bytes here"),
        (429, "Wait a while, then try again."),
        (500, "tell whoever runs this site"),
        (502, "Try again later."),
        (503, "Please try again in a few seconds."),
        (418, "teapot"),
    ],
)
def test_an_error_page_says_what_to_do(status: int, words: str, app: Flask) -> None:
    """In plain words; of an error that nobody thought of, what its own text says."""
    app.add_url_rule("/broken", view_func=lambda: abort(status))
    page = app.test_client().get("/broken").text
    assert words in page
    assert ('<a href="">Try again</a>' in page) == (status == 503)


def test_a_wrong_method_is_told_the_right_one(web: FlaskClient) -> None:
    """GET never signs anybody out, and the 405 keeps its Allow header."""
    sign_in(web)
    answer = web.get("/logout")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert web.get("/account").status_code == 200
