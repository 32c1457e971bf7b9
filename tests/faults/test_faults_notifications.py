"""Notifications under the faults of the matrix: pages stay connected, and get whatever was sent, once."""

from __future__ import annotations

import gc
import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.demo import key_of, make_app, sign_out
from support.faults import house as faults
from support.roles.notifications import House, Listener, serving, texts, wait_until
from support.servers import PATIENCE
from support.stopwatch import takes

from redis_store import StoreUnavailable, connect

pytestmark = pytest.mark.thorough

PAGES = 8
RECOVERY = 20  # seconds: a pub/sub connection that died without a word is replaced after ten, on a machine that is free


class Fault(NamedTuple):
    name: str
    set_up: Callable[[faults.House], str]
    inject: faults.Step = faults.nothing
    repair: faults.Step = faults.nothing
    forgets: bool = False  # whether Redis loses streams: then a gap says so


def network(**state: Any) -> faults.Step:
    return lambda house: vars(house.proxy).update(state)


def server(verb: str) -> faults.Step:
    return lambda house: getattr(house.redis, verb)()


FAULTS = [
    Fault("nothing, for comparison", faults.direct),
    Fault("Redis killed, restarted with its data", faults.durable, server("stop"), server("start")),
    Fault("Redis frozen", faults.direct, server("freeze"), server("thaw")),
    Fault("connections reset, 1 command of 5", faults.proxied, network(reset=0.2), network(reset=0)),
    Fault("answers lost with the connection, 1 of 5", faults.proxied, network(lose=0.2), network(lose=0)),
    Fault("all answers lost, connections open", faults.proxied, network(silent=True), network(silent=False)),
    Fault("200 ms of delay", faults.proxied, network(delay=0.2), network(delay=0)),
    Fault("master killed, replica promoted", faults.replicated, faults.kill_master, faults.promote_and_use),
    Fault("Sentinel: master killed", faults.sentinels, faults.kill_master, faults.wait_for_promotion),
    Fault("Cluster: one of three masters killed", faults.cluster, faults.kill_node, faults.restart_node),
    Fault("streams deleted", faults.direct, lambda house: drop_streams(house), forgets=True),
]


def drop_streams(house: faults.House) -> None:
    for key in house.admin.keys("NOTIFICATIONS:*"):
        house.admin.delete(key)


class Sender(threading.Thread):
    """Sends numbers to both owners, all the time; knows which of them Redis has taken for certain."""

    def __init__(self, notify: Callable[..., Any]) -> None:
        super().__init__()
        self.notify, self.over = notify, threading.Event()
        self.taken: dict[str, list[int]] = {"ada": [], "grace": []}

    def run(self) -> None:
        number = 0
        while not self.over.wait(0.02):
            number += 1
            for owner, taken in self.taken.items():
                try:
                    self.notify(str(number), owner=owner)
                except StoreUnavailable:
                    continue
                taken.append(number)


class Page(threading.Thread):
    """Notes what comes, connects again when it has to, as a browser does."""

    def __init__(self, listen: Callable[[str], Listener]) -> None:
        super().__init__()
        self.listen, self.got, self.gaps, self.over = listen, list[int](), 0, False

    def run(self) -> None:
        last = "0-0"
        while not self.over:
            page = self.listen(last)
            while page.status == 200 and not self.over and (event := page.next()).kind != "end":
                if event.kind == "gap":
                    self.gaps += 1
                elif event.kind == "message":
                    self.got.append(int(json.loads(event.data)["text"]))
            last = page.last or last
            page.close()
            time.sleep(0.05)


@contextmanager
def patient(url: str) -> Iterator[House]:
    """Another app on this Redis, by which browsers sign in: it is patient, for the machine may be busy."""
    client = connect(url, timeout=PATIENCE, socket_timeout=PATIENCE)
    yield House(make_app(client), "")
    client.close()


@pytest.fixture
def matrix(make_server: Any, tmp_path: Path, little_garbage: None) -> Iterator[faults.House]:
    with ExitStack() as stack:
        yield faults.House(make_server, tmp_path, stack)
    with warnings.catch_warnings():  # a Cluster's client of redis-py forgets connections to a server that it lost
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in FAULTS])
def test_whatever_was_sent_arrives_once(matrix: faults.House, fault: Fault) -> None:
    """In order, at every page, soon after the repair; a gap only where the stream was lost."""
    url = fault.set_up(matrix)
    client = connect(url)
    with serving(client) as house, patient(url) as other:
        house.hub.heartbeat = 0.5
        browsers = {owner: other.sign_in(owner) for owner in ("ada", "grace")}
        pages = {
            owner: [Page(lambda last, web=web: house.listen(web, last)) for _ in range(PAGES)]  # type: ignore[misc]
            for owner, web in browsers.items()
        }
        sender = Sender(house.notify)
        threads = [page for group in pages.values() for page in group]
        for thread in (*threads, sender):
            thread.start()
        try:
            time.sleep(0.5)
            fault.inject(matrix)
            time.sleep(1)
            fault.repair(matrix)
            time.sleep(0.5)
            sent = {owner: len(taken) for owner, taken in sender.taken.items()}
            wait_until(lambda: all(len(taken) > sent[owner] for owner, taken in sender.taken.items()))
            sender.over.set()
            sender.join()
            for owner, group in pages.items():
                end = sender.taken[owner][-1]
                wait_until(lambda: all(end in page.got for page in group), RECOVERY)  # noqa: B023
        finally:
            sender.over.set()
            for page in threads:
                page.over = True
            for thread in (*threads, sender):
                thread.join()
        for owner, group in pages.items():
            for page in group:
                assert page.got == sorted({*page.got}), "in order, and nothing twice"
                assert fault.forgets or not {*sender.taken[owner]} - {*page.got}, "nothing is lost"
                assert page.gaps <= fault.forgets
    client.close()


def test_a_cluster_that_lost_one_server_serves_those_of_the_others(matrix: faults.House) -> None:
    """Who has stream and session elsewhere notices nothing: not of messages, nor of the end of a session."""
    url = faults.cluster(matrix)
    client = connect(url)
    with serving(client) as house, patient(url) as other:
        page_server, lost = (
            client.get_node_from_key(f"NOTIFICATIONS:SESSION:{name}").port for name in ("ada", "grace")
        )
        assert page_server != lost, "or the test would show nothing"
        webs = [other.sign_in() for _ in range(20)]
        here = [web for web in webs if client.get_node_from_key(key_of(web)).port != lost]
        pages = [house.open(web) for web in webs]
        grace = house.open(other.sign_in("grace"))
        house.say("before")
        assert {page.next().data for page in pages} == {*texts("before")}
        matrix.redis = next(node for node in matrix.nodes if node.connect().config_get("port")["port"] == str(lost))
        matrix.redis.stop()
        for number in range(5):
            with takes(2):
                house.say(number)
                assert {page.next().data for page in pages} == {*texts(number)}
        with takes(2):
            assert sign_out(here[0]).status_code == 303
            assert pages[webs.index(here[0])].next().kind == "end"
        matrix.redis.start()
        faults.wait_until(lambda: faults.is_whole(matrix))
        house.notify("Hi", owner="grace")
        assert grace.take(1) == texts("Hi")
    client.close()
