"""A Redis Cluster: no command of the store has keys of two slots."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask, session
from support.apps import SECRET_KEY, interface_of, route
from support.project import PERMISSIONS
from support.servers import PATIENCE
from support.tiers import rounds, spread
from support.topology import HOST, ClusterGroup, at_once, free_ports, live, running, wait_until

from _redis_store import cli
from _redis_store.connection import SOCKET_TIMEOUT
from app import create_app
from redis_store import RedisSessionInterface, RedisStore, StoreUnavailable, connect


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of one server, which refuses what several would: a command, script or transaction across slots."""
    with (
        running(ClusterGroup(tmp_path_factory.mktemp("cluster"), masters=1)) as group,
        redis.RedisCluster(host=HOST, port=group.ports[0], protocol=2) as client,
    ):
        yield client


def test_a_session_moves_between_slots(cluster: Any) -> None:
    """Write, login, regenerate, logout: each leaves what it leaves elsewhere."""
    live(cluster)
    assert cluster.keys("SESSION:*") == []


def test_the_demo_app_is_ready(cluster: Any) -> None:
    """And says so."""
    app = create_app({"TESTING": True, "SECRET_KEY": SECRET_KEY}, cluster)
    assert app.test_client().get("/health/ready").json == {"redis": "ok"}


@pytest.mark.parametrize("signed_in", [False, True])
def test_a_move_leaves_nothing_of_what_was_destroyed_meanwhile(cluster: Any, signed_in: bool) -> None:
    """The new record is taken back."""
    cluster.flushall()
    app = make_app(cluster)

    def is_late() -> None:
        session.regenerate()  # type: ignore[attr-defined]
        for key in cluster.keys("SESSION:*"):
            cluster.delete(key)

    route(app, "/late", is_late)
    browser = app.test_client()
    browser.get("/login" if signed_in else "/write")
    assert browser.get("/late").status_code == 200
    assert cluster.keys("SESSION:*") == []


# A server of a Cluster behind one address, as managed Redis has it. The client does not know; the first answer that
# the keys of one script are in two slots tells.


