"""roles/cache.py: an answer that depends on who is signed in is never given to anybody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import (
    Flask,
    Response,
    after_this_request,
    copy_current_request_context,
    flash,
    g,
    jsonify,
    render_template_string,
    request,
    session,
    stream_with_context,
)
from flask.globals import request_ctx
from flask.testing import FlaskClient
from support import demo
from support.apps import route
from support.gate import Gate
from support.roles.cache import Desk, keys, records, sign_in, who

import auth
from app import create_app
from roles.cache import cached, forget


def loads_a_user(app: Flask) -> None:
    """An app that looks at the session before each view."""

    @app.before_request
    def load() -> None:
        g.user = session.get("user_id")


# Personal answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["nobody", "ada", "grace"])
@pytest.mark.parametrize("before", [False, True])
def test_each_owner_has_an_answer_of_their_own(app: Flask, before: bool, first: str) -> None:
    """Whoever comes first, and whether the view looks at the session, or a function before it."""
    if before:
        loads_a_user(app)
    desk = Desk(app, (lambda: {"user": g.user}) if before else who)
    visitors = {"ada": sign_in(app, "ada"), "grace": sign_in(app, "grace"), "nobody": app.test_client()}
    for _ in range(3):
        for name in (first, *visitors):
            assert desk.ask(visitors[name])["user"] == (None if name == "nobody" else name)
    assert desk.runs == (3 if before else 4)  # the first finds out that it is personal, and for whom that was is lost


def in_a_thread() -> dict[str, Any]:
    seen: list[Any] = []
    thread = threading.Thread(target=copy_current_request_context(lambda: seen.append(session.get("user_id"))))
    thread.start()
    thread.join()
    return {"user": seen[0]}


def from_template(text: str) -> Callable[[], Response]:
    return lambda: Response(render_template_string(text), mimetype="application/json")


@pytest.mark.parametrize(
    "say",
    [
        lambda: {"sid": session.sid},  # type: ignore[attr-defined]
        lambda: {"session": dict(session)},
        lambda: {"user": request_ctx.session.get("user_id")},
        from_template('{"user": "{{ session.user_id }}"}'),
        from_template('{"user": "{{ find_user() }}"}'),
        in_a_thread,
    ],
    ids=["sid", "all of it", "context", "template", "context processor", "thread"],
)
def test_an_answer_is_personal_however_its_view_looks(app: Flask, say: Callable[[], Any]) -> None:
    """Each visitor gets what the view itself would say to them."""
    app.context_processor(lambda: {"find_user": lambda: session.get("user_id")})
    desk, webs = Desk(app, say), [sign_in(app, "ada"), sign_in(app, "grace"), app.test_client()]
    app.add_url_rule("/bare", view_func=say, endpoint="bare")
    for _ in range(3):
        for web in webs:
            answer = desk.ask(web)
            answer.pop("run", None)
            assert answer == web.get("/bare").json
    assert desk.runs <= 4


def test_a_personal_answer_is_for_no_cache_but_ours(app: Flask) -> None:
    """No browser keeps it, nor a proxy."""
    desk, ada = Desk(app, who), sign_in(app, "ada")
    for _ in range(3):
        answer = desk.get(ada)
        assert answer.headers.get("Cache-Control", "no-store") == "no-store"
        assert answer.headers["Vary"] == "Cookie"
    tag = answer.headers["ETag"]
    assert desk.get(ada, headers={"If-None-Match": tag}).status_code == 304
    assert desk.get(sign_in(app, "grace"), headers={"If-None-Match": tag}).status_code == 200


def test_two_owners_at_once_wait_for_no_answer_of_each_other(app: Flask) -> None:
    """Who waited for one that turns out to be personal makes one of their own."""
    gate = Gate()

    def say() -> dict[str, Any]:
        if desk.runs == 1:
            gate.wait()
        return who()

    desk = Desk(app, say)
    ada = desk.asking(sign_in(app, "ada"))
    assert gate.inside.wait(60)
    others = {name: desk.asking(sign_in(app, name)) for name in ("grace", "bob")}
    gate.go.set()
    assert ada.answer()["user"] == "ada"
    assert {name: asking.answer()["user"] for name, asking in others.items()} == {"grace": "grace", "bob": "bob"}


def test_a_view_that_looks_only_sometimes_shows_nobody_what_it_saw(app: Flask) -> None:
    """What it made without looking is for all; what it made of a session, for its owner."""
    look: list[bool] = [False]
    desk, ada, grace = Desk(app, lambda: who() if look[0] else {}), sign_in(app, "ada"), sign_in(app, "grace")
    assert desk.ask(ada) == desk.ask(grace) == desk.ask() == {"run": 1}
    with app.app_context():
        forget("answers")
    look[0] = True
    assert [desk.ask(web).get("user") for web in (ada, grace, ada)] == ["ada", "grace", "ada"]
    look[0] = False
    assert desk.ask(ada)["user"] == "ada"
    assert "user" not in desk.ask(sign_in(app, "bob"))


def test_forget_forgets_the_answers_of_owners(app: Flask) -> None:
    """Also while it is known that they are personal."""
    desk, ada = Desk(app, who), sign_in(app, "ada")
    for runs in (2, 4):
        assert [desk.ask(ada)["run"] for _ in range(3)] == [runs - 1, runs, runs]
        with app.app_context():
            forget("answers")


def test_after_a_logout_there_is_nothing_of_the_owner(app: Flask) -> None:
    """The browser is one without a session."""

    def leave() -> None:
        session.clear()

    route(app, "/out", leave)
    desk, ada = Desk(app, who), sign_in(app, "ada")
    assert [desk.ask(ada)["user"] for _ in range(3)] == ["ada"] * 3
    ada.get("/out")
    assert desk.ask(ada)["user"] is None


def test_who_has_no_session_gets_what_was_made_for_such_a_visitor(app: Flask, client: Any) -> None:
    """For one with a session but without an owner nothing is kept: their number has no bound."""
    loads_a_user(app)
    desk = Desk(app)
    assert desk.ask() == desk.ask() == {"run": 1}
    guest = app.test_client()
    with guest.session_transaction() as mine:
        mine["cart"] = [7]
    before = keys(client)
    assert [desk.ask(guest)["run"] for _ in range(2)] == [2, 3]
    assert keys(client) == before
    assert desk.ask() == {"run": 1}


def test_two_sessions_of_an_owner_share_only_what_is_the_same(app: Flask) -> None:
    """An answer counts for the session that it was made of: not with another cart."""
    desk = Desk(app, lambda: {"cart": session.get("cart")})
    phone, desktop = sign_in(app, "ada", cart=[1]), sign_in(app, "ada", cart=[2])
    twin = sign_in(app, "ada", cart=[2])
    for _ in range(2):
        assert [desk.ask(web)["cart"] for web in (phone, desktop, twin)] == [[1], [2], [2]]
    runs = desk.runs
    assert desk.ask(twin) == desk.ask(desktop)
    assert desk.runs == runs


def test_in_redis_is_no_name_of_an_owner(app: Flask, client: Any) -> None:
    """Nor of a session, but for what the view itself says."""
    desk, grace = Desk(app, lambda: {"signed_in": "user_id" in session}), sign_in(app, "grace")
    desk.ask(grace)
    desk.ask(grace)
    assert len(records(client)) == 3
    assert "grace" not in str(records(client))


# Nothing is kept of these ----------------------------------------------------------------------------------------


def count() -> dict[str, Any]:
    session["n"] = session.get("n", 0) + 1
    return {"n": session["n"]}


def append() -> dict[str, Any]:
    session["cart"].append(1)  # no key is set: Flask does not notice
    return {"n": len(session["cart"])}


def flashes() -> dict[str, Any]:
    flash("Saved.")
    return {"n": len(session["_flashes"])}


def regenerate() -> dict[str, Any]:
    session.regenerate()  # type: ignore[attr-defined]
    session["n"] = session.get("n", 0) + 1
    return {"n": session["n"]}


@pytest.mark.parametrize("say", [count, append, flashes, regenerate])
@pytest.mark.parametrize("before", [False, True])
def test_a_view_that_changes_the_session_runs_each_time(app: Flask, say: Callable[[], Any], before: bool) -> None:
    """In whatever way it does."""
    if before:
        loads_a_user(app)
    desk, ada = Desk(app, say), sign_in(app, "ada", cart=[])
    assert [desk.ask(ada)["n"] for _ in range(4)] == [1, 2, 3, 4]


def test_a_session_that_was_changed_before_the_view_counts_as_well(app: Flask) -> None:
    """As of an app that writes down when a user was last seen."""
    app.before_request(lambda: session.update(seen=session.get("seen", 0) + 1))
    desk, ada = Desk(app, lambda: {"seen": session["seen"]}), sign_in(app, "ada")
    assert [desk.ask(ada)["seen"] for _ in range(3)] == [1, 2, 3]


def test_a_stream_that_opens_the_session_later_is_not_kept(app: Flask) -> None:
    """Nobody knows what it will say when the view returns."""

    def stream() -> Response:
        parts = stream_with_context(f'"{session.get("user_id")}"' for _ in range(1))
        return Response(parts, mimetype="application/json")

    desk = Desk(app, stream)
    for user in ("ada", "grace", "ada"):
        assert desk.ask(sign_in(app, user)) == user


@pytest.mark.parametrize("by_the_app", [False, True])
def test_what_is_added_to_an_answer_after_the_view_is_not_kept(app: Flask, by_the_app: bool) -> None:
    """By `after_request`, it is added for each visitor; by `after_this_request`, only if the view ran."""

    def add_user(response: Response) -> Response:
        response.set_cookie("user", session.get("user_id", "nobody"))
        response.data = jsonify(user=session.get("user_id")).data
        return response

    if by_the_app:
        app.after_request(add_user)
    desk = Desk(app, lambda: {} if by_the_app else after_this_request(add_user) and {})
    for number, user in enumerate(("ada", "grace", "ada")):
        answer = desk.get(sign_in(app, user))
        assert answer.json == ({"user": user} if by_the_app or not number else {"run": 1})
        assert ("Set-Cookie" in answer.headers) is (by_the_app or not number)


@pytest.mark.parametrize("before", [False, True])
def test_what_depends_on_another_cookie_is_not_kept(app: Flask, before: bool) -> None:
    """As one that remembers a user, or a language."""
    if before:
        app.before_request(lambda: setattr(g, "language", request.cookies.get("language")))
    desk = Desk(app, lambda: {"language": g.language if before else request.cookies.get("language")})
    for language in ("de", "en", "de"):
        web = app.test_client()
        web.set_cookie("language", language)
        assert desk.ask(web)["language"] == language
    assert desk.ask()["language"] is None


def test_answers_are_personal_as_flask_login_makes_them(app: Flask) -> None:
    """Its key names the owner too; for who is not signed in, it looks for a cookie that remembers them."""

    def say() -> dict[str, Any]:
        if "_user_id" not in session:
            return {"user": request.cookies.get("remember_token")}
        return {"user": session["_user_id"]}

    desk = Desk(app, say)
    ada, grace, remembered = app.test_client(), app.test_client(), app.test_client()
    remembered.set_cookie("remember_token", "bob")
    for web, user in ((ada, "1"), (grace, "2")):
        with web.session_transaction() as mine:
            mine["_user_id"] = user
    for _ in range(3):
        users = [desk.ask(web)["user"] for web in (app.test_client(), ada, remembered, grace)]
        assert users == [None, "1", "bob", "2"]


def test_a_session_that_another_context_opens_counts(app: Flask) -> None:
    """An app may open it by itself, for this request."""

    def by_hand() -> dict[str, Any]:
        mine = app.session_interface.open_session(app, request)
        assert mine is not None
        return {"user": mine.get("user_id")}

    desk = Desk(app, by_hand)
    for user in ("ada", "grace", "ada"):
        assert desk.ask(sign_in(app, user))["user"] == user


# In an app --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["guard outside", "guard inside"])
def test_login_required_guards_a_cached_view(client: Any, order: str) -> None:
    """Above the decorator or below it: who is not signed in is sent to the sign-in page."""
    app, runs = create_app(demo.CONFIG, client), []

    def view() -> Response:
        runs.append(auth.get_user())
        return jsonify(user=auth.get_user())

    keep = cached("guarded", max_age=60)
    guarded = auth.login_required(keep(view)) if order == "guard outside" else keep(auth.login_required(view))
    app.add_url_rule("/guarded", view_func=guarded)
    webs: dict[str, FlaskClient] = {"ada": app.test_client(), "grace": app.test_client()}
    demo.sign_in(webs["ada"])
    demo.sign_in(webs["grace"], "grace", "hopper")
    for _ in range(3):
        for name, web in webs.items():
            answer = web.get("/guarded")
            assert answer.json == {"user": name}
            assert answer.headers["Cache-Control"] == "no-store"
        assert app.test_client().get("/guarded").status_code == 303
    assert len(runs) <= 4
    demo.sign_out(webs["ada"])
    assert webs["ada"].get("/guarded").status_code == 303


def test_a_shared_answer_does_not_ask_for_the_session(app: Flask) -> None:
    """It says nothing of cookies, and no session is read for it: not even a broken one."""
    desk, ada = Desk(app), sign_in(app, "ada")
    for web in (ada, app.test_client(), ada):
        answer = desk.get(web)
        assert answer.json == {"run": 1}
        assert "Vary" not in answer.headers
