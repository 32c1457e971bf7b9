"""What all roles have in common: their shape, and that each can be taken out."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.docstrings import block, describe, keys_of
from support.project import PERMISSIONS, ROOT, WORKER_PERMISSIONS
from werkzeug.security import generate_password_hash

from app import ROLES

FILES = {role: ROOT / f"roles/{role}.py" for role in ROLES}
PARTS = sorted((ROOT / "roles").glob("[a-z]*.py"))  # the same, and what of a role has a file of its own
POLICY = "# Policy: pure functions"

#: Settings with which all roles are there. Nobody listens on port 1.
CONFIG = {
    "TESTING": True,
    "ACCESS_TOKEN_KEY": "only-for-access-tokens-0123456789abcdef",
    "OAUTH_ISSUER": "http://127.0.0.1:1",
    "OAUTH_CLIENT_ID": "app",
    "OAUTH_CLIENT_SECRET": "secret",
    "MONITOR_USERS": ["ada"],
}

ACCOUNTS = {"ada": generate_password_hash("lovelace", "pbkdf2:sha256:1")}

#: Run in a copy of the project: what the pages answer.
VISIT = """
import json, os, sys
from app import ROLES, create_app

app = create_app(json.loads(sys.argv[1]))
ada = {"username": "ada", "password": "lovelace"}
grace = {"username": "grace", "password": "wrong"}
web = app.test_client()
seen = {
    "ROLES": ROLES,
    "folder": os.path.dirname(sys.modules["app"].__file__),
    "pages": [web.get(path).status_code for path in ("/", "/login", "/study", "/health/live", "/health/ready")],
    "in": [web.post("/login", data=ada).status_code, web.get("/account").status_code],
    "out": [web.post("/logout", headers={"Origin": "http://localhost"}).status_code, web.get("/account").status_code],
    "throttle": [app.test_client().post("/login", data=grace).status_code for _ in range(11)][-1],
    "tokens": app.test_client().post("/api/login", json=ada).status_code,
    "oauth": app.test_client().get("/oauth/login").status_code,
    "notifications": app.test_client().get("/events").status_code,
    "metrics": app.test_client().get("/metrics").status_code,
    "cache": app.test_client().get("/posts/trending").status_code,
    "jobs": app.test_cli_runner().invoke(args=["jobs", "list"]).exit_code,
    "mail": app.test_client().get("/mail").status_code,
    "monitor": app.test_client().get("/monitor").status_code,
}
print(json.dumps(seen))
"""
HERE = {
    "throttle": 429,
    "tokens": 200,
    "oauth": 502,  # with a provider that cannot be reached
    "notifications": 401,
    "metrics": 200,
    "cache": 200,
    "jobs": 1,  # there is a command, and no Redis that a worker could reach
    "mail": 303,
    "monitor": 303,
}
GONE = {
    "throttle": 401,
    "tokens": 404,
    "oauth": 404,
    "notifications": 404,
    "metrics": 404,
    "cache": 404,
    "jobs": 2,
    "mail": 404,
    "monitor": 404,
}


def copy_without(removed: list[str], folder: Path) -> None:
    """Copy the app, without the file and the line of each of these roles."""
    folders = ("_redis_store", "roles", "static", "study", "templates")
    for path in [*ROOT.glob("*.py"), *(ROOT / name for name in folders)]:
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, folder / path.name)
    text = (folder / "app.py").read_text()
    for role in removed:
        for path in [folder / f"roles/{role}.py", *(folder / "roles").glob(f"{role}_*.py")]:
            path.unlink()
        (line,) = re.findall(rf'^    "{role}",.*\n', text, re.M)
        text = text.replace(line, "")
    (folder / "app.py").write_text(text)


ONE = [pytest.param([role], marks=pytest.mark.thorough, id=role) for role in ROLES]


@pytest.mark.thorough
@pytest.mark.parametrize("removed", [*ONE, pytest.param(ROLES, id="all")])
def test_a_role_is_removed_by_its_file_and_its_line(removed: list[str], tmp_path: Path) -> None:
    """The app starts, with settings of the role still there; the other roles and all pages work as before."""
    copy_without(removed, tmp_path)
    command = [sys.executable, "-W", "error", "-c", VISIT, json.dumps(CONFIG | {"ACCOUNTS": ACCOUNTS})]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "ROLES": [role for role in ROLES if role not in removed],
        "folder": str(tmp_path),
        "pages": [200] * 5,
        "in": [303, 200],
        "out": [303, 303],
        **{role: (HERE if role in {*ROLES} - {*removed} else GONE)[role] for role in HERE},
    }


def test_every_role_has_its_line_in_the_app() -> None:
    """And every line its file. A role's other files begin with its name."""
    assert sorted(ROLES) == sorted({path.stem.partition("_")[0] for path in PARTS})
    assert all(path.exists() for path in FILES.values())


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_roles_do_not_import_each_other(path: Path) -> None:
    """A role's files import no other role's."""
    nodes = ast.walk(ast.parse(path.read_text()))
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    role = path.stem.partition("_")[0]
    assert [name for name in modules if name.startswith("roles.") and not name.startswith(f"roles.{role}_")] == []


