"""The stories in Chromium: each is stepped through by keyboard, with one of the stores, and read without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import TYPE_CHECKING

import pytest
from support.chromium import find_barriers
from support.serving import serve

from app import create_app
from study.book import SCENARIOS
from study.story import STORES

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.thorough

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the embedded app."""
    with serve(create_app({"TESTING": True})) as url:
        yield url


def shown(page: Page) -> int:
    """How many steps one sees."""
    steps = page.locator(".timeline > .step")
    return int(steps.evaluate_all("steps => steps.filter(step => step.checkVisibility()).length"))


@pytest.mark.parametrize(("name", "store"), [*zip(SCENARIOS, cycle(STORES), strict=False)])
def test_a_story_is_stepped_through_by_keyboard(
    name: str, store: str, site: str, open_chromium: Callable[..., Page]
) -> None:
    """To its verdict, which is there at the end only, and a step back; on a phone nothing is wider than that."""
    page = open_chromium(viewport=PHONE)
    page.goto(f"{site}/study/{name}?store={store}")
    steps, verdict, output = page.locator(".timeline > .step"), page.locator(".verdict"), page.locator("output")
    total = steps.count()
    assert total > 2
    assert shown(page) == 1
    for number in range(2, total + 1):
        assert not verdict.is_visible()
        page.keyboard.press("ArrowRight")
        assert output.inner_text().startswith(f"Step {number} of {total}: ")
    page.keyboard.press("ArrowRight")  # there is nothing more
    assert shown(page) == total
    assert verdict.is_visible()
    assert ("It held." in verdict.inner_text()) or store == "seed"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.keyboard.press("ArrowLeft")
    assert shown(page) == total - 1
    assert not verdict.is_visible()


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_story_has_a_barrier(name: str, site: str, open_chromium: Callable[..., Page]) -> None:
    """Which axe-core would find, with all steps shown; in light the one store, in dark the other."""
    for store, scheme in zip(STORES, ("light", "dark"), strict=True):
        page = open_chromium(viewport=PHONE, color_scheme=scheme)
        page.goto(f"{site}/study/{name}?store={store}")
        page.get_by_role("button", name="Show all").click()
        assert find_barriers(page) == []


def test_the_buttons_step_as_well(site: str, page: Page) -> None:
    """Reached by Tab, pressed by Enter; one shows all at once."""
    page.goto(f"{site}/study/{next(iter(SCENARIOS))}")
    page.get_by_role("link", name="with", exact=False).last.focus()
    page.keyboard.press("Tab")  # past "Back", which is disabled at the first step
    for number in (2, 3):
        page.keyboard.press("Enter")
        assert page.locator("output").inner_text().startswith(f"Step {number} of ")
    page.get_by_role("button", name="Show all").press("Enter")
    assert shown(page) == page.locator(".timeline > .step").count()
    assert page.locator(".verdict").is_visible()


def test_the_way_back_from_the_code_leads_to_the_step(site: str, page: Page) -> None:
    """By the browser's button; and by a link to the story."""
    page.goto(f"{site}/study/two-tabs-write?store=ours")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.locator("#step-3 .by a").first.click()
    back = page.get_by_role("link", name="Back to the story: Two tabs write at once")
    assert back.get_attribute("href") == "/study/two-tabs-write?store=ours"
    page.go_back(wait_until="commit")  # Chromium may have kept the page, which then does not load
    assert page.locator("output").inner_text().startswith("Step 3 of ")
    assert shown(page) == 3


def test_a_story_needs_no_script(site: str, open_chromium: Callable[..., Page]) -> None:
    """Without one all of it is there, and no button that would do nothing."""
    page = open_chromium(java_script_enabled=False)
    page.goto(f"{site}/study/{next(iter(SCENARIOS))}")
    assert shown(page) == page.locator(".timeline > .step").count() > 2
    assert page.locator(".verdict").is_visible()
    assert page.locator("main button:visible").count() == 0


def test_a_story_prints_with_the_name_of_its_store(site: str, open_chromium: Callable[..., Page]) -> None:
    """All of it, though it was stepped through; without controls; and on white, though the screen is dark."""
    page = open_chromium(color_scheme="dark")
    page.goto(f"{site}/study/two-tabs-write?store=ours")
    page.emulate_media(media="print", color_scheme="dark")
    assert shown(page) == page.locator(".timeline > .step").count() > 2
    assert page.locator(".verdict").is_visible()
    assert page.locator("main button:visible, header:visible").count() == 0
    assert page.locator(".step details ol").first.evaluate("folded => folded.checkVisibility()")
    assert page.locator(".stores").inner_text().strip() == "with redis_store.py"
    colour = page.locator(".step").first.evaluate("step => getComputedStyle(step).backgroundColor")
    assert colour == "rgb(255, 255, 255)"


@pytest.mark.parametrize("store", STORES)
def test_every_link_of_a_story_leads_somewhere(store: str, site: str, page: Page) -> None:
    """To the code of each step, to the test, to the other stories."""
    page.goto(f"{site}/study/{next(iter(SCENARIOS))}?store={store}")
    links = page.eval_on_selector_all("a[href]", "links => [...new Set(links.map(link => link.href))]")
    assert len(links) > 8
    for link in links:
        assert page.request.get(link).status == 200, link
