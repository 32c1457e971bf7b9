"""The views that cache.py measures: the same slow answer, kept in three ways."""

import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flask import Flask, request

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from redis_store import RedisSessionInterface, connect  # found by the line above
from roles import cache

ASIDE, DOGPILE, OURS = "cache-aside", "dogpile.cache", "roles/cache.py"
NAMES = [ASIDE, DOGPILE, OURS] if find_spec("dogpile") else [ASIDE, OURS]
BUILDS = "builds"  # the key of how often a view ran


class Views:
    """An app with one view for each way, below `/<way>`; and how to forget what a view answered.

    A view counts itself, works for `seconds`, and returns what `read` says; with `?fail` it fails the first time.
    """

    def __init__(self, socket: str, seconds: float, max_age: int, lease: int) -> None:
        # Patient, or on a busy machine Redis would count as away, and the view would run.
        self.redis = connect(f"unix://{socket}", socket_timeout=20, timeout=20, max_connections=200)
        self.seconds, self.max_age, self.lease = seconds, max_age, lease
        self.read: Callable[[], Any] = dict
        self.app = Flask("views")
        self.app.config.update(SECRET_KEY="only-for-a-benchmark-" * 2, SESSION_MAX_WAIT=60)
        self.app.session_interface = RedisSessionInterface(self.redis)
        self.forget: dict[str, Callable[[], object]] = {ASIDE: lambda: self.redis.delete("aside")}
        self.app.add_url_rule(f"/{ASIDE}", view_func=self.aside)
        self.app.add_url_rule(f"/{OURS}", view_func=cache.cached("ours", max_age=max_age, lease=lease)(self.build))
        self.forget[OURS] = self.forget_ours
        if DOGPILE in NAMES:
            from dogpile.cache import make_region

            self.region = make_region(serializer=lambda value: json.dumps(value).encode(), deserializer=json.loads)
            pool = self.redis.connection_pool
            lock = {"distributed_lock": True, "lock_timeout": lease, "thread_local_lock": False, "lock_sleep": 0.05}
            self.region.configure("dogpile.cache.redis", max_age, arguments={"connection_pool": pool, **lock})
            self.app.add_url_rule(f"/{DOGPILE}", view_func=self.dogpile)
            self.forget[DOGPILE] = lambda: self.region.delete("dogpile")

    def build(self) -> dict[str, Any]:
        found = self.read()
        first = self.redis.incr(BUILDS) == 1
        time.sleep(self.seconds)
        if first and "fail" in request.args:
            raise RuntimeError("as it was told to")
        return {"found": found}

    def aside(self) -> dict[str, Any]:
        """What the tutorials do: GET, and on a miss SET EX."""
        if (kept := self.redis.get("aside")) is not None:
            return dict(json.loads(kept))
        built = self.build()
        self.redis.set("aside", json.dumps(built), ex=self.max_age)
        return built

    def dogpile(self) -> dict[str, Any]:
        return dict(self.region.get_or_create("dogpile", self.build))

    def forget_ours(self) -> None:
        with self.app.app_context():
            cache.forget("ours")
