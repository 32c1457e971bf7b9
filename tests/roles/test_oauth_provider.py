"""What a provider says, and what of it is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import fakeredis
import pytest
from flask import redirect, request
from joserfc.jwk import ECKey, OctKey, OKPKey
from support.apps import interface_of
from support.clock import StillClock
from support.roles.oauth import (
    CONFIG,
    FORGERIES,
    KEY,
    Browser,
    Provider,
    Sign,
    Strict,
    assert_refused,
    make_key,
    signed_with,
)
from support.serving import serve

from app import create_app
from roles import oauth

NEW_KEY = make_key("2")


def test_a_provider_that_says_no_is_believed(browser: Browser, provider: Provider) -> None:
    """The page repeats nothing that came with the request; and the state is used up."""
    callback = provider.approve(browser.begin())
    page, _, query = callback.partition("?")
    state = parse_qs(query)["state"][0]
    error = urlencode({"error": "access_denied", "error_description": "<b>call 555</b>", "state": state})
    answer = browser.visit(f"{page}?{error}")
    assert_refused(browser, answer, 403)
    assert "555" not in answer.text
    assert "access_denied" not in answer.text
    assert_refused(browser, browser.visit(callback), 400)


def test_an_error_without_a_state_is_nobodys(browser: Browser, client: Any) -> None:
    """It changes nothing."""
    browser.begin()
    assert_refused(browser, browser.visit("/oauth/callback?error=access_denied"), 400)
    assert len(client.keys("OAUTH:*")) == 1


def test_a_code_that_the_provider_does_not_know_signs_nobody_in(browser: Browser, provider: Provider) -> None:
    """It says so to us, and we to the visitor."""
    page, _, query = provider.approve(browser.begin()).partition("?")
    state = parse_qs(query)["state"][0]
    assert_refused(browser, browser.visit(f"{page}?code=made-up&state={state}"), 403)


def test_a_code_of_another_sign_in_is_refused(strict: Strict, strict_browser: Browser, open_browser: Any) -> None:
    """Code injection: a stolen code does not fit the verifier of this state."""
    stolen = parse_qs(urlsplit(strict.approve(open_browser(strict_browser.site).begin())).query)["code"][0]
    page, _, query = strict.approve(strict_browser.begin()).partition("?")
    state = parse_qs(query)["state"][0]
    assert_refused(strict_browser, strict_browser.visit(f"{page}?code={stolen}&state={state}"), 403)


@pytest.mark.parametrize(("issuer", "status"), [(None, 303), ("ours", 303), ("https://evil.example", 400), ("", 400)])
def test_an_answer_names_its_issuer_or_none(
    issuer: str | None, status: int, strict: Strict, strict_browser: Browser
) -> None:
    """RFC 9207: if it does, it is the one that was asked."""
    callback = strict.approve(strict_browser.begin())
    if issuer is not None:
        callback += f"&{urlencode({'iss': strict.issuer if issuer == 'ours' else issuer})}"
    assert strict_browser.visit(callback).status_code == status


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another", "third"]},
        {"aud": "another", "azp": "our-app"},
        {"aud": ["another"], "azp": "our-app"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 5},
        {"sub": "a" * 256},
        {"sub": "a\nb"},
        {"sub": "\N{CYRILLIC SMALL LETTER A}da"},
    ],
    ids=str,
)
def test_an_id_token_has_to_be_for_us_and_for_now(
    claims: dict[str, Any], strict: Strict, strict_browser: Browser
) -> None:
    """Well signed, and still not what was asked for."""
    strict.claims = claims
    assert_refused(strict_browser, strict_browser.visit(strict.approve(strict_browser.begin())), 502)
    strict.claims = {}
    assert strict_browser.visit(strict.approve(strict_browser.begin())).status_code == 303


@pytest.mark.parametrize("claims", [{"aud": ["our-app"]}, {"aud": ["x", "our-app"], "azp": "our-app"}, {"sub": "a b"}])
def test_unusual_id_tokens_are_good(claims: dict[str, Any], strict: Strict, strict_browser: Browser) -> None:
    """What the standard allows."""
    strict.claims = claims
    assert strict_browser.visit(strict.approve(strict_browser.begin())).status_code == 303


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # of keys that nobody should use
@pytest.mark.parametrize("sign", FORGERIES.values(), ids=FORGERIES)
def test_an_id_token_is_signed_by_the_provider(sign: Sign, strict: Strict, strict_browser: Browser) -> None:
    """By its own private key, whatever the token, or the provider's metadata, say of algorithms."""
    strict.sign = sign
    strict.metadata = {"id_token_signing_alg_values_supported": ["none", "HS256", "RS256"]}
    assert_refused(strict_browser, strict_browser.visit(strict.approve(strict_browser.begin())), 502)


