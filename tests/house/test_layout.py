"""The house: who may import whom, what a guest may touch, and how long a file may be. Of the tests, too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest
from support.project import ROOT

import _redis_store
import redis_store

FOLDERS = (".", "_redis_store", "roles", "study", "conformance", "benchmarks")
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))] + TESTS
LIBRARY = [path for path in FILES if path.stem == "redis_store" or path.parent.name == "_redis_store"]
GUESTS = [path for path in FILES if path.parent == ROOT and path.stem in ("app", "auth")]
GUESTS += [path for path in FILES if path.parent == ROOT / "roles"]

#: The files of the library, in the order in which they may import each other.
ORDER = re.findall(r"^    (\w+)", _redis_store.__doc__ or "", re.M)

MAX_LINES = 200  # of a file of the library
MAX_ROLE_LINES = 250  # of a role, which is one file
MAX_BODY = 30  # lines of a function, without its docstring
MAX_TEST_LINES = 400  # of a file in a folder of tests/
MAX_CONFTEST_LINES = 130


def imports_of(path: Path, root: Path) -> Iterator[tuple[str, list[str]]]:
    """Each import, wherever it stands (in a function or behind TYPE_CHECKING, too): the module, and names from it."""
    package = ".".join(path.parent.relative_to(root).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield resolve_name(module, package), [alias.name for alias in node.names]


def find(module: str, folder: Path, root: Path) -> Path | None:
    """The project's file that a file in this folder gets by that name. None: it is somebody else's."""
    bases = [root / "tests", root]  # as pytest has them
    if not (folder / "__init__.py").exists():
        bases.insert(0, folder)  # a program finds its neighbours first
    paths = [Path(base, *module.split(".")).with_suffix(".py") for base in bases]
    return next((path for path in paths if path.exists()), None)


def neighbours(path: Path, root: Path) -> set[Path]:
    """The project's files that a file imports."""
    names = {
        name
        for module, members in imports_of(path, root)
        for name in (module, *(f"{module}.{member}" for member in members))
    }
    return {file for name in names if (file := find(name, path.parent, root))}


def circle(paths: list[Path], root: Path) -> list[str]:
    """Files that import each other in a circle; none, if there is no circle."""
    try:
        TopologicalSorter({path: neighbours(path, root) for path in paths}).prepare()
    except CycleError as error:
        return [str(path.relative_to(root)) for path in error.args[1]]
    return []


def is_hidden(name: str) -> bool:
    """Whether a name begins with an underscore, and is none of Python's own, as __name__."""
    return name.startswith("_") and not re.fullmatch(r"__\w+__", name)


def hidden_imports(path: Path, root: Path) -> list[str]:
    """What a file imports that is not public: of the library, whatever `__all__` does not name."""
    found = []
    for module, names in imports_of(path, root):
        if module.partition(".")[0] == "redis_store":
            found += [name for name in names or [module] if name not in redis_store.__all__]
        found += [name for name in (*module.split("."), *names) if is_hidden(name)]
    return found


def hidden_attributes(path: Path) -> list[str]:
    """The attributes that a file reaches for and that are not public, but for methods of its own classes."""
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    found = []
    for node in nodes:
        if isinstance(node, ast.Attribute):
            mine = isinstance(node.value, ast.Name) and node.value.id == "self" and node.attr in own
            found += [] if mine else [node.attr]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("attr"):  # getattr and the like
            found += [str(word.value) for word in node.args if isinstance(word, ast.Constant)]
    return [name for name in found if is_hidden(name)]


def bodies(path: Path) -> Iterator[tuple[str, int]]:
    """Each function, and how many lines its body has without the docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def no_fixtures(path: Path) -> list[str]:
    """What is defined in a file and is no fixture."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            is_fixture = any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)
            found += [] if is_fixture else [node.name]
    return found


def name_of(path: Path) -> str:
    """A file, as pytest shows it."""
    return str(path.relative_to(ROOT))


# What the code has to be ------------------------------------------------------------------------------------------


def test_no_files_import_each_other() -> None:
    """Not in a circle of two, nor of more; nor is one hidden in a function or behind TYPE_CHECKING."""
    assert circle(FILES, ROOT) == []


def test_the_order_of_the_library_names_each_file_once() -> None:
    """It stands in the docstring of `_redis_store`."""
    assert sorted(ORDER) == sorted(path.stem for path in LIBRARY if path.stem not in ("redis_store", "__init__"))


@pytest.mark.parametrize("name", ORDER)
def test_imports_in_the_library_go_down(name: str) -> None:
    """A file imports what is below it in that order, and nothing else of the project: never redis_store.py."""
    below = {ROOT / f"_redis_store/{other}.py" for other in ORDER[ORDER.index(name) + 1 :]}
    assert neighbours(ROOT / f"_redis_store/{name}.py", ROOT) <= below


def test_redis_store_is_made_of_the_library_alone() -> None:
    """So it can be taken for another app."""
    assert {path.parent.name for path in neighbours(ROOT / "redis_store.py", ROOT)} == {"_redis_store"}


