"""A tab of a browser: it asks for pages, keeps the cookies, and may have to wait."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from html import unescape
from inspect import unwrap
from typing import Any, NamedTuple

from flask import Flask
from werkzeug.wrappers import Response

from study.anatomy import explain_refusal
from study.explain import explain_log
from study.jar import Cookie, Jar
from study.recording import Recording, Sent, Words, file_of, recording, shorten_text
from study.redis import StoryRedis, writes
from study.stream import Stream
from study.timeline import Facts, Place, Timeline

PATIENCE = 5  # seconds that anybody here waits for anybody else

_log: ContextVar[list[str] | None] = ContextVar("log", default=None)


class Clock:
    """Time in a story: it runs, and days may pass at once."""

    offset = 0

    def __call__(self) -> float:
        return time.time() + self.offset


class World(NamedTuple):
    """What all tabs of a story have in common."""

    app: Flask
    redis: StoryRedis
    clock: Clock
    timeline: Timeline
    cookie_name: str
    closing: list[Callable[[], None]]  # what is to be called when the story ends


class Answer:
    """What came back from a request."""

    def __init__(self, response: Response, sent: Recording) -> None:
        self.status = response.status_code
        self.text = read_text(response)  #: what the user sees
        self.json: Any = response.get_json(silent=True)  #: what a program reads
        self.location = response.headers.get("Location", "")  #: where the browser is sent
        self.commands = [command.words[0] for command in sent.commands]


class Gate:
    """Where a request waits, before its first write, until the story lets it go on."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.holds = False  #: whether a request waits here, or did
        self.error: BaseException | None = None

    def stop(self, commands: Sequence[Words]) -> None:
        """Wait, if these commands write."""
        if not self.open.is_set() and any(writes(words) for words in commands):
            self.holds = True
            self.reached.set()
            if not self.open.wait(PATIENCE):
                raise TimeoutError("nobody let this request go on")


