"""Functions of the running project, found by name, with their lines coloured a little.

A name is a file and a function, as pytest writes it: ``_redis_store/store.py::RedisStore.swap``. Only files of this
project's own are shown, from a list made at the start; whatever else is asked for is not there.
"""

from __future__ import annotations

import ast
import builtins
import functools
import io
import keyword
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

#: What may be shown: the project's Python, and the tests that hold what the stories promise.
FOLDERS = (".", "_redis_store", "roles", "study", "tests/promises", "tests/roles", "tests/study")
MAX_NAME = 200  # characters

COLOURS = {tokenize.STRING: "string", tokenize.COMMENT: "comment", tokenize.NUMBER: "number-literal"}

Piece = tuple[str, str]  # a class of the style sheet, or nothing; and text


class Source(NamedTuple):
    """A function or class as it stands in its file."""

    file: str
    name: str
    first: int  # the number of its first line
    lines: list[list[Piece]]


def find(wanted: str) -> Source | None:
    """Return what has this name. None: there is nothing like it, or it is not to be shown."""
    file, separator, name = wanted.partition("::")
    if len(wanted) > MAX_NAME or not separator or file not in list_files():
        return None
    text = read(file)
    node = find_node(ast.parse(text), name.split("."))
    if node is None:
        return None
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return Source(file, name, first, colour(text)[first - 1 : node.end_lineno])


@functools.cache
def list_files() -> frozenset[str]:
    """Return the files that may be shown, from the top of the project."""
    return frozenset(str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob("*.py"))


@functools.cache
def read(file: str) -> str:
    """Return the text of a file as it was when somebody first asked."""
    return (ROOT / file).read_text()


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def find_node(tree: ast.AST, names: list[str]) -> Definition | None:
    """Return the definition that these names lead to, from class to method, or from function to function."""
    for node in ast.walk(tree):
        if node is not tree and isinstance(node, Definition) and node.name == names[0]:
            return find_node(node, names[1:]) if names[1:] else node
    return None


@functools.lru_cache(maxsize=64)
def colour(text: str) -> list[list[Piece]]:
    """Return the lines of a program, each in pieces with the class of its colour."""
    lines = text.split("\n")
    spans: list[list[tuple[int, int, str]]] = [[] for _ in lines]
    for kind, (first, begin), (last, end) in kinds_of(text):
        for number in range(first, last + 1):
            line = lines[number]
            spans[number].append((begin if number == first else 0, end if number == last else len(line), kind))
    return [cut(line, found) for line, found in zip(lines, spans, strict=True)]


def cut(line: str, spans: list[tuple[int, int, str]]) -> list[Piece]:
    """Return the pieces of a line: these, with their classes, and what is between them."""
    pieces, place = [], 0
    for begin, end, kind in [*spans, (len(line), len(line), "")]:
        pieces += [("", line[place:begin]), (kind, line[begin:end])]
        place = end
    return [piece for piece in pieces if piece[1]]


def kinds_of(text: str) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Yield the tokens that have a colour: its class, and where it begins and ends, as line and column from 0."""
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = COLOURS.get(token.type, "")
        if token.type == tokenize.NAME:
            if keyword.iskeyword(token.string):
                kind = "keyword"
            elif before in ("def", "class"):
                kind = "defined"
            elif token.string in vars(builtins):
                kind = "builtin"
        before = token.string
        if kind:
            yield kind, (token.start[0] - 1, token.start[1]), (token.end[0] - 1, token.end[1])
