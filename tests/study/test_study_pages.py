"""`/study`: every story is a page that is whole without JavaScript, and every link to code leads to that code."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from html import unescape
from typing import Any

import fakeredis
import pytest
from flask.testing import FlaskClient
from support.demo import CONFIG, make_app, sign_in
from support.project import PAGES, ROOT, tables
from support.study import SECRET, told

from app import create_app
from study import pages
from study.book import SCENARIOS
from study.pages import PARTS
from study.recording import attach, record_requests, recording
from study.story import STORES

Story = Callable[[str, str], str]
EACH = pytest.mark.parametrize("name", SCENARIOS)


@pytest.fixture(scope="module")
def study() -> FlaskClient:
    """A browser of the app, which has the pages."""
    return create_app({**CONFIG, "STUDY": True}, fakeredis.FakeRedis()).test_client()


@pytest.fixture(scope="module")
def story(study: FlaskClient) -> Story:
    """Returns the page of a story; asks for each once."""

    @cache
    def story(name: str, store: str) -> str:
        answer = study.get(f"/study/{name}?store={store}")
        assert answer.status_code == 200
        return answer.text

    return story


# Where the pages are ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "embedded", "status"),
    [({}, True, 200), ({}, False, 404), ({"STUDY": True}, False, 200), ({"STUDY": False}, True, 404)],
)
def test_the_pages_are_there_when_the_app_is_embedded_or_told(
    config: dict[str, Any], embedded: bool, status: int
) -> None:
    """On a real Redis only when STUDY says so. Every page then has a link there."""
    web = create_app({**CONFIG, **config}, None if embedded else fakeredis.FakeRedis()).test_client()
    assert web.get("/study").status_code == status
    assert ('href="/study"' in web.get("/login").text) == (status == 200)


def test_a_setting_that_is_neither_stops_the_start() -> None:
    """It says what was expected."""
    with pytest.raises(ValueError, match="STUDY is 'yes'; expected True, False or None"):
        create_app({**CONFIG, "STUDY": "yes"}, fakeredis.FakeRedis())


def test_the_pages_cost_the_visitors_session_nothing(study: FlaskClient) -> None:
    """What a story sends goes to a Redis of its own."""
    client: Any = attach(fakeredis.FakeRedis())
    app = create_app({**CONFIG, "STUDY": True}, client)
    app.wsgi_app = record_requests(app.wsgi_app)  # type: ignore[method-assign]
    ada = app.test_client()
    sign_in(ada)
    before = client.keys()
    with recording() as sent:
        for path in ("/study", "/study/two-tabs-write?store=ours", "/study/source/study/scenarios.py::two_tabs_write"):
            assert "Set-Cookie" not in ada.get(path).headers
    assert sent.commands == []
    assert client.keys() == before


# The list -----------------------------------------------------------------------------------------------------------


def test_the_list_has_each_story_with_a_sentence_and_both_stores(study: FlaskClient) -> None:
    """In the order in which they teach."""
    text = unescape(study.get("/study").text)
    assert re.findall("<h2>(.*)</h2>", text) == [each.title for each in SCENARIOS.values()]
    for each in SCENARIOS.values():
        assert each.about in text
        assert all(f'/study/{each.name}?store={store}"' in text for store in STORES)


def test_each_question_leads_to_a_story() -> None:
    """In docs/study.md; each story answers one."""
    (table,) = tables(PAGES["docs/study.md"])
    assert [name.strip("`") for _, name in table[1:]] == [*SCENARIOS]


def test_each_story_that_the_home_page_names_is_told_with_its_store(study: FlaskClient) -> None:
    """And it says where to begin."""
    links = re.findall(r'href="(/study/[^"]+)"', study.get("/").text)
    assert len(links) > 3
    assert [link for link in links if not link.endswith("?store=ours")] == []
    assert links[0] == "/study/one-sign-in?store=ours"


# A story ------------------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("store", STORES)
def test_a_story_is_an_ordered_list_with_the_names_of_its_lanes(story: Story, name: str, store: str) -> None:
    """All of it is in the page, whether a script runs or not."""
    text = unescape(story(name, store))
    numbers = [int(number) for number in re.findall(r'<li id="step-(\d+)"', text)]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert len(numbers) > 4
    assert len(re.findall('<span class="lane">', text)) >= len(numbers) - text.count("lane-0")
    assert '<span class="lane">Redis</span>' in text or "lane-redis" not in text


@EACH
def test_a_story_ends_with_the_promise_and_whether_it_held(story: Story, name: str) -> None:
    """It did not with the thirty lines, and did with ours; and says why."""
    seed, ours = (unescape(story(name, store)) for store in ("seed", "ours"))
    assert "It did not hold." in seed
    assert SCENARIOS[name].seed in seed
    assert "It held." in ours
    assert SCENARIOS[name].ours in ours


@EACH
def test_a_story_begins_with_what_is_promised(story: Story, name: str) -> None:
    """Before the first step, and without the end."""
    for store in STORES:
        begin, _, rest = unescape(story(name, store)).partition('<ol class="timeline')
        promise = told(name, store).verdict.promise
        assert promise in begin
        assert promise in rest
        assert "It held." not in begin


def test_the_first_cookie_of_a_story_is_explained_part_by_part(story: Story) -> None:
    """In the colours of the home page, as is each signed cookie; that of the thirty lines has no parts."""
    text = story("two-tabs-write", "ours")
    assert text.count("The cookie has five parts") == 1
    kinds = re.findall('<span class="part (\\w+)">', text)
    assert len(kinds) > 15
    assert kinds == [*PARTS] * (len(kinds) // len(PARTS))
    assert "five parts" not in story("two-tabs-write", "seed")
    assert 'class="part' not in story("two-tabs-write", "seed")


def test_a_story_belongs_to_the_study_pages(story: Story) -> None:
    """The menu says so."""
    assert '<a href="/study" aria-current="true">Study</a>' in story("two-tabs-write", "ours")


def test_a_story_is_told_with_the_thirty_lines_unless_another_store_is_named(study: FlaskClient) -> None:
    """What breaks is seen first."""
    assert "It did not hold." in study.get("/study/two-tabs-write").text


@pytest.mark.parametrize("path", ["/study/nothing", "/study/two-tabs-write?store=other", "/study/source"])
def test_what_is_no_story_is_not_found(study: FlaskClient, path: str) -> None:
    """Nor is another store."""
    assert study.get(path).status_code == 404


@EACH
def test_no_page_shows_a_secret_or_has_a_script_or_style_of_its_own(story: Story, name: str) -> None:
    """The policy would forbid it."""
    for store in STORES:
        text = story(name, store)
        main = text.partition("<main>")[2].partition("<section")[0]
        assert not SECRET.search(re.sub(r'href="[^"]*"|class="[^"]*"', "", main)), name
        assert not re.search(r"<style|style=|<script(?! src=\"/static/study.js\" defer></script>)| on\w+=", text)


@pytest.mark.thorough
def test_who_comes_when_too_many_stories_are_told_is_asked_to_come_again(study: FlaskClient) -> None:
    """After a second. The page says why."""
    for _ in range(pages.MAX_AT_ONCE):
        pages.turns.acquire()
    try:
        answer = study.get("/study/two-tabs-write")
    finally:
        pages.turns.release(pages.MAX_AT_ONCE)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "Too many stories are being told at once." in answer.text
    assert not re.search("cookie|signed in|Redis was asked", answer.text)  # it has to do with nobody's session
    assert study.get("/study/two-tabs-write").status_code == 200


# The code -----------------------------------------------------------------------------------------------------------


def test_every_link_to_code_leads_to_that_function(study: FlaskClient, story: Story) -> None:
    """And marks the line, where it has one: of every step, in every story, with both stores."""
    texts = [study.get("/study").text, *(story(name, store) for name in SCENARIOS for store in STORES)]
    links = {link for text in texts for link in re.findall(r'href="(/study/source/[^"]*)"', text)}
    assert len(links) > 40
    for link in links:
        text = study.get(unescape(link))
        assert text.status_code == 200, link
        assert text.text.count('class="marked"') == ("line=" in link), link


@pytest.mark.parametrize(
    ("page", "back"),
    [
        ("/study/two-tabs-write?store=ours", "/study/two-tabs-write?store=ours"),
        ("/study/two-tabs-write", "/study/two-tabs-write?store=seed"),
        ("/study/nothing", None),
        ("/study", None),
        ("[", None),
        (None, None),
    ],
)
def test_the_code_leads_back_to_its_story(page: str | None, back: str | None, study: FlaskClient) -> None:
    """If the browser says from which one it comes."""
    headers = {"Referer": f"http://localhost{page}"} if page else {}
    text = study.get("/study/source/study/scenarios.py::two_tabs_write", headers=headers).text
    assert re.findall('<a href="([^"]*)">Back to the story', text) == ([back] if back else [])


HIDDEN = """app.py app.py:: ::create_app app.py::nothing app.py::create_app. ../app.py::create_app /etc/passwd::x
    tests/conftest.py::client .venv/x.py::y study/scenarios.py::SCENARIOS"""


@pytest.mark.parametrize("name", [*HIDDEN.split(), "x" * 9000])
def test_nothing_else_is_shown(study: FlaskClient, name: str) -> None:
    """Only functions, and classes, of the files on a list."""
    assert study.get(f"/study/source/{name}", follow_redirects=True).status_code == 404


def test_a_line_that_is_none_is_not_marked(study: FlaskClient) -> None:
    """The function is shown all the same."""
    for line in ("0", "99999", "-1", "x"):
        answer = study.get(f"/study/source/app.py::create_app?line={line}")
        assert (answer.status_code, 'class="marked"' in answer.text) == (200, False)


def test_the_app_on_a_real_redis_has_no_such_pages() -> None:
    """As the tests of the app make it."""
    assert make_app(fakeredis.FakeRedis()).test_client().get("/study").status_code == 404
    assert (ROOT / "templates/study.html").exists()
