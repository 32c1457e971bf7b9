"""The wheel: the library and nothing else, with its types, and found by Flask."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest
from support.project import ROOT, recipe

BUILD = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]  # offline: hatchling is installed

#: The app of docs/sign-out-everywhere.md; and one call that a type checker has to complain about.
APP = recipe("def change_password").replace(
    "    own.regenerate()\n",
    '    own.regenerate()\n    own.regenerate("now")  # type: ignore[call-arg]  # it takes nothing\n',
)


def run(*command: str | Path, cwd: Path) -> str:
    """What the command printed; when it fails, that is what the test fails with."""
    process = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.returncode == 0, process.stdout
    return process.stdout


def build(source: Path, folder: Path) -> Path:
    """The wheel of that source."""
    run(sys.executable, *BUILD, "--wheel-dir", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; what that depends on is found where these tests find it."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=folder)
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    Path(purelib, "tests.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder with an app, and nothing else."""
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    """The module, as a package of one file, and its parts as they are here; a ``py.typed`` for each."""
    with ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    parts = [path for path in (ROOT / "_redis_store").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {str(path.relative_to(ROOT)): path.read_bytes() for path in parts}
    expected["redis_store/__init__.py"] = (ROOT / "redis_store.py").read_bytes()
    assert files == expected | {"redis_store/py.typed": b"", "_redis_store/py.typed": b""}


@pytest.mark.thorough
def test_the_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """It holds what the wheel is built from."""
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path, cwd=ROOT)
    (sdist,) = tmp_path.glob("*.tar.gz")
    again = build(sdist, tmp_path)
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


@pytest.mark.thorough
def test_an_app_imports_the_wheel(python: Path, app: Path) -> None:
    """Where nothing of this repository is on the path."""
    assert "/password" in run(python, "-m", "flask", "routes", cwd=app)


def test_flask_finds_the_commands(python: Path, app: Path) -> None:
    """`flask sessions`, in an app that has no line for it."""
    output = run(python, "-m", "flask", "sessions", "--help", cwd=app)
    assert all(f"\n  {command} " in output for command in ("list", "revoke", "show", "stats"))


@pytest.mark.thorough
@pytest.mark.skipif(not find_spec("mypy"), reason="needs mypy: requirements-dev.txt")
def test_a_type_checker_reads_the_wheel(python: Path, app: Path) -> None:
    """Its names have types: were they Any, mypy would find nothing to ignore in the line that is wrong."""
    run(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "app.py", cwd=app)
