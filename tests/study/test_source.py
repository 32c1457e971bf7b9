"""Functions of the project are found by name, and shown as they are."""

from __future__ import annotations

import inspect

import pytest
from support.project import ROOT

from redis_store import RedisSessionInterface, RedisStore
from study import source
from study.shop import show_order


def text_of(found: source.Source | None) -> str:
    assert found
    return "\n".join("".join(text for _, text in line) for line in found.lines) + "\n"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("_redis_store/store.py::RedisStore.swap", RedisStore.swap),
        ("redis_store.py::RedisSessionInterface", RedisSessionInterface),
        ("study/shop.py::show_order", show_order),
    ],
)
def test_a_function_is_found_by_name(name: str, wanted: object) -> None:
    """With its decorators, and nothing around it; its first line has its number."""
    found = source.find(name)
    assert text_of(found) == inspect.getsource(wanted)  # type: ignore[arg-type]
    assert found
    assert found.first == inspect.getsourcelines(wanted)[1]  # type: ignore[arg-type]


def test_a_function_inside_another_is_found() -> None:
    """By both names."""
    assert "def add(" in text_of(source.find("study/story.py::Book.tells.add"))


@pytest.mark.parametrize("file", sorted(source.list_files()))
def test_colours_change_no_letter(file: str) -> None:
    """Of any file that may be shown."""
    text = (ROOT / file).read_text()
    assert "\n".join("".join(piece for _, piece in line) for line in source.colour(text)) == text


def test_words_have_the_class_of_what_they_are() -> None:
    """A string of several lines has it on each."""
    lines = source.colour('def f():\n    """A\n    b."""\n    return len("x")  # why\n')
    assert lines[0] == [("keyword", "def"), ("", " "), ("defined", "f"), ("", "():")]
    assert lines[1] == [("", "    "), ("string", '"""A')]
    assert lines[2] == [("string", '    b."""')]
    assert [kind for kind, _ in lines[3] if kind] == ["keyword", "builtin", "string", "comment"]
