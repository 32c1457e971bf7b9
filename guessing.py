"""Slows down the guessing of passwords, and locks nobody out. It counts in a namespace of the session's store.

Every attempt is counted before its password is looked at, or many at once would all see the same count; one that was
right is given back. A counter is a bucket that leaks one failure per `INTERVAL`; a full one takes the next attempt when
there is room again. Refused attempts are not counted: who asks too early does not wait the longer for it.

Who is counted where::

    a browser that signed in to this account before    device
    everybody else                                     address, and then account
    where the server does not know the address         account alone: one counter for all would lock out all

Nobody can fill the counter of somebody else's device. The account's can be filled from anywhere; then an address at
which nothing is counted still has a try, so that its owner gets in from a new browser too. What is left are those who
share an address: a new browser waits together with a stranger behind the same one.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, cast

from flask import current_app, request
from itsdangerous import BadSignature, TimestampSigner
from werkzeug.wrappers import Response

from redis_store import RedisSessionInterface, RedisStore

INTERVAL = 300  # seconds in which a counter forgets one failure: 288 guesses a day, and no wait is longer

#: Failures at once, by kind of counter. A person tries some spellings of some passwords; an address may be a school.
LIMITS = {"device": 10, "account": 10, "address": 50}

NAT64 = IPv6Network("64:ff9b::/96")  # of IPv4 visitors, where all behind it is IPv6 (RFC 6052)

DEVICE_MAX_AGE = 365 * 24 * 60 * 60  # seconds for which a browser is known after it signed in; they allow 400 days


class Guessing:
    """The counters, each ``{"empty_at": <Unix time>}`` with a TTL, under ``FAILED:SESSION:``, its kind and a hash.

    StoreUnavailable, from `begin` and `forgive`: where nothing can be counted, nobody can try.
    """

    told = False  #: whether the log says that visitors have no address

    @property
    def store(self) -> RedisStore:
        """Where the visitor's session is looked for, so that both together wait for Redis no longer than one may."""
        return cast(RedisSessionInterface, current_app.session_interface).namespace("FAILED")

    def begin(self, account: str) -> tuple[int, list[str]]:
        """Count this request as an attempt at `account`, whether there is one or not.

        Returns how many seconds it has to wait; and, if that is 0 and it may go on, the counters, for `forgive`.
        """
        if device := read_device(account):
            wait, _, counter = self._count("device", device)
            return wait, [counter]
        if (place := network(request.remote_addr)) is None:
            self._tell_no_address()
            wait, _, counter = self._count("account", account)
            return wait, [] if wait else [counter]
        wait, busy, address = self._count("address", place)
        if wait:
            return wait, []
        wait, _, counter = self._count("account", account)
        if not wait:
            return 0, [address, counter]
        if not busy:  # somebody attacks this account, but nobody did from here
            return 0, [address]
        self.forgive([address])
        return min(wait, busy), []

    def forgive(self, counters: Iterable[str]) -> None:
        """Take back what `begin` counted, for the password was right.

        And no more than that: whoever has an account could else empty his address's counter, and go on with others'.
        """
        for counter in counters:
            change = functools.partial(drain, failures=limit(counter), now=int(time.time()))
            self.store.update(counter, change, max_age=limit(counter) * INTERVAL)

    def remember(self, response: Response, account: str) -> None:
        """Give the browser a cookie that proves that it signed in to `account`: the device cookie of OWASP."""
        interface = cast(RedisSessionInterface, current_app.session_interface)
        attributes = interface.get_cookie_attributes(current_app)
        device = read_device(account) or secrets.token_hex(16)
        value = get_device_signer(account).sign(device).decode()
        response.set_cookie(get_cookie_name(), value, max_age=DEVICE_MAX_AGE, **attributes)

    def _tell_no_address(self) -> None:
        if not self.told:
            self.told = True
            current_app.logger.warning(
                "%.100r is no address of a visitor: new browsers are counted by account alone; see PROXIES, and what "
                "the proxy writes into X-Forwarded-For",
                request.remote_addr,
            )

    def _count(self, kind: str, name: str) -> tuple[int, int, str]:
        """Seconds to wait, 0 if it was counted; seconds until the counter would have been empty; the counter."""
        # A hash: so nobody chooses the text of a key, and a dump of Redis is no list of visitors.
        counter = f"{kind}:{get_signer('guessing').get_signature(name).decode()}"
        failures, now = limit(counter), int(time.time())
        max_age, change = failures * INTERVAL, functools.partial(fill, failures=failures, now=now)
        first = {"empty_at": now + INTERVAL}
        if self.store.add(counter, first, max_age=max_age):
            return 0, 0, counter
        if (record := self.store.update(counter, change, max_age=max_age)) is not None:
            return 0, record["empty_at"] - INTERVAL - now, counter
        if (record := self.store.get(counter)) is None:  # expired this very moment, or malformed
            self.store.set(first, counter, max_age=max_age)
            return 0, 0, counter
        busy = level(record, failures, now)
        return max(busy - max_age + INTERVAL, 1), busy, counter


