"""Requests per second under gunicorn."""

import http.client
import itertools
import random
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from bench import HERE, PART, Bench, environment, free_port, wait_for
from names import CONNECTIONS, FLOOR, LIMIT, OURS, PEER, VISITORS
from servers import give_up, program, running  # bench.py knows where it is

#: Who is asked what. A login comes after the write, whose rate tells how many visitors it needs.
CASES = {
    "untouched": [FLOOR, PEER, OURS],
    "read": [LIMIT, PEER, OURS],
    "write": [PEER, OURS],
    "login": [PEER, OURS],
}
Requests = list[tuple[str, str]]  # path and cookie


def ask(port: int, path: str) -> tuple[int, str]:
    """Return the status, and the cookie that was set."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status, (response.headers["Set-Cookie"] or "").partition(";")[0]


def serves(port: int) -> bool:
    return ask(port, "/public")[0] == 200


# What wrk sends: one request after the other. They are formatted before the clock starts.
_SCRIPT = """
local requests, number = {}, 0
function init(args)
    for line in io.lines("%s") do
        local path, cookie = line:match("(%%S+) (.*)")
        requests[#requests + 1] = wrk.format("GET", path, {Cookie = cookie})
    end
end
function request()
    number = number %% #requests + 1
    return requests[number]
end
"""


def load_by_wrk(port: int, requests: Requests, seconds: int) -> dict[str, float]:
    """Send these requests, one after the other, again and again; return the rate (per second) and times (ms)."""
    with tempfile.TemporaryDirectory() as folder:
        listed, script = f"{folder}/requests", f"{folder}/script.lua"
        with open(listed, "w") as lines:
            lines.writelines(f"{path} {cookie}\n" for path, cookie in requests)
        with open(script, "w") as lines:
            lines.write(_SCRIPT % listed)
        wrk = [program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", script]
        wrk.append(f"http://127.0.0.1:{port}")
        said = subprocess.run(wrk, check=True, capture_output=True, text=True, timeout=PART).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        give_up(f"{requests[0][0]} fails:\n{said}")
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    times = {share: float(value) * units[unit] for share, value, unit in re.findall(r"(\d+)% +([\d.]+)(\w+)", said)}
    rate, sent = re.search(r"Requests/sec: +([\d.]+)", said), re.search(r"(\d+) requests in", said)
    assert rate, said
    assert sent, said
    return {"rate": float(rate[1]), "p50": times["50"], "p99": times["99"], "sent": int(sent[1]) + CONNECTIONS}


def load_by_python(port: int, requests: Requests, seconds: int) -> dict[str, float]:
    """Do the same where there is no wrk. It is slower, so it measures itself as well, and ratios are nearer to 1."""
    took: list[float] = []
    heads: set[bytes] = set()
    form = "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nCookie: {}\r\n\r\n"
    ready = itertools.cycle([form.format(*request).encode() for request in requests])  # next() is atomic
    start = time.monotonic()

    def send() -> None:
        while (begun := time.monotonic()) < start + seconds:
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(next(ready))
                heads.add(connection.recv(4096)[9:12])
                while connection.recv(4096):
                    pass
            took.append(1000 * (time.monotonic() - begun))

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for sender in [pool.submit(send) for _ in range(CONNECTIONS)]:
            sender.result()  # it raises what went wrong
    if heads != {b"200"}:
        give_up(f"{requests[0][0]} fails with {heads}")
    shares, sent = statistics.quantiles(took, n=100), len(took)
    return {"rate": sent / (time.monotonic() - start), "p50": shares[49], "p99": shares[98], "sent": sent}


def visit(name: str, kind: str, port: int, number: int) -> Requests:
    """Return requests of so many visitors, each with a new session: of an old one a refresh might be due."""
    if name in (FLOOR, LIMIT):
        cookies = ["none="] * number
    else:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            answers = [*pool.map(lambda _: ask(port, "/begin"), range(number))]
        if {status for status, _ in answers} != {200}:
            give_up(f"{name} begins no sessions")
        cookies = [cookie for _, cookie in answers]
    if kind == "login":
        return [(f"/login?user={random.randbytes(4).hex()}", cookie) for cookie in cookies]
    return [(f"/{'public' if kind == 'untouched' else kind}", cookie) for cookie in cookies]


def measure(load: Callable[..., dict[str, float]], ports: dict[str, int], seconds: int) -> dict[Any, dict[str, float]]:
    """Run each case once."""
    found: dict[Any, dict[str, float]] = {}
    for kind, names in CASES.items():
        for name in random.sample(names, len(names)):
            number = VISITORS if kind != "login" else int(1.3 * seconds * found[name, "write"]["rate"]) + VISITORS
            while True:
                found[name, kind] = load(ports[name], visit(name, kind, ports[name], number), seconds)
                if kind != "login" or found[name, kind]["sent"] <= number:
                    break
                number *= 2  # a visitor signs in once, so there were too few of them
    return found


def gunicorn(bench: Bench, number: int, seconds: int) -> tuple[str, list[dict[str, Any]]]:
    """Return what loaded it, and the figures, which are medians of some rounds.

    Requests per second, and the milliseconds that half of them, and 99 of 100, take at most.
    """
    load = load_by_wrk if shutil.which("wrk") else load_by_python
    print("gunicorn …", end=" ", flush=True)
    start, ports = time.monotonic(), {}
    with ExitStack() as stack:
        for name in (FLOOR, LIMIT, PEER, OURS):
            port = ports[name] = free_port()
            options = ["--workers=2", f"--bind=127.0.0.1:{port}", "--log-level=error", f"--chdir={HERE}"]
            app = f"contenders:make_app({name!r}, {bench.main.url!r})"
            server = stack.enter_context(
                running([str(bench.python), "-m", "gunicorn", *options, app], env=environment())
            )
            wait_for("gunicorn", server, partial(serves, port))
        rounds = [measure(load, ports, seconds) for _ in range(number)]
    figures = [
        {"label": [*case]} | {each: statistics.median(found[case][each] for found in rounds) for each in fields}
        for case, fields in ((case, ("rate", "p50", "p99")) for case in rounds[0])
    ]
    print(f"{time.monotonic() - start:.0f} s", flush=True)
    return load.__name__.removeprefix("load_by_"), figures
