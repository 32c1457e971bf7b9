"""Which commands a request sends to Redis: in order, with their answers and times.

One call makes a client ready; a block records what its thread, or its request, sends::

    client = attach(connect("redis://localhost:6379/0"))

    with recording() as sent:
        store.get(sid)
        with paused():
            client.ttl("SESSION:…")  # the page's own curiosity
    sent.commands[0].words    # ("GET", "SESSION:6a0c1f00-1b2c3d…")
    sent.commands[0].answer   # '{"cart":["tea"]}'
    sent.commands[0].seconds  # 0.0002

For all of a request, with what is sent when its response is ready::

    app.wsgi_app = record_requests(app.wsgi_app)
    get_recording()           # in a view: what was sent so far; None: nothing is recorded

`attach` works on any redis-py client that is not asyncio's, and on fakeredis. Pub/sub and ``MONITOR`` have connections
of their own, and are not seen. A new thread records nothing until it begins. Without a recording a command costs one
look at a context variable.

No whole sid, signature, token or hash is kept: `shorten_text` sees to it. A script is named by the commands in it.
"""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from redis_store import shorten

C = TypeVar("C")
Words = tuple[Any, ...]  # a command, as it is given to the client

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("_redis_store", "roles", "study", "tests")
MAX_TEXT = 200  # characters of a word or an answer that are kept

#: What may be a secret: a sid of any form, a hash, a token, a signature.
#: Words joined by _ are none: success_callback_name.
SECRET = re.compile(r"(?<![\w-])(?![a-z]+(_[a-z]+)+(?![\w-]))[A-Za-z0-9_-]{20,}", re.ASCII)
IN_SCRIPT = re.compile(r"redis\.call\(['\"](\w+)")


class Caller(NamedTuple):
    """A function of this project that was on its way when a command was sent."""

    file: str  # "_redis_store/store.py"
    name: str  # "RedisStore.swap"
    line: int  # of the file


@dataclass(frozen=True)
class Sent:
    """A command and its answer, as they may be shown to anybody."""

    words: tuple[str, ...]
    answer: str
    failed: bool  # the answer is an error, or there was none
    at: float  # seconds after the recording began
    seconds: float  # that the round trip took
    trip: int  # which round trip it was, from 1; the commands of a pipeline have one together
    callers: tuple[Caller, ...]  # who sent it, and who called that, and so on

    @property
    def text(self) -> str:
        """The command in one line."""
        return " ".join(self.words)


@dataclass
class Recording:
    """What was sent. `before` is called before each round trip and may wait, or raise; `after` after each."""

    before: Callable[[Sequence[Words]], None] | None = None
    after: Callable[[Sequence[Sent]], None] | None = None
    began: float = field(default_factory=time.perf_counter)
    commands: list[Sent] = field(default_factory=list)
    trips: int = 0

    def send(self, commands: Sequence[Words], send: Callable[[], Any], *, many: bool) -> Any:
        """Return what ``send()`` does, and note it. `commands` go out in this one round trip; `many` have a list."""
        sent_by = tuple(callers())
        start = time.perf_counter()
        answers: Sequence[Any] = []
        try:
            if self.before is not None:
                self.before(commands)
            start = time.perf_counter()
            answer = send()
            answers = answer if many else [answer]
            return answer
        except BaseException as error:
            answers = [error] * len(commands)
            raise
        finally:
            self._note(commands, answers, start, sent_by)

    def _note(self, commands: Sequence[Words], answers: Iterable[Any], start: float, sent_by: Any) -> None:
        seconds = time.perf_counter() - start
        self.trips += 1
        sent = [
            Sent(
                show_command(words),
                show_answer(words[0], answer),
                isinstance(answer, BaseException),
                start - self.began,
                seconds,
                self.trips,
                sent_by,
            )
            for words, answer in zip(commands, answers, strict=False)
        ]
        self.commands += sent
        if self.after is not None:
            with paused():
                self.after(sent)


_current: ContextVar[Recording | None] = ContextVar("recording", default=None)
_attached: WeakSet[Any] = WeakSet()


@contextmanager
def recording(
    before: Callable[[Sequence[Words]], None] | None = None, after: Callable[[Sequence[Sent]], None] | None = None
) -> Iterator[Recording]:
    """Record what this thread, or this request, sends inside the block."""
    token = _current.set(Recording(before, after))
    try:
        yield _current.get() or Recording()
    finally:
        _current.reset(token)


