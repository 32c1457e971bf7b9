"""The address of a visitor: what one visitor has alone, however it is written."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from support.clock import StillClock
from support.demo import CONFIG
from support.roles.throttle import keys, sign_in

from app import create_app
from roles.throttle import LIMITS, network


@pytest.fixture
def app(client: Any, still_clock: StillClock) -> Flask:
    return create_app(CONFIG, client, clock=still_clock)


NO_ADDRESS = [
    *(None, "", " ", ":", "[", "[]", "[]:80", '""', "%", "%eth0"),
    *("unknown", "Unknown", "unknown:80", "_hidden", "_SEVKISEK:_x", "unix:", "unix:/run/app.sock", "/run/app.sock"),
    *("localhost", "localhost:80", "192.0.2", "192.0.2.256", "192.0.2.1.1", "192.0.2.1/24", "3221225985", "0x7f.1"),
    *("0.0.0.0", "::", "[::]:80", "0.0.0.0:80", "2001:db8::g", "1:2:3:4:5:6:7:8:9:10", "192.0.2.1, 192.0.2.2"),
    *("for=192.0.2.1", "\x00", "\u0661.2.3.4", "a" * 10000),
]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        # With a port, as Azure's gateway and some load balancers write it.
        ("192.0.2.1:80", "192.0.2.1"),
        ("192.0.2.1:65535", "192.0.2.1"),
        ("192.0.2.1:", "192.0.2.1"),
        ("192.0.2.1:_hidden", "192.0.2.1"),
        ("[2001:db8:1:2::3]", "2001:db8:1:2::/64"),
        ("[2001:DB8:1:2::3]:443", "2001:db8:1:2::/64"),
        ('"[2001:db8:1:2::3]:443"', "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:3:4:5:6]:_port", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6:44300", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::3:44300", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::3:443", "2001:db8:1:2::/64"),
        # IPv4 in IPv6.
        ("::FFFF:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("::ffff:192.0.2.1:443", "192.0.2.1"),
        ("0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("[64:ff9b::c000:201]:443", "192.0.2.1"),
        # Zones, spaces, loopback.
        ("[fe80::1%25eth0]:443", "fe80::/64"),
        ("fe80::1%1", "fe80::/64"),
        (" 192.0.2.1 ", "192.0.2.1"),
        (" 192.0.2.1:80", "192.0.2.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::/64"),
        # None at all.
        *[(text, None) for text in NO_ADDRESS],
    ],
)
def test_an_address_is_what_one_visitor_has(address: str | None, expected: str | None) -> None:
    """Of IPv6 the /64 that every home gets; of IPv4 all, also as a server on both kinds sees it."""
    assert network(address) == expected


@given(st.text())
def test_no_text_for_an_address_is_an_error(text: str) -> None:
    """Whatever a proxy writes."""
    network(text)


@given(st.ip_addresses(), st.integers(0, 65535), st.sampled_from(["{}:{}", "[{}]:{}", "[{}]", " {}", '"[{}]:{}"']))
def test_an_address_is_the_same_however_it_is_written(ip: Any, port: int, form: str) -> None:
    """With a port, in brackets, in quotes; but IPv6 with a port and no brackets is another address as it stands."""
    if form != "{}:{}" or ip.version == 4:
        assert network(form.format(ip, port)) == network(str(ip))


@pytest.mark.parametrize("address", ["unix", "", "unknown", "_hidden"])
def test_visitors_without_an_address_do_not_lock_each_other_out(
    address: str, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted by account alone; one line in the log says so."""
    for number in range(LIMITS["address"] + 1):
        assert sign_in(app, f"user{number}", address=address).status_code == 401
    assert sign_in(app, "grace", "hopper", address).status_code == 303
    answers = [sign_in(app, "ada", address=address).status_code for _ in range(LIMITS["account"] + 1)]
    assert answers == [401] * LIMITS["account"] + [429]
    (line,) = [line for line in caplog.messages if "is no address" in line]
    assert "PROXIES" in line


def test_the_right_password_counts_nothing_without_an_address(app: Flask, client: Any) -> None:
    """It is given back to the account."""
    for _ in range(LIMITS["account"] * 2):
        assert sign_in(app, "ada", "lovelace", "").status_code == 303
    assert keys(client) == []


@pytest.mark.parametrize("form", ["198.51.100.{}:{}", "[2001:db8:0:{}::1]:{}", "[::ffff:198.51.100.{}]:{}"])
def test_a_port_in_what_the_proxy_says_makes_nobody_a_stranger(form: str, client: Any) -> None:
    """Each visitor has a counter of his own, and a new port is no new visitor."""
    app = create_app({**CONFIG, "PROXIES": 1}, client)

    def tried(visitor: int, port: int, name: str) -> int:
        return sign_in(app, name, **{"X-Forwarded-For": form.format(visitor, port)}).status_code

    answers = [tried(1, port, f"user{port}") for port in range(LIMITS["address"] + 1)]
    assert answers == [401] * LIMITS["address"] + [429]
    assert tried(2, 1, "ada") == 401


def test_one_ipv6_network_has_one_limit(app: Flask) -> None:
    """All of its 2^64 addresses share it; the network beside it has its own."""
    for number in range(LIMITS["address"]):
        sign_in(app, f"user{number}", address=f"2001:db8::{number:x}")
    assert sign_in(app, "grace", "hopper", "2001:db8::ffff").status_code == 429
    assert sign_in(app, "grace", "hopper", "2001:db8:0:1::1").status_code == 303


@pytest.mark.parametrize(
    ("proxies", "forwarded", "last"),
    [
        (1, "{}", 401),  # the visitor's address, as the proxy adds it
        (1, "{}, 192.0.2.9", 429),  # what the visitor himself sent is not believed
        (2, "{}, 192.0.2.9", 401),
        (0, "{}", 429),
    ],
)
def test_the_address_is_what_the_proxies_say(proxies: int, forwarded: str, last: int, client: Any) -> None:
    """With PROXIES each visitor has his own; without, the header is not believed, for anyone can send it."""
    app = create_app({**CONFIG, "PROXIES": proxies}, client)
    answers = [
        sign_in(app, f"user{number}", **{"X-Forwarded-For": forwarded.format(f"198.51.100.{number}")}).status_code
        for number in range(LIMITS["address"] + 1)
    ]
    assert answers == [401] * LIMITS["address"] + [last]
