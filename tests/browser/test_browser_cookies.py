"""The session cookie in Chromium: how long it stays, and the strictest form of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.certificates import make_certificates
from support.chromium import Problems, find_chromium, heading, press, sign_in
from support.clock import Clock
from support.demo import CONFIG
from support.serving import serve

from app import create_app

if TYPE_CHECKING:
    from playwright.sync_api import Page, Playwright

pytestmark = pytest.mark.thorough

HOST = {"SESSION_COOKIE_NAME": "__Host-session", "SESSION_COOKIE_SECURE": True}


@pytest.fixture
def start(playwright: Playwright, problems: Problems, tmp_path: Path) -> Any:
    """Starts a browser that keeps on disk what browsers keep; ends it with the block."""

    @contextmanager
    def start() -> Iterator[Page]:
        launch = playwright.chromium.launch_persistent_context
        with problems.watch(launch(str(tmp_path), executable_path=find_chromium())) as context:
            yield context.new_page()

    return start


@pytest.mark.parametrize(("permanent", "page"), [(True, "Your account"), (False, "Sign in")])
def test_the_cookie_survives_the_browser_if_it_is_permanent(
    permanent: bool, page: str, start: Any, server: Any
) -> None:
    """And only then; the record is still there in both cases."""
    client = server.connect()
    with serve(create_app({**CONFIG, "SESSION_PERMANENT": permanent}, client)) as site:
        with start() as browser:
            sign_in(browser, site)
        with start() as browser:
            browser.goto(f"{site}/account")
            assert heading(browser) == page
    assert len(client.keys("SESSION:*")) == 1


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    return folder / "server.crt", folder / "server.key"


def test_a_host_cookie_is_set_refreshed_and_deleted(
    tls: tuple[Path, Path], server: Any, clock: Clock, open_chromium: Callable[..., Page]
) -> None:
    """Over HTTPS; a browser takes `__Host-` only with Secure, Path=/ and no Domain, each of the three times."""
    page = open_chromium(ignore_https_errors=True)  # no authority that it trusts knows ours

    def cookie() -> Any:
        found = {cookie["name"]: cookie for cookie in page.context.cookies()}
        return found.get("__Host-session")

    with serve(create_app(CONFIG | HOST, server.connect(), clock=clock), tls) as site:
        site = site.replace("127.0.0.1", "localhost")
        sign_in(page, site)
        first = cookie()
        assert (first["secure"], first["path"], first["domain"]) == (True, "/", "localhost")
        clock.move(400)  # later than SESSION_REFRESH_AFTER
        page.goto(f"{site}/account")
        assert heading(page) == "Your account"
        assert cookie()["value"] != first["value"]
        assert cookie()["value"].partition(".")[0] == first["value"].partition(".")[0]
        press(page, "Sign out")
        assert cookie() is None


@pytest.mark.parametrize("wrong", [{"SESSION_COOKIE_SECURE": False}, {"SESSION_COOKIE_PATH": "/account"}])
def test_a_host_cookie_that_is_set_wrongly_is_not_taken(
    wrong: dict[str, Any], tls: tuple[Path, Path], server: Any, open_chromium: Callable[..., Page]
) -> None:
    """It is the browser that says so: nobody is signed in."""
    page = open_chromium(ignore_https_errors=True)
    with serve(create_app(CONFIG | HOST | wrong, server.connect()), tls) as site:
        sign_in(page, site)
        assert page.context.cookies() == []
        page.goto(f"{site}/account")
        assert heading(page) == "Sign in"
