"""TLS, with an authority of our own: accepted when it is trusted and the name is right, refused otherwise."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.certificates import make_certificates
from support.servers import PATIENCE
from support.stopwatch import takes
from support.topology import HOST, TcpServer, free_ports, live, wait_until

from _redis_store.connection import SOCKET_TIMEOUT
from redis_store import RedisStore, StoreUnavailable, connect


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[TcpServer]:
    """A private ``redis-server`` that speaks nothing but TLS, and wants a password."""
    make_certificates(folder)
    options = ("--save", "", "--tls-auth-clients", "no", "--requirepass", "hunter22", *options)
    for name, file in (("cert", "server.crt"), ("key", "server.key"), ("ca-cert", "authority.crt")):
        options += (f"--tls-{name}-file", str(folder / file))
    url = f"rediss://:hunter22@localhost:PORT/0?ssl_ca_certs={folder}/authority.crt"
    server = TcpServer(folder, *options, url=url)
    try:
        yield server
    finally:
        server.disconnect()
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcpServer]:
    with serve(tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.mark.thorough
def test_an_authority_that_is_trusted_is_accepted(server: TcpServer) -> None:
    """With the option ``ssl_ca_certs`` in the URL a session lives as it does elsewhere."""
    live(server.connect())


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("part", "other", "reason"),
    [
        (r"\?.*", "", "certificate verify failed"),  # the authorities of this machine do not know ours
        ("localhost", HOST, "certificate verify failed: IP address mismatch"),
        (r"rediss(.*)\?.*", r"redis\1", "failed with ConnectionError"),  # no TLS
        ("hunter22", "hunter23", "failed with AuthenticationError"),
    ],
)
def test_another_authority_name_scheme_or_password_is_refused(
    server: TcpServer, part: str, other: str, reason: str
) -> None:
    """Within a second, and without a word about the password."""
    store = RedisStore(connect(re.sub(part, other, server.url)))
    with takes(1), pytest.raises(StoreUnavailable, match=reason) as caught:
        store.get("x")
    assert "hunter" not in str(caught.value)


@pytest.mark.thorough
def test_a_cluster_of_too_old_a_version_is_refused(tmp_path: Path) -> None:
    """redis-py's client of a Cluster would drop ``ssl_min_version``, as other options that it does not know."""
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_ports(1)[0])]
    options += ["--tls-cluster", "yes", "--tls-protocols", "TLSv1.2"]
    with serve(tmp_path, *options) as server:
        server.connect().execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: server.connect().execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        url = server.url.replace("rediss://", "rediss+cluster://").replace("/0?", "?ssl_check_hostname=no&")
        waits = dict.fromkeys(("timeout", "socket_timeout", "socket_connect_timeout"), PATIENCE)
        with connect(url, **waits) as client:
            live(client)
        with pytest.raises(StoreUnavailable, match="failed with RedisClusterException"):
            RedisStore(connect(f"{url}&ssl_min_version=772", **waits)).get("x")


@pytest.mark.thorough
def test_a_server_that_never_shakes_hands_costs_one_timeout() -> None:
    """It accepts the connection, and says nothing."""
    with socket.create_server((HOST, 0)) as silent:
        store = RedisStore(connect(f"rediss://{HOST}:{silent.getsockname()[1]}"))
        with takes(1, least=SOCKET_TIMEOUT), pytest.raises(StoreUnavailable, match="GET failed with TimeoutError"):
            store.get("x")
