"""A network that goes bad when a test says so."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from contextlib import suppress

from support.faults import PATIENCE


class Proxy:
    """A TCP proxy to a Redis, whose network goes bad when a test says so."""

    def __init__(self, target: str) -> None:
        self.target = target  #: path of a unix socket; may change
        self.delay = 0.0  #: seconds that each answer is late
        self.reset = 0.0  #: share of the commands that reset their connection instead
        self.lose = 0.0  #: share of the answers that reset their connection instead
        self.silent = False  #: whether answers are swallowed
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                pair = client, server
                self._pairs.add(pair)
                try:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    server.connect(self.target)
                except OSError:
                    self._end(pair)
                    continue
                for source, sink in (pair, pair[::-1]):
                    self._threads.append(threading.Thread(target=self._pass_on, args=(source, sink, pair)))
                    self._threads[-1].start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        answers = source is pair[1]
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.delay:
                    time.sleep(self.delay)
                if random.random() < (self.lose if answers else self.reset):
                    break
                if not (answers and self.silent):
                    sink.sendall(data)
        self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pairs.discard(pair)
        for end in pair:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST, not FIN
            with suppress(OSError):
                end.shutdown(socket.SHUT_RD)  # wakes the other thread
            end.close()

    def cut(self) -> None:
        """Reset every connection."""
        for pair in [*self._pairs]:
            self._end(pair)

    def stop(self) -> None:
        self.delay = 0
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(PATIENCE)
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)
