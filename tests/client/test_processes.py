"""Forked processes and killed greenlets: each has its own answers only."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.project import ROOT
from support.servers import RedisServer

DEADLINE = 300  # seconds for all; then something hangs
PATHS = [str(ROOT), str(ROOT / "tests")]


def run(script: str, *args: str) -> str:
    """What a script prints; it must end well, and in time."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(PATHS)}
    command = [sys.executable, "-c", script, *args]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


FORK = """
import os, sys, threading, warnings
from support.calls import check, check_whole
from _redis_store.connection import connect
client = connect(sys.argv[1], max_connections=4, timeout=20, socket_timeout=20)
check_whole(client)
sockets = {connection._sock.fileno(): connection._sock.getpeername() for connection in client.connection_pool._idle}
warnings.simplefilter("ignore", DeprecationWarning)  # since Python 3.12, of fork beside threads: that is the case here
stop = threading.Event()
def work():
    while not stop.is_set():
        check(client, "execute_all", f"{os.getpid()}:{threading.get_ident()}")
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
pids = []
for number in range(10):
    held = client.connection_pool.get_connection()  # in use when the process forks
    if (pid := os.fork()) == 0:
        ids = [client.client_id()]
        client.connection_pool.release(held)
        for n in range(100):
            check(client, ("execute_command", "execute_all", "pipeline")[n % 3], f"child {os.getpid()}:{n}")
        check_whole(client)
        assert held not in client.connection_pool._connections
        os._exit(0)
    client.connection_pool.release(held)
    pids.append(pid)
    check(client, "pipeline", f"parent {number}")
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
stop.set()
for thread in threads:
    thread.join()
check_whole(client)
print(codes)
"""


def test_a_forked_process_has_connections_of_its_own(server: RedisServer) -> None:
    """And its parent goes on with what it has, also when threads of it were in the middle of a command."""
    assert run(FORK, server.url) == f"{[0] * 10}\n"


GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import gc, select, sys
import gevent
from support.calls import check, check_whole
from _redis_store.connection import connect
client = connect(sys.argv[1], max_connections=5, timeout=5, socket_timeout=20)
gc.disable()  # what a call held that was broken off is free at once
wrong, cut = [], 0
def work(name):
    global cut
    for number in range(150):
        kind = ("execute_command", "execute_all", "pipeline")[number % 3]
        try:
            with gevent.Timeout((number % 7) * 0.0007 or None):
                check(client, kind, f"{name}:{number}")
        except gevent.Timeout:
            cut += 1
        except gevent.GreenletExit:
            raise
        except BaseException as error:
            wrong.append(error)
greenlets = [gevent.spawn(work, name) for name in range(32)]
killed = [gevent.spawn(work, name) for name in range(32, 40)]
gevent.sleep(0.05)
gevent.killall(killed)
gevent.joinall(greenlets, raise_error=True)
assert not wrong, wrong
check_whole(client)
client.connection_pool._idle[-1].send_command("ECHO", "a stranger's")
assert select.select([client.connection_pool._idle[-1]._sock], [], [], 20)[0], "no answer"
check(client, "execute_command", "mine")
client.connection_pool._idle[-1]._sock.shutdown(2)
check(client, "execute_command", "mine")
print(cut > 100)
"""


def test_greenlets_may_be_killed(server: RedisServer) -> None:
    """By gevent.Timeout or gevent.kill(), in the middle of an answer or of the wait for a connection."""
    pytest.importorskip("gevent")
    assert run(GEVENT, server.url) == "True\n"
