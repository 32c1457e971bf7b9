"""Sign-in with an OpenID Connect provider: to it and back."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from support.roles.oauth import Browser, Provider, Strict, cookies_of, sid_of


def test_a_sign_in_leads_to_the_provider_and_back(browser: Browser, provider: Provider) -> None:
    """To the provider and back, to the page that was asked for; the user is the issuer's, by the subject."""
    answer = browser.visit(provider.approve(browser.begin("?next=/account"), "ada"))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account")
    assert f"<dd>{provider.issuer} ada</dd>" in browser.visit("/account").text
    assert browser.visit("/sessions").text.count("this one</strong>") == 1
    assert [cookie.name for cookie in cookies_of(browser)] == ["session"]


def test_the_sign_in_page_leads_to_the_provider(browser: Browser, provider: Provider) -> None:
    """By a plain link, which the strict policy allows, and with the page that was asked for."""
    host = provider.issuer.removeprefix("http://")
    page = browser.visit("/login?next=/sessions").text
    assert f'<a class="button" href="/oauth/login?next=/sessions">Sign in with {host}</a>' in page
    assert 'href="/oauth/login"' in browser.visit("/login").text


def test_pkce_client_and_redirect_address_are_right(strict: Strict, strict_browser: Browser) -> None:
    """For a provider that checks them, too; one new challenge, state and nonce for each sign-in."""
    for _ in range(2):
        assert strict_browser.visit(strict.approve(strict_browser.begin())).status_code == 303
    assert strict_browser.is_signed_in()
    first, second = (parse_qs(urlsplit(strict_browser.begin()).query) for _ in range(2))
    assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/" + "a" * 1000, ""])
def test_next_never_leaves_this_site(target: str, browser: Browser, provider: Provider) -> None:
    """What is no path of this site, or too long to be kept, leads home."""
    answer = browser.visit(provider.approve(browser.begin(f"?{urlencode({'next': target})}")))
    assert answer.headers["Location"] == "/"


def test_a_local_account_is_somebody_else(browser: Browser, provider: Provider, open_browser: Any) -> None:
    """The provider's ada neither is ours nor sees her sessions."""
    here = open_browser(browser.site)
    here.sign_in_here()
    browser.visit(provider.approve(browser.begin(), "ada"))
    assert "<dd>ada</dd>" in here.visit("/account").text
    assert "Sign out all others" not in browser.visit("/sessions").text
    assert "Sign out all others" not in here.visit("/sessions").text


def test_a_sign_in_replaces_the_session(browser: Browser, provider: Provider, open_browser: Any) -> None:
    """The sid is a new one each time, of the same user too, and the old one is dead."""
    browser.sign_in_here()
    seen, thief = {sid_of(browser)}, open_browser(browser.site)
    for _ in range(2):
        thief.cookies.update(browser.cookies)
        assert thief.is_signed_in()
        browser.visit(provider.approve(browser.begin()))
        assert sid_of(browser) not in seen
        seen.add(sid_of(browser))
        assert browser.is_signed_in()
        thief.cookies.set("session", thief.cookies.get("session"))
        assert not thief.is_signed_in()
        thief.cookies.clear()


def test_nothing_of_the_session_before_is_taken_along(browser: Browser, provider: Provider) -> None:
    """Not what it was about to tell its user."""
    browser.sign_in_here()
    browser.submit("/sessions/end", handle="none")
    browser.visit(provider.approve(browser.begin()))
    assert "That session has ended" not in browser.visit("/sessions").text


def test_two_tabs_do_not_disturb_each_other(browser: Browser, provider: Provider) -> None:
    """Both begin before one comes back, in whatever order."""
    first, second, third = (browser.begin(f"?next=/{n}") for n in range(3))
    for url, target in ((second, "/1"), (first, "/0"), (third, "/2")):
        assert browser.visit(provider.approve(url)).headers["Location"] == target
