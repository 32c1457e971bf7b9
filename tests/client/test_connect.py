"""connect(): safe settings for every kind of URL."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from redis import SSLConnection, UnixDomainSocketConnection
from support.stopwatch import takes
from support.tiers import rounds

from _redis_store.connection import MAX_CONNECTIONS, SOCKET_TIMEOUT
from _redis_store.pool import Pool
from _redis_store.servers import SentinelPool
from redis_store import RedisStore, StoreUnavailable, connect

GOOD = ["redis://", "redis://h", "redis://:p@[::1]:1/", "rediss://u:p@h/0?socket_timeout=1", "unix://u@/a/b?db=2"]
GOOD += ["redis+sentinel://h/s", "rediss+sentinel://u:p@[::1]:1,h/my-service/2?sentinel_password=p&socket_timeout=1"]
GOOD += ["redis+cluster://h", "rediss+cluster://u:p@[::1]:1,[::2],h?ssl_ca_certs=/a/b&db=0"]
URLS = ["redis://localhost:1/3", "rediss://user:password@localhost:1/3", "unix:///nowhere.sock?db=3"]
SENTINEL = "rediss+sentinel://user:p%40ss@[::1],b:1/service/3?ssl_ca_certs=/ca&sentinel_password=x%2Fy"


@pytest.mark.parametrize("url", [*URLS, SENTINEL])
def test_every_limit_is_set_on_purpose(url: str) -> None:
    """Timeouts, retries, protocol and pool, whatever the scheme; nothing connects yet."""
    pool: Any = connect(url).connection_pool
    assert type(pool) is (SentinelPool if "sentinel" in url else Pool)
    connection: Any = pool.make_connection()
    assert connection.socket_timeout == connection.socket_connect_timeout == pool.timeout == SOCKET_TIMEOUT
    assert connection.retry.get_retries() == 0
    assert int(connection.protocol) == 2
    assert pool.max_connections == MAX_CONNECTIONS
    assert connection.db == 3
    assert not hasattr(pool, "maint_notifications_enabled") or not pool.maint_notifications_enabled()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("url", GOOD)
def test_every_form_of_url_is_taken(url: str) -> None:
    """As redis-py documents them, and those for several servers. Nothing connects, whatever the scheme."""
    assert connect(url) is not None


def test_the_scheme_chooses_the_connection() -> None:
    """rediss:// is TLS with the certificate checked; unix:// is a socket in the file system."""
    tls: Any = connect(URLS[1]).connection_pool.make_connection()
    assert isinstance(tls, SSLConnection)
    assert (tls.cert_reqs.name, tls.check_hostname) == ("CERT_REQUIRED", True)
    unix = connect(URLS[2]).connection_pool.make_connection()
    assert isinstance(unix, UnixDomainSocketConnection)


def test_the_sentinels_are_asked_as_carefully() -> None:
    """With timeouts that add up to that of one server, over TLS too, and with a password of their own or none."""
    pool = connect(SENTINEL).connection_pool
    sentinels = [sentinel.connection_pool for sentinel in pool.sentinel_manager.sentinels]
    connections = [each.make_connection() for each in sentinels]
    assert [(each.host, each.port, each.db) for each in connections] == [("::1", 26379, 0), ("b", 1, 0)]
    for each in connections:
        assert each.socket_timeout == each.socket_connect_timeout == SOCKET_TIMEOUT / 2
        assert each.retry.get_retries() == 0
        assert (each.username, each.password, int(each.protocol)) == (None, "x/y", 2)
    connection = pool.make_connection()
    assert (connection.username, connection.password, connection.db) == ("user", "p@ss", 3)
    for each in (*connections, connection):
        assert (each.cert_reqs.name, each.check_hostname, each.ca_certs) == ("CERT_REQUIRED", True, "/ca")
    (other,) = connect("redis+sentinel://:secret@a/s").connection_pool.sentinel_manager.sentinels
    assert other.connection_pool.make_connection().password is None


