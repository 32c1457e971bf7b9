"""Sign in with an OpenID Connect provider. Authlib asks it; what has to last until it answers is in Redis.

The path of one sign-in::

    browser                    app                                      provider
    GET /oauth/login       ->  SET OAUTH:SESSION:<hash> NX EX 600
                           <-  303, and a cookie
    GET                    ------------------------------------------>  who are you?
                           <------------------------------------------  303, with state and code
    GET /oauth/callback    ->  GETDEL OAUTH:SESSION:<hash>
                               code and verifier  ------------------->  ID token
                           <-  303, and a session

Keys, and how long each lives at most::

    OAUTH:SESSION:<hash>    600 s   {"verifier", "nonce", "next"}

The hash is of two secrets: the *state*, which goes through the provider, and the *binding*, which stays in a cookie. So
a state is good once, for ten minutes, and in the browser that it was made for: nobody can send a visitor a link that
signs them in to somebody else's account (login CSRF). `flask.session` is not used before the end, so that whoever only
begins gets no session.

Settings::

    OAUTH_ISSUER          none   the provider, as it names itself; without it there are no routes
    OAUTH_CLIENT_ID       none   who the app is there
    OAUTH_CLIENT_SECRET   none   what it proves that with (client_secret_basic)
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from flask import Blueprint, Flask, abort, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue

import auth
from redis_store import RedisSessionInterface, RedisStore

MAX_AGE = 600  # seconds that a visitor may take at the provider
TIMEOUT = 3  # seconds, each: to connect to the provider, for each answer
REMEMBER = 3600  # seconds, at most, for which the provider's endpoints are not asked for again

#: Signatures with a key that only the provider has. Not ``none``, nor by a secret that both sides have (``HS256``).
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]

#: Over plain http a password may go to this machine only.
ISSUER = re.compile(r"https://[^\s?#@]+|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/[^\s?#@]*)?")
SUBJECT = re.compile(r"[ -~]{1,255}")  # OpenID Connect Core 2

REFUSED = "The provider did not sign you in."

blueprint = Blueprint("oauth", __name__, url_prefix="/oauth")


def init_app(app: Flask) -> None:
    """Add the routes, if a provider is configured. ValueError: a setting is wrong."""
    issuer = app.config.get("OAUTH_ISSUER")
    if issuer is None:
        return
    if not isinstance(issuer, str) or not ISSUER.fullmatch(issuer):
        raise ValueError(f"OAUTH_ISSUER is {issuer!r}; expected an https:// URL, as the provider writes it")
    for name in ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"):
        if not isinstance(value := app.config.get(name), str) or not value:
            kind = "missing" if value is None else f"of type {type(value).__name__} (not shown)"
            raise ValueError(f"{name} is {kind}; expected text, which in the environment may need quotes: '\"123\"'")
    if any(is_subject_of(issuer, user) for user in app.config["ACCOUNTS"]):
        raise ValueError(f"ACCOUNTS has a user name that begins with {issuer} and a space, as only the provider's do")
    importlib.import_module("authlib.integrations.flask_client")  # not there: it fails now, not with the first sign-in
    app.extensions["auth_knows"].append(functools.partial(is_subject_of, issuer))
    app.jinja_env.globals["provider"] = issuer.split("/")[2]  # for the link on the sign-in page
    app.register_blueprint(blueprint)


@blueprint.before_request
def refuse_head() -> None:
    """Refuse HEAD, which Flask adds to every GET: it must not begin a sign-in, or use up a state."""
    if request.method == "HEAD":
        abort(405)


@blueprint.get("/login")
def login() -> ResponseReturnValue:
    """Send the visitor to the provider, and from there to ``next``: 303. From another site: to the sign-in page."""
    target, binding, issuer = request.args.get("next", ""), secrets.token_urlsafe(), current_app.config["OAUTH_ISSUER"]
    # A page of another site could sign the visitor in as somebody else unnoticed, or pile up cookies and records.
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        return redirect(url_for("auth.login", next=auth.local_path(target) or None), 303)
    with asking():
        begun = get_provider().create_authorization_url(url_for("oauth.callback", _external=True))
    kept = {"verifier": begun["code_verifier"], "nonce": begun["nonce"]}
    kept["next"] = target if len(target) <= auth.MAX_INPUT else ""
    get_store().add(make_name(issuer, begun["state"], binding), kept, max_age=MAX_AGE)
    response = redirect(begun["url"], 303)
    response.set_cookie(get_cookie_name(begun["state"]), binding, max_age=MAX_AGE, **get_cookie_attributes())
    return response


@blueprint.get("/callback")
def callback() -> ResponseReturnValue:
    """Sign the visitor in: 303. 400: the state is wrong. 403: the provider refuses. 502: its answer is not valid."""
    state, issuer = request.args.get("state", ""), current_app.config["OAUTH_ISSUER"]
    if any(len(values) > 1 for _, values in request.args.lists()):
        abort(400, "A parameter came twice.")  # RFC 6749, 3.1: which one counts, others may see differently
    # Taken first: whatever comes of it, this state is used up. Only the browser that has the binding can do that.
    binding = request.cookies.get(get_cookie_name(state))
    kept = get_store().take(make_name(issuer, state, binding)) if binding else None
    if kept is None or request.args.get("iss", issuer) != issuer:  # RFC 9207, for providers that send it
        abort(400, "This answers no sign-in that this browser began in the last ten minutes. Please begin again.")
    if not (code := request.args.get("code")):  # why not, it says in `error`
        current_app.logger.warning("the provider sent no code, but the error %.100r", request.args.get("error"))
        abort(403, REFUSED)
    with asking():
        user = identify(code, kept)
    auth.sign_in(user)
    response = redirect(auth.local_path(str(kept.get("next", ""))) or url_for("home"), 303)
    response.delete_cookie(get_cookie_name(state), **get_cookie_attributes())
    return response


# The state ----------------------------------------------------------------------------------------------------------


def get_interface() -> RedisSessionInterface:
    """Return the app's interface to its sessions."""
    return cast(RedisSessionInterface, current_app.session_interface)