def make_app(client: Any) -> Flask:
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=PATIENCE)
    app.session_interface = RedisSessionInterface(client)
    route(app, "/write", lambda: session.update(n=session.get("n", 0) + 1))
    route(app, "/login", lambda: session.update(user_id="ada"))
    route(app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    route(app, "/logout", lambda: session.clear())
    route(app, "/user", lambda: str(session.get("user_id")))
    return app


@pytest.fixture(params=[connect, redis.Redis.from_url], ids=["our client", "redis-py's"])
def one_address(request: pytest.FixtureRequest, cluster: Any) -> Iterator[Any]:
    """A client with a plain ``redis://`` URL."""
    cluster.flushall()
    (node,) = cluster.get_nodes()
    with request.param(f"redis://{HOST}:{node.port}") as client:
        yield client


def test_a_session_lives_behind_one_address(one_address: Any) -> None:
    """From its beginning to its end."""
    live(one_address)
    assert one_address.keys("SESSION:*") == []


@pytest.mark.parametrize("path", ["/login", "/regenerate"])
def test_the_first_that_crosses_slots_switches_to_one_by_one(one_address: Any, path: str) -> None:
    """That request works, and those after it begin so; signed in before, or anonymous."""
    app = make_app(one_address)
    sender, browser = interface_of(app).store.sender, app.test_client()
    browser.get("/write")
    assert not sender.clustered
    assert browser.get(path).status_code == 200
    assert sender.clustered
    assert browser.get("/write").status_code == 200
    assert len(one_address.keys("SESSION:*")) == 1


@pytest.mark.parametrize("before", [[], ["/write"], ["/write", "/login"], ["/write", "/login", "/regenerate"]])
@pytest.mark.parametrize("last", ["/login", "/regenerate", "/logout", "/write", "revoke", "end", "late logout"])
def test_every_request_works_behind_one_address(one_address: Any, before: list[str], last: str) -> None:
    """Whichever is the first to cross slots: nothing is left of what ended, and the list has what lives."""
    app = make_app(one_address)
    browser, late, cookie = app.test_client(), app.test_client(), None
    for path in before:
        assert browser.get(path).status_code == 200
        cookie = browser.get_cookie("session")
        assert cookie
        late.set_cookie("session", cookie.value)
    with app.app_context():
        if last == "revoke":
            assert interface_of(app).revoke("ada") == ("/login" in before)
        elif last == "end":
            sid = cookie.value.partition(".")[0] if cookie else "0" * 48
            assert interface_of(app).end(sid) == bool(before)
        elif last == "late logout":  # by a sid that was just replaced: the trail leads to the session
            assert browser.get("/regenerate").status_code == late.get("/logout").status_code == 200
        else:
            assert browser.get(last).status_code == 200
        there = {key.decode().removeprefix("SESSION:") for key in one_address.keys("SESSION:*")}
        listed = {info.sid for info in interface_of(app).sessions_of("ada")}
        names = {sid.decode() for sid in one_address.zrange("OWNER:SESSION:ada", 0, -1)}
    assert names == listed or last == "late logout"  # which knows the sid, and not the owner
    signs_in = last == "/login" or ("/login" in before and last in ("/regenerate", "/write"))
    assert listed == (there if signs_in else set())
    anonymous = last == "/write" or (before == ["/write"] and last in ("/regenerate", "revoke"))
    assert len(there) == (signs_in or anonymous)


@pytest.mark.parametrize("owner", ["ada", "7"])
def test_a_session_of_two_owners_ends_with_either_behind_one_address(one_address: Any, owner: str) -> None:
    """By whichever of their indexes, after both were told of a new sid; and too many of either are trimmed."""
    app = make_app(one_address)
    app.config["SESSION_MAX_PER_OWNER"] = 2
    route(app, "/both", lambda: session.update(user_id="ada", _user_id=7))
    browsers = [app.test_client() for _ in range(3)]
    for browser in browsers:
        assert [browser.get(path).status_code for path in ("/write", "/both", "/regenerate")] == [200, 200, 200]
    assert [browser.get("/user").text for browser in browsers].count("ada") == 2
    with app.app_context():
        assert interface_of(app).revoke(owner) == 2
    assert [browser.get("/user").text for browser in browsers] == ["None", "None", "None"]


@pytest.mark.parametrize("words", ["list", "list --owner ada", "stats", "revoke --owner ada --yes"])
def test_the_command_line_works_behind_one_address(one_address: Any, words: str) -> None:
    """It scans, as there is one server to ask."""
    app = make_app(one_address)
    assert app.test_client().get("/login").status_code == 200
    result = app.test_cli_runner().invoke(cli.sessions, words.split())
    assert result.exit_code == 0, result.output
    assert ("ada" in result.output) == words.startswith("list")


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterGroup]:
    """Three servers, each with a third of the slots."""
    with running(ClusterGroup(tmp_path_factory.mktemp("cluster"))) as group:
        yield group


@pytest.fixture
def store(group: ClusterGroup) -> Iterator[RedisStore]:
    """A store of its own for each test, when all is well again."""
    for server in group.servers:
        server.thaw()
    wait_until(lambda: all(group.is_ready(server) for server in group.servers))
    store = RedisStore(connect(group.url, timeout=PATIENCE, socket_timeout=PATIENCE))
    wait_until(lambda: store.client.ping())
    yield store
    store.client.close()


@pytest.mark.thorough
def test_a_session_lives_on_three_servers(store: RedisStore) -> None:
    """Written, read, moved and ended, wherever its sids belong."""
    assert isinstance(store.client, redis.RedisCluster)
    for _ in range(10):
        live(store.client)


