"""docs/learn.md: each of the seven steps breaks the short store, and not this project's."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

import fakeredis
import pytest
from flask import Flask, session
from redis import Redis
from support.apps import SECRET_KEY
from support.project import PAGES, blocks

from redis_store import RedisSessionInterface, connect
from study.browser import Browser
from study.seed_store import SeedInterface

STEPS = re.findall(r"^## (\d)\. (.*?)\n(.*?)(?=^## )", PAGES["docs/learn.md"], re.M | re.S)


def make_seed(client: Any) -> SeedInterface:
    return SeedInterface(Redis.from_url(client) if isinstance(client, str) else client)


def make_ours(client: Any) -> RedisSessionInterface:
    return RedisSessionInterface(connect(client) if isinstance(client, str) else client)


def play(code: str, make_interface: Callable[[Any], Any]) -> None:
    """Run the lines of a step, with these sessions."""
    server = fakeredis.FakeServer()
    client = fakeredis.FakeRedis(server=server)
    app = Flask("step")
    app.secret_key = SECRET_KEY
    app.session_interface = make_interface(client)
    app.add_url_rule("/", "home", lambda: dict(session))
    app.add_url_rule("/logout", "logout", lambda: {"was": [session.pop(key) for key in [*session]]})
    ada, eve = Browser(app), Browser(app)
    ada.write(user_id="ada")
    names = {"app": app, "ada": ada, "eve": eve, "redis": client, "server": server, "make_interface": make_interface}
    names |= {"Browser": Browser, "socket": socket, "threading": threading}
    try:
        exec(code, names)
    finally:
        if "frozen" in names:
            names["frozen"].close()  # type: ignore[attr-defined]
            names["page"].join()  # type: ignore[attr-defined]


def code_of(text: str) -> str:
    (code,) = blocks("python", text)
    return code


def test_there_are_seven_steps() -> None:
    """Numbered."""
    assert [number for number, _, _ in STEPS] == [*"1234567"]


@pytest.mark.parametrize("text", [text for _, _, text in STEPS], ids=[title for _, title, _ in STEPS])
def test_a_step_breaks_the_short_store_only(text: str) -> None:
    """Its lines hold for the thirty lines, and fail for the store of this project: by what they assert, or at once."""
    play(code_of(text), make_seed)
    with pytest.raises((AssertionError, KeyError)):
        play(code_of(text), make_ours)


@pytest.mark.parametrize("text", [text for _, _, text in STEPS], ids=[title for _, title, _ in STEPS])
def test_a_step_names_functions_that_exist(text: str) -> None:
    """In the files that it names."""
    named = re.findall(r"`([\w.]+)`\s+in\s+`([\w/]+)\.py`", text.partition("**The function**")[2])
    assert named
    for name, file in named:
        found: Any = import_module(file.replace("/", "."))
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)
