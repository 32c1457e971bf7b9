"""The clients of one process that wait for notifications, and the one thread that reads Redis for all of them.

What it reads is there for all. A client takes what is later than its last id, at its own pace: so a slow one costs no
memory, and one that comes back is no special case.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, cast
from weakref import WeakSet

from flask import Flask

from redis_store import RedisSessionInterface, StoreUnavailable
from roles.notifications_stream import Id, Message, catch_up, extend, format_id, get_end, parse

RETRY = 2000  # milliseconds after which a browser connects again
BATCH = 200  # wake-ups at once, before the streams are read
MORE = 0.001  # seconds to wait for another one
TCP_ESTABLISHED = 1  # in Linux


class Client:
    """A browser that is connected: by its stream's key and its session's; `sock`, where the server tells."""

    def __init__(self, key: bytes, session: str, sock: Any) -> None:
        self.key, self.session, self.sock = key, session, sock
        self.wake, self.ended = threading.Event(), False
        self.is_ahead = self.is_sure = False  # it has got more than was read here; that was read since

    def has_hung_up(self) -> bool:
        """Return whether the other end is closed. Where the system does not tell, a heartbeat will fail."""
        with suppress(AttributeError, OSError):
            return bool(self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_ESTABLISHED)
        return False

    def end(self) -> None:
        self.ended = True
        self.wake.set()


class Hub:
    """The clients, and the thread, which runs from the first one to the last."""

    heartbeat = 15.0  #: seconds in which a client gets a line, and has to take one
    look_after = 0.5  #: seconds between two looks at the clients' sessions
    sync_after = 10.0  #: seconds between two times that all is read: a wake-up may be lost, a connection dead
    tick = 0.1  #: seconds after which the thread sees new clients, or tries again

    def __init__(self, app: Flask) -> None:
        self.log, self.interface = app.logger, cast(RedisSessionInterface, app.session_interface)
        self.begin()
        HUBS.add(self)

    def begin(self) -> None:
        """Begin without clients: here, or in a forked process."""
        self.lock = threading.RLock()
        self.thread: threading.Thread | None = None
        self.clients: set[Client] = set()
        # The rest is the thread's own. By key: what was read; what is to be read; the channels it listens to.
        self.messages: dict[bytes, tuple[Message, ...]] = {}
        self.due: set[bytes] = set()
        self.channels: set[bytes] = set()
        self.pubsub: Any = None
        self.next_look = self.next_sync = 0.0
        self.heard = False  # anything since all was read

    def serve(self, client: Client, last: Id | None) -> Iterator[bytes]:
        """Yield what a client gets, until its session ends."""
        with suppress(AttributeError):
            client.sock.settimeout(self.heartbeat)
        self.join(client)
        try:
            yield b"retry: %d\n\n" % RETRY
            while not client.ended:
                client.wake.clear()
                events, messages = b"", self.messages.get(client.key)
                if messages is not None and last and last > get_end(messages) and not client.is_sure:
                    client.is_ahead = True  # another process, or its page, was faster than our wake-up
                elif messages is not None:
                    events, last = catch_up(messages, last)
                if events:
                    yield events
                elif not client.ended and not client.wake.wait(self.heartbeat):
                    yield b":\n\n"
        finally:
            self.leave(client)

    def join(self, client: Client) -> None:
        """Let the thread know a client; start it for the first one."""
        with self.lock:
            self.clients.add(client)
            if self.thread is None:
                self.thread = threading.Thread(target=self.run, name="notifications", daemon=True)
                self.thread.start()

    def leave(self, client: Client) -> None:
        with self.lock:
            self.clients.discard(client)

    def get_clients(self) -> list[Client]:
        with self.lock:
            return [*self.clients]

    # The thread.

    def run(self) -> None:
        """Take turns as long as there are clients. When Redis is away they stay, and get later what they missed."""
        failed = False
        while self.is_needed():
            failures = [failure for step in (self.look, self.read, self.listen) if (failure := self.attempt(step))]
            if failures and not failed:
                self.log.warning("notifications have to wait: %s", failures[0])
            failed = bool(failures)

    def attempt(self, step: Callable[[], None]) -> str:
        """Return why a step failed, if it did: only the kind of error, for its words may have a key."""
        try:
            step()
        except Exception as error:  # of the client, of whatever kind: the thread must not end
            if step == self.listen:
                with self.lock:
                    self.disconnect()
                time.sleep(self.tick)
            return str(error) if isinstance(error, StoreUnavailable) else type(error).__name__
        return ""

    def is_needed(self) -> bool:
        """Return whether there are clients. If not, the thread is over, and leaves nothing behind."""
        with self.lock:
            if not self.clients:
                with suppress(Exception):
                    self.pubsub.unsubscribe()  # in fakeredis, what is closed goes on listening
                self.disconnect()
                self.messages, self.thread = {}, None
            return self.thread is not None

    def look(self) -> None:
        """End the clients whose session has ended, and those that are not there any more."""
        if time.monotonic() < self.next_look:
            return
        self.next_look, clients = time.monotonic() + self.look_after, self.get_clients()
        for client in clients:
            if client.has_hung_up():
                client.end()
        for key, seconds in self.ask([("TTL", key) for key in {client.session for client in clients}]):
            for client in clients if seconds == -2 else ():
                if client.session == key:
                    client.end()

    def read(self) -> None:
        """Read the streams of which a wake-up came, or whose clients know more, and wake who waits."""
        ahead = [client for client in self.get_clients() if client.is_ahead and not client.is_sure]
        self.due |= {client.key for client in ahead}
        while due := [*self.due]:
            starts = [format_id(known[-1].id) if (known := self.messages.get(key)) else "-" for key in due]
            read = set()
            try:
                for key, answer in self.ask([("XRANGE", *words, "+") for words in zip(due, starts, strict=True)]):
                    messages = extend(self.messages.get(key, ()), parse(answer))
                    if messages is None:
                        del self.messages[key]  # it is read once more, from its beginning
                    else:
                        self.messages[key] = messages
                        self.due.discard(key)
                        read.add(key)
            finally:
                for client in self.get_clients():
                    if client.key in read:  # nobody else, or a client would never wait long enough for a heartbeat
                        client.wake.set()
        for client in ahead:
            client.is_sure = True
            client.wake.set()

    def ask(self, commands: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, Any]]:
        """Yield the key of each command, and its answer. StoreUnavailable, after all others: some have none."""
        store, servers, failure = self.interface.store, defaultdict(list), None
        find_server = getattr(store.client, "get_node_from_key", lambda key: None)  # of a Cluster, each may be away
        for command in commands:
            servers[find_server(command[1])].append(command)
        for group in servers.values():
            try:
                answers = store.sender.run_all(group, again=True, ordered=False)
            except StoreUnavailable as error:
                failure = error
                continue
            yield from ((command[1], answer) for command, answer in zip(group, answers, strict=True))
        if failure:
            raise failure

    def listen(self) -> None:
        """Wait for wake-ups. The answer to SUBSCRIBE is one, too: from then on none is missed."""
        wanted, now = {client.key for client in self.get_clients()}, time.monotonic()
        new, gone = wanted - self.channels, self.channels - wanted
        if now >= self.next_sync:
            if self.channels and not self.heard:
                raise TimeoutError
            new, self.heard, self.next_sync = wanted, False, now + self.sync_after
        self.pubsub = self.pubsub or self.interface.store.client.pubsub()
        if new:  # on a Cluster the first one chooses the server, which may be away
            self.pubsub.subscribe(*random.sample([*new], len(new)))
        if gone:
            self.pubsub.unsubscribe(*gone)
        self.channels, wait = wanted, self.tick
        for key in self.messages.keys() - wanted:
            del self.messages[key]
        for _ in range(BATCH):
            if (message := self.pubsub.get_message(timeout=wait)) is None:
                break
            self.heard, wait = True, MORE
            key = message["channel"] if isinstance(message["channel"], bytes) else message["channel"].encode()
            if key in wanted and message["type"] in ("message", "subscribe"):
                self.due.add(key)

    def disconnect(self) -> None:
        """Close the pub/sub connection: all that it has missed is to be read."""
        with suppress(Exception):  # of whatever state it is in
            self.pubsub.close()
        self.pubsub, self.channels, self.next_sync = None, set(), 0.0
        self.due = {client.key for client in self.clients}


#: Those of this process. Python never forgets what is to run after a fork: so that is one function, for all of them.
HUBS: WeakSet[Hub] = WeakSet()


def begin_anew() -> None:
    """Begin without clients, in a forked process."""
    for hub in [*HUBS]:
        hub.begin()


os.register_at_fork(after_in_child=begin_anew)
