"""/mail: a form, and the mail that it sends, while the visitor waits where there is no worker."""

from __future__ import annotations

import ssl
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from support.certificates import make_certificates
from support.demo import CONFIG, make_app
from support.docstrings import assert_page
from support.project import PAGES
from support.roles.mail import MAIL, Postbox, fill_in, receiving, send, sign_in_to
from support.turns import Turns, orders

from app import create_app
from redis_store import StoreUnavailable
from roles.mail import BeingSent, send_mail

KEEPS = 604800  # seconds


@pytest.fixture
def mail_app(client: Any, postbox: Postbox) -> Flask:
    """The demo app, without a worker."""
    app = make_app(client)
    app.config["MAIL_SERVER"] = f"smtp://127.0.0.1:{postbox.port}"
    app.extensions.pop("jobs", None)
    return app


def test_the_page_has_the_settings_and_the_keys_of_the_role() -> None:
    """Those of its docstring."""
    assert_page(PAGES["docs/mail.md"], "mail")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_who_is_signed_in_can_send(mail_app: Flask, postbox: Postbox, method: str) -> None:
    """Others are sent to the sign-in page."""
    web = mail_app.test_client()
    answer = web.open("/mail", method=method, data={"id": "0" * 32, **MAIL})
    assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (303, "/login")
    assert postbox.mails == []


@pytest.mark.parametrize(
    ("setting", "where"),
    [("console:", "printed in the terminal"), ("file:/tmp/mails", "written to a file"), ("smtp://localhost", None)],
)
def test_the_page_says_where_a_mail_goes_that_nobody_gets(mail_app: Flask, setting: str, where: str | None) -> None:
    """Without a mail server "sent" would be taken for more than it is."""
    mail_app.config["MAIL_SERVER"] = setting
    page = sign_in_to(mail_app).get("/mail").text
    assert ("nobody gets it" in page) is (where is not None)
    assert where is None or where in page


