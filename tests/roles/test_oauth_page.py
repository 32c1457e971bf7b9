"""docs/oauth.md: what it says of settings and keys, and the commands that try it."""

from __future__ import annotations

import re
from importlib.util import find_spec

import fakeredis
import pytest
from support.docstrings import assert_page
from support.project import PAGES, ROOT, blocks, tables
from support.roles.oauth import CONFIG

from app import create_app
from roles import oauth

PAGE = PAGES["docs/oauth.md"]


def test_the_page_has_the_settings_of_the_role() -> None:
    """Those of its docstring."""
    assert_page(PAGE, "oauth")


def test_what_a_sign_in_with_a_provider_keeps_is_what_the_role_names() -> None:
    """The cookie, the key in Redis, and for how long."""
    _, kept = tables(PAGE)
    places = [name for row in kept[1:] for name in re.findall(r"`([^`]+)`", row[0])]
    assert places == ["session_oauth_…", "OAUTH:SESSION:<hash>"]
    assert "OAUTH:SESSION:<hash>" in (oauth.__doc__ or "")
    assert {row[2].split(",")[0] for row in kept[2:]} == {f"{oauth.MAX_AGE // 60} minutes"}


def test_where_the_provider_tells_of_a_sign_out_is_the_address_that_the_page_has() -> None:
    """As it has to be registered there; and for how long a token is known to be used."""
    app = create_app({**CONFIG, "OAUTH_ISSUER": "https://accounts.example.com"}, fakeredis.FakeRedis())
    for path in re.findall(r"`https://<your host>(\S+)`", PAGE):
        assert path in {rule.rule for rule in app.url_map.iter_rules()}
    assert f"`{oauth.PROVIDER_SESSION}`" in PAGE
    assert f"older than {oauth.MAX_AGE // 120} minutes" in PAGE
    assert "_oauth_" in (ROOT / "roles" / "oauth.py").read_text()


def test_a_provider_to_try_is_there_and_the_app_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of the first command; the settings of the second."""
    provider, start = blocks("text", PAGE)
    assert find_spec(provider.split()[-1])
    *settings, _, _ = start.split()
    for setting in settings:
        monkeypatch.setenv(*setting.split("="))
    assert "/oauth/login" in create_app({"TESTING": True}).test_client().get("/login").text