def test_a_secret_among_the_keys_signs_nobody_in(strict: Strict, strict_browser: Browser) -> None:
    """What everybody can read at the provider is no key."""
    secret = OctKey.generate_key(256, {"kid": "1"})
    strict.app.view_functions["keys"] = lambda: {"keys": [secret.as_dict(private=True)]}
    strict.sign = signed_with(secret, "HS256")
    assert_refused(strict_browser, strict_browser.visit(strict.approve(strict_browser.begin())), 502)


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "ES256", "Ed25519"])
def test_a_provider_may_sign_with_any_private_key(algorithm: str, strict: Strict, strict_browser: Browser) -> None:
    """Not only with RSA."""
    kinds: dict[str, Callable[..., Any]] = {
        "ES256": lambda: ECKey.generate_key("P-256", {"kid": "1"}, private=True),
        "Ed25519": lambda: OKPKey.generate_key("Ed25519", {"kid": "1"}, private=True),
    }
    key = kinds.get(algorithm, lambda: KEY)()
    strict.keys, strict.sign = [key], signed_with(key, algorithm)
    assert strict_browser.visit(strict.approve(strict_browser.begin())).status_code == 303


def test_an_issuer_may_end_with_a_slash(strict: Strict) -> None:
    """The slash is part of its name, and not doubled in the address."""
    strict.app.url_map.merge_slashes = False
    issuer = f"{strict.issuer}/"
    strict.metadata, strict.claims = {"issuer": issuer}, {"iss": issuer}
    web = create_app({**CONFIG, "OAUTH_ISSUER": issuer}, fakeredis.FakeRedis()).test_client()
    assert web.get(strict.approve(web.get("/oauth/login").headers["Location"])).status_code == 303


def test_subjects_that_differ_in_a_space_are_two(strict: Strict) -> None:
    """Whatever the provider calls them, it is who they are."""
    strict.claims = {"sub": " ada "}
    app = create_app({**CONFIG, "OAUTH_ISSUER": strict.issuer}, fakeredis.FakeRedis())
    web = app.test_client()
    web.get(strict.approve(web.get("/oauth/login").headers["Location"]))
    with app.app_context():
        numbers = [len(interface_of(app).sessions_of(f"{strict.issuer} {sub}")) for sub in (" ada ", "ada")]
    assert numbers == [1, 0]


def test_what_a_provider_says_of_itself_is_remembered_for_an_hour(
    strict: Strict, strict_browser: Browser, still_clock: StillClock
) -> None:
    """Then it is asked again."""
    asked: list[str] = []
    strict.app.before_request(lambda: asked.append(request.path) if "well-known" in request.path else None)
    strict_browser.begin()
    strict_browser.begin()
    assert len(asked) == 1
    still_clock.move(oauth.REMEMBER)
    strict_browser.begin()
    assert len(asked) == 2


