"""Mail: a page from which to send one. A worker does that (roles/jobs.py); where there is none, the page itself.

The path of one mail::

    browser                 app                               a worker
    GET /mail           <-  the form, with a random id
    POST /mail          ->  enqueues the job of that id
                        <-  303                           ->  SET MAIL:SESSION:<id>:lease NX EX
                                                              GET MAIL:SESSION:<id>          was it sent?
                                                              the mail server, which takes it
                                                              SET MAIL:SESSION:<id> NX EX    it was
                                                              DEL MAIL:SESSION:<id>:lease

Keys, and how long each lives at most::

    MAIL:SESSION:<id>          604800 s   {"to"}: this mail was sent
    MAIL:SESSION:<id>:lease        15 s   {"to"}: it is being sent; who comes then, tries again later

A form that is sent twice is one mail, and so is a job that runs twice. Only a worker that dies between the server's
answer and the note, or a server that takes longer than a lease, leaves a mail that goes out once more: with the same
Message-ID, which is made of the id.

Settings::

    MAIL_SERVER    "console:"         console:, file:/path, smtp://host[:port], smtps://[user:password@]host[:port]
    MAIL_FROM      "app@localhost"    the sender
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import cast
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import click
from flask import Blueprint, Flask, abort, current_app, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

import auth
from redis_store import WEEK, RedisSessionInterface, RedisStore, StoreUnavailable
from roles import escape

LEASE = 15  # seconds in which a mail is sent; less than until a job is tried again whose worker was killed
TIMEOUT = 10  # seconds for each answer of the mail server
MAX_DELAY = 30 * 24 * 60 * 60  # seconds
MAX_TEXT = 5000  # characters
MAX_SUBJECT = 200
FIELDS = ("to", "subject", "text")

#: A password goes over TLS only. An IPv6 address is in brackets.
SERVER = re.compile(
    r"console:|file:/.+|(smtp://|smtps://([^/?#@:\s]+:[^/?#@:\s]+@)?)([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[1-9]\d{0,4})?"
)
ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,7}", re.ASCII)
SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair, which no mail can hold
ID = re.compile("[0-9a-f]{32}")

blueprint = Blueprint("mail", __name__, url_prefix="/mail")


def init_app(app: Flask) -> None:
    """Add ``/mail``, and the job that sends one. ValueError: a setting is wrong."""
    server = app.config.setdefault("MAIL_SERVER", "console:")
    sender = app.config.setdefault("MAIL_FROM", "app@localhost")
    if not is_server(server):
        raise ValueError(
            "MAIL_SERVER (not shown: it may hold a password) is wrong; expected console:, file:/path, "
            "smtp://host[:port], or smtps://[user:password@]host[:port]"
        )
    if fault := find_fault({"to": sender, "subject": "", "text": ""}):
        raise ValueError(f"MAIL_FROM is {sender!r}; {fault}")
    if jobs := app.extensions.get("jobs"):
        jobs.functions["mail"] = send_mail
    app.register_blueprint(blueprint)
    app.jinja_env.globals.setdefault("role_pages", {})["Mail"] = "/mail"  # type: ignore[index]


@blueprint.get("")
@auth.login_required
def page() -> ResponseReturnValue:
    """Show the form."""
    waits = "jobs" not in current_app.extensions
    where = current_app.config["MAIL_SERVER"].partition(":")[0]
    return render_template(
        "mail.html", id=uuid4().hex, waits=waits, where=where, max_text=MAX_TEXT, max_delay=MAX_DELAY
    )


@blueprint.post("")
@auth.login_required
def send() -> ResponseReturnValue:
    """Take ``to``, ``subject``, ``text``, ``id``, ``delay``, and send the mail: 303 to the form.

    400: a field is wrong. 502: there is no worker, and the mail server refuses it or is away.
    """
    form, owner = auth.read_form(), auth.get_user()
    mail, mail_id = {name: form.get(name, "") for name in FIELDS}, form.get("id", "")
    if fault := find_fault(mail) or find_wrong_order(mail_id, form.get("delay", "")):
        abort(400, fault)
    if jobs := current_app.extensions.get("jobs"):
        jobs.enqueue("mail", {"id": mail_id, "owner": owner, **mail}, mail_id, int(form.get("delay") or "0"))
        notify(owner, mail_id, 0, "Your mail is on its way.")
        flash("Your mail is on its way.")
    else:
        try:
            send_mail(mail_id, cast(str, owner), **mail)
        except BeingSent:  # by the first click of two
            pass
        except OSError as error:
            current_app.logger.warning("a mail was not sent: %.300r", error)
            abort(502, "The mail server cannot be reached, or refuses this mail.")
        flash("Your mail was sent.")
    return redirect(url_for("mail.page"), 303)


class BeingSent(OSError):
    """Somebody else is sending this mail at this moment."""


def send_mail(id: str, owner: str, **mail: str) -> None:
    """Send a mail, unless it was sent.

    ValueError: `find_fault` finds one. OSError: the server refuses, or is away. BeingSent: try again later.
    """
    if fault := find_fault(mail):
        raise ValueError(fault)
    if not get_store().add(lease := f"{id}:lease", {"to": mail["to"]}, max_age=LEASE):
        raise BeingSent("another one is sending this mail")
    try:
        if get_store().get(id) is None:  # with the lease: before, another one could send it in between
            notify(owner, id, 50, "Your mail is being sent.")
            message = make_message(id, current_app.config["MAIL_FROM"], mail, auth.get_interface().clock())
            deliver(message, current_app.config["MAIL_SERVER"])
            get_store().add(id, {"to": mail["to"]}, max_age=WEEK)
    finally:
        get_store().destroy(lease)
    notify(owner, id, 100, "Your mail was sent.")


def get_store() -> RedisStore:
    """Return the store of notes. It and the visitor's session together wait no longer than a request may."""
    return cast(RedisSessionInterface, current_app.session_interface).namespace("MAIL")


