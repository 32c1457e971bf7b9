"""deploy/redis.conf and deploy/redis-cache.conf: a server takes each line, and does what the line is there for."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from support.deployed import UNWRITTEN, Deployment, in_bytes, settings_of
from support.tiers import rounds
from support.topology import HOST, TcpServer, wait_until
from werkzeug.security import generate_password_hash

from app import create_app
from redis_store import RedisStore, StoreUnavailable, connect

REPLACED = {"bind", "port", "aclfile"}  # by the tests


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path)
    yield deployment
    deployment.stop()


@pytest.fixture
def server(deployment: Deployment) -> TcpServer:
    """A server for sessions and jobs."""
    return deployment.start("redis.conf")


@pytest.fixture
def admin(server: TcpServer) -> redis.Redis:
    return server.connect()


@pytest.fixture
def store(deployment: Deployment, server: TcpServer) -> Iterator[RedisStore]:
    """Sessions, for the app's own user."""
    client = connect(deployment.app_url(server))
    yield RedisStore(client)
    client.connection_pool.disconnect()


def write_megabytes(client: Any, number: int, prefix: str = "filler") -> None:
    for n in range(number):
        client.set(f"{prefix}:{n}", "x" * (1 << 20))


@pytest.mark.parametrize("name", ["redis.conf", "redis-cache.conf"])
def test_a_server_has_each_setting_of_its_file(name: str, deployment: Deployment) -> None:
    """As it says itself, once it runs."""
    admin = deployment.start(name).connect()
    for setting, values in settings_of(name).items():
        if setting not in REPLACED:
            has = (admin.config_get(setting)[setting] or "").replace("slave", "replica")
            assert all(in_bytes(value) in has for value in values), setting


# Who gets in --------------------------------------------------------------------------------------------------------


def test_nobody_gets_in_without_a_password(server: TcpServer) -> None:
    """But to ask whether it is there, as the health check does."""
    with pytest.raises(redis.AuthenticationError):
        connect(f"redis://{HOST}:{server.port}").ping()
    client = connect(f"redis://health:any@{HOST}:{server.port}")
    assert client.ping()
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.get("SESSION:x")


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG GET *", "KEYS *", "MONITOR", "GET other", "ACL LIST"])
def test_the_app_may_do_no_more_than_its_part(command: str, deployment: Deployment, server: TcpServer) -> None:
    """Whoever takes over the app cannot empty Redis, nor read what is not the app's."""
    with redis.Redis.from_url(deployment.app_url(server), protocol=2) as client:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command.split())


def test_the_secrets_are_for_the_demo_app_and_hashed_in_redis(deployment: Deployment, server: TcpServer) -> None:
    """It starts with them, and a user signs in and out."""
    environment = {name.removeprefix("FLASK_"): value for name, value in deployment.app.items()}
    account = {"ada": generate_password_hash("lovelace", "pbkdf2:sha256:1")}
    config = {"TESTING": True, "ACCOUNTS": account, "SECRET_KEY": environment["SECRET_KEY"]}
    web = create_app({**config, "REDIS_URL": deployment.app_url(server)}).test_client()
    assert web.post("/login", data={"username": "ada", "password": "lovelace"}).status_code == 303
    assert web.get("/account").status_code == 200
    assert web.post("/logout", headers={"Origin": "http://localhost"}).status_code == 303
    acl = (deployment.folder / "deploy/secrets/users.acl").read_text()
    assert not any(secret in acl for secret in [*deployment.operator.values(), environment["REDIS_URL"][12:76]])


# What survives a restart --------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_what_was_acknowledged_survives_kill_9(server: TcpServer, store: RedisStore, admin: Any) -> None:
    """`appendonly`, `appendfsync everysec`: what the kernel has; a slow disk costs the last two seconds, no more."""
    number = rounds(100, 2500)
    kept = {store.set({"n": n}): n for n in range(number)}
    wait_until(lambda: admin.info("persistence")["aof_buffer_length"] == 0)  # the kernel has these
    acknowledged = [(store.set({"n": n}), n, time.monotonic()) for n in range(number)]
    server.stop()
    killed = time.monotonic()
    kept |= {sid: n for sid, n, at in acknowledged if at < killed - UNWRITTEN}
    server.start()
    assert {sid: (store.get(sid) or {}).get("n") for sid in kept} == kept


