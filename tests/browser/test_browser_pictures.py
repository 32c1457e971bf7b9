"""The pictures of the README: taken from the pages as they are. `--write-docs` puts them into docs/pictures/."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from support.chromium import press
from support.pictures import HEADER, find_difference, read_text, take_picture
from support.project import PAGES, ROOT
from support.serving import serve

from app import create_app

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.thorough

FOLDER = ROOT / "docs/pictures"
SIZE = {"width": 1000, "height": 800}
MAX_BYTES = 300_000
MAX_DIFFERENCE = 6  # of 255: with all text in another font it is up to 3


@pytest.fixture
def site() -> Iterator[str]:
    """The address of the embedded app."""
    with serve(create_app({"TESTING": True})) as url:
        yield url


def show_session(page: Page, site: str) -> None:
    """Go to the session of somebody who has signed in, and put something into their cart."""
    page.goto(site)
    for button in ("Sign in as ada", "Append"):
        press(page, button)
    for _ in range(50):  # from the top; and both lifetimes are rounded in the same way at some moments only
        page.goto(site)
        if len({*page.locator(".left strong").all_inner_texts()}) == 1:
            break


def show_story(page: Page, site: str) -> None:
    """Go to a story with the thirty lines, at its end."""
    page.goto(f"{site}/study/two-tabs-write?store=seed")
    page.get_by_role("button", name="Show all").click()
    page.mouse.move(0, 0)


@pytest.mark.parametrize(
    ("name", "scheme", "show"),
    [
        ("session-light.png", "light", show_session),
        ("session-dark.png", "dark", show_session),
        ("story.png", "light", show_story),
    ],
)
def test_a_picture_can_be_taken_anew(
    name: str,
    scheme: str,
    show: Callable[[Page, str], None],
    site: str,
    open_chromium: Callable[..., Page],
    request: pytest.FixtureRequest,
) -> None:
    """It is like the one that the README shows: in size, in what the page says, and in its colours from afar.

    Not noticed: what only moves a little, or has another colour in a small place. Fonts differ between machines.
    """
    page, blank = open_chromium(viewport=SIZE, color_scheme=scheme), open_chromium()
    show(page, site)
    picture = take_picture(page)
    if request.config.getoption("--write-docs"):
        (FOLDER / name).write_bytes(picture)
    shown = (FOLDER / name).read_bytes()
    assert picture[:HEADER] == shown[:HEADER]
    assert read_text(picture) == read_text(shown)
    assert find_difference(blank, picture, shown) < MAX_DIFFERENCE
    assert max(len(picture), len(shown)) < MAX_BYTES


def test_a_picture_of_another_page_is_seen_to_be_one(open_chromium: Callable[..., Page]) -> None:
    """By its text, and by its colours: light is far from dark."""
    blank = open_chromium()
    light, dark, story = [
        (FOLDER / name).read_bytes() for name in ("session-light.png", "session-dark.png", "story.png")
    ]
    assert "In your browser: the cookie" in read_text(light)
    assert read_text(light) == read_text(dark) != read_text(story)
    assert find_difference(blank, light, dark) > 10 * MAX_DIFFERENCE
    assert find_difference(blank, light, story) > MAX_DIFFERENCE


def test_the_readme_shows_each_picture() -> None:
    """And says in words what is on it."""
    shown = re.findall(r'(?:src|srcset)="docs/pictures/([^"]+)"', PAGES["README.md"])
    assert sorted(shown) == sorted(path.name for path in FOLDER.iterdir())
    assert all(len(words) > 20 for words in re.findall(r'<img alt="([^"]*)"', PAGES["README.md"]))
