"""Threads that share a client, one of which is broken off by a signal handler again and again: a process of their own.

    python -m support.torture URL KIND CALLS

Prints what it found as JSON. The garbage and the sockets that other tests have left are not part of the claim.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import warnings
from contextlib import suppress
from typing import Any

from redis_store import connect
from support.calls import check, check_whole

THREADS = 32
STRIKES = 50  # at least
PATIENT = 60  # seconds, for an answer; then it was lost


class Interrupted(BaseException):
    """What a job's time limit raises, or a greenlet's kill."""


def run(url: str, kind: str, number: int) -> dict[str, Any]:
    """Make so many calls, by all threads together, and look whether the client is whole."""
    waits = dict.fromkeys(("timeout", "socket_timeout", "socket_connect_timeout"), PATIENT)
    client = connect(url, max_connections=12, client_name=kind, **waits)
    calls, armed, strikes = iter(range(number)), False, 0
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for call in calls:
                check(client, kind, f"{threading.get_ident()}:{call}")
        except BaseException as error:
            errors.append(error)

    def strike(*args: Any) -> None:
        nonlocal armed, strikes
        if armed:
            armed, strikes = False, strikes + 1
            raise Interrupted

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    for thread in threads:
        thread.start()
    while not errors and ((call := next(calls, None)) is not None or strikes < STRIKES):
        with suppress(Interrupted):
            armed = True
            check(client, kind, f"main:{call}:{strikes}")
            armed = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    for thread in threads:
        thread.join()
    connections = len(client.connection_pool._connections)
    if not errors:
        check_whole(client)
    names = [each["name"] for each in client.client_list()].count(kind)
    return {"errors": [*map(repr, errors)], "strikes": strikes, "connections": connections, "named": names}


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)  # a socket that is being connected or closed has no owner
    sys.unraisablehook = lambda unraisable: None  # some end a finalizer
    print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