def get_store() -> RedisStore:
    """Return the store of states. It and the visitor's session together wait no longer than a request may."""
    return get_interface().namespace("OAUTH")


def get_cookie_name(state: str) -> str:
    """Return a name that begins with the session cookie's: what __Host- promises holds for both.

    One for each state: tabs do not meet, and a cookie that was planted before a sign-in is not the one that counts.
    """
    return f"{get_interface().get_cookie_name(current_app)}_oauth_{state[:8]}"


def get_cookie_attributes() -> dict[str, Any]:
    """Return those of the session cookie, but Lax: with Strict it would not come back from the provider's site."""
    return get_interface().get_cookie_attributes(current_app) | {"httponly": True, "samesite": "Lax"}


# Policy: pure functions ---------------------------------------------------------------------------------------------


def make_name(issuer: str, state: str, binding: str) -> str:
    """Return the name of a sign-in's record: what was begun with one provider does not end with another."""
    return hashlib.sha256(f"{issuer} {state} {binding}".encode()).hexdigest()


def is_subject_of(issuer: str, user: str) -> bool:
    """Return whether `user` is the issuer, a space and a subject: no URL has a space, so no two users share a name."""
    return user.startswith(f"{issuer} ")


def check_metadata(issuer: str, metadata: Mapping[str, Any]) -> None:
    """Check what the provider says about itself. ValueError, or another exception: it is not to be trusted."""
    if metadata["issuer"] != issuer:
        raise ValueError("it is another issuer")
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    if issuer.startswith("https:") and not all(metadata[name].startswith("https://") for name in names):
        raise ValueError("an endpoint is not https")


def make_user(issuer: str, nonce: str, claims: Mapping[str, Any]) -> str:
    """Return our name for the user of an ID token. ValueError, or another exception: it is not for this sign-in."""
    if claims["nonce"] != nonce:  # again, since Authlib lets an empty one pass
        raise ValueError("it answers somebody else")
    if not SUBJECT.fullmatch(claims["sub"]):
        raise ValueError("the subject is none")
    return f"{issuer} {claims['sub']}"


# The provider -------------------------------------------------------------------------------------------------------


@contextmanager
def asking() -> Iterator[None]:
    """Turn the provider's failures into answers: 403, it refuses; 502, it is not there, or not to be trusted."""
    from authlib.integrations.flask_client import OAuthError

    try:
        yield
    except OAuthError as error:
        current_app.logger.warning("the provider refuses: %.100r", error.error)
        abort(403, REFUSED)
    except Exception as error:  # of Authlib, joserfc, requests; also KeyError and the like for an answer that is none
        current_app.logger.warning("the provider failed: %.300r", error)
        abort(502, "The provider cannot be reached, or its answer is not valid. Please try again later.")


def get_provider() -> Any:
    """Return Authlib's client for the provider; from time to time a new one, which asks for its endpoints again."""
    config = current_app.config
    settings = [config[f"OAUTH_{name}"] for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET")]
    return make_provider(*settings, int(get_interface().clock() / REMEMBER))


@functools.lru_cache(maxsize=8)
def make_provider(issuer: str, client_id: str, client_secret: str, period: int) -> Any:
    """Return the client, once what the provider says of itself is checked. A new `period` gives a new client."""
    import requests
    from authlib.integrations.flask_client import FlaskOAuth2App

    url = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
    answer = requests.get(url, timeout=TIMEOUT, allow_redirects=False)
    answer.raise_for_status()
    metadata = answer.json()
    check_metadata(issuer, metadata)
    return FlaskOAuth2App(
        None,  # no framework: where Authlib itself would keep the state
        client_id=client_id,
        client_secret=client_secret,
        client_kwargs={"scope": "openid", "code_challenge_method": "S256", "default_timeout": TIMEOUT},
        authorize_url=metadata["authorization_endpoint"],
        access_token_url=metadata["token_endpoint"],
        jwks_uri=metadata["jwks_uri"],
        id_token_signing_alg_values_supported=ALGORITHMS,
    )


def identify(code: str, kept: dict[str, Any]) -> str:
    """Return who is signed in at the provider, as a user name of ours. Whatever is wrong with the answer raises."""
    provider, issuer = get_provider(), current_app.config["OAUTH_ISSUER"]
    callback_url = url_for("oauth.callback", _external=True)
    token = provider.fetch_access_token(callback_url, code=code, code_verifier=kept["verifier"], allow_redirects=False)
    provider.server_metadata.pop("jwks", None)  # the keys are asked for again: old ones, or wrong ones, do not stay
    expected = {"iss": {"value": issuer}, "aud": {"value": provider.client_id}}
    claims = provider.parse_id_token(token, kept["nonce"], claims_options=expected)  # and the signature, and its age
    return make_user(issuer, kept["nonce"], claims)
