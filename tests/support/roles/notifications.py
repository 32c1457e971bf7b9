"""Browsers that wait for notifications, as far as the wire goes."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from flask import Flask

from roles.notifications_hub import Hub
from support.demo import make_app, sign_in
from support.servers import PATIENCE
from support.serving import serve


class Event(NamedTuple):
    kind: str  # "comment" and "end", too
    id: str = ""
    data: str = ""


class Listener:
    """An ``EventSource``."""

    def __init__(self, site: str, cookie: str, last: str = "", query: str = "") -> None:
        host = site.partition("://")[2]
        self.connection = http.client.HTTPConnection(host, timeout=PATIENCE)
        headers = {"Cookie": f"session={cookie}"} | ({"Last-Event-ID": last} if last else {})
        self.connection.request("GET", f"/events{query}", headers=headers)
        self.sock = self.connection.sock  # which the connection forgets, when the answer says that it is the last one
        self.answer = self.connection.getresponse()
        self.status, self.last = self.answer.status, last

    def next(self) -> Event:
        """Wait for an event, a comment, or the end."""
        fields: dict[str, str] = {}
        while line := self.answer.readline().decode(errors="replace"):
            name, _, value = line.rstrip("\n").partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            elif line.startswith(":"):
                fields["comment"] = ""
            elif "comment" in fields:
                return Event("comment")
            elif "retry" not in fields:
                self.last = fields["id"]
                return Event(fields["event"], fields["id"], fields.get("data", ""))
            else:
                fields = {}
        return Event("end")

    def take(self, number: int) -> list[str]:
        """Wait for so many messages; return their data."""
        events = [self.next() for _ in range(number)]
        assert {event.kind for event in events} <= {"message"}
        return [event.data for event in events]

    def close(self, *, at_once: bool = False) -> None:
        """Go away, as a browser does; or `at_once`, as one that crashed."""
        if at_once:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.answer.close()
        self.sock.close()


class House:
    """The app, served; and its browsers."""

    def __init__(self, app: Flask, site: str) -> None:
        self.app, self.site = app, site
        self.listeners: list[Listener] = []

    @property
    def hub(self) -> Hub:
        hub = self.app.extensions["notifications"]
        assert isinstance(hub, Hub)
        return hub

    def sign_in(self, user: str = "ada") -> Any:
        """A browser that is signed in."""
        web = self.app.test_client()
        assert sign_in(web, user, {"ada": "lovelace", "grace": "hopper"}[user]).status_code == 303
        return web

    def listen(self, web: Any, last: str = "", query: str = "") -> Listener:
        """A page of this browser connects."""
        self.listeners.append(Listener(self.site, web.get_cookie("session").value, last, query))
        return self.listeners[-1]

    def open(self, web: Any = None, after: str = "0-0") -> Listener:
        """A page that gets what comes after that id; it is connected when this returns."""
        listener = self.listen(web or self.sign_in(), query=f"?after={after}")
        assert listener.status == 200
        return listener

    def notify(self, *messages: Any, owner: str = "ada") -> list[str]:
        with self.app.app_context():
            return [self.app.extensions["notify"](owner, message) for message in messages]

    def say(self, *words: object) -> list[str]:
        """Tell ada; return the ids."""
        return self.notify(*map(str, words))


def texts(*words: object) -> list[str]:
    """What arrives of these words."""
    return [json.dumps({"text": str(word)}, separators=(",", ":")) for word in words]


def wait_until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def serving(client: Any) -> Iterator[House]:
    """The app on this Redis, until the block ends; and then nothing of its streams."""
    app = make_app(client)
    with serve(app) as site:
        house = House(app, site)
        house.hub.look_after = house.hub.tick = 0.02  # seconds; a test that is about them sets them back
        try:
            yield house
        finally:
            for listener in house.listeners:
                listener.close()
            wait_until(lambda: house.hub.thread is None)


@pytest.fixture
def house(least: Any) -> Iterator[House]:
    """On a Redis where the app may do what the docs grant it."""
    with serving(least) as house:
        yield house
