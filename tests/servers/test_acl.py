"""The Redis user that the documentation tells to make: what it may do is enough, and the least."""

from __future__ import annotations

import logging
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import pytest
from flask import Flask, session
from redis.exceptions import NoPermissionError
from support.apps import interface_of, route
from support.demo import key_of
from support.project import ACL, PERMISSIONS, STORE_PERMISSIONS
from support.roles.monitor import text_of
from support.roles.notifications import wait_until
from support.servers import RedisServer
from werkzeug.security import generate_password_hash

from app import create_app
from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable
from roles.notifications_hub import Client
from roles.notifications_stream import NOTHING

#: What a page does to its session.
CHANGES: dict[str, Callable[[], Any]] = {
    "write": lambda: session.update(n=session.get("n", 0) + 1),
    "login": lambda: session.update(user_id="ada"),
    "regenerate": lambda: session.regenerate(),  # type: ignore[attr-defined]
    "touch": lambda: setattr(session, "modified", True),
    "logout": lambda: session.clear(),
}


def use_sessions(client: Any) -> None:
    """Whatever becomes of a session, in an app with the two lines."""
    app = Flask("app")
    app.secret_key = "k" * 32
    app.session_interface = RedisSessionInterface(client)
    for name, change in CHANGES.items():
        route(app, f"/{name}", change)
    phone, laptop = app.test_client(), app.test_client()
    for browser in (phone, laptop):
        for name in ("write", "login", "regenerate", "write", "touch"):
            assert browser.get(f"/{name}").status_code == 200, name
    with app.app_context():
        assert len(interface_of(app).sessions_of("ada")) == 2
        assert interface_of(app).end(interface_of(app).sessions_of("ada")[0].sid)
        assert interface_of(app).revoke("ada") == 1
    assert phone.get("/login").status_code == 200
    assert phone.get("/logout").status_code == 200


def use(client: Any) -> None:
    """Each verb of the store and each way of the app, once."""
    store = RedisStore(client)
    sid = store.set({"n": 1})
    assert store.get(sid) == {"n": 1}
    assert store.touch(sid)
    assert store.update(sid, lambda session: {"n": 2}) == {"n": 2}
    assert store.take(sid) == {"n": 2}
    assert not store.destroy(sid)
    states = store.namespace("OAUTH")
    assert states.add("state", {"n": 1}, max_age=600)
    assert states.take("state") == {"n": 1}
    config = {"SECRET_KEY": "k" * 32, "ACCESS_TOKEN_KEY": "a" * 32, "METRICS_TOKEN": "m" * 32, "MONITOR_USERS": ["ada"]}
    app = create_app({**config, "ACCOUNTS": {"ada": generate_password_hash("lovelace", "pbkdf2:sha256:1")}}, client)
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    browser = app.test_client()
    same_site = {"Sec-Fetch-Site": "same-origin"}
    login = browser.post("/login", data={"username": "ada", "password": "lovelace"}, headers=same_site)
    assert login.status_code == 303
    for path in ("/", "/regenerate", "/health/ready", "/notifications"):
        assert browser.get(path).status_code == 200, path
    assert "cannot be had" not in text_of(browser)  # of the page /monitor
    use_notifications(app, key_of(browser))
    assert "ETag" in browser.get("/posts/trending").headers  # it is kept
    mail = {"id": "0" * 32, "to": "ada@example.com", "subject": "Hello"}
    for delay in ("", "60"):
        assert browser.post("/mail", data=mail | {"delay": delay}, headers=same_site).status_code == 303
    with app.app_context():
        assert len(interface_of(app).sessions_of("ada")) == 1
        assert interface_of(app).revoke("ada") == 1
    assert browser.post("/logout", headers=same_site).status_code == 303
    metrics = browser.get("/metrics", headers={"Authorization": f"Bearer {'m' * 32}"}).text
    assert "redis_memory_used_bytes" in metrics
    program = app.test_client()
    for path, status in (("refresh", 200), ("logout", 204), ("logout-everywhere", 204)):
        login = program.post("/api/login", json={"username": "ada", "password": "lovelace"})
        assert login.status_code == 200
        assert login.json is not None
        bearer = {"Authorization": f"Bearer {login.json['accessToken']}"}
        assert program.post(f"/api/{path}", json=login.json, headers=bearer).status_code == status


