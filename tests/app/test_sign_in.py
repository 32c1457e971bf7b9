"""Signing in and out: who gets in, what is answered to others, and where one is sent then."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.apps import set_cookie
from support.demo import CONFIG, OURS, key_of, make_app, sid_of, sign_in, sign_out
from support.tiers import rounds
from werkzeug.security import check_password_hash, generate_password_hash

from app import create_app

TRIES = rounds(1, 3)  # of which the shortest counts


@pytest.fixture
def app(least: Any) -> Flask:
    """The app itself, on both backends."""
    return make_app(least)


def test_signing_in_sets_cookie_and_record_alike(web: FlaskClient, client: Any) -> None:
    """TTL is the cookie's Max-Age, seven days, and the cookie is out of reach for scripts and other sites."""
    answer = sign_in(web)
    assert (answer.status_code, answer.location) == (303, "/")
    cookie = set_cookie(answer) or ""
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"} <= set(cookie.split("; "))
    assert sorted(client.keys()) == [b"OWNER:SESSION:ada", key_of(web).encode()]
    assert 604800 - 5 < client.ttl(key_of(web)) <= 604800


def test_a_secure_cookie_is_one_setting_away(client: Any) -> None:
    """SESSION_COOKIE_SECURE, for an app that is only reached by https."""
    web = create_app({**CONFIG, "SESSION_COOKIE_SECURE": True}, client).test_client()
    cookies = sign_in(web).headers.getlist("Set-Cookie")
    assert len(cookies) == 2
    assert all("Secure" in cookie.split("; ") for cookie in cookies)


def test_unknown_user_and_wrong_password_get_one_answer(web: FlaskClient) -> None:
    """401 and the same page, but for the name that was typed; the password does not come back."""
    pages = []
    for username in ("ada", "nobody"):
        answer = sign_in(web, username, "a wrong password")
        assert answer.status_code == 401
        assert f'value="{username}"' in answer.text
        assert "a wrong password" not in answer.text
        pages.append(answer.text.replace(username, ""))
    assert pages[0] == pages[1]


@pytest.mark.parametrize("method", ["pbkdf2:sha256:300000", "scrypt:32768:8:1"])
def test_unknown_user_and_wrong_password_take_one_time(method: str, client: Any) -> None:
    """Both compute one hash of the method of the accounts, and that is nearly all of the time."""
    accounts = {"ada": generate_password_hash("lovelace", method)}
    web = create_app({**CONFIG, "ACCOUNTS": accounts}, client).test_client()

    def seconds(work: Callable[[], object]) -> float:
        start = time.thread_time()  # of the processor: other processes do not count
        work()
        return time.thread_time() - start

    one = min(seconds(partial(check_password_hash, accounts["ada"], "wrong")) for _ in range(TRIES))
    for username in ("ada", "nobody", ""):
        taken = min(seconds(partial(sign_in, web, username, "wrong")) for _ in range(TRIES))
        assert taken > one / 2


@pytest.mark.parametrize("form", [{}, {"username": "ada"}, {"password": "lovelace"}, {"username": "ADA"}])
def test_an_incomplete_form_signs_nobody_in(form: dict[str, str], web: FlaskClient) -> None:
    """A missing field is a wrong one."""
    assert web.post("/login", data=form, headers=OURS).status_code == 401


def test_the_query_string_signs_nobody_in(web: FlaskClient) -> None:
    """Passwords in a URL would end up in logs; they are not looked for there."""
    assert web.get("/login?username=ada&password=lovelace").status_code == 200
    assert web.post("/login?username=ada&password=lovelace", headers=OURS).status_code == 401
    assert web.get_cookie("session") is None


def test_each_sign_in_gives_a_new_sid(web: FlaskClient, client: Any) -> None:
    """Also for the same user again; the sid before it is dead at once."""
    sids = []
    for username, password in [("ada", "lovelace"), ("ada", "lovelace"), ("grace", "hopper")]:
        assert sign_in(web, username, password).status_code == 303
        sids.append(sid_of(web))
        assert f"<dd>{username}</dd>" in web.get("/account").text
    assert len(set(sids)) == 3
    assert [name for name in client.keys() if name.startswith(b"SESSION:")] == [key_of(web).encode()]


def test_a_foreign_sid_is_not_adopted(web: FlaskClient, client: Any) -> None:
    """Whoever plants a cookie before the sign-in does not know the sid after it (session fixation)."""
    sign_in(web)
    planted = web.get_cookie("session")
    assert planted is not None
    victim = web.application.test_client()
    victim.set_cookie("session", planted.value)
    sign_in(victim, "grace", "hopper")
    assert sid_of(victim) != sid_of(web)
    assert web.get("/account").status_code == 303


