"""The 503 that an outage of Redis becomes."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, Response, has_request_context, request
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.http import remove_entity_headers

from _redis_store.marks import FAILED
from _redis_store.sender import StoreUnavailable
from _redis_store.signals import tell, unavailable

log = logging.getLogger("redis_store")

RETRY_AFTER = 5  # seconds, in the Retry-After header of a 503


class SessionUnavailable(StoreUnavailable, ServiceUnavailable):
    """`StoreUnavailable` inside a view: Flask makes it a 503, no handler needed. `save_session` adds Retry-After."""

    description = "The session store cannot be reached, or it refuses."


#: How Flask calls teardown functions.
_TEARDOWN = (Flask.do_teardown_request.__code__, Flask.do_teardown_appcontext.__code__)


def is_tearing_down() -> bool:
    """Return whether a teardown function asks. Only the stack tells: a page that is streamed has one more teardown."""
    return any(frame.f_code in _TEARDOWN for frame, _ in traceback.walk_stack(None))


@contextmanager
def for_views() -> Iterator[None]:
    """In a request, make a `StoreUnavailable` one that Flask answers with a 503."""
    try:
        yield
    except StoreUnavailable as error:
        if not has_request_context():
            raise
        log.warning("%s", error)
        tell(unavailable, "view")
        request.environ[FAILED] = True
        raise SessionUnavailable from None


def retry_later(app: Flask, response: Response) -> None:
    """Turn a 500 that an outage caused into a 503, and give each 503 a Retry-After, whoever made its page."""
    if response.status_code == 500:  # an error handler was the first to ask Redis, say
        refuse(app, response)
    elif response.status_code == 503:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER))


def refuse(app: Flask, response: Response) -> None:
    """Make `response` a 503 in place. It is too late for an exception: Flask would not ask any handler."""
    error = SessionUnavailable()
    try:
        page = app.make_response(app.handle_http_exception(error))  # the app's own page, if it has one
    except Exception:
        log.exception("the app's page for a 503 failed")
        page = app.make_response(error.get_response())
    if hasattr(response.response, "close"):
        response.call_on_close(response.response.close)
    remove_entity_headers(response.headers, allowed=())
    for name in ("Location", "Set-Cookie", "ETag", "Cache-Control", "Content-Disposition"):
        response.headers.remove(name)
    response.direct_passthrough = False
    response.status_code = 503
    response.content_type = page.content_type
    response.cache_control.no_store = True
    response.headers["Retry-After"] = str(RETRY_AFTER)
    response.set_data(page.get_data())
