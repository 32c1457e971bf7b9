"""docs/growing.md: its commands, its figures, and what it says of replicas."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.deployed import DEPLOY, UNWRITTEN, Deployment
from support.project import PAGES, ROOT, blocks, rows, section, tables
from support.topology import HOST, TcpServer, free_ports, wait_until
from werkzeug.security import check_password_hash

from redis_store import RedisSessionInterface, RedisStore, connect

PAGE = "docs/growing.md"


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path)
    yield deployment
    deployment.stop()


# How it is brought up -----------------------------------------------------------------------------------------------


def test_the_commands_make_secrets_a_certificate_and_an_account(deployment: Deployment) -> None:
    """As they stand there; what they write is read by a shell."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl on the PATH")
    shutil.rmtree(deployment.folder / "deploy/secrets")
    script = blocks("sh", section(PAGE, "Bring it up"))[0].replace(".venv/bin/python", shlex.quote(sys.executable))
    run(script, deployment.folder)
    made = {path.name for path in (deployment.folder / "deploy/secrets").iterdir()}
    assert made == {"app.env", "worker.env", "operator.env", "users.acl", "cert.pem", "key.pem"}
    read = "set -a && . deploy/secrets/app.env && . deploy/secrets/worker.env"
    said = run(f'{read} && printf "%s\\n" "$FLASK_ACCOUNTS" "$REDIS_URL"', deployment.folder)
    accounts, url = said.splitlines()
    assert check_password_hash(json.loads(accounts)["ada"], "lovelace")
    assert url.startswith("redis://worker:")
    counters = Path(deployment.read("app.env")["PROMETHEUS_MULTIPROC_DIR"])
    assert counters.parent == (deployment.folder / "deploy/secrets").resolve()  # not where others may write


def run(script: str, folder: Path) -> str:
    """What a shell says that is asked for a password, and is told one."""
    command = ["sh", "-eu", "-c", script]
    return subprocess.run(command, cwd=folder, input="lovelace\n", capture_output=True, text=True, check=True).stdout


def test_the_commands_name_files_that_are_there() -> None:
    """Or that the first of them make."""
    for path in re.findall(r"\bdeploy/[\w./-]+", PAGES[PAGE]):
        path = path.rstrip("./")
        assert (ROOT / path).exists() or path.startswith("deploy/secrets")


# What survives ------------------------------------------------------------------------------------------------------


@pytest.fixture
def durability(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("durability")


def test_the_table_of_what_is_lost_has_each_case(durability: Any) -> None:
    """And nothing is lost in those of which the text says so."""
    by_case = {row[0]: row[1:] for row in rows(section(PAGE, "What survives"))}
    assert [*by_case] == [*durability.CASES]
    lost = {case: int(row[2].replace(",", "")) for case, row in by_case.items()}
    _, slow, second, snapshot, _, down, bounded, confirmed = lost.values()
    assert (second, confirmed) == (0, 0)
    assert min(slow, snapshot, down, bounded) > 0
    for case in [*by_case][:2]:
        assert float(by_case[case][3].removesuffix(" s") or 0) <= UNWRITTEN
    seconds = float(by_case["the same, with `min-replicas-to-write 1`"][3].removesuffix(" s"))
    assert seconds <= durability.MAX_LAG + 1.5  # it is looked at once a second


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "seconds"), [("killed; `deploy/redis.conf`", UNWRITTEN), ("killed; `appendfsync always`", 0)]
)
def test_what_is_counted_can_be_counted_again(name: str, seconds: float, durability: Any, tmp_path: Path) -> None:
    """With one server, once. The disk may be a slow one."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs a redis-server on the PATH")
    found = durability.CASES[name](tmp_path / "redis", 1)  # second: the machine may be busy
    assert found["written"] > 0
    assert found["seconds"] <= seconds
    assert seconds or found["lost"] == 0


@pytest.mark.thorough
def test_the_snapshot_alone_loses_what_came_after_it(durability: Any, tmp_path: Path) -> None:
    """Here all of it: there was none yet."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs a redis-server on the PATH")
    found = durability.CASES["killed; the RDB file alone"](tmp_path / "redis", 1)  # second: the machine may be busy
    assert found["lost"] == found["written"] > 0


def pair(deployment: Deployment) -> tuple[TcpServer, TcpServer]:
    """A master and its replica, with the lines of the page."""
    text = blocks("text", section(PAGE, "A replica, and sentinels"))[0]
    options = [f"--{word}" if n % 2 == 0 else word for n, word in enumerate(secrets_in(deployment, text).split())]
    master = deployment.start("redis.conf", *options, "--repl-diskless-sync-delay", "0")
    replica = deployment.start("redis.conf", *options, "--replicaof", f"{HOST} {master.port}")
    wait_until(lambda: replica.connect().info("replication")["master_link_status"] == "up")
    wait_until(lambda: master.connect().info("replication")["slave0"]["state"] == "online")
    return master, replica


