"""The sid, and the cookie that carries it. Pure: no Redis, and a clock that stands still."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from itsdangerous import Signer
from support.apps import SECRET_KEY
from support.tiers import rounds
from werkzeug.sansio.http import parse_cookie

from _redis_store.cookie import (
    CLOCK_SKEW,
    SALT,
    Cookie,
    _find_all,
    choose,
    make,
    read_all,
)
from _redis_store.lifetime import is_due
from _redis_store.settings import Settings, read
from _redis_store.sid import SID, began_at, new_sid

NOW = 1_800_000_000  # Unix time
IDLE = 1000  # seconds
OURS, KOAS, UUID = f"{NOW:08x}-{'a' * 40}", "b" * 48, "3b241101-e2bb-4255-8caf-4136c566a962"


def make_settings(**config: Any) -> Settings:
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, PERMANENT_SESSION_LIFETIME=IDLE, **config)
    settings = read(app, lambda: NOW)
    assert settings
    return settings


SIGNED, RAW = make_settings(), make_settings(SESSION_USE_SIGNER=False)


def later(seconds: int, settings: Settings = SIGNED, **values: Any) -> Settings:
    """The same settings, at another time."""
    return dataclasses.replace(settings, clock=lambda: NOW + seconds, **values)


def find(header: str, settings: Settings = SIGNED) -> str | None:
    """The sid that counts, of all that a browser sent."""
    cookie = choose(settings, read_all(settings, header, "session"))
    return cookie.sid if cookie else None


# The sid


def test_a_sid_says_when_its_session_began() -> None:
    """In whole seconds; and nobody can guess the rest."""
    assert new_sid(NOW + 0.9).startswith(f"{NOW:08x}-")
    assert began_at(new_sid(NOW + 0.9)) == NOW
    sids = {new_sid(NOW) for _ in range(1000)}
    assert len(sids) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{40}", sid) and SID.fullmatch(sid) for sid in sids)


@given(st.integers(0, 2**32 - 1))
def test_every_time_until_2106_is_read_as_it_was_written(time: int) -> None:
    """began_at(new_sid(time)) == time"""
    assert began_at(new_sid(time)) == time


@pytest.mark.parametrize("sid", [KOAS, UUID, "", OURS.upper(), OURS + "0", OURS + "\n", OURS[1:], "x" * 49])
def test_a_sid_of_another_form_does_not_say_when_its_session_began(sid: str) -> None:
    """Not koa's, though they begin with such digits as well; nor what is no sid."""
    assert began_at(sid) is None


# Reading


@pytest.mark.parametrize("permanent", [True, False])
@pytest.mark.parametrize("sid", [OURS, KOAS, UUID])
def test_a_cookie_says_what_it_was_made_of(sid: str, permanent: bool) -> None:
    """Whose sid it is, whether it is to outlive the browser, and when it was signed."""
    (cookie,) = read_all(SIGNED, f"session={make(SIGNED, sid, permanent)}", "session")
    assert cookie[:3] == (sid, permanent, NOW)
    assert choose(SIGNED, [cookie]) == cookie


@given(st.integers(2**24, 2**34))
def test_a_cookie_of_any_time_says_when_it_was_signed(time: int) -> None:
    """From 1970 on, and after 2106."""
    at = dataclasses.replace(SIGNED, clock=lambda: time)
    (cookie,) = read_all(at, f"session={make(at, KOAS, True)}", "session")
    assert cookie.signed_at == time
    assert choose(at, [cookie]) == cookie


GOOD = make(SIGNED, OURS, True)


