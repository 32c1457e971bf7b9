"""``flask sessions stats``"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask
from support.clock import Clock
from support.commands import lines, new_sid, prepare, run, write

from redis_store import RedisSessionInterface


@pytest.fixture
def app(app: Flask, client: Any, clock: Clock) -> Flask:
    """Any app with the two lines; as a Redis user who may SCAN."""
    return prepare(app, client, clock)


def test_stats_tells_owners_sizes_and_lifetimes(app: Flask, client: Any) -> None:
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


def test_stats_of_an_empty_redis_are_zeros(server: Any, app: Flask) -> None:
    """Zeros, and no smallest of none."""
    app.session_interface = RedisSessionInterface(server.connect())
    [found] = lines(app, "stats")
    assert found["sessions"] == 0
    assert found["bytes"] == {"min": None, "median": None, "max": None, "total": 0}
    assert run(app, "stats").exit_code == 0
    assert run(app, "list").stdout == "No sessions.\n"
    assert run(app, "list", "--owner", "ada").stdout == "No sessions of ada.\n"
    assert lines(app, "list") == []
