"""What happens around the browsers: time passes, Redis goes away, and an owner is signed out everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redis_store import RedisSessionInterface, RedisStore
from support.clock import Clock
from support.machine.model import NEW, Model, Outcome, Session
from support.machine.views import BUSY, MOVE, SLOW, make_app
from support.servers import RedisServer, wait_at_most

Rule = TypeVar("Rule", bound=Callable[..., Any])
OWNERS = st.sampled_from(["ada", "bob"])
WHICH = st.integers(0, 7)  # of what there is, the oldest first
JUNK = [b"", b"\xff\x00", b"{", b"null", b"[1]", b'{"a":{" d":5}}', b'{"a":{" u":"x"}}', b"[" * 200, "a list"]
PATIENCE = {"frozen": 2, "refusing": 4, "down": 4}  # requests until it is repaired
FROZEN = 0.05  # seconds to wait for an answer of a frozen Redis


def redis_is(*states: str) -> Callable[[Rule], Rule]:
    return precondition(lambda self: self.redis in states)


class World(RuleBasedStateMachine):
    """An app, and a Redis that is "up", "refusing" writes, "frozen" or "down"."""

    def __init__(
        self,
        server: RedisServer,
        clock: Clock,
        make_interface: Callable[[Any], RedisSessionInterface] = RedisSessionInterface,
        **config: Any,
    ) -> None:
        super().__init__()
        self.server, self.clock = server, clock
        self.client: Any = server.connect(socket_timeout=BUSY)  # the machine's own
        self.client.flushall()
        self.began = int(clock())  # the model's time 0
        self.client_of_app: Any = server.connect(socket_timeout=BUSY)
        self.interface = make_interface(self.client_of_app)
        self.interface.clock = clock
        self.app = make_app(self.interface)
        self.app.config.update(config)
        self.model = Model(config.get("SESSION_ABSOLUTE_LIFETIME"))
        self.redis = "up"
        self.doubts: list[Outcome] = []  # what a frozen Redis may still do, although the answer was a 503
        self.patience = 0

    def be_patient(self, seconds: float) -> None:
        """So long the app waits for an answer from now on, on a connection that is there before it is needed."""
        pool = self.client_of_app.connection_pool
        wait_at_most(self.client_of_app, BUSY)
        pool.release(pool.get_connection())
        wait_at_most(self.client_of_app, seconds)

    def teardown(self) -> None:
        self.server.thaw()
        if self.redis == "down":
            self.server.start()
        self.client.config_set("min-replicas-to-write", 0)
        self.server.disconnect()
        self.clock.offset = 0

    # Time passes for cookies and for Redis; the trails of replaced sids are left out.

    @redis_is("up")
    @rule()
    def move_clock(self) -> None:
        self.clock.offset += MOVE
        self.model.move_clock(MOVE)
        for key in self.client.keys():
            if not key.startswith(b"MOVED:"):
                self.client.pexpire(key, self.client.pttl(key) - 1000 * MOVE)

    def pick(self, which: int) -> str:
        live = list(self.model.live())
        return live[which % len(live)]

    @redis_is("up")
    @precondition(lambda self: self.model.live())
    @rule(which=WHICH)
    def expire(self, which: int) -> None:
        sid = self.pick(which)
        assert self.client.pexpire(f"SESSION:{sid}", 0)
        self.model.end(sid)

    @redis_is("up")
    @precondition(lambda self: self.model.live())
    @rule(which=WHICH, junk=st.sampled_from(JUNK))
    def corrupt(self, which: int, junk: Any) -> None:
        sid = self.pick(which)
        key = f"SESSION:{sid}"
        if isinstance(junk, bytes):
            self.client.set(key, junk, keepttl=True)
        else:
            left = self.client.pttl(key)
            self.client.delete(key)
            self.client.rpush(key, junk)
            self.client.pexpire(key, left)
        self.model.sessions[sid].state = "junk"

    @redis_is("up")
    @rule()
    def flush(self) -> None:
        self.client.flushall()
        self.model.end_all()

    @redis_is("up")
    @rule(outage=st.sampled_from([*PATIENCE]))
    def stop(self, outage: str) -> None:
        """Or what comes near it. It is repaired after some requests, or by the next rule."""
        self.redis, self.patience, self.doubts = outage, PATIENCE[outage], []
        if outage == "down":
            self.server.stop()
        elif outage == "frozen":
            self.be_patient(FROZEN)
            self.server.freeze()
        else:
            self.client.config_set("min-replicas-to-write", 1)

    @redis_is(*PATIENCE)
    @rule(empty=st.booleans())
    def repair(self, empty: bool) -> None:
        """A server that was down has its data again, or is empty."""
        outage, self.redis = self.redis, "up"
        if outage == "down":
            self.server.start()
            if empty:
                self.flush()
        elif outage == "frozen":
            self.server.thaw()
            self.be_patient(BUSY)
            for _ in range(3):  # until all that was sent before is read
                self.server.connect(socket_timeout=BUSY).ping()
            self.settle()
        else:
            self.client.config_set("min-replicas-to-write", 0)
        self.interface.store.sender.breaker.timeouts = 0  # half a second later, that is

    def settle(self) -> None:
        """A request that got a 503 was carried out, or was not; nothing between the two."""
        records = self.records()
        for sid in records.keys() - self.model.sessions.keys():
            (doubt, *_) = [each for each in self.doubts if (each.sid, each.content) == (NEW, records[sid])]
            self.model.sessions[sid] = Session(records[sid] or {}, doubt.born, self.model.limit(doubt.born))
            if doubt.trail:
                self.model.trails |= dict.fromkeys(doubt.ends, sid)
        for sid, known in self.model.sessions.items():
            if known.state == "ended":
                continue
            if sid not in records:
                assert any(sid in doubt.ends for doubt in self.doubts)
                self.model.end(sid)
                continue
            kept = [doubt.content for doubt in self.doubts if doubt.sid == sid]
            if known.state == "live" and records[sid] != known.content:
                assert records[sid] in kept
                known.content = records[sid] or {}
            if kept and self.ttl(sid) > known.expires - self.model.now:
                known.expires = self.model.limit(known.born)

    # With the index of owners.

    @precondition(lambda self: self.redis == "up")
    @rule(owner=OWNERS, keep=st.none() | WHICH)
    def revoke(self, owner: str, keep: int | None) -> None:
        sids = [sid for sid, known in self.model.live().items() if known.content.get("user_id") == owner]
        kept = None if keep is None or not sids else sids[keep % len(sids)]
        ended = [sid for sid in sids if sid != kept]
        with self.app.app_context():
            number = self.interface.revoke(owner, keep=kept)
        for sid in ended:
            self.model.end(sid)
        left = self.records()  # what cannot be read may have been the owner's, and be deleted and counted as well
        for sid in [sid for sid in self.model.sessions if self.model.present(sid) and sid not in left]:
            assert self.model.sessions[sid].state == "junk"
            self.model.end(sid)
            number -= 1
        assert number == len(ended)

    @precondition(lambda self: self.redis == "up" and self.model.live())
    @rule(which=WHICH)
    def end(self, which: int) -> None:
        sid = self.pick(which)
        with self.app.app_context():
            assert self.interface.end(sid)
        self.model.end(sid)

    # What holds after each step.

    def records(self) -> dict[str, dict[str, Any] | None]:
        """All sessions that there are in Redis; None for one that cannot be read."""
        store = RedisStore(self.client)
        sids = [key.decode().removeprefix("SESSION:") for key in self.client.keys("SESSION:*")]
        return {sid: store.get(sid) for sid in sids}

    def ttl(self, sid: str) -> float:
        return float(self.client.pttl(f"SESSION:{sid}") / 1000)

    @redis_is("up", "refusing")
    @invariant()
    def redis_holds_the_live_sessions_and_nothing_else(self) -> None:
        """No session came back, no update was lost, no 503 wrote, no cookie is without a record."""
        expected: dict[str, Any] = {sid: session.content for sid, session in self.model.live().items()}
        expected |= {sid: None for sid, session in self.model.sessions.items() if session.state == "junk"}
        assert self.records() == expected

    @redis_is("up", "refusing")
    @invariant()
    def every_key_has_a_ttl(self) -> None:
        """A session's is what its cookie says."""
        for key in self.client.keys():
            assert self.client.pttl(key) > 0
        for sid, known in self.model.live().items():
            left = known.expires - self.model.now
            assert left - SLOW < self.ttl(sid) <= left

    @precondition(lambda self: self.redis == "up")
    @invariant()
    def the_index_lists_the_live_sessions_of_each_owner(self) -> None:
        with self.app.app_context():
            for owner in ("ada", "bob"):
                listed = [entry.sid for entry in self.interface.sessions_of(owner)]
                live = self.model.live().items()
                assert sorted(listed) == sorted(sid for sid, kept in live if kept.content.get("user_id") == owner)
