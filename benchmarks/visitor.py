"""A browser, as far as cookies go. Its requests are WSGI calls in this process.

Each has an environ that was made before the clock starts; the clock stops when the body was read.
"""

import secrets
import time
from typing import Any

from contenders import SIZE
from werkzeug.test import create_environ

PAGES = {"anonymous": "/public", "untouched": "/public"}  # of the other request types, the name is the page's


def page(kind: str) -> str:
    """Return the path of a request of this type. Whoever signs in is a user of their own."""
    return f"/login?user={secrets.token_hex(4)}" if kind == "login" else PAGES.get(kind, f"/{kind}")


def send(app: Any, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return status, headers and body of the answer."""
    head: list[Any] = []
    body = app(environ.copy(), lambda status, headers, error=None: head.extend((status, headers)))
    try:
        return head[0], head[1], b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


class Visitor:
    """A browser, as far as cookies go."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.cookies: dict[str, str] = {}

    def environ(self, path: str) -> dict[str, Any]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return create_environ(path, headers={"Cookie": cookie} if cookie else {})

    def keep(self, answer: tuple[str, list[tuple[str, str]], bytes]) -> bytes:
        """Do what the answer says of cookies; return its body. RuntimeError: it is no success."""
        status, headers, body = answer
        if not status.startswith("200"):
            raise RuntimeError(f"{status}: {body[:200]!r}")
        for name, header in headers:
            if name.lower() == "set-cookie":
                name, _, value = header.partition(";")[0].partition("=")
                self.cookies[name] = value
        return body

    def ask(self, path: str) -> bytes:
        return self.keep(send(self.app, self.environ(path)))


def begin(app: Any, size: int = SIZE) -> Visitor:
    """Return a visitor with a session of `size` bytes."""
    visitor = Visitor(app)
    visitor.ask(f"/begin?size={size}")
    return visitor


def timed(visitors: list[Visitor], kind: str) -> float:
    """Return the microseconds of a request of this type, when each visitor sends one after the other."""
    environs = [visitor.environ(page(kind)) for visitor in visitors]
    app, answers = visitors[0].app, []
    start = time.perf_counter()
    for environ in environs:
        answers.append(send(app, environ))
    took = time.perf_counter() - start
    for visitor, answer in zip(visitors, answers, strict=True):
        visitor.keep(answer)
    return 1e6 * took / len(visitors)
