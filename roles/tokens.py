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

Whoever has ``ACCESS_TOKEN_KEY`` can check access tokens, and could also make some. Where the services that check them
are not to be trusted so far, take an asymmetric `ALGORITHM`, and a second key to check with.

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
from blinker import signal
from flask import Blueprint, Flask, Response, abort, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from itsdangerous import Signer
from werkzeug.exceptions import HTTPException, ServiceUnavailable

import auth
from redis_store import (
    RETRY_AFTER,
    WEEK,
    OwnerIndex,
    RedisSessionInterface,
    RedisStore,
    StoreUnavailable,
    signals,
    skip_refresh,
)

ALGORITHM = "HS256"  # never the one that a token names
ACCESS_MAX_AGE = 15 * 60  # seconds; until then an access token is good, whatever happens to its family
IDLE_MAX_AGE = WEEK  # seconds, from one refresh to the next
ABSOLUTE_MAX_AGE = 30 * 24 * 60 * 60  # seconds, from the login
GRACE = 10  # seconds in which a refresh may be asked for again; the clocks of all hosts have to agree better than that
MIN_KEY = 32  # bytes: as many as the hash has (RFC 7518, 3.2)

#: What a refresh token looks like: the family's id and the generation, SHA-256 signature. Nothing else is looked at.
TOKEN = re.compile(r"([0-9a-f]{48})\.([0-9]{1,9})\.[A-Za-z0-9_-]{43}")

#: A user name or a password. JSON can hold half a surrogate pair, which no hash takes.
TEXT = re.compile(rf"[^\ud800-\udfff]{{0,{auth.MAX_INPUT}}}")

blueprint = Blueprint("tokens", __name__, url_prefix="/api")


def init_app(app: Flask) -> None:
    """Add ``/api``, if there is an ``ACCESS_TOKEN_KEY``. ValueError: a setting is wrong."""
    if app.extensions.get("embedded"):
        app.config.setdefault("ACCESS_TOKEN_KEY", secrets.token_hex(32))
    if (key := app.config.get("ACCESS_TOKEN_KEY")) is None:
        return
    others = (app.secret_key, *(app.config["SECRET_KEY_FALLBACKS"] or ()))
    if not is_good_key(key) or key in others or key.encode() in others:
        raise ValueError(
            "ACCESS_TOKEN_KEY (not shown) is too short, of another kind, or a SECRET_KEY; expected one of its own, "
            f"of at least {MIN_KEY} bytes, as of: python3 -c 'import secrets; print(secrets.token_hex(32))'"
        )
    audience = app.config.setdefault("ACCESS_TOKEN_AUDIENCE", "api")
    if not isinstance(audience, str) or not audience:
        raise ValueError(f"ACCESS_TOKEN_AUDIENCE is {audience!r}; expected a string")
    app.register_blueprint(blueprint)


def is_good_key(key: object) -> bool:
    """Return whether a key can sign tokens: it is long enough, and PyJWT does not take it for one of another kind."""
    try:
        if isinstance(key, str) and len(key.encode()) >= MIN_KEY:
            return bool(jwt.encode({}, key, ALGORITHM))
    except (UnicodeEncodeError, jwt.InvalidKeyError):  # half a surrogate pair; a PEM, SSH or JSON web key
        pass
    return False


@blueprint.before_request
def leave_session() -> None:
    """Leave the browser's session alone: a request of a program does not refresh it."""
    skip_refresh()


@blueprint.post("/login")
def login() -> ResponseReturnValue:
    """Take ``username``, ``password``: 200 and the first pair of tokens of a family. 401, or 429 with Retry-After."""
    body = read_body()
    username, password = (read_text(body, name) for name in ("username", "password"))
    if not auth.check(username, password):
        abort(401, "Wrong user name or password")
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


def get_interface() -> RedisSessionInterface:
    """Return the app's interface to its sessions."""
    return cast(RedisSessionInterface, current_app.session_interface)


def get_families() -> RedisStore:
    """Return the store of families. It and the visitor's session together wait no longer than a request may."""
    return get_interface().namespace("REFRESH")


def get_time() -> int:
    """Return the Unix time, by the clock of the sessions."""
    return int(get_interface().clock())


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
            signals.tell(signal("role-event"), "token-replayed")
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
        abort(401, "Access token required")
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
    token = read_body().get("refreshToken")
    if token in (None, ""):
        abort(401, "Refresh token required")
    if not isinstance(token, str) or (match := TOKEN.fullmatch(token)) is None:
        return None
    return (match[1], int(match[2])) if get_signer().validate(token) else None


def get_signer() -> Signer:
    """Return the signer of refresh tokens. It adds no time: who asks again gets the very same token."""
    keys = [*(current_app.config["SECRET_KEY_FALLBACKS"] or ()), current_app.secret_key]
    return Signer(keys, salt="refresh token", key_derivation="hmac", digest_method=hashlib.sha256)


# Requests and answers ------------------------------------------------------------------------------------------------


def read_body() -> dict[str, Any]:
    """Return the JSON object that was sent; an empty one, if nothing was. 400, 413, 415: it is none, or too long."""
    try:
        body = request.get_json() if request.get_data() else {}
    except HTTPException:
        raise
    except Exception:  # nested too deep for Python, or whatever the WSGI server raises for chunks that are none
        body = None
    return body if isinstance(body, dict) else abort(400, "Expected a JSON object")


def read_text(body: Mapping[str, Any], name: str) -> str:
    """Return a field of it. 400: it is missing, no text, or too long."""
    text = body.get(name)
    if not isinstance(text, str) or TEXT.fullmatch(text) is None:
        abort(400, f"Expected a {name}, of at most {auth.MAX_INPUT} characters")
    return text


@blueprint.errorhandler(HTTPException)
def show_error(error: HTTPException) -> Response:
    """Answer any error with ``{"error": …}``, and its own headers."""
    response = cast(Response, error.get_response())
    response.data = jsonify(error=error.description).data
    response.content_type = "application/json"
    if error.code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


@blueprint.errorhandler(StoreUnavailable)
def show_outage(error: StoreUnavailable) -> Response:
    """Answer 503 when Redis cannot be reached: neither "wrong password" nor "invalid token"."""
    current_app.logger.warning("%s", error)
    return show_error(ServiceUnavailable("Redis cannot be reached", retry_after=RETRY_AFTER))


@blueprint.before_app_request
def show_routing_error() -> Response | None:
    """Answer 404, 405 and the like below ``/api``: Flask asks a blueprint only for errors of its own views."""
    error = request.routing_exception
    below = request.path.startswith(f"{blueprint.url_prefix}/")
    return show_error(error) if below and isinstance(error, HTTPException) and error.code != 308 else None
