"""The stories as tests: each breaks the thirty lines, and not our sessions; on fakeredis and on a server."""

from __future__ import annotations

import ast
import threading
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from flask import Flask, Request
from itsdangerous import Signer, TimestampSigner
from support.project import ROOT
from support.study import SECRET, check, make_redis, outline, told

from redis_store import RedisSession, RedisSessionInterface
from study.book import SCENARIOS
from study.shop import make_shop
from study.story import Scenario, Story, play

BACKENDS = ["fakeredis", "redis-server"]
EACH = pytest.mark.parametrize("name", SCENARIOS)


@EACH
@pytest.mark.parametrize("backend", BACKENDS)
def test_redis_store_keeps_the_promise(name: str, backend: str, request: pytest.FixtureRequest) -> None:
    """Of each story."""
    run = play(SCENARIOS[name], "ours", make_redis(backend, request))
    assert run.verdict.held, run.verdict.seen


@pytest.mark.thorough
@EACH
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_thirty_lines_break_the_promise(name: str, backend: str, request: pytest.FixtureRequest) -> None:
    """Of each story."""
    run = play(SCENARIOS[name], "seed", make_redis(backend, request))
    assert not run.verdict.held, run.verdict.seen


@pytest.mark.thorough
@EACH
@pytest.mark.parametrize(("store", "other"), [("seed", "ours"), ("ours", "seed")])
def test_with_the_stores_exchanged_no_story_comes_out_right(name: str, store: str, other: str) -> None:
    """It would show nothing, if it did."""
    check(told(name, store))
    with pytest.raises(AssertionError):
        check(play(SCENARIOS[name], store, app_of=other))


@pytest.mark.thorough
@EACH
@pytest.mark.parametrize("store", ["seed", "ours"])
def test_a_story_is_the_same_each_time(name: str, store: str) -> None:
    """What people do, what Redis is asked, and in which order: threads do not race, they are held."""
    assert outline(play(SCENARIOS[name], store)) == outline(told(name, store))


@EACH
def test_no_story_shows_a_secret(name: str) -> None:
    """No sid, no signature, no password; of either store."""
    for store in ("seed", "ours"):
        for step in told(name, store).steps:
            shown = repr((step.title, step.facts, step.holds, step.inside))
            assert not SECRET.search(shown), shown
            assert "lovelace" not in shown


@pytest.mark.thorough
@EACH
def test_a_story_leaves_no_thread(name: str) -> None:
    """Of a request that was held, of a provider, of pages that wait for messages."""
    before = {*threading.enumerate()}
    for store in ("seed", "ours"):
        play(SCENARIOS[name], store)
    assert {*threading.enumerate()} == before


