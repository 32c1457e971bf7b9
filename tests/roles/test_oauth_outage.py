"""Sign-in while the provider is away, or Redis."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any, cast

import fakeredis
import pytest
import requests
from flask import session
from support.roles.oauth import CONFIG, Browser, Provider, Strict, assert_refused
from support.serving import serve
from support.stopwatch import takes

from app import create_app
from redis_store import RedisSession, StoreUnavailable
from roles import oauth


@pytest.fixture(params=["down", pytest.param("silent", marks=pytest.mark.thorough)])
def gone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Provider], None]:
    """Takes a provider away: nobody listens there; or, the worse of the two, nobody answers."""
    monkeypatch.setattr(oauth, "TIMEOUT", 0.5)
    if request.param == "down":
        return Provider.stop
    return lambda provider: provider.process.send_signal(signal.SIGSTOP)


def bounded(browser: Browser, url: str) -> requests.Response:
    """The answer to a request that is waiting for one answer of the provider, at most."""
    with takes(oauth.TIMEOUT + 1):
        return browser.visit(url)


@pytest.mark.thorough
def test_a_provider_that_is_away_is_a_502(own_provider: Provider, open_browser: Any, gone: Any) -> None:
    """When a sign-in begins: nothing is written, no cookie set; and with a password one can still sign in."""
    client = fakeredis.FakeRedis()
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": own_provider.issuer}, client)) as site:
        browser = open_browser(site)
        gone(own_provider)
        answer = bounded(browser, "/oauth/login")
        assert_refused(browser, answer, 502)
        assert "Location" not in answer.headers
        assert len(browser.cookies) == 0
        assert client.keys("*") == []
        browser.sign_in_here()
        assert browser.is_signed_in()


@pytest.mark.thorough
def test_a_provider_that_goes_away_is_a_502(own_provider: Provider, open_browser: Any, gone: Any) -> None:
    """When the visitor is back: the state is used up, the session that he had goes on."""
    client = fakeredis.FakeRedis()
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": own_provider.issuer}, client)) as site:
        browser = open_browser(site)
        browser.sign_in_here()
        callback = own_provider.approve(browser.begin())
        gone(own_provider)
        assert bounded(browser, callback).status_code == 502
        assert client.keys("OAUTH:*") == []
        assert "<dd>ada</dd>" in browser.visit("/account").text


@pytest.mark.thorough
@pytest.mark.parametrize("step", ["about", "token", "keys"])
def test_no_step_waits_for_ever(
    step: str, strict: Strict, strict_browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own time limit."""
    monkeypatch.setattr(oauth, "TIMEOUT", 0.3)
    over = threading.Event()
    strict.app.view_functions[step] = lambda: str(over.wait(60))
    try:
        if step == "about":
            assert bounded(strict_browser, "/oauth/login").status_code == 502
        else:
            assert bounded(strict_browser, strict.approve(strict_browser.begin())).status_code == 502
    finally:
        over.set()


@pytest.fixture(params=["stop", "freeze"])
def failing(request: pytest.FixtureRequest, make_server: Any) -> Any:
    """A Redis that `fail()` takes away: it refuses connections; or, the worse of the two, does not answer."""
    server = make_server()
    server.fail = getattr(server, request.param)
    return server


def assert_unavailable(browser: Browser, url: str) -> None:
    before = dict(browser.cookies)
    with takes(1):
        answer = browser.visit(url)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert dict(browser.cookies) == before


@pytest.mark.thorough
def test_a_state_that_cannot_be_kept_is_a_503(failing: Any, provider: Provider, open_browser: Any) -> None:
    """Nobody is sent to the provider for a state that would not be known when he comes back."""
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": provider.issuer}, failing.connect())) as site:
        browser = open_browser(site)
        browser.begin()
        failing.fail()
        assert_unavailable(browser, "/oauth/login")


def test_state_and_session_wait_together() -> None:
    """A request that has waited long enough for its session does not begin to wait for a state."""
    app = create_app({**CONFIG, "OAUTH_ISSUER": "https://accounts.example.com"}, fakeredis.FakeRedis())
    with app.test_request_context():
        assert oauth.get_store().take("x") is None
        cast(RedisSession, session).store.sender.budget = 0
        with pytest.raises(StoreUnavailable):
            oauth.get_store().take("x")


@pytest.mark.parametrize(("site", "path"), [("cross-site", "/login"), ("same-site", "/login"), ("same-origin", None)])
def test_another_site_begins_no_sign_in(
    client: Any, provider: Provider, open_browser: Any, site: str, path: str | None
) -> None:
    """Its visitor may already be signed in there, and would be here without having been asked."""
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": provider.issuer}, client)) as address:
        answer = open_browser(address).visit("/oauth/login?next=/account", headers={"Sec-Fetch-Site": site})
        assert answer.status_code == 303
        if path is None:
            assert answer.headers["Location"].startswith(provider.issuer)
        else:
            assert answer.headers["Location"] == f"{path}?next=/account"
            assert "Set-Cookie" not in answer.headers
            assert client.keys() == []


@pytest.mark.thorough
@pytest.mark.parametrize("signed_in", [True, False])
def test_a_callback_without_redis_is_a_503(
    signed_in: bool, failing: Any, provider: Provider, open_browser: Any
) -> None:
    """Within a second, and no cookie changes. The state may be used up all the same: then it is a new sign-in."""
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": provider.issuer}, failing.connect())) as site:
        browser = open_browser(site)
        if signed_in:
            browser.sign_in_here()
        callback = provider.approve(browser.begin())
        failing.fail()
        assert_unavailable(browser, callback)


def test_a_sign_in_that_is_not_stored_is_a_503(make_server: Any, provider: Provider, open_browser: Any) -> None:
    """The state could be taken, but no session written: nobody is signed in, and the next sign-in works."""
    server = make_server()
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": provider.issuer}, server.connect())) as site:
        browser = open_browser(site)
        callback = provider.approve(browser.begin())
        server.connect().execute_command("ACL SETUSER default -zadd -eval")
        assert_unavailable(browser, callback)
        server.connect().execute_command("ACL SETUSER default +@all")
        assert_refused(browser, browser.visit(callback), 400)
        assert browser.visit(provider.approve(browser.begin())).status_code == 303
