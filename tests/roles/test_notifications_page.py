"""The page /notifications, without a script; and `flask notify`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import fakeredis
import pytest
from support.apps import SECRET_KEY
from support.demo import OURS, make_app, sign_in, status
from support.project import ROOT
from support.roles.notifications import House, serving, texts
from support.servers import RedisServer

from app import create_app


def test_the_page_shows_the_latest_first(least: Any) -> None:
    """As text, with when; and a form, by which one sends a message to oneself."""
    app = make_app(least)
    web = app.test_client()
    sign_in(web)
    assert "Nothing yet." in web.get("/notifications").text
    for message in ("first", "<b>second</b>"):
        answer = web.post("/notifications", data={"message": message}, headers=OURS)
        assert (answer.status_code, answer.location) == (303, "/notifications")
    page = web.get("/notifications").text
    assert re.findall(r"<li>\s*<p>(.*?)</p>\s*<time datetime=", page) == ["&lt;b&gt;second&lt;/b&gt;", "first"]
    last = re.findall(r'data-events="/events\?after=(\d+-\d+)"', page)
    assert last[0].encode() == least.execute_command("XREVRANGE", "NOTIFICATIONS:SESSION:ada", "+", "-")[0][0]


def test_the_page_names_the_command_only_where_it_works(least: Any) -> None:
    """Another process cannot reach a Redis inside this one."""
    for app, works in ((make_app(least), True), (create_app({"TESTING": True}), False)):
        web = app.test_client()
        sign_in(web)
        assert ("flask notify ada Hello" in web.get("/notifications").text) is works


def test_the_page_is_for_those_who_are_signed_in(least: Any) -> None:
    """To read and to write; each sees their own."""
    app = make_app(least)
    web, grace = app.test_client(), app.test_client()
    assert web.get("/notifications").location == "/login?next=/notifications"
    assert web.post("/notifications", data={"message": "x"}, headers=OURS).status_code == 303
    sign_in(grace, "grace", "hopper")
    grace.post("/notifications", data={"message": "for grace"}, headers=OURS)
    sign_in(web)
    assert "for grace" not in web.get("/notifications").text
    assert "for grace" in grace.get("/notifications").text


def test_a_message_that_is_too_long_is_a_400(least: Any) -> None:
    """With what was expected."""
    web = make_app(least).test_client()
    sign_in(web)
    answer = web.post("/notifications", data={"message": "ü" * 2000}, headers=OURS)
    assert answer.status_code == 400
    assert "expected at most 2048" in answer.text


def test_other_sites_cannot_send(least: Any) -> None:
    """The gate of all forms holds here, too."""
    web = make_app(least).test_client()
    sign_in(web)
    answer = web.post("/notifications", data={"message": "x"}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


def test_the_page_works_under_the_policy_of_all_pages(least: Any) -> None:
    """Its script and its style are files of ours, which may ask us; nothing is in the page itself."""
    web = make_app(least).test_client()
    sign_in(web)
    answer = web.get("/notifications")
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert {"script-src 'self'", "connect-src 'self'"} <= {*policy.split("; ")}
    assert not re.search(r"<script(?![^>]* src=\"/static/)|<style|style=|\son\w+=", answer.text)
    for path in re.findall(r'"(/static/[\w.]+)"', answer.text):
        assert status(web, path) == 200


def test_every_page_of_a_user_leads_there(least: Any) -> None:
    """A stranger would only be led to the sign-in."""
    web, link = make_app(least).test_client(), '<a href="/notifications">Notifications</a>'
    assert link not in web.get("/").text
    sign_in(web)
    assert link in web.get("/").text


def test_the_page_announces_to_screen_readers(least: Any) -> None:
    """The line that says what is new is a live region, and is there from the beginning."""
    web = make_app(least).test_client()
    sign_in(web)
    assert '<p class="note" role="status" id="latest"></p>' in web.get("/notifications").text


def test_the_command_reaches_open_pages(server: RedisServer) -> None:
    """From another process; it prints the message's id."""
    with serving(server.connect()) as house:
        page = house.open()
        run = flask(server.patient_url, "notify", "ada", "Hello")
        assert run.returncode == 0, run.stderr
        assert page.take(1) == texts("Hello")
        assert run.stdout.strip() == page.last


def test_the_command_says_what_is_wrong(house: House) -> None:
    """In one line: a message that is too long, a Redis that cannot be reached, or one that nobody else sees."""
    run = house.app.test_cli_runner().invoke
    assert "expected at most 2048" in run(args=["notify", "ada", "x" * 3000]).output
    app = make_app(fakeredis.FakeRedis(server=(fake := fakeredis.FakeServer())))
    fake.connected = False
    result = app.test_cli_runner().invoke(args=["notify", "ada", "Hello"])
    assert result.output.startswith("Error: EVAL failed with ConnectionError")
    embedded = create_app({"TESTING": True}).test_cli_runner().invoke(args=["notify", "ada", "Hello"])
    assert "set REDIS_URL" in embedded.output
    assert {result.exit_code, embedded.exit_code} == {1}


def flask(url: str, *words: str) -> Any:
    """A command of the app itself, in a process of its own."""
    environment = {**os.environ, "REDIS_URL": url, "SECRET_KEY": SECRET_KEY}
    command = [sys.executable, "-m", "flask", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("path", ["/notifications", "/events"])
def test_an_outage_is_a_503(path: str) -> None:
    """And not a sign-in page."""
    fake = fakeredis.FakeServer()
    web = make_app(fakeredis.FakeRedis(server=fake)).test_client()
    sign_in(web)
    fake.connected = False
    answer = web.get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "Set-Cookie" not in answer.headers
