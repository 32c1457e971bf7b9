"""Throttling (leaky bucket) of sign-in attempts: guesses at a password become slow, and nobody is locked out.

The path of one attempt::

    POST /login   a device cookie of this account   -> counted at the device
                  no such cookie                    -> counted at the address, and then at the account
                  a counter is full                 -> 429 with Retry-After; the password is not checked
                  the password is wrong             -> 401, and the attempt stays counted
                  the password is right             -> the attempt is taken back; 303, with a device cookie

Keys, and how long each lives at most::

    FAILED:SESSION:device:<hash>      3000 s   {"empty_at": <Unix time>}
    FAILED:SESSION:account:<hash>     3000 s   the same
    FAILED:SESSION:address:<hash>    15000 s   the same

A counter is a bucket that leaks one failure per `INTERVAL`. A full one takes the next attempt when there is room again.
Refused attempts are not counted: who asks too early does not wait longer for it. Every other attempt is counted before
its password is checked. Otherwise many at once would all see the same count.

Nobody can fill the counter of somebody else's device. Anybody can fill that of an account; then an address at which
nothing is counted still has a try, so that its owner gets in from a new browser too. Those who share an address are
what is left: a new browser waits together with a stranger behind the same one. Where the server does not know the
address, the account counts alone: one counter for all would lock out all.

Settings: none. What `PROXIES` of app.py says decides whose address a visitor has.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, cast

from flask import Flask, Response, after_this_request, current_app, request
from itsdangerous import BadSignature, TimestampSigner
from werkzeug.exceptions import TooManyRequests

from redis_store import RedisSessionInterface, RedisStore
from roles import tell

INTERVAL = 300  # seconds in which a counter forgets one failure: 288 guesses a day, and no wait is longer

#: Failures at once, by kind of counter. A person tries some spellings of some passwords; an address may be a school.
LIMITS = {"device": 10, "account": 10, "address": 50}

NAT64 = IPv6Network("64:ff9b::/96")  # of IPv4 visitors, where all behind it is IPv6 (RFC 6052)

DEVICE_MAX_AGE = 365 * 24 * 60 * 60  # seconds for which a browser is known after it signed in; they allow 400 days


def init_app(app: Flask) -> None:
    """Count each attempt that `auth.check` is asked about, on whatever page."""
    app.extensions["auth_check"] = Throttle(app.extensions["auth_check"])


class Throttle:
    """A check of passwords that asks another one, but no more often than the counters allow."""

    def __init__(self, check: Callable[[str, str], bool]) -> None:
        self.check = check
        self.told = False  # whether the log says that visitors have no address

    def __call__(self, username: str, password: str) -> bool:
        """Return what `check` says.

        TooManyRequests: not now. StoreUnavailable: where nothing can be counted, nobody can try.
        """
        wait, counters = self.begin(username)
        if wait:
            tell("sign-in-throttled")
            raise TooManyRequests("Too many attempts", retry_after=wait)
        if not self.check(username, password):
            return False
        self.forgive(counters)  # before the session is changed: this may fail
        if request.endpoint == "auth.login":  # a program keeps no cookies
            after_this_request(functools.partial(remember, account=username))
        return True

    def begin(self, account: str) -> tuple[int, list[str]]:
        """Count this request as an attempt at `account`, whether there is one or not.

        Return how many seconds it has to wait; and, if that is 0 and it may go on, the counters, for `forgive`.
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

        Only that: otherwise whoever has an account could empty their address's counter, and try other accounts.
        """
        for counter in counters:
            failures = LIMITS[counter.partition(":")[0]]
            change = functools.partial(drain, failures=failures, now=get_time())
            get_store().update(counter, change, max_age=failures * INTERVAL)

    def _tell_no_address(self) -> None:
        if not self.told:
            self.told = True
            words = "%.100r is no address of a visitor: new browsers are counted by account alone; see PROXIES, and "
            current_app.logger.warning(words + "what the proxy writes into X-Forwarded-For", request.remote_addr)

    def _count(self, kind: str, name: str) -> tuple[int, int, str]:
        """Return seconds to wait, 0 if it was counted; seconds until the counter is empty; the counter."""
        # A hash: so nobody chooses the text of a key, and a dump of Redis is no list of visitors.
        counter = f"{kind}:{get_signer('throttle').get_signature(name).decode()}"
        failures, now = LIMITS[kind], get_time()
        max_age, change = failures * INTERVAL, functools.partial(fill, failures=failures, now=now)
        first = {"empty_at": now + INTERVAL}
        if get_store().add(counter, first, max_age=max_age):
            return 0, 0, counter
        if (record := get_store().update(counter, change, max_age=max_age)) is not None:
            return 0, record["empty_at"] - INTERVAL - now, counter
        if (record := get_store().get(counter)) is None:  # expired this very moment, or malformed
            get_store().set(first, counter, max_age=max_age)
            return 0, 0, counter
        busy = level(record, failures, now)
        return max(busy - max_age + INTERVAL, 1), busy, counter


# Policy: pure functions, which the store makes atomic ---------------------------------------------------------------


def level(record: Mapping[str, Any], failures: int, now: int) -> int:
    """Return seconds until the counter is empty: never more than a full one takes, whatever is written there."""
    at = record.get("empty_at")
    return min(max(at - now, 0), failures * INTERVAL) if type(at) is int else 0


def fill(record: Mapping[str, Any], failures: int, now: int) -> dict[str, Any] | None:
    """Return the counter with one failure more; None: it is full."""
    filled = level(record, failures, now) + INTERVAL
    return {"empty_at": now + filled} if filled <= failures * INTERVAL else None


def drain(record: Mapping[str, Any], failures: int, now: int) -> dict[str, Any]:
    """Return the counter with one failure less; empty, which ends it, when none is left."""
    drained = level(record, failures, now) - INTERVAL
    return {"empty_at": now + drained} if drained > 0 else {}


def network(address: str | None) -> str | None:
    """Return the part of an address that one visitor surely has alone: all of IPv4, a /64 of IPv6, as every home gets.

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
    """Return the address that is meant: alone or with a port, IPv6 in brackets or not, with a zone or not."""
    text = text.strip(' "').partition("%")[0]
    for part in (text, text.rpartition(":")[0]):
        try:
            return ip_address(part.strip("[]"))
        except ValueError:
            pass
    return None


