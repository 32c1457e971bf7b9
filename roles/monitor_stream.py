"""The pages of /monitor that are open in one process: one look at Redis serves all of them, by Server-Sent Events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from redis_store import StoreUnavailable

RETRY = 1000  # milliseconds after which a browser connects again
MAX_STREAMS = 10  # of one process: each keeps a thread of its server busy

AWAY = b"event: away\ndata: Redis\n\n"  # a page may be shown to nobody then; what it shows is old


class Pages:
    """Those that are open. Each gets what is new when it is there, if its session may still look."""

    interval = 5.0  #: seconds between two looks at Redis
    patience = 15.0  #: seconds in which a browser has to take an event
    life = 300.0  #: seconds that a stream lasts; the browser connects again, and who is gone is forgotten

    def __init__(self, make: Callable[[], str], may_look: Callable[[str], bool]) -> None:
        self.make, self.may_look = make, may_look  # the part of the page; whether a sid is an administrator's
        self.lock = threading.Lock()
        self.streams: set[object] = set()
        self.part, self.due = b"", 0.0

    def join(self, stream: object) -> bool:
        """Note a stream; return False if there are too many."""
        with self.lock:
            if len(self.streams) >= MAX_STREAMS:
                return False
            self.streams.add(stream)
            return True

    def leave(self, stream: object) -> None:
        with self.lock:
            self.streams.discard(stream)

    def serve(self, sid: str) -> Iterator[bytes]:
        """Yield events for one page, as long as its session may look, and no longer than `life`."""
        end = time.monotonic() + self.life
        yield b"retry: %d\n\n" % RETRY
        while (now := time.monotonic()) < end:
            event, due = AWAY, now + self.interval
            try:
                if not self.may_look(sid):
                    return
                event, due = self.renew()
            except StoreUnavailable:
                pass
            yield event
            time.sleep(max(0, due - time.monotonic()))

    def renew(self) -> tuple[bytes, float]:
        """Return the event of now, and when the next one is due. Whoever comes first makes it for all."""
        with self.lock:
            if time.monotonic() >= self.due:
                self.part = format_event(self.make())
                self.due = time.monotonic() + self.interval
            return self.part, self.due


def format_event(html: str) -> bytes:
    """Return a part of a page as an event."""
    return "".join(f"data: {line}\n" for line in html.replace("\r", "").split("\n")).encode() + b"\n"
