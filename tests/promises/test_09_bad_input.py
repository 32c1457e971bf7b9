"""Promise 9: any cookie, any stored bytes, any value: nothing special. Stored bytes: test_store.py, too."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, Request, session
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from itsdangerous import Signer
from support.apps import SECRET_KEY, content, route, set_cookie, sid_of, sign, under_way
from support.clock import Clock
from werkzeug.http import dump_cookie
from werkzeug.test import TestResponse

from _redis_store.record import load_record
from redis_store import RedisSessionInterface

SID = "0123456789abcdef" * 3
OURS = "6565a1b2-" + "0123456789abcdef0123" * 2


def stubborn() -> None:
    with suppress(LookupError):
        print(session["n"])
    session["n"] = 1


@pytest.fixture
def app(app: Flask) -> Flask:
    route(app, "/read", lambda: repr(dict(session)))
    route(app, "/stubborn", stubborn)
    route(app, "/write", lambda: session.update(n=1))
    route(app, "/set", lambda: session.update(fine=1, cart={"items": {1, 2}}))
    route(app, "/big", lambda: session.update(big="x" * 10_000_000))
    route(app, "/grow", lambda: session.update(big=session.get("big", "") + "x" * 400))
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


# Several cookies of one name -------------------------------------------------------------------------------------

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
    assert "has cookies of 2 sessions" in line or len(order) == 3
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


# Stored bytes ----------------------------------------------------------------------------------------------------


@given(st.binary() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(repr).map(str.encode))
@no_fixture_check
def test_any_stored_bytes_that_are_no_session_make_a_new_one(app: Flask, client: Any, record: bytes) -> None:
    """Reading never fails; what the visitor writes goes to a new sid; the bytes stay as they are."""
    assume(load_record(record) is None)
    client.flushall()
    client.set(f"SESSION:{SID}", record, ex=100)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, SID))
    assert browser.get("/read").text == "{}"
    assert browser.get("/write").status_code == 200
    assert client.get(f"SESSION:{SID}") == record
    assert len(client.keys("SESSION:*")) == 2


@pytest.mark.parametrize("path", ["/read", "/write"])
def test_garbage_is_one_log_line_without_the_sid(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """Enough to find out, and no more than is safe."""
    client.set(f"SESSION:{SID}", b"\x00garbage", ex=100)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, SID))
    browser.get(path)
    assert len([record for record in caplog.records if record.name == "redis_store"]) == 1
    assert SID not in caplog.text
    assert "garbage" not in caplog.text


def test_a_log_filter_that_reads_the_session_does_not_hang(app: Flask, client: Any) -> None:
    """It sees an empty one while the record is being read."""
    seen = []

    def look(record: logging.LogRecord) -> bool:
        seen.append(dict(session))
        return True

    client.set(f"SESSION:{SID}", b"garbage", ex=100)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, SID))
    logger = logging.getLogger("redis_store")
    logger.addFilter(look)
    try:
        assert browser.get("/read").text == "{}"
    finally:
        logger.removeFilter(look)
    assert seen == [{}]


def test_a_log_filter_that_fails_loses_no_change(app: Flask, client: Any) -> None:
    """What the reading raises reaches the view, each time, instead of an answer that pretends."""

    def fail(record: logging.LogRecord) -> bool:
        raise LookupError

    client.set(f"SESSION:{SID}", b"garbage", ex=100)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, SID))
    logger = logging.getLogger("redis_store")
    logger.addFilter(fail)
    try:
        for path in ("/write", "/stubborn"):
            with pytest.raises(LookupError):
                browser.get(path)
    finally:
        logger.removeFilter(fail)
    assert browser.get("/write").status_code == 200
    assert len(client.keys("SESSION:*")) == 2


def test_clearing_a_malformed_session_deletes_no_evidence(app: Flask, client: Any) -> None:
    """The record stays, and the cookie is left alone."""
    client.set(f"SESSION:{SID}", b"garbage", ex=100)
    with app.test_request_context(headers={"Cookie": f"session={sign(app, SID)}"}):
        session.clear()
        response = app.process_response(app.response_class())
    assert client.get(f"SESSION:{SID}") == b"garbage"
    assert set_cookie(response) is None


def test_a_planted_pickle_is_not_executed(app: Flask, client: Any, tmp_path: Any) -> None:
    """JSON only."""
    victim = tmp_path / "victim"
    client.set(f"SESSION:{SID}", f"cbuiltins\nopen\n(S'{victim}'\nS'w'\ntR.".encode(), ex=100)
    browser = app.test_client()
    browser.set_cookie("session", sign(app, SID))
    assert browser.get("/read").text == "{}"
    assert not victim.exists()


def test_a_value_that_json_cannot_keep_is_an_error_and_nothing_is_written(app: Flask, client: Any) -> None:
    """In tests it is raised, with key and type; neither record nor cookie come of it."""
    with pytest.raises(TypeError, match=r"'cart'.* of type dict.*set is not JSON serializable"):
        app.test_client().get("/set")
    app.testing = False
    response = app.test_client().get("/set")
    assert (response.status_code, set_cookie(response)) == (500, None)
    assert client.keys() == []


def test_a_session_over_the_limit_is_refused(app: Flask, client: Any) -> None:
    """Ten million bytes are over the default of one MiB; the message has both numbers."""
    with pytest.raises(ValueError, match=r"1000\d{4} bytes; SESSION_MAX_BYTES allows 1048576"):
        app.test_client().get("/big")
    assert client.keys() == []


def test_the_limit_is_exact_and_the_old_record_stays(app: Flask, client: Any) -> None:
    """SESSION_MAX_BYTES is the size of the JSON; a session at the limit is fine."""
    app.config["SESSION_MAX_BYTES"] = len('{"big":""}') + 800
    browser = app.test_client()
    browser.get("/grow")
    browser.get("/grow")
    record = client.get(f"SESSION:{sid_of(client)}")
    assert len(record) == app.config["SESSION_MAX_BYTES"]
    with pytest.raises(ValueError, match="SESSION_MAX_BYTES"):
        browser.get("/grow")
    assert client.get(f"SESSION:{sid_of(client)}") == record


def test_a_session_that_is_over_the_limit_already_may_shrink(app: Flask, client: Any) -> None:
    """koa wrote it, or the limit was lowered: it can be signed out of."""
    browser = app.test_client()
    browser.get("/grow")
    app.config["SESSION_MAX_BYTES"] = 100
    with browser.session_transaction() as small:
        small["big"] = small["big"][:300]
    assert len(client.get(f"SESSION:{sid_of(client)}")) == 310
    with pytest.raises(ValueError, match="SESSION_MAX_BYTES"):
        browser.get("/grow")


def test_a_merged_session_over_the_limit_is_refused(app: Flask, client: Any) -> None:
    """Each half fits, both together do not; the one that came first stays."""
    app.config["SESSION_MAX_BYTES"] = 600
    browser = app.test_client()
    browser.get("/write")
    cookie = browser.get_cookie("session")
    assert cookie
    with app.test_request_context(headers={"Cookie": f"session={cookie.value}"}):
        session["mine"] = "x" * 400
        browser.get("/grow")
        record = client.get(f"SESSION:{sid_of(client)}")
        with pytest.raises(ValueError, match="SESSION_MAX_BYTES allows 600"):
            app.process_response(app.response_class())
    assert client.get(f"SESSION:{sid_of(client)}") == record


def test_a_regeneration_over_the_limit_leaves_no_trail(app: Flask, client: Any) -> None:
    """Nothing at all is written before the error."""
    browser = app.test_client()
    browser.get("/write")
    keys = client.keys()
    with pytest.raises(ValueError, match="SESSION_MAX_BYTES"), under_way(app, browser):
        session.update(big="x" * 2_000_000, moves=session.regenerate())  # type: ignore[attr-defined]
    assert client.keys() == keys


def test_a_setting_is_checked_for_each_interface_of_an_app(app: Flask, client: Any) -> None:
    """Also for one that replaces another."""
    app.test_client().get("/read")
    app.config["SESSION_MAX_BYTES"] = "1M"
    app.session_interface = RedisSessionInterface(client)
    with pytest.raises(ValueError, match="SESSION_MAX_BYTES"):
        app.test_client().get("/read")


def test_a_setting_that_is_removed_has_its_default(app: Flask, client: Any) -> None:
    """As when a test takes back what it had set before the first request."""
    app.config["SESSION_MAX_BYTES"] = 5
    app.test_client().get("/read")
    del app.config["SESSION_MAX_BYTES"]
    assert app.test_client().get("/write").status_code == 200
    assert content(client) == {"n": 1}


def test_a_wrong_setting_is_one_error_in_the_log(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Flask saves no session that it could not open."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_BYTES="1M")
    app.session_interface = RedisSessionInterface(client)
    assert app.test_client().get("/").status_code == 500
    assert "SESSION_MAX_BYTES" in caplog.text
    assert "AttributeError" not in caplog.text


WRONG: dict[str, list[Any]] = {
    "SESSION_COOKIE_NAME": ["", "my session", "a;b", "größe", None, 5],
    "SESSION_COOKIE_PATH": [5, b"/"],
    "SESSION_COOKIE_DOMAIN": [True, 5],
    "SESSION_COOKIE_SECURE": ["False", ""],
    "SESSION_COOKIE_HTTPONLY": ["False"],
    "SESSION_COOKIE_PARTITIONED": ["False"],
    "SESSION_REFRESH_EACH_REQUEST": ["False"],
    "SESSION_USE_SIGNER": ["yes", 1, None],
    "SESSION_PERMANENT": ["no", 0],
    "SESSION_REFRESH_AFTER": [-1, 1.5, "60", True, None],
    "SESSION_MAX_BYTES": [0, -1, "1M", None],
    "SESSION_MAX_WAIT": [0, 0.2, "1", None, True, float("nan")],
    "SESSION_MAX_PER_OWNER": [0, -1, 1.5, "100", True],
    "SESSION_OWNER_KEYS": ["user_id", [1], {"user_id"}, None],
    "SESSION_COOKIE_SAMESITE": ["", "loose", True],
    "PERMANENT_SESSION_LIFETIME": [0, 0.5, -1, "604800", None, 2**31, float("nan")],
    "SECRET_KEY_FALLBACKS": ["old key", ["good key", ""], [5], {"a": 1}],
    "SECRET_KEY": [10**40, ["key"], True, 0],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, wrong in WRONG.items() for value in wrong])
def test_a_wrong_setting_is_refused_with_key_value_and_what_was_expected(client: Any, name: str, value: Any) -> None:
    """At the start for an app that calls check(), and else with the first request; secrets are not shown."""
    app = Flask("app")
    app.config.update({"SECRET_KEY": SECRET_KEY, "TESTING": True, name: value})
    app.session_interface = interface = RedisSessionInterface(client)
    shown = "not shown" if "SECRET" in name else repr(value)
    for start in (lambda: interface.check(app), lambda: app.test_client().get("/")):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is compared below
            start()
        assert str(caught.value).startswith(f"{name} is {shown}; expected ")


RIGHT: dict[str, list[Any]] = {
    "SESSION_COOKIE_NAME": ["session", "__Host-session", "a.b~c"],
    "SESSION_COOKIE_PATH": [None, "", "/"],
    "SESSION_COOKIE_DOMAIN": [None, False, ""],
    "SESSION_COOKIE_SECURE": [True, False, None],
    "SESSION_PERMANENT": [True, False],
    "SESSION_REFRESH_AFTER": [0, 1],
    "SESSION_MAX_BYTES": [10**9],
    "SESSION_MAX_WAIT": [0.25, 1, 2.5],
    "SESSION_MAX_PER_OWNER": [None, 1, 10**6],
    "SESSION_OWNER_KEYS": [[], ["account"], ("a", "b")],
    "SESSION_COOKIE_SAMESITE": [None, "lax", "Strict", "NONE"],
    "PERMANENT_SESSION_LIFETIME": [1, 1.5, timedelta(seconds=1), timedelta(days=365), 2**31 - 1],
    "SECRET_KEY_FALLBACKS": [None, [], ["old key"], (b"older key", "old key")],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, right in RIGHT.items() for value in right])
def test_a_right_setting_is_taken(client: Any, name: str, value: Any) -> None:
    """Up to the edges of what is accepted."""
    app = Flask("app")
    app.config.update({"SECRET_KEY": SECRET_KEY, "TESTING": True, name: value})
    app.session_interface = RedisSessionInterface(client)
    route(app, "/write", lambda: session.update(n=1))
    assert "Set-Cookie" in app.test_client().get("/write").headers


@pytest.mark.parametrize("key", [None, "", b""])
def test_a_missing_secret_key_stops_the_start_that_checks(client: Any, key: Any) -> None:
    """With the command that makes one. A request has Flask's own NullSession, which can be read."""
    app = Flask("app")
    app.config.update(SECRET_KEY=key, TESTING=True)
    app.session_interface = interface = RedisSessionInterface(client)
    route(app, "/read", lambda: f"{type(session._get_current_object()).__name__} {session.get('n')}")  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"SECRET_KEY is missing.*python3 -c '.*secrets.token_hex\(32\)"):
            interface.check(app)
        assert app.test_client().get("/read").text == "NullSession None"


