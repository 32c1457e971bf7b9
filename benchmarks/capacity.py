"""What very many sessions take: memory, disk, and time until Redis is back after a kill.

    .venv/bin/python benchmarks/capacity.py --write-docs 1000000 10000000

Each user is signed in once, with a session of 500 bytes: a record, and an owner's index. The server runs with
deploy/redis.conf, on a port and in a folder of its own; ten million sessions take it 14 GB, and some minutes.
"""

from __future__ import annotations

import argparse
import re
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

from durability import HOST, ROOT, Server, wait_for, working
from flask import Flask, session
from marks import replace

from redis_store import RedisSessionInterface

PAGE = ROOT / "docs/growing.md"
BATCH = 10_000

# Copies of one session, each of a user and a sid of its own, with the TTLs of the first.
_COPY = """
local record, ttl = redis.call('GET', KEYS[1]), redis.call('TTL', KEYS[1])
local score, left = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2], redis.call('TTL', KEYS[2])
for i = 1, ARGV[3] do
    local sid = ARGV[1] .. redis.sha1hex(ARGV[2] .. i)
    redis.call('SET', 'SESSION:' .. sid, record, 'EX', ttl)
    redis.call('ZADD', 'OWNER:SESSION:' .. ARGV[2] .. i, score, sid)
    redis.call('EXPIRE', 'OWNER:SESSION:' .. ARGV[2] .. i, left)
end
"""


def fill(server: Server, number: int) -> None:
    """Sign so many users in: one by the app, the others by copying."""
    app, client = Flask("app"), server.connect(socket_timeout=60)
    app.secret_key, app.session_interface = secrets.token_hex(), RedisSessionInterface(client)

    @app.get("/")
    def sign_in() -> str:
        session.update(user_id="user-0", cart=[{"id": n, "name": "x" * 20} for n in range(12)])
        return ""

    app.test_client().get("/")
    (key,), (index,) = client.keys("SESSION:*"), client.keys("OWNER:*")
    for done in range(1, number, BATCH):
        client.eval(_COPY, 2, key, index, key[8:17], secrets.token_hex(4), min(BATCH, number - done))


def ask(server: Server, key: str) -> int:
    """Return how many GETs of a session Redis answers in a second, to 50 clients of redis-benchmark."""
    command = ["redis-benchmark", "-h", HOST, "-p", str(server.port), "-c", "50", "-n", "100000", "-q", "GET", key]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(float(re.findall(r"([\d.]+) requests per second", said)[-1]))


def measure(number: int, folder: Path) -> dict[str, Any]:
    """Fill a server, save, kill it and let it come back."""
    server = Server(folder, "--maxmemory", "0", "--save", "", "--appendonly", "no")
    client = server.connect(socket_timeout=60)
    before = client.info("memory")["used_memory"]
    fill(server, number)
    found: dict[str, Any] = {"number": client.dbsize() // 2, "bytes": client.info("memory")["used_memory"] - before}
    found["gets"] = ask(server, next(client.scan_iter("SESSION:*")).decode())
    start = time.monotonic()
    client.config_set("appendonly", "yes")  # only now: filling is not what is measured
    wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"], seconds=900)
    found["saved"], found["fork"] = time.monotonic() - start, client.info("stats")["latest_fork_usec"] / 1000
    found["disk"] = sum(path.stat().st_size for path in folder.glob("appendonlydir/*"))
    server.kill()
    server.command[-1] = "yes"
    start = time.monotonic()
    server.start(seconds=900)
    found["back"] = time.monotonic() - start
    if server.connect().dbsize() != 2 * number:
        raise RuntimeError("sessions are missing")
    server.kill()
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Return a table of it."""
    heads = "sessions", "memory", "each", "on disk", "pause for the fork", "until saved", "back after kill -9", "GETs/s"
    rows = [f"| {' | '.join(heads)} |", "| ---: " * len(heads) + "|"]
    for one in found:
        cells = [f"{one['number']:,}", f"{one['bytes'] / 1e9:.2f} GB", f"{one['bytes'] / one['number']:,.0f} B"]
        cells += [f"{one['disk'] / 1e9:.2f} GB", f"{one['fork']:.0f} ms", f"{one['saved']:.0f} s"]
        cells += [f"{one['back']:.0f} s", f"{one['gets']:,}"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("numbers", type=int, nargs="+", help="of sessions")
    parser.add_argument("--write-docs", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    with working() as folder:
        shown = table([measure(number, folder / str(number)) for number in options.numbers])
    print(shown)
    if options.write_docs:
        replace(PAGE, "capacity", shown.splitlines())


if __name__ == "__main__":
    main()