@EACH
def test_a_story_is_short(name: str) -> None:
    """It reads like one: at most twenty lines, with a sentence for the list, and words for both stores."""
    scenario = SCENARIOS[name]
    (node,) = [
        node
        for node in ast.walk(ast.parse((ROOT / scenario.code.partition("::")[0]).read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == scenario.tell.__name__
    ]
    assert (node.end_lineno or 0) - node.lineno < 27
    assert len(node.body) <= 14
    assert all([scenario.title, scenario.about, scenario.seed, scenario.ours])


@EACH
def test_a_story_names_tests_that_exist(name: str) -> None:
    """For either store."""
    for named in SCENARIOS[name].tests.values():
        file, _, function = named.partition("::")
        assert f"\ndef {function}(" in (ROOT / file).read_text()
    assert set(SCENARIOS[name].tests) == {"seed", "ours"}


@EACH
def test_a_step_says_what_happened_and_who_did_it(name: str) -> None:
    """Each names a function: of the app, of the store, or of the story itself; what goes to Redis is explained."""
    for store in ("seed", "ours"):
        run = told(name, store)
        for step in run.steps:
            assert step.title
            assert step.lane in {*run.lanes, ""}
            assert step.code, step
            assert step.why or step.kind != "command", step
            assert all(each.title and each.why and each.code for each in step.inside)


def test_what_a_sign_in_sends_is_one_step_but_in_its_own_story() -> None:
    """With all that it is made of; and one that fails is shown as it was."""
    own = [step.title.split()[0] for step in told("one-sign-in", "ours").steps if step.kind == "command"]
    assert own[:3] == ["script:", "SET", "ZSCORE"]
    for name in ("redis-away-and-back", "bad-cookies", "sign-out-everywhere"):
        steps = told(name, "ours").steps
        folded = [step for step in steps if step.kind == "commands"]
        assert [each.title.split()[0] for step in folded for each in step.inside] == own[:3] * len(folded)
        assert len(folded) == (2 if name == "sign-out-everywhere" else 1)
        assert all(step.holds for step in folded)
    assert not any(step.inside for step in told("bad-cookies", "seed").steps)


def test_a_read_says_whether_the_page_asked_for_it() -> None:
    """Or only the refresh that is due."""

    def reads(story: Story) -> None:
        ada = story.browser("Ada")
        ada.post("/theme", "chooses a theme", theme="dark")
        story.let_pass(1)
        ada.get("/about", "asks for a page that needs no session")
        ada.get("/", "asks for one that does")
        story.promise("", held=True, yes="", no="")

    steps = play(make(reads), "ours").steps
    reasons = [step.why for step in steps if step.title.startswith("GET SESSION:")]
    assert [("did not touch" in why, "a refresh is due" in why, "only now" in why) for why in reasons] == [
        (True, True, False),
        (False, False, True),
    ]


def whys(name: str) -> list[str]:
    return [step.why for step in told(name, "ours").steps if step.kind == "command"]


def test_a_command_that_fails_again_says_so() -> None:
    """Not the same as the first time; and those of one round trip fail together."""
    failed = [why for why in whys("redis-away-and-back") if "failed" in why]
    assert [why.partition(".")[0].partition(":")[0] for why in failed] == [
        *("It failed", "It failed again"),
        *("It failed", "It failed with the one before", "It failed with the one before"),
        "It failed again",
    ]


@pytest.mark.skipif("cold-cache" not in SCENARIOS, reason="the cache is not there")
def test_a_command_of_the_cache_says_what_it_is_for() -> None:
    """The group, the lease, the answer: not only that a record is written."""
    text = " ".join(whys("cold-cache"))
    assert all(word in text for word in ("A new group", "The lease goes to", "takes the place of the lease", "is kept"))
    assert "compare-and-set" not in text


class Trusting(RedisSessionInterface):
    """Ours, but for one check of the cookie: it signs anew what the browser brings."""

    unchecked = ""

    def open_session(self, app: Flask, request: Request) -> RedisSession | None:
        signer = TimestampSigner(app.secret_key or "", "redis-session", key_derivation="hmac", digest_method=sha256)
        signer.get_timestamp = lambda: int(self.clock())  # type: ignore[method-assign]
        value = request.cookies.get("session", "")
        content = value.rpartition(".")[0]
        if self.unchecked == "signature":
            value = Signer.sign(signer, content).decode()
        elif self.unchecked == "age" and Signer.validate(signer, value):
            value = signer.sign(content.rpartition(".")[0]).decode()
        request.environ["HTTP_COOKIE"] = f"session={value}"
        return super().open_session(app, request)


@pytest.mark.parametrize(
    ("unchecked", "opened"), [("none", []), ("signature", [2]), ("age", [3])], ids=["all", "signature", "age"]
)
def test_a_story_notices_a_check_of_cookies_that_is_left_out(unchecked: str, opened: list[int]) -> None:
    """Only its signature refuses the changed cookie, only its age the old one: unchecked, they open Ada's session."""
    kind = type("Kind", (Trusting,), {"unchecked": unchecked})

    def make_app(store: str, client: Any, clock: Any) -> Flask:
        return make_shop(kind(client, clock=clock))

    run = play(replace(SCENARIOS["bad-cookies"], make_app=make_app), "ours")
    seen = [dict(step.facts)["Sees"] for step in run.steps if step.lane == "Eve" and step.kind == "answer"]
    assert [number for number, text in enumerate(seen, 1) if "Signed in as ada" in text] == opened
    assert run.verdict.held == (not opened)


def test_a_cookie_that_is_refused_is_shown_with_the_check_that_refused_it() -> None:
    """Its form, its signature, its age; and which letter was changed."""
    eves = [step for step in told("bad-cookies", "ours").steps if step.lane == "Eve"]
    refusals = [step.why.partition(":")[0] for step in eves if step.kind == "answer"]
    assert refusals == ["Refused by its form", "Refused by its signature", "Refused by its age"]
    changed = [dict(step.facts) for step in eves if step.kind == "cookie"][1]
    before, after = changed["Before"], changed["Cookie"]
    assert len(before) == len(after)
    assert [(one == other) for one, other in zip(before, after, strict=True)].count(False) == 1
    assert not any(step.why for step in told("bad-cookies", "seed").steps if step.why.startswith("Refused"))


def make(tell: Any) -> Scenario:
    words = {"title": "", "about": "", "seed": "", "ours": "", "ours_test": "", "sides": {}}
    return Scenario(tell=tell, make_app=SCENARIOS["two-tabs-write"].make_app, **words)  # type: ignore[arg-type]


def held_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.endswith("held")]


def test_a_story_that_fails_leaves_no_thread() -> None:
    """The request that was held goes on, and ends."""

    def breaks(story: Story) -> None:
        tab = story.browser("Tab")
        with tab.held("/cart", "waits", item="tea"):
            assert held_threads()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play(make(breaks), "ours")
    assert held_threads() == []


def test_a_request_that_never_writes_cannot_be_held() -> None:
    """That is said at once, and nobody waits."""

    def waits(story: Story) -> None:
        with story.browser("Tab").held("/login", "has the wrong password", user="ada", password="wrong"):
            raise AssertionError

    with pytest.raises(RuntimeError, match="did not come to a write"):
        play(make(waits), "seed")
    assert held_threads() == []


def test_a_story_without_an_end_is_none() -> None:
    """It has to say what was promised."""
    with pytest.raises(RuntimeError, match="has no end"):
        play(make(lambda story: None), "ours")


def test_stories_do_not_meet() -> None:
    """Each has a Redis of its own, however many are told at once."""
    runs: list[Any] = []
    threads = [
        threading.Thread(target=lambda: runs.append(play(SCENARIOS["two-tabs-write"], "ours"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(outline(run)) for run in runs}) == 1
    assert all(run.verdict.held for run in runs)


def test_the_list_is_in_one_place() -> None:
    """A function becomes a story by its decorator; its place in a URL is its name."""
    assert len(SCENARIOS) >= 12
    assert all(name == each.name and name.replace("-", "").isalpha() for name, each in SCENARIOS.items())
