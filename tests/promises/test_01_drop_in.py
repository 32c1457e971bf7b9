"""Promise 1: a drop-in for Flask's session. Flask's own test-suite is run by conformance/suites.py."""

from __future__ import annotations

import copy
import operator
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import flask
import pytest
from flask import Flask, session
from flask.sessions import NullSession, SecureCookieSession
from hypothesis import HealthCheck, given, settings
from markupsafe import Markup
from support.apps import SECRET_KEY, route, set_cookie, sid_of
from support.tiers import rounds
from support.values import sessions, typed

from _redis_store.record import dump_record, load_record
from redis_store import RedisSessionInterface, RedisStore

SPECIAL = {
    "t": (1, (2, [3, (4,)])),
    "b": b"\xff\x00",
    "m": Markup("<b>"),
    "u": uuid.UUID(int=5),
    "d": datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC),
    "tag": {" t": "no tuple"},
    "tag2": {" t__": "no tuple"},
    "tag3": {" di": {" b": "no bytes"}},
    "nested": [{"x": ({"y": b"z"},)}],
}


def test_special_types_come_back_as_they_were(app: Flask) -> None:
    """The types that Flask's tagged JSON keeps survive, nested too, and what looks like a tag is none."""
    route(app, "/set", lambda: session.update(SPECIAL))
    route(app, "/get", lambda: repr([dict(session) == SPECIAL, type(session["m"]), session["t"]]))
    browser = app.test_client()
    browser.get("/set")
    assert browser.get("/get").text == repr([True, Markup, SPECIAL["t"]])


@given(sessions)
@settings(max_examples=rounds(50, 300), deadline=None)
def test_every_session_survives_its_record(data: dict[str, Any]) -> None:
    """What dump_record writes, load_record reads: equal, and of the same types."""
    assert typed(load_record(dump_record(data))) == typed(data)


