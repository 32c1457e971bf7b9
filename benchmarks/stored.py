"""Requests with sessions among very many."""

import random
import secrets
from typing import Any

from contenders import make_app
from names import OURS, PEER
from redis import Redis
from rounds import Figures, Samples, Unit, rounds
from visitor import Visitor, begin, timed

VISITORS = 3000  # that ask; so many that no cache of the processor holds their sessions
STEPS = 100

# One script for thousands: a record is copied under sids of its own, with its TTL.
_COPY = """
local record, ttl = redis.call('GET', KEYS[1]), redis.call('TTL', KEYS[1])
for i = 1, ARGV[3] do
    redis.call('SET', ARGV[1] .. redis.sha1hex(ARGV[2] .. i) .. string.format('%08x', i), record, 'EX', ttl)
end
"""


def fill(app: Any, client: Any, prefix: str, number: int) -> list[Visitor]:
    """Make so many sessions; return the visitors who have some of them.

    They begin in between, so that their records are anywhere in the server's memory.
    """
    visitors, real = [begin(app)], min(VISITORS, number)
    (key,) = client.scan_iter(f"{prefix}*")
    for step in range(STEPS):
        visitors += [begin(app) for _ in range(real * (step + 1) // STEPS - len(visitors))]
        copies = (number - real) * (step + 1) // STEPS - (number - real) * step // STEPS
        client.eval(_COPY, 1, key, prefix, secrets.token_hex(8), copies)
    if client.dbsize() != number:
        raise RuntimeError(f"{client.dbsize()} sessions instead of {number}")
    return visitors


def stored(urls: dict[str, str], number: int, batch: int, runs: int) -> list[list[Figures]]:
    """Time requests of visitors chosen at random, on servers that hold more and more sessions.

    Returns the figures of each run. They all use the same servers: to fill one takes long.
    """
    units: list[Unit] = []
    for count, url in urls.items():
        for name, prefix, database in ((PEER, "session:", 1), (OURS, "SESSION:", 2)):
            app, client = make_app(name, f"{url}/{database}"), Redis.from_url(f"{url}/{database}")
            if name == OURS:
                app.config["SESSION_REFRESH_AFTER"] = 3600  # none is due: it is not the time that is measured here
            visitors = fill(app, client, prefix, int(count))

            def ask(name: str = name, visitors: list[Visitor] = visitors, count: str = count) -> Samples:
                chosen = random.sample(visitors, batch)
                for kind in random.sample(["read", "write"], 2):
                    yield (name, kind, int(count)), timed(chosen, kind)

            units.append(ask)
    return [rounds(units, number) for _ in range(runs)]
