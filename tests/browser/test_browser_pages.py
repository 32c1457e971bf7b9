"""Every page in Chromium: in light and dark, on a phone, at 200 % zoom, and for those who do not see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from support.chromium import sign_in
from support.demo import make_app
from support.project import ROOT
from support.serving import serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.thorough

AXE = ROOT / "build/axe/node_modules/axe-core/axe.min.js"  # the Makefile knows how to get it
PATHS = ["/", "/login", "/account", "/sessions", "/nowhere"]
DESK, ZOOMED, PHONE = (1280, 800), (640, 400), (390, 844)  # to a page, 200 % zoom is half as much room


@pytest.fixture
def site(server: Any) -> Iterator[str]:
    """The address of the app, on a real Redis."""
    with serve(make_app(server.connect())) as url:
        yield url


@pytest.fixture
def visit(site: str, open_chromium: Callable[..., Page]) -> Callable[..., Iterator[Page]]:
    """Shows each page in turn: to a stranger, and then to ada."""

    def visit(size: tuple[int, int], **options: Any) -> Iterator[Page]:
        page = open_chromium(viewport={"width": size[0], "height": size[1]}, **options)
        for path in PATHS:
            page.goto(site + path)
            yield page
        sign_in(page, site)
        for path in PATHS:
            page.goto(site + path)
            yield page

    return visit


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, ZOOMED, PHONE], ids=["desk", "zoomed", "phone"])
def test_no_page_has_a_barrier(scheme: str, size: tuple[int, int], visit: Callable[..., Iterator[Page]]) -> None:
    """Which axe-core would find: contrast, names of what can be pressed, the order of headings, and others."""
    if not AXE.exists():
        pytest.skip("needs axe-core: `make browser` gets it")
    for page in visit(size, color_scheme=scheme):
        page.evaluate(AXE.read_text())  # no script of the page: its policy would forbid that
        found = page.evaluate("axe.run()")
        assert len(found["passes"]) > 10
        assert [
            (page.url, each["id"], [node["target"] for node in each["nodes"]]) for each in found["violations"]
        ] == []


@pytest.mark.parametrize("size", [ZOOMED, PHONE, (320, 600)], ids=["zoomed", "phone", "small"])
def test_no_page_is_wider_than_the_screen(size: tuple[int, int], visit: Callable[..., Iterator[Page]]) -> None:
    """Nobody has to move it sideways."""
    for page in visit(size):
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], page.url
