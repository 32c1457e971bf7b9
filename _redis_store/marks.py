"""What a request notes in its WSGI environ: whoever has the environ, has the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import request

#: The key by which a request says that it keeps no session alive.
SKIP_REFRESH = "redis_store.skip_refresh"
#: The key by which it says that somebody asked for its session.
ACCESSED = "redis_store.accessed"
#: The key of the sid that the last response gave away: nobody takes the cookies of a socket, whose events share it.
GIVEN_SID = "redis_store.sid"
#: The key by which it says that Redis failed it.
FAILED = "redis_store.failed"
#: The key of a reference to its session, used or not: an environ that held it would wait for the garbage collector.
SESSION = "redis_store.session"


def find_session(environ: Mapping[str, Any]) -> Any:
    """Return the session that was opened for a request, used or not. None: there is none, or it is gone."""
    reference = environ.get(SESSION)
    return None if reference is None else reference()


def skip_refresh() -> None:
    """Leave this request's session as old as it is: for a health check, and what else no person asks for.

    It does not read the session; one that the request itself reads or changes is kept alive all the same.
    """
    request.environ[SKIP_REFRESH] = True


def is_session_accessed() -> bool:
    """Return whether this request has asked for its session so far: then what it answers may depend on the visitor."""
    return ACCESSED in request.environ