def test_raw_sids_need_no_secret_key(client: Any) -> None:
    """Nothing is signed."""
    app = Flask("app")
    app.config.update(SESSION_USE_SIGNER=False, TESTING=True)
    app.session_interface = interface = RedisSessionInterface(client)
    interface.check(app)
    route(app, "/write", lambda: session.update(n=1))
    assert set_cookie(app.test_client().get("/write"))


#: What Flask-Session 0.8 reads and we do not, and what a user of it is told.
STRANGE = {
    "SESSION_TYPE": "leave it out",
    "SESSION_REDIS": "RedisSessionInterface",
    "SESSION_KEY_PREFIX": "prefix=",
    "SESSION_SERIALIZATION_FORMAT": "JSON",
    "SESSION_ID_LENGTH": "160",
    "SESSION_CLEANUP_N_REQUESTS": "expired",
    "SESSION_MEMCACHED": "in Redis",
    "SESSION_CACHELIB": "in Redis",
    "SESSION_FILE_DIR": "in Redis",
    "SESSION_FILE_THRESHOLD": "in Redis",
    "SESSION_FILE_MODE": "in Redis",
    "SESSION_MONGODB": "in Redis",
    "SESSION_MONGODB_DB": "in Redis",
    "SESSION_MONGODB_COLLECT": "in Redis",
    "SESSION_SQLALCHEMY": "in Redis",
    "SESSION_SQLALCHEMY_TABLE": "in Redis",
    "SESSION_SQLALCHEMY_SEQUENCE": "in Redis",
    "SESSION_SQLALCHEMY_SCHEMA": "in Redis",
    "SESSION_SQLALCHEMY_BIND_KEY": "in Redis",
    "SESSION_DYNAMODB": "in Redis",
    "SESSION_DYNAMODB_TABLE": "in Redis",
}


