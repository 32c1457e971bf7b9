"""Templates are compiled once in a run: there are more than a thousand apps, each with a Jinja of its own."""

from __future__ import annotations

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket


class Compiled(BytecodeCache):
    """What was compiled, as long as its source is the same."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if made := self.kept.get(bucket.key):
            bucket.bytecode_from_string(made)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


def compile_once() -> None:
    """Let the apps to come share one cache, by an option of Flask's for Jinja."""
    Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": Compiled()}
