"""The app as deploy/ runs it: under gunicorn, behind nginx, which ends TLS. And what its image is made of."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.deployed import DEPLOY
from support.project import ROOT
from support.proxied import Site

#: Run where there is nothing of the project but what the image has.
CHECK = """
import auth, redis_store
from app import create_app
create_app({"TESTING": True})
print({module.__file__.rpartition("/")[0] for module in (auth, redis_store)})
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.stop()


@pytest.mark.thorough
def test_a_user_signs_in_and_out_over_tls(site: Site) -> None:
    """With a cookie that only this host gets, and only over TLS."""
    browser = site.sign_in()
    (cookie,) = [cookie for cookie in browser.cookies if cookie.name == "__Host-session"]
    assert (cookie.secure, cookie.path, cookie.domain_specified) == (True, "/", False)
    answer = site.get("/account", browser)
    assert (answer.status_code, "<dd>ada</dd>" in answer.text) == (200, True)
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    assert site.post("/logout", browser).headers["Clear-Site-Data"] == '"cache", "storage"'
    assert site.get("/account", browser).status_code == 303


def test_plain_http_leads_to_https(site: Site) -> None:
    """With the method and the form, and to no address but this host's."""
    answer = requests.post(f"http://localhost:{site.http}/login?next=/account", allow_redirects=False, timeout=20)
    assert (answer.status_code, answer.headers["Location"]) == (308, "https://localhost/login?next=/account")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost", "null"])
def test_a_page_of_another_site_is_refused(origin: str, site: Site) -> None:
    """The app sees the address that the browser does, behind the proxy too."""
    data = {"username": "ada", "password": "lovelace"}
    assert site.post("/login", data=data, headers={"Origin": origin}).status_code == 403


def test_a_visitor_cannot_choose_an_address(site: Site) -> None:
    """Whatever the browser claims, all attempts count at the address that the proxy sees."""
    admin = site.redis.connect()
    for n in range(3):
        headers = {"X-Forwarded-For": f"203.0.113.{n}", "X-Real-IP": f"203.0.113.{n}", "Forwarded": "for=203.0.113.9"}
        answer = site.post("/login", data={"username": f"nobody{n}", "password": "x"}, headers=headers)
        assert answer.status_code == 401
    assert len(admin.keys("FAILED:SESSION:account:*")) == 3
    assert len(admin.keys("FAILED:SESSION:address:*")) == 1


def test_a_body_that_is_too_large_does_not_reach_the_app(site: Site) -> None:
    """413, as the app would say."""
    assert site.post("/logout", data={"x": "x" * 20_000}).status_code == 413


def test_events_come_through_at_once(site: Site) -> None:
    """The proxy collects nothing of a stream."""
    browser = site.sign_in()
    # After the beginning: without that it begins with what comes once it is known, which may be later than the message.
    with browser.get(f"{site.url}/events?after=0-0", stream=True, timeout=20) as stream:
        assert site.post("/notifications", browser, data={"message": "hello"}).status_code == 303
        assert any(b"hello" in line for line in stream.iter_lines(chunk_size=1))


def test_figures_are_not_for_visitors(site: Site) -> None:
    """Whether there are some or not."""
    assert site.get("/metrics").status_code == 404


def test_a_redis_that_is_killed_and_comes_back_has_signed_nobody_out(site: Site) -> None:
    """In between, a page that needs the session is a 503, and the cookie is kept."""
    browser = site.sign_in()
    site.redis.stop()
    answer = site.get("/account", browser)
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    assert site.get("/health/ready").status_code == 503
    assert site.get("/health/live").status_code == 200
    site.redis.start()
    site.wait("/health/ready")
    assert site.get("/account", browser).status_code == 200


@pytest.mark.thorough
def test_an_app_that_is_replaced_has_signed_nobody_out(site: Site) -> None:
    """SIGTERM lets requests end; until the next one is there, the proxy says 502."""
    browser = site.sign_in()
    site.app.terminate()
    assert site.app.wait(timeout=20) == 0
    assert site.get("/account", browser).status_code == 502
    site.start_app()
    site.wait()
    assert site.get("/account", browser).status_code == 200


def test_costly_requests_are_limited(site: Site) -> None:
    """Pages are not. (Last of those with the site: whoever asked so often cannot sign in for a while.)"""
    with site.visit() as browser:
        assert 429 in {site.get("/oauth/login", browser).status_code for _ in range(40)}
        assert {site.get("/health/live", browser).status_code for _ in range(40)} == {200}


# What an image holds ------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_the_image_has_all_that_the_app_needs(tmp_path: Path) -> None:
    """The app starts from what the Dockerfile copies, and from nothing else of the project."""
    copies = re.findall(r"^COPY (.*) (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    for names, target in copies:
        for name in names.split():
            source, copy = ROOT / name, tmp_path / target
            if source.is_dir():
                shutil.copytree(source, copy)
            else:
                copy.mkdir(exist_ok=True)
                shutil.copy(source, copy)
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\n" + CHECK
    run = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout == f"{{{str(tmp_path)!r}}}\n", run.stderr


@pytest.mark.thorough
def test_the_compose_file_names_files_that_are_there() -> None:
    """And those that deploy/make-secrets and the operator make."""
    text = (DEPLOY / "compose.yml").read_text()
    for name in re.findall(r"- \./(\S+?):", text):
        assert name.startswith("secrets/") or (DEPLOY / name).is_file()
    assert "\t" not in text
    for name in ("users.acl", "app.env"):
        assert f"secrets/{name}" in text
        assert f">secrets/{name}" in (DEPLOY / "make-secrets").read_text()