@pytest.mark.parametrize(
    ("url", "options"), [("redis://localhost?socket_timeout=2", {}), ("redis://localhost", {"socket_timeout": 2})]
)
def test_what_the_caller_asks_for_wins(url: str, options: dict[str, Any]) -> None:
    """In the URL or as an argument."""
    connection: Any = connect(url, **options).connection_pool.make_connection()
    assert connection.socket_timeout == 2


def test_an_argument_wins_over_the_url() -> None:
    """The code of an app over its environment."""
    assert connect("redis://localhost/1?socket_timeout=1", db=2).connection_pool.make_connection().db == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "user:hunter22@localhost",
        "http://localhost",
        "redis:/localhost",
        "redis://:hunter22/x@localhost",
        "redis://localhost:port",
        "redis://localhost/zero",
        "unix://",
        "redis://localhost?socket_timeout=soon",
        "redis://localhost?no_such_option=1",
        "redis+sentinel://localhost",
        "redis+sentinel://localhost/",
        "redis+sentinel:///service",
        "redis+sentinel://localhost/service/zero",
        "redis+sentinel://localhost/service/0/0",
        "redis+sentinel://:hunter22/x@localhost/service",
        "redis+sentinel://:hunter22/service",
        "redis+sentinel://localhost,/service",
        "redis+sentinel://localhost:port/service",
        "redis+sentinel://localhost/service?no_such_option=1",
        "redis+cluster://",
        "redis+cluster://localhost/service",
        "redis+cluster://localhost/1",
        "redis+cluster://localhost?db=1",
        "redis+cluster://:hunter22/x@localhost",
        "redis+cluster://user:hunter22@localhost,other:hunter22",
        "redis+cluster://localhost?no_such_option=1",
        "unix+cluster:///a",
        "redis+other://localhost",
    ],
)
def test_what_is_no_redis_url_is_refused_at_once(url: str) -> None:
    """With what was expected, and without showing the URL: there may be a password in it."""
    with pytest.raises(ValueError, match="expected redis://") as caught:
        connect(url)
    assert "hunter22" not in str(caught.value)
    assert caught.value.__context__ is None


