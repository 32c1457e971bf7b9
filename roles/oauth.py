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
                               POST /oauth/backchannel-logout  <------  logout token: signed out there, so here too

Keys, and how long each lives at most::

    OAUTH:SESSION:<hash>           600 s   {"verifier", "nonce", "next"}
    OAUTH:SESSION:logout:<hash>    600 s   {"at": <Unix time>}, of a logout token that was used

The first hash is of two secrets: the *state*, which goes through the provider, and the *binding*, which stays in a
cookie. So a state is good once, for ten minutes, and in the browser that it was made for: nobody can send a visitor a
link that signs them in to somebody else's account (login CSRF). `flask.session` is not used before the end.

A session has two owners: the user, and the user's session at the provider, if the ID token names one (``sid``). A
logout token names one of them, and `revoke` ends what is theirs.

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
from typing import Any

from flask import Blueprint, Flask, abort, current_app, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

import auth

MAX_AGE = 600  # seconds that a visitor may take at the provider, and that a logout token is known to be used
TIMEOUT = 3  # seconds, each: to connect to the provider, for each answer
REMEMBER = 3600  # seconds, at most, for which the provider's endpoints are not asked for again

#: Signatures with a key that only the provider has. Not ``none``, nor by a secret that both sides have (``HS256``).
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]

#: Over plain http a password may go to this machine only.
ISSUER = re.compile(r"https://[^\s?#@]+|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/[^\s?#@]*)?")
NAME = re.compile(r"[ -~]{1,255}")  # of a subject: OpenID Connect Core 2
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
PROVIDER_SESSION = "provider_session"  # the key of a session's second owner
REFUSED = "The provider refuses, cannot be reached, or its answer is not valid. Please try again later."

blueprint = Blueprint("oauth", __name__, url_prefix="/oauth")
# HEAD, which Flask adds to every GET, must not begin a sign-in, or use up a state.
blueprint.before_request(lambda: abort(405) if request.method == "HEAD" else None)


def init_app(app: Flask) -> None:
    """Add the routes, if a provider is configured. ValueError: a setting is wrong."""
    if (issuer := app.config.get("OAUTH_ISSUER")) is None:
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
    app.config["SESSION_OWNER_KEYS"] = [*app.config["SESSION_OWNER_KEYS"], PROVIDER_SESSION]
    app.jinja_env.globals["provider"] = issuer.split("/")[2]  # for the link on the sign-in page
    app.register_blueprint(blueprint)


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
    response.set_cookie(value=binding, max_age=MAX_AGE, **make_cookie(begun["state"]))
    return response


@blueprint.get("/callback")
def callback() -> ResponseReturnValue:
    """Sign the visitor in: 303. 400: the state is wrong. 403: the provider refuses. 502: its answer is not valid."""
    state, issuer = request.args.get("state", ""), current_app.config["OAUTH_ISSUER"]
    if any(len(values) > 1 for _, values in request.args.lists()):
        abort(400, "A parameter came twice.")  # RFC 6749, 3.1: which one counts, others may see differently
    # Taken first: whatever comes of it, this state is used up. Only the browser that has the binding can do that.
    binding = request.cookies.get(make_cookie(state)["key"])
    kept = get_store().take(make_name(issuer, state, binding)) if binding else None
    if kept is None or request.args.get("iss", issuer) != issuer:  # RFC 9207, for providers that send it
        abort(400, "This answers no sign-in that this browser began in the last ten minutes. Please begin again.")
    if not (code := request.args.get("code")):  # why not, it says in `error`
        current_app.logger.warning("the provider sent no code, but the error %.100r", request.args.get("error"))
        abort(403, REFUSED)
    with asking():
        url, verifier = url_for("oauth.callback", _external=True), kept["verifier"]
        token = get_provider().fetch_access_token(url, code=code, code_verifier=verifier, allow_redirects=False)
        claims = read_token(token, nonce={"essential": True, "values": [kept["nonce"]]})
        user = make_owner(issuer, "sub", claims)
        second = {PROVIDER_SESSION: make_owner(issuer, "sid", claims)} if "sid" in claims else {}
    auth.sign_in(user)
    session.update(second)
    response = redirect(auth.local_path(str(kept.get("next", ""))) or url_for("home"), 303)
    response.delete_cookie(**make_cookie(state))
    return response


@blueprint.post("/backchannel-logout")
def end_sessions() -> ResponseReturnValue:
    """End the sessions that a ``logout_token`` names: 200. 400: it is not valid, was used, or cannot be checked."""
    from authlib.oauth2.claims import JWTClaims

    issuer, now = current_app.config["OAUTH_ISSUER"], int(auth.get_interface().clock())
    with asking(400):
        token = {"id_token": auth.read_form()["logout_token"]}
        check = functools.partial(is_logout, now=now)
        claims = read_token(token, JWTClaims, events={"essential": True, "validate": check})
        owner = make_owner(issuer, "sid" if "sid" in claims else "sub", claims)
    used = f"logout:{make_name(issuer, claims['jti'])}"
    if get_store().get(used) is not None:
        abort(400, "This token was used before.")
    auth.get_interface().revoke(owner)
    get_store().add(used, {"at": now}, max_age=MAX_AGE)  # last: after a failure the token may come again
    return ""


