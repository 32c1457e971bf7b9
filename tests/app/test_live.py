"""The home page as a place to study: what it shows, what it costs, and what its controls may do."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import DictLoader
from support.clock import Clock
from support.demo import CONFIG, OURS, commands, key_of, sid_of, sign_in, sign_out

from app import create_app
from study.asked import MAX_SEEN, REMEMBERED_FOR
from study.live import KEYS, MAX_ITEMS, MAX_VALUE, OFF_FOR

CONTROLS = ["put", "delete", "append", "new-sid", "read", "nothing", "redis"]
LIVE = {**CONFIG, "STUDY": True}


@pytest.fixture
def app(least: Any, clock: Clock) -> Flask:
    """The app with its pages to study, on both backends."""
    return create_app(LIVE, least, clock=clock)


@pytest.fixture
def embedded(clock: Clock) -> FlaskClient:
    """A browser that visits the embedded app."""
    return create_app({"TESTING": True, "ACCOUNTS": CONFIG["ACCOUNTS"]}, clock=clock).test_client()


def press(web: FlaskClient, control: str, **form: str) -> Any:
    return web.post(f"/live/{control}", data=form, headers=OURS)


def asked(page: str) -> list[list[str]]:
    """For each request that the page tells of, the first words of its commands."""
    requests = re.split(r"<h3>By ", page)[1:]
    return [re.findall(r"<code>([A-Z]+) (?=[^/])", request) for request in requests]


def text(page: str) -> str:
    """The page without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def left(page: str) -> list[int]:
    """The seconds that are left of cookie and record."""
    return [int(seconds) for seconds in re.findall(r"<strong data-seconds=\"(\d+)\"", page)]


# What the page shows ----------------------------------------------------------------------------------------------


def test_the_cookie_is_shown_in_parts(web: FlaskClient) -> None:
    """When the session began, the random part, permanence, the time of signing, the signature."""
    sign_in(web)
    cookie = web.get_cookie("session")
    assert cookie
    page = web.get("/").text
    sid, kind, at, signature = cookie.value.split(".")
    parts = re.findall(r'<span class="part (\w+)">([^<]+)</span>', page)
    shown = [("began", sid[:8]), ("random", f"{sid[9:15]}…"), ("kind", kind), ("signed", at)]
    assert parts[:5] == [*shown, ("signature", f"{signature[:6]}…")]
    assert f"session={sid[:15]}….{kind}.{at}.{signature[:6]}…" in text(page)
    assert f"SESSION:{sid[:15]}…" in text(page)


def test_neither_sid_nor_signature_is_shown_in_full(web: FlaskClient) -> None:
    """Not in a command or an answer either, whatever was asked."""
    sign_in(web)
    for control in ("put", "new-sid", "delete"):
        before = web.get_cookie("session")
        press(web, control, key="city", value="London")
        after, page = web.get_cookie("session"), web.get("/").text
        for cookie in (before, after):
            assert cookie
            assert cookie.value[9:21] not in page
            assert cookie.value[-43:-31] not in page


def test_the_record_is_shown_as_it_is(web: FlaskClient, client: Any) -> None:
    """The JSON, indented, and its size."""
    press(web, "append", value="tea")
    page = text(web.get("/").text)
    assert json.dumps({"cart": {"items": ["tea"]}}, indent=2) in page
    assert f"{client.strlen(key_of(web))} bytes" in page


@pytest.mark.parametrize("record", [rb'{"note":"\ud83d"}', rb'{"\udc00":1}'])
def test_half_a_surrogate_pair_in_the_record_is_shown_escaped(web: FlaskClient, client: Any, record: bytes) -> None:
    """koa may write one, and no page can hold it."""
    press(web, "put", key="city", value="London")
    client.set(key_of(web), record, ex=100)
    answer = web.get("/")
    assert answer.status_code == 200
    assert re.findall(rb"\\u....", record)[0].decode() in text(answer.text)


