"""The command line: ``flask sessions list``, ``show``, ``revoke`` and ``stats``."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
from typing import Any

import fakeredis
import pytest
from click.testing import Result
from flask import Flask, session
from support.apps import SECRET_KEY, route
from support.clock import Clock
from support.project import ROOT

import redis_store
from _redis_store import cli
from _redis_store.search import BATCH, Search
from app import create_app
from redis_store import RedisSessionInterface, RedisStore

COMMANDS = ["list", "show", "revoke", "stats"]


@pytest.fixture
def app(app: Flask, client: Any, clock: Clock) -> Flask:
    """Any app with the two lines; as a Redis user who may SCAN."""
    app.session_interface = RedisSessionInterface(client, clock=clock)
    app.add_url_rule("/login/<name>", "login", lambda name: session.update(user_id=name) or "ok")
    route(app, "/visit", lambda: session.update(cart=[1]))
    return app


def run(app: Flask, *words: str, answer: str | None = None) -> Result:
    return app.test_cli_runner().invoke(cli.sessions, words, input=answer)


def lines(app: Flask, *words: str) -> list[Any]:
    """What a command with --json prints: one document on each line, and nothing besides."""
    result = run(app, *words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def sign_in(app: Flask, name: str = "ada") -> str:
    """A session; returns its sid."""
    browser = app.test_client()
    assert browser.get(f"/login/{name}").status_code == 200
    return sid_of(browser)


def visit(app: Flask) -> str:
    """A session without an owner; returns its sid."""
    browser = app.test_client()
    browser.get("/visit")
    return sid_of(browser)


def sid_of(browser: Any) -> str:
    return str(browser.get_cookie("session").value.partition(".")[0])


def handle_of(sid: str) -> str:
    return hashlib.sha256(sid.encode()).hexdigest()[:16]


def write(client: Any, sid: str, record: str, ttl: int = 1000) -> None:
    client.set(f"SESSION:{sid}", record, ex=ttl)


def new_sid(age: float = 0) -> str:
    """A sid of a session that began so many seconds ago."""
    return redis_store.new_sid(time.time() - age)


def shown(sid: str) -> str:
    """As much of it as is shown: when it began, and six random digits."""
    return f"{sid[:15]}…"


#: A sid of each form, but for its last digit: ours, koa-session2's, a UUID.
FORMS = ["6a000000-abcdef" + "0" * 33, "abcdef" + "0" * 41, "abcdef00-0000-4000-8000-00000000000"]


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


def test_whole_sids_leave_the_table_straight(app: Flask, client: Any) -> None:
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
    for _ in range(5 * BATCH):
        store.set({"cart": 1})
    client.config_resetstat()
    assert len(lines(app, "list", "--limit", "1")) == 1
    assert client.info("commandstats")["cmdstat_get"]["calls"] == BATCH
    assert len(lines(app, "list")) == 5 * BATCH


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


def test_other_keys_are_no_sessions(app: Flask, client: Any) -> None:
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


def test_a_terminal_without_the_letters_gets_escapes(server: Any) -> None:
    """Not a traceback."""
    run = flask(server, "list", PYTHONIOENCODING="cp1252", owner="李")
    assert run.returncode == 0
    assert b"\\u674e" in run.stdout


def flask(server: Any, *words: str, owner: str = "ada", stderr: int = subprocess.PIPE, **more: str) -> Any:
    """``flask sessions …`` of the app itself, in a process of its own, on a Redis with one session."""
    RedisStore(server.connect()).set({"user_id": owner})
    command = [sys.executable, "-m", "flask", "sessions", *words]
    environment = {**os.environ, "REDIS_URL": server.url, "SECRET_KEY": SECRET_KEY, **more}
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, timeout=60)


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


# show -------------------------------------------------------------------------------------------------------------


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
def test_the_first_digits_do(digits: int, ellipsis: str, owner: list[str], app: Flask) -> None:
    """Of a sid or of a handle, with an owner to look at or among all; as they are shown, too."""
    sid = sign_in(app)
    sign_in(app)
    for name in (sid, handle_of(sid)):
        [found] = lines(app, "show", name[:digits] + ellipsis, *owner)
        assert found["handle"] == handle_of(sid)


@pytest.mark.parametrize("form", FORMS)
def test_the_first_digits_of_every_form_do(form: str, app: Flask, client: Any) -> None:
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


# revoke -----------------------------------------------------------------------------------------------------------


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
def test_revoke_wants_to_know_what(words: list[str], app: Flask) -> None:
    """All sessions of nobody in particular is not on offer."""
    sign_in(app)
    result = run(app, "revoke", *words, "--yes")
    assert result.exit_code == 2
    assert "expected SESSION, or --owner NAME" in result.stderr


# stats ------------------------------------------------------------------------------------------------------------


def test_stats_counts(app: Flask, client: Any) -> None:
    """Owners, sizes, lifetimes, and what should not be there."""
    for owner, ttl in (("ada", 100), ("ada", 200), ("grace", 300), (None, 400)):
        write(client, new_sid(), json.dumps({"user_id": owner}), ttl)
    write(client, new_sid(), "junk", 500)
    client.set(f"SESSION:{new_sid()}", "{}")
    [found] = lines(app, "stats")
    ttl = found.pop("ttl")
    assert [round(ttl[name], -1) for name in ("min", "median", "max")] == [100, 300, 500]
    assert found == {
        "sessions": 5,
        "signed_in": 3,
        "anonymous": 2,
        "owners": 2,
        "malformed": 1,
        "without_ttl": 1,
        "bytes": {"min": 2, "median": 17, "max": 20, "total": 2 + 4 + 17 + 18 + 18 + 20},
    }
    text = run(app, "stats").stdout
    assert re.search(r"^without TTL +1  \(each should have one\)$", text, re.M)
    assert re.search(r"^  signed in +3$", text, re.M)


def test_stats_of_nothing(server: Any, app: Flask) -> None:
    """Zeros, and no smallest of none."""
    app.session_interface = RedisSessionInterface(server.connect())
    [found] = lines(app, "stats")
    assert found["sessions"] == 0
    assert found["bytes"] == {"min": None, "median": None, "max": None, "total": 0}
    assert run(app, "stats").exit_code == 0
    assert run(app, "list").stdout == "No sessions.\n"
    assert run(app, "list", "--owner", "ada").stdout == "No sessions of ada.\n"
    assert lines(app, "list") == []


# What goes wrong --------------------------------------------------------------------------------------------------


def words_of(command: str) -> list[str]:
    return [command, *([] if command in ("list", "stats") else ["abcdef"])]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_embedded_app_has_nothing_to_show(command: str) -> None:
    """Its sessions are in the server's process, not in that of the command, which says what to do."""
    result = run(create_app({"TESTING": True}), *words_of(command))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Set REDIS_URL" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_other_sessions_are_refused(command: str) -> None:
    """Flask's own, for one: there is nothing on the server."""
    app = Flask("app")
    result = run(app, *words_of(command))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "session_interface is a SecureCookieSessionInterface" in result.stderr


