"""Access and refresh tokens, for programs that keep no cookies: ``/api``, in JSON.

The path of one sign-in::

    POST /api/login    -> access token     15 minutes; a JWT, checked without Redis
                       -> refresh token 0  good for one refresh
    POST /api/refresh  0 -> another access token, and refresh token 1
    POST /api/refresh  1 -> another access token, and refresh token 2

Keys, and how long each lives at most::

    REFRESH:SESSION:<hash>            604800 s   {"user", "gen", "at", "born"}
    OWNER:REFRESH:SESSION:<user>     2592060 s   the user's families, a sorted set

What one login began is a *family*: each device has its own. A refresh token is the family's id and a generation,
signed with ``SECRET_KEY``. Redis has neither token nor id: the hash is the id's SHA-256. The record holds the
generation to come, and the times of the last refresh and of the login.

When a token comes a second time, two have it, and nobody can tell which of them is the thief: the family ends
(RFC 9700, 4.14.2). But an answer can be lost on its way, so within `GRACE` the same token is answered once more.

Settings::

    ACCESS_TOKEN_KEY        none     text of at least 32 bytes, and no SECRET_KEY; without it there is no /api
                                     (an app whose Redis is inside its process makes one)
    ACCESS_TOKEN_AUDIENCE   "api"    whom the access tokens are for: who has the key, but not this name, refuses them
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any, cast

import jwt
from flask import Blueprint, Flask, abort, current_app, request
from flask.typing import ResponseReturnValue
from itsdangerous import Signer
from werkzeug.datastructures import WWWAuthenticate

import auth
from redis_store import WEEK, OwnerIndex, RedisStore, StoreUnavailable, skip_refresh
from roles import tell

ALGORITHM = "HS256"  # never the one that a token names
ACCESS_MAX_AGE = 15 * 60  # seconds; until then an access token is good, whatever happens to its family
IDLE_MAX_AGE = WEEK  # seconds, from one refresh to the next
ABSOLUTE_MAX_AGE = 30 * 24 * 60 * 60  # seconds, from the login
GRACE = 10  # seconds in which a refresh may be asked for again; the clocks of all hosts have to agree better than that
MIN_KEY = 32  # bytes: as many as the hash has (RFC 7518, 3.2)
BEARER = WWWAuthenticate("bearer")  # what a 401 asks for

#: What a refresh token looks like: the family's id and the generation, SHA-256 signature. Nothing else is looked at.
TOKEN = re.compile(r"([0-9a-f]{48})\.([0-9]{1,9})\.[A-Za-z0-9_-]{43}")

blueprint = Blueprint("tokens", __name__, url_prefix="/api")
blueprint.before_request(skip_refresh)  # a program's request leaves the browser's session as old as it is


def init_app(app: Flask) -> None:
    """Add ``/api``, if there is an ``ACCESS_TOKEN_KEY``. ValueError: a setting is wrong."""
    if app.extensions.get("embedded"):
        app.config.setdefault("ACCESS_TOKEN_KEY", secrets.token_hex(32))
    if (key := app.config.get("ACCESS_TOKEN_KEY")) is None:
        return
    if not is_good_key(key) or {key, key.encode()} & {app.secret_key, *(app.config["SECRET_KEY_FALLBACKS"] or ())}:
        raise ValueError(
            "ACCESS_TOKEN_KEY (not shown) is too short, of another kind, or a SECRET_KEY; expected one of its own, "
            f"of at least {MIN_KEY} bytes, as of: python3 -c 'import secrets; print(secrets.token_hex(32))'"
        )
    if not isinstance(audience := app.config.setdefault("ACCESS_TOKEN_AUDIENCE", "api"), str) or not audience:
        raise ValueError(f"ACCESS_TOKEN_AUDIENCE is {audience!r}; expected a string")
    app.extensions["json_below"].append(f"{blueprint.url_prefix}/")
    app.register_blueprint(blueprint)


def is_good_key(key: Any) -> bool:
    """Return whether a key can sign tokens: it is long enough, and PyJWT does not take it for one of another kind."""
    try:
        return len(key.encode()) >= MIN_KEY and bool(jwt.encode({}, key, ALGORITHM))
    except (AttributeError, UnicodeEncodeError, jwt.InvalidKeyError):  # no text; half a pair; a PEM or JSON web key
        return False


@blueprint.post("/login")
def login() -> ResponseReturnValue:
    """Take ``username``, ``password``: 200 and the first pair of tokens of a family. 401, or 429 with Retry-After."""
    username, password = auth.read_credentials()
    if not auth.check(username, password):
        abort(401, "Wrong user name or password", www_authenticate=BEARER)
    return make_pair(username, begin_family(username), 0)


@blueprint.post("/refresh")
def refresh() -> ResponseReturnValue:
    """Take ``refreshToken``: 200 and the next pair of tokens. 401 without one; 403, the same for all refused ones."""
    token = read_refresh_token()
    if token and (record := rotate_family(*token)):
        return make_pair(record["user"], token[0], record["gen"])
    abort(403, "Invalid or expired refresh token")


@blueprint.get("/protected")
def protected() -> ResponseReturnValue:
    """Show what an access token opens: 200 and its user. Needs no Redis."""
    return {"user": read_access_token()}


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """Take ``refreshToken``, of any generation, and end its family, and no other: 204; 401 for none."""
    token = read_refresh_token()
    # One that is forged, or whose family is gone, opens nothing. That is all that was asked for (RFC 7009, 2.2).
    if token and (record := get_families().take(name := make_name(token[0]))):
        OwnerIndex(get_families()).remove([str(record.get("user"))], name)
    return "", 204


@blueprint.post("/logout-everywhere")
def logout_everywhere() -> ResponseReturnValue:
    """End all families of the access token's user: 204. Browsers' sessions go on."""
    OwnerIndex(get_families()).revoke(read_access_token())
    return "", 204


# Families -----------------------------------------------------------------------------------------------------------


def get_families() -> RedisStore:
    """Return the store of families. It and the visitor's session together wait no longer than a request may."""
    return cast(RedisStore, auth.get_interface().namespace("REFRESH"))


