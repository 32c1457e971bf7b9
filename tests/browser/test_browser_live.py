"""The page to study in Chromium: it counts down, and its controls need neither a mouse nor a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from support.chromium import heading, press
from support.serving import serve

from app import create_app

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.thorough


@pytest.fixture
def site() -> Iterator[str]:
    """The address of the embedded app."""
    with serve(create_app({"TESTING": True})) as url:
        yield url


def commands(page: Page) -> list[str]:
    """The commands that the page shows, of the form's request and its own."""
    return [text.partition(" ")[0] for text in page.locator(".commands li > code").all_inner_texts()]


def test_both_lifetimes_count_down(site: str, page: Page) -> None:
    """As numbers, as bars, and as days and hours; in step."""
    page.clock.install()
    page.goto(site)
    press(page, "Sign in as ada")
    numbers, bars = page.locator(".left strong"), page.locator("meter")
    page.clock.run_for(30_000)  # milliseconds
    assert [int(text.removesuffix(" s")) for text in numbers.all_inner_texts()] == pytest.approx([604770] * 2, abs=1)
    assert [int(bars.nth(n).evaluate("bar => bar.value")) for n in (0, 1)] == pytest.approx([604770] * 2, abs=1)
    assert "6 days 23:59:" in page.locator(".left").first.inner_text()
    page.clock.fast_forward(8 * 86400_000)
    assert numbers.all_inner_texts() == ["0 s", "0 s"]


@pytest.mark.parametrize("scripts", [True, False])
def test_a_change_is_shown_with_its_commands(scripts: bool, site: str, open_chromium: Callable[..., Page]) -> None:
    """The record as it is now, and what the change and the page asked; without scripts too."""
    page = open_chromium(java_script_enabled=scripts)
    page.goto(site)
    press(page, "Append")
    assert commands(page) == ["SET", "GET"]
    press(page, "Append")
    assert commands(page) == ["GET", "EVAL", "GET"]
    assert page.locator("pre").inner_text().count('"tea"') == 2
    press(page, "A request that leaves the session alone")
    assert commands(page) == ["GET"]
    press(page, "A new sid")
    assert commands(page) == ["GET", "EVAL", "GET"]
    page.get_by_label("Key").last.select_option("cart")
    press(page, "Delete")
    assert heading(page) == "You have no session"


def test_redis_goes_and_comes_back(site: str, page: Page) -> None:
    """The page becomes a 503, whose button brings the same session back."""
    page.goto(site)
    press(page, "Sign in as ada")
    press(page, "Switch Redis off")
    assert heading(page).startswith("503")
    with page.expect_navigation():
        page.get_by_role("link", name="Try again").click()
    assert heading(page).startswith("503")
    press(page, "Switch Redis on")
    assert page.get_by_text("You are signed in as ada").is_visible()


def test_the_keyboard_is_enough(site: str, page: Page) -> None:
    """Each control is reached by Tab, in the order of the page, shows that it is, and works by Enter."""
    page.goto(site)
    seen = []
    while "Sign in as ada" not in seen:
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        seen.append(focused.inner_text().strip() or focused.get_attribute("id") or "")
        assert focused.evaluate("element => getComputedStyle(element).outlineStyle") != "none", seen
        assert len(seen) < 30
    assert seen[:4] == ["Sessions in Redis", "Session", "Study", "Sign in"]
    assert [name for name in seen if name in ("put-value", "Put", "append-value", "Append")] == [
        "put-value",
        "Put",
        "append-value",
        "Append",
    ]
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.get_by_text("You are signed in as ada").is_visible()