@pytest.mark.parametrize(
    ("header", "number"),
    [
        ("", 0),
        ("session=", 0),
        ("session", 0),
        ("=session", 0),
        (";;; ;", 0),
        (f"session={GOOD}", 1),
        (f"a=b; session={GOOD}; c=d", 1),
        (f"a=b;session={GOOD};c=d", 1),
        (f"  session \t= {GOOD}  ;", 1),
        (f'session="{GOOD}"', 1),
        (f'other="quoted; or not"; session={GOOD}', 1),
        (f'other="quoted; session={GOOD}"', 0),
        (f"session={GOOD}; session={GOOD}", 2),
        (f'session={GOOD}; session="{GOOD}"; session=nonsense', 2),
        (f"session2={GOOD}", 0),
        (f"my-session={GOOD}", 0),
        (f"__Host-session={GOOD}", 0),
        (f"Session={GOOD}", 0),
        (f"a=session={GOOD}", 0),
        (f"session={GOOD}; sessions=x; session.sig=y", 1),
        (f"\u00a0session={GOOD}", 0),
        (f"\x1fsession={GOOD}", 0),
        (f"session={GOOD}\u0085", 0),
        (f"session={GOOD} {GOOD}", 0),
        (f"session={GOOD},{GOOD}", 0),
        (f"session={GOOD}x", 0),
        (f"session={GOOD[:-1]}", 0),
        (f"session={OURS}", 0),
        (f"session={GOOD.replace('.p.', '.x.')}", 0),
        (f"session={GOOD.upper()}", 0),
        ("session=\u00ff; \u00e4=\u00fc", 0),
        ('session="\u00ff"; \u00e4="', 0),
    ],
)
def test_reading_finds_the_cookies_of_that_name_which_look_like_ours(header: str, number: int) -> None:
    """Several of one name, quoted ones, spaces; not names that contain it, and nothing that has another form."""
    found = read_all(SIGNED, header, "session")
    assert [cookie[:3] for cookie in found] == [(OURS, True, NOW)] * number


@pytest.mark.parametrize("value", [OURS, KOAS, UUID])
def test_an_unsigned_cookie_is_the_sid(value: str) -> None:
    """As koa's. It does not say when it was set; and a signed one is no sid."""
    assert make(RAW, value, True) == value
    assert read_all(RAW, f"session={value}; session={GOOD}; session={value}x", "session") == [Cookie(value, True, 0)]
    assert find(f"session={value}", RAW) == value


parts = st.sampled_from(["session", "session2", "my-session", "Session", "=", ";", "; ", " ", "\t", "a", "v1", OURS])
anything = st.characters(max_codepoint=255)  # what a WSGI server can hand over
bare = st.lists(parts | anything.filter(lambda letter: letter != '"')).map("".join)
quoted = st.lists(parts | st.sampled_from(['"', "\\", '"a"', "\\073", '="']) | anything).map("".join)


@given(bare)
@hypothesis_settings(max_examples=rounds(100, 1000), deadline=None)
def test_cookies_are_found_as_werkzeug_finds_them(header: str) -> None:
    """But for values with a space inside, which Werkzeug leaves out, and which are never ours."""
    found = [value for value in _find_all(header, "session") if not re.search("[ \t]", value)]
    assert found == parse_cookie(header).getlist("session")


@given(quoted)
@hypothesis_settings(max_examples=rounds(100, 1000), deadline=None)
def test_cookies_are_found_as_werkzeug_finds_them_among_quoted_ones(header: str) -> None:
    """The same, whatever bytes came."""
    found = [value for value in _find_all(header, "session") if '"' in header or not re.search("[ \t]", value)]
    assert found == parse_cookie(header).getlist("session")


@given(bare | quoted)
@hypothesis_settings(deadline=None)
def test_no_header_is_an_error(header: str) -> None:
    """Nor a session."""
    assert find(header) is None


# Choosing


