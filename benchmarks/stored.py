"""Requests with sessions among very many."""

import random
import secrets
from typing import Any

from contenders import make_app
from names import OURS, PEER
from redis import Redis
from rounds import Figures, Samples, Unit, rounds
from visitor import Visitor, begin, timed

# One script for ten thousand: a record is copied under sids of its own, with its TTL.
_FILL = """
local record, ttl = redis.call('GET', KEYS[1]), redis.call('TTL', KEYS[1])
for i = 1, ARGV[3] do
    redis.call('SET', ARGV[1] .. redis.sha1hex(ARGV[2] .. i) .. string.format('%08x', i), record, 'EX', ttl)
end
"""


def fill(client: Any, prefix: str, number: int) -> None:
    """Copies of the only session in this database, until there are so many."""
    (key,) = client.scan_iter(f"{prefix}*")
    for start in range(1, number, 10_000):
        client.eval(_FILL, 1, key, prefix, secrets.token_hex(8), min(10_000, number - start))


def stored(urls: dict[str, str], number: int, batch: int) -> list[Figures]:
    """Requests with sessions chosen at random, on servers that hold more and more, so many for each contender."""
    units: list[Unit] = []
    for count, url in urls.items():
        for name, prefix, database in ((PEER, "session:", 1), (OURS, "SESSION:", 2)):
            app, client = make_app(name, f"{url}?db={database}"), Redis.from_url(f"{url}?db={database}")
            begin(app)
            fill(client, prefix, int(count))

            def ask(
                name: str = name, app: Any = app, client: Any = client, prefix: str = prefix, count: str = count
            ) -> Samples:
                sids = [client.randomkey().decode().removeprefix(prefix) for _ in range(batch)]
                if name == OURS:
                    sids = [app.session_interface.make_cookie(app, sid, True) for sid in sids]
                visitors = [Visitor(app, {"session": sid}) for sid in sids]
                for kind in random.sample(["read", "write"], 2):
                    yield (name, kind, int(count)), timed(visitors, f"/{kind}")

            units.append(ask)
    return rounds(units, number)
