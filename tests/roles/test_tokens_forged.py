"""What is no token of ours, and opens nothing."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import TimestampSigner, URLSafeSerializer
from support.apps import SECRET_KEY
from support.clock import StillClock
from support.roles.tokens import (
    ACCESS_KEY,
    CONFIG,
    FAMILY,
    PATIENT,
    RSA_PUBLIC,
    assert_json,
    away,
    call,
    encode,
    families,
    log_in,
    log_out,
    protected,
    record_of,
    refresh,
    sign,
)

from app import create_app
from roles.tokens import ACCESS_MAX_AGE


@pytest.fixture
def app(least: Any, still_clock: StillClock) -> Flask:
    return create_app(PATIENT, least, clock=still_clock)


def forge(header: Any, claims: Any, key: bytes | str, digest: str = "sha256") -> str:
    """A JWT by hand: whatever a library would refuse to make."""
    text = f"{encode(header)}.{encode(claims)}"
    raw = key if isinstance(key, bytes) else key.encode()
    return f"{text}.{encode(hmac.digest(raw, text.encode(), digest))}"


def good_claims() -> dict[str, Any]:
    now = int(time.time())
    return {"sub": "ada", "aud": "api", "typ": "access", "iat": now, "exp": now + 100}


HS256 = {"alg": "HS256", "typ": "JWT"}
CONFUSED: dict[str, Callable[[], str]] = {
    "none": lambda: f"{encode({'alg': 'none'})}.{encode(good_claims())}.",
    "None": lambda: f"{encode({'alg': 'None'})}.{encode(good_claims())}.",
    "no algorithm": lambda: forge({"typ": "JWT"}, good_claims(), ACCESS_KEY),
    "algorithm null": lambda: forge({"alg": None}, good_claims(), ACCESS_KEY),
    "algorithm in a list": lambda: forge({"alg": ["HS256"]}, good_claims(), ACCESS_KEY),
    "none with a good signature": lambda: forge({"alg": "none"}, good_claims(), ACCESS_KEY),
    "HS256 without a signature": lambda: forge(HS256, good_claims(), ACCESS_KEY).rpartition(".")[0] + ".",
    "HS384 with the right key": lambda: forge({"alg": "HS384"}, good_claims(), ACCESS_KEY, "sha384"),
    "HS512 with the right key": lambda: forge({"alg": "HS512"}, good_claims(), ACCESS_KEY, "sha512"),
    "hs256": lambda: forge({"alg": "hs256"}, good_claims(), ACCESS_KEY),
    "RS256 with the right key": lambda: forge({"alg": "RS256"}, good_claims(), ACCESS_KEY),
    "RS256 with a public key": lambda: forge({"alg": "RS256"}, good_claims(), RSA_PUBLIC),
    "ES256 with nothing": lambda: forge({"alg": "ES256"}, good_claims(), b"")[:-43],
    "HS256 with a public key": lambda: forge(HS256, good_claims(), RSA_PUBLIC),
    "HS256 with an empty key": lambda: forge(HS256, good_claims(), b""),
    "HS256 with the SECRET_KEY": lambda: forge(HS256, good_claims(), SECRET_KEY),
    "a key in the header": lambda: forge(
        {"alg": "HS256", "jwk": {"kty": "oct", "k": encode(b"k" * 32)}}, good_claims(), "k" * 32
    ),
    "a kid that is a path": lambda: forge({"alg": "HS256", "kid": "/dev/null"}, good_claims(), b""),
    "a header that must be understood": lambda: forge({"alg": "HS256", "crit": ["x"]}, good_claims(), "k" * 32),
    "a header nested deep": lambda: forge(b"[" * 3000, good_claims(), ACCESS_KEY),
    "expired": lambda: forge(HS256, good_claims() | {"exp": int(time.time()) - 1}, ACCESS_KEY),
    "not yet": lambda: forge(HS256, good_claims() | {"nbf": int(time.time()) + 100}, ACCESS_KEY),
    "another audience": lambda: forge(HS256, good_claims() | {"aud": "other"}, ACCESS_KEY),
    "another type": lambda: forge(HS256, good_claims() | {"typ": "refresh"}, ACCESS_KEY),
    "type in a list": lambda: forge(HS256, good_claims() | {"typ": ["access"]}, ACCESS_KEY),
    "a number for a user": lambda: forge(HS256, good_claims() | {"sub": 5}, ACCESS_KEY),
    "exp that is no time": lambda: forge(HS256, good_claims() | {"exp": "later"}, ACCESS_KEY),
    "exp that is infinite": lambda: forge(HS256, good_claims() | {"exp": float("inf")}, ACCESS_KEY),
    "claims in a list": lambda: forge(HS256, [good_claims()], ACCESS_KEY),
    "changed": lambda: forge(HS256, good_claims(), ACCESS_KEY).replace(
        encode(good_claims()), encode(good_claims() | {"sub": "grace"})
    ),
    **{
        f"without {name}": partial(
            lambda name: forge(HS256, {key: value for key, value in good_claims().items() if key != name}, ACCESS_KEY),
            name,
        )
        for name in good_claims()
    },
    "two parts": lambda: "a.b",
    "not ASCII": lambda: "\xe9.\xe9.\xe9",
    "words": lambda: "some words",
}


def test_a_token_by_hand_is_as_good_as_one_of_the_library(app: Flask) -> None:
    """Or the ones below would be refused for another reason."""
    assert protected(app, forge(HS256, good_claims(), ACCESS_KEY)) == 200
    ahead = good_claims() | {"iat": int(time.time()) + 30}
    assert protected(app, forge(HS256, ahead, ACCESS_KEY)) == 200, "from a host whose clock is ahead"


@pytest.mark.parametrize("kind", CONFUSED)
def test_what_is_no_access_token_is_refused(kind: str) -> None:
    """403, with one message for all, and a challenge that says that the token is to blame; Redis is not needed."""
    app = create_app(CONFIG, away())
    for method, path in (("GET", "protected"), ("POST", "logout-everywhere")):
        answer = call(app, method, path, f"Bearer {CONFUSED[kind]()}")
        assert (answer.status_code, answer.json) == (403, {"error": "Invalid or expired access token"})
        assert_json(answer)


def test_a_refresh_token_opens_nothing_but_a_refresh(app: Flask) -> None:
    """And an access token no refresh."""
    access, token = log_in(app)
    assert protected(app, token) == 403
    assert refresh(app, access) is None
    assert refresh(app, token)


def test_an_access_token_expires_after_fifteen_minutes(app: Flask, still_clock: StillClock) -> None:
    """Made as long ago as that, it is refused."""
    still_clock.move(-ACCESS_MAX_AGE - 1)
    old, _ = log_in(app)
    still_clock.move(60)
    new, _ = log_in(app)
    assert (protected(app, old), protected(app, new)) == (403, 200)


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00")))
def test_no_authorization_header_is_a_server_error(header: str) -> None:
    """Whatever is in it."""
    app = create_app(CONFIG, away())
    for authorization in (header, f"Bearer {header}", f"Bearer {encode(header.encode())}.{encode(b'{}')}.x"):
        assert call(app, "GET", "protected", authorization).status_code in (401, 403)


FORGED: dict[str, Any] = {
    "another key": sign(f"{FAMILY}.0", "k" * 32),
    "an empty key": sign(f"{FAMILY}.0", ""),
    "the access tokens' key": sign(f"{FAMILY}.0", ACCESS_KEY),
    "the salt of the session": sign(f"{FAMILY}.0", salt="redis-session"),
    "the salt of the counters": sign(f"{FAMILY}.0", salt="throttle"),
    "the default salt": sign(f"{FAMILY}.0", salt="itsdangerous.Signer"),
    "another derivation": sign(f"{FAMILY}.0", key_derivation="django-concat"),
    "another generation": sign(f"{FAMILY}.0").replace(".0.", ".1."),
    "no signature": f"{FAMILY}.0",
    "an empty signature": f"{FAMILY}.0.",
    "no generation": sign(FAMILY),
    "a negative generation": sign(f"{FAMILY}.-1"),
    "a large generation": sign(f"{FAMILY}.{10**9}"),
    "foreign digits": sign(f"{FAMILY}.\u0661"),
    "another family": sign("family.0"),
    "junk in the signature": sign(f"{FAMILY}.0") + "!!!!",
    "a line more": sign(f"{FAMILY}.0") + "\n",
    "a session cookie": TimestampSigner(
        SECRET_KEY, salt="redis-session", key_derivation="hmac", digest_method=hashlib.sha256
    )
    .sign(f"{FAMILY}.p")
    .decode(),
    "of a serializer": URLSafeSerializer(SECRET_KEY, salt="refresh token").dumps([FAMILY, 0]),
    "long": "a" * 10_000,
    "words": "some words \ud800",
    "a number": 5,
    "a list": [sign(f"{FAMILY}.0")],
    "an object": {"refreshToken": sign(f"{FAMILY}.0")},
    "true": True,
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_tokens_revoke_nobody(kind: str) -> None:
    """They do not even reach Redis: refused with the message for all, and nothing to log out."""
    app = create_app(CONFIG, away())
    assert refresh(app, FORGED[kind]) is None
    log_out(app, FORGED[kind])


def test_a_token_that_was_not_given_out_is_refused(app: Flask, client: Any) -> None:
    """Rightly signed, of a family that is not there."""
    assert refresh(app, sign(f"{FAMILY}.0")) is None
    assert families(client) == set()


def test_refresh_tokens_outlive_a_change_of_the_secret_key(client: Any) -> None:
    """As session cookies do, as long as the old key is a fallback; the next one is signed with the new key."""
    token: str | None = log_in(create_app(CONFIG, client))[1]
    new = CONFIG | {"SECRET_KEY": "another-key-of-thirty-two-bytes!"}
    assert refresh(create_app(new, client), token) is None
    token = refresh(create_app(new | {"SECRET_KEY_FALLBACKS": [SECRET_KEY]}, client), token)
    assert token
    assert refresh(create_app(new, client), token)


def test_a_dump_of_redis_is_worth_nothing(app: Flask, client: Any) -> None:
    """No token is in it, nor what one is signed from; and the record's name signed by nobody opens nothing."""
    access, first = log_in(app)
    held = [access, first, refresh(app, first) or ""]
    dump = b"".join(key + (client.get(key) or b"") for key in client.keys("REFRESH:SESSION:*"))
    dump += b"".join(client.zrange("OWNER:REFRESH:SESSION:ada", 0, -1))
    assert b"ada" in dump
    for token in held:
        for part in token.split("."):
            assert len(part) < 2 or part.encode() not in dump
    (name,) = families(client)
    assert name == hashlib.sha256(first[:48].encode()).hexdigest()
    assert record_of(client).keys() == {"user", "gen", "at", "born"}
