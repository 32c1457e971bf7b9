"""What else Redis does here: each file is one role, and `app.py` lists those that there are.

Where a role is more than a file, the others begin with its name. To remove one, delete its files, and its line there;
its tests are tests/roles/test_*<name>*.py, and what these share is tests/support/roles/<name>.py.

Roles know nothing of each other. What one does it may `tell`, and who listens to `happened` may count it::

    tell("token-replayed")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blinker import signal

from redis_store import signals

#: What roles tell: a short list, so that each can be the label of a metric.
EVENTS = ("sign-in-throttled", "token-replayed", "cache-built", "job-done", "job-failed")

#: A signal like those of `redis_store.signals`: its sender is the app, its reason one of `EVENTS`.
happened = signal("role-event")


def tell(event: str) -> None:
    """Tell whoever listens, if anybody does. One that fails is a line in the log."""
    signals.tell(happened, event)


def get_lag(info: Mapping[str, Any]) -> int | None:
    """Return how many seconds ago a master last heard of its slowest replica. None: it has none, or is none."""
    replicas = [info.get(f"slave{number}") for number in range(info.get("connected_slaves", 0))]
    lags = [replica["lag"] for replica in replicas if isinstance(replica, dict) and "lag" in replica]
    return max(lags, default=None) if info.get("role") == "master" else None
