"""Promise 8, in its simple form: honest when Redis is not there, with nothing registered but the two lines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import fakeredis
import pytest
from flask import Flask, Response, abort, redirect, send_file, session
from redis.exceptions import ClusterCrossSlotError
from support.apps import SECRET_KEY, route, set_cookie, sid_of
from support.clock import Clock
from support.outages import Outage, assert_unavailable, cookie_of, get, make_app, make_outage
from support.servers import PATIENCE, RedisServer

from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable


@pytest.fixture(params=["fakeredis", "stopped", "frozen"])
def outage(request: pytest.FixtureRequest) -> Outage:
    return make_outage(request)


@pytest.fixture(params=[True, False], ids=["TESTING", "production"])
def app(request: pytest.FixtureRequest, outage: Outage, clock: Clock) -> Flask:
    return make_app(outage, clock, testing=request.param)


@pytest.mark.parametrize("path", ["/read", "/start", "/login", "/logout", "/regenerate"])
def test_a_page_that_needs_the_session_is_503_and_keeps_the_cookie(app: Flask, outage: Outage, path: str) -> None:
    """Within a second; not a login page, not a 500, not a redirect that claims success."""
    cookie = cookie_of(app)
    outage.begin()
    assert_unavailable(get(app, path, cookie))


@pytest.mark.parametrize("path", ["/start", "/login"])
def test_a_first_write_that_fails_is_503_without_a_cookie(app: Flask, outage: Outage, path: str) -> None:
    """No cookie is sent for a record that is not there."""
    outage.begin()
    assert_unavailable(get(app, path, None))


def test_pages_that_do_not_use_the_session_work(
    app: Flask, outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """With and without a cookie, also when a refresh would be due; and so does reading no session."""
    cookie = cookie_of(app)
    outage.begin()
    for path, held in (("/public", None), ("/public", cookie), ("/read", None), ("/read", "nonsense")):
        assert get(app, path, held).status_code == 200
    assert caplog.messages == []
    clock.offset = 400
    response = get(app, "/public", cookie)
    assert (response.status_code, set_cookie(response)) == (200, None)
    [line] = caplog.messages
    assert line.startswith("GET failed with ")


def test_the_app_recovers_by_itself(app: Flask, outage: Outage) -> None:
    """No restart: the next request after the repair is answered, from the same session if its record is still there."""
    cookie = cookie_of(app)
    outage.begin()
    assert_unavailable(get(app, "/read", cookie))
    outage.end()
    assert get(app, "/read", cookie).text == ("None" if outage.kind == "stopped" else "1")


def test_an_app_that_starts_without_redis_recovers_too(app: Flask, outage: Outage) -> None:
    """Nothing connects before the first use."""
    outage.begin()
    assert get(app, "/public", None).status_code == 200
    assert_unavailable(get(app, "/start", None))
    outage.end()
    assert get(app, "/start", None).status_code == 200


def test_an_outage_is_told_once(app: Flask, outage: Outage) -> None:
    """To code that was told, the session is empty from then on, whatever it does before it shows an error page."""

    def view() -> None:
        with suppress(StoreUnavailable):
            print(session["n"])
        abort(404 if "n" not in session else 500)

    route(app, "/", view)
    cookie = cookie_of(app)
    outage.begin()
    assert get(app, "/", cookie).status_code == 404


def test_an_outage_that_was_passed_over_does_not_show_a_login_page(app: Flask, outage: Outage) -> None:
    """A function before the view swallowed the exception; to the view the session looks empty."""

    def careless() -> None:
        with suppress(Exception):
            print(session["language"])

    app.before_request(careless)
    route(app, "/", lambda: "you" if "n" in session else redirect("/login"))
    cookie = cookie_of(app)
    outage.begin()
    assert_unavailable(get(app, "/", cookie))


def test_a_server_that_calls_the_app_while_it_handles_an_error_is_no_excuse(app: Flask, outage: Outage) -> None:
    """The view is told of the outage, and does not go on with an empty session."""
    reached = []
    route(app, "/", lambda: reached.append(session.get("n")))
    cookie = cookie_of(app)
    outage.begin()
    try:
        raise KeyError
    except KeyError:
        assert_unavailable(get(app, "/", cookie))
    assert reached == []


def test_a_refused_write_leaves_nothing_of_the_response_behind(app: Flask, outage: Outage) -> None:
    """Not its redirect, file, validators, encoding or other cookies; what is about the site stays."""
    closed = []

    def view() -> Response:
        session["n"] = 2
        response = send_file(__file__, conditional=False)
        response.headers["Content-Encoding"] = "identity"
        response.headers["Content-Location"] = "/file"
        response.headers["Expires"] = "0"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Cache-Control"] = "public, max-age=60"
        response.set_cookie("remember", "me")
        response.call_on_close(lambda: closed.append(True))
        return response

    route(app, "/", view)
    outage.begin()
    response = get(app, "/", None)
    assert_unavailable(response)
    assert response.headers["X-Frame-Options"] == "DENY"
    gone = {"Set-Cookie", "Content-Encoding", "Content-Location", "Content-Disposition"}
    assert not (gone | {"ETag", "Expires", "Last-Modified"}) & set(response.headers.keys())
    assert response.headers["Cache-Control"] == "no-store"
    assert "store cannot be reached" in response.text
    response.close()
    assert closed


@pytest.mark.parametrize(("option", "value"), [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_reads_go_on_when_only_writes_are_refused(make_server: Any, clock: Clock, option: str, value: str) -> None:
    """Out of memory, or too few replicas: pages that read are served, changes are 503, nothing is lost."""
    client = make_server().connect()
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=PATIENCE)
    app.session_interface = RedisSessionInterface(client, clock=clock)
    route(app, "/read", lambda: str(session.get("n")))
    route(app, "/start", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    cookie = cookie_of(app)
    client.config_set(option, value)
    assert get(app, "/read", cookie).text == "1"
    clock.offset = 400
    assert get(app, "/read", cookie).text == "1", "the refresh is refused, or not, without harm"
    assert_unavailable(get(app, "/start", cookie))
    assert_unavailable(get(app, "/login", cookie))
    client.config_set(option, "0")
    assert get(app, "/read", cookie).text == "1"
    assert sid_of(client) == cookie.partition(".")[0]


def test_each_request_inside_one_app_context_has_its_own_time(client: Any) -> None:
    """Flask gives them one ``g``, as in a test fixture that pushes an app context and yields a test client."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True)
    app.session_interface = interface = RedisSessionInterface(client)

    def spend() -> None:
        session["n"] = 1
        interface.namespace("X").sender.budget = 0

    route(app, "/spend", spend)
    route(app, "/start", lambda: session.update(n=1))
    with app.app_context():
        assert app.test_client().get("/spend").status_code == 503
        assert app.test_client().get("/start").status_code == 200