@given(sessions.filter(bool))
@settings(max_examples=rounds(15, 60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_session_survives_redis(app: Flask, data: dict[str, Any]) -> None:
    """Through the interface, on either backend, a session comes back as it was."""
    browser = app.test_client()
    with browser.session_transaction() as written:
        written.update(data)
    with browser.session_transaction() as read:
        assert typed(dict(read)) == typed(data)


METHODS: list[Callable[[Any], Any]] = [
    lambda s: s["a"],
    lambda s: s.get("b"),
    lambda s: s.get("no", 5),
    lambda s: "a" in s,
    lambda s: len(s),
    lambda s: bool(s),
    lambda s: list(s),
    lambda s: list(reversed(s)),
    lambda s: (list(s.keys()), list(s.values()), list(s.items())),
    lambda s: dict(s),
    lambda s: {**s},
    lambda s: s == {"a": 1, "b": [2]},
    lambda s: s != {"a": 1, "b": [2]},
    lambda s: repr(s).partition(" ")[2],
    lambda s: list(s.values()),
    lambda s: list(s.items()),
    lambda s: s | {"c": 3},
    lambda s: {"c": 3} | s,
    lambda s: s.copy() == {"a": 1, "b": [2]},
    lambda s: s.setdefault("c", 3),
    lambda s: s.setdefault("a", 3),
    lambda s: s.pop("a"),
    lambda s: s.pop("no", 7),
    lambda s: s.popitem(),
    lambda s: s.update(c=3),
    lambda s: s.update({"a": 2}, d=4),
    lambda s: s.__setitem__("a", 5),
    lambda s: s.__delitem__("a"),
    lambda s: s.__ior__({"e": 5}) and None,
    lambda s: s.clear(),
    lambda s: s.permanent,
    lambda s: setattr(s, "permanent", True),
    lambda s: setattr(s, "permanent", "yes"),
    lambda s: s.modified,
    lambda s: s.new,
    lambda s: isinstance(s, dict),
    lambda s: isinstance(s, SecureCookieSession),
]


@pytest.mark.parametrize("number", range(len(METHODS)))
def test_each_method_as_the_first_use_does_what_flasks_own_session_does(app: Flask, number: int) -> None:
    """Result, content and `modified` after each method are those of Flask's cookie session: nothing is skipped."""
    method = METHODS[number]
    app.config["SESSION_PERMANENT"] = False
    seen: list[Any] = []
    route(app, "/", lambda: seen.extend([method(session), dict(session), session.modified]))
    browser = app.test_client()
    with browser.session_transaction() as ours:
        ours.update({"a": 1, "b": [2]})
    flasks = SecureCookieSession({"a": 1, "b": [2]})
    browser.get("/")
    assert seen == [method(flasks), dict(flasks), flasks.modified]


def test_a_missing_key_is_a_key_error(app: Flask) -> None:
    """As with any dict."""
    with app.test_request_context(), pytest.raises(KeyError):
        session["no"]


@pytest.mark.parametrize("key", [None, "", b""])
def test_without_a_secret_key_there_is_a_null_session(app: Flask, key: str | bytes | None) -> None:
    """Reading works, writing explains what is missing."""
    app.secret_key = key
    with app.test_request_context():
        assert isinstance(flask.globals.request_ctx._session, NullSession)
        assert session.get("a") is None
        with pytest.raises(RuntimeError, match="secret key"):
            session["a"] = 1


def test_flashed_messages_survive_a_redirect(app: Flask) -> None:
    """flash() and get_flashed_messages(), Markup included."""

    def view() -> Any:
        flask.flash(Markup("<b>hi</b>"), "note")
        return flask.redirect("/")

    route(app, "/flash", view)
    route(app, "/", lambda: repr(flask.get_flashed_messages(with_categories=True)))
    browser = app.test_client()
    assert browser.get("/flash", follow_redirects=True).text == "[('note', Markup('<b>hi</b>'))]"
    assert browser.get("/").text == "[]"


@pytest.mark.parametrize(
    "change",
    [lambda cart: cart["list"].append(2), lambda cart: cart["deep"]["x"].update(y=1), lambda cart: cart.clear()],
)
def test_a_change_inside_a_nested_value_is_saved(app: Flask, change: Callable[[Any], Any]) -> None:
    """Without `modified`, as koa-session2 does: it is the JSON that is compared."""
    browser = app.test_client()
    cart: dict[str, Any] = {"list": [1], "deep": {"x": {}}}
    with browser.session_transaction() as first:
        first["cart"] = cart
    with browser.session_transaction() as second:
        change(second["cart"])
        assert not second.modified
    change(cart)
    with browser.session_transaction() as third:
        assert third["cart"] == cart


@pytest.mark.parametrize(
    "reach",
    [
        lambda held: held["cart"],
        lambda held: held.get("cart"),
        lambda held: held.setdefault("cart", []),
        lambda held: next(iter(held.values())),
        lambda held: next(iter(held.items()))[1],
        lambda held: dict(held)["cart"],
        lambda held: {**held}["cart"],
        lambda held: (held | {})["cart"],
        lambda held: ({} | held)["cart"],
        lambda held: held.copy()["cart"],
        lambda held: copy.copy(held)["cart"],
        lambda held: operator.itemgetter("cart")(held),
        lambda held: held.get("user_id") and held["cart"],
    ],
)
def test_a_list_that_the_session_gave_away_may_change_anywhere(app: Flask, reach: Callable[[Any], Any]) -> None:
    """A session that was used is compared with its record, whichever way a list was got hold of."""

    def view() -> None:
        reach(session).append(2)
        assert not session.modified

    route(app, "/", view)
    browser = app.test_client()
    with browser.session_transaction() as first:
        first.update(cart=[1], user_id="ada")
    browser.get("/")
    with browser.session_transaction() as second:
        assert second["cart"] == [1, 2]


def test_what_an_update_had_set_before_it_failed_is_saved(app: Flask) -> None:
    """The view saw it in the session, and may have gone on."""

    def pairs() -> Iterator[tuple[str, int]]:
        yield "a", 1
        raise LookupError

    browser = app.test_client()
    with browser.session_transaction() as first:
        first["b"] = 2
    with browser.session_transaction() as second, suppress(LookupError):
        second.update(pairs())
    with browser.session_transaction() as third:
        assert dict(third) == {"a": 1, "b": 2}


def test_every_cookie_setting_is_honoured_on_setting_and_on_deletion(app: Flask) -> None:
    """Name, domain, path, Secure, HttpOnly, SameSite, Partitioned: a deletion that differs deletes nothing."""
    app.config.update(
        SESSION_COOKIE_NAME="sid",
        SESSION_COOKIE_DOMAIN="example.com",
        SESSION_COOKIE_PATH="/shop",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_PARTITIONED=True,
    )
    route(app, "/shop/in", lambda: session.update(a=1))
    route(app, "/shop/out", lambda: session.clear())
    browser = app.test_client()
    attributes = {"Domain=example.com", "Path=/shop", "Secure", "HttpOnly", "SameSite=Strict", "Partitioned"}
    for path, value in (("in", ""), ("out", "sid=")):
        (header,) = browser.get(f"/shop/{path}", base_url="https://www.example.com").headers.getlist("Set-Cookie")
        first, *rest = header.split("; ")
        assert first.startswith("sid=")
        assert first == value or not value
        assert attributes <= set(rest)
    assert "Max-Age=0" in rest


def test_vary_is_there_when_the_session_was_used_or_its_cookie_set(app: Flask, clock: Any) -> None:
    """A cache must not hand one visitor's page to another; a page without session may be shared."""
    route(app, "/in", lambda: session.update(a=1))
    route(app, "/read", lambda: str(session.get("a")))
    route(app, "/no", lambda: "public")
    browser = app.test_client()
    assert "Cookie" in browser.get("/in").vary
    assert "Cookie" in browser.get("/read").vary
    assert "Cookie" not in browser.get("/no").vary
    clock.offset = 301
    assert "Cookie" in browser.get("/no").vary


def test_fallback_keys_are_accepted_and_the_cookie_is_signed_anew(app: Flask) -> None:
    """A rotated key ends no session, and the next cookie has the new key's signature."""
    browser = app.test_client()
    with browser.session_transaction() as first:
        first["a"] = 1
    app.config.update(SECRET_KEY="another-" + SECRET_KEY, SECRET_KEY_FALLBACKS=[SECRET_KEY])
    with browser.session_transaction() as second:
        assert second["a"] == 1
        second["a"] = 2
    app.config["SECRET_KEY_FALLBACKS"] = None
    with browser.session_transaction() as third:
        assert third["a"] == 2


def test_a_copy_is_a_copy(app: Flask) -> None:
    """copy() and deepcopy() hold what the session holds, also as its first use."""
    browser = app.test_client()
    makers: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, lambda held: held.copy()]
    for make in makers:
        with browser.session_transaction() as first:
            first["a"] = [1]
        with browser.session_transaction() as second:
            assert dict(make(second)) == {"a": [1]}


def test_threads_of_one_request_share_its_session(app: Flask) -> None:
    """Each of them sees the record, whoever came first."""

    def view() -> str:
        readers = [flask.copy_current_request_context(lambda: str(session.get("user_id"))) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            return " ".join(result.result() for result in [pool.submit(reader) for reader in readers])

    route(app, "/", view)
    browser = app.test_client()
    for _ in range(20):
        with browser.session_transaction() as first:
            first["user_id"] = "ada"
        assert browser.get("/").text == " ".join(["ada"] * 8)


def test_saving_twice_is_saving_once(app: Flask, client: Any) -> None:
    """Extensions (Flask-SocketIO) save a session that they hold several times: one record, the last state."""
    interface = app.session_interface
    with app.test_request_context():
        for number in range(3):
            session["n"] = number
            interface.save_session(app, flask.globals.request_ctx.session, app.response_class())
    sid = sid_of(client)
    assert load_record(client.get(f"SESSION:{sid}")) == {"n": 2}


def test_a_session_that_was_moved_or_ended_can_be_saved_again(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is moved once; and after its end, what comes is a new one."""
    interface = app.session_interface
    with app.test_request_context():
        held = flask.globals.request_ctx.session

        def save() -> str | None:
            response = app.response_class()
            interface.save_session(app, held, response)
            return set_cookie(response)

        session["n"] = 1
        save()
        session.regenerate()  # type: ignore[attr-defined]
        save()
        moved = sid_of(client)
        for number in (2, 1):
            session["n"] = number
            save()
            assert load_record(client.get(f"SESSION:{moved}")) == {"n": number}
        ends: list[Callable[[], object]] = [lambda: session.pop("n"), session.clear]
        for end in ends:
            end()
            assert str(save()).startswith("session=;")
            assert client.keys("SESSION:*") == []
            session["n"] = 3
            save()
            assert load_record(client.get(f"SESSION:{sid_of(client)}")) == {"n": 3}
    assert sid_of(client) != moved
    assert caplog.messages == []


def test_a_new_session_that_is_saved_again_keeps_its_sid(app: Flask, client: Any) -> None:
    """Also if it was to have a new one: it just got it."""
    interface = app.session_interface
    with app.test_request_context():
        session.regenerate()  # type: ignore[attr-defined]
        sids = []
        for number in range(2):
            session["n"] = number
            interface.save_session(app, flask.globals.request_ctx.session, app.response_class())
            sids.append(sid_of(client))
    assert sids[0] == sids[1]


def test_a_session_lives_on_while_a_response_is_streamed(app: Flask) -> None:
    """stream_with_context reads the session after it was saved."""

    def view() -> flask.Response:
        session["a"] = 1
        return flask.Response(flask.stream_with_context(str(session["a"]) for _ in range(2)))

    route(app, "/", view)
    assert app.test_client().get("/").text == "11"


def test_the_interface_takes_a_client_or_a_store(client: Any) -> None:
    """Two lines are all that an app needs; a store of one's own brings its prefix."""
    app = Flask("plain")
    app.secret_key = SECRET_KEY
    app.session_interface = RedisSessionInterface(RedisStore(client, "shop:"))
    route(app, "/", lambda: session.update(a=1))
    assert set_cookie(app.test_client().get("/"))
    assert [key[:5] for key in client.keys()] == [b"shop:"]


@pytest.mark.parametrize(("after", "sent"), [(0, True), (300, False)])
def test_flasks_own_meaning_sends_a_cookie_for_an_equal_value(app: Flask, after: int, sent: bool) -> None:
    """Also of a session that ends with the browser: with SESSION_REFRESH_AFTER=0 a refresh is always due."""
    app.config.update(SESSION_PERMANENT=False, SESSION_REFRESH_AFTER=after)
    route(app, "/", lambda: session.update(n=1))
    route(app, "/read", lambda: str(session["n"]))
    browser = app.test_client()
    assert set_cookie(browser.get("/"))
    assert bool(set_cookie(browser.get("/"))) == sent
    assert set_cookie(browser.get("/read")) is None
