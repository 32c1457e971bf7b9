"""The settings of sign-in with a provider."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import fakeredis
import pytest
from support.project import ROOT
from support.roles.oauth import CONFIG, HASH, Provider, Strict

from app import create_app
from roles import oauth


def test_without_a_provider_there_is_nothing_of_it() -> None:
    """No routes, no link."""
    app = create_app({"TESTING": True})
    web = app.test_client()
    assert [web.get(f"/oauth/{path}").status_code for path in ("login", "callback")] == [404, 404]
    assert "oauth" not in web.get("/login").text
    assert "oauth" not in app.blueprints


def start(issuer: str | None) -> subprocess.CompletedProcess[str]:
    """Start the app in a Python that has neither Authlib nor requests."""
    code = f"""
import sys
sys.modules["authlib"] = sys.modules["joserfc"] = sys.modules["requests"] = None
from app import create_app
config = {CONFIG!r} | {{"OAUTH_ISSUER": {issuer!r}}}
print(create_app(config).test_client().get("/login").status_code)
"""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.thorough
def test_without_a_provider_its_libraries_need_not_be_there() -> None:
    """With one, the app does not start without them."""
    assert start(None).stdout == "200\n"
    assert "ModuleNotFoundError" in start("https://accounts.example.com").stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OAUTH_ISSUER", ""),
        ("OAUTH_ISSUER", 5),
        ("OAUTH_ISSUER", "accounts.example.com"),
        ("OAUTH_ISSUER", "http://accounts.example.com"),
        ("OAUTH_ISSUER", "http://localhost.example.com"),
        ("OAUTH_ISSUER", "http://127.0.0.1@example.com"),
        ("OAUTH_ISSUER", "https://user:password@example.com"),
        ("OAUTH_ISSUER", "https://accounts.example.com?tenant=1"),
        ("OAUTH_ISSUER", "https://accounts.example.com/#"),
        ("OAUTH_ISSUER", "https://accounts.example.com\n"),
        ("OAUTH_CLIENT_ID", None),
        ("OAUTH_CLIENT_ID", ""),
        ("OAUTH_CLIENT_ID", 123456),
        ("OAUTH_CLIENT_SECRET", None),
        ("OAUTH_CLIENT_SECRET", 123456),
        ("ACCOUNTS", {"https://accounts.example.com 5": HASH}),
    ],
)
def test_a_wrong_setting_stops_the_start(name: str, value: Any) -> None:
    """With its name, and without the secret."""
    config = {**CONFIG, "OAUTH_ISSUER": "https://accounts.example.com", name: value}
    with pytest.raises(ValueError, match=f"^{name} ") as caught:
        create_app(config, fakeredis.FakeRedis())
    assert "123456" not in str(caught.value)


@pytest.mark.parametrize(
    "issuer",
    ["https://accounts.example.com", "https://example.com/tenant/", "http://localhost:9400", "http://[::1]/x"],
)
def test_an_issuer_is_any_https_address_or_on_this_machine(issuer: str) -> None:
    """It is not asked before somebody signs in."""
    web = create_app({**CONFIG, "OAUTH_ISSUER": issuer}, fakeredis.FakeRedis()).test_client()
    assert f"Sign in with {issuer.split('/')[2]}</a>" in web.get("/login").text


def test_a_name_that_only_begins_like_the_issuers_is_somebody_elses() -> None:
    """As of the provider at https://example.com.evil.example."""
    assert oauth.is_subject_of("https://example.com", "https://example.com ada")
    assert not oauth.is_subject_of("https://example.com", "https://example.com.evil.example ada")


def test_another_providers_users_are_signed_in_no_more(client: Any, provider: Provider, strict: Strict) -> None:
    """Nor are those of the same, once it is not configured any longer."""
    web = create_app({**CONFIG, "OAUTH_ISSUER": provider.issuer}, client).test_client()
    web.get(provider.approve(web.get("/oauth/login").headers["Location"]))
    assert web.get("/account").status_code == 200
    for config in (CONFIG, {**CONFIG, "OAUTH_ISSUER": strict.issuer}):
        other = create_app(config, client).test_client()
        cookie = web.get_cookie("session")
        assert cookie
        other.set_cookie("session", cookie.value)
        assert other.get("/account").status_code == 303
