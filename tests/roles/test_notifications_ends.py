"""What ends a stream, and that nothing is left of it."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import Any
from weakref import ref

import fakeredis
import pytest
from flask import session
from support.apps import interface_of, route
from support.demo import end_others, make_app, sign_out
from support.roles.notifications import Event, House, texts, wait_until
from support.stopwatch import takes
from support.tiers import spread

from roles.notifications_hub import HUBS, Client, Hub

PATIENT = 1.0  # seconds in which a stream ends


@pytest.fixture
def real_time(house: House) -> House:
    """With the times of the app."""
    house.hub.look_after, house.hub.tick = Hub.look_after, Hub.tick
    return house


def revoke(house: House, web: Any) -> None:
    with house.app.app_context():
        interface_of(house.app).revoke("ada")


def end_one(house: House, web: Any) -> None:
    interface_of(house.app).store.destroy(web.get_cookie("session").value.partition(".")[0])


WAYS: dict[str, Callable[[House, Any], Any]] = {
    "logout": lambda house, web: sign_out(web),
    "revoked": revoke,
    "gone": end_one,
    "ended elsewhere": lambda house, web: end_others(house.sign_in()),
    "another sid": lambda house, web: web.get("/regenerate"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("way", spread([*WAYS], 5))
def test_a_stream_ends_within_a_second_of_its_session(real_time: House, way: str) -> None:
    """However that ends; those of other sessions go on, and what is sent meanwhile does not go to the dead one."""
    house = real_time
    route(house.app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    web, grace = house.sign_in(), house.sign_in("grace")
    page, other = house.open(web), house.open(grace)
    house.say("before")
    assert page.take(1) == texts("before")
    with takes(PATIENT):
        WAYS[way](house, web)
        assert page.next() == Event("end")
    house.notify("Hi", owner="grace")
    assert other.take(1) == texts("Hi")


@pytest.mark.thorough
def test_a_session_that_expires_ends_its_stream(real_time: House, client: Any) -> None:
    """Redis says so."""
    page = real_time.open()
    (key,) = client.keys("SESSION:*")
    client.pexpire(key, 1)
    with takes(PATIENT):
        assert page.next() == Event("end")


def test_a_new_sid_goes_on_where_the_old_one_ended(house: House) -> None:
    """The browser connects again by itself, and misses nothing."""
    route(house.app, "/regenerate", lambda: session.regenerate())  # type: ignore[attr-defined]
    web = house.sign_in()
    page = house.open(web)
    house.say("before")
    assert page.take(1) == texts("before")
    web.get("/regenerate")
    house.say("between")
    while page.next() != Event("end"):
        pass
    assert house.listen(web, last=page.last).status == 200
    assert house.listen(web, last="0-0").take(2) == texts("before", "between")


@pytest.mark.thorough
def test_a_browser_that_went_away_is_seen_at_once(real_time: House) -> None:
    """Its thread does not wait for the next heartbeat, whether it said goodbye or crashed."""
    pages = [real_time.open(), real_time.open()]
    wait_until(lambda: len(real_time.hub.clients) == 2)
    pages[0].close()
    pages[1].close(at_once=True)
    with takes(PATIENT):
        wait_until(lambda: not real_time.hub.clients)


def test_a_browser_that_went_away_is_seen_by_its_heartbeat(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell."""
    monkeypatch.setattr(Client, "has_hung_up", lambda self: False)
    house.hub.heartbeat = 0.02
    page = house.open()
    page.close()
    wait_until(lambda: not house.hub.clients)


