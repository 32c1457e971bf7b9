"""How many sessions there are, of how many owners, how large, and how long they live. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from _redis_store.listing import SessionInfo


class Statistics:
    """What `rows` have in common. It takes no more memory for more of them, but for a number for each owner."""

    def __init__(self, rows: Iterable[SessionInfo]) -> None:
        self._found: Counter[str] = Counter()
        self._sizes: Counter[int] = Counter()
        self._ttls: Counter[int] = Counter()
        self._owners: set[int] = set()  # hashes, which take less memory than names
        for row in rows:
            self._add(row)

    def _add(self, row: SessionInfo) -> None:
        self._found["malformed" if row.session is None else "signed_in" if row.owners else "anonymous"] += 1
        if row.ttl < 0:
            self._found["without_ttl"] += 1
        else:
            self._ttls[row.ttl] += 1
        self._sizes[row.size] += 1
        self._owners.update(map(hash, row.owners))

    @property
    def numbers(self) -> dict[str, int]:
        """How many there are of each kind."""
        found = self._found
        return {
            "sessions": found["signed_in"] + found["anonymous"],
            "signed_in": found["signed_in"],
            "anonymous": found["anonymous"],
            "owners": len(self._owners),
            "malformed": found["malformed"],
            "without_ttl": found["without_ttl"],
        }

    @property
    def spreads(self) -> dict[str, dict[str, int | None]]:
        """Smallest, middle and largest record, in bytes, and all together; the same of the TTLs, in seconds."""
        total = sum(size * times for size, times in self._sizes.items())
        return {"bytes": {**_spread(self._sizes), "total": total}, "ttl": _spread(self._ttls)}

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` shows."""
        return {**self.numbers, **self.spreads}

    def __str__(self) -> str:
        lines = []
        for name, number in self.numbers.items():
            label = ("  " if name in ("signed_in", "anonymous") else "") + name.replace("_", " ")
            remark = "  (each should have one)" if name == "without_ttl" and number else ""
            lines.append(f"{label:13}{number:>12}{remark}".replace(" ttl", " TTL"))
        for label, values in zip(("bytes", "TTL (s)"), self.spreads.values(), strict=True):
            lines += [f"{label:8}{name:6}{'-' if value is None else value:>11}" for name, value in values.items()]
        return "\n".join(lines)


def _spread(values: Counter[int]) -> dict[str, int | None]:
    """Return the smallest, middle and largest of the values, each counted as often as it came."""
    if not values:
        return {"min": None, "median": None, "max": None}
    passed, middle = 0, min(values)
    for value in sorted(values):
        passed, middle = passed + values[value], value
        if 2 * passed >= values.total():
            break
    return {"min": min(values), "median": middle, "max": max(values)}
