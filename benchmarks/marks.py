"""What programs write into pages: it stands between two marks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def replace(page: Path, name: str, lines: Iterable[str]) -> None:
    """Put lines between the two marks of that name. ValueError: the page lacks one."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = page.read_text().split(begin)
    _, after = rest.split(end)
    page.write_text("\n".join([before + begin, *lines, end + after]))
