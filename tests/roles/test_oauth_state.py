"""The state of a sign-in: good once, for ten minutes, in the browser that began."""

from __future__ import annotations

import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.docstrings import assert_keys
from support.roles.oauth import CONFIG, Browser, Provider, Strict, assert_refused, cookies_of

from app import create_app


def test_who_only_begins_gets_no_session(browser: Browser, client: Any) -> None:
    """In Redis there is one key, for ten minutes; in the browser a cookie for as long, which no script can read."""
    browser.begin()
    [key] = client.keys("*")
    assert re.fullmatch(rb"OAUTH:SESSION:[0-9a-f]{64}", key)
    assert 590 < client.ttl(key) <= 600
    [cookie] = cookies_of(browser)
    assert cookie.name.startswith("session_oauth_")
    assert cookie.expires is not None
    assert 590 < cookie.expires - time.time() <= 600
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "Lax"


def test_the_cookie_has_the_sessions_attributes(least: Any, provider: Provider) -> None:
    """Secure and the name's prefix; but never Strict, which would not come back from the provider."""
    names = {"SECURE": True, "NAME": "__Host-session", "SAMESITE": "Strict", "HTTPONLY": False}
    config = {f"SESSION_COOKIE_{name}": value for name, value in names.items()}
    web = create_app({**CONFIG, **config, "OAUTH_ISSUER": provider.issuer}, least).test_client()
    name, *attributes = web.get("/oauth/login").headers["Set-Cookie"].split("; ")
    assert name.startswith("__Host-session_oauth_")
    assert {"Max-Age=600", "Secure", "HttpOnly", "Path=/", "SameSite=Lax"} < {*attributes}


def test_the_cookie_is_deleted_as_it_was_set(least: Any, strict: Strict) -> None:
    """A browser ignores the deletion of a __Host- cookie that is not Secure."""
    config = {"SESSION_COOKIE_NAME": "__Host-session", "SESSION_COOKIE_SECURE": True}
    web = create_app({**CONFIG, **config, "OAUTH_ISSUER": strict.issuer}, least).test_client()
    begun = web.get("/oauth/login", base_url="https://localhost")
    back = strict.approve(begun.headers["Location"]).removeprefix("https://localhost")
    headers = web.get(back, base_url="https://localhost").headers.getlist("Set-Cookie")
    [deleted] = [header.split("; ") for header in headers if header.startswith("__Host-session_oauth_")]
    assert {"Max-Age=0", "Secure", "HttpOnly", "Path=/", "SameSite=Lax"} < {*deleted}


def test_redis_holds_neither_the_state_nor_the_binding(browser: Browser, client: Any) -> None:
    """Whoever reads it can answer no callback: its key is a hash of the two."""
    url = browser.begin()
    [key], [cookie] = client.keys("*"), cookies_of(browser)
    dump = key + client.get(key)
    state = parse_qs(urlsplit(url).query)["state"][0]
    assert len(state) >= 22
    assert state.encode() not in dump
    assert str(cookie.value).encode() not in dump
    assert len(str(cookie.value)) >= 22


def test_another_browser_cannot_use_a_state(browser: Browser, provider: Provider, open_browser: Any) -> None:
    """Neither without a sign-in of its own nor with one; the browser that began still can."""
    callback, victim = provider.approve(browser.begin()), open_browser(browser.site)
    assert_refused(victim, victim.visit(callback), 400)
    own = provider.approve(victim.begin(), "victim")
    assert_refused(victim, victim.visit(callback), 400)
    assert victim.visit(own).status_code == 303
    assert f"{provider.issuer} victim" in victim.visit("/account").text
    assert browser.visit(callback).status_code == 303


def test_a_cookie_for_another_state_does_not_count(browser: Browser, provider: Provider, open_browser: Any) -> None:
    """What a browser holds for its own state is no use under the name for another."""
    callback, victim = provider.approve(browser.begin()), open_browser(browser.site)
    victim.begin()
    [theirs], [ours] = cookies_of(browser), cookies_of(victim)
    victim.cookies.set(theirs.name, ours.value, domain="127.0.0.1", path="/")
    assert_refused(victim, victim.visit(callback), 400)


