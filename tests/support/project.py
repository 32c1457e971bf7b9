"""The project's own files, which some tests read or run: README.md and the pages of docs/, their code and tables."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

#: The text of each page, by its path.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
}

#: What the Redis user of an app may do, that of the demo app, and that of its workers, as ACL rules: keys (~), channels
#: (&), commands (+).
ACL = re.findall(r"^ACL SETUSER .*", PAGES["docs/operations.md"], re.M)
STORE_PERMISSIONS, PERMISSIONS, WORKER_PERMISSIONS = (re.findall(r"[~&+]\S+", line) for line in ACL)


def section(page: str, title: str) -> str:
    """Return the text under a heading, up to the next one."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGES[page], re.M | re.S)
    assert match, title
    return match[1]


def blocks(language: str, text: str) -> list[str]:
    """Return the code in a text that is of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def recipe(line: str) -> str:
    """Return the Python block, of whatever page, that has this line in it."""
    (block,) = [block for page in PAGES.values() for block in blocks("python", page) if line in block]
    return block


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a text: rows of cells, the head first."""
    found = re.findall(r"^\|.*\n\| ?-.*\n(?:\|.*\n?)*", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return [[_cells(line) for number, line in enumerate(table.splitlines()) if number != 1] for table in found]


def rows(text: str) -> list[list[str]]:
    """Return the rows of the one table of a text, without its head."""
    (table,) = tables(text)
    return table[1:]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]
