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
    app = make_app(redis.connect())
    app.extensions["monitor"].interval = 0.5
    with serve(app) as url:
        yield url


def test_the_page_renews_itself(page: Page, site: str, redis: RedisServer) -> None:
    """What went wrong meanwhile appears, without a reload."""
    sign_in(page, site)
    page.get_by_role("link", name="Redis", exact=True).click()
    assert heading(page) == "Redis, now"
    assert page.get_by_text("It is renewed every five seconds.").is_visible()
    assert page.get_by_text("Nothing is wrong").is_visible()
    page.evaluate("window.mark = true")
    redis.connect().config_set("maxmemory-policy", "allkeys-lru")
    page.get_by_text("RedisMayEvict").wait_for()
    assert page.get_by_text("It is renewed every five seconds.").is_visible()
    assert page.evaluate("window.mark")


def test_what_is_selected_stays_selected(page: Page, site: str, redis: RedisServer) -> None:
    """To be copied. What is new appears when it no longer is."""
    sign_in(page, site)
    page.goto(f"{site}/monitor")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#live caption'))")
    redis.connect().config_set("maxmemory-policy", "allkeys-lru")
    page.wait_for_timeout(1500)  # three times the renewal
    assert page.evaluate("getSelection().toString()") == "The last five minutes in numbers"
    assert not page.get_by_text("RedisMayEvict").is_visible()
    page.evaluate("getSelection().empty()")
    page.get_by_text("RedisMayEvict").wait_for()


def test_a_page_whose_user_was_signed_out_leads_to_the_sign_in(
    page: Page, site: str, redis: RedisServer, problems: Problems
) -> None:
    """And shows nothing any more."""
    sign_in(page, site)
    page.goto(f"{site}/monitor")
    with page.expect_navigation():
        redis.connect().flushall()
    assert heading(page) == "Sign in"
    assert {problem.partition(":")[0] for problem in problems} == {"403"}
    problems.clear()


def test_a_page_says_that_redis_is_away(page: Page, site: str, redis: RedisServer) -> None:
    """What it shows is old then; when Redis is back it goes on."""
    sign_in(page, site)
    page.goto(f"{site}/monitor")
    away = page.get_by_text("Redis does not answer")
    assert not away.is_visible()
    redis.freeze()
    away.wait_for()
    assert "stale" in (page.locator("#live").get_attribute("class") or "")
    redis.thaw()
    away.wait_for(state="hidden")
    assert page.locator("#live").get_attribute("class") == ""


def test_a_page_says_that_the_app_is_away(page: Page, site: str, problems: Problems) -> None:
    """Whether a proxy says so, or nobody answers; when the app is back it goes on."""
    sign_in(page, site)
    page.clock.install()
    for away in (lambda route: route.fulfill(status=502), lambda route: route.abort()):
        page.route("**/monitor/*", away)
        page.goto(f"{site}/monitor")
        gone = page.get_by_text("The app does not answer")
        assert not gone.is_visible()
        page.clock.fast_forward(15_000)
        gone.wait_for()
        assert page.locator("#live").get_attribute("class") == "stale"
        page.unroute("**/monitor/*")
        page.clock.fast_forward(15_000)
        gone.wait_for(state="hidden")
    problems.clear()


def test_a_page_without_a_stream_asks(page: Page, site: str, redis: RedisServer, problems: Problems) -> None:
    """Where the server has no thread left for one."""
    page.route("**/monitor/events", lambda route: route.fulfill(status=429))
    sign_in(page, site)
    redis.connect().config_set("maxmemory-policy", "allkeys-lru")
    page.goto(f"{site}/monitor")
    with page.expect_response("**/monitor/live") as caught:
        pass
    assert caught.value.status == 200
    assert {problem.partition(":")[0] for problem in problems} == {"429"}
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
