"""Where in a session a value is that cannot be kept, as `cart.items[17].price`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from _redis_store.shape import MAX_DEPTH

MAX_LENGTH = 120  # letters of a place that an error shows

Check = Callable[[Any], str]


def locate(name: Any, value: Any, check: Check) -> str:
    """Return where in session[name] the first fault is, its type, and why; of what is there itself, only why.

    `check` returns why a value cannot be kept; nothing, if it can.
    """
    holders: list[Any] = []  # what the fault is inside of
    place = top = _step("", name)
    while len(holders) <= MAX_DEPTH and (inner := _first(value, holders, check)) is not None:  # what is inside that?
        holders.append(value)
        place, value = place + _step(".", inner[0]), inner[1]
        if any(value is holder for holder in holders):
            return f"{_shorten(place)}, of type {type(value).__name__}: it is inside itself"
    reason = _reason(value, holders, check)
    return reason if place == top else f"{_shorten(place)}, of type {type(value).__name__}: {reason}"


def _first(value: Any, holders: list[Any], check: Check) -> tuple[Any, Any] | None:
    """Return the first item of `value` that is at fault, with its key or number."""
    if not isinstance(value, dict | list | tuple):
        return None
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return next(((key, item) for key, item in items if check(_wrap(item, [*holders, value]))), None)


def _reason(value: Any, holders: list[Any], check: Check) -> str:
    keys = value if isinstance(value, dict) else ()
    for key in keys:
        if check({key: None}):
            return f"its key {key!r:.80}, of type {type(key).__name__}, would come back changed (it has to be a string)"
    return check(_wrap(value, holders))


def _wrap(value: Any, holders: list[Any]) -> Any:
    """Return `value` as deep as it is, and alone there: it may be at fault only for that."""
    for holder in reversed(holders):
        value = {"": value} if isinstance(holder, dict) else [value] if isinstance(holder, list) else (value,)
    return value


def _step(dot: str, key: Any) -> str:
    return f"{dot}{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r:.80}]"


def _shorten(place: str) -> str:
    return place if len(place) <= MAX_LENGTH else f"{place[: MAX_LENGTH // 2]}…{place[-MAX_LENGTH // 2 :]}"
