"""The project's own files, which some tests read or run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()

#: What the README lets the app's own Redis user do, as ACL rules: patterns of keys (~) and commands (+).
ACL = re.findall(r"^ACL SETUSER .*", README, re.M)
PERMISSIONS = re.findall(r"[~+]\S+", ACL[0])


def recipe(line: str) -> str:
    """Return the Python block of the README that has this line in it."""
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    (block,) = [block for block in blocks if line in block]
    return str(block)