def test_a_torn_end_of_the_aof_is_cut_off(server: TcpServer, store: RedisStore, admin: Any) -> None:
    """`aof-load-truncated`: one write is lost, as after a power failure, and the server starts."""
    first, last = store.set({"n": 1}), store.set({"n": 2})
    wait_until(lambda: admin.info("persistence")["aof_buffer_length"] == 0)  # both are in the file
    server.stop()
    (aof,) = Path(server.arguments[-1]).parent.glob("appendonlydir/*.incr.aof")
    aof.write_bytes(aof.read_bytes()[:-5])
    server.start()
    assert (store.get(first), store.get(last)) == ({"n": 1}, None)


def test_the_rdb_file_alone_is_a_copy_of_it_all(deployment: Deployment, server: TcpServer, admin: Any) -> None:
    """`save` beside `appendonly`: it is written too, and a server elsewhere comes up with it."""
    sid = RedisStore(admin).set({"n": 1})
    admin.bgsave()
    folder = Path(server.arguments[-1]).parent
    wait_until((folder / "dump.rdb").exists)
    copy = deployment.start("redis.conf", "--appendonly", "no")
    copy.stop()
    shutil.copy(folder / "dump.rdb", Path(copy.arguments[-1]).parent)
    copy.start()
    assert RedisStore(copy.connect()).get(sid) == {"n": 1}


def test_appendonly_over_a_folder_with_an_rdb_file_only_comes_up_empty(deployment: Deployment) -> None:
    """So the file warns; and with CONFIG SET first, nothing is lost."""
    server = deployment.start("redis.conf", "--appendonly", "no")
    sid = RedisStore(server.connect()).set({"n": 1})
    server.connect().save()
    folder = Path(server.arguments[-1]).parent
    other = deployment.start("redis.conf", "--appendonly", "no")
    other.stop()
    shutil.copy(folder / "dump.rdb", Path(other.arguments[-1]).parent)
    other.arguments[other.arguments.index("--appendonly") + 1] = "yes"
    other.start()
    assert RedisStore(other.connect()).get(sid) is None
    server.connect().config_set("appendonly", "yes")
    wait_until(lambda: server.connect().info("persistence")["aof_rewrite_in_progress"] == 0)
    server.stop()
    server.arguments[server.arguments.index("--appendonly") + 1] = "yes"
    server.start()
    assert RedisStore(server.connect()).get(sid) == {"n": 1}


@pytest.mark.thorough
def test_an_rdb_file_that_cannot_be_written_stops_the_writes(server: TcpServer, admin: Any, store: RedisStore) -> None:
    """`stop-writes-on-bgsave-error`: a change fails, reading goes on; and the next good one ends it."""
    sid = store.set({"n": 1})
    obstacle = Path(server.arguments[-1]).parent / "dump.rdb"
    obstacle.mkdir()
    admin.bgsave()
    wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
    with pytest.raises(StoreUnavailable):
        store.set({"n": 2})
    assert store.get(sid) == {"n": 1}
    obstacle.rmdir()
    admin.bgsave()
    wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "ok")
    assert store.set({"n": 2})


# Memory and limits --------------------------------------------------------------------------------------------------


def test_a_full_redis_refuses_writes_and_loses_nothing(admin: Any, store: RedisStore) -> None:
    """`maxmemory`, `noeviction`."""
    sid = store.set({"n": 1})
    write_megabytes(admin, 5)
    admin.config_set("maxmemory", "5mb")
    with pytest.raises(StoreUnavailable, match="OutOfMemory"):
        store.set({"n": 2})
    assert store.get(sid) == {"n": 1}
    assert store.destroy(sid)
    assert admin.info("stats")["evicted_keys"] == 0


def test_a_full_cache_evicts_what_is_used_least(deployment: Deployment) -> None:
    """`allkeys-lfu`: what is asked for again and again outlives what nobody asked for twice. No write is refused."""
    admin = deployment.start("redis-cache.conf").connect()
    admin.config_set("maxmemory", "32mb")
    admin.set("popular", "x")
    for _ in range(500):
        admin.get("popular")
    write_megabytes(admin, 100)
    assert admin.info("stats")["evicted_keys"] > 50
    assert admin.exists("popular")


