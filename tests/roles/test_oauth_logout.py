"""Back-channel logout: who signs out at the provider is signed out here, and nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from support.apps import interface_of
from support.clock import StillClock
from support.demo import OURS, sign_in
from support.roles.oauth import CONFIG, FORGERIES, KEY, LOGOUT, Sign, Strict, signed_with
from support.serving import serve
from werkzeug.test import TestResponse

from app import create_app

PATH = "/oauth/backchannel-logout"


@pytest.fixture
def site(least: Any, strict: Strict) -> Flask:
    """Our app, on both backends, with the provider that is ours."""
    return create_app({**CONFIG, "OAUTH_ISSUER": strict.issuer}, least)


@pytest.fixture
def enter(site: Flask, strict: Strict) -> Callable[..., FlaskClient]:
    """Signs a user of the provider in, with a browser of its own."""

    def enter(sub: str = "ada", **claims: Any) -> FlaskClient:
        strict.claims, web = {"sub": sub, **claims}, site.test_client()
        assert web.get(strict.approve(web.get("/oauth/login").headers["Location"])).status_code == 303
        return web

    return enter


def tell(site: Flask, token: str, **options: Any) -> TestResponse:
    """What the provider does when somebody signs out there: a form, and no cookie."""
    return site.test_client().post(PATH, data={"logout_token": token}, **options)


def are_in(*browsers: FlaskClient) -> list[bool]:
    return [web.get("/account").status_code == 200 for web in browsers]


def test_a_sign_out_at_the_provider_ends_all_sessions_of_that_user(site: Flask, strict: Strict, enter: Any) -> None:
    """On all devices; not those of another user, nor of a local one of the same name."""
    laptop, phone, grace, local = enter(), enter(), enter("grace"), site.test_client()
    sign_in(local)
    answer = tell(site, strict.make_logout(sub="ada"))
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    assert are_in(laptop, phone, grace, local) == [False, False, True, True]


@pytest.mark.thorough
@pytest.mark.parametrize("claims", [{"sid": "s1"}, {"sid": "s1", "sub": "ada"}], ids=["sid", "sid and sub"])
def test_a_sign_out_of_one_session_there_ends_what_began_with_it(
    claims: dict[str, str], site: Flask, strict: Strict, enter: Any
) -> None:
    """All that it signed in here; the user's other devices stay, and so does a user who is called like the session."""
    first, second, other, unnamed, grace = enter(sid="s1"), enter(sid="s1"), enter(sid="s2"), enter(), enter("s1")
    assert tell(site, strict.make_logout(**claims)).status_code == 200
    assert are_in(first, second, other, unnamed, grace) == [False, False, True, True, True]


def test_a_session_there_is_a_second_owner_here(site: Flask, strict: Strict, enter: Any) -> None:
    """So it is listed as any owner's, and survives a new sid; a session without one has one owner."""
    enter(sid="s1").get("/account")
    enter()
    with site.app_context():
        of = interface_of(site).sessions_of
        assert [len(of(f"{strict.issuer}{name}")) for name in ("#s1", " ada")] == [1, 2]


@pytest.mark.parametrize("claims", [{"sub": "nobody"}, {"sid": "none"}])
def test_somebody_who_is_not_here_is_signed_out_already(
    claims: dict[str, str], site: Flask, strict: Strict, enter: Any
) -> None:
    """That is what the provider wanted."""
    ada = enter(sid="s1")
    assert tell(site, strict.make_logout(**claims)).status_code == 200
    assert are_in(ada) == [True]


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another", "third"]},
        {"aud": None},
        {"iat": None},
        {"iat": int(time.time()) - 1000},
        {"iat": int(time.time()) + 100_000},  # seconds: the tests before this one may take long
        {"iat": "now"},
        {"exp": int(time.time()) - 1000},
        {"events": None},
        {"events": {}},
        {"events": [*LOGOUT]},
        {"events": "".join(LOGOUT)},
        {"events": {"http://schemas.openid.net/event/another": {}}},
        {"events": {name: [] for name in LOGOUT}},
        {"nonce": "any"},
        {"nonce": ""},
        {"jti": None},
        {"jti": 5},
        {"sub": None},
        {"sub": ""},
        {"sub": 5},
        {"sub": "a\nb"},
        {"sid": ""},
        {"sid": 5},
        {"sid": ["s1"]},
    ],
    ids=str,
)
def test_a_logout_token_has_to_be_one_for_us_and_for_now(
    claims: dict[str, Any], site: Flask, strict: Strict, enter: Any
) -> None:
    """Well signed, and still it ends nothing; one that is right then does."""
    ada = enter(sid="s1")
    answer = tell(site, strict.make_logout(**{"sub": "ada", **claims}))
    assert (answer.status_code, answer.headers["Cache-Control"]) == (400, "no-store")
    assert are_in(ada) == [True]
    assert tell(site, strict.make_logout(sub="ada")).status_code == 200
    assert are_in(ada) == [False]


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # of keys that nobody should use
@pytest.mark.parametrize(
    "sign",
    [*FORGERIES.values(), signed_with(KEY, "RS256", typ="at+jwt")],
    ids=[*FORGERIES, "another type"],
)
def test_a_logout_token_is_signed_by_the_provider(sign: Sign, site: Flask, strict: Strict, enter: Any) -> None:
    """With the keys and algorithms of ID tokens, and as nothing else."""
    ada = enter()
    strict.sign = sign
    assert tell(site, strict.make_logout(sub="ada")).status_code == 400
    assert are_in(ada) == [True]