def test_the_app_knows_a_role_by_its_line_only() -> None:
    """So that nothing of it is left behind: no setting, no import, no path."""
    text = (ROOT / "app.py").read_text()
    for role in ROLES:
        line = rf'^    "{role}",.*\n'
        names = [role, *(name for setting in block(role, "Settings") for name in re.findall(r"^ {4}(\S+)", setting))]
        assert not re.search("|".join(names), re.sub(line, "", text, flags=re.M))


# The shape --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_how_it_is_used_and_what_it_keeps(role: str) -> None:
    """The path of one use, the keys with their TTL, and the settings, each of which the code reads."""
    assert block(role, "The path of one")
    assert keys_of(role) or re.search("^Keys: none", describe(role), re.M)
    settings = [line.split()[0] for line in block(role, "Settings") if line[4] != " "]
    assert settings or re.search("^Settings: none", describe(role), re.M)
    code = FILES[role].read_text().partition('"""\n\n')[2]
    for name in settings:
        assert name in code or name.removeprefix(f"{role.upper()}_") in code


@pytest.mark.parametrize("role", ROLES)
def test_redis_lets_the_app_use_the_keys_of_a_role(role: str) -> None:
    """The ACL of the documentation names each of them, for the app or its workers."""
    patterns = [rule.removeprefix("~") for rule in PERMISSIONS + WORKER_PERMISSIONS if rule.startswith("~")]
    for key in keys_of(role):
        assert any(key.startswith(pattern.rstrip("*")) for pattern in patterns), key


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_one_way_in(role: str) -> None:
    """`init_app(app)`, which gives nothing back."""
    tree = ast.parse(FILES[role].read_text())
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "init_app"]
    assert ast.unparse(function.args) == "app: Flask"
    assert function.returns
    assert ast.unparse(function.returns) == "None"


@pytest.mark.parametrize("role", ROLES)
def test_the_policy_of_a_role_is_pure(role: str) -> None:
    """What it decides by is in its arguments and in constants: no app, no request, no Redis, no clock."""
    (text,) = [text for path in PARTS if path.stem.startswith(role) and POLICY in (text := path.read_text())]
    before, _, after = text.partition(POLICY)
    first = before.count("\n")
    last = first + re.split(r"^# [A-Z].* -{9,}$", after, maxsplit=2, flags=re.M)[0].count("\n")
    tree = ast.parse(text)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    policy = [node for node in functions if first < node.lineno <= last]
    assert policy
    names = {node.id for function in policy for node in ast.walk(function) if isinstance(node, ast.Name)}
    impure = {node.name for node in functions if node not in policy}
    assert not names & {"current_app", "request", "session", "time", "secrets", *impure}