# Redis and the clock ------------------------------------------------------------------------------------------------


def get_interface() -> RedisSessionInterface:
    """Return the app's interface to its sessions."""
    return cast(RedisSessionInterface, current_app.session_interface)


def get_store() -> RedisStore:
    """Return the store of the counters. It and the visitor's session together wait no longer than a request may."""
    return get_interface().namespace("FAILED")


def get_time() -> int:
    """Return the Unix time, by the clock of the sessions."""
    return int(get_interface().clock())


# The device cookie --------------------------------------------------------------------------------------------------


def remember(response: Response, account: str) -> Response:
    """Give the browser a cookie that proves that it signed in to `account`: the device cookie of OWASP."""
    if response.status_code < 400:  # or the session could not be changed, and it did not sign in
        device = read_device(account) or secrets.token_hex(16)
        value = get_device_signer(account).sign(device).decode()
        attributes = get_interface().get_cookie_attributes(current_app)
        response.set_cookie(get_cookie_name(), value, max_age=DEVICE_MAX_AGE, **attributes)
    return response


def get_cookie_name() -> str:
    """Return a name that begins with the session cookie's. So __Host- holds for both, and two apps have two names."""
    return f"{get_interface().get_cookie_name(current_app)}_device"


def read_device(account: str) -> str | None:
    """Return the random id of the visitor's browser. None: it has not signed in to `account`, or long ago."""
    signer = get_device_signer(account)
    for value in request.cookies.getlist(get_cookie_name()):  # one may be planted, from another host or path
        try:
            return signer.unsign(value, max_age=DEVICE_MAX_AGE).decode()
        except BadSignature:
            pass
    return None


class Signer(TimestampSigner):
    """A signer by the clock of the sessions."""

    def get_timestamp(self) -> int:
        return get_time()


def get_device_signer(account: str) -> Signer:
    """Return the signer of an account's device cookies. After a new password it is another one: no browser is known."""
    return get_signer(f"device of {account} {current_app.config['ACCOUNTS'].get(account, '')}")


def get_signer(salt: str) -> Signer:
    """Return a signer: ``SECRET_KEY`` signs, its fallbacks verify too. Each salt derives another key."""
    keys = [*(current_app.config["SECRET_KEY_FALLBACKS"] or ()), current_app.secret_key]
    return Signer(keys, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
