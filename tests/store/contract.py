"""What a store of sessions has to do, whatever it is made of: claims about an object with the seven verbs.

    @pytest.mark.parametrize("claim", CLAIMS)
    def test_my_store_keeps_the_contract(claim):
        clock = Clock()
        claim(MyStore(clock), clock.move)

Each claim takes an empty store, and a function that lets so many seconds pass for it. AssertionError: it is not so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

Session = dict[str, Any]
Pass = Callable[[int], object]  # so many seconds


class Store(Protocol):
    """The seven verbs, as `redis_store.RedisStore` describes them."""

    def get(self, sid: str) -> Session | None: ...
    def set(self, session: Mapping[str, Any], sid: str | None = None, *, max_age: int = ...) -> str: ...
    def destroy(self, sid: str) -> bool: ...
    def touch(self, sid: str, *, max_age: int = ...) -> bool: ...
    def add(self, sid: str, value: Mapping[str, Any], *, max_age: int = ...) -> bool: ...
    def take(self, sid: str) -> Session | None: ...
    def update(
        self, sid: str, change: Callable[[Session], Session | None], *, max_age: int = ...
    ) -> Session | None: ...


CLAIMS: list[Callable[[Store, Pass], None]] = []


def claim(function: Callable[[Store, Pass], None]) -> Callable[[Store, Pass], None]:
    """Make the function one of the claims."""
    CLAIMS.append(function)
    return function


def replace(store: Store, sid: str, session: Session) -> str:
    """Give a session a new sid, and return it: with the store's own `replace` if it has one, or with the verbs."""
    if own := getattr(store, "replace", None):
        return str(own(sid, session))
    new = store.set(session)
    store.destroy(sid)
    return new


def refused(write: Callable[[], object]) -> bool:
    """Return whether it is a TypeError."""
    try:
        write()
    except TypeError:
        return True
    return False


def meanwhile(work: Callable[[], object]) -> Callable[[Session], Session]:
    """Return a change during which something else happens to the session."""
    return lambda session: {**session, "done": str(work())}


@claim
def a_session_comes_back_as_it_was_written(store: Store, later: Pass) -> None:
    session = {"text": "ü😀", "n": 2**53 - 1, "half": 0.5, "yes": True, "nothing": None, "deep": [1, {"a": []}]}
    assert store.get(store.set(session)) == session


@claim
def what_is_done_to_a_session_that_was_read_is_not_stored(store: Store, later: Pass) -> None:
    sid = store.set({"cart": [1]})
    for session in (store.get(sid), store.get(sid)):
        assert session == {"cart": [1]}
        session["cart"].append(2)


@claim
def each_session_has_a_sid_of_its_own(store: Store, later: Pass) -> None:
    sids = {store.set({"n": n}) for n in range(50)}
    assert len(sids) == 50
    assert min(map(len, sids)) >= 16  # of 64 bits at least, however they are written


@claim
def a_session_ends_when_its_max_age_is_over(store: Store, later: Pass) -> None:
    sid = store.set({"n": 1}, max_age=100)
    later(50)
    assert store.get(sid) == {"n": 1}
    later(51)
    assert store.get(sid) is store.take(sid) is None
    assert store.touch(sid) is store.destroy(sid) is False


@claim
def an_unknown_sid_is_not_adopted(store: Store, later: Pass) -> None:
    assert store.get("planted") is store.take("planted") is None
    assert store.touch("planted") is store.destroy("planted") is False
    assert store.update("planted", lambda session: {"user_id": "ada"}) is None
    assert store.get("planted") is None


@claim
def the_first_of_two_to_destroy_a_session_ended_it(store: Store, later: Pass) -> None:
    sid = store.set({"n": 1})
    assert [store.destroy(sid), store.destroy(sid)] == [True, False]
    assert store.get(sid) is None


@claim
def touch_gives_a_session_more_time_and_nothing_else(store: Store, later: Pass) -> None:
    sid = store.set({"n": 1}, max_age=100)
    assert store.touch(sid, max_age=500) is True
    later(400)
    assert store.get(sid) == {"n": 1}


@claim
def add_is_for_the_first_only(store: Store, later: Pass) -> None:
    assert store.add("lease", {"by": 1}, max_age=100) is True
    assert store.add("lease", {"by": 2}, max_age=500) is False
    assert store.get("lease") == {"by": 1}
    later(101)
    assert store.add("lease", {"by": 3}) is True


@claim
def of_many_callers_one_takes_a_session(store: Store, later: Pass) -> None:
    sid = store.set({"code": 1})
    with ThreadPoolExecutor(8) as pool:
        taken = [*pool.map(lambda _: store.take(sid), range(64))]
    assert [session for session in taken if session is not None] == [{"code": 1}]


@claim
def update_stores_what_the_change_makes_of_a_session(store: Store, later: Pass) -> None:
    sid = store.set({"n": 1}, max_age=100)
    assert store.update(sid, lambda session: {**session, "m": 2}, max_age=500) == {"n": 1, "m": 2}
    assert store.update(sid, lambda session: None, max_age=5) is None  # it writes nothing
    later(400)
    assert store.get(sid) == {"n": 1, "m": 2}
    assert store.update(sid, lambda session: {}) == {}  # it ends the session
    assert store.get(sid) is None


@claim
def no_update_of_another_writer_is_lost(store: Store, later: Pass) -> None:
    sid, others = store.set({"n": 1}), [{"n": 10, "other": True}]

    def change(session: Session) -> Session:
        if others:
            store.set(others.pop(), sid)
        return {**session, "n": session["n"] + 1}

    assert store.update(sid, change) == store.get(sid) == {"n": 11, "other": True}


@claim
def updates_at_once_are_all_counted(store: Store, later: Pass) -> None:
    sid = store.set({"n": 0})
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: store.update(sid, lambda session: {"n": session["n"] + 1}), range(200)))
    assert store.get(sid) == {"n": 200}


@claim
def a_session_that_ended_meanwhile_is_not_written_again(store: Store, later: Pass) -> None:
    for end in (store.destroy, store.take, lambda _: later(101)):
        sid = store.set({"n": 1}, max_age=100)
        assert store.update(sid, meanwhile(partial(end, sid))) is None
        assert store.get(sid) is None


@claim
def a_session_is_there_while_it_is_changed(store: Store, later: Pass) -> None:
    sid, seen = store.set({"n": 1}), list[Session | None]()
    store.update(sid, meanwhile(lambda: seen.append(store.get(sid))))
    assert seen == [{"n": 1}]


@claim
def a_value_that_json_cannot_keep_is_refused_and_changes_nothing(store: Store, later: Pass) -> None:
    sid, bad = store.set({"n": 1}), {"cart": object()}
    assert refused(lambda: store.set(bad, sid))
    assert refused(lambda: store.add("new", bad))
    assert refused(lambda: store.update(sid, lambda session: bad))
    assert (store.get(sid), store.get("new")) == ({"n": 1}, None)


@claim
def an_old_sid_lives_until_there_is_a_new_one(store: Store, later: Pass) -> None:
    old = store.set({"n": 1})
    assert refused(lambda: replace(store, old, {"cart": object()}))  # it cannot be stored
    assert store.get(old) == {"n": 1}
    new = replace(store, old, {"user_id": "ada"})
    assert (store.get(old), store.get(new)) == (None, {"user_id": "ada"})
