"""Requests per second under gunicorn."""

import http.client
import random
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from bench import HERE, PART, Bench, environment
from names import FLOOR, LIMIT, OURS, PEER
from servers import give_up, program, running  # bench.py knows where it is

START = 30  # seconds for gunicorn to start
VISITORS = 64  # that share the load; when two requests of one of them meet, ours merges what others lose


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, cookie: str = "") -> tuple[int, str]:
    """Status, and the cookie that was set."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    response = connection.getresponse()
    response.read()
    return response.status, (response.headers["Set-Cookie"] or "").partition(";")[0]


def wait_for(port: int, gunicorn: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and gunicorn.poll() is None:
        try:
            if ask(port, "/public")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    give_up("gunicorn did not start")


# What wrk sends: one visitor after the other. Requests are formatted before the clock starts.
_VISITORS = """
local cookies, requests, number = {%s}, {}, 0
function init(args)
    for i, cookie in ipairs(cookies) do requests[i] = wrk.format("GET", nil, {Cookie = cookie}) end
end
function request()
    number = number %% #requests + 1
    return requests[number]
end
"""


def load_by_wrk(port: int, path: str, cookies: list[str], seconds: int) -> dict[str, float]:
    url = f"http://127.0.0.1:{port}{path}"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_VISITORS % ", ".join(f'"{cookie}"' for cookie in cookies))
        script.flush()
        wrk = [program("wrk"), "-t1", "-c8", f"-d{seconds}s", "--latency", "-s", script.name, url]
        said = subprocess.run(wrk, check=True, capture_output=True, text=True, timeout=PART).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        give_up(f"{url} fails:\n{said}")
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    times = {share: float(value) * units[unit] for share, value, unit in re.findall(r"(\d+)% +([\d.]+)(\w+)", said)}
    rate = re.search(r"Requests/sec: +([\d.]+)", said)
    assert rate is not None, said
    return {"rate": float(rate[1]), "p50": times["50"], "p99": times["99"]}


def load_by_python(port: int, path: str, cookies: list[str], seconds: int) -> dict[str, float]:
    """Where there is no wrk; slower than that, so it measures itself as well."""
    took: list[float] = []
    statuses: set[int] = set()
    end = time.monotonic() + seconds

    def visit() -> None:
        while (start := time.monotonic()) < end:
            cookie = random.choice(cookies)
            statuses.add(ask(port, path, cookie)[0])
            took.append(1000 * (time.monotonic() - start))

    with ThreadPoolExecutor(8) as pool:
        for visitor in [pool.submit(visit) for _ in range(8)]:
            visitor.result()  # it raises what went wrong
    if statuses != {200}:
        give_up(f"{path} fails with {statuses}")
    shares = statistics.quantiles(took, n=100)
    return {"rate": len(took) / seconds, "p50": shares[49], "p99": shares[98]}


def gunicorn(bench: Bench, number: int, seconds: int) -> dict[str, Any]:
    """Requests per second, and milliseconds that half of them, and 99 of 100, take at most: medians of the rounds."""
    load = load_by_wrk if shutil.which("wrk") else load_by_python
    print("gunicorn …", end=" ", flush=True)
    start = time.monotonic()
    cases: list[tuple[str, str, int]] = []
    with ExitStack() as stack:
        for name in (FLOOR, LIMIT, PEER, OURS):
            port = free_port()
            options = ["--workers=2", f"--bind=127.0.0.1:{port}", "--log-level=error", f"--chdir={HERE}"]
            command = [str(bench.python), "-m", "gunicorn", *options, f"contenders:make_app({name!r}, {bench.url!r})"]
            server = stack.enter_context(running(command, env=environment()))
            wait_for(port, server)
            pages = {FLOOR: ["public"], LIMIT: ["read"]}.get(name, ["public", "read", "write"])
            cases += [(name, page, port) for page in pages]
        found: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(number):
            for name, page, port in cases:  # with new cookies each time, or a refresh would be due
                cookies = [ask(port, "/begin")[1] if name in (PEER, OURS) else "none=" for _ in range(VISITORS)]
                found.setdefault((name, page), []).append(load(port, f"/{page}", cookies, seconds))
    figures = [
        {"label": [name, "untouched" if page == "public" else page]}
        | {each: statistics.median(figure[each] for figure in rounds) for each in ("rate", "p50", "p99")}
        for (name, page), rounds in found.items()
    ]
    print(f"{time.monotonic() - start:.0f} s", flush=True)
    return {"by": load.__name__.removeprefix("load_by_"), "figures": figures}
