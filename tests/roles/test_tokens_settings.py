"""The settings of tokens."""

from __future__ import annotations

import json
import re
from typing import Any

import fakeredis
import jwt
import pytest
from support.apps import SECRET_KEY
from support.roles.tokens import ACCESS_KEY, CONFIG, RSA_PUBLIC, log_in, post, protected

from app import create_app


@pytest.mark.parametrize(
    "key",
    [
        "",
        "short",
        "k" * 31,
        5,
        True,
        b"k" * 32,
        ["k" * 32],
        SECRET_KEY,
        "an-old-key-of-at-least-32-bytes!",
        "b" * 32,
        "\ud800" * 32,
        RSA_PUBLIC,
        "ssh-rsa " + "A" * 40,
        json.dumps({"kty": "oct", "k": "k" * 43}),
    ],
)
def test_a_wrong_key_stops_the_start_and_is_not_shown(key: Any) -> None:
    """Too short, no string, or one that signs other things already; with the command that makes a good one."""
    config = CONFIG | {"SECRET_KEY_FALLBACKS": ["an-old-key-of-at-least-32-bytes!", b"b" * 32], "ACCESS_TOKEN_KEY": key}
    with pytest.raises(
        ValueError, match=r"^ACCESS_TOKEN_KEY \(not shown\) .*print\(secrets.token_hex\(32\)\)'$"
    ) as caught:
        create_app(config, fakeredis.FakeRedis())
    assert not isinstance(key, str) or len(key) < 6 or key not in str(caught.value)


@pytest.mark.parametrize("audience", ["", None, 5, ["api"]])
def test_a_wrong_audience_stops_the_start(audience: Any) -> None:
    """It is a string."""
    with pytest.raises(ValueError, match=f"^ACCESS_TOKEN_AUDIENCE is {re.escape(repr(audience))}; expected"):
        create_app(CONFIG | {"ACCESS_TOKEN_AUDIENCE": audience}, fakeredis.FakeRedis())


def test_tokens_of_one_audience_are_none_of_another() -> None:
    """Though the key is the same."""
    ours, theirs = (
        create_app(CONFIG | {"ACCESS_TOKEN_AUDIENCE": name}, fakeredis.FakeRedis()) for name in ("ours", "theirs")
    )
    access, _ = log_in(ours)
    assert (protected(ours, access), protected(theirs, access)) == (200, 403)


def test_without_a_key_there_is_no_api() -> None:
    """And the app says so to whoever asks which roles it has."""
    off = create_app({key: value for key, value in CONFIG.items() if key != "ACCESS_TOKEN_KEY"}, fakeredis.FakeRedis())
    on = create_app(CONFIG, fakeredis.FakeRedis())
    assert post(off, "login", username="ada", password="lovelace").status_code == 404
    assert "tokens" not in off.blueprints
    assert "tokens" in on.blueprints


@pytest.mark.thorough
def test_the_embedded_app_needs_no_key() -> None:
    """It makes one, another each time."""
    first, second = (create_app({"TESTING": True}) for _ in range(2))
    assert protected(first, log_in(first)[0]) == 200
    assert protected(second, log_in(first)[0]) == 403


def test_the_key_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every setting of Flask's."""
    monkeypatch.setenv("FLASK_ACCESS_TOKEN_KEY", ACCESS_KEY)
    monkeypatch.setenv("FLASK_ACCESS_TOKEN_AUDIENCE", "ours")
    app = create_app({"TESTING": True})
    assert jwt.decode(log_in(app)[0], ACCESS_KEY, algorithms=["HS256"], audience="ours")["sub"] == "ada"