def test_a_state_is_good_once(browser: Browser, provider: Provider, open_browser: Any) -> None:
    """Not a second time, even with its cookie."""
    callback = provider.approve(browser.begin())
    again = open_browser(browser.site)
    again.cookies.update(browser.cookies)
    assert browser.visit(callback).status_code == 303
    assert_refused(again, again.visit(callback), 400)


def test_of_many_callbacks_at_once_one_signs_in(browser: Browser, provider: Provider, open_browser: Any) -> None:
    """The state is read and deleted in one step."""
    callback = provider.approve(browser.begin())
    tabs = [open_browser(browser.site) for _ in range(8)]
    for tab in tabs:
        tab.cookies.update(browser.cookies)
    with ThreadPoolExecutor(len(tabs)) as pool:
        statuses = [*pool.map(lambda tab: tab.visit(callback).status_code, tabs)]
    assert sorted(statuses) == [303] + [400] * 7


def test_a_state_ends_with_its_ttl(browser: Browser, provider: Provider, client: Any) -> None:
    """Who takes longer than ten minutes begins again."""
    callback = provider.approve(browser.begin())
    [key] = client.keys("OAUTH:*")
    assert client.expireat(key, 1)
    assert_refused(browser, browser.visit(callback), 400)


@pytest.mark.parametrize("change", ["missing", "empty", "twice", "another", "longer", "code twice"])
def test_a_state_that_is_not_exactly_ours_is_refused(change: str, browser: Browser, provider: Provider) -> None:
    """And the one that is can still be used."""
    callback = provider.approve(browser.begin())
    page, _, query = callback.partition("?")
    parameters = {name: value for name, [value] in parse_qs(query).items()}
    state, code = f"state={parameters['state']}", f"code={parameters['code']}"
    queries = {
        "missing": code,
        "empty": f"{code}&state=",
        "twice": f"{code}&{state}&{state}",
        "another": f"{code}&state={secrets.token_urlsafe()}",
        "longer": f"{code}&{state}x",
        "code twice": f"{code}&{state}&code=x",
    }
    assert_refused(browser, browser.visit(f"{page}?{queries[change]}"), 400)
    assert browser.visit(callback).status_code == 303


@pytest.mark.parametrize("record", ["junk", "[]", ""])
def test_what_is_stored_may_be_anything(record: str, browser: Browser, provider: Provider, client: Any) -> None:
    """A malformed record counts as none."""
    callback = provider.approve(browser.begin())
    [key] = client.keys("OAUTH:*")
    client.set(key, record)
    assert_refused(browser, browser.visit(callback), 400)


def test_a_state_is_good_for_one_provider(least: Any, strict: Strict, provider: Provider) -> None:
    """What was begun with one is not told to another, that the app was configured for since."""
    webs = [create_app({**CONFIG, "OAUTH_ISSUER": by.issuer}, least).test_client() for by in (strict, provider)]
    begun = webs[0].get("/oauth/login")
    callback = strict.approve(begun.headers["Location"])
    name, value = begun.headers["Set-Cookie"].partition(";")[0].split("=")
    webs[1].set_cookie(name, value)
    assert webs[1].get(callback).status_code == 400
    assert webs[0].get(callback).status_code == 303


def test_the_keys_are_those_that_the_role_names(client: Any, strict: Strict) -> None:
    """While a visitor is at the provider, and after another one signed out there; each with its TTL."""
    app = create_app({**CONFIG, "OAUTH_ISSUER": strict.issuer}, client)
    app.test_client().get("/oauth/login")
    app.test_client().post("/oauth/backchannel-logout", data={"logout_token": strict.make_logout(sub="ada")})
    assert_keys(client, "oauth")