# Policy: pure functions ---------------------------------------------------------------------------------------------


def make_name(issuer: str, *secret: str) -> str:
    """Return the name of a record: what was begun with one provider does not end with another."""
    return hashlib.sha256(" ".join((issuer, *secret)).encode()).hexdigest()


def is_subject_of(issuer: str, user: str) -> bool:
    """Return whether `user` is the issuer, a space and a subject: no URL has a space, so no two users share a name."""
    return user.startswith(f"{issuer} ")


def check_metadata(issuer: str, metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return where the provider answers, as it says. ValueError, or another exception: it is not to be trusted."""
    if metadata["issuer"] != issuer:
        raise ValueError("it is another issuer")
    urls = {name: metadata[name] for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    if issuer.startswith("https:") and not all(url.startswith("https://") for url in urls.values()):
        raise ValueError("an endpoint is not https")
    return urls


def make_owner(issuer: str, claim: str, claims: Mapping[str, Any]) -> str:
    """Return our name for a token's user (``sub``), or for their session there (``sid``). An exception: it has none."""
    if not NAME.fullmatch(claims[claim]):
        raise ValueError(f"{claim} is no name")
    return f"{issuer}{' ' if claim == 'sub' else '#'}{claims[claim]}"  # an issuer has neither


def is_logout(token: Any, events: Mapping[str, Any], now: float) -> bool:
    """Return whether a token is a logout token, not an ID token, and so young that it is known whether it was used."""
    is_typed = token.header.get("typ", "JWT").lower() in ("jwt", "logout+jwt") and isinstance(events[LOGOUT], dict)
    return is_typed and "jti" in token and "nonce" not in token and token["iat"] >= now - MAX_AGE / 2


# Redis, the cookie and the provider ---------------------------------------------------------------------------------


def get_store() -> Any:
    """Return the store of states. It and the visitor's session together wait no longer than a request may."""
    return auth.get_interface().namespace("OAUTH")


def make_cookie(state: str) -> dict[str, Any]:
    """Return name and attributes of a state's cookie. One for each: tabs do not meet; one that is planted is no use."""
    interface = auth.get_interface()
    name = f"{interface.get_cookie_name(current_app)}_oauth_{state[:8]}"  # what __Host- promises holds for both
    # As the session's, but Lax: with Strict it would not come back from the provider's site.
    return {"key": name, **interface.get_cookie_attributes(current_app), "httponly": True, "samesite": "Lax"}


@contextmanager
def asking(status: int = 502) -> Iterator[None]:
    """Turn the provider's failures into answers: 403, it refuses; `status`, it is not there, or not to be trusted."""
    from authlib.integrations.flask_client import OAuthError

    try:
        yield
    except Exception as error:  # of Authlib, joserfc, requests; also KeyError and the like for an answer that is none
        current_app.logger.warning("the provider failed: %.300r", error)
        abort(403 if isinstance(error, OAuthError) else status, REFUSED)


def get_provider() -> Any:
    """Return Authlib's client for the provider; from time to time a new one, which asks for its endpoints again."""
    settings = [current_app.config[f"OAUTH_{name}"] for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET")]
    return make_provider(*settings, int(auth.get_interface().clock() / REMEMBER))


@functools.lru_cache(maxsize=8)
def make_provider(issuer: str, client_id: str, client_secret: str, period: int) -> Any:
    """Return the client, once what the provider says of itself is checked. A new `period` gives a new client."""
    import requests
    from authlib.integrations.flask_client import FlaskOAuth2App

    url = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
    answer = requests.get(url, timeout=TIMEOUT, allow_redirects=False)
    answer.raise_for_status()
    return FlaskOAuth2App(
        None,  # no framework: where Authlib itself would keep the state
        client_id=client_id,
        client_secret=client_secret,
        client_kwargs={"scope": "openid", "code_challenge_method": "S256", "default_timeout": TIMEOUT},
        id_token_signing_alg_values_supported=ALGORITHMS,
        **check_metadata(issuer, answer.json()),
    )


def read_token(token: Mapping[str, Any], claims_cls: Any = None, **options: Any) -> Any:
    """Return the claims of the provider's token, once signature, issuer, audience and age are right. Else it raises."""
    provider, issuer = get_provider(), current_app.config["OAUTH_ISSUER"]
    provider.server_metadata.pop("jwks", None)  # the keys are asked for again: old ones, or wrong ones, do not stay
    for claim, value in ("iss", issuer), ("aud", provider.client_id):
        options[claim] = {"essential": True, "value": value}
    return provider.parse_id_token(token, None, options, claims_cls)
