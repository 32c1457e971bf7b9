"""A network that delays, cuts and splits answers mixes up none."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError, TimeoutError
from support.calls import check, check_whole
from support.proxy import Proxy
from support.servers import PATIENCE, RedisServer, wait_at_most
from support.stopwatch import Stopwatch
from support.tiers import rounds

CALLS = rounds(30, 400)  # of each thread
DEADLINE = 300  # seconds for all; then something hangs


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.socket) as proxy:
        yield proxy


TIMEOUT = 0.03  # seconds, on a bad network
ANSWERS = b"$7\r\nthe key\r\n$-1\r\n$7\r\nthe key\r\n"


@pytest.mark.thorough
@pytest.mark.parametrize("place", range(1, len(ANSWERS)))
@pytest.mark.parametrize("fault", ["split", "cut", "late"])
def test_an_answer_may_break_at_every_place(proxy: Proxy, place: int, fault: str) -> None:
    """In the middle of a line's end, too. Split, it is read; otherwise the next command does not get the rest of it."""
    client = proxy.connect(max_connections=1)
    client.ping()
    if fault == "late":
        wait_at_most(client, 0.1, later=PATIENCE)
    in_time = threading.Event()

    def deliver(sink: Any, chunk: bytes) -> None:
        proxy.deliver = type(sink).sendall
        assert chunk == ANSWERS
        sink.sendall(chunk[:place])
        if fault == "cut":
            sink.shutdown(2)
            return
        in_time.wait(0.001 if fault == "split" else PATIENCE)
        sink.sendall(chunk[place:])

    proxy.deliver = deliver
    if fault == "split":
        check(client, "execute_all", "the key")
    else:
        with pytest.raises(ConnectionError if fault == "cut" else TimeoutError):
            check(client, "execute_all", "the key")
    in_time.set()
    check(client, "execute_command", "another")


def test_a_bad_network_mixes_up_no_answers(proxy: Proxy) -> None:
    """Delays up to and over the timeout, cuts and splits, at random places, for many threads."""
    client = proxy.connect(max_connections=6, timeout=20, socket_timeout=TIMEOUT)
    chance, wrong, good = random.Random(1), [], []

    def deliver(sink: Any, chunk: bytes) -> None:
        place = chance.randrange(len(chunk) + 1)
        sink.sendall(chunk[:place])
        if (fault := chance.random()) < 0.02:
            sink.shutdown(2)
        elif fault < 0.2:
            threading.Event().wait(chance.choice([0.001, 0.01, 0.029, 0.031, 0.05]))
        sink.sendall(chunk[place:])

    def work(kind: str) -> None:
        for number in range(CALLS):
            try:
                check(client, kind, f"{threading.get_ident()}:{number}")
                good.append(1)
            except (ConnectionError, TimeoutError):
                pass
            except BaseException as error:
                wrong.append(error)

    proxy.deliver = deliver
    kinds = ["execute_command", "execute_all"] * 4
    threads = [threading.Thread(target=work, args=(kind,), daemon=True) for kind in kinds]
    with Stopwatch() as watch:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    stood_still = watch.longest > TIMEOUT  # the machine: then many come too late
    assert len(good) > (CALLS if stood_still else 4 * CALLS)  # of eight times as many
    proxy.deliver = lambda sink, chunk: sink.sendall(chunk)
    wait_at_most(client, PATIENCE)
    client.connection_pool.disconnect()
    check_whole(client)


def test_a_proxy_that_is_over_leaves_no_thread(server: RedisServer) -> None:
    """One that reads from a closed socket would go on in the next one with its number: with another test's answers."""
    before = {*threading.enumerate()}
    with socket.socket() as client, Proxy(server.socket) as proxy:
        client.connect(proxy.listener.getsockname())
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"
        assert {*threading.enumerate()} > before
    assert {*threading.enumerate()} <= before
