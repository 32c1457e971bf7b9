"""A real browser: the system's Chromium, driven by Playwright, which never downloads one.

Whatever a page does in it is watched: an error in its console, as each violation of the Content-Security-Policy is,
and a file that is not there, fail the test at its end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from support.project import ROOT
from support.servers import PATIENCE

if TYPE_CHECKING:  # who only runs the tests may have no Playwright
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Response

AXE = ROOT / "build/axe/node_modules/axe-core/axe.min.js"  # the Makefile knows how to get it


def find_chromium() -> str:
    """Return the path of ``chromium``, for any test that starts one. Where there is none, that test is skipped."""
    return shutil.which("chromium") or pytest.skip("needs a chromium on the PATH")


class Problems(list[str]):
    """What went wrong in the pages of a browser, in words."""

    def watch(self, context: BrowserContext) -> BrowserContext:
        context.on("console", self._note_message)
        context.on("weberror", lambda error: self.append(f"exception: {error.error}"))
        context.on("response", self._note_response)
        return context

    def _note_message(self, message: ConsoleMessage) -> None:
        # Chromium complains of each error page, too, and of a server that ended; for files there is `_note_response`.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource:"):
            self.append(f"{message.type}: {message.text}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.append(f"{response.status}: {response.url}")


@pytest.fixture(scope="module")  # not for all modules: an event loop runs in this thread as long
def playwright() -> Iterator[Playwright]:
    """The driver."""
    find_chromium()
    with pytest.importorskip("playwright.sync_api").sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """A Chromium; each test has contexts of its own in it, without cookies."""
    keeps_pages = ["--disable-back-forward-cache"]  # Playwright's default; people's browsers show a page of before
    browser = playwright.chromium.launch(executable_path=find_chromium(), ignore_default_args=keeps_pages)
    yield browser
    browser.close()


@pytest.fixture
def problems() -> Iterator[Problems]:
    """What went wrong in a page. At the end of the test that has to be nothing."""
    problems = Problems()
    yield problems
    assert problems == []


@pytest.fixture
def open_chromium(chromium: Browser, problems: Problems) -> Iterator[Callable[..., Page]]:
    """Opens a page of one more browser, without cookies. Takes options of Playwright's contexts, as `viewport`."""
    contexts: list[BrowserContext] = []

    def open_chromium(**options: Any) -> Page:
        contexts.append(problems.watch(chromium.new_context(**options)))
        contexts[-1].set_default_timeout(PATIENCE * 1000)  # milliseconds
        return contexts[-1].new_page()

    yield open_chromium
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_chromium: Callable[..., Page]) -> Page:
    """The page of a browser without cookies."""
    return open_chromium()


def sign_in(page: Page, site: str, username: str = "ada", password: str = "lovelace") -> None:
    """Fill in the form, as a person does; return when the next page is there."""
    page.goto(f"{site}/login")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(password)
    press(page, "Sign in")


def press(page: Page, name: str) -> None:
    """Press a button that sends a form; return when the next page is there."""
    with page.expect_navigation():
        page.get_by_role("button", name=name, exact=True).click()


def heading(page: Page) -> str:
    """Return the heading of the page."""
    return page.get_by_role("heading", level=1).inner_text()


def find_barriers(page: Page) -> list[tuple[str, list[str]]]:
    """Return what axe-core finds in a page: each broken rule, and where. Without axe-core the test is skipped."""
    if not AXE.exists():
        pytest.skip("needs axe-core: `make browser` gets it")
    page.evaluate(AXE.read_text())  # no script of the page: its policy would forbid that
    found = page.evaluate("axe.run({resultTypes: ['violations']})")  # of the others, one node each
    assert len(found["passes"]) > 10
    return [(each["id"], [str(node["target"]) for node in each["nodes"]]) for each in found["violations"]]
