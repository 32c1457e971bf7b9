"""A role is one file and one line of app.py: the app goes on without both."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import ROOT

from app import ROLES


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_removed_with_its_file_and_its_line(role: str, tmp_path: Path) -> None:
    """What is left runs, and has none of its pages."""
    for path in [*ROOT.glob("*.py"), ROOT / "_redis_store", ROOT / "templates", ROOT / "static", ROOT / "roles"]:
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, tmp_path / path.name)
    (tmp_path / f"roles/{role}.py").unlink()
    text = (tmp_path / "app.py").read_text()
    (line,) = re.findall(rf'^    "{role}",.*\n', text, re.M)
    (tmp_path / "app.py").write_text(text.replace(line, ""))
    program = """
import app
oauth = {"OAUTH_ISSUER": "https://example.com", "OAUTH_CLIENT_ID": "app", "OAUTH_CLIENT_SECRET": "secret"}
made = app.create_app({"TESTING": True, **oauth})
web = made.test_client()
print(app.__file__, web.get("/").status_code, web.get("/login").status_code, sorted({*made.blueprints} - {"auth"}))
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == f"{tmp_path / 'app.py'} 200 200 {sorted({*ROLES} - {role})}\n"