@pytest.mark.thorough
def test_every_verb_works_between_two_servers(group: ClusterGroup, store: RedisStore) -> None:
    """Moves too, there and back."""
    here, there, _ = (group.get_key_of(server) for server in group.servers)
    store.set({"n": 1}, here)
    assert store.touch(here)
    assert not store.add(here, {})
    assert store.update(here, lambda session: {"n": 2}) == {"n": 2}
    for old, new, seen, record in ((here, there, b'{"n":2}', b'{"n":3}'), (there, here, b'{"n":3}', b'{"n":4}')):
        assert store.sender.run_all(store.moving(old, new, seen, record, 60, trail=True))[-1]
        assert store.get(old) is None
        assert store.sender.run("GET", store.trail_key(old)) == new.encode()
    assert store.take(here) == {"n": 4}
    assert not store.destroy(there)


@pytest.mark.thorough
def test_a_slot_that_moves_is_followed(group: ClusterGroup, store: RedisStore) -> None:
    """While it is on its way (ASK), and when it has arrived (MOVED)."""
    source, target, _ = group.servers
    sid = group.get_key_of(source)
    key = store.key(sid)
    slot = group.ask(source, "CLUSTER KEYSLOT", key)
    from_, to = (group.ask(server, "CLUSTER MYID").decode() for server in (source, target))
    store.set({"n": 1}, sid)
    group.ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", from_)
    group.ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", to)
    group.ask(source, "MIGRATE", HOST, target.port, key, 0, 5000)
    assert store.get(sid) == {"n": 1}
    assert store.update(sid, lambda session: {"n": 2}) == {"n": 2}
    for server in (target, source):
        group.ask(server, "CLUSTER SETSLOT", slot, "NODE", to)
    assert store.update(sid, lambda session: {"n": 3}) == {"n": 3}
    assert store.get(sid) == {"n": 3}
    assert store.destroy(sid)


def answers(store: RedisStore, sid: str) -> Any:
    """What a store finds; None: Redis did not answer."""
    with suppress(StoreUnavailable):
        return store.get(sid)


@pytest.mark.thorough
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_frozen_servers_cost_less_than_a_second(group: ClusterGroup, store: RedisStore, lost: int) -> None:
    """Each command, of all threads, also the first one of a client; sessions on another server can be used.

    The first one waits for up to three answers. Here each for less than by default: a busy machine takes its time, too.
    """
    sids = [group.get_key_of(server) for server in group.servers]
    for sid in sids:
        store.set({"n": 1}, sid)
    used = RedisStore(connect(group.url))
    wait_until(lambda: answers(used, sids[0]))
    fresh = RedisStore(connect(group.url, timeout=0.15, socket_timeout=0.15))
    for server in group.servers[:lost]:
        server.freeze()
    for each in (used, used, fresh, fresh):
        assert at_once(lambda each=each: each.get(sids[0])) < 1  # type: ignore[misc]
        with pytest.raises(StoreUnavailable):
            each.get(sids[0])
    if lost < 3:
        assert store.get(sids[2]) == {"n": 1}
    for server in group.servers:
        server.thaw()
    for each in (used, fresh):
        wait_until(lambda each=each: answers(each, sids[0]) == {"n": 1})  # type: ignore[misc]
        each.client.close()


@pytest.mark.thorough
def test_the_first_server_that_is_asked_may_be_lost(group: ClusterGroup, store: RedisStore) -> None:
    """Of the servers in the URL two are asked, and any other will know."""
    sid = group.get_key_of(group.servers[2])
    store.set({"n": 1}, sid)
    (unused,) = free_ports(1)
    for _ in range(10):
        url = f"redis+cluster://{HOST}:{unused},{HOST}:{group.servers[2].port}"
        fresh = RedisStore(connect(url, timeout=PATIENCE, socket_timeout=PATIENCE))
        assert fresh.get(sid) == {"n": 1}
        fresh.client.close()


