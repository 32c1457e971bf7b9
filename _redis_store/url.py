"""What a Redis URL says: the address, and options that are right.

redis-py takes many options as they stand: any text is a yes, an unknown word fails with the first command.
"""

from __future__ import annotations

import codecs
import importlib.util
import math
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from redis.connection import parse_url


class WrongOption(ValueError):
    """What was expected, after the name of the option; without its value, which may be a password."""


YES, NO = ("1", "true", "yes", "y", "on", "t"), ("0", "false", "no", "n", "off", "f")


def read_url(url: str) -> dict[str, Any]:
    """Return what redis-py's connections and the pool are told.

    WrongOption: one is wrong, or named twice. Another ValueError, which may quote a password: anything else is wrong.
    """
    if "#" in url:  # whatever follows would be ignored: the host, if it is in a password
        raise WrongOption("%23 instead of #")
    address, _, query = url.partition("?")
    settings: dict[str, Any] = parse_url(address)
    for name, text in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)):
        if name not in OPTIONS:
            raise ValueError("an unknown option")
        expected, convert = OPTIONS[name]
        try:
            value = convert(text)
        except (ValueError, LookupError, ssl.SSLError):
            value = None
        if value is None or (name in settings and name != "db"):
            raise WrongOption(f"{name} once, as {expected}")
        settings[name] = value
    if "ssl_keyfile" in settings and "ssl_certfile" not in settings:
        raise WrongOption("ssl_certfile with ssl_keyfile")
    return settings


def _number(kind: type[int] | type[float], least: float, most: float = math.inf) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        value = kind(text)
        return value if least <= value <= most and value < math.inf else None

    return convert


def _flag(text: str) -> bool | None:
    return text.lower() in YES if text.lower() in YES + NO else None


def _flag_of(package: str) -> Callable[[str], Any]:
    return lambda text: _flag(text) if _flag(text) is False or importlib.util.find_spec(package) else None


def _flags(text: str) -> list[Any] | None:
    names = [name.strip().removeprefix("VerifyFlags.") for name in text.removeprefix("[").removesuffix("]").split(",")]
    return [ssl.VerifyFlags[name] for name in names]


def _one_of(*words: str) -> Callable[[str], Any]:
    return lambda text: text if text in words else None


def _tls_version(text: str) -> ssl.TLSVersion | None:
    return ssl.TLSVersion(int(text)) if text in ("771", "772") else None


def _word(text: str) -> str | None:
    return text if text.isprintable() and text.split() == [text] else None


def _encoding(text: str) -> str | None:
    return text if "+OK".encode(text) == b"+OK" else None


def _error_handler(text: str) -> str:
    codecs.lookup_error(text)
    return text


def _ciphers(text: str) -> str:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(text)
    return text


TEXT = ("text", lambda text: text or None)
FLAG = ("true or false", _flag)
SECONDS = ("seconds, more than 0", _number(float, 0.001, 1_000_000))

#: The options, what each may be, and what makes redis-py's value of it. None, ValueError, LookupError: it is wrong.
OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout"), SECONDS),
    "timeout": ("seconds, 0 or more", _number(float, 0, 1_000_000)),
    "health_check_interval": ("seconds, a whole number, 0 or more", _number(int, 0)),
    "max_connections": ("a whole number, 1 or more", _number(int, 1)),
    "socket_read_size": ("a whole number, 1 or more", _number(int, 1, 1 << 30)),
    "db": ("a whole number, 0 or more", _number(int, 0)),
    "port": ("1 to 65535", _number(int, 1, 65535)),
    "protocol": ("2 or 3", _number(int, 2, 3)),
    "client_name": ("text without spaces", _word),
    "encoding": ("an encoding that keeps ASCII", _encoding),
    "encoding_errors": ("a way of Python's to treat errors", _error_handler),
    **dict.fromkeys(("host", "path", "username", "password", "lib_name", "lib_version"), TEXT),
    **dict.fromkeys(("sentinel_username", "sentinel_password"), TEXT),
    **dict.fromkeys(("decode_responses", "legacy_responses", "retry_on_timeout", "socket_keepalive"), FLAG),
    "ssl_cert_reqs": ("required or optional or none", _one_of("required", "optional", "none")),
    "ssl_check_hostname": FLAG,
    **dict.fromkeys(
        ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password"), TEXT
    ),
    "ssl_min_version": ("771 (TLS 1.2) or 772 (TLS 1.3)", _tls_version),
    "ssl_ciphers": ("OpenSSL's names of ciphers", _ciphers),
    "ssl_include_verify_flags": ("names of ssl.VerifyFlags", _flags),
    "ssl_exclude_verify_flags": ("names of ssl.VerifyFlags", _flags),
    "ssl_validate_ocsp": ("true or false, with the package cryptography", _flag_of("cryptography")),
    "ssl_validate_ocsp_stapled": ("true or false, with the package pyOpenSSL", _flag_of("OpenSSL")),
    "ssl_ocsp_expected_cert": TEXT,
}