@pytest.mark.parametrize(("limit", "expected"), [(None, 604700), (1000, 900)])
def test_both_lifetimes_are_in_step(limit: int | None, expected: int, least: Any, clock: Clock) -> None:
    """What is left of the cookie, by its time of signing, is the TTL of the record; with an absolute limit too."""
    web = create_app({**LIVE, "SESSION_ABSOLUTE_LIFETIME": limit}, least, clock=clock).test_client()
    sign_in(web)
    cookie, record = left(web.get("/").text)
    assert abs(cookie - record) <= 1
    clock.move(100)
    cookie, _ = left(web.get("/").text)
    assert abs(cookie - expected) <= 1


def test_a_cookie_that_ends_with_the_browser_says_so(least: Any) -> None:
    """Only the record has seconds left."""
    web = create_app({**LIVE, "SESSION_PERMANENT": False}, least).test_client()
    sign_in(web)
    page = web.get("/").text
    assert "It ends with the browser." in page
    assert len(left(page)) == 1


def test_a_raw_sid_is_shown_in_short(least: Any, client: Any) -> None:
    """As koa makes it: it has one part."""
    web = create_app({**LIVE, "SESSION_USE_SIGNER": False}, least).test_client()
    sid = "abcdef" * 8
    client.set(f"SESSION:{sid}", '{"user_id":"ada"}', ex=1000)
    web.set_cookie("session", sid)
    page = web.get("/").text
    assert "session=abcdef…" in text(page)
    assert sid[6:20] not in page
    assert "<strong>ada</strong>" in page


@pytest.mark.parametrize("record", ['{"user_id":["ada"]}', '{"cart":5}', '{"cart":{"items":{}}}', "[]", "junk"])
def test_no_stored_record_breaks_the_page(record: str, web: FlaskClient, client: Any) -> None:
    """Nor a control that writes to it."""
    sign_in(web)
    client.set(key_of(web), record, ex=1000)
    assert web.get("/").status_code == 200
    assert press(web, "append", value="tea").status_code == 303
    assert web.get("/").status_code == 200


def test_what_visitors_type_is_shown_as_text(web: FlaskClient) -> None:
    """Markup, and the place in the page where the commands go."""
    for value in ("<b>", "<!-- what this request asked of Redis -->"):
        press(web, "put", key="note", value=value)
        page = web.get("/").text
        assert "<b>" not in page
        assert page.count("What Redis was asked") == 1
        assert f'"note": "{value}"' in html.unescape(page)


def test_the_page_works_under_the_strict_policy(web: FlaskClient) -> None:
    """One script, of this site; nothing inline."""
    sign_in(web)
    answer = web.get("/")
    assert re.findall(r"<script[^>]*>", answer.text) == ['<script src="/static/home.js" defer>']
    assert not re.search(r"<style|style=|\son\w+=", answer.text)
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    with web.get("/static/home.js") as script:
        assert script.status_code == 200


# What requests ask of Redis ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("nothing", []),
        ("read", ["GET"]),
        ("put", ["GET", "EVAL"]),
        ("append", ["GET", "EVAL"]),
        ("new-sid", ["GET", "EVAL"]),
        ("delete", ["GET", "EVAL"]),
    ],
)
def test_the_commands_of_a_request_are_shown(control: str, expected: list[str], web: FlaskClient) -> None:
    """None when the session was left alone, one for a read, two for a write; and the page's own one."""
    press(web, "put", key="city", value="Paris")
    web.get("/")
    answer = press(web, control, key="city", value="London")
    assert answer.location == "/#asked"
    page = web.get("/").text
    own = [] if control == "delete" else ["GET"]  # with the last key the session has ended
    assert asked(page) == [expected, own]


@pytest.mark.parametrize("control", ["nothing", "read", "put", "append", "new-sid"])
def test_what_is_shown_is_what_redis_counted(control: str, server: Any) -> None:
    """Recording costs no command; the page's curiosity, which is not shown, costs one."""
    client = server.connect()
    web = create_app(LIVE, client).test_client()
    press(web, "put", key="city", value="Paris")
    web.get("/")
    start = commands(client)
    press(web, control, key="city", value="London")
    middle = commands(client)
    first, own = asked(web.get("/").text)
    in_scripts = {"put": 2, "append": 2, "new-sid": 4}.get(control, 0)  # the server counts those, too
    assert middle - start == len(first) + in_scripts
    assert commands(client) - middle == len(own) + 1


