"""A browser whose requests can be stopped in the middle, so that another one comes between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Flask, session
from werkzeug.http import dump_cookie, parse_cookie
from werkzeug.wrappers import Response


class Browser:
    """Visits an app, and keeps its cookies."""

    def __init__(self, app: Flask, cookies: Mapping[str, str] | None = None) -> None:
        self.app = app
        self.cookies = dict(cookies or {})

    @contextmanager
    def visit(self) -> Iterator[Any]:
        """Be a request: begin it, yield its session, and end it. Requests inside the block come in its middle."""
        with self.app.test_request_context(headers=self._headers()):
            yield session._get_current_object()  # type: ignore[attr-defined]
            self._take(self.app.process_response(self.app.response_class()))

    def write(self, **content: Any) -> Response:
        """Put this into the session, and return the response."""
        with self.app.test_request_context(headers=self._headers()):
            session.update(content)
            return self._take(self.app.process_response(self.app.response_class()))

    def sees(self) -> dict[str, Any]:
        """Return what a request finds in its session."""
        with self.visit() as found:
            return dict(found)

    def get(self, path: str = "/") -> Response:
        """Ask for a page."""
        return self._take(self.app.test_client(use_cookies=False).get(path, headers=self._headers()))

    def _headers(self) -> dict[str, str]:
        pairs = [dump_cookie(name, value, path=None) for name, value in self.cookies.items()]
        return {"Cookie": "; ".join(pairs)} if pairs else {}

    def _take(self, response: Response) -> Response:
        for header in response.headers.getlist("Set-Cookie"):
            pair, _, attributes = header.partition(";")
            for name, value in parse_cookie(pair).items():
                self.cookies[name] = value
                if "1970" in attributes:
                    del self.cookies[name]
        return response
