"""``flask sessions list``, and what the table looks like on a terminal."""

from __future__ import annotations

import io
import re
import time
from typing import Any

import pytest
from flask import Flask, session
from support.apps import route
from support.clock import Clock
from support.commands import FORMS, flask, handle_of, lines, new_sid, prepare, run, sid_of, sign_in, visit, write

from _redis_store.search import IN_MEMORY, Search
from redis_store import RedisSessionInterface, RedisStore


@pytest.fixture
def app(app: Flask, client: Any, clock: Clock) -> Flask:
    """Any app with the two lines; as a Redis user who may SCAN."""
    return prepare(app, client, clock)


def shown(sid: str) -> str:
    """As much of it as is shown: when it began, and six random digits."""
    return f"{sid[:15]}…"


# list -------------------------------------------------------------------------------------------------------------


def test_list_shows_every_session(app: Flask) -> None:
    """Whose it is, since when and for how long; one line each, below a head."""
    sids = {sign_in(app, "ada"): "ada", sign_in(app, "grace"): "grace", visit(app): "-"}
    head, *rest = run(app, "list").stdout.splitlines()
    assert head.split("  ")[0].strip() == "SID"
    cells = [re.split(r" {2,}", line) for line in rest]
    assert {(sid, owner) for sid, *_, owner in cells} == {(shown(sid), owner) for sid, owner in sids.items()}
    for _, created, refreshed, ttl, _ in cells:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", refreshed)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", created)
        assert 2678390 <= int(ttl.removesuffix(" s")) <= 2678400


@pytest.mark.parametrize("form", FORMS[1:])
def test_koas_sids_do_not_say_when_the_session_began(form: str, app: Flask, client: Any) -> None:
    """Then it is not shown; as many digits are as of ours."""
    write(client, f"{form}0", '{"user_id":"ada"}')
    [row] = lines(app, "list")
    assert (row["sid"], row["created"], row["owners"]) == ("abcdef…", None, ["ada"])
    assert re.split(r" {2,}", run(app, "list").stdout.splitlines()[1])[:2] == ["abcdef…", "-"]


def test_whole_sids_do_not_break_the_table(app: Flask, client: Any) -> None:
    """Each column begins below its head, whatever the form of the sid."""
    for form in FORMS:
        write(client, f"{form}0", '{"user_id":"ada"}')
    head, *rest = run(app, "list", "--full-sids").stdout.splitlines()
    assert {line[: head.index("CREATED")].strip() for line in rest} == {f"{form}0" for form in FORMS}
    assert [line[head.index("OWNER") :] for line in rest] == ["ada"] * 3


def test_list_of_an_owner_begins_with_the_newest_sign_in(app: Flask, clock: Clock) -> None:
    """And shows nobody else's."""
    sids = []
    for _ in range(3):
        sids.append(sign_in(app))
        sign_in(app, "grace")
        clock.offset += 10
    assert [row["handle"] for row in lines(app, "list", "--owner", "ada")] == [handle_of(sid) for sid in sids[::-1]]


def test_list_of_an_owner_knows_when_each_was_used(app: Flask) -> None:
    """Also where an absolute limit makes the TTL tell less: the owner's index knows."""
    app.config["SESSION_ABSOLUTE_LIFETIME"] = 3600
    sign_in(app)
    [row] = lines(app, "list", "--owner", "ada")
    assert row["refreshed"] is not None
    assert lines(app, "list")[0]["refreshed"] is None


def test_list_of_an_owner_needs_no_scan(app: Flask, server: Any) -> None:
    """It asks the owner's index, however many sessions there are."""
    app.session_interface = RedisSessionInterface(server.connect())
    sign_in(app)
    server.connect().config_resetstat()
    assert len(lines(app, "list", "--owner", "ada")) == 1
    assert "cmdstat_scan" not in server.connect().info("commandstats")
    lines(app, "list")
    assert "cmdstat_scan" in server.connect().info("commandstats")


@pytest.mark.parametrize("owner", [[], ["--owner", "ada"]])
def test_list_stops_at_the_limit(owner: list[str], app: Flask) -> None:
    """With an owner and without."""
    for _ in range(3):
        sign_in(app)
    assert len(lines(app, "list", "--limit", "2", *owner)) == 2
    assert len(lines(app, "list", "--limit", "9", *owner)) == 3


def test_list_reads_no_more_than_it_shows(app: Flask, server: Any) -> None:
    """Of many sessions it reads a batch at a time, so that the memory that it needs does not grow with them."""
    client = server.connect()
    app.session_interface = RedisSessionInterface(client)
    store = RedisStore(client)
    for _ in range(5 * IN_MEMORY):
        store.set({"cart": 1})
    client.config_resetstat()
    assert len(lines(app, "list", "--limit", "1")) == 1
    assert client.info("commandstats")["cmdstat_get"]["calls"] == IN_MEMORY
    assert len(lines(app, "list")) == 5 * IN_MEMORY


def test_numbers_are_owners_too(app: Flask) -> None:
    """An owner is compared as text, whatever key names it: Flask-Login's is _user_id."""
    route(app, "/number", lambda: session.update(_user_id=7))
    app.test_client().get("/number")
    [row] = lines(app, "list", "--owner", "7")
    assert row["owners"] == ["7"]