def test_a_visitor_without_a_session_asks_nothing(web: FlaskClient, client: Any) -> None:
    """Nor does the page, and nothing is stored."""
    for control in ("nothing", "read", "new-sid", "delete"):
        press(web, control, key="city")
        page = web.get("/").text
        assert "You have no session" in page
        assert asked(page) == [[], []]
    assert client.keys() == []
    assert web.get_cookie("session") is None


def test_a_refresh_is_among_the_commands(web: FlaskClient, clock: Clock) -> None:
    """It happens when the page is made already, and is in its list all the same."""
    press(web, "put", key="city", value="London")
    web.get("/")
    clock.move(400)
    page = web.get("/").text
    assert asked(page) == [["GET", "EXPIRE"]]
    assert "The session cookie was set, with Max-Age=604800" in text(page)


def test_a_sign_in_and_a_sign_out_are_shown(web: FlaskClient) -> None:
    """The commands of the sign-in's other roles as well."""
    sign_in(web)
    page = web.get("/").text
    assert asked(page)[0][-3:] == ["EVAL", "SET", "ZSCORE"]
    assert re.search(r"<summary>\d+ commands</summary>", page)  # of the throttling, together
    assert text(page).count("Throttling") == 1
    sign_out(web)
    page = web.get("/").text
    assert asked(page) == [["GET", "DEL", "ZREM"], []]
    assert "The session cookie was deleted" in text(page)


def test_a_request_is_shown_once_and_to_its_visitor_only(web: FlaskClient, app: Flask) -> None:
    """The next page tells of itself alone; other visitors hear nothing of it."""
    press(web, "put", key="city", value="London")
    other = app.test_client()
    assert len(asked(other.get("/").text)) == 1
    assert len(asked(web.get("/").text)) == 2
    assert len(asked(web.get("/").text)) == 1


def test_a_request_with_an_impossible_host_is_an_error_as_ever(least: Any) -> None:
    """400, with its page."""
    web = create_app({**LIVE, "TRUSTED_HOSTS": ["localhost"]}, least).test_client()
    for method in ("GET", "POST"):
        answer = web.open("/", method=method, headers={"Host": "elsewhere.example"})
        assert answer.status_code == 400
        assert "<small>400</small>" in answer.text


