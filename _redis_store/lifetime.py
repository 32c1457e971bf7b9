"""How long a session lives, within its two limits, and when it is time to keep it alive. Pure."""

from __future__ import annotations

import math

from _redis_store.settings import Settings
from _redis_store.sid import began_at


def time_left(settings: Settings, sid: str, now: float) -> float:
    """Return the seconds until SESSION_ABSOLUTE_LIFETIME ends the session; infinite without it, or if koa began it."""
    if settings.absolute_max_age == math.inf or (began := began_at(sid)) is None:
        return math.inf
    return began + settings.absolute_max_age - now


def max_age_of(settings: Settings, sid: str, now: float) -> int:
    """Return the seconds for EX and Max-Age: what is left within both limits."""
    return max(1, int(min(settings.max_age, time_left(settings, sid, now))))


def is_due(settings: Settings, signed_at: int) -> bool:
    """Return whether a cookie is old enough for a refresh; one that is not signed does not tell, and always is."""
    after = settings.refresh_after
    return settings.refreshes and (after == 0 or int(settings.clock()) - signed_at > after)
