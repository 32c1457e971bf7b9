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

The hash is of two secrets: the *state*, which goes through the provider, and the *binding*, which stays in a cookie. So
a state is good once, for ten minutes, and in the browser that it was made for: nobody can send a visitor a link that
signs him in to somebody else's account (login CSRF). `flask.session` is not used before the end, so that whoever only
begins gets no session.

Settings: ``OAUTH_ISSUER``, ``OAUTH_CLIENT_ID``, ``OAUTH_CLIENT_SECRET``. Without the first there are no routes.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import re
import secrets
import time
from collections.abc import Iterator
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
    """Add the routes, if a provider is configured. ValueError: not well."""
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
    """Flask gives every GET a HEAD; but whoever only looks begins nothing, and uses up no state."""
    if request.method == "HEAD":
        abort(405)


@blueprint.get("/login")
def login() -> ResponseReturnValue:
    """303 to the provider, and from there, in the end, to ``next``. From another site: to the page with the link."""
    target, binding = request.args.get("next", ""), secrets.token_urlsafe()
    # A page of another site could sign the visitor in as somebody else behind his back, or pile up cookies and records.
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        return redirect(url_for("auth.login", next=auth.local_path(target) or None), 303)
    with asking():
        begun = get_provider().create_authorization_url(url_for("oauth.callback", _external=True))
    kept = {"verifier": begun["code_verifier"], "nonce": begun["nonce"]}
    kept["next"] = target if len(target) <= auth.MAX_INPUT else ""
    get_store().add(make_name(begun["state"], binding), kept, max_age=MAX_AGE)
    response = redirect(begun["url"], 303)
    response.set_cookie(get_cookie_name(begun["state"]), binding, max_age=MAX_AGE, **get_cookie_attributes())
    return response


@blueprint.get("/callback")
def callback() -> ResponseReturnValue:
    """303, signed in. 400: the state is not good. 403: the provider says no. 502: it says nothing that is valid."""
    state, issuer = request.args.get("state", ""), current_app.config["OAUTH_ISSUER"]
    if any(len(values) > 1 for _, values in request.args.lists()):
        abort(400, "A parameter came twice.")  # RFC 6749, 3.1: which one counts, others may see differently
    # Taken first: whatever comes of it, this state is used up. Only the browser that has the binding can do that.
    binding = request.cookies.get(get_cookie_name(state))
    kept = get_store().take(make_name(state, binding)) if binding else None
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


def get_store() -> RedisStore:
    """Where the visitor's session is looked for, so that both together wait for Redis no longer than one may."""
    return cast(RedisSessionInterface, current_app.session_interface).namespace("OAUTH")


def make_name(state: str, binding: str) -> str:
    """What a sign-in is kept under. Also of the issuer: what was begun with one provider does not end with another."""
    return hashlib.sha256(f"{current_app.config['OAUTH_ISSUER']} {state} {binding}".encode()).hexdigest()


def get_cookie_name(state: str) -> str:
    """After the session's: what a prefix as __Host- promises holds for both. One for each state: tabs do not meet, and
    a cookie that somebody planted before a sign-in is not the one that counts.
    """
    return f"{current_app.session_interface.get_cookie_name(current_app)}_oauth_{state[:8]}"


def get_cookie_attributes() -> dict[str, Any]:
    """The session's, but Lax: with Strict it would not come along from the provider's site."""
    interface = cast(RedisSessionInterface, current_app.session_interface)
    return interface.get_cookie_attributes(current_app) | {"httponly": True, "samesite": "Lax"}


# The provider -------------------------------------------------------------------------------------------------------


def is_subject_of(issuer: str, user: str) -> bool:
    """Whether `user` is the issuer, a space and the subject: no URL has a space, so two users never have one name."""
    return user.startswith(f"{issuer} ")


@contextmanager
def asking() -> Iterator[None]:
    """Asking the provider may end with a page: 403, it says no; 502, it cannot be reached, or is not to be trusted."""
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
    """Authlib's client for the provider; a new one, which asks for its endpoints again, from time to time."""
    config = current_app.config
    settings = [config[f"OAUTH_{name}"] for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET")]
    return make_provider(*settings, int(time.monotonic() / REMEMBER))


@functools.lru_cache(maxsize=8)
def make_provider(issuer: str, client_id: str, client_secret: str, period: int) -> Any:
    """The client, after a look at what the provider says about itself. `period` only makes it another one."""
    import requests
    from authlib.integrations.flask_client import FlaskOAuth2App

    url = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
    answer = requests.get(url, timeout=TIMEOUT, allow_redirects=False)
    answer.raise_for_status()
    metadata = answer.json()
    if metadata["issuer"] != issuer:
        raise ValueError("it is another issuer")
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    if issuer.startswith("https:") and not all(metadata[name].startswith("https://") for name in names):
        raise ValueError("an endpoint is not https")
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
    """Who is signed in at the provider, as a user name of ours. It raises whatever is wrong with the answer."""
    provider, issuer = get_provider(), current_app.config["OAUTH_ISSUER"]
    callback_url = url_for("oauth.callback", _external=True)
    token = provider.fetch_access_token(callback_url, code=code, code_verifier=kept["verifier"], allow_redirects=False)
    provider.server_metadata.pop("jwks", None)  # the keys are asked for again: old ones, or wrong ones, do not stay
    expected = {"iss": {"value": issuer}, "aud": {"value": provider.client_id}}
    claims = provider.parse_id_token(token, kept["nonce"], claims_options=expected)  # and the signature, and its age
    if claims["nonce"] != kept["nonce"]:  # again, since Authlib lets an empty one pass
        raise ValueError("it answers somebody else")
    if not SUBJECT.fullmatch(claims["sub"]):
        raise ValueError("the subject is none")
    return f"{issuer} {claims['sub']}"
