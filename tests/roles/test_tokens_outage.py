"""Tokens while Redis is away: 503, and never a refusal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import fakeredis
import pytest
from support.apps import interface_of
from support.demo import hurry
from support.faults.network import Proxy
from support.roles.tokens import (
    CONFIG,
    FAMILY,
    assert_unavailable,
    call,
    log_in,
    post,
    protected,
    refresh,
    sign,
)
from support.servers import PATIENCE
from support.stopwatch import takes

import auth
from app import create_app
from roles.tokens import make_name


class Fault(NamedTuple):
    kind: str
    client: Any
    begin: Callable[[], object]
    end: Callable[[], object]


@pytest.fixture(
    params=["fakeredis", "stopped", pytest.param("frozen", marks=pytest.mark.thorough), "full", "few replicas"]
)
def fault(request: pytest.FixtureRequest) -> Fault:
    """A Redis that will refuse, not answer, or take no more."""
    kind = request.param
    if kind == "fakeredis":
        fake = fakeredis.FakeServer()
        set_connected = partial(setattr, fake, "connected")
        return Fault(
            kind, fakeredis.FakeRedis(server=fake), partial(set_connected, False), partial(set_connected, True)
        )
    server = request.getfixturevalue("make_server")()
    client = server.connect()
    ways = {"stopped": (server.stop, server.start), "frozen": (server.freeze, server.thaw)}
    for name, option in (("full", "maxmemory"), ("few replicas", "min-replicas-to-write")):
        ways[name] = partial(client.config_set, option, 1), partial(client.config_set, option, 0)
    return Fault(kind, client, *ways[kind])


def test_an_outage_is_a_503_and_never_a_refusal(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    """Within a second; what needs no Redis works. No token is in the log, and none is used up."""
    app = create_app(CONFIG, fault.client)
    (access, token), (_, other) = log_in(app), log_in(app)
    fault.begin()
    hurry(app)
    asked = {
        "login": partial(post, app, "login", username="ada", password="lovelace"),
        "wrong": partial(post, app, "login", username="ada", password="wrong"),
        "refresh": partial(post, app, "refresh", refreshToken=token),
        "unknown": partial(post, app, "refresh", refreshToken=sign(f"{FAMILY}.0")),
        "everywhere": partial(call, app, "POST", "logout-everywhere", f"Bearer {access}"),
        "logout": partial(post, app, "logout", refreshToken=other),
    }
    reads = fault.kind in ("full", "few replicas")
    # Redis says that there is no such family; and a full one still deletes.
    other_answers = {"unknown": 403 if reads else 503, "logout": 204 if fault.kind == "full" else 503}
    for name, ask in asked.items():
        with takes(1.3):
            answer = ask()
        if (expected := other_answers.get(name, 503)) == 503:
            assert_unavailable(answer)
        assert answer.status_code == expected, name
    assert (protected(app, access), protected(app, token)) == (200, 403)
    assert refresh(app, sign(f"{FAMILY}.0", "k" * 32)) is None
    for text in (token, token[:48], access, make_name(token[:48])):
        assert text not in caplog.text
    fault.end()
    app.config["SESSION_MAX_WAIT"] = PATIENCE
    interface_of(app).store.sender.breaker.timeouts = 0
    if fault.kind != "stopped":  # which forgot everything
        assert refresh(app, token)


@pytest.mark.thorough
@pytest.mark.parametrize("path", ["login", "refresh", "logout", "logout-everywhere"])
def test_a_request_waits_no_longer_than_it_may(proxy: Proxy, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """In all its commands: after a first answer that takes 0.2 s of 0.3, nothing is left for the second one."""
    app = create_app(CONFIG, proxy.connect())
    app.extensions["auth_check"] = auth.fits  # not throttled
    access, token = log_in(app)
    app.config["SESSION_MAX_WAIT"], proxy.delay = 0.3, 0.2
    headers, body = {"Authorization": f"Bearer {access}"}, {"username": "ada", "password": "lovelace"}
    answer = app.test_client().post(f"/api/{path}", headers=headers, json={**body, "refreshToken": token})
    if path == "logout":  # the family ended with the first answer; the second command would only have tidied the list
        assert answer.status_code == 204
        assert caplog.messages == ["ZREM was not sent: Redis keeps this request waiting (it is slow)"]
    else:
        assert_unavailable(answer)