@pytest.mark.parametrize("where", ["refused", "frozen", "fakeredis"])
@pytest.mark.parametrize("words", [*map(words_of, COMMANDS), ["list", "--owner", "ada"], ["revoke", "--owner", "ada"]])
def test_redis_away_is_one_line(words: list[str], where: str, app: Flask, make_server: Any) -> None:
    """On stderr, with exit code 1 and no traceback; it says how to wait longer, if that could help."""
    if where != "fakeredis":
        server = make_server()
        app.session_interface = RedisSessionInterface(server.connect())
        (server.freeze if where == "frozen" else server.stop)()
    else:
        fake = fakeredis.FakeServer()
        fake.connected = False
        app.session_interface = RedisSessionInterface(fakeredis.FakeRedis(server=fake))
    result = run(app, *words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: Redis cannot be reached, or refuses this: .*\n", result.stderr)
    assert ("socket_timeout" in result.stderr) == (where == "frozen")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_app_without_a_key_is_refused(command: str, app: Flask) -> None:
    """It has no sessions, whatever there is in Redis."""
    app.secret_key = None
    result = run(app, *words_of(command))
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: this app has no SECRET_KEY, .*\n", result.stderr)


def test_redis_that_goes_away_in_between_is_one_line(app: Flask, make_server: Any) -> None:
    """A command that Redis refuses, too: here it may be scanned, but not read."""
    server = make_server()
    app.session_interface = RedisSessionInterface(server.connect())
    sign_in(app)
    server.connect().execute_command("ACL SETUSER default -get")
    result = run(app, "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: Redis cannot be reached, or refuses this: .*\n", result.stderr)


def test_malformed_records_are_counted_not_logged(app: Flask, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A line about each of thousands would hide the figures; afterwards they are logged again."""
    write(client, sid := new_sid(), "junk")
    [found] = lines(app, "stats")
    assert found["malformed"] == 1
    assert caplog.messages == []
    RedisStore(client).get(sid)
    assert len(caplog.messages) == 1


def test_a_client_that_decodes_will_do(app: Flask, server: Any) -> None:
    """decode_responses makes the keys strings."""
    app.session_interface = RedisSessionInterface(server.connect(decode_responses=True))
    sid = sign_in(app)
    assert [row["handle"] for row in lines(app, "list")] == [handle_of(sid)]
    assert [row["handle"] for row in lines(app, "list", "--owner", "ada")] == [handle_of(sid)]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    """--help works without a Redis, and is one line in the help of all."""
    app = create_app({"TESTING": True})
    text = run(app, command, "--help").stdout
    assert f"{command} [OPTIONS]" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert re.search(rf"^  {command} +\w[^.]+\.$", run(app, "--help").stdout, re.M)


def test_flask_finds_the_commands(server: Any) -> None:
    """In the folder of the app, with its settings in the environment as for the server."""
    run = flask(server, "list", "--json")
    assert (run.returncode, json.loads(run.stdout)["owners"]) == (0, ["ada"])