def test_what_cannot_be_shown_costs_nobody_their_answer(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """The page comes without its list, the form's change is stored, and the log says why."""
    web = app.test_client()
    app.jinja_loader = DictLoader({"live.html": "{{ asked }}{{ json }}", "asked.html": "{{ 1 / 0 }}"})
    app.extensions["live_memory"] = None  # it can remember nothing
    assert press(web, "put", key="city", value="London").status_code == 303
    answer = web.get("/")
    assert answer.status_code == 200
    assert "London" in answer.text
    assert [record.message for record in caplog.records] == ["What Redis was asked is not shown"] * 2


def test_it_works_below_a_path(web: FlaskClient) -> None:
    """As a server may mount the app."""
    below = {"SCRIPT_NAME": "/demo"}
    web.post("/live/append", data={"value": "tea"}, headers=OURS, environ_overrides=below)
    assert asked(web.get("/", environ_overrides=below).text) == [["SET"], ["GET"]]


def test_few_requests_are_remembered(app: Flask) -> None:
    """Those of visitors who never look go first, and the cookie that names one is short-lived and httpOnly."""
    first = app.test_client()
    header = press(first, "nothing").headers["Set-Cookie"]
    assert header.startswith("session_asked=")
    assert f"Max-Age={REMEMBERED_FOR}; HttpOnly; Path=/; SameSite=Lax" in header
    for _ in range(MAX_SEEN):
        press(app.test_client(use_cookies=False), "nothing")
    assert len(asked(first.get("/").text)) == 1


# The controls -----------------------------------------------------------------------------------------------------


def test_a_change_deep_inside_is_stored(web: FlaskClient) -> None:
    """The list keeps its last items."""
    for number in range(MAX_ITEMS + 2):
        press(web, "append", value=f"item {number}")
    web.get("/")
    page = text(web.get("/").text)
    assert '"item 11"' in page
    assert '"item 2"' in page
    assert '"item 1"' not in page


def test_a_new_sid_keeps_the_session(web: FlaskClient) -> None:
    """And the time when it began."""
    press(web, "put", key="city", value="London")
    before = sid_of(web)
    press(web, "new-sid")
    assert sid_of(web) != before
    assert sid_of(web)[:8] == before[:8]
    assert '"city": "London"' in text(web.get("/").text)


@pytest.mark.parametrize("key", ["user_id", "_user_id", "_permanent", "signed_in_at", "cart", "", "city "])
def test_visitors_put_no_other_key(key: str, web: FlaskClient) -> None:
    """Or they could become somebody else."""
    sign_in(web, "grace", "hopper")
    assert press(web, "put", key=key, value="ada").status_code == 400
    assert press(web, "delete", key=key).status_code == (303 if key == "cart" else 400)
    assert "<strong>grace</strong>" in web.get("/").text


@pytest.mark.parametrize("control", ["put", "append"])
@pytest.mark.parametrize("value", ["", " ", "a" * (MAX_VALUE + 1)])
def test_a_value_is_short(control: str, value: str, web: FlaskClient, client: Any) -> None:
    """An empty or a long one is a 400, and stores nothing."""
    assert press(web, control, key=KEYS[0], value=value).status_code == 400
    assert client.keys() == []


@pytest.mark.parametrize("control", CONTROLS)
def test_a_form_of_another_site_is_refused(control: str, web: FlaskClient) -> None:
    """As every other one."""
    press(web, "put", key="city", value="London")
    answer = web.post(f"/live/{control}", headers={"Origin": "http://elsewhere.example"})
    assert answer.status_code == 403


def test_redis_is_switched_off_and_on(embedded: FlaskClient) -> None:
    """Off: a 503 with the commands that failed, and a button. On: the same session."""
    press(embedded, "put", key="city", value="London")
    press(embedded, "redis", state="off")
    answer = embedded.get("/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "Switch Redis on" in answer.text
    assert "a few seconds" not in answer.text  # it says when
    assert asked(answer.text)[-1] == ["GET", "GET"]  # a read is sent once more
    assert press(embedded, "put", key="city", value="Paris").status_code == 503
    assert press(embedded, "redis", state="on").status_code == 303
    page = embedded.get("/")
    assert page.status_code == 200
    assert '"city": "London"' in text(page.text)


def test_redis_comes_back_by_itself(embedded: FlaskClient, clock: Clock) -> None:
    """Nobody has to stay without it because somebody else left."""
    press(embedded, "put", key="city", value="London")
    press(embedded, "redis", state="off")
    clock.move(OFF_FOR - 2)
    assert embedded.get("/").status_code == 503
    clock.move(3)
    assert embedded.get("/").status_code == 200


def test_only_the_embedded_redis_can_be_switched(web: FlaskClient, embedded: FlaskClient) -> None:
    """The page of another one has no such button."""
    assert press(web, "redis", state="off").status_code == 404
    assert "Switch Redis" not in web.get("/").text
    assert press(embedded, "redis", state="broken").status_code == 400
    assert "Switch Redis off" in embedded.get("/").text


# Where it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "there"),
    [
        (lambda client: create_app({**CONFIG, "STUDY": True}, client), True),
        (lambda client: create_app(CONFIG, client), False),
        (lambda client: create_app({"TESTING": True}), True),
        (lambda client: create_app({"TESTING": True, "STUDY": False}), False),
    ],
)
def test_it_is_in_the_embedded_app_or_where_it_is_configured(
    make: Callable[[Any], Flask], there: bool, client: Any
) -> None:
    """Elsewhere the home page is plain, and has no controls."""
    web = make(client).test_client()
    assert press(web, "nothing").status_code == (303 if there else 404)
    assert ("What Redis was asked" in web.get("/").text) == there