def test_nothing_of_the_session_before_is_taken_along(web: FlaskClient, client: Any) -> None:
    """Signing in begins with an empty session."""
    sign_in(web)
    client.set(key_of(web), '{"user_id":"ada","basket":[1]}', ex=1000)
    sign_in(web, "grace", "hopper")
    assert b"basket" not in client.get(key_of(web))


def test_signing_out_ends_the_session_on_both_sides(web: FlaskClient, client: Any) -> None:
    """The record is gone, the cookie deleted, and a copy of the cookie worth nothing."""
    sign_in(web)
    cookie = web.get_cookie("session")
    assert cookie is not None
    answer = sign_out(web)
    assert (answer.status_code, answer.location) == (303, "/")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert client.keys() == []
    web.set_cookie("session", cookie.value)
    assert web.get("/account").status_code == 303
    assert "You have no session" in web.get("/").text


def test_signing_out_leaves_nothing_in_the_browser_but_that_it_is_known(web: FlaskClient) -> None:
    """It drops copies of pages and what scripts stored. The cookies that it keeps are those of no session."""
    sign_in(web)
    answer = sign_out(web)
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert web.get_cookie("session") is None
    assert web.get_cookie("session_device")
    assert "Clear-Site-Data" not in web.get("/").headers


def test_the_account_page_says_who_and_since_when(web: FlaskClient) -> None:
    """And sends nobody's data to who is not signed in."""
    assert "ada" not in web.get("/account").text
    sign_in(web)
    page = web.get("/account").text
    assert "<dd>ada</dd>" in page
    assert time.strftime("%Y-%m-%d", time.gmtime()) in page


def test_a_deleted_account_is_signed_in_no_more(web: FlaskClient, client: Any) -> None:
    """The session is still there, but nobody by that name is."""
    sign_in(web)
    accounts = {"grace": CONFIG["ACCOUNTS"]["grace"]}  # type: ignore[index]
    later = create_app({**CONFIG, "ACCOUNTS": accounts}, client).test_client()
    cookie = web.get_cookie("session")
    assert cookie is not None
    later.set_cookie("session", cookie.value)
    assert later.get("/account").status_code == 303
    assert "signed in as" not in later.get("/").text


def test_a_page_that_needs_a_user_is_reached_after_signing_in(web: FlaskClient) -> None:
    """Its address, with the query, goes along through failed attempts until the sign-in leads back to it."""
    answer = web.get("/account?tab=two&x=%2F")
    assert answer.location == "/login?next=/account?tab%3Dtwo%26x%3D%252F"
    page = web.get(answer.location).text
    assert 'name="next" value="/account?tab=two&amp;x=%2F"' in page
    page = sign_in(web, password="wrong", next="/account?tab=two&x=%2F").text
    assert 'name="next" value="/account?tab=two&amp;x=%2F"' in page
    assert sign_in(web, next="/account?tab=two&x=%2F").location == "/account?tab=two&x=%2F"


@pytest.mark.parametrize("target", ["/", "/account", "/account?x=//y", "/a//b", "/a:b@c", "/%5Cx", "/%2F/x", "/é"])
def test_next_may_be_any_path_of_this_site(target: str, web: FlaskClient) -> None:
    """The browser goes where it was told to."""
    assert sign_in(web, next=target).location == target.replace("é", "%C3%A9")


@pytest.mark.parametrize(
    "target",
    [
        "",
        "account",
        "//elsewhere.example",
        "///elsewhere.example",
        "/\\elsewhere.example",
        "\\\\elsewhere.example",
        "/a\\b",
        "http://elsewhere.example",
        "http:elsewhere.example",
        "javascript:alert(1)",
        " /account",
        " //elsewhere.example",
        "/\t/elsewhere.example",
        "/\n/elsewhere.example",
        "/\r\nSet-Cookie: a=b",
        "\t//elsewhere.example",
        "/\x00/elsewhere.example",
        "/\x7f/elsewhere.example",
        "/account\n",
        "@elsewhere.example",
        "?next=/",
    ],
)
def test_next_never_leaves_this_site(target: str, web: FlaskClient) -> None:
    """Whatever a browser might take for another site leads home, and is not kept in the form."""
    assert 'name="next"' not in sign_in(web, password="wrong", next=target).text
    assert sign_in(web, next=target).location == "/"