RIGHT: dict[str, list[str]] = {
    "socket_timeout": ["1", "0.5", "1e1"],
    "socket_connect_timeout": ["2"],
    "timeout": ["0", "0.5"],
    "health_check_interval": ["0", "30"],
    "max_connections": ["1", "200"],
    "socket_read_size": ["1", "65536"],
    "db": ["0", "15"],
    "protocol": ["2", "3"],
    "client_name": ["shop", "a:b-c"],
    "encoding": ["utf-8", "UTF8", "latin-1"],
    "encoding_errors": ["strict", "replace"],
    "decode_responses": ["true", "False", "1", "0", "yes", "no", "on", "off"],
    "legacy_responses": ["true", "false"],
    "retry_on_timeout": ["true", "false"],
}
RIGHT_FOR_TCP = {"socket_keepalive": ["true", "False"]}
RIGHT_FOR_TLS = {
    "ssl_cert_reqs": ["required", "optional", "none"],
    "ssl_check_hostname": ["true", "false", "no"],
    "ssl_min_version": ["771", "772"],
    "ssl_ciphers": ["HIGH", "ECDHE%2BAESGCM"],
    "ssl_include_verify_flags": ["VERIFY_X509_STRICT", "[VERIFY_X509_STRICT, VERIFY_CRL_CHECK_LEAF]"],
    "ssl_exclude_verify_flags": ["VERIFY_X509_STRICT"],
    "ssl_ca_certs": ["/a/b"],
    "ssl_ca_path": ["/a"],
    "ssl_ca_data": ["-----BEGIN%20CERTIFICATE-----"],
    "ssl_certfile": ["/a"],
    "ssl_keyfile": ["/a&ssl_certfile=/a"],
    "ssl_password": ["hunter22"],
    "ssl_validate_ocsp": ["false"],
    "ssl_validate_ocsp_stapled": ["no"],
}
WRONG: dict[str, list[str]] = {
    "socket_timeout": ["", "soon", "0", "-1", "nan", "inf", "None", "1e300", "0,5"],
    "socket_connect_timeout": ["", "soon", "0", "-1", "nan", "inf"],
    "timeout": ["", "soon", "-1", "nan", "inf"],
    "health_check_interval": ["", "-1", "1.5", "often"],
    "max_connections": ["", "0", "-1", "many", "1.5"],
    "socket_read_size": ["", "0", "-1", "x"],
    "db": ["", "-1", "zero", "1.0"],
    "protocol": ["", "1", "4", "resp3"],
    "client_name": ["", "my%20shop", "a%0Ab"],
    "encoding": ["", "utf-9", "utf-16", "base64", "rot13"],
    "encoding_errors": ["", "sometimes"],
    "decode_responses": ["", "maybe", "2", "None"],
    "legacy_responses": ["", "maybe"],
    "retry_on_timeout": ["", "5"],
}
WRONG_FOR_TCP = {"socket_keepalive": ["", "60"], "port": ["", "0", "65536", "-1", "x"]}
WRONG_FOR_TLS = {
    "ssl_cert_reqs": ["", "CERT_NONE", "CERT_REQUIRED", "ssl.CERT_NONE", "None", "REQUIRED", "true", "0"],
    "ssl_check_hostname": ["", "maybe", "hostname"],
    "ssl_min_version": ["", "TLSv1_2", "1.2", "2", "769", "-2", "773"],
    "ssl_ciphers": ["", "none-such"],
    "ssl_include_verify_flags": ["", "STRICT", "VERIFY_X509_STRICT,", "__class__"],
    "ssl_exclude_verify_flags": ["", "5"],
    "ssl_ca_certs": [""],
    "ssl_validate_ocsp": ["", "maybe"],
    "ssl_validate_ocsp_stapled": ["", "maybe"],
}
#: Of redis-py's options, those whose values no text can be.
OBJECTS = ["retry", "retry_on_error", "credential_provider", "parser_class", "redis_connect_func", "command_packer"]
OBJECTS += ["event_dispatcher", "maint_notifications_config", "socket_keepalive_options", "socket_type", "driver_info"]
OBJECTS += ["ssl_ocsp_context", "connection_class", "single_connection_client", "host_", "ssl"]


def queries(options: dict[str, list[str]]) -> list[str]:
    return [f"{name}={value}" for name, values in options.items() for value in values]


@pytest.mark.parametrize("query", queries(RIGHT))
def test_a_right_option_works(server: Any, query: str) -> None:
    """With a real server, whatever it is; some change what the client's own methods answer."""
    store = RedisStore(connect(f"{server.url}?{query}"))
    server.clients.append(store.client)
    assert store.get(store.set({"n": "ö"})) == {"n": "ö"}


@pytest.mark.parametrize("query", queries(RIGHT | RIGHT_FOR_TCP | RIGHT_FOR_TLS))
@pytest.mark.parametrize("kind", ["rediss://h", "rediss+sentinel://h/s", "rediss+cluster://h"])
def test_a_right_option_is_taken_over_tls_and_for_several_servers(kind: str, query: str) -> None:
    """Nothing is looked up or opened yet, a file with certificates neither."""
    if query != "db=15" or "cluster" not in kind:  # which has only database 0
        assert connect(f"{kind}?{query}") is not None


def test_a_key_without_its_certificate_is_refused() -> None:
    """Python would say so with the first command, in a TypeError."""
    with pytest.raises(ValueError, match="and ssl_certfile with ssl_keyfile"):
        connect("rediss://h?ssl_keyfile=/a")


def test_an_option_means_what_it_says() -> None:
    """To redis-py itself, the text "false" is as good as true."""
    query = (
        "decode_responses=false&ssl_check_hostname=off&ssl_cert_reqs=none&socket_keepalive=0&ssl_validate_ocsp=false"
    )
    connection: Any = connect(f"rediss://h?{query}").connection_pool.make_connection()
    assert (connection.encoder.decode_responses, connection.check_hostname, connection.cert_reqs.name) == (
        False,
        False,
        "CERT_NONE",
    )
    assert (connection.socket_keepalive, connection.ssl_validate_ocsp) == (False, False)