def test_json_has_always_the_same_keys(app: Flask, client: Any) -> None:
    """Whatever the session is; times are ISO 8601 in UTC, or null."""
    write(client, new_sid(), "junk")
    client.rpush(f"SESSION:{new_sid()}", "a list")
    before = time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
    ada = sign_in(app)
    visit(app)
    rows = lines(app, "list")
    names = {"sid", "handle", "owners", "created", "refreshed", "ttl", "bytes", "malformed"}
    assert [set(row) for row in rows] == [names] * 4
    assert sorted(row["malformed"] for row in rows) == [False, False, True, True]
    [mine] = [row for row in rows if row["owners"]]
    assert (mine["sid"], mine["handle"], mine["owners"]) == (shown(ada), handle_of(ada), ["ada"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", mine["created"])
    assert mine["created"] >= before
    assert mine["bytes"] == client.strlen(f"SESSION:{ada}")


def test_sids_are_short_unless_asked_for(app: Flask) -> None:
    """A whole one opens its session."""
    sid = sign_in(app)
    for words in (["list"], ["show", sid], ["list", "--json"], ["show", sid, "--json"], ["stats"]):
        result = run(app, *words)
        assert result.exit_code == 0
        assert sid[:16] not in result.output
        if words[0] != "stats":
            assert sid in run(app, *words, "--full-sids").stdout


def test_only_sessions_are_listed_and_no_other_keys(app: Flask, client: Any) -> None:
    """Not the owners' lists, not another app's, not what only begins like ours."""
    sid = sign_in(app)
    client.set(f"SESSION:OTHER:{new_sid()}", "{}")
    client.set(f"XSESSION:{new_sid()}", "{}")
    assert [row["handle"] for row in lines(app, "list")] == [handle_of(sid)]


def test_a_prefix_is_no_pattern(app: Flask, client: Any) -> None:
    """Its brackets and stars stand for themselves."""
    app.session_interface = RedisSessionInterface(RedisStore(client, prefix="S[a]*?\\:"))
    client.set(f"Saxx:{new_sid()}", "{}")
    sid = sign_in(app)
    assert [row["handle"] for row in lines(app, "list")] == [handle_of(sid)]


def test_an_expired_session_is_not_listed(app: Flask, client: Any) -> None:
    """Nor is one that is past the absolute limit, which nobody can use any more."""
    write(client, new_sid(age=100), '{"user_id":"ada"}')
    assert len(lines(app, "list")) == 1
    app.config["SESSION_ABSOLUTE_LIFETIME"] = 60
    assert lines(app, "list") == []


@pytest.mark.parametrize(("digits", "date"), [("00000000", "1970-01-01"), ("ffffffff", "2106-02-07")])
def test_any_time_in_a_sid_can_be_shown(digits: str, date: str, app: Flask, client: Any) -> None:
    """Whoever can write to Redis can write that, and a TTL that no calendar has."""
    write(client, digits + new_sid()[8:], '{"user_id":"ada"}', 2**40)
    [row] = lines(app, "list")
    assert row["created"].startswith(date)
    assert date in run(app, "list").stdout


# Terminals --------------------------------------------------------------------------------------------------------

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\x7f\u202eada"


@pytest.mark.parametrize("option", [[], ["--json"]])
@pytest.mark.parametrize("command", ["list", "list --owner", "show", "revoke", "revoke --owner", "stats"])
def test_no_control_character_reaches_the_terminal(command: str, option: list[str], app: Flask) -> None:
    """Names and contents come from visitors; none of them moves the cursor, colours the screen or turns the text."""
    route(app, "/hostile", lambda: session.update({"user_id": HOSTILE, "cart": HOSTILE + "\ud800", HOSTILE: 1}))
    browser = app.test_client()
    browser.get("/hostile")
    words = [command.split()[0], *(["--owner", HOSTILE] if "--owner" in command else [])]
    words += [sid_of(browser)] if command in ("show", "revoke") else []
    result = run(app, *words, *(option if "revoke" not in command else []), answer="y\n")
    assert result.exit_code == 0
    assert result.stdout
    assert all(letter.isprintable() for letter in result.output.replace("\n", ""))
    assert result.output.count("\n") == len(result.output.splitlines())


@pytest.mark.parametrize("name", ["a" * 500, "\x1b" * 500, "a" * 20 + "\u202e" * 10])
def test_long_names_do_not_break_the_table(name: str, app: Flask) -> None:
    """They are cut; a script gets them whole."""
    browser = app.test_client()
    route(app, "/long", lambda: session.update(user_id=name))
    browser.get("/long")
    sid = sid_of(browser)
    assert all(len(line) <= 100 for line in run(app, "list").stdout.splitlines())
    assert [row["owners"] for row in lines(app, "list")] == [[name]]
    assert all(len(line) <= 100 for line in run(app, "revoke", sid, answer="n\n").output.splitlines())


@pytest.mark.thorough
def test_a_terminal_that_lacks_a_letter_gets_an_escape(server: Any) -> None:
    """Not a traceback."""
    run = flask(server, "list", PYTHONIOENCODING="cp1252", owner="李")
    assert run.returncode == 0
    assert b"\\u674e" in run.stdout


class Terminal(io.StringIO):
    """Where a person looks."""

    def isatty(self) -> bool:
        return True


def test_the_progress_bar_keeps_out_of_the_output(
    app: Flask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal it is on stderr, and nothing of it on stdout."""
    sid = sign_in(app)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with app.app_context():
        assert list(Search.of(app).scan()) == [sid]
    assert "Scanning" in terminal.getvalue()
    assert capsys.readouterr().out == ""