def secrets_in(deployment: Deployment, text: str) -> str:
    """A text of the page, with the passwords that it names."""
    return re.sub(r"<(\w+_PASSWORD) of [^>]*>", lambda match: deployment.operator[match[1]], text)


def test_a_sign_out_can_wait_for_a_replica(deployment: Deployment) -> None:
    """By the code of the page: it says whether one has it."""
    names: dict[str, Any] = {}
    exec(blocks("python", section(PAGE, "What survives"))[0], names)
    master, replica = pair(deployment)
    client = master.connect()
    interface = RedisSessionInterface(client)
    assert is_replicated(master)
    assert names["revoke_for_good"](client, interface, "ada") is True
    replica.freeze()
    assert names["revoke_for_good"](client, interface, "ada") is False


@pytest.mark.thorough
def test_sentinels_with_the_lines_of_the_page_promote_the_replica(deployment: Deployment, tmp_path: Path) -> None:
    """The master is killed; the app's own user goes on with the session that was there."""
    master, _ = pair(deployment)
    text = secrets_in(deployment, blocks("text", section(PAGE, "A replica, and sentinels"))[1])
    text = text.replace("<address of the first> 6379", f"{HOST} {master.port}").replace(" 5000", " 1000")
    sentinels = []
    for port in free_ports(3):
        config = tmp_path / f"{port}.conf"
        config.write_text(text)
        sentinels.append(TcpServer(tmp_path, str(config), "--sentinel", port=port))
    try:
        for sentinel in sentinels:
            wait_until(lambda: sentinel.connect().execute_command("SENTINEL", "CKQUORUM", "sessions"))  # noqa: B023
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in sentinels)
        url = deployment.app_url(master).replace("redis://", "redis+sentinel://").partition("?")[0]
        store = RedisStore(connect(re.sub(r"@.*", f"@{hosts}/sessions", url)))
        sid = store.set({"n": 1})
        assert is_replicated(master)
        master.stop()
        wait_until(lambda: is_served(store, sid), seconds=30)
    finally:
        for sentinel in sentinels:
            sentinel.disconnect()
            sentinel.stop()


def is_replicated(master: TcpServer) -> bool:
    """Whether the replica follows; it is given time for that."""
    pipeline = master.connect().pipeline(transaction=False)
    pipeline.set("mark", 1)
    pipeline.execute_command("WAIT", 1, 5000)
    return bool(pipeline.execute()[-1])


def is_served(store: RedisStore, sid: str) -> bool:
    try:
        return store.get(sid) == {"n": 1} and store.set({"n": 1}, sid) == sid
    except Exception:
        return False


@pytest.mark.thorough
def test_a_server_is_followed_by_a_new_one_without_a_loss(deployment: Deployment) -> None:
    """`FAILOVER TO`, as for a new version: the replica has all that was acknowledged."""
    master, replica = pair(deployment)
    store = RedisStore(master.connect())
    sids = [store.set({"n": n}) for n in range(500)]
    master.connect().execute_command("FAILOVER", "TO", HOST, replica.port)
    wait_until(lambda: replica.connect().info("replication")["role"] == "master")
    other = RedisStore(replica.connect())
    assert [(other.get(sid) or {}).get("n") for sid in sids] == [*range(500)]


# Figures ------------------------------------------------------------------------------------------------------------


def test_what_requests_send_is_what_the_benchmark_found() -> None:
    """Commands, round trips, bytes."""
    figures = json.loads((ROOT / "benchmarks/results/figures.json").read_text())["costs"]
    found = {cost["label"][1]: cost for cost in figures if cost["label"][0] == "redis_store.py"}
    kinds = ["untouched", "read", "write", "login", "logout"]
    table = {table[0][0]: table[1:] for table in tables(section(PAGE, "How much one Redis holds"))}["a request that"]
    for kind, row in zip(kinds, table, strict=True):
        cost = found[kind]
        commands = sum(cost["commands"].values())
        assert row[1:] == [
            f"{commands:.0f}",
            f"{cost['round trips']:.0f}",
            f"{cost['sent']:.0f} + {cost['received']:.0f}",
        ]


@pytest.mark.thorough
def test_what_measures_capacity_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a few sessions; the table on the page has its columns, up to ten million of them."""
    if shutil.which("redis-benchmark") is None:
        pytest.skip("needs redis-benchmark on the PATH")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    capacity = import_module("capacity")
    made = tables(capacity.table([capacity.measure(100, tmp_path / "redis")]))[0]
    shown = {table[0][0]: table for table in tables(section(PAGE, "How much one Redis holds"))}["sessions"]
    assert shown[0] == made[0]
    assert [row[0] for row in shown[1:]] == ["1,000,000", "10,000,000"]


def test_what_shows_a_fault_is_an_alert() -> None:
    """Each that the page names is one of the rules."""
    named = re.findall(r"`([A-Z]\w+)`", " ".join(row[1] for row in rows(section(PAGE, "When something breaks"))))
    rules = re.findall(r"alert: (\w+)", (DEPLOY / "alerts.yml").read_text())
    assert named
    assert {*named} <= {*rules}
