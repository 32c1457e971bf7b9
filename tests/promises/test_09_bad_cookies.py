"""Promise 9: any cookie, and any number of them, is nothing special."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Request, session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from itsdangerous import Signer
from support.apps import SECRET_KEY, content, route, set_cookie, sid_of, sign
from support.clock import Clock
from werkzeug.http import dump_cookie
from werkzeug.test import TestResponse

from _redis_store.record import load_record

SID = "0123456789abcdef" * 3
OURS = "6565a1b2-" + "0123456789abcdef0123" * 2


@pytest.fixture
def app(app: Flask) -> Flask:
    route(app, "/read", lambda: repr(dict(session)))
    route(app, "/write", lambda: session.update(n=1))
    return app


no_fixture_check = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
shaped = st.from_regex(
    r"([0-9a-f]{48}|[0-9a-f]{8}-[0-9a-f]{40})\.[pb]\.[A-Za-z0-9_-]{1,11}\.[A-Za-z0-9_-]{43}", fullmatch=True
)
signer = Signer(SECRET_KEY, "redis-session", key_derivation="hmac", digest_method=hashlib.sha256)


def ask(app: Flask, header: str, path: str = "/read") -> TestResponse:
    """A request with this Cookie header."""
    return app.test_client(use_cookies=False).get(path, environ_overrides={"HTTP_COOKIE": header})


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")) | shaped)
@no_fixture_check
def test_any_cookie_is_a_new_session(app: Flask, value: str) -> None:
    """Never an error, never a session, never another cookie for a reader."""
    header = dump_cookie("session", value, max_size=0).partition(";")[0]
    response = ask(app, header)
    assert (response.status_code, response.text) == (200, "{}")
    assert set_cookie(response) is None


pieces = st.lists(
    st.sampled_from([*'=;"\\, \t\r\n\xff\x85', "session", "ses", "x=", 'x="', "{good}", "session={good}"])
)


@given(pieces | st.text().map(lambda text: [text.encode().decode("latin-1"), "; session={good}"]))
@no_fixture_check
def test_any_cookie_header_is_read_as_flask_reads_it(app: Flask, client: Any, pieces: list[str]) -> None:
    """Whatever stands beside our cookie, or around it: it counts exactly if it is one of `request.cookies`."""
    client.set(f"SESSION:{SID}", '{"n":1}', ex=100)
    good = sign(app, SID)
    header = "".join(pieces).replace("{good}", good)
    response = ask(app, header)
    found = good in Request({"HTTP_COOKIE": header}).cookies.getlist("session")
    assert (response.status_code, response.text) == (200, "{'n': 1}" if found else "{}")
    assert set_cookie(response) is None


@pytest.mark.parametrize(
    "at", ["", "x", "xxxxx", "------", "AAAAAA", "AAAAAAAA", "________", "xxxxxxxxx", "-----------"]
)
def test_a_time_that_is_none_is_no_session_even_if_we_signed_it(app: Flask, client: Any, at: str) -> None:
    """It is the beginning of all times, or far away, or base64 of a length that does not exist."""
    client.set(f"SESSION:{SID}", '{"n":1}', ex=100)
    response = ask(app, f"session={signer.sign(f'{SID}.p.{at}').decode()}")
    assert (response.status_code, response.text) == (200, "{}")


@pytest.mark.parametrize("sid", [SID, OURS, "3b241101-e2bb-4255-8caf-4136c566a962"])
def test_what_we_sign_is_itsdangerous_and_three_forms_of_a_sid_are_good(app: Flask, client: Any, sid: str) -> None:
    """So that the tests before and after this one show something."""
    client.set(f"SESSION:{sid}", '{"n":1}', ex=100)
    at = sign(app, sid).split(".")[2]
    assert ask(app, f"session={signer.sign(f'{sid}.p.{at}').decode()}").text == "{'n': 1}"


FORMS = ["", "{at}", "p.{at}", "{sid}.{at}", "{sid}..{at}", "{sid}.x.{at}", "{sid}xp.{at}", "{sid}0.p.{at}"]
FORMS += [
    "{sid}.p",
    "{sid}.pb.{at}",
    "{sid}.p.{at}.1",
    "{short}.p.{at}",
    "{upper}.p.{at}",
    "{sid}.P.{at}",
    "{sid}\n.p.{at}",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sid", [SID, OURS])
def test_what_we_signed_ourselves_has_to_look_right_too(app: Flask, client: Any, form: str, sid: str) -> None:
    """An older version, or another program with our key and salt, may have made it."""
    client.set(f"SESSION:{sid}", '{"n":1}', ex=100)
    at = sign(app, sid).split(".")[2]
    value = form.format(sid=sid, short=sid[1:], upper=sid.upper(), at=at)
    browser = app.test_client()
    browser.set_cookie("session", signer.sign(value).decode())
    assert browser.get("/read").text == "{}"


@pytest.mark.parametrize("header", ['a="\u00ff"', '\u00ff="a"; session="\u00fc', 'session="\\377"'])
def test_bytes_that_are_no_utf_8_fail_no_request(app: Flask, header: str) -> None:
    """Quotes included. Any host under the domain may have set such a cookie."""
    route(app, "/", lambda: str(session.get("cart")))
    app.testing = False
    browser = app.test_client(use_cookies=False)
    assert browser.get("/", environ_overrides={"HTTP_COOKIE": header}).text == "None"


JUNK = ["", "junk", SID, OURS, f"{SID}.p.aR-0Wg.{'A' * 43}", '"', "={good}", "{good}A", "{bad}"]


def two_sessions(client: Any) -> None:
    client.set(f"SESSION:{SID}", '{"n":1}', ex=100)
    client.set(f"SESSION:{OURS}", '{"n":2}', ex=100)


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("form", ["session={good}; session={junk}", "session={junk}; session={good}"])
def test_a_cookie_that_does_not_verify_does_not_count(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture, form: str, junk: str
) -> None:
    """Nobody who can plant a cookie can sign a visitor out, nor fill the log."""
    client.set(f"SESSION:{SID}", '{"n":1}', ex=100)
    good = sign(app, SID)
    bad = f"{OURS}{good[len(SID) :]}"  # another sid, with this one's signature
    response = ask(app, form.format(good=good, junk=junk.format(good=good, bad=bad)))
    assert (response.status_code, response.text, set_cookie(response)) == (200, "{'n': 1}", None)
    assert caplog.messages == []


@pytest.mark.parametrize("junk", JUNK[:-3])
def test_junk_alone_is_a_new_session(app: Flask, client: Any, caplog: pytest.LogCaptureFixture, junk: str) -> None:
    """However much of it there is."""
    two_sessions(client)
    response = ask(app, f"session={junk}; session=junk; session=")
    assert (response.status_code, response.text, set_cookie(response)) == (200, "{}", None)
    assert caplog.messages == []


def test_the_same_cookie_twice_is_one(app: Flask, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """As from two domains that a page belongs to."""
    client.set(f"SESSION:{SID}", '{"n":1}', ex=100)
    good = sign(app, SID)
    assert ask(app, f"session={good}; session={good}").text == "{'n': 1}"
    assert caplog.messages == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0), (1, 0, 1)])
def test_of_two_cookies_of_one_session_the_youngest_counts(
    app: Flask, client: Any, clock: Clock, caplog: pytest.LogCaptureFixture, order: tuple[int, ...]
) -> None:
    """In any order: it says whether a refresh is due, and whether the session ends with the browser."""
    client.set(f"SESSION:{SID}", '{"n":1}', ex=100_000)
    cookies = [sign(app, SID)]
    clock.offset = 400  # when a refresh of the first one is due
    cookies.append(sign(app, SID))
    header = "; ".join(f"session={cookies[index]}" for index in order)
    response = ask(app, header)
    assert (response.text, set_cookie(response)) == ("{'n': 1}", None)
    assert set_cookie(ask(app, f"session={cookies[0]}"))
    clock.offset = 800
    assert set_cookie(ask(app, header))
    assert caplog.messages == []


@pytest.mark.parametrize("order", [(SID, OURS), (OURS, SID), (SID, OURS, SID)])
@pytest.mark.parametrize("path", ["/read", "/write"])
def test_cookies_of_two_sessions_are_none(
    app: Flask, client: Any, clock: Clock, caplog: pytest.LogCaptureFixture, order: tuple[str, ...], path: str
) -> None:
    """Somebody with an account may have planted theirs; one line in the log, without a sid, and both records stay."""
    two_sessions(client)
    header = "; ".join(f"session={sign(app, sid)}" for sid in order)
    response = ask(app, header, path)
    assert response.status_code == 200
    [line] = caplog.messages
    assert "has cookies of 2 sessions" in line
    assert not any(sid in line for sid in order)
    assert [client.get(f"SESSION:{sid}") for sid in (SID, OURS)] == [b'{"n":1}', b'{"n":2}']
    if path == "/read":
        assert (response.text, set_cookie(response)) == ("{}", None)
    else:
        assert str(set_cookie(response))[8:].split(".")[0] not in order


def test_a_cookie_past_its_age_does_not_count_beside_one_of_another_session(
    app: Flask, client: Any, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not verify any more."""
    old = sign(app, OURS)
    clock.offset = 32 * 24 * 3600
    two_sessions(client)
    assert ask(app, f"session={old}; session={sign(app, SID)}").text == "{'n': 1}"
    assert caplog.messages == []