def notify(owner: object, job: str, progress: int, text: str) -> None:
    """Tell the owner how far a mail is, if there are notifications. No mail is lost for one."""
    if tell := current_app.extensions.get("notify"):
        try:
            tell(owner, {"text": text, "job": job, "progress": progress})
        except StoreUnavailable as error:
            current_app.logger.warning("%s", error)


def deliver(message: EmailMessage, server: str) -> None:
    """Hand a message over to what ``MAIL_SERVER`` says."""
    url, tls = urlsplit(server), ssl.create_default_context()
    if url.scheme == "console":
        click.echo("\n".join(escape(line) for line in message.as_string().splitlines()))
    elif url.scheme == "file":
        with open(url.path, "ab") as file:
            file.write(message.as_bytes() + b"\r\n")
    elif url.scheme == "smtp":
        with smtplib.SMTP(str(url.hostname), url.port or 25, timeout=TIMEOUT) as smtp:
            smtp.send_message(message)
    else:
        with smtplib.SMTP_SSL(str(url.hostname), url.port or 465, timeout=TIMEOUT, context=tls) as smtp:
            if url.username:
                smtp.login(unquote(url.username), unquote(str(url.password)))
            smtp.send_message(message)


# Policy: pure functions ---------------------------------------------------------------------------------------------


def is_server(server: object) -> bool:
    """Return whether mail can go there. A password goes over TLS only."""
    try:
        return isinstance(server, str) and SERVER.fullmatch(server) is not None and urlsplit(server).port != 0
    except ValueError:  # there is no such port
        return False


def find_fault(mail: Mapping[str, object]) -> str | None:
    """Return what is wrong with a mail. A line break in a header would begin another one (header injection).

    So would one that is encoded (RFC 2047): Python's email package decodes what begins with ``=?``.
    """
    to, subject, text = (mail.get(name) for name in FIELDS)
    if not isinstance(to, str) or len(to) > 254 or "=?" in to or not ADDRESS.fullmatch(to):
        return "expected one e-mail address"
    if not isinstance(subject, str) or len(subject) > MAX_SUBJECT or not subject.isprintable() or "=?" in subject:
        return f"expected a subject of one line, of at most {MAX_SUBJECT} characters, without =?"
    if not isinstance(text, str) or len(text) > MAX_TEXT or SURROGATE.search(text):
        return f"expected a text of at most {MAX_TEXT} characters"
    return None


def find_wrong_order(mail_id: str, delay: str) -> str | None:
    """Return what is wrong with the other fields of the form."""
    if not ID.fullmatch(mail_id):
        return "expected an id as the form has it"
    if delay and not (re.fullmatch("[0-9]{1,7}", delay) and int(delay) <= MAX_DELAY):
        return f"expected a delay of at most {MAX_DELAY} seconds"
    return None


def make_message(mail_id: str, sender: str, mail: Mapping[str, str], at: float) -> EmailMessage:
    """Return the message, of Unix time `at`. If it is sent again, its Message-ID is that of the first time."""
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, mail["to"], mail["subject"]
    message["Date"] = datetime.fromtimestamp(at, UTC)
    message["Message-ID"] = f"<{mail_id}@{sender.rpartition('@')[2]}>"
    message.set_content(mail["text"])
    return message