@given(st.data())
@hypothesis_settings(max_examples=rounds(50, 300), deadline=None)
def test_a_cookie_that_was_changed_says_nothing_else(data: st.DataObject) -> None:
    """Whichever character it is: none counts, or one that says the same (base64 has bits to spare)."""
    place = data.draw(st.integers(0, len(GOOD) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_."))
    changed = GOOD[:place] + letter + GOOD[place + 1 :]
    cookie = choose(SIGNED, read_all(SIGNED, f"session={changed}", "session"))
    assert cookie is None or cookie[:3] == (OURS, True, NOW)
    assert place > GOOD.rindex(".") or letter == GOOD[place] or cookie is None


def test_a_cookie_of_another_key_or_purpose_does_not_count() -> None:
    """What the same key signed with another salt, or another one with ours."""
    payload = GOOD.rpartition(".")[0]
    others = [Signer(SECRET_KEY, "itsdangerous"), Signer("x" + SECRET_KEY, SALT), Signer(SECRET_KEY, SALT)]
    assert [find(f"session={signer.sign(payload).decode()}") for signer in others] == [None] * 3  # SHA-1, the last one
    assert find(f"session={make(make_settings(SECRET_KEY_FALLBACKS=['x' * 40]), OURS, True)}") == OURS


def test_a_fallback_key_is_accepted_until_it_is_taken_away() -> None:
    """And new cookies are signed with the current one."""
    app = Flask("app")
    app.config.update(SECRET_KEY="another-" + SECRET_KEY, SECRET_KEY_FALLBACKS=[SECRET_KEY])
    rotated = read(app, lambda: NOW)
    assert rotated
    assert find(f"session={GOOD}", rotated) == OURS
    assert find(f"session={make(rotated, OURS, True)}") is None


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [(0, True), (IDLE, True), (IDLE + 1, False), (-CLOCK_SKEW, True), (-CLOCK_SKEW - 1, False)],
)
def test_a_cookie_counts_for_as_long_as_its_session_may_be_idle(seconds: int, counts: bool) -> None:
    """To the second; and the clock of the host that signed it may be a minute ahead."""
    assert find(f"session={GOOD}", later(seconds)) == (OURS if counts else None)


@pytest.mark.parametrize(("sid", "there"), [(OURS, False), (KOAS, True), (UUID, True)])
@pytest.mark.parametrize("settings", [SIGNED, RAW])
def test_a_cookie_past_the_absolute_limit_does_not_count(settings: Settings, sid: str, there: bool) -> None:
    """The sid tells; koa's does not."""
    header = f"session={make(settings, sid, True)}"
    assert find(header, later(500, settings, absolute_max_age=500.0)) == sid
    assert find(header, later(501, settings, absolute_max_age=500.0)) == (sid if there else None)


def test_of_several_cookies_of_one_session_the_youngest_counts() -> None:
    """Whichever comes first: after SESSION_COOKIE_DOMAIN was set, a browser sends the old one along."""
    values = [make(later(seconds), OURS, permanent) for seconds, permanent in ((5, True), (9, False), (0, True))]
    for order in (values, values[::-1], values[1:] + values[:1]):
        cookies = read_all(SIGNED, "; ".join(f"session={value}" for value in order), "session")
        chosen = choose(later(10), cookies)
        assert chosen
        assert chosen[:3] == (OURS, False, NOW + 9)


@pytest.mark.parametrize("settings", [SIGNED, RAW])
def test_the_cookies_of_two_sessions_are_none(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can tell which of them was planted. One line in the log, without a sid."""
    header = f"session={make(settings, OURS, True)}; session={make(settings, KOAS, True)}"
    assert find(header, settings) is None
    (message,) = caplog.messages
    assert "cookies of 2 sessions" in message
    assert OURS not in message
    assert KOAS not in message


@pytest.mark.parametrize(
    "other",
    [
        make(SIGNED, KOAS, True)[:-5] + "xxxxx",
        make(dataclasses.replace(SIGNED, keys=("x" * 40,)), KOAS, True),
        make(later(-IDLE - 1), KOAS, True),
        make(later(CLOCK_SKEW + 1), KOAS, True),
        KOAS,
        "nonsense",
        "",
    ],
    ids=["bad signature", "other key", "too old", "from the future", "not signed", "nonsense", "empty"],
)
def test_a_cookie_that_is_not_good_does_not_count_beside_a_good_one(
    other: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever comes first, and without a line in the log: nobody can lock a visitor out so."""
    assert find(f"session={other}; session={GOOD}") == find(f"session={GOOD}; session={other}") == OURS
    assert caplog.messages == []


def test_no_cookie_is_none() -> None:
    """The plain case."""
    assert choose(SIGNED, []) is None


# Refreshing


@pytest.mark.parametrize(
    ("after", "age", "due"),
    [(300, 300, False), (300, 301, True), (300, -5, False), (0, 0, True), (0, -5, True)],
)
def test_a_refresh_is_due_when_a_cookie_is_older_than_refresh_after(after: int, age: int, due: bool) -> None:
    """Zero: always, whatever the clocks say."""
    settings = make_settings(SESSION_REFRESH_AFTER=after)
    assert is_due(settings, NOW - age) is due


def test_a_cookie_that_does_not_say_its_age_is_always_due() -> None:
    """It is not signed; its record tells more."""
    assert is_due(RAW, 0)


@pytest.mark.parametrize("after", [0, 300])
def test_no_refresh_is_due_where_use_keeps_no_session_alive(after: int) -> None:
    """SESSION_REFRESH_EACH_REQUEST=False, koa's way."""
    settings = make_settings(SESSION_REFRESH_EACH_REQUEST=False, SESSION_REFRESH_AFTER=after)
    assert not is_due(settings, NOW - 500)
    assert not is_due(settings, 0)