@pytest.mark.thorough
def test_a_browser_that_takes_nothing_is_let_go(house: House) -> None:
    """It holds its thread no longer than a heartbeat, and no memory; what it missed it gets when it comes back."""
    house.hub.heartbeat = 0.1
    page = house.open()
    wait_until(lambda: house.hub.clients)
    (waiting,) = house.hub.clients
    waiting.sock.setsockopt(1, 7, 4096)  # SOL_SOCKET, SO_SNDBUF: a small one, so that it is full soon
    text, said = "x" * 2000, 0
    while house.hub.clients or said < 150:  # of which the stream keeps 100
        house.say(*[text] * 50)
        said += 50
    house.hub.heartbeat = Hub.heartbeat
    again = house.open(after="0-0")
    assert again.next().kind == "gap"
    assert again.take(100) == texts(text) * 100
    page.close()


@pytest.mark.usefixtures("little_garbage")
def test_nothing_is_left_when_the_last_one_went(house: House, client: Any) -> None:
    """No thread, no connection for pub/sub, no message in memory; and again, when others come."""
    threads = {thread.name for thread in threading.enumerate() if thread.name == "notifications"}
    assert threads == set()
    for _ in range(3):
        pages = [house.open(), house.open(house.sign_in("grace"))]
        house.say("Hello")
        assert pages[0].next().data == texts("Hello")[0]
        wait_until(lambda: client.pubsub_numsub("NOTIFICATIONS:SESSION:grace")[0][1] == 1)
        pages[1].close()
        wait_until(lambda: client.pubsub_numsub("NOTIFICATIONS:SESSION:grace")[0][1] == 0)
        assert client.pubsub_numsub("NOTIFICATIONS:SESSION:ada")[0][1] == 1
        clients = [ref(each) for each in house.hub.clients]
        pages[0].close()
        wait_until(lambda: house.hub.thread is None)
        wait_until(lambda: "notifications" not in {thread.name for thread in threading.enumerate()})
        assert client.pubsub_channels() == []
        assert (house.hub.messages, house.hub.channels, house.hub.pubsub) == ({}, set(), None)
        gc.collect()
        assert [each() for each in clients if each()] == []
        client.delete("NOTIFICATIONS:SESSION:ada")


def test_the_connections_are_given_back(house: House, server: Any) -> None:
    """Redis has as many afterwards as before, and one for pub/sub meanwhile."""
    house.app.session_interface.store.client.connection_pool.disconnect()  # type: ignore[attr-defined]
    admin = server.connect()
    before = len(admin.client_list())
    pages = [house.open() for _ in range(5)]
    house.say("Hello")
    assert [page.next().data for page in pages] == 5 * texts("Hello")
    if not isinstance(house.hub.interface.store.client, fakeredis.FakeRedis):
        assert len(admin.client_list(_type="pubsub")) == 1
    for page in pages:
        page.close()
    wait_until(lambda: house.hub.thread is None)
    house.app.session_interface.store.client.connection_pool.disconnect()  # type: ignore[attr-defined]
    wait_until(lambda: len(admin.client_list()) == before)


@pytest.mark.usefixtures("little_garbage")
def test_an_app_can_be_forgotten() -> None:
    """Nothing of it is left, also in the list of what a forked process begins anew."""
    gc.collect()
    before = len(HUBS)
    app = make_app(fakeredis.FakeRedis())
    hub = ref(app.extensions["notifications"])
    assert len(HUBS) == before + 1
    del app
    gc.collect()
    assert hub() is None
    assert len(HUBS) <= before


def test_a_forked_process_has_clients_of_its_own(house: House) -> None:
    """It begins with none, and with a thread of its own, whatever the other one was doing."""
    page, hub = house.open(), house.hub
    house.say("before")
    assert page.take(1) == texts("before")
    (parent,) = hub.clients
    read, write = os.pipe()
    with hub.lock:
        child = os.fork()
    if child == 0:
        try:
            assert not hub.clients
            assert hub.thread is None
            served = hub.serve(Client(parent.key, parent.session, None), (0, 0))
            os.write(write, next(served) + next(served))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    assert texts("before")[0].encode() in os.read(read, 10_000)
    os.close(read)
    house.say("after")
    assert page.take(1) == texts("after")
