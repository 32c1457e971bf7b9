"""What hatchling asks when it builds the wheel: redis_store.py goes into it as a package of one file.

PEP 561 knows no ``py.typed`` for a single module, and without one mypy skips it. This is code and not a line of
pyproject.toml, since ``pip install -e .`` copies what ``force-include`` names there, and the copy hides redis_store.py.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RedisStorePackage(BuildHookInterface[Any]):
    """The package redis_store of the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add it. `version` is "editable" for ``pip install -e .``, which takes redis_store.py as it is."""
        if version == "standard":
            build_data["force_include"] |= {
                "redis_store.py": "redis_store/__init__.py",
                "py.typed": "redis_store/py.typed",
            }
