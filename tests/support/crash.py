"""A process that dies between two commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from _redis_store.sender import Command, Sender


@contextmanager
def crash_after(commands: int) -> Iterator[None]:
    """The process dies when so many commands have reached Redis. Of a pipeline that may be a part."""
    wait, pipeline, left = Sender._wait, Sender._pipeline, commands

    def dying(sender: Sender, name: str, *args: Any) -> Any:
        nonlocal left
        if name != "a pipeline":
            if left < 1:
                raise KeyboardInterrupt
            left -= 1
        return wait(sender, name, *args)

    def dying_on_the_way(sender: Sender, wanted: Sequence[Command]) -> list[Any]:
        nonlocal left
        sent = wanted[:left]
        left -= len(sent)
        answers = pipeline(sender, sent) if sent else []
        if len(sent) < len(wanted):
            raise KeyboardInterrupt
        return answers

    with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Sender, "_wait", dying)
        patch.setattr(Sender, "_pipeline", dying_on_the_way)
        yield
