"""What every part needs: a Python with the peers, servers of Redis, and a process for each part."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "conformance"))

from servers import give_up, prepare, program, running  # noqa: E402  # found by the line above

PEERS = ["flask-session==0.8.0", "msgspec", "django==5.2.*", "gunicorn", "matplotlib"]
PART = 300  # seconds for one part; the longest takes 100
START = 30  # seconds for a server to start


def make_home(home: Path) -> Path:
    """Return the Python of a virtual environment with the peers. Make it now, unless it is there.

    hiredis is not in it: redis-py would take it, for all contenders alike.
    """
    python, requirements = home / "venv" / "bin" / "python", ROOT / "requirements.txt"
    texts = [file.read_text() for file in (requirements, ROOT / "pyproject.toml")]
    done, wanted = home / "done.txt", "\n".join([sys.version, *PEERS, *texts])
    if not (done.exists() and done.read_text() == wanted):
        print("pip is bringing the peers.", flush=True)
        done.unlink(missing_ok=True)
        prepare(sys.executable, "-m", "venv", "--clear", home / "venv")
        pip = (python, "-m", "pip", "--disable-pip-version-check", "install")
        prepare(*pip, "--requirement", requirements, *PEERS, cwd=ROOT)  # -e . in it is that of the present folder
        done.write_text(wanted)
    return python


def environment() -> dict[str, str]:
    """Return the variables of ours, without what could change what is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "PYTHON", "GUNICORN_"))}


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(name: str, process: "subprocess.Popen[str]", answers: Callable[[], bool]) -> None:
    """Return when the server answers. Exits 2 when it does not."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            if answers():
                return
        time.sleep(0.05)
    give_up(f"{name} did not start")


class Server(NamedTuple):
    """A Redis of our own."""

    url: str  #: TCP over loopback: what is measured
    socket: Path  #: of the file system: for the proxy and for koa, whose time is not measured


class Bench:
    """What every part needs: the Python with the peers, and a Redis."""

    def __init__(self, home: Path, folder: Path, stack: ExitStack) -> None:
        self.home, self.folder, self.stack = home, folder, stack
        self.python = make_home(home)
        self.main = self.redis("main")

    def redis(self, name: str, *settings: str) -> Server:
        """Start one more server, with these settings. It ends with the run."""
        folder, port = self.folder / name, free_port()
        folder.mkdir()
        path = folder / "redis.sock"
        command = [program("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--unixsocket", str(path)]
        command += ["--dir", str(folder), "--save", "", *settings]
        log = self.stack.enter_context((folder / "redis.log").open("w"))
        process = self.stack.enter_context(running(command, stdout=log, stderr=log))

        def answers() -> bool:
            with socket.create_connection(("127.0.0.1", port), START) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")

        wait_for("redis-server", process, answers)
        return Server(f"redis://127.0.0.1:{port}", path)

    def measure(self, part: str, **options: Any) -> Any:
        """Return the figures of a part of measure.py. Exits 2 if that fails."""
        print(f"{part} …", end=" ", flush=True)
        start = time.monotonic()
        try:
            run = subprocess.run(
                [self.python, HERE / "measure.py", part, json.dumps(options)],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                timeout=PART,
            )
        except subprocess.TimeoutExpired:
            give_up(f"{part} was not ready after {PART} seconds")
        if run.returncode:
            give_up(f"{part} could not be measured")
        print(f"{time.monotonic() - start:.0f} s", flush=True)
        return json.loads(run.stdout)
