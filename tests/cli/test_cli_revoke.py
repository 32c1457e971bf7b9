"""``flask sessions revoke``: it asks first."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from support.clock import Clock
from support.commands import handle_of, lines, prepare, run, sign_in, visit


@pytest.fixture
def app(app: Flask, client: Any, clock: Clock) -> Flask:
    """Any app with the two lines; as a Redis user who may SCAN."""
    return prepare(app, client, clock)


def test_revoke_ends_all_sessions_of_an_owner(app: Flask) -> None:
    """It says how many, and leaves those of others."""
    for name in ("ada", "ada", "grace"):
        sign_in(app, name)
    result = run(app, "revoke", "--owner", "ada", "--yes")
    assert (result.exit_code, result.stdout) == (0, "Ended 2 sessions.\n")
    assert [row["owners"] for row in lines(app, "list")] == [["grace"]]
    assert run(app, "revoke", "--owner", "ada", "--yes").stdout == "Ended 0 sessions.\n"


@pytest.mark.parametrize("name", [lambda sid: sid, lambda sid: sid[:20], handle_of])
def test_revoke_keeps_what_it_is_told_to(name: Any, app: Flask) -> None:
    """By sid, first digits or handle."""
    sids = [sign_in(app) for _ in range(3)]
    assert run(app, "revoke", "--owner", "ada", "--keep", name(sids[1]), "--yes").stdout == "Ended 2 sessions.\n"
    assert [row["handle"] for row in lines(app, "list")] == [handle_of(sids[1])]


def test_a_misspelt_keep_ends_nothing(app: Flask) -> None:
    """What is to be kept has to be there, and to be the owner's."""
    sign_in(app)
    for wrong in ("0" * 8 + "-" + "0" * 40, "0" * 48, "0" * 8, sign_in(app, "grace")):
        assert run(app, "revoke", "--owner", "ada", "--keep", wrong, "--yes").exit_code == 1
    assert len(lines(app, "list", "--owner", "ada")) == 1


@pytest.mark.parametrize("name", [lambda sid: sid, lambda sid: sid[:20], handle_of])
def test_revoke_ends_one_session(name: Any, app: Flask) -> None:
    """Also without knowing whose it is."""
    sid, other = visit(app), sign_in(app)
    assert run(app, "revoke", name(sid), "--yes").stdout == "Ended 1 session.\n"
    assert [row["handle"] for row in lines(app, "list")] == [handle_of(other)]


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_revoke_asks_first(answer: str, left: int, one: bool, app: Flask, client: Any) -> None:
    """Nothing ends without a yes; the question names the owner."""
    sid = sign_in(app)
    result = run(app, "revoke", *([sid] if one else ["--owner", "ada"]), answer=answer)
    assert "ada" in result.stderr
    assert result.exit_code == left
    assert len(client.keys("SESSION:*")) == left


@pytest.mark.parametrize(
    "words", [[], ["--keep", "abcdef"], ["abcdef", "--keep", "abcdef"], ["abcdef", "--owner", "ada", "--keep", "abcd"]]
)
def test_revoke_needs_an_owner_or_a_session(words: list[str], app: Flask) -> None:
    """All sessions of nobody in particular is not on offer."""
    sign_in(app)
    result = run(app, "revoke", *words, "--yes")
    assert result.exit_code == 2
    assert "expected SESSION, or --owner NAME" in result.stderr
