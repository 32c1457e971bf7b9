"""A pytest plugin: `RedisSessionInterface` in place of Flask's own, for a test-suite that knows nothing of it.

`suites.py` loads it with ``pytest -p swap``. The client is a fakeredis, or that of `connect` for the URL in the
environment variable SWAP_REDIS_URL. What was really used is counted, and told in the JUnit file's properties.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import flask
import flask.sessions
import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from werkzeug.datastructures import ImmutableDict

from redis_store import RedisSessionInterface, connect

URL = os.environ.get("SWAP_REDIS_URL")
# This is about what sessions mean, not about deadlines: a busy machine must not look like a broken promise.
CLIENT: Any = connect(URL, socket_timeout=10, socket_connect_timeout=10) if URL else fakeredis.FakeRedis()
SAVED = {"ours": 0, "flask": 0}  # calls of save_session, by whose it was


class Swapped(RedisSessionInterface):
    """Without arguments, as Flask's: tests/test_reqctx.py of Flask makes a subclass of Flask's class and calls it."""

    def __init__(self) -> None:
        super().__init__(CLIENT)

    def save_session(self, *args: Any, **kwargs: Any) -> None:
        SAVED["ours"] += 1
        super().save_session(*args, **kwargs)


def _counted(save: Callable[..., None]) -> Callable[..., None]:
    def save_session(*args: Any, **kwargs: Any) -> None:
        SAVED["flask"] += 1
        save(*args, **kwargs)

    return save_session


SecureCookieSessionInterface.save_session = _counted(  # type: ignore[method-assign]  # to see that nobody calls it
    SecureCookieSessionInterface.save_session
)
Flask.session_interface = Swapped()
flask.sessions.SecureCookieSessionInterface = Swapped  # type: ignore[assignment,misc]  # the swap itself
Flask.default_config = ImmutableDict(
    # What Flask means by a session: it ends with the browser, and a permanent one is refreshed by every request.
    Flask.default_config | {"SESSION_PERMANENT": False, "SESSION_REFRESH_AFTER": 0}
)


@pytest.fixture(scope="session", autouse=True)
def _tell(record_testsuite_property: Callable[[str, object], None]) -> Iterator[None]:
    yield
    record_testsuite_property("saved", SAVED["ours"])
    record_testsuite_property("saved_by_flask", SAVED["flask"])
    record_testsuite_property("records", CLIENT.dbsize())
