"""/monitor and /metrics on a Cluster: each server is seen, also one that is lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.demo import CONFIG
from support.roles.metrics import TOKEN, scrape
from support.roles.monitor import numbers, problems, signed_in, text_of
from support.servers import PATIENCE
from support.topology import HOST, ClusterGroup, running, wait_until

from app import create_app
from redis_store import RedisStore, connect
from roles import combine, fill, find_servers
from roles.monitor_look import look


def servers_of(page: str) -> dict[str, list[str]]:
    """The table of servers: what the cells say, by name."""
    table = page.partition("The servers of the Cluster")[2].partition("</table>")[0]
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', table)
    return {name: re.findall(r"<td.*?>(.*?)</td>", cells) for name, cells in rows}


@pytest.mark.thorough
def test_each_server_of_a_cluster_is_seen(tmp_path: Path) -> None:
    """And one that is lost: the app goes on with the others, and both pages tell."""
    with running(ClusterGroup(tmp_path, masters=2)) as group:
        client = connect(group.url, timeout=PATIENCE)
        config = {**CONFIG, "METRICS_TOKEN": TOKEN, "MONITOR_USERS": ["ada"]}
        app = create_app(config, client)
        web = signed_in(app)
        group.ask(group.servers[1], "CONFIG SET", "maxmemory", 10**9)
        names = {f"127.0.0.1:{server.port}" for server in group.servers}
        page = text_of(web)
        assert problems(page) == []
        assert {*servers_of(page)} == names
        assert {cells[0] for cells in servers_of(page).values()} == {"master"}
        assert {cells[2] for cells in servers_of(page).values()} == {"none", "1.0 GB"}
        assert "PING, ms" in numbers(page)
        told = scrape(app)
        assert len(told) <= 50
        assert (told["redis_up"], told["redis_memory_max_bytes"]) == (1, 10**9)
        cookie: Any = web.get_cookie("session")
        owner = group.get_owner(f"SESSION:{cookie.value.partition('.')[0]}")
        (other,) = [server for server in group.servers if server is not owner]
        other.stop()
        page = text_of(web)
        assert problems(page) == ["RedisDown"]
        assert servers_of(page)[f"127.0.0.1:{other.port}"] == ["does not answer"]
        assert {*servers_of(page)} == names
        told = scrape(app)
        assert told["redis_up"] == 0
        assert told["redis_memory_used_bytes"] > 0
        client.close()


@pytest.mark.thorough
def test_a_server_that_joins_a_cluster_is_seen(tmp_path: Path) -> None:
    """Though the app has been connected for long; until it has a part in it, it is not missing either."""
    with running(ClusterGroup(tmp_path, masters=1)) as group:
        client = connect(group.url, timeout=PATIENCE)
        store = RedisStore(client)
        (first,) = find_servers(store)
        options = ["--cluster-enabled", "yes", "--cluster-config-file", "replica", "--repl-diskless-sync-delay", "0"]
        replica = group.add(*options, "--save", "")
        group.ask(replica, "CLUSTER MEET", HOST, *group.ports)
        wait_until(lambda: len(store.sender.run("CLUSTER NODES")) == 2)
        assert None not in find_servers(store).values()
        wait_until(lambda: len(group.ask(replica, "CLUSTER NODES")) == 2)
        group.ask(replica, "CLUSTER REPLICATE", group.ask(group.servers[0], "CLUSTER MYID"))
        wait_until(lambda: {*find_servers(store)} == {first, f"{HOST}:{replica.port}"})
        wait_until(lambda: {info["role"] for info in look(store).infos.values()} == {"master", "slave"})
        replica.stop()
        assert look(store).down == [f"{HOST}:{replica.port}"]
        client.close()


def test_several_servers_are_told_as_one() -> None:
    """Sums; the fullest; the worst. One server is told as it is."""
    small = {"role": "master", "used_memory": 50, "maxmemory": 100, "keyspace_hits": 1, "aof_last_write_status": "ok"}
    large = {
        "role": "master",
        "used_memory": 200,
        "maxmemory": 1000,
        "keyspace_hits": 2,
        "aof_last_write_status": "err",
    }
    replica = {"role": "slave", "used_memory": 10, "keyspace_hits": 4, "master_link_status": "up"}
    assert combine([]) == {}
    assert combine([replica]) == replica
    assert combine([{"server_mode": "standalone"}])["redis_mode"] == "standalone"  # of Valkey
    assert combine([replica, large, small]) == {
        "role": "master",
        "used_memory": 50,
        "maxmemory": 100,
        "keyspace_hits": 7,
        "aof_last_write_status": "err",
    }
    assert [fill(each) for each in (small, large, replica, {})] == [0.5, 0.2, 0, 0]
