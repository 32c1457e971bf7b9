"""A process that dies between two commands."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from _redis_store.sender import Command, Sender


class Mortal:
    """A client whose process dies when so many commands have reached Redis. Of a pipeline that may be a part."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.left = math.inf

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def execute_command(self, *command: Any, **options: Any) -> Any:
        if self.left < 1:
            raise KeyboardInterrupt
        self.left -= 1
        return self.client.execute_command(*command, **options)

    def execute_all(self, commands: Sequence[Command], **options: Any) -> list[Any]:
        return [self.execute_command(*command, **options) for command in commands]

    @contextmanager
    def dying_after(self, commands: int) -> Iterator[None]:
        """Let what is done with the client end after that many commands; then there is another process."""
        self.left = commands
        with suppress(KeyboardInterrupt):
            yield
        self.left = math.inf


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
