"""Sessions as a browser keeps them: what people do with the pages, in Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, request
from support.apps import route
from support.chromium import Problems, heading, press, sign_in
from support.demo import make_app
from support.serving import serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.thorough


@pytest.fixture
def site(server: Any) -> Iterator[str]:
    """The address of the app, on a real Redis."""
    with serve(make_app(server.connect())) as url:
        yield url


def test_a_sign_in_shows_the_record(site: str, page: Page) -> None:
    """And a reload shows it again."""
    sign_in(page, site)
    for _ in range(2):
        assert page.get_by_text("You are signed in as ada").is_visible()
        assert '"user_id": "ada"' in page.inner_text("main")
        page.reload()


def test_a_script_cannot_see_the_sid(site: str, page: Page) -> None:
    """The cookie is there, and `document.cookie` has nothing of it."""
    sign_in(page, site)
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["session"]["httpOnly"]
    sid = cookies["session"]["value"].partition(".")[0]
    assert sid[9:] not in page.evaluate("document.cookie")
    assert sid[9:] not in page.content()


def test_sign_out_everywhere_reaches_the_other_browser(site: str, open_chromium: Callable[..., Page]) -> None:
    """Two browsers of one user; the one ends the other's session."""
    here, there = open_chromium(), open_chromium()
    for browser in (here, there):
        sign_in(browser, site)
    here.goto(f"{site}/sessions")
    assert here.locator(".devices li").count() == 2
    press(here, "Sign out all others")
    assert here.get_by_text("One other session has ended.").is_visible()
    assert here.locator(".devices li").count() == 1
    there.goto(f"{site}/account")
    assert heading(there) == "Sign in"
    here.goto(f"{site}/account")
    assert heading(here) == "Your account"


def test_the_back_button_shows_nothing_private_after_a_sign_out(site: str, page: Page) -> None:
    """The browser has kept none of the session's pages, nor the one to which the sign-in led."""
    sign_in(page, site)
    for path in ("/sessions", "/", "/account"):
        page.goto(site + path)
    press(page, "Sign out")
    for _ in range(4):
        page.go_back()  # a page that the browser had kept would never load, and this would wait in vain
        assert "ada" not in page.inner_text("main")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_form_of_another_site_is_refused(host: str, site: str, page: Page) -> None:
    """From another port, to which the browser sends the cookie along, and from another host."""
    elsewhere = Flask("elsewhere")
    form = f'<link rel="icon" href="data:,"><form method="post" action="{site}/logout"><button>Go</button></form>'
    route(elsewhere, "/", lambda: form)
    sign_in(page, site)
    with serve(elsewhere) as url:
        page.goto(url.replace("127.0.0.1", host))
        press(page, "Go")
        assert page.url == f"{site}/logout"
        assert heading(page).startswith("403")
    page.goto(f"{site}/account")
    assert heading(page) == "Your account"


# What the tests above would see -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<p style='color: red'>", "style"),
        ("<script>1</script>", "script"),
        ("<img src=/nowhere>", "404"),
        ("<script src=/broken.js></script>", "exception"),
    ],
)
def test_a_problem_of_a_page_is_seen(body: str, problem: str, chromium: Any) -> None:
    """A violation of the policy, a file that is not there, a script that fails."""
    app = Flask("faulty")
    route(app, "/", lambda: f"<link rel=icon href=data:,>{body}")
    route(app, "/broken.js", lambda: "nothing.at.all()")
    policy = "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'"
    strict = {"Content-Security-Policy": policy}

    @app.after_request
    def tighten(response: Any) -> Any:
        response.headers.update(strict)
        if request.path.endswith(".js"):
            response.mimetype = "text/javascript"
        return response

    problems = Problems()
    with serve(app) as url, problems.watch(chromium.new_context()) as context:
        context.new_page().goto(url)
    assert len(problems) == 1
    assert problem in problems[0]