def test_an_error_makes_one_line_in_the_log(
    strict: Strict, strict_browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """However many lines it is made of, and however long."""
    page, _, query = strict.approve(strict_browser.begin()).partition("?")
    state = parse_qs(query)["state"][0]
    error = urlencode({"state": state, "error": "a\nb" * 1000})
    strict_browser.visit(f"{page}?{error}")
    [line] = [record.getMessage() for record in caplog.records if "the error" in record.getMessage()]
    assert "\n" not in line
    assert len(line) < 200


def test_whoever_only_looks_uses_up_nothing(client: Any, strict: Strict, open_browser: Any) -> None:
    """HEAD, as programs send it that check links: 405."""
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": strict.issuer}, client)) as site:
        browser = open_browser(site)
        assert browser.head(f"{site}/oauth/login", timeout=20).status_code == 405
        assert client.keys() == []
        callback = strict.approve(browser.begin())
        assert browser.head(callback, timeout=20).status_code == 405
        assert browser.visit(callback).status_code == 303


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("page", ["about", "token"])
def test_the_provider_leads_the_app_nowhere_else(
    page: str, status: int, strict: Strict, strict_browser: Browser
) -> None:
    """A redirect could carry code and verifier to somebody else."""
    view: Any = strict.app.view_functions[page]
    asked: list[str] = []

    def elsewhere() -> Any:
        asked.append(request.path)
        return view()

    strict.app.view_functions[page] = lambda: redirect("/elsewhere", status)
    strict.app.add_url_rule("/elsewhere", "elsewhere", elsewhere, methods=["GET", "POST"])
    if page == "about":
        assert_refused(strict_browser, strict_browser.visit("/oauth/login"), 502)
    else:
        assert_refused(strict_browser, strict_browser.visit(strict.approve(strict_browser.begin())), 502)
    assert asked == []


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_a_provider_on_https_has_nothing_on_plain_http(name: str) -> None:
    """There, the client's secret or the keys would go over the wire for everybody."""
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    about = {"issuer": "https://a.example"} | dict.fromkeys(names, "https://a.example/x")
    oauth.check_metadata("https://a.example", about)
    with pytest.raises(ValueError, match="not https"):
        oauth.check_metadata("https://a.example", about | {name: "http://a.example/x"})


def test_a_key_that_is_new_is_asked_for(strict: Strict, strict_browser: Browser) -> None:
    """A provider may change its keys at any time."""
    assert strict_browser.visit(strict.approve(strict_browser.begin())).status_code == 303
    strict.keys = [NEW_KEY]
    strict.sign = signed_with(NEW_KEY, "RS256", "2")
    assert strict_browser.visit(strict.approve(strict_browser.begin())).status_code == 303


def test_a_key_that_was_withdrawn_is_not_accepted(strict: Strict, strict_browser: Browser) -> None:
    """From then on; and keys that were wrong for a moment do not stay."""
    assert strict_browser.visit(strict.approve(strict_browser.begin())).status_code == 303
    strict.keys = [NEW_KEY]
    assert strict_browser.visit(strict.approve(strict_browser.begin())).status_code == 502
    strict.keys = [KEY]
    assert strict_browser.visit(strict.approve(strict_browser.begin())).status_code == 303


@pytest.mark.parametrize(
    ("change", "status", "location"),
    [
        (lambda kept: [], 400, None),
        (lambda kept: {}, 502, None),
        (lambda kept: kept | {"verifier": [1]}, 403, None),
        (lambda kept: kept | {"nonce": None}, 502, None),
        (lambda kept: kept | {"next": 5}, 303, "/"),
        (lambda kept: kept | {"next": "/\ud800"}, 303, "/"),
        (lambda kept: {"verifier": kept["verifier"], "nonce": kept["nonce"]}, 303, "/"),
        (lambda kept: kept, 303, "/account"),
    ],
)
def test_whatever_is_planted_in_redis_is_no_500(
    client: Any, strict: Strict, open_browser: Any, change: Any, status: int, location: str | None
) -> None:
    """Nor a way to another site, or around the nonce."""
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": strict.issuer}, client)) as site:
        browser = open_browser(site)
        callback = strict.approve(browser.begin("?next=/account"))
        (key,) = client.keys("OAUTH:*")
        client.set(key, json.dumps(change(json.loads(client.get(key)))), ex=60)
        answer = browser.visit(callback)
        assert (answer.status_code, answer.headers.get("Location")) == (status, location)


@pytest.mark.parametrize(
    "answer",
    [
        ("down", 500),
        ("<html>", 200),
        ([], 200),
        ({}, 200),
        ({"access_token": "a", "token_type": "Bearer"}, 200),
        ({"access_token": "a", "id_token": None}, 200),
        ({"access_token": "a", "id_token": ["a"]}, 200),
    ],
    ids=str,
)
def test_a_token_endpoint_may_answer_anything(answer: Any, strict: Strict, strict_browser: Browser) -> None:
    """What is no ID token is a page, and no crash."""
    strict.answer = answer
    assert_refused(strict_browser, strict_browser.visit(strict.approve(strict_browser.begin())), 502)


def test_an_error_of_the_token_endpoint_is_not_shown(strict: Strict, strict_browser: Browser) -> None:
    """It may be anybody's text."""
    strict.answer = {"error": "<b>555", "error_description": "<i>555"}, 400
    answer = strict_browser.visit(strict.approve(strict_browser.begin()))
    assert_refused(strict_browser, answer, 403)
    assert "555" not in answer.text


@pytest.mark.parametrize("issuer", ["https://evil.example", None, 5])
def test_a_provider_is_who_it_says(issuer: Any, strict: Strict, strict_browser: Browser) -> None:
    """Discovery that names another issuer is not used; nothing is written, and it is asked again the next time."""
    strict.metadata = {"issuer": issuer}
    assert_refused(strict_browser, strict_browser.visit("/oauth/login"), 502)
    assert len(strict_browser.cookies) == 0
    strict.metadata = {}
    assert strict_browser.visit(strict.approve(strict_browser.begin())).status_code == 303


def test_a_discovery_that_failed_is_not_read(strict: Strict, strict_browser: Browser) -> None:
    """Whatever is in it."""
    about = strict.about()
    strict.app.view_functions["about"] = lambda: (about, 500)
    assert_refused(strict_browser, strict_browser.visit("/oauth/login"), 502)


@pytest.mark.parametrize("jwks_uri", [5, "nonsense", "http://127.0.0.1:1/"])
def test_keys_that_are_not_there_sign_nobody_in(jwks_uri: Any, strict: Strict, strict_browser: Browser) -> None:
    """An ID token that cannot be checked is none."""
    strict.metadata = {"jwks_uri": jwks_uri}
    assert_refused(strict_browser, strict_browser.visit(strict.approve(strict_browser.begin())), 502)