@pytest.mark.thorough
def test_no_cluster_yet_costs_next_to_nothing(tmp_path: Path) -> None:
    """The app starts without it; when it is there, it is found."""
    group = ClusterGroup(tmp_path, masters=1)
    store = RedisStore(connect(group.url))
    assert at_once(lambda: store.get("x")) < 0.5
    with pytest.raises(StoreUnavailable, match="GET failed with RedisClusterException"):
        store.get("x")
    with running(group):
        wait_until(lambda: store.client.ping())
        live(store.client)
        store.client.close()


@pytest.mark.thorough
def test_callers_wait_for_a_connection_to_a_server(group: ClusterGroup) -> None:
    """As with any other client of connect()."""
    store = RedisStore(connect(group.url, max_connections=1, timeout=PATIENCE, socket_timeout=PATIENCE))
    sid = group.get_key_of(group.servers[0])
    store.set({"n": 1}, sid)
    found: list[Any] = []
    at_once(lambda: found.extend(store.get(sid) for _ in range(20)))
    assert found == 400 * [{"n": 1}]
    store.client.close()


@pytest.mark.thorough
@pytest.mark.parametrize("timeout", spread([5, 0, None], 3))
def test_a_client_of_several_servers_is_used_as_one_of_redis_py(group: ClusterGroup, timeout: float | None) -> None:
    """Also by what Python looks for in the class of an object. A caller may wait for no connection, or for ever."""
    with connect(group.url, timeout=timeout) as client:
        client["a"] = "1"
        assert "a" in client
        assert client["a"] == b"1"
        del client["a"]
        assert "a" not in client
        assert isinstance(client, redis.RedisCluster)
    assert client.get("a") is None  # it may be used again
    client.close()


@pytest.mark.thorough
def test_the_least_of_permissions_and_two_more_are_enough(group: ClusterGroup) -> None:
    """As the documentation says."""
    for server in group.servers:
        group.ask(server, "ACL SETUSER", "app", "on", ">password", *PERMISSIONS, "+command", "+cluster|slots")
    client = connect(group.url.replace("://", "://app:password@"), timeout=PATIENCE, socket_timeout=PATIENCE)
    live(client)
    client.close()


def test_the_command_line_finds_sessions_in_all_slots(cluster: Any) -> None:
    """SCAN asks every server; reading and ending sessions takes one key at a time."""
    cluster.flushall()
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, SESSION_MAX_WAIT=PATIENCE)
    app.session_interface = RedisSessionInterface(cluster)
    app.cli.add_command(cli.sessions)
    route(app, "/login", lambda: session.update(user_id="ada"))
    for _ in range(3):
        app.test_client().get("/login")
    run = app.test_cli_runner().invoke
    assert len(run(args=["sessions", "list", "--json"]).stdout.splitlines()) == 3
    assert json.loads(run(args=["sessions", "stats", "--json"]).stdout)["signed_in"] == 3
    assert run(args=["sessions", "revoke", "--owner", "ada", "--yes"]).stdout == "Ended 3 sessions.\n"


@pytest.mark.thorough
def test_a_read_survives_connections_that_were_forgotten(group: ClusterGroup, store: RedisStore) -> None:
    """By a load balancer, say: they are open, and nothing comes back; whichever server is asked for the others."""
    sid = store.set({"n": 1})
    for _ in range(rounds(4, 12)):
        for node in store.client.get_nodes():
            store.client.get_redis_connection(node).ping()
        with ExitStack() as silent:
            for node in store.client.get_nodes():
                for connection in store.client.get_redis_connection(node).connection_pool._connections:
                    here, _ = (silent.enter_context(end) for end in socket.socketpair())
                    os.dup2(here.fileno(), connection._sock.fileno())
                    connection._sock.settimeout(SOCKET_TIMEOUT)
            assert store.within(PATIENCE).get(sid) == {"n": 1}
