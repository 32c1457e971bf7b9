"""A network that goes bad when a test says so."""

from __future__ import annotations

import random
import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Any

from redis_store import connect
from support.faults import PATIENCE
from support.servers import PATIENCE as LONG
from support.servers import TIMEOUTS


class Proxy:
    """A TCP proxy to a Redis, whose network goes bad when a test says so."""

    def __init__(self, target: str) -> None:
        self.target = target  #: path of a unix socket; may change
        self.delay = 0.0  #: seconds that each answer is late
        self.reset = 0.0  #: share of the commands that reset their connection instead
        self.lose = 0.0  #: share of the answers that reset their connection instead
        self.silent = False  #: whether answers are swallowed
        self._clients: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):  # shut down
            while True:
                client, _ = self._listener.accept()
                self._clients.add(client)
                self._threads.append(threading.Thread(target=self._carry, args=[client]))
                self._threads[-1].start()

    def _carry(self, client: socket.socket) -> None:
        """Carry bytes both ways until one side closes, or the network breaks.

        Nobody else closes the sockets: a thread that still read would read the next one that gets the same number.
        """
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST, not FIN
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.connect(self.target)
            with selectors.DefaultSelector() as both:
                both.register(client, selectors.EVENT_READ, server)
                both.register(server, selectors.EVENT_READ, client)
                while all(self._pass_on(key.fileobj, key.data) for key, _ in both.select()):
                    pass
        self._clients.discard(client)

    def _pass_on(self, source: Any, sink: socket.socket) -> bool:
        """Pass on what there is; return whether the connection goes on."""
        answers = source.family == socket.AF_UNIX
        data = source.recv(65536)
        if data and answers and self.delay:
            time.sleep(self.delay)
        if not data or random.random() < (self.lose if answers else self.reset):
            return False
        if not (answers and self.silent):
            sink.sendall(data)
        return True

    def connect(self) -> Any:
        """A client of the server, through here, which is patient."""
        return connect(self.url, **dict.fromkeys(TIMEOUTS, LONG))

    def cut(self) -> None:
        """Reset every connection."""
        for client in [*self._clients]:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RD)  # its thread sees the end

    def stop(self) -> None:
        self.delay = 0
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)
