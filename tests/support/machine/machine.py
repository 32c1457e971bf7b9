"""The browsers, whose requests meet: what can happen, as rules for Hypothesis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from werkzeug.test import TestResponse

from _redis_store.sid import began_at
from support.apps import set_cookie
from support.machine.model import Asked, Browser, Outcome
from support.machine.views import BUSY, LIFETIME, MOVE, SLOW
from support.machine.world import OWNERS, WHICH, World, redis_is

NAMES = ["laptop", "phone", "library"]
BROWSERS = st.just("laptop") | st.sampled_from(NAMES)  # most happens on one, so that its requests meet
KEYS = st.sampled_from(["a", "b"])
WHAT = (
    st.tuples(st.sampled_from(["write", "drop"]), KEYS)
    | st.tuples(st.sampled_from(["login", "login_afresh"]), OWNERS)
    | st.tuples(st.sampled_from(["read", "logout", "sign_out", "replace_sid"]), st.just("-"))
)
MAX_HELD = 3


class Machine(World):
    """Three browsers, and requests that stay in the middle of their view while other things happen.

    That no answer is a 500, or shows another user, or accepts an ended session, and that pages without a session stay
    up, is checked with each answer.
    """

    def __init__(self, *args: Any, **config: Any) -> None:
        super().__init__(*args, **config)
        self.browsers = {name: Browser(name) for name in NAMES}
        self.pool = ThreadPoolExecutor(MAX_HELD + 1)
        self.waiting: list[Asked] = []
        self.number = 0

    def teardown(self) -> None:
        for asked in self.waiting:
            asked.gate.go.set()
        super().teardown()
        self.pool.shutdown()

    @initialize(visitors=st.fixed_dictionaries({name: st.none() | OWNERS for name in NAMES}))
    def arrive(self, visitors: dict[str, str | None]) -> None:
        """A run that must first come upon a login tries little else."""
        for name, owner in visitors.items():
            self.ask(name, "write", "a")
            if owner:
                self.ask(name, "login", owner)

    def make(self, name: str, view: str, argument: str) -> Asked:
        self.number += 1
        browser = self.browsers[name]
        if view.startswith("login"):
            browser.owners.add(argument)
        return Asked(browser, view, argument, f"{name}-{self.number}", browser.cookie)

    def send(self, asked: Asked, hold: str = "") -> TestResponse:
        path = "/public" if asked.view == "public" else f"/{asked.view}/{asked.name}/{asked.value}"
        headers = {"Cookie": f"session={asked.cookie}"} if asked.cookie else {}
        environ = {"hold": hold, "gate": asked.gate}
        return self.app.test_client(use_cookies=False).get(path, headers=headers, environ_overrides=environ)

    def ask(self, name: str, view: str, argument: str = "-") -> None:
        """A whole request."""
        asked = self.make(name, view, argument)
        self.check(asked, self.send(asked))

    def look(self, asked: Asked) -> bool:
        """Whether the request learned what its session is, then or earlier; False: that is a 503."""
        if asked.looked:
            return True
        self.model.open(asked)
        if asked.view == "public":
            return True
        if asked.sid and self.redis in ("frozen", "down"):
            return False
        self.model.look(asked)
        return True

    def check(self, asked: Asked, response: TestResponse) -> None:
        """Hold an answer against the model."""
        status, header = response.status_code, set_cookie(response)
        assert status in (200, 503)
        self.check_that_nobody_else_is_shown(asked.browser, response)
        known = self.look(asked)
        outcome = self.model.outcome(asked) if known else Outcome()
        asks = known and self.model.asks(asked)
        if self.redis == "up":
            expected = {200}
        elif self.redis == "refusing":  # reads go on
            expected = {503} if outcome.changes else {200, 503} if asks else {200}
        else:
            expected = {200} if known and not asks else {503}
        assert status in expected, (status, expected)
        if status == 200 and asked.view != "public":
            assert response.json == (asked.base or {})
        if self.redis == "frozen":
            self.doubts.append(outcome)
        if self.redis == "up":
            cookie = header and header.partition(";")[0].removeprefix("session=")
            self.model.apply(asked, outcome, cookie)
            if cookie and header:
                sid = cookie.partition(".")[0]
                assert 0 <= (began_at(sid) or 0) - self.began - self.model.sessions[sid].born < SLOW
                left = self.model.sessions[sid].expires - self.model.now
                assert left - SLOW < int(header.partition("Max-Age=")[2].partition(";")[0]) <= left
            if cookie is not None:
                asked.browser.cookie = cookie
            if cookie:
                asked.browser.drawer.append(cookie)
            return
        assert header is None, "a request that could not write keeps the cookie"
        assert status == 200 or int(response.headers["Retry-After"]) > 0
        self.patience -= 1
        if not self.patience:
            self.repair(empty=False)

    def check_that_nobody_else_is_shown(self, browser: Browser, response: TestResponse) -> None:
        """Needs no model: browsers never exchange cookies, so each sees what itself wrote, whatever happens."""
        for key, value in (response.json or {}).items() if response.is_json else ():
            assert value in browser.owners if key == "user_id" else value.startswith(f"{browser.name}-")

    @rule(browser=BROWSERS)
    def public(self, browser: str) -> None:
        self.ask(browser, "public")

    @rule(browser=BROWSERS)
    def read(self, browser: str) -> None:
        self.ask(browser, "read")

    @rule(browser=BROWSERS, key=KEYS)
    def write(self, browser: str, key: str) -> None:
        self.ask(browser, "write", key)

    @rule(browser=BROWSERS, key=KEYS)
    def drop(self, browser: str, key: str) -> None:
        self.ask(browser, "drop", key)

    @rule(browser=BROWSERS, owner=OWNERS, view=st.sampled_from(["login", "login_afresh"]))
    def login(self, browser: str, owner: str, view: str) -> None:
        self.ask(browser, view, owner)

    @rule(browser=BROWSERS, view=st.sampled_from(["logout", "sign_out"]))
    def logout(self, browser: str, view: str) -> None:
        self.ask(browser, view)

    @rule(browser=BROWSERS)
    def replace_sid(self, browser: str) -> None:
        self.ask(browser, "replace_sid")

    def hold(self, place: str, name: str, view: str, argument: str) -> Asked:
        if len(self.waiting) == MAX_HELD:
            self.release(self.waiting[0])
        asked = self.make(name, view, argument)
        if place == "after" and not self.look(asked):
            self.check(asked, self.send(asked))
            return asked
        asked.answer = self.pool.submit(self.send, asked, place)
        assert asked.gate.inside.wait(BUSY)
        self.waiting.append(asked)
        return asked

    @rule(browser=BROWSERS, what=WHAT | st.just(("public", "-")))
    def hold_before_it_looks(self, browser: str, what: tuple[str, str]) -> None:
        """A request that waits in its view from now on, and has not used its session yet."""
        self.hold("before", browser, *what)

    @rule(browser=BROWSERS, what=WHAT)
    def hold_after_it_looked(self, browser: str, what: tuple[str, str]) -> None:
        """The same, but it has."""
        self.hold("after", browser, *what)

    @rule(
        browser=BROWSERS,
        slow=st.just(("logout", "-")) | WHAT,
        fast=st.just(("replace_sid", "-")) | WHAT,
        late=st.booleans(),
    )
    def meet(self, browser: str, slow: tuple[str, str], fast: tuple[str, str], late: bool) -> None:
        """Two requests with one cookie, of which one comes in the middle of the other; later, when both are due."""
        if late and self.redis == "up":
            self.move_clock()
        waiting = self.hold("after", browser, *slow)
        self.ask(browser, *fast)
        if waiting in self.waiting:
            self.release(waiting)

    @precondition(lambda self: self.waiting)
    @rule(which=WHICH)
    def release_one(self, which: int) -> None:
        self.release(self.waiting[which % len(self.waiting)])

    def release(self, asked: Asked) -> None:
        self.waiting.remove(asked)
        asked.gate.go.set()
        assert asked.answer
        self.check(asked, asked.answer.result(BUSY))

    @rule(browser=BROWSERS, which=WHICH)
    def replay_an_old_cookie(self, browser: str, which: int) -> None:
        """Or none, as in a private window."""
        cookies = ["", *self.browsers[browser].drawer]
        self.browsers[browser].cookie = cookies[-1 - which % len(cookies)]

    @redis_is("up")
    @rule(browser=BROWSERS, view=st.sampled_from(["read", "write"]))
    def use_for_long(self, browser: str, view: str) -> None:
        """Longer than a session lives without a refresh."""
        for _ in range(LIFETIME // MOVE + 2):
            self.move_clock()
            self.ask(browser, view)