@contextmanager
def paused() -> Iterator[None]:
    """Record nothing inside the block."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def get_recording() -> Recording | None:
    """Return the recording of this thread or request. None: there is none."""
    return _current.get()


def record_requests(wsgi_app: Callable[..., Any]) -> Callable[..., Any]:
    """Return a WSGI app that records each request, until its response begins."""

    def record(environ: Any, start_response: Any) -> Any:
        with recording():
            return wsgi_app(environ, start_response)

    return record


def attach(client: C) -> C:
    """Have a client's commands recorded wherever a `recording` is on, and return it. A second time changes nothing."""
    if client in _attached:
        return client
    _attached.add(client)
    whole: Any = client
    whole.execute_command = _one(whole.execute_command)
    if hasattr(whole, "execute_all"):  # a client of `redis_store.connect`
        whole.execute_all = _all(whole.execute_all)
    whole.pipeline = _pipeline(whole.pipeline)
    return client


def _one(execute: Callable[..., Any]) -> Callable[..., Any]:
    def execute_command(*words: Any, **options: Any) -> Any:
        if (current := _current.get()) is None:
            return execute(*words, **options)
        return current.send([words], lambda: execute(*words, **options), many=False)

    return execute_command


def _all(execute: Callable[..., Any]) -> Callable[..., Any]:
    def execute_all(commands: Sequence[Words], **options: Any) -> Any:
        if (current := _current.get()) is None or not commands:
            return execute(commands, **options)
        return current.send(commands, lambda: execute(commands, **options), many=True)

    return execute_all


def _pipeline(make: Callable[..., Any]) -> Callable[..., Any]:
    def pipeline(*args: Any, **options: Any) -> Any:
        made = make(*args, **options)
        if _current.get() is not None:
            _attach_pipeline(made)
        return made

    return pipeline


def _attach_pipeline(pipeline: Any) -> None:
    queued: list[Words] = []
    execute_command, execute = pipeline.execute_command, pipeline.execute

    def queue(*words: Any, **options: Any) -> Any:
        current = _current.get()
        if current is not None and (words[0] == "WATCH" or pipeline.watching) and not pipeline.explicit_transaction:
            return current.send([words], lambda: execute_command(*words, **options), many=False)  # it is sent at once
        queued.append(words)
        return execute_command(*words, **options)

    def run(*args: Any, **options: Any) -> Any:
        commands = [*queued]
        queued.clear()
        if (current := _current.get()) is None or not commands:
            return execute(*args, **options)
        return current.send(commands, lambda: execute(*args, **options), many=True)

    pipeline.execute_command, pipeline.execute = queue, run


# What may be shown ------------------------------------------------------------------------------------------------


def shorten_text(text: str) -> str:
    """Return text in which each sid, signature and the like is shortened, as `redis_store.shorten` does."""
    return SECRET.sub(lambda match: shorten(match[0]), text)


def show_command(words: Words) -> tuple[str, ...]:
    """Return the words of a command. In place of a script: the commands in it."""
    shown = [_show(word) for word in words]
    if shown[0].upper() == "EVAL":
        shown[1] = f"<script: {' '.join(dict.fromkeys(IN_SCRIPT.findall(str(words[1]))))}>"
    return tuple(shown)


def show_answer(name: Any, answer: object) -> str:
    """Return the answer to the command `name` as ``redis-cli`` shows it, more or less."""
    if answer is None:
        return "(nil)"
    if isinstance(answer, BaseException):
        return f"(error) {_show(f'{type(answer).__name__}: {answer}')}"
    if isinstance(answer, bool):  # redis-py's word for it
        return "OK" if answer and name == "SET" else str(int(answer))
    if isinstance(answer, list | tuple):
        return f"[{', '.join(show_answer(name, each) for each in answer)}]"
    return _show(answer)


def _show(value: object) -> str:
    text = str.__str__(value) if isinstance(value, str) else str(value)  # of an Enum that is text, the text
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = f"<{len(value)} bytes>"
    text = shorten_text(text)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def callers() -> Iterator[Caller]:
    """Yield the functions of this project on the stack, the innermost first, without this file's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if file := file_of(code.co_filename):
            yield Caller(file, code.co_qualname.replace(".<locals>", ""), frame.f_lineno)
        frame = frame.f_back


@functools.lru_cache(maxsize=1000)
def file_of(filename: str) -> str | None:
    """Return the path below the project. None: it is somebody else's, or this file."""
    path = Path(filename)
    if not path.is_relative_to(ROOT) or path == Path(__file__):
        return None
    file = path.relative_to(ROOT)
    return str(file) if len(file.parts) == 1 or file.parts[0] in FOLDERS else None
