"""Mail: the form of the page, and a mail server of our own."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.demo import OURS, sign_in

MAIL = {"to": "grace@example.com", "subject": "Grüße", "text": "Hello"}


class Postbox:
    """What a mail server was given; `refuses` is how many mails it refuses first, `waits_for` what it waits for."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refuses = 0
        self.port = 0
        self.waits_for: threading.Event | None = None

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        while self.waits_for and not self.waits_for.is_set():
            await asyncio.sleep(0.01)
        if self.refuses:
            self.refuses -= 1
            return "451 not now"
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@contextmanager
def receiving(**options: Any) -> Iterator[Postbox]:
    """A mail server on this machine. Its options are those of aiosmtpd."""
    make_controller = pytest.importorskip("aiosmtpd.controller").UnthreadedController
    box, loop = Postbox(), asyncio.new_event_loop()
    controller = make_controller(box, hostname="127.0.0.1", port=0, loop=loop, **options)
    controller.begin()
    box.port = controller.server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield box
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        controller.end()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    """A mail server without TLS."""
    with receiving() as box:
        yield box


def sign_in_to(app: Flask) -> FlaskClient:
    web = app.test_client()
    assert sign_in(web).status_code == 303
    return web


def fill_in(web: FlaskClient, **fields: str) -> dict[str, str]:
    """What the form sends."""
    (found,) = re.findall(r'name="id" value="(\w+)"', web.get("/mail").text)
    return {"id": found, **MAIL, **fields}


def send(web: FlaskClient, form: dict[str, str]) -> TestResponse:
    return web.post("/mail", data=form, headers=OURS)
