"""The page /monitor: who looks at it, and what it shows."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from support import demo

CONFIG = {**demo.CONFIG, "MONITOR_USERS": ["ada"]}


def make_app(client: Any, **options: Any) -> Flask:
    """Return the demo app, of which ada is the administrator."""
    return create_app(CONFIG, client, **options)


def signed_in(app: Flask, user: str = "ada", password: str = "lovelace") -> FlaskClient:
    """A browser of this user."""
    web = app.test_client()
    assert demo.sign_in(web, user, password).status_code == 303
    return web


def text_of(web: FlaskClient, path: str = "/monitor") -> str:
    """What is on the page."""
    answer = web.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def facts(page: str) -> dict[str, str]:
    """What the page says of Redis, by name."""
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))


def problems(page: str) -> list[str]:
    """The names of what is wrong."""
    return re.findall(r'<p class="problem"><strong>(\w+)</strong>', page)


def numbers(page: str) -> dict[str, list[str]]:
    """The table beside the charts: now, lowest, highest, by title."""
    rows = re.findall(r'<th scope="row">(.*?)</th>\s*(.*?)</tr>', page)
    return {title: re.findall(r"<td.*?>(.*?)</td>", cells) for title, cells in rows}