def test_a_mail_arrives_as_it_was_written(mail_app: Flask, postbox: Postbox) -> None:
    """With the sender of the settings, and when it was sent."""
    web = sign_in_to(mail_app)
    form = fill_in(web, text="Zeile 1\nZeile 2: ✓\n.\n..")
    answer = send(web, form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/mail")
    assert "Your mail was sent." in web.get("/mail").text
    (mail,) = postbox.mails
    assert [mail[name] for name in ("From", "To", "Subject")] == ["app@localhost", MAIL["to"], MAIL["subject"]]
    assert mail["Message-ID"] == f"<{form['id']}@localhost>"
    assert abs(time.time() - mail["Date"].datetime.timestamp()) < 60  # seconds; RFC 5322 3.6 wants it in each mail
    assert mail.get_content().splitlines() == form["text"].splitlines()


def test_a_form_that_is_sent_twice_is_one_mail(mail_app: Flask, client: Any, postbox: Postbox) -> None:
    """A double click, or a page that is reloaded. The note ends by itself."""
    web = sign_in_to(mail_app)
    form = fill_in(web)
    assert [send(web, form).status_code for _ in range(2)] == [303, 303]
    assert len(postbox.mails) == 1
    assert KEEPS - 60 < client.ttl(f"MAIL:SESSION:{form['id']}") <= KEEPS
    assert send(web, fill_in(web)).status_code == 303
    assert len(postbox.mails) == 2


def test_a_form_that_is_sent_twice_at_once_is_one_mail(mail_app: Flask, postbox: Postbox) -> None:
    """The second click comes while the mail server thinks about the first."""
    postbox.waits_for = threading.Event()
    web = sign_in_to(mail_app)
    form = fill_in(web)
    with ThreadPoolExecutor() as pool:
        clicks = [pool.submit(send, web, form) for _ in range(2)]
        wait(clicks, return_when=FIRST_COMPLETED)
        postbox.waits_for.set()
        assert [click.result().status_code for click in clicks] == [303, 303]
    assert len(postbox.mails) == 1


@pytest.mark.thorough
def test_no_order_of_commands_sends_a_mail_twice(client: Any, tmp_path: Path) -> None:
    """Of two who send it at once, whoever asks Redis first, and however far the other one is by then."""
    turns, file = Turns(client), tmp_path / "mails"
    app = make_app(turns)
    app.config["MAIL_SERVER"] = f"file:{file}"
    del app.extensions["notify"]

    def try_to() -> None:
        with app.app_context(), suppress(BeingSent):
            send_mail("0" * 32, "ada", **MAIL)

    for order in orders(4, 4):
        client.delete(*client.keys("MAIL:*"), "nothing")
        file.unlink(missing_ok=True)
        turns.run(order, a=try_to, b=try_to)
        assert file.read_text().count("Message-ID: <") == 1, order
        assert client.keys("MAIL:*") == [b"MAIL:SESSION:" + b"0" * 32]


@pytest.mark.parametrize(
    "fields",
    [
        {"to": ""},
        {"to": "grace"},
        {"to": "grace@example.com, eve@example.com"},
        {"to": "Grace <grace@example.com>"},
        {"to": "grace@example.com\r\nBcc: eve@example.com"},
        {"to": "grace@example.com\n"},
        {"to": "grace@exämple.com"},
        {"to": "g" * 250 + "@example.com"},
        {"to": "-oQ/tmp\x00@example.com"},
        {"subject": "Hello\r\nBcc: eve@example.com"},
        {"subject": "Hello\nworld"},
        {"subject": "Hello\rworld"},
        {"subject": "Hello\x0bworld\x85\u2028"},
        {"subject": "Hello\x00"},
        {"subject": "=?utf-8?q?Hello=0d=0aBcc:_eve@example.com?="},
        {"to": "=?utf-8?q?grace=0d=0a?=@example.com"},
        {"subject": "x" * 201},
        {"text": "x" * 5001},
        {"id": ""},
        {"id": "../../etc"},
        {"delay": "-1"},
        {"delay": "soon"},
        {"delay": "9" * 7},
    ],
    ids=str,
)
def test_a_wrong_field_is_a_400(mail_app: Flask, postbox: Postbox, fields: dict[str, str]) -> None:
    """A line break in a header would begin another one, to other people."""
    web = sign_in_to(mail_app)
    assert send(web, fill_in(web) | fields).status_code == 400
    assert postbox.mails == []


def test_a_job_with_a_line_break_in_a_header_fails(mail_app: Flask, postbox: Postbox) -> None:
    """Whoever wrote it into Redis did not come by the form."""
    with mail_app.app_context(), pytest.raises(ValueError, match="subject"):
        send_mail("0" * 32, "ada", **MAIL | {"subject": "Hello\r\nBcc: eve@example.com"})
    assert postbox.mails == []


@pytest.mark.parametrize("away", [False, True], ids=["refuses", "away"])
def test_a_mail_server_that_fails_is_a_502(mail_app: Flask, postbox: Postbox, away: bool) -> None:
    """And nothing is noted: the same form can be sent again."""
    web = sign_in_to(mail_app)
    form, server = fill_in(web), mail_app.config["MAIL_SERVER"]
    if away:
        mail_app.config["MAIL_SERVER"] = "smtp://127.0.0.1:1"
    else:
        postbox.refuses = 1
    assert send(web, form).status_code == 502
    mail_app.config["MAIL_SERVER"] = server
    assert send(web, form).status_code == 303
    assert len(postbox.mails) == 1


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:Session.login_data is deprecated", "ignore:Requiring AUTH")  # of aiosmtpd
def test_a_password_goes_to_a_server_with_a_good_certificate_only(
    mail_app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is by an authority of this machine, and for this host."""
    make_certificates(tmp_path)
    context, seen = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), []
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
        seen.append((data.login, data.password))
        return pytest.importorskip("aiosmtpd.smtp").AuthResult(success=True)

    options = {"ssl_context": context, "authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    web = sign_in_to(mail_app)
    with receiving(**options) as box:
        for host, trusts, status in (("localhost", False, 502), ("127.0.0.1", True, 502), ("localhost", True, 303)):
            mail_app.config["MAIL_SERVER"] = f"smtps://ada:a%40b@{host}:{box.port}"
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.crt") if trusts else "/dev/null")
            assert send(web, fill_in(web)).status_code == status
        assert len(box.mails) == 1
    assert seen == [(b"ada", b"a@b")]


def test_without_a_mail_server_a_mail_is_shown(mail_app: Flask, capsys: pytest.CaptureFixture[str]) -> None:
    """On the console, where it can colour nothing and move no cursor."""
    mail_app.config["MAIL_SERVER"] = "console:"
    web = sign_in_to(mail_app)
    assert send(web, fill_in(web, text="\x1b[31mred\u202e")).status_code == 303
    shown = capsys.readouterr().out
    assert f"To: {MAIL['to']}\n" in shown
    assert "\x1b" not in shown


def test_a_file_takes_all_mails(mail_app: Flask, tmp_path: Path) -> None:
    """One after the other."""
    file = tmp_path / "mails"
    mail_app.config["MAIL_SERVER"] = f"file:{file}"
    web = sign_in_to(mail_app)
    for number in range(2):
        assert send(web, fill_in(web, subject=f"Number {number}")).status_code == 303
    assert file.read_text().count("Message-ID: <") == 2


def test_the_owner_hears_how_far_a_mail_is(mail_app: Flask) -> None:
    """If there are notifications; and a mail is sent if they fail."""
    heard: list[Any] = []

    def notify(owner: str, message: dict[str, Any]) -> None:
        heard.append((owner, message["progress"], message["job"]))
        raise StoreUnavailable("away")

    mail_app.extensions["notify"] = notify
    web = sign_in_to(mail_app)
    form = fill_in(web)
    assert send(web, form).status_code == 303
    assert heard == [("ada", progress, form["id"]) for progress in (50, 100)]


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "localhost",
        "smtp://",
        "smtp://user:secret@localhost",
        "smtp://localhost/path",
        "smtp://localhost:0",
        "smtp://localhost:99999",
        "smtps://user@localhost",
        "file:relative",
        "http://localhost",
    ],
)
def test_a_wrong_server_stops_the_start(client: Any, url: Any) -> None:
    """Its value is not shown, for it may hold a password; and none goes over a plain connection."""
    with pytest.raises(ValueError, match="MAIL_SERVER") as error:
        create_app(CONFIG | {"MAIL_SERVER": url}, client)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["console:", "file:/tmp/mails", "smtp://mail", "smtp://[::1]:25", "smtps://ada:a%40b@mail.example.com:465"],
)
def test_a_good_server_does_not(client: Any, url: str) -> None:
    """Nobody is connected to yet."""
    create_app(CONFIG | {"MAIL_SERVER": url}, client)


@pytest.mark.parametrize("sender", [None, "", "nobody", "a@b\nBcc: c@d", "Ada <ada@example.com>"])
def test_a_wrong_sender_stops_the_start(client: Any, sender: Any) -> None:
    """It is one address."""
    with pytest.raises(ValueError, match="MAIL_FROM"):
        create_app(CONFIG | {"MAIL_FROM": sender}, client)
