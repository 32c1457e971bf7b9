"""Sign-in with an OpenID Connect provider: over HTTP, with a provider in a process of its own.

That one is honest, and does not look at PKCE. Where a provider has to look, or to lie, a small one of ours does so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import fakeredis
import pytest
import requests
from flask import Flask, redirect, request, session
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from support.apps import SECRET_KEY, interface_of
from support.clock import StillClock
from support.servers import PATIENCE
from werkzeug.security import generate_password_hash
from werkzeug.serving import make_server

from app import create_app
from redis_store import RedisSession, StoreUnavailable
from roles import oauth

ROOT = Path(__file__).parent.parent
CLIENT = {"OAUTH_CLIENT_ID": "our-app", "OAUTH_CLIENT_SECRET": "only-for-tests"}
HASH = generate_password_hash("lovelace", "pbkdf2:sha256:1")
CONFIG = {
    "TESTING": True,
    "SECRET_KEY": SECRET_KEY,
    "ACCOUNTS": {"ada": HASH},
    **CLIENT,
}
KEY = RSAKey.generate_key(2048, {"kid": "1"}, private=True)
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "1"}, private=True)
NEW_KEY = RSAKey.generate_key(2048, {"kid": "2"}, private=True)

Sign = Callable[[dict[str, Any]], str]


def signed_with(key: Any, algorithm: str, kid: str = "1") -> Sign:
    header = {"alg": algorithm, "kid": kid}
    return lambda claims: jwt.encode(header, claims, key, algorithms=[algorithm])


# Providers --------------------------------------------------------------------------------------------------------


class Provider:
    """Somebody else's program, in a process of its own. Any name is a user's."""

    def __init__(self, log: Path) -> None:
        with log.open("w") as file:
            command = [sys.executable, "-m", "oidc_provider_mock", "--port", "0"]
            self.process = subprocess.Popen(command, stderr=file)
        deadline = time.monotonic() + 30
        while not (address := re.search(r"running on (http://\S+)", log.read_text())):
            assert time.monotonic() < deadline, log.read_text()
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.02)
        self.issuer = address[1]

    def approve(self, url: str, subject: str = "ada") -> str:
        """What the visitor does there; returns where the provider sends the browser then."""
        answer = requests.post(url, data={"sub": subject}, allow_redirects=False, timeout=10)
        assert answer.status_code == 302
        return answer.headers["Location"]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("provider") / "log")
    yield provider
    provider.stop()


@pytest.fixture
def own_provider(tmp_path: Path) -> Iterator[Provider]:
    """One that a test may stop and freeze."""
    provider = Provider(tmp_path / "log")
    yield provider
    provider.stop()


class Strict:
    """A provider that checks all that it should, once; and says what the test wants it to say."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}  #: what it says else about itself
        self.claims: dict[str, Any] = {}  #: what its ID tokens say else; None: not that
        self.sign = signed_with(KEY, "RS256")
        self.keys = [KEY]
        self.answer: Any = None  #: instead of its tokens
        self.begun: dict[str, dict[str, str]] = {}  #: code -> parameters
        self.app = Flask("strict")
        self.app.add_url_rule("/.well-known/openid-configuration", "about", self.about)
        self.app.add_url_rule("/token", "token", self.token, methods=["POST"])
        self.app.add_url_rule("/keys", "keys", lambda: KeySet([*self.keys]).as_dict(private=False))

    issuer = ""

    def about(self) -> Any:
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        paths = ("/authorize", "/token", "/keys")
        urls = {name: self.issuer + path for name, path in zip(names, paths, strict=True)}
        return {"issuer": self.issuer, **urls, **self.metadata}

    def approve(self, url: str) -> str:
        asked = {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe()
        self.begun[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self) -> Any:
        if self.answer is not None:
            return self.answer
        asked, given = self.begun.pop(request.form["code"], None), request.form
        challenge = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        if (
            asked is None
            or request.authorization is None
            or (request.authorization.username, request.authorization.password) != tuple(CLIENT.values())
            or given["redirect_uri"] != asked["redirect_uri"]
            or base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != asked["code_challenge"]
        ):
            return {"error": "invalid_grant"}, 400
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "our-app", "sub": "ada", "nonce": asked["nonce"], "iat": now}
        claims = {**claims, "exp": now + 60, **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        return {"access_token": "none of ours", "token_type": "Bearer", "id_token": self.sign(claims)}


@contextmanager
def serve(app: Flask) -> Iterator[str]:
    """Where the app answers."""
    http = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))  # how soon it sees that it is over
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture
def strict() -> Iterator[Strict]:
    oauth.make_provider.cache_clear()  # it may get the port, and so the name, of one that an earlier test had
    strict = Strict()
    with serve(strict.app) as strict.issuer:
        yield strict


# Browsers ---------------------------------------------------------------------------------------------------------


