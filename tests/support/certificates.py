"""Certificates for TLS, by an authority of our own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CONFIG = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost
"""


def make_certificates(folder: Path) -> None:
    """An authority, and a certificate by it for "localhost": .crt and .key of both."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl on the PATH")
    (folder / "config").write_text(CONFIG)
    for name, issuer in (("authority", []), ("server", ["-CA", "authority.crt", "-CAkey", "authority.key"])):
        command = ["openssl", "req", "-x509", "-config", "config", "-extensions", name, "-subj", f"/CN={name}"]
        command += ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
        subprocess.run([*command, *issuer], cwd=folder, check=True, capture_output=True)
