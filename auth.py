"""Sign in, sign out, and pages for those who are signed in. Knows ``flask.session`` and its interface, not Redis."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ParamSpec, cast

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, session, url_for
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, TooManyRequests
from werkzeug.security import check_password_hash, generate_password_hash

MAX_INPUT = 1000  # characters, of a user name, of a password, and of where to go after a sign-in with a provider
NEVER = datetime.min.replace(tzinfo=UTC)

#: What browsers drop at a sign-out: copies of pages, and what scripts stored. Not "cookies": those of the whole domain
#: would go, other apps' too, and the device cookie, without which a stranger's guesses can keep the user waiting.
LEAVE_NOTHING = '"cache", "storage"'

#: What werkzeug's generate_password_hash makes: method, salt, digest.
PASSWORD_HASH = re.compile(r"([^$]+)\$[^$]+\$[0-9a-f]+")

#: A path on this site. "//host" is another site; browsers take a backslash for a slash, and drop tabs and newlines.
#: And no half of a surrogate pair, which no header can hold.
LOCAL_PATH = re.compile(r"/(?!/)[^\\\x00-\x1f\x7f\ud800-\udfff]*")

#: A user name or a password. JSON can hold half a surrogate pair, which no hash takes.
TEXT = re.compile(rf"[^\ud800-\udfff]{{0,{MAX_INPUT}}}")

#: What tells browsers and systems apart, in this order: most browsers claim to be several others as well.
BROWSERS = {
    "Firefox": "Firefox/|FxiOS/",
    "Edge": "Edg[A-Z]*/|EdgiOS/",
    "Opera": "OPR/",
    "Samsung Internet": "SamsungBrowser/",
    "Chrome": "Chrome/|CriOS/",
    "Safari": "Safari/",
}
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "macOS": "Macintosh",
    "ChromeOS": "CrOS",
    "Linux": "Linux",
}

P = ParamSpec("P")
blueprint = Blueprint("auth", __name__)


@blueprint.record_once
def setup(state: BlueprintSetupState) -> None:
    """Prepare an app that registers the blueprint. ValueError: `make_dummy_hash` expects other ``ACCOUNTS``."""
    config = state.app.config
    state.app.extensions["auth_dummy_hash"] = make_dummy_hash(config["ACCOUNTS"])
    #: Returns whether a password is the user's. A role may replace it by a function that calls it.
    state.app.extensions["auth_check"] = fits
    #: Each returns whether a name is that of a user. A role that signs users in adds its own.
    state.app.extensions["auth_knows"] = [lambda user: user in config["ACCOUNTS"]]


def make_dummy_hash(accounts: object) -> str:
    """Return the dummy hash: no password fits, and it takes as long to check as any of `accounts`.

    ValueError: `accounts` is no dict of user name -> password hash, or not all hashes are of one method and cost.
    """
    if isinstance(accounts, dict) and all(isinstance(name, str) for name in accounts):
        hashes = [isinstance(value, str) and PASSWORD_HASH.fullmatch(value) for value in accounts.values()]
        methods = {match[1] if match else "" for match in hashes} or {"scrypt"}
        try:
            [method] = methods
            return generate_password_hash(secrets.token_hex(), method)
        except (OverflowError, ValueError):  # more than one method, or none that werkzeug knows
            pass
    raise ValueError(
        f"ACCOUNTS is a {type(accounts).__name__} (not shown); expected a dict of user names to hashes by werkzeug's "
        "generate_password_hash, all of one method"
    )


def get_user(held: Mapping[str, Any] = session) -> str | None:
    """Return the name of the user that a session signs in. None: nobody is signed in, or the account is gone."""
    user = held.get("user_id")
    if isinstance(user, str) and any(knows(user) for knows in current_app.extensions["auth_knows"]):
        return user
    return None


def sign_in(user: str) -> None:
    """Begin a session of this user, with a new sid, in place of whatever session the visitor had."""
    session.clear()
    session["user_id"] = user
    session["signed_in_at"] = datetime.now(UTC)
    session["browser"] = name_browser(request.user_agent.string)
    session.regenerate()  # type: ignore[attr-defined]  # of RedisSession: a new sid, for the same user too


def login_required(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Send visitors who are not signed in to the sign-in page, and from there back to `view`."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        if get_user() is None:
            here = request.full_path if request.query_string else request.path
            # Back to a page, that is: a form would have to be sent again.
            target = request.script_root + here if request.method in ("GET", "HEAD") else None
            return redirect(url_for("auth.login", next=target), 303)
        return view(*args, **kwargs)

    return guarded


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """Show the sign-in page. POST ``username``, ``password``, ``next``: 303 to `next`, or 401 and the page again.

    429 with Retry-After: there were too many wrong passwords before, and this one was not checked.
    """
    form = read_form()
    username, password = form.get("username", ""), form.get("password", "")
    target = local_path(request.values.get("next", ""))
    if max(len(username), len(password)) > MAX_INPUT:
        abort(400, f"A user name and a password have at most {MAX_INPUT} characters.")
    posted, wait = request.method == "POST", 0
    if posted:
        try:
            if check(username, password):
                sign_in(username)
                return redirect(target or url_for("home"), 303)
        except TooManyRequests as error:
            wait = cast(int, error.retry_after)
    page = render_template("login.html", failed=posted, wait=wait, username=username, next=target, max_input=MAX_INPUT)
    if wait:
        return page, 429, {"Retry-After": str(wait)}
    return page, 401 if posted else 200


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """End the visitor's session, if there is one. 303 to the home page."""
    session.clear()
    # Chromium keeps a page for its back button in spite of no-store, when a redirect led there that set a cookie.
    return redirect(url_for("home"), 303), {"Clear-Site-Data": LEAVE_NOTHING}