def test_a_cache_writes_nothing_to_disk(deployment: Deployment) -> None:
    """`save ""`, `appendonly no`: after a restart it is empty."""
    server = deployment.start("redis-cache.conf")
    server.connect().set("x", 1)
    server.connect().shutdown()
    server.process.wait()
    assert {path.suffix for path in Path(server.arguments[-1]).parent.iterdir()} == {".conf", ".log"}
    server.start()
    assert server.connect().dbsize() == 0


def test_more_clients_than_allowed_are_refused(admin: Any, server: TcpServer) -> None:
    """`maxclients`: those that are in stay in."""
    admin.config_set("maxclients", 3)
    sockets = [socket.create_connection((HOST, server.port), timeout=5) for _ in range(4)]
    answers = [one.recv(100) for one in sockets if one is sockets[-1]]
    assert b"max number of clients reached" in answers[0]
    for one in sockets:
        one.close()
    assert admin.ping()


@pytest.mark.thorough
def test_a_client_that_is_idle_is_closed(admin: Any, server: TcpServer, store: RedisStore) -> None:
    """`timeout`: the app does not notice, for it looks before it sends."""
    sid = store.set({"n": 1})
    admin.config_set("timeout", 1)
    with socket.create_connection((HOST, server.port), timeout=10) as idle:
        assert idle.recv(1) == b""  # closed by the server
    assert store.get(sid) == {"n": 1}
    assert store.set({"n": 2})


def test_what_is_larger_than_a_record_is_refused(server: TcpServer) -> None:
    """`proto-max-bulk-len`: before it is read."""
    server.connect().set("x", "x" * (3 << 20))
    with pytest.raises((redis.ConnectionError, redis.ResponseError)):
        server.connect().set("x", "x" * (5 << 20))
    assert server.connect().strlen("x") == 3 << 20


def test_a_subscriber_that_does_not_read_is_cut_off(admin: Any, server: TcpServer, deployment: Deployment) -> None:
    """`client-output-buffer-limit pubsub`: it costs Redis a few megabytes, not all its memory."""
    password = deployment.operator["ADMIN_PASSWORD"]
    with socket.create_connection((HOST, server.port), timeout=5) as deaf:
        deaf.sendall(f"AUTH admin {password}\r\nSUBSCRIBE news\r\n".encode())
        wait_until(lambda: admin.pubsub_numsub("news")[0][1] == 1)
        for _ in range(40):
            admin.publish("news", "x" * (1 << 20))
        wait_until(lambda: admin.pubsub_numsub("news")[0][1] == 0)


# Replicas, and what to look at --------------------------------------------------------------------------------------


def make_replica(deployment: Deployment, master: TcpServer) -> TcpServer:
    """With a user of its own."""
    master.connect().config_set("repl-diskless-sync-delay", 0)  # it would wait for other replicas
    auth = ["--masteruser", "replica", "--masterauth", deployment.operator["REPLICA_PASSWORD"]]
    replica = deployment.start("redis.conf", "--replicaof", f"{HOST} {master.port}", *auth)
    wait_until(lambda: replica.connect().info("replication")["master_link_status"] == "up")
    return replica


def test_a_replica_that_was_away_catches_up(deployment: Deployment, server: TcpServer, admin: Any) -> None:
    """`repl-backlog-size`: it gets what it missed, and not a copy of everything."""
    replica = make_replica(deployment, server)
    before = admin.info("stats")
    replica.freeze()
    admin.client_kill_filter(_type="replica")
    write_megabytes(admin, 5)
    replica.thaw()
    wait_until(lambda: replica.connect().dbsize() == 5)
    after = admin.info("stats")
    assert after["sync_full"] == before["sync_full"]
    assert after["sync_partial_ok"] == before["sync_partial_ok"] + 1


def test_commands_that_take_long_are_in_the_slow_log(admin: Any) -> None:
    """`slowlog-log-slower-than`, `slowlog-max-len`: with their arguments, so it is for operators."""
    admin.eval("local n = 0; for i = 1, 5e6 do n = n + i end; return n", 0)
    assert any(entry["command"].startswith(b"EVAL") and entry["duration"] >= 10_000 for entry in admin.slowlog_get())
