"""A proxy between a client and a Redis server, which counts what a request waits for."""

from __future__ import annotations

import select
import socket
import threading
from pathlib import Path


class Wire:
    """Counts round trips: how often a client sends something after it has had its answer.

    The server listens on a unix socket, and so does this, at `path`.
    """

    def __init__(self, server: Path, path: Path) -> None:
        self.trips = 0
        self.url = f"unix://{path}"
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Take no more connections; those that there are end with their clients."""
        self._listener.shutdown(socket.SHUT_RDWR)  # close() alone does not wake a thread that accepts
        self._acceptor.join()  # or it might accept from the next socket that gets the same number
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=[client], daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        """Carry bytes both ways until one side closes."""
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._server))
            has_answer = True
            while True:
                for source in select.select([client, server], [], [])[0]:
                    if not (data := source.recv(2**16)):
                        return
                    if source is client:
                        self.trips += has_answer
                        has_answer = False
                        server.sendall(data)
                    else:
                        has_answer = True
                        client.sendall(data)
