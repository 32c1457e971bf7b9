"""Calls whose answers name them, and what must be true of a client after any number of them."""

from __future__ import annotations

from typing import Any


def send(client: Any, kind: str, name: str) -> list[bytes]:
    """Send a few commands whose answers are to name the call, one way or another."""
    if kind == "execute_all":
        return [*client.execute_all([("ECHO", name), ("GET", "missing"), ("ECHO", name)])]
    if kind == "pipeline":
        with client.pipeline(transaction=len(name) % 2) as pipeline:
            return [*pipeline.echo(name).get("missing").echo(name).execute()]
    return [client.echo(name), None, client.echo(name)]


def check(client: Any, kind: str, name: str) -> None:
    """Have the answers to this call, and to no other."""
    assert send(client, kind, name) == [name.encode(), None, name.encode()]


def check_whole(client: Any) -> None:
    """All connections that there may be can be taken at once, and each has the answer to its own command."""
    pool = client.connection_pool
    connections = [pool.take() for _ in range(pool.max_connections)]
    for number, connection in enumerate(connections):
        connection.send_command("ECHO", number)
    assert [connection.read_response() for connection in connections] == [b"%d" % n for n in range(len(connections))]
    for connection in connections:
        pool.give_back(connection)
    assert len(pool._connections) == len(pool._idle) == pool.max_connections
