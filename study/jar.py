"""The cookies of a browser, as the tabs of a story have them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from werkzeug.http import dump_cookie
from werkzeug.wrappers import Response

from study.recording import shorten_text
from study.timeline import Facts


class Cookie(NamedTuple):
    """A cookie in a browser."""

    value: str
    ends: float | None  # Unix time; None: with the browser


class Jar(dict[str, Cookie]):
    """The cookies of a browser by name, which its tabs share."""

    def headers(self) -> dict[str, str]:
        """Return what the browser sends."""
        pairs = [dump_cookie(name, cookie.value, path=None) for name, cookie in self.items()]
        return {"Cookie": "; ".join(pairs)} if pairs else {}

    def facts(self) -> Facts:
        """Return the same, for people."""
        pairs = [f"{name}={shorten_text(cookie.value)}" for name, cookie in self.items()]
        return [("Cookie", "; ".join(pairs) or "none")]

    def keep(self, response: Response, now: float) -> Facts:
        """Do what a response says about cookies. Return what that is."""
        shown = []
        for header in response.headers.getlist("Set-Cookie"):
            pair, *rest = header.split("; ")
            name, _, value = pair.partition("=")
            lifetime = lifetime_of(dict(part.lower().partition("=")[::2] for part in rest))
            if lifetime is not None and lifetime <= 0:
                self.pop(name, None)
                text = f"{name} is deleted"
            else:
                self[name] = Cookie(value, None if lifetime is None else now + lifetime)
                ends = "with the browser" if lifetime is None else f"in {math.ceil(lifetime)} s"
                attributes = [part for part in rest if not part.lower().startswith(("path", "expires", "max-age"))]
                text = "; ".join([f"{name}={shorten_text(value)}", f"ends {ends}", *attributes])
            shown.append(("Cookie", text))
        return shown or [("Cookie", "left alone")]

    def drop(self, now: float) -> int:
        """Forget what has ended. Return how many that were."""
        ended = [name for name, cookie in self.items() if cookie.ends is not None and cookie.ends <= now]
        for name in ended:
            del self[name]
        return len(ended)


def lifetime_of(attributes: dict[str, str]) -> float | None:
    """Return the seconds that a cookie lives, from the attributes of its header. None: as long as the browser."""
    if "max-age" in attributes:
        return float(attributes["max-age"])
    if "expires" in attributes:
        return (parsedate_to_datetime(attributes["expires"]) - datetime.now(UTC)).total_seconds()
    return None
