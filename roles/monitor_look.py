"""One look of /monitor at Redis: what all of its servers answer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis_store import RedisStore, StoreUnavailable
from roles import combine, find_servers, is_forbidden

TIMEOUT = 1  # seconds, at most, that a look waits for each server
SLOWEST = 10  # entries of a slow log

COMMANDS: list[tuple[Any, ...]] = [("PING",), ("INFO",), ("SLOWLOG GET", SLOWEST)]


@dataclass
class Look:
    """What Redis answered. A server that is the only one has the name ""."""

    answered: bool = False  # anything, if only that it is forbidden
    ping: float | None = None  # milliseconds that the slowest first answer took; None: there was none
    infos: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # without those that do not tell
    down: list[str] = field(default_factory=list)  # servers of a Cluster that do not answer
    slow: list[dict[str, Any]] = field(default_factory=list)  # the latest first
    refused: dict[str, str] = field(default_factory=dict)  # command -> why it has no answer

    @property
    def info(self) -> dict[str, Any]:
        """What INFO says; of several servers as if they were one."""
        return combine([*self.infos.values()])

    @property
    def clustered(self) -> bool:
        """Whether these are the servers of a Cluster."""
        return bool(self.down or self.infos.keys() - {""})


def look(store: RedisStore) -> Look:
    """Ask Redis how it is. Raises nothing."""
    seen = Look()
    for name, options in find_servers(store.within(TIMEOUT)).items():
        if options is None:
            seen.down.append(name)
        else:
            ask(seen, name, store, options)
    seen.slow = sorted(seen.slow, key=lambda entry: entry["at"], reverse=True)[:SLOWEST]
    return seen


def ask(seen: Look, name: str, store: RedisStore, options: dict[str, Any]) -> None:
    """Note what one server answers."""
    sender, found = store.within(TIMEOUT).sender, dict[str, Any]()
    for command in COMMANDS[sender.clustered :]:  # redis-py fails to send PING to a Cluster
        start = time.perf_counter()
        try:
            found[command[0]] = sender.run(*command, **options)
            found.setdefault("ms", 1000 * (time.perf_counter() - start))
        except StoreUnavailable as error:
            why = explain(error)
            seen.answered |= is_forbidden(error)
            if name and not found and why.startswith(("ConnectionError", "TimeoutError")):
                seen.down.append(name)
                return
            seen.refused[command[0]] = why
    if "ms" in found:
        seen.answered = True
        seen.ping = max(seen.ping or 0, found["ms"])
    if "INFO" in found:
        seen.infos[name] = found["INFO"]
    seen.slow += without_arguments(name, found.get("SLOWLOG GET", []))


def explain(error: StoreUnavailable) -> str:
    """Return why something cannot be had, in few words: those of the store are also about other things."""
    if is_forbidden(error):
        return "Redis's ACL forbids it"
    message = str(error)
    if "does not know" in message:
        return "this Redis does not know it, or its provider forbids it"
    return message.partition(" failed with ")[2] or message


def without_arguments(name: str, entries: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the entries of a server's slow log as they may be shown: of a command only its name."""
    for entry in entries:
        command = entry["command"].split()[0].decode(errors="replace")
        yield {"server": name, "at": entry["start_time"], "ms": entry["duration"] / 1000, "name": command}
