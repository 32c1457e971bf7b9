"""The app of the stories: a shop of a dozen lines a page, which knows ``flask.session`` and not what keeps it."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, Flask, abort, current_app, request, session
from flask.sessions import SessionInterface
from werkzeug.exceptions import HTTPException

from redis_store import WEEK

PASSWORDS = {"ada": "lovelace", "bob": "builder"}  # auth.py shows how a real app keeps them

shop = Blueprint("shop", __name__)


def make_shop(interface: SessionInterface) -> Flask:
    """Return the app, with these sessions."""
    app = Flask(__name__, static_folder=None)
    app.config.update(SECRET_KEY=secrets.token_hex(32), PERMANENT_SESSION_LIFETIME=WEEK)
    app.config["SESSION_MAX_WAIT"] = 5  # seconds: only a story says when Redis is away, and no busy machine
    app.session_interface = interface
    app.logger.disabled = True  # a 500 is part of some stories
    app.register_blueprint(shop)
    app.register_error_handler(HTTPException, show_error)
    return app


def show_error(error: HTTPException) -> tuple[str, int, list[tuple[str, str]]]:
    """Say in words what went wrong."""
    headers = [(name, value) for name, value in error.get_headers() if name != "Content-Type"]
    return f"{error.name}. {error.description or ''}", error.code or 500, headers


@shop.get("/about")
def about() -> str:
    """Show a page that is the same for everybody."""
    return "A shop for tea."


@shop.get("/")
def home() -> str:
    """Show what the session holds."""
    user, cart, theme = session.get("user_id"), session.get("cart", []), session.get("theme")
    parts = [f"Signed in as {user}." if user else "Not signed in."]
    parts += [f"In the cart: {', '.join(cart)}."] if cart else []
    parts += [f"The theme is {theme}."] if theme else []
    return " ".join(parts)


@shop.get("/login")
def show_form() -> str:
    """Show the form to sign in."""
    return "A form for a name and a password."


@shop.post("/login")
def login() -> str:
    """Sign in. 401: the password is wrong."""
    user = request.form["user"]
    if not secrets.compare_digest(PASSWORDS[user], request.form["password"]):
        abort(401)
    session["user_id"] = user
    return f"Welcome, {user}."


@shop.post("/logout")
def logout() -> str:
    """End this session."""
    session.clear()
    return "Goodbye."


@shop.post("/cart")
def add_to_cart() -> str:
    """Put something into the cart, which is a list in the session."""
    session.setdefault("cart", []).append(request.form["item"])
    return f"{request.form['item']} is in your cart."


@shop.post("/theme")
def choose_theme() -> str:
    """Choose how the shop looks."""
    session["theme"] = request.form["theme"]
    return f"The theme is {session['theme']}."


@shop.post("/order")
def begin_order() -> str:
    """Begin an order: a list, inside a dict, inside the session."""
    session["order"] = {"lines": []}
    return "Your order is empty."


@shop.post("/order/lines")
def add_line() -> str:
    """Put a line, which is a tuple, into the list. Nothing is assigned to the session itself."""
    session["order"]["lines"].append((request.form["item"], 2))
    return f"2 x {request.form['item']} is ordered."


@shop.get("/order")
def show_order() -> str:
    """Look for that line."""
    lines = session["order"]["lines"]
    return f"{len(lines)} line. 2 x tea is {'there' if ('tea', 2) in lines else 'not found'}: {lines!r}"


@shop.post("/sign-out-everywhere")
def sign_out_everywhere() -> str:
    """End all sessions of this user but this one; with a store that cannot list them, this one."""
    interface: Any = current_app.session_interface
    if not hasattr(interface, "revoke"):
        session.clear()
        return "Signed out. Of others this store knows nothing."
    number = interface.revoke(session["user_id"], keep=session.sid)  # type: ignore[attr-defined]
    return f"Signed out on {number} other device."
