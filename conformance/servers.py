"""What these programs and the benchmarks need: a Redis of their own, and an end for every process that they start."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

START = 10.0  # seconds that redis-server may take to answer; 0.03 is usual
PREPARATION = 600  # seconds for one run of pip
STOP = 10.0  # seconds that a process may take to end when it is asked to; then it is killed


def give_up(reason: str) -> NoReturn:
    """Exit 2: nothing was proved, and nothing refuted."""
    print(reason, file=sys.stderr)
    raise SystemExit(2)


def program(name: str) -> str:
    """Where the program is. Exits 2, in one line, when it is not installed."""
    return shutil.which(name) or give_up(f"{name} is not installed: nothing was checked")


def prepare(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command that prepares a program, as pip, in the folder `cwd`. Exits 2, with what it said, when it fails."""
    line = " ".join(map(str, command))
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=PREPARATION)  # ours
    except subprocess.TimeoutExpired:
        give_up(f"not ready after {PREPARATION} seconds: {line}")
    except subprocess.CalledProcessError as error:
        give_up(f"failed: {line}\n{error.stdout}{error.stderr}")


def end_well() -> None:
    """Make a SIGTERM (a cancelled CI job) run the ``finally`` clauses, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A child process, with `options` for Popen, that is gone afterwards: asked first, then killed."""
    process = subprocess.Popen(command, text=True, **options)  # ours
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def private_redis(folder: Path) -> Iterator[Path]:
    """The unix socket, in `folder`, of a redis-server that keeps nothing on disk and listens nowhere else."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) > 100:  # the kernel's limit for the name of a socket is about 104 bytes
        give_up(f"the name of the temporary folder is too long for a socket: {folder}")
    command = [program("redis-server"), "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    with (folder / "redis.log").open("w") as log, running(command, stdout=log, stderr=log) as server:
        deadline = time.monotonic() + START
        while not _answers(path):
            if server.poll() is not None or time.monotonic() > deadline:
                give_up(f"redis-server did not start:\n{(folder / 'redis.log').read_text()}")
            time.sleep(0.01)
        yield path


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(START)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