def test_more_threads_than_connections_wait_their_turn(server: RedisServer) -> None:
    """A pool of one serves eight threads; none fails while Redis answers in time."""
    store = RedisStore(server.connect(max_connections=1))
    sid = store.set({"n": 1})
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: store.get(sid), range(200))) == [{"n": 1}] * 200


class CrossesSlots(fakeredis.FakeRedis):
    """A proxy that takes no script of more than one key, whatever slots these are in."""

    tries = 0

    def execute_command(self, *command: Any, **options: Any) -> Any:
        if command[0] == "EVAL" and command[2] > 1:
            self.tries += 1
            raise ClusterCrossSlotError("Keys in request don't hash to the same slot")
        return super().execute_command(*command, **options)  # type: ignore[no-untyped-call]


def test_a_proxy_that_takes_no_script_of_two_keys_is_a_503() -> None:
    """A new sid is tried in both forms, and no more often."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=PATIENCE)
    client = CrossesSlots()
    app.session_interface = RedisSessionInterface(client)
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    assert_unavailable(get(app, "/regenerate", cookie_of_new(app)))
    assert client.tries == 2


def cookie_of_new(app: Flask) -> str:
    """The cookie of a session that was just begun."""
    route(app, "/start", lambda: session.update(n=1))
    return cookie_of(app)
