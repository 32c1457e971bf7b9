"""The same with something that happens between two commands of one request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule
from redis import RedisError

from _redis_store.sender import Command
from _redis_store.sid import began_at
from support.apps import set_cookie
from support.machine.machine import BROWSERS, Machine
from support.machine.model import Session
from support.machine.views import BUSY, MOVE
from support.machine.world import OWNERS, WHICH, redis_is


class Client:
    """The app's redis-py client, which lets something else happen between two of its commands."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.hook: Callable[[], object] | None = None
        self.left = 0  #: how many commands are sent before it

    def execute_command(self, *command: Any, **options: Any) -> Any:
        if (hook := self.hook) and threading.current_thread() is threading.main_thread():
            self.left -= 1
            if self.left < 0:
                self.hook = None
                hook()
        return self.client.execute_command(*command, **options)

    def execute_all(self, commands: list[Command], **options: Any) -> list[Any]:
        answers: list[Any] = []
        for command in commands:
            try:
                answers.append(self.execute_command(*command, **options))
            except RedisError as error:
                answers.append(error)
        return answers


class CommandByCommand(Machine):
    """The same, where all may be signed out between two commands of a request. Its app has a `Client`."""

    @redis_is("up")
    @rule(browser=BROWSERS, owner=OWNERS, view=st.sampled_from(["login", "login_afresh", "replace_sid"]), left=WHICH)
    def revoke_between_two_commands(self, browser: str, owner: str, view: str, left: int) -> None:
        """Of a request that gives a session a new sid: it ends as well, or it is in the index from now on."""
        client, revoked = self.interface.store.client, []
        of_owner = {sid for sid, known in self.model.live().items() if known.content.get("user_id") == owner}

        def revoke() -> None:
            with self.app.app_context():
                revoked.append(self.interface.revoke(owner))

        asked = self.make(browser, view, owner)
        client.hook, client.left = lambda: self.pool.submit(revoke).result(BUSY), left
        response = self.send(asked)
        client.hook = None
        if not revoked:
            self.check(asked, response)
            return
        self.look(asked)
        may_end = of_owner | self.model.outcome(asked).ends
        records = self.records()
        for sid in [sid for sid in self.model.sessions if self.model.present(sid) and sid not in records]:
            assert sid in may_end or self.model.sessions[sid].state == "junk"
            self.model.end(sid)
        assert not of_owner & self.model.live().keys(), "all that there were have ended"
        assert response.status_code in (200, 503)
        cookie = (set_cookie(response) or "").partition(";")[0].removeprefix("session=")
        asked.browser.cookie = cookie if set_cookie(response) else asked.browser.cookie
        for sid in records.keys() - self.model.sessions.keys():
            assert (response.status_code, cookie.partition(".")[0]) == (200, sid)
            content = records[sid] or {}
            if content.get("user_id") == owner:
                assert (view != "replace_sid", content["place"]) == (True, asked.value)
            born = (began_at(sid) or 0) - self.began
            born -= born % MOVE
            self.model.sessions[sid] = Session(content, born, self.model.limit(born))
        if cookie:
            sid = cookie.partition(".")[0]  # it may have ended already
            self.model.sessions.setdefault(sid, Session({}, self.model.now, 0, "ended"))
            self.model.signed[cookie] = self.model.now
            asked.browser.drawer.append(cookie)
            if self.model.sessions[sid].state == "live":
                self.model.sessions[sid].expires = self.model.limit(self.model.sessions[sid].born)
                if view == "replace_sid" and asked.sid:
                    self.model.trails[asked.sid] = sid