def use_notifications(app: Flask, session_key: str) -> None:
    """Two browsers wait, and one of them goes away; the log has nothing to say about that."""
    hub, log, logged = app.extensions["notifications"], logging.Handler(), list[Any]()
    log.emit = logged.append  # type: ignore[assignment, method-assign]
    app.logger.addHandler(log)
    hub.look_after = hub.tick = 0.02
    hub.heartbeat = 1
    keys = [f"NOTIFICATIONS:SESSION:{owner}".encode() for owner in ("ada", "grace")]
    ada, grace = (hub.serve(Client(key, session_key, None), NOTHING) for key in keys)
    try:
        with app.app_context():
            app.extensions["notify"]("ada", "Hello")
        assert [next(ada), next(ada)][1].endswith(b'"Hello"}\n\n')
        next(grace)
        wait_until(lambda: len(hub.channels) == 2 or logged)
        grace.close()
        wait_until(lambda: len(hub.channels) == 1 or logged)
    finally:
        for waiting in (ada, grace):
            waiting.close()
    wait_until(lambda: hub.thread is None)
    assert not logged


@pytest.mark.thorough
def test_it_is_enough(server: RedisServer) -> None:
    """For all that the code does; and Redis takes the lines as they stand."""
    use_sessions(server.log_in(*STORE_PERMISSIONS))
    use(server.log_in(*PERMISSIONS))
    for line in ACL:
        assert server.connect().execute_command(*line.split())


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("rules", "permission", "work"),
    [
        pytest.param(rules, permission, work, marks=pytest.mark.thorough if number % 5 else ())
        for rules, work in ((STORE_PERMISSIONS, use_sessions), (PERMISSIONS, use))
        for number, permission in enumerate(rules)
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_nothing_of_it_can_be_left_out(
    server: RedisServer, rules: list[str], permission: str, work: Callable[[Any], None]
) -> None:
    """Without any one of its permissions, Redis refuses what is used, and something fails."""
    client, admin = server.log_in(*(other for other in rules if other != permission)), server.connect()
    admin.acl_log_reset()
    with pytest.raises((StoreUnavailable, AssertionError)):
        work(client)
    refused = {str(entry["object"]) for entry in admin.acl_log()}
    assert any(fnmatch(name, permission[1:]) for name in refused)


def test_other_keys_and_commands_are_refused(server: RedisServer) -> None:
    """Those of other apps, and those that look around."""
    client = server.log_in(*PERMISSIONS)
    for command in ("GET OTHER:1", "SET SESSION 1", "KEYS *", "SCAN 0", "FLUSHALL", "CONFIG GET *", "ACL LIST"):
        with pytest.raises(NoPermissionError):
            client.execute_command(*command.split())


@pytest.mark.parametrize(
    ("permission", "options", "verb"),
    [("+getdel", {}, RedisStore.take), ("+ping", {"health_check_interval": 1e-9}, RedisStore.get)],
    ids=["take", "health check"],
)
def test_what_the_page_names_apart_needs_one_permission_more(
    server: RedisServer, permission: str, options: dict[str, Any], verb: Callable[[RedisStore, str], Any]
) -> None:
    """The sessions alone do without it."""
    with pytest.raises(StoreUnavailable):
        verb(RedisStore(server.log_in(*STORE_PERMISSIONS, **options)), "sid")
    assert verb(RedisStore(server.log_in(*STORE_PERMISSIONS, permission, **options)), "sid") is None
