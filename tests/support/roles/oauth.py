"""Providers and browsers, which speak HTTP.

One provider is somebody else's program in a process of its own: it is honest, and does not look at PKCE. Where a
provider has to look, or to lie, a small one of ours does so.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import fakeredis
import pytest
import requests
from flask import Flask, request
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from werkzeug.security import generate_password_hash

from app import create_app
from roles import oauth
from support.apps import SECRET_KEY
from support.clock import StillClock
from support.serving import serve

CLIENT = {"OAUTH_CLIENT_ID": "our-app", "OAUTH_CLIENT_SECRET": "only-for-tests"}
HASH = generate_password_hash("lovelace", "pbkdf2:sha256:1")
CONFIG = {
    "TESTING": True,
    "SECRET_KEY": SECRET_KEY,
    "ACCOUNTS": {"ada": HASH},
    **CLIENT,
}
LOGOUT: dict[str, dict[str, str]] = {"http://schemas.openid.net/event/backchannel-logout": {}}
Sign = Callable[[dict[str, Any]], str]


@cache
def make_key(kid: str, owner: str = "the provider") -> RSAKey:
    """Return an RSA key, the same each time."""
    return RSAKey.generate_key(2048, {"kid": kid}, private=True)


def signed_with(key: Any, algorithm: str, kid: str = "1", typ: str = "JWT") -> Sign:
    header = {"alg": algorithm, "kid": kid, "typ": typ}
    return lambda claims: jwt.encode(header, claims, key, algorithms=[algorithm])


KEY, OTHER_KEY = make_key("1"), make_key("1", "somebody else")

#: Signatures that are not the provider's own.
FORGERIES: dict[str, Sign] = {
    "none": signed_with(KEY, "none"),
    "HS256 of the secret": signed_with(OctKey.import_key(CLIENT["OAUTH_CLIENT_SECRET"]), "HS256"),
    "HS256 of the public key": signed_with(OctKey.import_key(base64.b64encode(KEY.as_pem(private=False))), "HS256"),
    "another key": signed_with(OTHER_KEY, "RS256"),
    "empty": lambda claims: "",
    "junk": lambda claims: "a.b.c",
}


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


class Strict:
    """A provider that checks all that it should, once; and says what the test wants it to say."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}  #: what it says else about itself
        self.claims: dict[str, Any] = {}  #: what its ID tokens say else; None: not that
        self.sign = signed_with(make_key("1"), "RS256")
        self.keys = [make_key("1")]
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

    def make_logout(self, **claims: Any) -> str:
        """A logout token that says nothing of whom, but for `claims`; None: not that. Each is a new one."""
        now = int(time.time())
        made = {"iss": self.issuer, "aud": "our-app", "iat": now, "exp": now + 60, "jti": secrets.token_hex()}
        made = {**made, "events": LOGOUT, **claims}
        return self.sign({name: value for name, value in made.items() if value is not None})


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


@pytest.fixture(scope="session")
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


@pytest.fixture
def strict() -> Iterator[Strict]:
    oauth.make_provider.cache_clear()  # it may get the port, and so the name, of one that an earlier test had
    strict = Strict()
    with serve(strict.app) as strict.issuer:
        yield strict


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
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": provider.issuer}, least)) as site:
        yield site


@pytest.fixture
def browser(site: str, open_browser: Any) -> Any:
    return open_browser(site)


@pytest.fixture
def strict_browser(strict: Strict, open_browser: Any, still_clock: StillClock) -> Iterator[Browser]:
    """On a site of its own, with the provider that is ours."""
    with serve(create_app({**CONFIG, "OAUTH_ISSUER": strict.issuer}, fakeredis.FakeRedis(), clock=still_clock)) as site:
        yield open_browser(site)