def get_time() -> int:
    """Return the Unix time, by the clock of the sessions."""
    return int(auth.get_interface().clock())


def make_name(family: str) -> str:
    """Return the name of a family's record: a hash, so that nobody can make a token of what is in Redis."""
    return hashlib.sha256(family.encode()).hexdigest()


def begin_family(user: str) -> str:
    """Begin a family; return its id. StoreUnavailable also when the user is signed out everywhere at this moment."""
    families, family, now = get_families(), secrets.token_hex(24), get_time()
    index, name = OwnerIndex(families), make_name(family)
    index.add([user], name, now, ABSOLUTE_MAX_AGE)
    families.set({"user": user, "gen": 0, "at": now, "born": now}, name, max_age=IDLE_MAX_AGE)
    if not index.lists([user], name):
        families.destroy(name)
        raise StoreUnavailable("a family of tokens was revoked while it began, or its owner's index was lost")
    return family


def rotate_family(family: str, generation: int) -> dict[str, Any] | None:
    """Return a family's record after a refresh. None: there is none, or it has ended, as the token was used before."""
    families, name, now = get_families(), make_name(family), get_time()
    record = families.get(name) or {}  # `user` and `born` never change, so they may be looked at before the step
    user, max_age = record.get("user"), get_max_age(record, now)
    if not isinstance(user, str) or user not in current_app.config["ACCOUNTS"] or max_age < 1:
        return None
    index = OwnerIndex(families)
    index.add([user], name, now, ABSOLUTE_MAX_AGE)  # again: Redis may have lost the index

    def change(record: dict[str, Any]) -> dict[str, Any] | None:
        rotated = rotate(record, generation, now)
        if rotated == {}:  # before it ends: if that answer is lost, nobody would hear of it
            current_app.logger.warning("a refresh token of %r was used again: family %s ends", user, name[:16])
            tell("token-replayed")
        return rotated

    if rotated := families.update(name, change, max_age=max_age):
        return rotated
    index.remove([user], name)
    return None


# Policy: pure functions, which the store makes atomic ---------------------------------------------------------------


def rotate(record: Mapping[str, Any], generation: int, now: int) -> dict[str, Any] | None:
    """Return the record after a refresh with a token of this generation: its ``gen`` is that of the next token.

    Empty, which ends the family: the token was used before. None: the record is malformed.
    """
    gen, at = record.get("gen"), record.get("at")
    if type(gen) is not int or type(at) is not int:
        return None
    if generation >= gen:  # greater: Redis lost the last refresh in a failover, and its honest user must not pay for it
        return {**record, "gen": generation + 1, "at": now}
    return dict(record) if generation == gen - 1 and now - at <= GRACE else {}


def get_max_age(record: Mapping[str, Any], now: int) -> int:
    """Return seconds for EX, within both limits. 0 or less: the family is past them, or its record malformed."""
    born = record.get("born")
    return min(IDLE_MAX_AGE, born + ABSOLUTE_MAX_AGE - now) if type(born) is int else 0


# Tokens -------------------------------------------------------------------------------------------------------------


def make_pair(user: str, family: str, generation: int) -> dict[str, Any]:
    """Return what a program keeps: an access token, how many seconds it is good for, and the refresh token."""
    config, now = current_app.config, get_time()
    claims = {"sub": user, "aud": config["ACCESS_TOKEN_AUDIENCE"], "typ": "access", "iat": now}
    return {
        "accessToken": jwt.encode(claims | {"exp": now + ACCESS_MAX_AGE}, config["ACCESS_TOKEN_KEY"], ALGORITHM),
        "expiresIn": ACCESS_MAX_AGE,
        "refreshToken": get_signer().sign(f"{family}.{generation}").decode(),
    }


def read_access_token() -> str:
    """Return the user that the request's access token names. 401: there is none; 403: it is not accepted."""
    bearer, config = request.authorization, current_app.config
    if bearer is None or bearer.type != "bearer" or not bearer.token:
        abort(401, "Access token required", www_authenticate=BEARER)
    try:
        claims = jwt.decode(
            bearer.token,
            config["ACCESS_TOKEN_KEY"],
            algorithms=[ALGORITHM],
            audience=config["ACCESS_TOKEN_AUDIENCE"],
            # By itself PyJWT requires nothing, and refuses what a host made whose clock is ahead, by a second even.
            options={"require": ["sub", "aud", "typ", "iat", "exp"], "verify_iat": False},
        )
    except jwt.InvalidTokenError:
        claims = {}
    if claims.get("typ") != "access":
        abort(403, "Invalid or expired access token")
    return str(claims["sub"])


def read_refresh_token() -> tuple[str, int] | None:
    """Return family and generation of the ``refreshToken`` that was sent. 401: none was. None: it is not ours."""
    token = auth.read_json().get("refreshToken")
    if token in (None, ""):
        abort(401, "Refresh token required", www_authenticate=BEARER)
    match = TOKEN.fullmatch(token) if isinstance(token, str) else None
    return (match[1], int(match[2])) if match and get_signer().validate(match[0]) else None


def get_signer() -> Signer:
    """Return the signer of refresh tokens. It adds no time: who asks again gets the very same token."""
    keys = [*(current_app.config["SECRET_KEY_FALLBACKS"] or ()), current_app.secret_key]
    return Signer(keys, salt="refresh token", key_derivation="hmac", digest_method=hashlib.sha256)
