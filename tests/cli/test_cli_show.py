"""``flask sessions show``: a session is named by its first digits."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask
from support.clock import Clock
from support.commands import FORMS, handle_of, lines, new_sid, prepare, run, sign_in, write


@pytest.fixture
def app(app: Flask, client: Any, clock: Clock) -> Flask:
    """Any app with the two lines; as a Redis user who may SCAN."""
    return prepare(app, client, clock)


def test_show_prints_the_record(app: Flask, client: Any) -> None:
    """As it is in Redis, with the TTL beside it."""
    sid = sign_in(app)
    [found] = lines(app, "show", sid)
    assert found["record"] == json.loads(client.get(f"SESSION:{sid}"))
    assert 0 <= client.ttl(f"SESSION:{sid}") - found["ttl"] + 5 <= 10
    text = run(app, "show", sid).stdout
    assert json.loads(text[text.index("{") :]) == found["record"]
    assert re.search(rf"^Handle +{handle_of(sid)}$", text, re.M)
    assert re.search(rf"^Created +{found['created']}$", text, re.M)


@pytest.mark.parametrize("owner", [[], ["--owner", "ada"]])
@pytest.mark.parametrize("digits", [15, 16, 40])
@pytest.mark.parametrize("ellipsis", ["", "…", "..."])
def test_a_session_is_found_by_its_first_digits(digits: int, ellipsis: str, owner: list[str], app: Flask) -> None:
    """Of a sid or of a handle, with an owner to look at or among all; as they are shown, too."""
    sid = sign_in(app)
    sign_in(app)
    for name in (sid, handle_of(sid)):
        [found] = lines(app, "show", name[:digits] + ellipsis, *owner)
        assert found["handle"] == handle_of(sid)


@pytest.mark.parametrize("form", FORMS)
def test_a_sid_of_every_form_is_found_by_its_first_digits(form: str, app: Flask, client: Any) -> None:
    """However many: from four to all but one."""
    write(client, sid := f"{form}0", "{}")
    for number in range(4, len(sid) + 1):
        [found] = lines(app, "show", sid[:number])
        assert found["handle"] == handle_of(sid)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("command", ["show", "revoke"])
@pytest.mark.parametrize("owner", [[], ["--owner", "ada"]])
def test_ambiguous_digits_are_an_error(command: str, owner: list[str], form: str, app: Flask, client: Any) -> None:
    """Nothing is shown, and nothing ended."""
    for last in "01":
        write(client, form + last, '{"user_id":"ada"}')
        client.zadd("OWNER:SESSION:ada", {form + last: 2**40})
    result = run(app, command, form[:6], *owner)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "2 sessions" in result.stderr
    assert len(client.keys("SESSION:*")) == 2


@pytest.mark.parametrize("command", [["show"], ["revoke", "--yes"]])
@pytest.mark.parametrize("word", ["0" * 8 + "-" + "0" * 40, "0" * 48, "0" * 6])
def test_a_session_that_is_not_there_is_an_error(command: list[str], word: str, app: Flask) -> None:
    """One line on stderr, and exit code 1."""
    sign_in(app)
    result = run(app, *command, word)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: no session .*\n", result.stderr)


@pytest.mark.parametrize("command", ["show", "revoke"])
@pytest.mark.parametrize("word", ["*", "abc", "", "ABCDEF", "abcdef*", "../abcd", "----", "abcdé", "a" * 50])
def test_what_cannot_be_a_session_is_a_usage_error(command: str, word: str, app: Flask) -> None:
    """Least of all a pattern."""
    sign_in(app)
    result = run(app, command, "--", word)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(lines(app, "list")) == 1


def test_an_owner_does_not_show_anothers_session(app: Flask) -> None:
    """With --owner, a sid must be one of theirs."""
    sid = sign_in(app, "grace")
    assert run(app, "show", sid, "--owner", "ada").exit_code == 1
    assert run(app, "revoke", sid, "--owner", "ada", "--yes").exit_code == 1
    assert run(app, "show", sid, "--owner", "grace").exit_code == 0


@pytest.mark.parametrize("record", ["junk", "[]", "5", "\x1b[2J"])
def test_a_malformed_record_can_be_looked_at(record: str, app: Flask, client: Any) -> None:
    """It may be evidence."""
    sid = new_sid()
    write(client, sid, record)
    [found] = lines(app, "show", sid)
    assert (found["malformed"], found["record"]) == (True, None)
    text = run(app, "show", sid).stdout
    assert repr(record.encode()) in text
    assert "(malformed)" in text
