"""The contract of a store, for anybody's own: who keeps it, and that it can be broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from contract import CLAIMS, Pass, Store
from contract import a_session_that_ended_meanwhile_is_not_written_again as ended_meanwhile
from contract import an_old_sid_lives_until_there_is_a_new_one as old_sid_lives
from contract import an_unknown_sid_is_not_adopted as unknown_sid
from support.clock import Clock
from support.dict_store import WEEK, DictStore, Session
from support.project import ROOT

from redis_store import RedisStore

Claim = Callable[[Store, Pass], None]
Change = Callable[[Session], Session | None]


def name_of(claim: Claim) -> str:
    """A claim, as pytest shows it."""
    return claim.__name__


@pytest.mark.parametrize("claim", CLAIMS, ids=name_of)
def test_redis_store_keeps_the_contract(store: RedisStore, client: Any, claim: Claim) -> None:
    """On either backend."""

    def later(seconds: int) -> None:
        for key in client.keys():
            client.pexpire(key, client.pttl(key) - 1000 * seconds)

    claim(store, later)


@pytest.mark.parametrize("claim", CLAIMS, ids=name_of)
def test_a_store_in_a_dict_keeps_the_contract(claim: Claim) -> None:
    """Ten lines are enough."""
    clock = Clock()
    claim(DictStore(clock), clock.move)


class AdoptsUnknownSids(DictStore):
    """As starsessions does: where the cookie says, there the session is written, known or not."""

    def update(self, sid: str, change: Change, *, max_age: int = WEEK) -> Session | None:
        self.add(sid, {}, max_age=max_age)
        return super().update(sid, change, max_age=max_age)


class WritesEndedSessions(DictStore):
    """As connect-redis does: read when the request begins, and written when it ends, whatever happened meanwhile."""

    def update(self, sid: str, change: Change, *, max_age: int = WEEK) -> Session | None:
        session = self.get(sid)
        if session is None or (changed := change(session)) is None:
            return None
        self.set(changed, sid, max_age=max_age)
        return changed


class DeletesTheOldSidFirst(DictStore):
    """As Flask-Session does when it regenerates a session."""

    def replace(self, sid: str, session: Mapping[str, Any]) -> str:
        self.destroy(sid)
        return self.set(session)


@pytest.mark.parametrize(
    ("store", "claim"),
    [(AdoptsUnknownSids, unknown_sid), (WritesEndedSessions, ended_meanwhile), (DeletesTheOldSidFirst, old_sid_lives)],
)
def test_what_other_stores_do_wrong_breaks_the_contract(store: type[DictStore], claim: Claim) -> None:
    """The claim that is about it finds it."""
    clock = Clock()
    with pytest.raises(AssertionError):
        claim(store(clock), clock.move)


def test_the_contract_is_read_in_a_sitting() -> None:
    """So that it is clear what it asks for."""
    assert len((ROOT / "tests/store/contract.py").read_text().splitlines()) <= 200
