"""The device cookie: by which a browser is known that has signed in before."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from support.apps import SECRET_KEY, set_cookie
from support.clock import StillClock
from support.demo import CONFIG, FAST, OURS
from support.roles.throttle import BOTS, attack, device_of, keys, known, sign_in
from werkzeug.security import generate_password_hash

from app import create_app
from roles.throttle import DEVICE_MAX_AGE


@pytest.fixture
def app(client: Any, still_clock: StillClock) -> Flask:
    return create_app(CONFIG, client, clock=still_clock)


def is_known(app: Flask, client: Any, *cookies: str, username: str = "ada") -> bool:
    """Whether an attempt with these device cookies is counted at a device."""
    client.delete(*keys(client), "none")
    header = "; ".join(f"session_device={cookie}" for cookie in cookies)
    with app.test_client(use_cookies=False) as web:
        assert sign_in(web, username, **({"Cookie": header} if cookies else {})).status_code == 401
    return bool(keys(client, "device"))


def test_the_device_cookie_is_signed(app: Flask, client: Any) -> None:
    """Not one character of it can be changed, nor can it be made without the key."""
    cookie = device_of(known(app))
    assert is_known(app, client, cookie)
    device, stamp, signature = cookie.split(".")
    forged = [device, f"{device}.{stamp}", f"{'0' * 32}.{stamp}.{signature}", f"{device}.zzzzzz.{signature}", "", "é"]
    assert not any(is_known(app, client, text) for text in forged)
    other = create_app({**CONFIG, "SECRET_KEY": "another-key-of-thirty-two-bytes!"}, client)
    assert not is_known(app, client, device_of(known(other)))


def test_the_device_cookie_is_that_of_one_account(app: Flask, client: Any) -> None:
    """Who signs in to an account of his own is nobody's known browser elsewhere."""
    cookie = device_of(known(app, "grace", "hopper"))
    assert is_known(app, client, cookie, username="grace")
    for username in ("ada", "nobody", "Grace", ""):
        assert not is_known(app, client, cookie, username=username)


def test_the_device_cookie_opens_nothing(app: Flask) -> None:
    """It is no session, whichever name it is sent under, and a session's cookie is no device."""
    web = known(app)
    assert web.get("/account").status_code == 303
    web.set_cookie("session", device_of(web))
    assert web.get("/account").status_code == 303


def test_a_session_cookie_is_no_device_cookie(app: Flask, client: Any) -> None:
    """One key signs both, for two purposes."""
    cookie = set_cookie(sign_in(app, password="lovelace")) or ""
    assert not is_known(app, client, cookie.partition(";")[0].removeprefix("session="))


def test_a_planted_cookie_does_not_hide_the_good_one(app: Flask, client: Any) -> None:
    """A browser sends two of one name when another host of the domain has set one, too."""
    good, planted = device_of(known(app)), device_of(known(app, "grace", "hopper"))
    assert is_known(app, client, planted, good)
    assert is_known(app, client, good, planted)


def test_a_browser_is_known_for_a_year(app: Flask, client: Any, still_clock: StillClock) -> None:
    """From its last sign-in, which leaves the browser's id as it is."""
    web = known(app)
    device = device_of(web).partition(".")[0]
    still_clock.move(DEVICE_MAX_AGE - 60)
    assert is_known(app, client, device_of(web))
    answer = sign_in(web, password="lovelace")
    assert device_of(web).partition(".")[0] == device
    assert f"Max-Age={DEVICE_MAX_AGE}" in answer.headers["Set-Cookie"]
    still_clock.move(DEVICE_MAX_AGE - 60)
    assert is_known(app, client, device_of(web))
    still_clock.move(120)
    assert not is_known(app, client, device_of(web))


def test_a_key_rotation_keeps_browsers_known(app: Flask, client: Any) -> None:
    """A cookie signed with a key that is now a fallback is good; one signed with no key of ours is not."""
    cookie, key = device_of(known(app)), "k" * 32
    for fallbacks, expected in ([SECRET_KEY], True), ([], False):
        later = create_app({**CONFIG, "SECRET_KEY": key, "SECRET_KEY_FALLBACKS": fallbacks}, client)
        assert is_known(later, client, cookie) is expected


def test_the_device_cookie_has_the_attributes_of_the_session_cookie(client: Any) -> None:
    """What protects the one protects the other."""
    settings = {"NAME": "__Host-s", "SECURE": True, "PARTITIONED": True, "SAMESITE": "Strict"}
    app = create_app({**CONFIG, **{f"SESSION_COOKIE_{name}": value for name, value in settings.items()}}, client)
    cookies = [header.split("; ") for header in sign_in(app, password="lovelace").headers.getlist("Set-Cookie")]
    device, session = ({part for part in cookie[1:] if not re.match("Expires|Max-Age", part)} for cookie in cookies)
    assert [cookie[0].partition("=")[0] for cookie in cookies] == ["__Host-s_device", "__Host-s"]
    assert device == session == {"HttpOnly", "Secure", "Partitioned", "SameSite=Strict", "Path=/"}


def test_only_a_sign_in_sets_the_device_cookie(app: Flask) -> None:
    """No other page, no failure and no sign-out does, or takes it away."""
    web = app.test_client()
    assert sign_in(web).headers.getlist("Set-Cookie") == []
    sign_in(web, password="lovelace")
    for answer in (web.get("/"), web.get("/login"), web.get("/account"), web.post("/logout", headers=OURS)):
        assert not [text for text in answer.headers.getlist("Set-Cookie") if text.startswith("session_device=")]
    assert device_of(web)


def test_a_change_of_the_password_makes_browsers_strangers(app: Flask) -> None:
    """Whoever knew the old one has no tries of his own at the new one."""
    web = known(app)
    app.config["ACCOUNTS"] = {**app.config["ACCOUNTS"], "ada": generate_password_hash("changed", FAST)}
    attack(app)
    assert [sign_in(web, address=BOTS[0]).status_code for _ in range(2)] == [429, 429]