@blueprint.get("/account")
@login_required
def account() -> ResponseReturnValue:
    """Show who is signed in, and since when."""
    since = session.get("signed_in_at")
    return render_template("account.html", user=get_user(), since=since if isinstance(since, datetime) else None)


@blueprint.get("/sessions")
@login_required
def devices() -> ResponseReturnValue:
    """Show the user's sessions: this one first, then the latest used."""
    infos = sorted(get_sessions(), key=lambda info: (info.sid == get_sid(), info.refreshed or NEVER), reverse=True)
    return render_template("sessions.html", infos=infos, this=get_sid())


@blueprint.post("/sessions/end")
@login_required
def end_session() -> ResponseReturnValue:
    """End the user's session that ``handle`` names, if there is one. 303 to the list; for this one, as `logout`."""
    handle = read_form().get("handle", "")
    for info in get_sessions():
        if info.handle == handle:
            if info.sid == get_sid():
                return logout()
            get_interface().end(info.sid)
    flash("That session has ended.")
    return redirect(url_for("auth.devices"), 303)


@blueprint.post("/sessions/end-others")
@login_required
def end_other_sessions() -> ResponseReturnValue:
    """End all sessions of the user but this one. 303 to the list."""
    number = get_interface().revoke(get_user(), keep=get_sid())
    flash("One other session has ended." if number == 1 else f"{number or 'No'} other sessions have ended.")
    return redirect(url_for("auth.devices"), 303)


# Only these three know the session interface. Another one that has methods of these names would do as well.


def get_interface() -> Any:
    """Return the app's session interface, which knows all sessions of a user."""
    return current_app.session_interface


def get_sid() -> str:
    """Return the sid of this request's session."""
    return str(session.sid)  # type: ignore[attr-defined]  # of RedisSession


def get_sessions() -> list[Any]:
    """Return the sessions of the signed-in user."""
    return list(get_interface().sessions_of(get_user()))


def name_browser(user_agent: str) -> str:
    """Return a short name for people, as "Firefox on Linux", made of ``User-Agent``, which anybody can forge."""
    system = next((name for name, sign in SYSTEMS.items() if re.search(sign, user_agent)), "")
    for name, sign in BROWSERS.items():
        if re.search(sign, user_agent):
            return f"{name} on {system}" if system else name
    # Any other program: the product that it calls itself, as "curl" of "curl/8.5.0". Nothing but what is printable.
    product = re.match(r"[!-.0-~]{1,40}", user_agent)
    return product[0] if product else "Unknown browser"


def read_form() -> Mapping[str, str]:
    """Return the fields that were sent. 400, 413: they are malformed, or too long."""
    try:
        return request.form
    except HTTPException:
        raise
    except Exception:  # whatever the WSGI server raises for chunks that are none; gunicorn: InvalidChunkSize
        abort(400, "The body of this request is malformed.")


def read_json() -> dict[str, Any]:
    """Return the JSON object that was sent; an empty one, if nothing was. 400, 413, 415: it is none, or too long."""
    try:
        body = request.get_json() if request.get_data() else {}
    except HTTPException:
        raise
    except Exception:  # nested too deep for Python, or whatever the WSGI server raises for chunks that are none
        body = None
    return body if isinstance(body, dict) else abort(400, "Expected a JSON object")


def read_credentials() -> tuple[str, str]:
    """Return ``username`` and ``password`` of a JSON object. 400: one is missing, no text, or too long."""
    body = read_json()
    for name in ("username", "password"):
        if not isinstance(text := body.get(name), str) or TEXT.fullmatch(text) is None:
            abort(400, f"Expected a {name}, of at most {MAX_INPUT} characters")
    return body["username"], body["password"]


def check(username: str, password: str) -> bool:
    """Return whether the password is the user's. TooManyRequests: it was not checked."""
    return bool(current_app.extensions["auth_check"](username, password))


def fits(username: str, password: str) -> bool:
    """Return whether the password is the user's. For an unknown user the dummy hash takes the same time."""
    accounts, dummy = current_app.config["ACCOUNTS"], current_app.extensions["auth_dummy_hash"]
    return check_password_hash(accounts.get(username, dummy), password)


def local_path(target: str) -> str:
    """Return `target` if it is a path on this site, else an empty string."""
    return target if LOCAL_PATH.fullmatch(target) else ""
