"""Promise 8 for the app's own handlers and functions: what they read during an outage crashes nothing."""

from __future__ import annotations

import pytest
from flask import Flask, Response, abort, flash, session
from support.apps import interface_of, route, set_cookie
from support.clock import Clock
from support.outages import Outage, assert_unavailable, cookie_of, get, make_app, make_outage

from redis_store import StoreUnavailable


@pytest.fixture(params=["fakeredis", "stopped", pytest.param("frozen", marks=pytest.mark.thorough)])
def outage(request: pytest.FixtureRequest) -> Outage:
    return make_outage(request)


def page_with_flash(error: Exception) -> tuple[str, int]:
    flash("not found")
    return "gone", 404


def error_page(error: Exception) -> tuple[str, int]:
    return f"signed in: {session.get('user_id')}", getattr(error, "code", 500)


@pytest.fixture(params=[True, False], ids=["TESTING", "production"])
def app(request: pytest.FixtureRequest, outage: Outage, clock: Clock) -> Flask:
    return make_app(outage, clock, testing=request.param)


def test_error_handlers_that_read_the_session_do_not_fail(app: Flask, outage: Outage) -> None:
    """A page with the user's name on it, for every error: a 404 stays a 404, a 503 a 503, and a 500 becomes one."""
    for code in (404, 500, 503):
        app.register_error_handler(code, error_page)
    route(app, "/abort", lambda: abort(404))
    route(app, "/bug", lambda: 1 / 0)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    cookie = cookie_of(app)
    outage.begin()
    response = get(app, "/read", cookie)
    assert_unavailable(response)
    assert response.text == "signed in: None"
    for path in ("/missing", "/abort"):
        response = get(app, path, cookie)
        assert (response.status_code, response.text, set_cookie(response)) == (404, "signed in: None", None)
        assert "Retry-After" not in response.headers
    assert_unavailable(get(app, "/bug", cookie))


def test_an_error_handler_that_writes_to_the_session_makes_it_503(app: Flask, outage: Outage) -> None:
    """A change that could not be stored is never passed over in silence."""
    app.register_error_handler(404, page_with_flash)
    cookie = cookie_of(app)
    outage.begin()
    assert_unavailable(get(app, "/missing", cookie))


def test_a_handler_for_store_unavailable_is_asked(app: Flask, outage: Outage) -> None:
    """For a failed read and for a failed write alike; the status stays 503 whatever it says."""
    app.register_error_handler(StoreUnavailable, lambda error: ({"our own": "answer"}, 503))
    cookie = cookie_of(app)
    outage.begin()
    for path, held in (("/read", cookie), ("/start", None)):
        response = get(app, path, held)
        assert_unavailable(response)
        assert response.json == {"our own": "answer"}


def test_a_handler_is_asked_when_other_sessions_cannot_be_listed_or_ended(app: Flask, outage: Outage) -> None:
    """Its answer has Retry-After as well, though the visitor's own session was never asked for."""
    app.register_error_handler(503, lambda error: ("our own", 503))
    route(app, "/devices", lambda: str(app.session_interface.sessions_of("ada")))  # type: ignore[attr-defined]
    route(app, "/revoke", lambda: str(app.session_interface.revoke("ada")))  # type: ignore[attr-defined]
    outage.begin()
    for path in ("/devices", "/revoke"):
        response = get(app, path, None)
        assert_unavailable(response)
        assert response.text == "our own"


def test_an_error_handler_that_is_the_first_to_ask_redis_makes_it_503(app: Flask, outage: Outage) -> None:
    """A failure while Flask answers another one would be a 500."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.register_error_handler(ZeroDivisionError, lambda error: str(interface_of(app).sessions_of("ada")))
    route(app, "/bug", lambda: 1 / 0)
    outage.begin()
    assert_unavailable(get(app, "/bug", None))


def test_a_page_that_shows_the_ttl_is_503(app: Flask, outage: Outage) -> None:
    """Though the session was read before the outage began."""

    def show() -> str:
        session.get("n")
        outage.begin()
        return str(session.ttl())  # type: ignore[attr-defined]

    route(app, "/ttl", show)
    assert_unavailable(get(app, "/ttl", cookie_of(app)))


def test_a_503_of_the_apps_own_is_left_alone(app: Flask, outage: Outage) -> None:
    """Retry-After is added to ours only."""
    route(app, "/closed", lambda: abort(503))
    assert "Retry-After" not in get(app, "/closed", cookie_of(app)).headers


def test_a_handler_that_fails_is_replaced_by_a_plain_page(
    app: Flask, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed write is a 503 even then."""
    app.register_error_handler(503, lambda error: str(1 / 0))
    outage.begin()
    assert_unavailable(get(app, "/start", None))
    assert "ZeroDivisionError" in caplog.text


def test_a_view_that_takes_the_exception_may_go_on_but_not_write(app: Flask, outage: Outage) -> None:
    """Whoever was told of the outage and shows a page all the same is trusted, until it changes the session."""

    def anonymous() -> str:
        try:
            return f"hello {session['n']}"
        except StoreUnavailable:
            return "hello you"

    def careless() -> str:
        text = anonymous()
        session["n"] = 5
        return text

    route(app, "/anonymous", anonymous)
    route(app, "/careless", careless)
    cookie = cookie_of(app)
    outage.begin()
    assert get(app, "/anonymous", cookie).text == "hello you"
    assert_unavailable(get(app, "/careless", cookie))


@pytest.mark.parametrize(
    ("status", "answer"), [(200, 503), (302, 503), (399, 503), (400, 400), (401, 503), (403, 503), (404, 404)]
)
def test_an_outage_that_shows_inside_an_except_block_is_no_answer(
    app: Flask, outage: Outage, status: int, answer: int
) -> None:
    """There the session looks empty instead of raising a second error, so a page built from it is refused."""

    def view() -> tuple[str, int]:
        try:
            raise KeyError
        except KeyError:
            return ("you", 200) if "n" in session else ("guest", status)

    route(app, "/", view)
    cookie = cookie_of(app)
    outage.begin()
    response = get(app, "/", cookie)
    assert (response.status_code, set_cookie(response)) == (answer, None)


def test_after_request_and_teardown_functions_that_read_it_crash_nothing(app: Flask, outage: Outage) -> None:
    """Flask-Login does so on each request."""
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def after(response: Response) -> Response:
        response.headers["X-User"] = str(session.get("user_id"))
        return response

    app.after_request(after)
    app.teardown_request(lambda error: print(session.get("user_id")))
    cookie = cookie_of(app)
    outage.begin()
    assert_unavailable(get(app, "/public", cookie))
    assert get(app, "/public", None).status_code == 200


def test_a_teardown_function_that_is_the_first_to_read_it_crashes_nothing(app: Flask, outage: Outage) -> None:
    """The response is decided by then."""
    app.teardown_request(lambda error: print(session.get("user_id")))
    cookie = cookie_of(app)
    outage.begin()
    assert get(app, "/public", cookie).text == "public"
