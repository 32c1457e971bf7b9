"""A TCP proxy before a server's unix socket. A test says how the bytes of an answer reach the client."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from _redis_store.connection import connect
from support.servers import PATIENCE, TIMEOUTS


def end(one: socket.socket) -> None:
    """Let whoever reads from a socket, or waits for a connection, go on."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Passes on what it gets, chunk by chunk; `deliver(client, chunk)` sends answers, and may do anything to them."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.requests: list[bytes] = []  # one for each chunk from a client
        self.deliver: Callable[[socket.socket, bytes], None] = socket.socket.sendall
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self.clients: list[Any] = []
        self.forgotten: set[socket.socket] = set()
        self.deaf = False

    def connect(self, **options: Any) -> Any:
        """A client of the server, through here, which is patient. Options of `connect`."""
        self.clients.append(connect(self.url, **dict.fromkeys(["timeout", *TIMEOUTS], PATIENCE) | options))
        return self.clients[-1]

    def forget(self, *, new: bool = False) -> None:
        """Let nothing through any more, and tell nobody: on the connections there are, or on `new` ones as well."""
        self.forgotten |= {*self.sockets}
        self.deaf = new

    def __enter__(self) -> Proxy:
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()
        return self

    def __exit__(self, *args: object) -> None:
        """End the threads, then close: one that still read would read the next socket that gets the same number."""
        for client in self.clients:
            client.connection_pool.disconnect()
        end(self.listener)
        self.acceptor.join(PATIENCE)
        for one in self.sockets:
            end(one)
        for thread in self.threads:
            thread.join(PATIENCE)
        for one in (self.listener, *self.sockets):
            one.close()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self.target))
                self.sockets += client, server
                for ends in ((client, server), (server, client)):
                    self.threads.append(threading.Thread(target=self.pump, args=ends, daemon=True))
                    self.threads[-1].start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass on one direction until either end is closed."""
        with suppress(OSError):
            while chunk := source.recv(1 << 20):
                if self.deaf or source in self.forgotten:
                    continue
                if source.family == socket.AF_UNIX:
                    self.deliver(sink, chunk)
                else:
                    self.requests.append(chunk)
                    sink.sendall(chunk)
        end(source)
        end(sink)
