"""roles/cache.py: what is kept, for how long, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, abort, jsonify, redirect, request
from support import demo
from support.clock import Clock
from support.docstrings import keys_of
from support.roles.cache import LEASE, MAX_AGE, Desk, keys, record_of, records

from app import create_app
from roles import cache
from roles.cache import forget
from roles.cache_lease import MAX_ANSWERS


def test_a_view_runs_once_for_all(app: Flask) -> None:
    """The second visitor gets the JSON of the first."""
    desk = Desk(app, lambda: {"text": "ä"})
    assert desk.ask() == desk.ask() == {"run": 1, "text": "ä"}


def test_the_keys_are_those_of_the_docstring(client: Any) -> None:
    """With the TTL that it says, of the view that it is about."""
    web = demo.make_app(client).test_client()
    assert web.get("/posts/trending").json == web.get("/posts/trending").json
    group, answer = keys(client)
    assert group == b"CACHE:SESSION:posts:trending"
    assert answer.startswith(group + b":")
    assert [client.ttl(key) for key in (group, answer)] == pytest.approx([*keys_of("cache").values()], abs=5)


def test_what_visitors_send_is_in_no_key(app: Flask, client: Any) -> None:
    """Nor in a record of Redis: a hash is."""
    desk = Desk(app, path="/answer/<path:word>")
    desk.get(path="/answer/secret-word?query=secret-word")
    assert records(client).keys() > {"answers"}
    assert b"secret-word" not in b"".join([*keys(client), client.get(keys(client)[0])])


def test_answers_end_with_their_record(app: Flask, client: Any) -> None:
    """Redis forgets them when they are too old."""
    desk = Desk(app)
    desk.ask()
    key, _ = record_of(client)
    assert MAX_AGE - 5 < client.ttl(key) <= MAX_AGE
    client.delete(key)
    assert desk.ask() == {"run": 2}


@pytest.mark.parametrize(
    "path", ["/answer/b", "/answer/a?page=2", "/answer/a?page=1&x", "http://other/answer/a?page=1"]
)
def test_each_url_has_its_own_answer(app: Flask, path: str) -> None:
    """The arguments of the view, the query string and the host are part of it."""
    desk = Desk(app, path="/answer/<word>")
    assert desk.ask(path="/answer/a?page=1")["run"] == 1
    assert desk.get(path=path).json["run"] == 2  # type: ignore[index]
    assert desk.ask(path="/answer/a?page=1")["run"] == 1


def test_forget_forgets_all_answers_of_a_name(app: Flask, client: Any) -> None:
    """And of no other; whatever their URLs are."""
    desk, other = Desk(app, path="/answer/<word>"), Desk(app, name="others", path="/other")
    for _ in range(2):
        assert [desk.ask(path=f"/answer/{word}")["run"] for word in "ab"] == [1, 2]
        assert other.ask()["run"] == 1
    with app.app_context():
        forget("answers")
    assert [desk.ask(path=f"/answer/{word}")["run"] for word in "ab"] == [3, 4]
    assert other.ask()["run"] == 1


# ETag -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ["{}", "W/{}", '"a", {}', '"a",W/{}, "b"', "*"])
def test_a_browser_that_has_the_answer_gets_304(app: Flask, method: str, form: str) -> None:
    """From the first answer on, for GET and HEAD, whatever form the header takes; without a body."""
    desk = Desk(app)
    first = desk.get(method=method)
    tag = first.headers["ETag"]
    assert tag.startswith('"')
    again = desk.get(method=method, headers={"If-None-Match": form.format(tag)})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
    other = desk.get(method=method, headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.headers["ETag"]) == (200, tag)
    assert desk.runs == 1


def test_an_etag_says_what_the_answer_is(app: Flask) -> None:
    """The same for the same JSON, another one for another."""
    desk = Desk(app, path="/answer/<word>")
    tags = [desk.get(path=f"/answer/{word}").headers["ETag"] for word in "aab"]
    assert tags[0] == tags[1] != tags[2]


def test_a_shared_answer_may_be_kept_by_the_browser_and_no_proxy(client: Any) -> None:
    """In the demo app, too, where every other page is `no-store`."""
    web = demo.make_app(client).test_client()
    for _ in range(2):
        answer = web.get("/posts/trending")
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert "Vary" not in answer.headers
        assert "Set-Cookie" not in answer.headers
    assert web.get("/").headers["Cache-Control"] == "no-store"


# Not kept ---------------------------------------------------------------------------------------------------------


def with_header(name: str, value: str) -> Callable[[], Any]:
    def answer() -> Response:
        response = jsonify(a=1)
        response.headers[name] = value
        return response

    return answer


@pytest.mark.parametrize(
    "say",
    [
        lambda: "text",
        lambda: ({"a": 1}, 404),
        lambda: ({"a": 1}, 201),
        lambda: redirect("/"),
        with_header("Set-Cookie", "a=1"),
        with_header("Vary", "Accept-Language"),
        with_header("Cache-Control", "no-store"),
        with_header("Content-Type", "application/problem+json"),
        lambda: Response(iter(["{}"]), mimetype="application/json"),
        lambda: Response(b'"\xff"', mimetype="application/json"),
        lambda: {"long": "x" * cache.MAX_BYTES},
    ],
)
def test_what_is_no_plain_json_passes(app: Flask, client: Any, say: Callable[[], Any]) -> None:
    """As the view made it, each time; nobody waits, and no such answer is in Redis."""
    desk = Desk(app, say)
    app.add_url_rule("/bare", "/bare", say)
    bare = app.test_client().get("/bare")
    for run in range(1, 4):
        answer = desk.get()
        assert (answer.status_code, answer.headers) == (bare.status_code, bare.headers) or "long" in answer.text
        assert "ETag" not in answer.headers
        assert desk.runs == run
    key, record = record_of(client)
    assert record["body"] is None
    assert 0 < client.ttl(key) <= LEASE


def test_only_get_and_head_are_kept(app: Flask, client: Any) -> None:
    """A POST to the same URL always runs."""
    desk = Desk(app)
    web = app.test_client()
    assert [web.post("/answer").json for _ in range(2)] == [{"run": 1}, {"run": 2}]
    assert keys(client) == []
    assert desk.ask() == {"run": 3}
    assert web.post("/answer").json == {"run": 4}


@pytest.mark.parametrize("head", ["Authorization", "REMOTE_USER"])
def test_who_proves_who_they_are_by_other_means_gets_an_answer_of_their_own(app: Flask, head: str) -> None:
    """It is neither kept, nor one that was kept before."""
    desk = Desk(app)
    desk.ask()
    proof: dict[str, Any] = (
        {"headers": {head: "Bearer a"}} if head == "Authorization" else {"environ_overrides": {head: "ada"}}
    )
    assert [desk.get(**proof).json for _ in range(2)] == [{"run": 2}, {"run": 3}]
    assert desk.ask() == {"run": 1}


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_to_a_body_is_not_kept(app: Flask, chunked: bool) -> None:
    """A view may read it, and nobody else sent it: the URL is the same (cache poisoning)."""
    more: dict[str, Any] = (
        {"headers": {"Transfer-Encoding": "chunked"}, "environ_overrides": {"wsgi.input_terminated": True}}
        if chunked
        else {}
    )
    desk = Desk(app, lambda: {"body": request.get_data(as_text=True)})
    assert desk.get(data="evil", **more).json == {"run": 1, "body": "evil"}
    assert desk.ask() == {"run": 2, "body": ""}
    assert desk.get(data="evil", **more).json == {"run": 3, "body": "evil"}
    assert desk.ask() == {"run": 2, "body": ""}


# Bounds -----------------------------------------------------------------------------------------------------------


def test_a_name_keeps_a_bounded_number_of_answers(app: Flask, client: Any, clock: Clock) -> None:
    """Whatever query strings somebody makes up: then the view runs each time, until there is room again."""
    desk = Desk(app)
    for number in range(MAX_ANSWERS):
        desk.get(path=f"/answer?{number}")
    assert len(keys(client)) == MAX_ANSWERS + 1
    assert [desk.ask(path="/answer?more")["run"] - MAX_ANSWERS for _ in range(2)] == [1, 2]
    assert desk.ask(path="/answer?0") == {"run": 1}
    assert len(keys(client)) == MAX_ANSWERS + 1
    clock.move(MAX_AGE + 1)
    runs = desk.runs
    assert [desk.ask(path="/answer?more")["run"] - runs for _ in range(2)] == [1, 1]


def test_urls_for_which_there_is_nothing_take_no_room(app: Flask, client: Any) -> None:
    """A 404 is not kept, and nothing of it."""
    desk = Desk(app, lambda: {} if request.args.get("is_there") else abort(404))
    for number in range(MAX_ANSWERS + 1):
        assert desk.get(path=f"/answer?{number}").status_code == 404
    assert keys(client) == [b"CACHE:SESSION:answers"]
    assert desk.ask(path="/answer?is_there=1") == desk.ask(path="/answer?is_there=1")


@pytest.mark.parametrize("record", [b"", b"no json", b"[]", b"{}", b'{"id": 7}', b'{"id": "a", "kept": {"b": "c"}}'])
def test_a_malformed_group_is_no_error(app: Flask, client: Any, record: bytes) -> None:
    """The view runs; `forget` removes it."""
    desk = Desk(app)
    client.set("CACHE:SESSION:answers", record)
    assert desk.get().status_code == 200
    with app.app_context():
        forget("answers")
    runs = desk.runs
    assert desk.ask() == desk.ask() == {"run": runs + 1}


@pytest.mark.parametrize("record", [b"{}", b'{"tag": 7}', b'{"lease": "a", "body": 7, "renew": "never"}'])
def test_a_malformed_answer_is_made_anew(app: Flask, client: Any, record: bytes) -> None:
    """It has no valid tag."""
    desk = Desk(app)
    desk.ask()
    key, _ = record_of(client)
    client.set(key, record)
    assert desk.ask() == {"run": 2}


# The demo ---------------------------------------------------------------------------------------------------------


def test_the_demo_forgets_for_who_is_signed_in(client: Any) -> None:
    """A POST of our own pages; from everybody else it forgets nothing."""
    app = create_app(demo.CONFIG, client)
    web = app.test_client()
    first = web.get("/posts/trending").json
    assert web.post("/posts/trending/forget", headers=demo.OURS).status_code == 303
    assert len(keys(client)) == 2
    demo.sign_in(web)
    assert web.post("/posts/trending/forget", headers={"Origin": "http://evil"}).status_code == 403
    assert len(keys(client)) == 2
    assert web.post("/posts/trending/forget", headers=demo.OURS).status_code == 204
    again: Any = web.get("/posts/trending").json
    assert first is not None
    assert again["posts"] == first["posts"]
