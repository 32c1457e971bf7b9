"""What deploy/ has, brought up in a folder of its own: the tests replace ports and paths, and nothing else."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from support.project import ROOT
from support.servers import PATIENCE
from support.topology import HOST, TcpServer

DEPLOY = ROOT / "deploy"

#: Seconds. While the disk is slow, Redis keeps writes to itself for two at most; it looks ten times a second.
UNWRITTEN = 2.2


def settings_of(name: str) -> dict[str, list[str]]:
    """The settings of a file of Redis's, each as often as it is there."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / name).read_text().splitlines():
        if line and not line.startswith("#"):
            setting, _, value = line.partition(" ")
            found.setdefault(setting, []).append(value)
    return found


def in_bytes(value: str) -> str:
    """A value as Redis itself shows it: units as bytes, and no quotes."""
    return re.sub(r"\b(\d+)(mb|gb)\b", lambda m: str(int(m[1]) << {"mb": 20, "gb": 30}[m[2]]), value.strip('"'))


class Deployment:
    """deploy/ in a folder of its own, with secrets that its program made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path in [*(path for path in DEPLOY.iterdir() if path.is_file()), ROOT / "docs/operations.md"]:
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(path, copy)
        subprocess.run([folder / "deploy/make-secrets"], check=True, capture_output=True)
        self.app, self.operator = self.read("app.env"), self.read("operator.env")
        self.users = folder / "deploy/secrets/users.acl"
        self.servers: list[TcpServer] = []

    def read(self, name: str) -> dict[str, str]:
        """The settings of a file of secrets, as a shell reads them."""
        lines = (self.folder / "deploy/secrets" / name).read_text().splitlines()
        return dict(shlex.split(line)[0].split("=", 1) for line in lines)

    def start(self, name: str, *options: str, port: int | None = None) -> TcpServer:
        """A server with one of the files, in a folder of its own, for its administrator."""
        own = self.folder / str(len(self.servers))
        own.mkdir()
        shutil.copy(DEPLOY / name, own)  # a sentinel makes the server write its file anew
        acl = ["--aclfile", str(self.users)]
        url = f"redis://admin:{self.operator['ADMIN_PASSWORD']}@{HOST}:PORT"
        self.servers.append(TcpServer(own, str(own / name), *acl, *options, port=port, url=url))
        return self.servers[-1]

    def app_url(self, server: TcpServer) -> str:
        """What the app connects with: its own user; it waits longer than usual."""
        return self.app["REDIS_URL"].replace("redis:6379", f"{HOST}:{server.port}") + f"?socket_timeout={PATIENCE}"

    def stop(self) -> None:
        for server in self.servers:
            server.disconnect()
            server.thaw()
            server.stop()
