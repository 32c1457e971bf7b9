"""A page that stays connected: server-sent events, as a browser reads them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

PATIENCE = 5  # seconds that a message may take


class Stream:
    """An open response. `tell` is called with what the page gets."""

    def __init__(self, response: Any, tell: Callable[..., None]) -> None:
        self.response, self.tell = response, tell
        self.blocks = self._read()
        self.unread: list[dict[str, str]] = []
        self.last = ""  #: the last id: what a browser brings when it connects again

    def wait_until_open(self) -> None:
        """Read until the server listens for this page: it sends an id, or a comment."""
        for fields in self.blocks:
            if "data" in fields:
                self.unread.append(fields)
            if "id" in fields or "" in fields:
                return
        raise TimeoutError("the page was not connected")

    def read_until(self, text: str) -> list[str]:
        """Read on until a message with this text, and return all that came."""
        end, got = time.monotonic() + PATIENCE, []
        unread, self.unread = self.unread, []
        for fields in chain(unread, self.blocks):
            if "data" in fields:
                got.append(fields["data"])
                self.tell("gets a message", [("Reads", fields["data"])])
            if text in fields.get("data", ""):
                return got
            if time.monotonic() > end:
                break
        raise TimeoutError("the message did not come")

    def _read(self) -> Iterator[dict[str, str]]:
        """Yield the fields of each event. A comment is a field without a name."""
        rest = ""
        for chunk in self.response.iter_encoded():
            *blocks, rest = (rest + chunk.decode()).split("\n\n")
            for block in blocks:
                fields = {name: value.strip() for name, _, value in (line.partition(":") for line in block.split("\n"))}
                self.last = fields.get("id", self.last)
                yield fields

    def close(self) -> None:
        """Hang up."""
        self.response.close()
