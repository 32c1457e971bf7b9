"""A process that dies between two commands."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from _redis_store.sender import Command


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
