"""Notifications while Redis is away, or silent, or loses wake-ups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.apps import interface_of
from support.demo import make_app
from support.outages import Outage, make_outage
from support.project import PERMISSIONS
from support.proxy import Proxy
from support.roles.notifications import Event, House, Listener, serving, texts, wait_until
from support.servers import RedisServer
from support.stopwatch import takes

from redis_store import StoreUnavailable


@pytest.fixture(params=["fakeredis", "stopped", "frozen"])
def outage(request: pytest.FixtureRequest) -> Outage:
    return make_outage(request)


@pytest.fixture
def away(outage: Outage) -> Iterator[House]:
    """An app whose Redis may go away."""
    with serving(outage.client) as house:
        yield house


@pytest.mark.thorough
def test_streams_stay_open_and_go_on_afterwards(away: House, outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    """With heartbeats meanwhile, and one line in the log; whoever connects or sends during the outage is told."""
    web = away.sign_in()
    away.hub.heartbeat = 0.05
    page = away.open(web)
    away.say("before")
    wait_for(page, "before")
    outage.begin()
    with pytest.raises(StoreUnavailable):
        away.say("lost")
    answer = away.listen(web)
    assert (answer.status, answer.answer.headers["Retry-After"]) == (503, "5")
    assert [page.next() for _ in range(3)] == 3 * [Event("comment")]
    wait_until(lambda: "notifications have to wait" in caplog.text)
    outage.end()
    wait_until(lambda: is_back(away))
    page = away.open() if outage.kind == "stopped" else page  # a Redis that forgot everything has no sessions either
    away.say("after")
    wait_for(page, "after")
    assert caplog.text.count("notifications have to wait") == 1


def is_back(house: House) -> bool:
    """Whether Redis answers, and no thread has to learn that any more."""
    interface_of(house.app).store.sender.breaker.timeouts = 0
    with suppress(StoreUnavailable):
        interface_of(house.app).store.get("")
        return house.hub.heard or not house.hub.clients
    return False


def wait_for(page: Listener, word: str) -> None:
    """What is said arrives; before it, heartbeats, and what a frozen Redis took after all."""
    while (event := page.next()).data != texts(word)[0]:
        assert event.kind == "comment" or event.data == texts("lost")[0]


def test_a_lost_pubsub_connection_costs_nothing(server: RedisServer) -> None:
    """It is made anew, and what came meanwhile arrives."""
    admin = server.connect()
    with serving(server.connect()) as house:
        page = house.open()
        for turn in range(5):
            wait_until(lambda: len(admin.client_list(_type="pubsub")) == 1)
            admin.client_kill_filter(_type="pubsub")
            house.say(turn)
            assert page.take(1) == texts(turn)


def test_a_lost_wake_up_is_made_good(house: House, client: Any) -> None:
    """All streams are read again, now and then."""
    house.hub.sync_after = 0.1
    page = house.open()
    house.say("first")
    assert page.take(1) == texts("first")
    id = client.xadd("NOTIFICATIONS:SESSION:ada", {"message": '{"text":"silent"}', "after": page.last})
    assert page.next() == Event("message", id.decode(), *texts("silent"))


@pytest.mark.thorough
def test_a_pubsub_connection_that_died_without_a_word_is_replaced(server: RedisServer) -> None:
    """It is open, and nothing comes from it any more."""
    with Proxy(server.socket) as proxy:
        with serving(proxy.connect(socket_timeout=1)) as house:
            house.hub.sync_after = 0.1
            page = house.open()
            wait_until(lambda: house.hub.heard)
            proxy.forget()
            other = make_app(server.connect())  # whose connections are alive
            with other.app_context():
                other.extensions["notify"]("ada", "Hello")
            assert page.take(1) == texts("Hello")


@pytest.mark.parametrize("forbidden", ["+subscribe", "&NOTIFICATIONS:SESSION:*"])
def test_without_pubsub_streams_are_read_in_turn(server: RedisServer, forbidden: str) -> None:
    """And the log says why it is slow. Where the channel is forbidden, nobody can send, either."""
    client = server.log_in(*(rule for rule in PERMISSIONS if rule != forbidden))
    with serving(client) as house:
        page = house.open()
        if forbidden == "+subscribe":
            house.say("Hello")
            assert page.take(1) == texts("Hello")
        else:
            with pytest.raises(StoreUnavailable):
                house.say("Hello")


def test_a_new_client_gets_its_first_message_soon(house: House) -> None:
    """Also in the moment in which the thread ends with the last one."""
    web, last = house.sign_in(), "0-0"
    for turn in range(20):
        page = house.open(web, after=last)
        (last,) = house.say(turn)
        with takes(1):
            assert page.take(1) == texts(turn)
        page.close()
