"""A call may end anywhere: nobody gets another one's answer, and the pool stays whole."""

from __future__ import annotations

import dis
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError
from support.calls import check, check_whole
from support.project import ROOT
from support.servers import RedisServer
from support.tiers import rounds
from support.torture import STRIKES, Interrupted

CALLS = rounds(1_000, 34_000)  # of all threads together, of each kind
STEPS = rounds(23, 3)  # from one place where a call is broken off to the next; each test begins at another one
DEADLINE = 300  # seconds for all; then something hangs
PATIENT = {name: DEADLINE for name in ("timeout", "socket_timeout", "socket_connect_timeout")}
PARTS = (str(ROOT / "_redis_store"), str(Path(redis.__file__).parent))

#: A socket that is being connected or closed has no owner: Python closes it, and warns.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that ends a finalizer is gone: pytest would keep it, and with it the connections of its frames."""
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)


class TimeLimit(ValueError):
    """What a job's time limit may be as well."""


def is_checkpoint(frame: FrameType, instruction: int) -> bool:
    """Whether Python looks for signals after this bytecode: a call, the beginning of a function, a jump back."""
    name = dis.opname[frame.f_code.co_code[instruction]]
    return name.startswith(("CALL", "RESUME")) or ("JUMP_BACKWARD" in name and "NO_INTERRUPT" not in name)


@contextmanager
def break_off(at: int, again: int = 0, look: Callable[[int], Any] | None = None) -> Iterator[list[int]]:
    """Raise Interrupted at a checkpoint of client, pool and redis-py, maybe once more; yields how many there were.

    `look` is called at each of them, with its number, and may raise something else. No garbage is collected meanwhile:
    its finalizers have checkpoints, too.
    """
    counted, places = [0], {at, at + again}
    before: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PARTS):
            return None
        frame.f_trace_opcodes = True
        if event == "exception":  # the bytecode did not end
            before.pop(frame, None)
        elif event == "opcode":
            last, before[frame] = before.get(frame), frame.f_lasti
            if last is not None and is_checkpoint(frame, last):
                counted[0] += 1
                if look:
                    look(counted[0])
                if counted[0] in places:
                    raise Interrupted
        return trace

    tracer = sys.gettrace()
    gc.disable()
    sys.settrace(trace)
    try:
        yield counted
    finally:
        sys.settrace(tracer)
        gc.enable()
        before.clear()


def broken_off(client: Any, kind: str, at: int, again: int = 0, look: Callable[[int], Any] | None = None) -> bool:
    """Whether a call was broken off there; False: it has fewer checkpoints."""
    total = 0

    def run() -> None:
        nonlocal total
        with break_off(at, again, look) as counted:
            try:
                check(client, kind, "broken off")
            except Interrupted:
                pass
            except Exception as error:
                if not isinstance(error.__context__, Interrupted):  # redis-py may make another error of it
                    raise
        total = counted[0]

    thread = threading.Thread(target=run)  # of its own: a tracer's exceptions leave traces in the state of a thread
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    return total >= at


KINDS = ["execute_command", "execute_all", "pipeline"]
STATES = ["idle", "new", "closed", "waiting"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", STATES)
def test_a_call_may_end_before_any_bytecode(server: RedisServer, kind: str, state: str) -> None:
    """Of client, pool and redis-py, with a connection that is idle, new, or closed, and when another caller waits."""
    client = server.connect(max_connections=2, **PATIENT)
    pool: Any = client.connection_pool
    check_whole(client)
    for at in range(1 + (KINDS.index(kind) + STATES.index(state)) % STEPS, 100_000, STEPS):
        waiting = None
        if state == "new":
            pool.disconnect()
        elif state == "closed":
            pool._idle[-1]._sock.shutdown(2)
        elif state == "waiting":
            other = pool.take()
            held = pool.take()
            waiting = threading.Thread(target=check, args=(client, kind, "waited"))
            waiting.start()
            while not pool._waiting:
                time.sleep(0)
            pool.give_back(other) if at % 2 else pool.drop(other)
            pool._idle.append(held)  # as given back, without telling anybody
            del other, held
        more = broken_off(client, kind, at)
        if waiting:
            waiting.join(60)
            assert not waiting.is_alive()
        check_whole(client)
        if not more:
            break
    assert at > 50  # redis-py has more


@pytest.mark.parametrize("again", [1, 2, 5, 20])
def test_a_call_may_be_broken_off_twice(server: RedisServer, again: int) -> None:
    """While it is cleaning up after the first time."""
    client = server.connect(max_connections=2, **PATIENT)
    for at in range(1 + again % STEPS, 100_000, STEPS):
        if not broken_off(client, "execute_all", at, again):
            break
        check_whole(client)


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_was_given_back_is_the_next_callers(server: RedisServer, kind: str) -> None:
    """Who takes it, just when the call before it is broken off, has it alone: that call's cleaning up is not for it."""
    client = server.connect(max_connections=1, **PATIENT)
    pool: Any = client.connection_pool
    check_whole(client)
    places: list[int] = []
    broken_off(client, kind, 0, look=lambda number: places.append(number) if pool._idle else None)
    for at in places:
        taken: list[Any] = []

        def take(number: int, at: int = at, taken: list[Any] = taken) -> None:
            if number == at:
                taken.append(pool.get_connection())
                taken[0].send_command("ECHO", "the next")

        broken_off(client, kind, at, look=take)
        assert taken.pop().read_response() == b"the next"
        check_whole(client)
    assert len(places) > 10


def test_a_call_that_waits_keeps_nothing_to_itself(server: RedisServer) -> None:
    """A job's time limit may be a ValueError, which reaches the job from any place of the wait for a connection."""
    client = server.connect(max_connections=1, **PATIENT | {"timeout": 0.01})
    pool: Any = client.connection_pool
    pool.patience = 0.004
    held = pool.take()
    found: list[Any] = []

    def call(at: int) -> None:
        def look(number: int) -> None:
            if number == at:
                raise TimeLimit

        with break_off(0, look=look) as counted:
            try:
                client.echo("broken off")
            except (TimeLimit, ConnectionError) as error:
                found[:] = counted[0], type(error)

    for at in range(1, 100_000):
        thread = threading.Thread(target=call, args=(at,))
        thread.start()
        thread.join(DEADLINE)
        if found[0] < at:
            break
        assert found[1] is TimeLimit
    assert at > 20
    pool.give_back(held)
    check_whole(client)


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_interrupts_a_second_mix_up_no_answers(server: RedisServer, kind: str) -> None:
    """One thread is broken off by a signal handler, again and again, while 32 others work on."""
    words = [sys.executable, "-m", "support.torture", server.url, kind, str(CALLS)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    run = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    found = json.loads(run.stdout)
    assert found["errors"] == []
    assert found["strikes"] >= STRIKES
    assert found["connections"] <= 12
    assert found["named"] == 12
