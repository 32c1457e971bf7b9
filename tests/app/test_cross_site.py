"""Requests that another site makes a browser send."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.demo import make_app, sign_in

import app as app_module

SAME, OTHER = "http://localhost", "http://elsewhere.example"


@pytest.fixture
def app(least: Any) -> Flask:
    """The app itself, on both backends."""
    return make_app(least)


@pytest.mark.parametrize("cookie", [True, False])
@pytest.mark.parametrize(
    ("origin", "site", "passes"),
    [
        (SAME, None, True),
        ("HTTP://LocalHost", None, True),
        (SAME, "same-origin", True),
        (SAME, "none", True),
        (SAME, "same-site", False),
        (SAME, "cross-site", False),
        (SAME, "", False),
        (None, "same-origin", True),
        (None, "none", True),
        (None, "same-site", False),
        (None, "cross-site", False),
        (None, "Same-Origin", False),
        (OTHER, None, False),
        (OTHER, "same-origin", False),
        (OTHER, "none", False),
        ("null", None, False),
        ("null", "same-origin", False),
        ("", None, False),
        ("https://localhost", None, False),
        ("http://localhost:8000", None, False),
        ("http://localhost.elsewhere.example", None, False),
        ("http://elsewhere.example/http://localhost", None, False),
        (f"{SAME}/", None, False),
        (f"{SAME}, {OTHER}", None, False),
        (None, None, None),
    ],
)
def test_cross_site_requests_are_refused(
    origin: str | None, site: str | None, passes: bool | None, cookie: bool, web: FlaskClient
) -> None:
    """Origin is ours if it is there; Sec-Fetch-Site too; neither is there only for who has no cookie to abuse."""
    if cookie:
        sign_in(web)
    headers = {name: value for name, value in [("Origin", origin), ("Sec-Fetch-Site", site)] if value is not None}
    answer = web.post("/logout", headers=headers)
    assert answer.status_code == (303 if (not cookie if passes is None else passes) else 403)
    assert web.get("/account").status_code == (200 if cookie and answer.status_code == 403 else 303)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "MOVE"])
@pytest.mark.parametrize("path", ["/", "/login", "/logout", "/sessions/end", "/sessions/end-others", "/nowhere"])
def test_every_unsafe_method_is_guarded(method: str, path: str, web: FlaskClient) -> None:
    """The gate comes before routing, views and sessions."""
    assert web.open(path, method=method, headers={"Origin": OTHER}).status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_pass_from_any_site(method: str, web: FlaskClient) -> None:
    """A link on another site may lead here."""
    answer = web.open("/", method=method, headers={"Origin": OTHER, "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("host", "scheme", "origin", "status"),
    [
        ("app.example", "https", "https://app.example", 303),
        ("app.example", "https", "http://app.example", 403),
        ("app.example:443", "https", "https://app.example", 303),
        ("app.example:8443", "https", "https://app.example:8443", 303),
        ("app.example:8443", "https", "https://app.example", 403),
        ("xn--bcher-kva.example", "https", "https://xn--bcher-kva.example", 303),
        ("[::1]:5000", "http", "http://[::1]:5000", 303),
    ],
)
def test_an_origin_is_ours_if_it_is_the_servers_own(
    host: str, scheme: str, origin: str, status: int, web: FlaskClient
) -> None:
    """Behind a proxy, too, whose scheme the WSGI server passes on as wsgi.url_scheme."""
    headers = {"Host": host, "Origin": origin}
    answer = web.post("/logout", headers=headers, environ_overrides={"wsgi.url_scheme": scheme})
    assert answer.status_code == status


@pytest.mark.parametrize(("endpoint", "status"), [("auth.logout", 303), ("auth", 403), ("auth.logout2", 403)])
def test_an_exemption_is_for_one_exact_endpoint(
    endpoint: str, status: int, web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate lets an endpoint pass by its whole name, and none unless somebody listed it."""
    assert app_module.CSRF_EXEMPT == frozenset()
    monkeypatch.setattr(app_module, "CSRF_EXEMPT", frozenset({endpoint}))
    assert web.post("/logout", headers={"Origin": OTHER}).status_code == status
