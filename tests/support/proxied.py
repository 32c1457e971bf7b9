"""The app as deploy/ runs it: Redis, gunicorn, and nginx with TLS before them, on ports of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from werkzeug.security import generate_password_hash

from support.certificates import make_certificates
from support.deployed import DEPLOY, Deployment
from support.project import ROOT
from support.topology import HOST, free_ports

ACCOUNTS = {"ada": generate_password_hash("lovelace", "pbkdf2:sha256:1")}


def find_nginx() -> str:
    """Return the path of ``nginx``. Where there is none, the test is skipped."""
    path = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has it, which is not on everybody's PATH
    return shutil.which("nginx", path=path) or pytest.skip("needs nginx on the PATH, or in /usr/sbin")


class Site:
    """All of it, running. What a test stops it starts again."""

    def __init__(self, folder: Path) -> None:
        self.nginx_path = find_nginx()
        self.deployment = Deployment(folder)
        make_certificates(folder)
        self.authority = str(folder / "authority.crt")
        self.http, self.https, self.app_port = free_ports(3)
        self.url = f"https://localhost:{self.https}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.redis = self.deployment.start("redis.conf")
        self.start_app()
        self.start_proxy()
        self.wait()

    def start_app(self) -> None:
        environment = {**self.deployment.app, "REDIS_URL": self.deployment.app_url(self.redis)}
        environment |= {"FLASK_ACCOUNTS": json.dumps(ACCOUNTS), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
        command = [sys.executable, "-m", "gunicorn", "--config", str(DEPLOY / "gunicorn.conf.py")]
        command += ["--bind", f"{HOST}:{self.app_port}", "--workers", "2", "app:create_app()"]
        self.app = self.start("gunicorn", command, environment)

    def start_proxy(self) -> None:
        config = (DEPLOY / "nginx.conf").read_text()
        for old, new in (
            ("app:8000", f"{HOST}:{self.app_port}"),
            ("listen 80", f"listen {HOST}:{self.http}"),
            ("listen 443", f"listen {HOST}:{self.https}"),
            ("[::]:80", f"[::1]:{self.http}"),
            ("[::]:443", f"[::1]:{self.https}"),
            ("/tmp/nginx", f"{self.deployment.folder}/nginx"),
            ("worker_processes auto", "worker_processes 1"),
        ):
            assert old in config
            config = config.replace(old, new)
        deploy = self.deployment.folder / "deploy"
        (deploy / "nginx.conf").write_text(config)
        for name, copy in (("server.crt", "cert.pem"), ("server.key", "key.pem")):
            shutil.copy(self.deployment.folder / name, deploy / "secrets" / copy)
        deploy.chmod(0o755)
        self.proxy = self.start("nginx", [self.nginx_path, "-c", str(deploy / "nginx.conf")], {})

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.deployment.folder / f"{name}.log").open("ab") as log:
            self.processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
        return self.processes[-1]

    def visit(self) -> requests.Session:
        """A browser, which trusts the authority that the certificate is from."""
        browser = requests.Session()
        browser.trust_env = False
        browser.verify = self.authority
        return browser

    def get(self, path: str, browser: requests.Session | None = None) -> requests.Response:
        return self._ask("GET", path, browser)

    def post(self, path: str, browser: requests.Session | None = None, **options: Any) -> requests.Response:
        """A form of a page of this site, if no other origin is named."""
        headers = {"Origin": self.url, **options.pop("headers", {})}
        return self._ask("POST", path, browser, headers=headers, **options)

    def _ask(self, method: str, path: str, browser: requests.Session | None, **options: Any) -> requests.Response:
        with self.visit() as other:
            return (browser or other).request(method, self.url + path, allow_redirects=False, timeout=20, **options)

    def sign_in(self) -> requests.Session:
        browser = self.visit()
        answer = self.post("/login", browser, data={"username": "ada", "password": "lovelace"})
        assert answer.status_code == 303, answer.text
        return browser

    def wait(self, path: str = "/health/live", status: int = 200) -> None:
        """Come back when the path has that status."""
        deadline, seen = time.monotonic() + 60, 0
        while time.monotonic() < deadline:
            try:
                if (seen := self.get(path).status_code) == status:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        logs = [(self.deployment.folder / f"{name}.log").read_text()[-2000:] for name in ("gunicorn", "nginx")]
        raise RuntimeError(f"{path}: {seen}\n" + "\n".join(logs))

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
        self.deployment.stop()
