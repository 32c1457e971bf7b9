"""What the docstring of a role says, for tests that compare it with what the role does."""

from __future__ import annotations

import importlib
import re
from typing import Any

from support.project import tables


def describe(role: str) -> str:
    return importlib.import_module(f"roles.{role}").__doc__ or ""


def block(role: str, title: str) -> list[str]:
    """Return the indented lines of a docstring's block."""
    match = re.search(rf"^{title}[^\n]*::\n\n((?:    .*\n)+)", describe(role), re.M)
    return match[1].splitlines() if match else []


def keys_of(role: str) -> dict[str, int]:
    """Return the keys that a role's docstring names, as patterns, and how many seconds each lives at most."""
    rows = [re.split(r" {2,}", line.strip()) for line in block(role, "Keys")]
    return {re.sub("<.*?>", "*", key): int(seconds.removesuffix(" s")) for key, seconds, _ in rows}


def assert_keys(client: Any, role: str) -> None:
    """Redis has all keys that a role's docstring names, each with the TTL that is there, and no other of that role."""
    expected, seen = keys_of(role), set()
    namespaces = {pattern.partition("SESSION:")[0] for pattern in expected}
    for key in (raw.decode() for raw in client.keys()):
        if key.partition("SESSION:")[0] in namespaces:
            (pattern,) = [pattern for pattern in expected if re.fullmatch(pattern.replace("*", "[^:]+"), key)]
            assert expected[pattern] - 30 < client.ttl(key) <= expected[pattern], key
            seen.add(pattern)
    assert seen == {*expected}


def assert_page(page: str, role: str) -> None:
    """The tables of a role's page, of settings and of keys, are those of its docstring."""
    by_head = {table[0][0]: table[1:] for table in tables(page)}
    if "setting" in by_head:
        settings = re.findall(r"^    ([A-Z_]+) ", "\n".join(block(role, "Settings")), re.M)
        assert [row[0].strip("`") for row in by_head["setting"]] == settings
    if "key" in by_head:
        keys = {re.sub("<.*?>", "*", key.strip("`")): int(ttl.removesuffix(" s")) for key, ttl, _ in by_head["key"]}
        assert keys == keys_of(role)
    assert {"setting", "key"} & {*by_head}
