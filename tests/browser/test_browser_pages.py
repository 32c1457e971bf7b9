"""Every page in Chromium: in light and dark, on a phone, at 200 % zoom, and for those who do not see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from flask import abort
from support.chromium import find_barriers, press, sign_in
from support.demo import make_app
from support.serving import serve

from app import create_app

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.thorough

ERRORS = (400, 403, 404, 405, 413, 429, 500, 503)
STUDY = (
    "",
    "/two-tabs-write?store=seed",
    "/two-tabs-write?store=ours",
    "/source/redis_store.py::RedisSessionInterface?line=99",
    "/source/tests/promises/test_03_logout_is_final.py::test_a_request_under_way_cannot_bring_a_session_back",
)
DESK, ZOOMED, PHONE = (1280, 800), (640, 400), (390, 844)  # to a page, 200 % zoom is half as much room


@pytest.fixture
def plain(server: Any) -> Iterator[str]:
    """The address of the app on a real Redis, whose home page is not there to study."""
    with serve(make_app(server.connect())) as url:
        yield url


@pytest.fixture
def embedded() -> Iterator[str]:
    """The address of the embedded app, with all errors there are."""
    app = create_app({"TESTING": True})
    app.add_url_rule("/error/<int:status>", view_func=lambda status: abort(status))
    with serve(app) as url:
        yield url


@pytest.fixture
def visit(plain: str, embedded: str, open_chromium: Callable[..., Page]) -> Callable[..., Iterator[Page]]:
    """Shows each page in turn: to a stranger, and to ada."""

    def visit(size: tuple[int, int], **options: Any) -> Iterator[Page]:
        page = open_chromium(viewport={"width": size[0], "height": size[1]}, **options)
        for address in (plain, embedded, f"{embedded}/login", *(f"{embedded}/error/{status}" for status in ERRORS)):
            page.goto(address)
            yield page
        sign_in(page, plain, password="wrong")
        yield page
        sign_in(page, plain)
        yield page
        for path in ("account", "sessions", "notifications", "mail"):
            page.goto(f"{plain}/{path}")
            yield page
        for path in STUDY:
            page.goto(f"{embedded}/study{path}")
            yield page
        page.goto(embedded)
        for button in ("Sign in as ada", "Append", "Put", "Switch Redis off", "Switch Redis on"):
            press(page, button)
            yield page
        page.goto(f"{embedded}/mail")
        yield page

    return visit


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESK, "light"), (DESK, "dark"), (ZOOMED, "light"), (PHONE, "dark")], ids=str
)
def test_no_page_has_a_barrier(size: tuple[int, int], scheme: str, visit: Callable[..., Iterator[Page]]) -> None:
    """Which axe-core would find: contrast, names of what can be pressed, the order of headings, and others."""
    for page in visit(size, color_scheme=scheme):
        assert find_barriers(page) == [], page.url


@pytest.mark.parametrize("size", [ZOOMED, PHONE, (320, 600)], ids=["zoomed", "phone", "small"])
def test_no_page_is_wider_than_the_screen(size: tuple[int, int], visit: Callable[..., Iterator[Page]]) -> None:
    """Nobody has to move it sideways."""
    for page in visit(size):
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], page.url


def test_a_text_has_room_for_its_lines(plain: str, page: Page) -> None:
    """A field for text is as high as its rows, and neither the button nor the heading after a form touches it."""
    sign_in(page, plain)
    page.goto(f"{plain}/mail")
    text = page.get_by_label("Text")
    text.fill("one\ntwo\nthree\nfour\nfive\nsix")
    assert text.evaluate("field => field.scrollHeight <= field.clientHeight")
    assert distance(page, "textarea", "textarea + *") >= 16
    page.goto(f"{plain}/notifications")
    assert distance(page, "form.card", "#received") >= 16


def distance(page: Page, above: str, below: str) -> float:
    """Return how many pixels there are between two elements, one above the other."""
    boxes = "([one, other]) => document.querySelector(other).getBoundingClientRect().top - "
    boxes += "document.querySelector(one).getBoundingClientRect().bottom"
    return float(page.evaluate(boxes, [above, below]))
