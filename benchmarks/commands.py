"""The commands that each store should send, and whether it does."""

from typing import Any

from names import COOKIE, DJANGO, KOA, LIMIT, OURS, OURS_0, PEER, PEER_LAZY

#: The commands of one request, in the order of the alphabet; those in a script too.
COMMANDS = {
    LIMIT: {"read": "get"},
    COOKIE: {},
    PEER: {
        **dict.fromkeys(("untouched", "read", "nested", "write"), "get set"),
        **{"login": "del get set", "logout": "del get"},
    },
    PEER_LAZY: {
        **dict.fromkeys(("untouched", "read", "nested"), "get"),
        **{"write": "get set", "login": "del get set", "logout": "del get"},
    },
    DJANGO: {
        **dict.fromkeys(("read", "nested"), "get"),
        **{"write": "get get set", "login": "del exists get get set set", "logout": "del"},
    },
    OURS: {
        **dict.fromkeys(("read", "nested"), "get"),
        "write": "eval get get set",
        "login": "del eval eval expire get get set zadd zcard zrange zrangebyscore zscore",
        "logout": "del get zrem",
    },
}
COMMANDS[OURS_0] = COMMANDS[OURS] | {"untouched": "expire get", "read": "expire get", "nested": "expire get"}
COMMANDS[KOA] = {"read": "get", "write": "get set", "login": "get set", "logout": "del get"}


def listed(commands: dict[str, float]) -> str:
    """List so many of each, by name."""
    return " ".join(name for name, calls in commands.items() for _ in range(round(calls)))


def wrong_commands(costs: list[dict[str, Any]]) -> list[str]:
    """Say what a store sent, where it is not what COMMANDS says."""
    counted = {tuple(row["label"]) for row in costs}
    names = {name for name, _ in counted}
    wrong = [
        f"{name}, {kind}: not counted"
        for name, kinds in COMMANDS.items()
        for kind in kinds
        if (name, kind) not in counted and (name in names or name != KOA)  # koa: where there is Node
    ]
    for row in costs:
        name, kind = row["label"]
        expected, whole = COMMANDS[name].get(kind, ""), all(calls % 1 == 0 for calls in row["commands"].values())
        if listed(row["commands"]) != expected or not whole:
            wrong.append(f"{name}, {kind}: expected {expected or 'nothing'}, found {row['commands']}")
    return wrong
