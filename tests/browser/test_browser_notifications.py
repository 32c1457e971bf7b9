"""Notifications in two tabs of Chromium."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from support.chromium import Problems, press, sign_in
from support.roles.notifications import House, serving, wait_until
from support.servers import PATIENCE, RedisServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.thorough


@pytest.fixture
def house(server: RedisServer) -> Iterator[House]:
    with serving(server.connect()) as house:
        yield house


@pytest.fixture
def tabs(house: House, page: Page) -> tuple[Page, Page]:
    """Two tabs of a browser that is signed in, and both are connected."""
    sign_in(page, house.site)
    tabs = (page, page.context.new_page())
    for tab in tabs:
        tab.goto(f"{house.site}/notifications")
    wait_until(lambda: len(house.hub.clients) == 2)
    return tabs


def texts(tab: Page) -> list[str]:
    """The messages in the list, the latest first."""
    return tab.locator("#messages p").all_inner_texts()


def announced(tab: Page, text: str) -> None:
    """Wait until the line says so that screen readers announce."""
    tab.get_by_role("status").filter(has_text=text).wait_for()


def test_a_message_from_one_tab_appears_in_the_other(tabs: tuple[Page, Page]) -> None:
    """Without a reload, as text, and announced; the tab that sent it shows it as well, once."""
    here, there = tabs
    there.evaluate("document.body.dataset.same = 'page'")
    here.get_by_label("A message to yourself").fill("Hello <b>there</b>")
    press(here, "Send")
    announced(there, "New: Hello <b>there</b>")
    assert there.evaluate("document.body.dataset.same") == "page"
    assert texts(here) == texts(there) == ["Hello <b>there</b>"]
    assert not there.get_by_text("Nothing yet.").is_visible()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", there.locator("#messages time").inner_text())


def test_what_came_while_a_tab_was_cut_off_appears_when_it_is_back(house: House, tabs: tuple[Page, Page]) -> None:
    """By itself, in order, once; and only if something is missing it says so."""
    for client in house.hub.get_clients():
        client.end()
    house.say("first", "second")
    for tab in tabs:
        announced(tab, "New: second")
        assert texts(tab) == ["second", "first"]
        assert not tab.get_by_text("Some messages may be missing").is_visible()
    for client in house.hub.get_clients():
        client.end()
    house.say(*range(150))
    for tab in tabs:
        announced(tab, "New: 149")
        assert tab.get_by_text("Some messages may be missing").is_visible()


def test_a_tab_comes_back_after_an_answer_that_ends_an_event_source(
    house: House, page: Page, problems: Problems
) -> None:
    """As a 503 does, to which a browser does not come back by itself."""
    sign_in(page, house.site)
    page.route("**/events*", lambda route: route.fulfill(status=503), times=1)
    page.goto(f"{house.site}/notifications")
    deadline = time.monotonic() + PATIENCE
    while not house.hub.clients and time.monotonic() < deadline:
        page.wait_for_timeout(50)  # milliseconds, in which it gets its answers
    house.say("Hello")
    announced(page, "New: Hello")
    assert [problem[:3] for problem in problems] == ["503"]
    problems.clear()


def test_a_tab_that_leaves_or_signs_out_is_let_go(house: House, tabs: tuple[Page, Page]) -> None:
    """Nothing is left in the process."""
    here, there = tabs
    here.goto(f"{house.site}/account")
    wait_until(lambda: len(house.hub.clients) == 1)
    press(here, "Sign out")
    wait_until(lambda: house.hub.thread is None)
    there.close()


def test_the_page_fits_a_phone(house: House, tabs: tuple[Page, Page]) -> None:
    """Whatever is in a message: nothing has to be scrolled sideways."""
    page, _ = tabs
    page.set_viewport_size({"width": 320, "height": 640})
    house.say("x" * 400, "words and words " * 20)
    announced(page, "New: words")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