class Tab:
    """A tab with a name, which is its lane in the story."""

    def __init__(self, world: World, name: str, jar: Jar) -> None:
        self.world, self.name, self.jar = world, name, jar

    def get(self, path: str, says: str) -> Answer:
        """Ask for a page. `says` is what the person does, in words."""
        return self._send("GET", path, says)

    def post(self, path: str, says: str, **form: str) -> Answer:
        """Send a form."""
        return self._send("POST", path, says, form)

    def call(self, path: str, says: str, **body: str) -> Answer:
        """Send JSON, as a program does."""
        return self._send("POST", path, says, body, as_json=True)

    def listen(self, path: str, says: str, last: str = "") -> Stream:
        """Open a page that stays connected. `last`: the id that a browser brings when it connects again."""
        view, brings = find_view(self.world.app, path, "GET"), {"Last-Event-ID": last} if last else {}
        self._tell("request", says, [("Request", f"GET {path}"), *brings.items(), *self.jar.facts()], view=view)
        with self._recorded():
            browser = self.world.app.test_client(use_cookies=False)
            response = browser.open(path, headers=self.jar.headers() | brings, buffered=False)
        stream = Stream(response, lambda title, facts: self._tell("answer", title, facts, view=view))
        self.world.closing.append(stream.close)
        stream.wait_until_open()
        return stream

    def hang_up(self, stream: Stream, says: str) -> None:
        """Lose the connection of a page."""
        stream.close()
        self._tell("wait", says)

    @contextmanager
    def held(self, path: str, says: str, **form: str) -> Iterator[None]:
        """Send a form by which the server has read the session, and not written it, when the block begins.

        It goes on when the block ends. So what happens inside comes in the middle of it.
        """
        gate = Gate()
        with self._running(gate, path, says, form, gate.open.set):
            gate.reached.wait(PATIENCE)
            if not gate.holds:
                raise gate.error or RuntimeError("the request did not come to a write")
            self._tell("wait", "has to wait", why="It has read the session, and not written it yet.")
            yield
            self._tell("wait", "goes on", why="It still has what it read before.")

    @contextmanager
    def busy(self, path: str, says: str, wait: Callable[[], None], finish: Callable[[], None]) -> Iterator[None]:
        """Ask for a page that takes long: ``wait()`` sees it at work, before the block; ``finish()`` ends that."""
        gate = Gate()
        gate.open.set()
        with self._running(gate, path, says, None, finish):
            wait()
            self._tell("wait", "has to wait", why="The database works on it.")
            yield

    @contextmanager
    def _running(
        self, gate: Gate, path: str, says: str, form: dict[str, str] | None, finish: Callable[[], None]
    ) -> Iterator[None]:
        """Have a request run in a thread of its own, until ``finish()`` lets it end."""

        def run() -> None:
            try:
                self._send("GET" if form is None else "POST", path, says, form, gate=gate)
            except BaseException as error:
                gate.error = error
            finally:
                gate.reached.set()

        thread = threading.Thread(target=copy_context().run, args=(run,), name=f"{self.name}, held")
        thread.start()
        try:
            yield
        finally:
            finish()
            thread.join(2 * PATIENCE)
        if gate.error is not None:
            raise gate.error

    def copy_cookies(self, other: Tab, says: str) -> None:
        """Get the cookies of another browser, by whatever means."""
        self.jar.update(other.jar)
        self._tell("cookie", says, self.jar.facts())

    def put_cookie(self, value: str, says: str, like: str = "") -> None:
        """Have this as the session's cookie, wherever it comes from. `like`: what it is a changed copy of."""
        name = self.world.cookie_name
        self.jar[name] = Cookie(value, None)
        before = [("Before", f"{name}={shorten_text(like)}")] if like else []
        self._tell("cookie", says, [*before, *self.jar.facts()])

    def drop_cookies(self) -> None:
        """Forget what has ended, as browsers do."""
        for _ in range(self.jar.drop(self.world.clock())):
            self._tell("cookie", "has no cookie any more", why="Its time is over.")

    @property
    def cookie(self) -> str:
        """The value of the session's cookie. Empty: there is none."""
        held = self.jar.get(self.world.cookie_name)
        return held.value if held else ""

    def _send(
        self,
        method: str,
        path: str,
        says: str,
        form: dict[str, str] | None = None,
        gate: Gate | None = None,
        *,
        as_json: bool = False,
    ) -> Answer:
        world = self.world
        fields = (form or {}) | ({"password": "•" * 8} if form and "password" in form else {})
        shown = shorten_text(" ".join(f"{name}={value}" for name, value in fields.items()))
        view = find_view(world.app, path, method)
        cookies = [] if as_json else self.jar.facts()
        asked = f"{method} {shorten_text(path)} {shown}".strip()
        self._tell("request", says, [("Request", asked), *cookies], view=view)

        with self._recorded(gate) as (sent, said):
            browser = world.app.test_client(use_cookies=False)
            body: Any = {"json" if as_json else "data": form}
            response = browser.open(path, method=method, headers=self.jar.headers(), **body)
        brought, changes = self.cookie, self.jar.keep(response, world.clock())
        answer = Answer(response, sent)
        log = [("Log", shorten_text(line)) for line in said]
        sees = shorten_text(answer.text.strip())
        facts = [("Reads", sees)] if as_json else [*changes, ("Sees", sees)]
        sets = [text for _, text in changes if text.startswith((f"{world.cookie_name}=", f"{world.cookie_name} is"))]
        change = "" if not sets else "set" if self.cookie else "deleted"
        # The view looked for a session, and Redis was not asked: then the cookie was none of ours.
        refused = brought and not sent.commands and "Cookie" in response.vary
        why = explain_refusal(brought, world.clock()) if refused else explain_log(said)
        world.timeline.add_answer(self.name, response.status, [*facts, *log], change, view, why)
        return answer

    @contextmanager
    def _recorded(self, gate: Gate | None = None) -> Iterator[tuple[Recording, list[str]]]:
        """Put what is sent to Redis on the timeline; yield the recording, and the lines of the log."""
        world, said = self.world, list[str]()

        def before(commands: Sequence[Words]) -> None:
            if gate is not None:
                gate.stop(commands)
            world.redis.check(commands)

        def after(commands: Sequence[Sent]) -> None:
            world.timeline.add_commands(self.name, commands, world.redis.show)

        token = _log.set(said)
        try:
            with recording(before, after) as sent:
                yield sent, said
        finally:
            _log.reset(token)

    def _tell(self, kind: str, title: str, facts: Facts = (), *, why: str = "", view: str = "") -> None:
        self.world.timeline.add(self.name, kind, title, facts, why=why, code=[Place(view)] if view else [])


def find_view(app: Flask, path: str, method: str) -> str:
    """Return the function that answers, as "file::name"."""
    endpoint, _ = app.url_map.bind("localhost").match(path.partition("?")[0], method)
    code = unwrap(app.view_functions[endpoint]).__code__
    return f"{file_of(code.co_filename)}::{code.co_qualname.replace('.<locals>', '')}"


def read_text(response: Response) -> str:
    """Return what a person would see: where the browser goes on to, or what is on the page."""
    if location := response.headers.get("Location"):
        return f"goes on to {location.partition('?')[0]}"
    text = response.get_data(as_text=True)
    if response.mimetype != "text/html" or "<" not in text:
        return text
    return " ".join(unescape(re.sub(r"<title>.*?</title>|<[^>]*>", " ", text, flags=re.S)).split())


def keep_log(record: logging.LogRecord) -> bool:
    """Keep what the library logs about a request of a story, and return whether it should be logged all the same."""
    said = _log.get()
    if said is None:
        return True
    said.append(record.getMessage())
    return False


logging.getLogger("redis_store").addFilter(keep_log)
