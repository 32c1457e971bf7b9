"""Whether a request has asked for its session: what may be given to everybody, and what may not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask, copy_current_request_context, request, session
from flask.testing import FlaskClient

from redis_store import is_session_accessed


def open_it() -> None:
    request_app = request.environ["app"]
    request_app.session_interface.open_session(request_app, request)


WAYS: dict[str, Callable[[], object]] = {
    "get": lambda: session.get("user_id"),
    "set": lambda: session.update(a=1),
    "len": lambda: len(session),
    "in another context": lambda: copy_current_request_context(lambda: session.get("a"))(),
    "opened by hand": open_it,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", [False, True])
def test_a_request_that_asked_for_its_session_is_known(app: Flask, web: FlaskClient, way: str, before: bool) -> None:
    """Whether the view did or a function before it, with a session or without one; from then on."""
    seen = []

    def ask() -> None:
        seen.append(is_session_accessed())
        WAYS[way]()
        seen.append(is_session_accessed())

    @app.get("/")
    def view() -> str:
        if not before:
            ask()
        return str(is_session_accessed())

    if before:
        app.before_request(ask)
    for _ in range(2):
        assert web.get("/", environ_overrides={"app": app}).text == "True"
    assert seen == [False, True] * 2


def test_to_ask_whether_it_did_is_not_to_ask_for_it(app: Flask, web: FlaskClient) -> None:
    """Nothing is read, and the answer does not depend on a cookie."""
    app.add_url_rule("/", "view", lambda: str(is_session_accessed()))
    with web.session_transaction() as mine:
        mine["a"] = 1
    answer = web.get("/")
    assert answer.text == "False"
    assert "Vary" not in answer.headers