@pytest.mark.parametrize(
    ("typ", "claims"),
    [
        ("logout+jwt", {}),
        ("Logout+JWT", {"exp": None}),
        ("JWT", {"aud": ["our-app"]}),
        ("JWT", {"events": LOGOUT | {"https://example.com/more": {}}, "trace": "x"}),
        ("JWT", {"events": {name: {"more": "1"} for name in LOGOUT}}),
    ],
)
def test_unusual_logout_tokens_are_good(
    typ: str, claims: dict[str, Any], site: Flask, strict: Strict, enter: Any
) -> None:
    """What the standard allows, and what providers do that follow a draft of it."""
    ada = enter()
    strict.sign = signed_with(KEY, "RS256", typ=typ)
    assert tell(site, strict.make_logout(sub="ada", **claims)).status_code == 200
    assert are_in(ada) == [False]


def test_an_id_token_signs_nobody_out(site: Flask, strict: Strict, enter: Any) -> None:
    """Nor does a logout token sign anybody in."""
    ada, now = enter(), int(time.time())
    claims = {"iss": strict.issuer, "aud": "our-app", "sub": "ada", "iat": now, "exp": now + 60, "nonce": "n"}
    assert tell(site, strict.sign(claims)).status_code == 400
    assert are_in(ada) == [True]
    web = site.test_client()
    strict.answer = {"access_token": "a", "token_type": "Bearer", "id_token": strict.make_logout(sub="ada")}
    assert web.get(strict.approve(web.get("/oauth/login").headers["Location"])).status_code == 502


def test_a_logout_token_is_good_once(site: Flask, strict: Strict, enter: Any) -> None:
    """Whoever caught one cannot sign the user out again; the next of the provider's can."""
    token, ada = strict.make_logout(sub="ada"), enter()
    assert [tell(site, token).status_code, *are_in(ada)] == [200, False]
    ada = enter()
    assert [tell(site, token).status_code, *are_in(ada)] == [400, True]
    assert [tell(site, strict.make_logout(sub="ada")).status_code, *are_in(ada)] == [200, False]


def test_a_token_is_refused_before_it_is_forgotten_that_it_was_used(
    strict: Strict, still_clock: StillClock, client: Any
) -> None:
    """One that a provider whose clock is two minutes ahead made is too old when what tells of its use expires."""
    site = create_app({**CONFIG, "OAUTH_ISSUER": strict.issuer}, client, clock=still_clock)
    token = strict.make_logout(sub="ada", iat=still_clock.now + 115, exp=None)
    assert tell(site, token).status_code == 200
    (key,) = client.keys("OAUTH:*")
    still_clock.move(client.ttl(key))
    client.delete(key)
    assert tell(site, token).status_code == 400


@pytest.mark.parametrize("claims", [{"sid": ""}, {"sid": 5}, {"sid": "a\nb"}, {"sid": "a" * 256}])
def test_a_session_there_has_a_name_or_nobody_is_signed_in(claims: dict[str, Any], site: Flask, strict: Strict) -> None:
    """Otherwise nothing could end it."""
    strict.claims, web = claims, site.test_client()
    assert web.get(strict.approve(web.get("/oauth/login").headers["Location"])).status_code == 502


@pytest.mark.parametrize("data", [None, {}, {"token": "a"}, "logout_token"])
def test_a_request_without_a_token_is_a_400(data: Any, site: Flask) -> None:
    """And no 500."""
    assert site.test_client().post(PATH, data=data).status_code == 400


@pytest.mark.parametrize("method", ["get", "head", "put"])
def test_a_sign_out_is_a_post(method: str, site: Flask) -> None:
    """As its standard says."""
    assert getattr(site.test_client(), method)(PATH).status_code == 405


def test_a_page_of_another_site_signs_nobody_out(site: Flask, strict: Strict, enter: Any) -> None:
    """A provider's program sends neither an origin nor a cookie; a browser, which does, needs ours."""
    ada, token = enter(), strict.make_logout(sub="ada")
    assert tell(site, token, headers={"Origin": "https://evil.example"}).status_code == 403
    assert are_in(ada) == [True]
    assert tell(site, token, headers=OURS).status_code == 200


def test_a_sign_out_without_redis_is_a_503_and_can_be_told_again(strict: Strict) -> None:
    """Its token is not used up."""
    server = fakeredis.FakeServer()
    site = create_app({**CONFIG, "OAUTH_ISSUER": strict.issuer}, fakeredis.FakeRedis(server=server))
    ada, token = site.test_client(), strict.make_logout(sub="ada")
    ada.get(strict.approve(ada.get("/oauth/login").headers["Location"]))
    server.connected = False
    answer = tell(site, token)
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    server.connected = True
    assert [*are_in(ada), tell(site, token).status_code, *are_in(ada)] == [True, 200, False]


def test_keys_that_cannot_be_had_sign_nobody_out(site: Flask, strict: Strict, enter: Any) -> None:
    """A token that cannot be checked is none; later the same one can."""
    ada, token, view = enter(), strict.make_logout(sub="ada"), strict.app.view_functions["keys"]
    strict.app.view_functions["keys"] = lambda: ("down", 500)
    assert [tell(site, token).status_code, *are_in(ada)] == [400, True]
    strict.app.view_functions["keys"] = view
    assert [tell(site, token).status_code, *are_in(ada)] == [200, False]


def test_a_program_of_the_providers_signs_a_user_out(site: Flask, strict: Strict, enter: Any) -> None:
    """Over HTTP, with what a program sends by itself."""
    ada = enter()
    with serve(site) as address:
        answer = requests.post(address + PATH, {"logout_token": strict.make_logout(sub="ada")}, timeout=20)
    assert answer.status_code == 200
    assert are_in(ada) == [False]