@pytest.mark.parametrize("path", GUESTS, ids=name_of)
def test_guests_use_public_names_only(path: Path) -> None:
    """Of the library, and of what others wrote: a role can be read without knowing what is inside."""
    assert hidden_imports(path, ROOT) == []
    assert hidden_attributes(path) == []


def test_public_names_exist() -> None:
    """Each once, in order."""
    assert [*redis_store.__all__] == sorted({*redis_store.__all__}, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(redis_store, name) for name in redis_store.__all__)


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_no_file_of_the_library_is_long(path: Path) -> None:
    """Each is read in a sitting, docstrings included."""
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*.py")), ids=name_of)
def test_no_role_is_long(path: Path) -> None:
    """What Redis does there is one file, which is read in a sitting."""
    assert len(path.read_text().splitlines()) <= MAX_ROLE_LINES


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_no_function_of_the_library_is_long(path: Path) -> None:
    """Its docstring is not counted."""
    assert [(name, lines) for name, lines in bodies(path) if lines > MAX_BODY] == []


@pytest.mark.parametrize("path", [path for path in TESTS if path.parent.name != "tests"], ids=name_of)
def test_no_file_of_the_tests_is_long(path: Path) -> None:
    """A test is found by the name of its file."""
    assert len(path.read_text().splitlines()) <= MAX_TEST_LINES


@pytest.mark.parametrize("folder", sorted({path.parent for path in TESTS if path.parent.name != "tests"}), ids=name_of)
def test_no_test_module_imports_another(folder: Path) -> None:
    """What two of them need is in tests/support/."""
    for path in folder.glob("*.py"):
        assert [other.name for other in neighbours(path, ROOT) if other.name.startswith("test_")] == []


def test_unit_tests_ask_for_no_redis() -> None:
    """Nor for an app, which has one."""
    for path in ROOT.glob("tests/unit/*.py"):
        tests = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        wanted = {argument.arg for test in tests for argument in test.args.args}
        assert not wanted & {"app", "client", "least", "make_server", "server", "store"}, path.name


def test_conftest_has_fixtures_only() -> None:
    """There is one for all tests, and it is short."""
    assert [path for path in TESTS if path.name == "conftest.py"] == [ROOT / "tests/conftest.py"]
    assert no_fixtures(ROOT / "tests/conftest.py") == []
    assert len((ROOT / "tests/conftest.py").read_text().splitlines()) <= MAX_CONFTEST_LINES


# What the tests above would see -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files",
    [
        {"a.py": "import b", "b.py": "import a"},
        {"a.py": "import b", "b.py": "from c import x", "c.py": "def late():\n    from a import y"},
        {"a.py": "import b", "b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a"},
        {"p/__init__.py": "", "p/a.py": "from p import b", "p/b.py": "from p.a import x"},
        {"p/__init__.py": "", "p/a.py": "from . import b", "p/b.py": "from .a import x"},
        {"a.py": "import p.b", "p/__init__.py": "", "p/b.py": "import a"},
        {"t/a.py": "import b", "t/b.py": "import a"},
    ],
)
def test_a_circle_is_seen(files: dict[str, str], tmp_path: Path) -> None:
    """Whatever form it takes."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in files]
    assert circle(paths, tmp_path)
    assert circle(paths[:-1], tmp_path) == []


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("from redis_store import RedisStore, merge", []),
        ("from redis_store import save", ["save"]),
        ("import redis_store", ["redis_store"]),
        ("def late():\n    from _redis_store.save import Write", ["_redis_store"]),
        ("from __future__ import annotations\nimport flask.sessions", []),
        ("from flask import _cookies", ["_cookies"]),
    ],
)
def test_a_hidden_import_is_seen(text: str, hidden: list[str], tmp_path: Path) -> None:
    """Also in a function."""
    (tmp_path / "a.py").write_text(text)
    assert hidden_imports(tmp_path / "a.py", tmp_path) == hidden


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("store.client.__class__", []),
        ("session.store._client.get", ["_client"]),
        ("getattr(store, '_client')", ["_client"]),
        ("store._client = 1", ["_client"]),
        ("class A:\n    def _f(self): self._f()", []),
        ("class A(B):\n    def f(self): self._g()", ["_g"]),
    ],
)
def test_a_hidden_attribute_is_seen(text: str, hidden: list[str], tmp_path: Path) -> None:
    """Read or set; a method of one's own is none."""
    (tmp_path / "a.py").write_text(text)
    assert hidden_attributes(tmp_path / "a.py") == hidden


def test_the_length_of_a_body_is_without_its_docstring(tmp_path: Path) -> None:
    """And with what is nested in it."""
    (tmp_path / "a.py").write_text(
        'def f():\n    """A.\n\n    B.\n    """\n    def g():\n        pass\n\n    return g\n'
    )
    assert [*bodies(tmp_path / "a.py")] == [("f", 4), ("g", 1)]


def test_what_is_no_fixture_is_seen(tmp_path: Path) -> None:
    """A helper in conftest.py is one that tests would import from there."""
    (tmp_path / "conftest.py").write_text(
        "@pytest.fixture\ndef a(): pass\n@fixture(params=[1])\ndef b(): pass\ndef c(): pass\n"
    )
    assert no_fixtures(tmp_path / "conftest.py") == ["c"]