class Browser(requests.Session):
    """It keeps cookies, and follows no redirect by itself."""

    def __init__(self, site: str) -> None:
        super().__init__()
        self.trust_env = False
        self.site = site

    def visit(self, url: str, **options: Any) -> requests.Response:
        url = self.site + url if url.startswith("/") else url
        return self.get(url, allow_redirects=False, timeout=20, **options)

    def begin(self, query: str = "") -> str:
        """Press the button; returns where at the provider that leads."""
        answer = self.visit(f"/oauth/login{query}")
        assert answer.status_code == 303
        return answer.headers["Location"]

    def submit(self, path: str, **form: str) -> None:
        """A form of this site."""
        headers = {"Origin": self.site}
        answer = self.post(self.site + path, form, headers=headers, allow_redirects=False, timeout=20)
        assert answer.status_code == 303

    def sign_in_here(self) -> None:
        """With a password of this site."""
        self.submit("/login", username="ada", password="lovelace")

    def is_signed_in(self) -> bool:
        return self.visit("/account").status_code == 200


@pytest.fixture
def open_browser() -> Iterator[Callable[[str], Browser]]:
    browsers: list[Browser] = []

    def make(site: str) -> Browser:
        browsers.append(Browser(site))
        return browsers[-1]

    yield make
    for browser in browsers:
        browser.close()


@pytest.fixture
def site(least: Any, provider: Provider) -> Iterator[str]:
    """Where our app answers, on both backends, with the provider that is a process."""
    with serve(create_app({**CONFIG, "SESSION_MAX_WAIT": PATIENCE, "OAUTH_ISSUER": provider.issuer}, least)) as site:
        yield site


@pytest.fixture
def browser(site: str, open_browser: Any) -> Any:
    return open_browser(site)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def strict_browser(strict: Strict, open_browser: Any, clock: StillClock) -> Iterator[Browser]:
    """On a site of its own, with the provider that is ours."""
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": strict.issuer}, fakeredis.FakeRedis(), clock=clock)) as site:
        yield open_browser(site)


def cookies_of(browser: Browser) -> list[Cookie]:
    return cast(list[Cookie], [*browser.cookies])


def sid_of(browser: Browser) -> str:
    return str(browser.cookies.get("session", default="none")).partition(".")[0]


def assert_refused(browser: Browser, answer: requests.Response, status: int) -> None:
    """A page, and nobody is signed in."""
    assert answer.status_code == status
    assert "<h1><small>" in answer.text
    assert "session" not in browser.cookies
    assert not browser.is_signed_in()


# It works ---------------------------------------------------------------------------------------------------------


def test_a_sign_in(browser: Browser, provider: Provider) -> None:
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


# The state --------------------------------------------------------------------------------------------------------


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


# What the provider says -------------------------------------------------------------------------------------------


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
@pytest.mark.parametrize(
    "sign",
    [
        signed_with(KEY, "none"),
        signed_with(OctKey.import_key(CLIENT["OAUTH_CLIENT_SECRET"]), "HS256"),
        signed_with(OctKey.import_key(base64.b64encode(KEY.as_pem(private=False))), "HS256"),
        signed_with(OTHER_KEY, "RS256"),
        lambda claims: "",
        lambda claims: "a.b.c",
    ],
    ids=["none", "HS256 of the secret", "HS256 of the public key", "another key", "empty", "junk"],
)
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
    strict: Strict, strict_browser: Browser, clock: StillClock
) -> None:
    """Then it is asked again."""
    asked: list[str] = []
    strict.app.before_request(lambda: asked.append(request.path) if "well-known" in request.path else None)
    strict_browser.begin()
    strict_browser.begin()
    assert len(asked) == 1
    clock.move(oauth.REMEMBER)
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


# The provider away, or Redis ----------------------------------------------------------------------------------------


@pytest.fixture(params=["down", pytest.param("silent", marks=pytest.mark.thorough)])
def gone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Provider], None]:
    """Takes a provider away: nobody listens there; or, the worse of the two, nobody answers."""
    monkeypatch.setattr(oauth, "TIMEOUT", 0.5)
    if request.param == "down":
        return Provider.stop
    return lambda provider: provider.process.send_signal(signal.SIGSTOP)


def bounded(browser: Browser, url: str) -> requests.Response:
    """The answer to a request that is waiting for one answer of the provider, at most."""
    start = time.monotonic()
    answer = browser.visit(url)
    assert time.monotonic() - start < oauth.TIMEOUT + 1
    return answer


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


@pytest.mark.parametrize("step", ["about", "token", "keys"])
def test_no_step_waits_for_ever(
    step: str, strict: Strict, strict_browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own time limit."""
    monkeypatch.setattr(oauth, "TIMEOUT", 0.3)
    over = threading.Event()
    strict.app.view_functions[step] = lambda: str(over.wait(10))
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
    start, before = time.monotonic(), dict(browser.cookies)
    answer = browser.visit(url)
    assert time.monotonic() - start < 1
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert dict(browser.cookies) == before


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


# The start --------------------------------------------------------------------------------------------------------


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