@pytest.mark.parametrize("checks", [True, False])
def test_settings_of_flask_session_are_named_once(client: Any, checks: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Each with what to do instead: at the start of an app that checks, else with the first request."""
    app = Flask("app")
    app.config.update(dict.fromkeys(STRANGE, "hunter2"), SECRET_KEY=SECRET_KEY, TESTING=True)
    app.session_interface = interface = RedisSessionInterface(client)
    if checks:
        interface.check(app)
    for after in (1, 2):
        app.test_client().get("/")
        app.config["SESSION_REFRESH_AFTER"] = after
    (line,) = caplog.messages
    parts = line.partition(": ")[2].split("; ")
    assert {part.partition(" ")[0] for part in parts} == set(STRANGE)
    assert all(STRANGE[part.partition(" ")[0]] in part for part in parts)
    assert "hunter2" not in line


def test_settings_that_flask_session_shares_are_not_named(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Flask's, ours, and an app's own."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_PERMANENT=False, SESSION_USE_SIGNER=True, SESSION_COOKIE_PATH="/")
    app.config.update(SESSION_TYPES=["a"], SESSION_REDIS_URL="redis://localhost", MY_SESSION_TYPE="b", SESSION_FILES=1)
    app.session_interface = interface = RedisSessionInterface(client)
    interface.check(app)
    assert caplog.messages == []
