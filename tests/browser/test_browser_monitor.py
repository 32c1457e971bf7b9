"""/monitor in Chromium: it renews itself, works without a script, and is there for those who do not see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from support.chromium import Problems, find_barriers, heading, sign_in
from support.roles.monitor import make_app
from support.servers import RedisServer
from support.serving import serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.thorough


@pytest.fixture
def redis(make_server: Any) -> RedisServer:
    server: RedisServer = make_server()
    return server


@pytest.fixture
def site(redis: RedisServer) -> Iterator[str]:
    """The address of the app, of which ada is the administrator."""
    with serve(make_app(redis.connect())) as url:
        yield url


def test_the_page_renews_itself(page: Page, site: str, redis: RedisServer) -> None:
    """What went wrong meanwhile appears, and a line grows, without a reload."""
    page.clock.install()
    sign_in(page, site)
    page.get_by_role("link", name="Redis", exact=True).click()
    assert heading(page) == "Redis, now"
    assert page.get_by_text("It is renewed every five seconds.").is_visible()
    assert page.get_by_text("Nothing is wrong").is_visible()
    page.evaluate("window.mark = true")
    redis.connect().config_set("maxmemory-policy", "allkeys-lru")
    page.clock.run_for(5000)
    page.get_by_text("RedisMayEvict").wait_for()
    assert page.get_by_text("It is renewed every five seconds.").is_visible()
    assert page.evaluate("window.mark")


def test_a_page_whose_user_was_signed_out_leads_to_the_sign_in(
    page: Page, site: str, redis: RedisServer, problems: Problems
) -> None:
    """And shows nothing any more."""
    page.clock.install()
    sign_in(page, site)
    page.goto(f"{site}/monitor")
    redis.connect().flushall()
    with page.expect_navigation():
        page.clock.run_for(5000)
    assert heading(page) == "Sign in"
    assert [problem.partition(":")[0] for problem in problems] == ["403"]
    problems.clear()


def test_it_is_the_same_without_a_script(open_chromium: Callable[..., Page], site: str) -> None:
    """Charts and tables are there, and it says that it has to be reloaded."""
    page = open_chromium(java_script_enabled=False)
    sign_in(page, site)
    page.goto(f"{site}/monitor")
    assert page.get_by_text("Reload the page to see what is new.").is_visible()
    assert page.locator("figure svg").count() == 5
    assert page.get_by_role("table").count() == 2


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (320, "dark"), (390, "light")])
def test_it_has_no_barrier(width: int, scheme: Any, open_chromium: Callable[..., Page], site: str) -> None:
    """Neither one that axe-core would find, nor a page that is wider than the screen."""
    page = open_chromium(viewport={"width": width, "height": 700}, color_scheme=scheme)
    sign_in(page, site)
    page.goto(f"{site}/monitor")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert find_barriers(page) == []
