"""What every part needs: a Python with the peers, servers of Redis, and a process for each part."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "conformance"))

from servers import give_up, prepare, private_redis  # noqa: E402  # found by the line above

PEERS = ["flask-session==0.8.0", "msgspec", "django==5.2.*", "gunicorn", "matplotlib"]
PART = 300  # seconds for one part; the longest takes 100


def make_home(home: Path) -> Path:
    """The Python of a virtual environment with the peers; hiredis is beside it. Made now, unless it is there."""
    python, requirements = home / "venv" / "bin" / "python", ROOT / "requirements.txt"
    done, wanted = home / "done.txt", "\n".join([sys.version, *PEERS, requirements.read_text()])
    if not (done.exists() and done.read_text() == wanted):
        print("pip is bringing the peers.", flush=True)
        done.unlink(missing_ok=True)
        prepare(sys.executable, "-m", "venv", "--clear", home / "venv")
        pip = (python, "-m", "pip", "--disable-pip-version-check", "install")
        prepare(*pip, "--requirement", requirements, *PEERS)
        shutil.rmtree(home / "hiredis", ignore_errors=True)
        prepare(*pip, "--no-deps", "--target", home / "hiredis", "hiredis")
        done.write_text(wanted)
    return python


def environment(**more: str) -> dict[str, str]:
    """Ours, without what could change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "PYTHON", "GUNICORN_"))}
    return kept | more


class Bench:
    """What every part needs: the Python with the peers, a Redis, and how much to measure."""

    def __init__(self, home: Path, folder: Path, stack: ExitStack, short: bool) -> None:
        self.home, self.folder, self.stack, self.short = home, folder, stack, short
        self.python = make_home(home)
        self.socket = self.redis("main")
        self.url = f"unix://{self.socket}"

    def redis(self, name: str) -> Path:
        """One more server of our own."""
        (self.folder / name).mkdir()
        return self.stack.enter_context(private_redis(self.folder / name))

    def measure(self, part: str, with_hiredis: bool = False, **options: Any) -> Any:
        """The figures of a part of measure.py. Exits 2 if that fails."""
        settings = environment(PYTHONPATH=str(self.home / "hiredis")) if with_hiredis else environment()
        print(f"{part} …", end=" ", flush=True)
        start = time.monotonic()
        try:
            run = subprocess.run(
                [self.python, HERE / "measure.py", part, json.dumps(options)],
                env=settings,
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