@pytest.mark.parametrize("query", queries(WRONG | WRONG_FOR_TCP | WRONG_FOR_TLS))
@pytest.mark.parametrize("kind", ["rediss://", "rediss+sentinel://h/s", "rediss+cluster://h"])
def test_a_wrong_option_is_named(kind: str, query: str) -> None:
    """With what was expected, and without its value."""
    name = query.partition("=")[0]
    with pytest.raises(ValueError, match=f"and {name} once, as ") as caught:
        connect(f"{kind}?{query}")
    assert caught.value.__context__ is None
    with pytest.raises(ValueError, match="expected redis://"):
        connect(f"redis://h?{query}")  # of TLS, it takes none


@pytest.mark.parametrize("name", OBJECTS)
def test_an_option_that_no_text_can_be_is_refused(name: str) -> None:
    """As one that nobody knows."""
    for url in ("rediss://h", "unix:///a", "rediss+sentinel://h/s", "rediss+cluster://h"):
        with pytest.raises(ValueError, match="and known options"):
            connect(f"{url}?{name}=hunter22")


@pytest.mark.parametrize(
    "url",
    [
        "redis://h?db",
        "redis://h?socket_timeout=1&socket_timeout=2",
        "redis://h?host=other",
        "redis://h:1?port=2",
        "redis://user:hunter22@h?password=other",
        "redis://:12#hunter22@h",
        "redis://:12?hunter22@h",
        "redis://h?hunter22=1",
        "redis://h#hunter22",
        "unix:///a#hunter22",
        "unix:///a?path=/b",
        "redis+sentinel://h#hunter22/s",
        "redis+sentinel://h/s?host=other",
        "redis+cluster://h?port=1",
        "redis://h?ssl_cert_reqs=none",
        "unix:///a?socket_keepalive=true",
        "redis://h?sentinel_password=hunter22",
    ],
)
def test_what_contradicts_itself_or_would_be_ignored_is_refused(url: str) -> None:
    """redis-py would take the first of two, and drop what it does not understand."""
    with pytest.raises(ValueError, match="expected redis://") as caught:
        connect(url)
    assert "hunter22" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("options", [{"protocol": 4}, {"ssl_cert_reqs": "CERT_NONE"}, {"no_such_option": 1}])
def test_a_wrong_argument_is_refused_at_once(options: dict[str, Any]) -> None:
    """As far as redis-py looks at it."""
    with pytest.raises(ValueError, match="expected redis://"):
        connect("rediss://h", **options)


def test_a_server_that_accepts_and_says_nothing_costs_one_timeout() -> None:
    """Not a minute, as with the client's defaults."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = RedisStore(connect(f"redis://127.0.0.1:{silent.getsockname()[1]}"))
        with (
            takes(2 * SOCKET_TIMEOUT, least=SOCKET_TIMEOUT),
            pytest.raises(StoreUnavailable, match="GET failed with TimeoutError"),
        ):
            store.get("x")


def test_nobody_listening_costs_next_to_nothing() -> None:
    """A refused connection is told at once."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = RedisStore(connect(f"redis://127.0.0.1:{unused.getsockname()[1]}"))
        with takes(SOCKET_TIMEOUT), pytest.raises(StoreUnavailable):
            store.get("x")


def test_one_user_never_gets_the_answer_to_another(server: Any) -> None:
    """A connection whose answer came too late is not used again: its next user would read it."""
    store = RedisStore(server.connect(max_connections=1, socket_timeout=0.5))
    for name in ("ada", "bob"):
        store.set({"user": name}, name)
    for _ in range(rounds(1, 2)):
        server.freeze()
        with pytest.raises(StoreUnavailable):
            store.get("ada")
        server.thaw()
        assert store.get("bob") == {"user": "bob"}
