"""What a request notes in its WSGI environ: whoever has the environ, has the request."""

from __future__ import annotations

from flask import request

#: The key by which a request says that it keeps no session alive.
SKIP_REFRESH = "redis_store.skip_refresh"
#: The key by which it says that somebody asked for its session.
ACCESSED = "redis_store.accessed"
#: The key of the sid that the last response gave away: nobody takes the cookies of a socket, whose events share it.
GIVEN_SID = "redis_store.sid"


def skip_refresh() -> None:
    """Leave this request's session as old as it is: for a health check, and what else no person asks for.

    It does not read the session; one that the request itself reads or changes is kept alive all the same.
    """
    request.environ[SKIP_REFRESH] = True


def is_session_accessed() -> bool:
    """Return whether this request has asked for its session so far: then what it answers may depend on the visitor."""
    return ACCESSED in request.environ