def test_a_session_past_its_absolute_limit_does_not_count_beside_another(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does this one, whose sid says that it began in 2023."""
    app.config["SESSION_ABSOLUTE_LIFETIME"] = 1000
    two_sessions(client)
    assert ask(app, f"session={sign(app, OURS)}; session={sign(app, SID)}").text == "{'n': 1}"
    assert caplog.messages == []


def test_the_cookie_from_before_a_domain_was_set_signs_nobody_out(app: Flask, client: Any, clock: Clock) -> None:
    """The browser sends both; a change goes to the session of the youngest, and so does what comes after it."""
    client.set(f"SESSION:{SID}", '{"n":7}', ex=100_000)
    old = sign(app, SID)
    clock.offset = 400
    app.config["SESSION_COOKIE_DOMAIN"] = "localhost"
    young = str(set_cookie(ask(app, f"session={old}", "/write"))).partition(";")[0]
    for header in (f"session={old}; {young}", f"{young}; session={old}"):
        assert ask(app, header).text == "{'n': 1}"
    assert content(client) == {"n": 1}


@pytest.mark.parametrize("domain", ["example.com", "www.example.com"])
@pytest.mark.parametrize(
    "ways", [["in"], ["out", "in"], ["read", "in"], ["in", "out", "in"], ["new", "in"], ["write", "new"]]
)
def test_a_sign_in_after_a_domain_was_set_locks_nobody_out(
    app: Flask, client: Any, clock: Clock, caplog: pytest.LogCaptureFixture, domain: str, ways: list[str]
) -> None:
    """The new cookie is of the domain, and the one from before of the host: it goes, or there would be two sessions."""
    views: dict[str, Callable[[], Any]] = {
        "in": lambda: session.update(user_id=session.get("user_id", 0) + 1),
        "out": lambda: session.clear(),
        "new": lambda: session.regenerate(),  # type: ignore[attr-defined]
    }
    for name, view in views.items():
        route(app, f"/{name}", view)
    browser = app.test_client()

    def visit(path: str) -> str:
        return str(browser.get(path, base_url="https://www.example.com").text)

    visit("/write")
    app.config["SESSION_COOKIE_DOMAIN"] = domain
    for seconds, way in enumerate(ways):
        clock.offset = 400 * seconds
        visit(f"/{way}")
    assert eval(visit("/read")) == load_record(client.get(f"SESSION:{sid_of(client)}"))
    assert caplog.messages == []


def test_two_sessions_that_a_browser_already_has_end_with_a_sign_in(app: Flask, client: Any) -> None:
    """One cookie of the host, one of the domain, and both are good: signing in helps."""
    route(app, "/in", lambda: session.update(user_id="ada"))
    app.config["SESSION_COOKIE_DOMAIN"] = "example.com"
    two_sessions(client)
    browser = app.test_client()
    for sid, domain, origin_only in ((SID, "www.example.com", True), (OURS, "example.com", False)):
        browser.set_cookie("session", sign(app, sid), domain=domain, origin_only=origin_only)
    texts = [browser.get(path, base_url="https://www.example.com").text for path in ("/read", "/in", "/read")]
    assert (texts[0], texts[2]) == ("{}", "{'user_id': 'ada'}")


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (f"session={SID}; session=junk; session=", "{'n': 1}"),
        (f"session={SID}; session={SID}", "{'n': 1}"),
        (f"session={SID}; session={OURS}", "{}"),
        ("session=junk; session=", "{}"),
    ],
)
def test_several_raw_sids_follow_the_same_rule(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture, header: str, text: str
) -> None:
    """Without a signature, what looks like a sid verifies."""
    app.config.update(SESSION_USE_SIGNER=False, SESSION_REFRESH_EACH_REQUEST=False)
    two_sessions(client)
    assert ask(app, header).text == text
    assert len(caplog.messages) == (OURS in header)
