"""An app on a port of this machine, for programs that speak HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask
from werkzeug.serving import make_server


@contextmanager
def serve(app: Flask, tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Serve the app in threads, inside the block; yield its URL. `tls`: the files of a certificate and of its key."""
    files = tls and (str(tls[0]), str(tls[1]))
    http = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=files)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))  # how soon it sees that it is over
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