# Policy: pure functions, which the store makes atomic ---------------------------------------------------------------


def limit(counter: str) -> int:
    """How many failures the counter takes at once."""
    return LIMITS[counter.partition(":")[0]]


def level(record: Mapping[str, Any], failures: int, now: int) -> int:
    """Seconds until the counter is empty. Never more than a full one takes, whatever a clock or somebody wrote."""
    at = record.get("empty_at")
    return min(max(at - now, 0), failures * INTERVAL) if type(at) is int else 0


def fill(record: Mapping[str, Any], failures: int, now: int) -> dict[str, Any] | None:
    """The counter with one failure more; None: it is full."""
    filled = level(record, failures, now) + INTERVAL
    return {"empty_at": now + filled} if filled <= failures * INTERVAL else None


def drain(record: Mapping[str, Any], failures: int, now: int) -> dict[str, Any]:
    """The counter with one failure less; empty, which ends it, when none is left."""
    drained = level(record, failures, now) - INTERVAL
    return {"empty_at": now + drained} if drained > 0 else {}


def network(address: str | None) -> str | None:
    """As much of an address as one visitor surely has alone: all of IPv4; of IPv6 a /64, as every home gets one.

    None: it is no address, as of a unix socket, or of a proxy that hides it (RFC 7239: "unknown", "_hidden").
    """
    ip = parse_address(address or "")
    if ip is None or ip.is_unspecified:
        return None
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None or ip in NAT64:  # from a server that listens on both, or only on IPv6
            return str(IPv4Address(int(ip) & 0xFFFFFFFF))
        return str(IPv6Network((int(ip), 64), strict=False))
    return str(ip)


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that a server or a proxy means: alone or with a port, IPv6 in brackets or not, with a zone or not."""
    text = text.strip(' "').partition("%")[0]
    for part in (text, text.rpartition(":")[0]):
        try:
            return ip_address(part.strip("[]"))
        except ValueError:
            pass
    return None


# The device cookie --------------------------------------------------------------------------------------------------


def get_cookie_name() -> str:
    """After the session's: what a prefix as __Host- promises holds for both, and two apps on one host have two."""
    return f"{current_app.session_interface.get_cookie_name(current_app)}_device"


def read_device(account: str) -> str | None:
    """The random id of the visitor's browser. None: it has not signed in to `account`, or long ago."""
    signer = get_device_signer(account)
    for value in request.cookies.getlist(get_cookie_name()):  # one may be planted, from another host or path
        try:
            return signer.unsign(value, max_age=DEVICE_MAX_AGE).decode()
        except BadSignature:
            pass
    return None


def get_device_signer(account: str) -> TimestampSigner:
    """Another one for each account, and after each change of its password: then no browser is known."""
    return get_signer(f"device of {account} {current_app.config['ACCOUNTS'].get(account, '')}")


def get_signer(salt: str) -> TimestampSigner:
    """As the session's: ``SECRET_KEY`` signs, its fallbacks are accepted. Each salt makes another key of it."""
    keys = [*(current_app.config["SECRET_KEY_FALLBACKS"] or ()), current_app.secret_key]
    return TimestampSigner(keys, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
