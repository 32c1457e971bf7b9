"""GET /events: what is sent to an owner arrives, once, in order; or the page is told that something may be missing."""

from __future__ import annotations

import json
from typing import Any

import fakeredis
import pytest
from support.demo import CONFIG, make_app, sign_in
from support.docstrings import assert_keys, assert_page
from support.project import PAGES
from support.roles.notifications import Event, House, texts, wait_until
from support.stopwatch import takes
from support.tiers import rounds, spread

from app import create_app
from redis_store import RedisSessionInterface
from roles.notifications_stream import LENGTH, MAX_BYTES


def test_a_message_arrives_at_all_pages_of_its_owner(house: House) -> None:
    """At once, on each; and nobody else's."""
    ada, grace = house.sign_in(), house.sign_in("grace")
    pages, other = [house.open(ada), house.open(ada), house.open()], house.open(grace)
    with takes(1):
        (id,) = house.notify("Hello")
        house.notify("Hi", owner="grace")
        assert [page.next() for page in pages] == 3 * [Event("message", id, '{"text":"Hello"}')]
    assert other.take(1) == texts("Hi")


def test_what_came_while_nobody_listened_is_sent_first(house: House) -> None:
    """From the id on that the page brings, or the browser."""
    ids = house.say(*range(5))
    web = house.sign_in()
    assert house.open(web, ids[2]).take(2) == texts(3, 4)
    again = house.listen(web, last=ids[3], query=f"?after={ids[0]}")
    assert again.take(1) == texts(4)
    house.notify("later")
    assert again.take(1) == texts("later")


def test_without_an_id_it_begins_with_what_comes(house: House) -> None:
    """And the browser learns from where, so that it misses nothing when it connects again."""
    web = house.sign_in()
    house.notify("before")
    page = house.listen(web)
    assert page.next() == Event("message", page.last)
    page.close()
    house.notify("between")
    assert house.listen(web, last=page.last).take(1) == texts("between")


def test_before_the_first_message_there_is_an_id_as_well(house: House) -> None:
    """Nothing is missing when the first one comes."""
    page = house.listen(house.sign_in())
    assert page.next() == Event("message", "0-0")
    house.notify("first")
    assert page.take(1) == texts("first")


def test_the_stream_is_bounded_and_says_what_it_lost(house: House) -> None:
    """The last ones come after a gap; with no gap, if all that is lost was received."""
    ids = house.say(*range(LENGTH + 2))
    late = house.open(after=ids[0])
    assert late.next() == Event("gap", ids[1], "{}")
    assert late.take(LENGTH) == texts(*range(2, LENGTH + 2))
    assert house.open(after=ids[1]).take(LENGTH) == texts(*range(2, LENGTH + 2))


def test_a_page_that_is_connected_is_told_of_a_gap(house: House, client: Any) -> None:
    """When the stream is lost; what comes afterwards arrives."""
    page = house.open()
    house.notify("first")
    assert page.take(1) == texts("first")
    client.delete("NOTIFICATIONS:SESSION:ada")
    (id,) = house.notify("second")
    assert page.next() == Event("gap", "0-0", "{}")
    assert page.next() == Event("message", id, *texts("second"))


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("99999999999999999999-0", Event("gap")),
        ("5-5", Event("gap")),
        ("٣-٣", Event("message")),
        *(
            pytest.param(nonsense, Event("message"), marks=pytest.mark.thorough)
            for nonsense in ("-", "+", "$", "0", "1-", "1-2-3", "-1-1", "x" * 1000)
        ),
    ],
)
def test_an_id_that_nobody_gave_away_is_nothing_special(house: House, last: str, expected: Event) -> None:
    """One of the right form that is not in the stream is a gap; another one is none. Redis never sees it."""
    house.notify("before")
    page = house.listen(house.sign_in(), last=last.encode().decode("latin-1"))
    event = page.next()
    assert event.kind == expected.kind
    if last == "5-5":
        assert page.next().data == texts("before")[0]
    house.notify("later")
    assert page.take(1) == texts("later")


def test_who_knows_more_than_this_process_gets_nothing_twice(house: House, client: Any) -> None:
    """A wake-up is late; the page got its message from another process, or when it was loaded."""
    web = house.sign_in()
    (first,) = house.say("first")
    assert house.open(web).take(1) == texts("first")
    silent = {"after": first, "message": texts("second")[0]}
    page = house.listen(web, last=client.xadd("NOTIFICATIONS:SESSION:ada", silent).decode())
    wait_until(lambda: len(house.hub.get_clients()) == 2)
    house.say("third")
    assert page.take(1) == texts("third")


def test_nothing_is_lost_and_nothing_comes_twice(house: House) -> None:
    """Of a page that breaks off again and again, each time in another way."""
    web, got, number = house.sign_in(), list[str](), rounds(30, 300)
    page = house.open(web)
    for turn in range(number):
        house.say(*range(3 * turn, 3 * turn + 3))
        got += page.take(2 + turn % 3)
        page.close(at_once=bool(turn % 2))
        page = house.listen(web, last=page.last)
        assert page.status == 200
    got += page.take(3 * number - len(got))
    assert got == texts(*range(3 * number))


def test_the_headers_are_those_of_a_stream(house: House) -> None:
    """No proxy keeps it back, and nobody a copy. HEAD gets them alone."""
    headers = house.open().answer.headers
    assert headers["Content-Type"].startswith("text/event-stream")
    assert (headers["X-Accel-Buffering"], headers["Cache-Control"]) == ("no", "no-store")
    assert house.sign_in().head("/events").headers["X-Accel-Buffering"] == "no"
    assert len(house.hub.clients) == 1


def test_a_quiet_stream_has_a_heartbeat(house: House) -> None:
    """A comment, by which both sides see that the other one is there."""
    house.hub.heartbeat = 0.02
    page = house.open()
    assert {page.next() for _ in range(3)} == {Event("comment")}


def test_the_browser_is_told_when_to_come_back(house: House) -> None:
    """In the first line."""
    assert house.open().answer.readline() == b"retry: 2000\n"


def test_a_visitor_is_no_owner(house: House) -> None:
    """401, and nothing to wait for."""
    assert house.app.test_client().get("/events").status_code == 401
    web = house.app.test_client()
    web.set_cookie("session", "nonsense")
    assert web.get("/events?after=0-0").status_code == 401
    assert house.hub.thread is None


def test_a_stream_keeps_no_session_alive(house: House, client: Any) -> None:
    """A page that is open is no visitor: no cookie is set, no TTL, and not even with the first line."""
    house.app.config["SESSION_REFRESH_AFTER"] = 0
    web = house.sign_in()
    (key,) = client.keys("SESSION:*")
    client.expire(key, 1000)
    page = house.open(web)
    house.notify("Hello")
    assert page.take(1)
    assert "Set-Cookie" not in page.answer.headers
    assert 900 < client.ttl(key) <= 1000
    assert web.get("/account").headers["Set-Cookie"]


def test_clients_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 when the process has as many as it may; 429 when the owner has. Both say when to ask again."""
    monkeypatch.setattr("roles.notifications.MAX_CLIENTS_PER_OWNER", 2)
    house.app.config["NOTIFICATIONS_MAX_CLIENTS"] = 3
    ada, grace = house.sign_in(), house.sign_in("grace")
    pages = [house.open(ada).next, house.open(ada)]
    wait_until(lambda: len(house.hub.clients) == 2)
    answer = house.listen(ada)
    assert (answer.status, answer.answer.headers["Retry-After"]) == (429, "5")
    pages.append(house.open(grace))
    wait_until(lambda: len(house.hub.clients) == 3)
    answer = house.listen(grace)
    assert (answer.status, answer.answer.headers["Retry-After"]) == (503, "5")


def test_clients_that_come_at_once_are_bounded_too(house: House) -> None:
    """Each has its place when the next one is counted, whether its stream is read already or not."""
    house.app.config["NOTIFICATIONS_MAX_CLIENTS"] = 2
    web = house.sign_in()
    cookie = {"HTTP_COOKIE": f"session={web.get_cookie('session').value}"}
    views: list[Any] = []
    for _ in range(3):
        with house.app.test_request_context("/events", environ_overrides=cookie):
            views.append(house.app.full_dispatch_request())
    assert [view.status_code for view in views] == [200, 200, 503]
    for view in views:
        view.close()
    assert house.hub.get_clients() == []


def test_two_apps_on_one_redis_have_two_prefixes(house: House, client: Any) -> None:
    """Streams, channels and sessions."""
    other = make_app(client)
    other.session_interface = RedisSessionInterface(type(house.hub.interface.store)(client, prefix="SHOP:"))
    page = house.open()
    with other.app_context():
        other.extensions["notify"]("ada", "from elsewhere")
    house.notify("from here")
    assert page.take(1) == texts("from here")


def test_the_keys_are_those_of_the_docstring(house: House, client: Any) -> None:
    """With their TTL; the page has the same, and the settings."""
    house.notify("Hello")
    assert_keys(client, "notifications")
    assert_page(PAGES["docs/notifications.md"], "notifications")


@pytest.mark.parametrize("owner", spread(["a b\r\nDEL", "ada:x", "{a}{b}", "*", "Ünï", "x" * 1000], 3))
def test_an_owner_is_any_text(house: House, client: Any, owner: str) -> None:
    """Each has a stream of their own."""
    house.notify("Hello", owner=owner)
    assert [key.decode() for key in client.keys("NOTIFICATIONS:*")] == [f"NOTIFICATIONS:SESSION:{owner}"]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("x" * MAX_BYTES, ValueError),
        ({"n": float("nan")}, ValueError),
        ("\ud800", ValueError),
        ({"at": object()}, TypeError),
        (7, TypeError),
        (None, TypeError),
    ],
)
def test_a_message_is_a_small_json_object(house: House, client: Any, message: Any, error: type[Exception]) -> None:
    """Anything else is refused before Redis is asked."""
    with pytest.raises(error):
        house.notify(message)
    assert client.keys("NOTIFICATIONS:*") == []


def test_a_message_cannot_forge_another_event(house: House) -> None:
    """Whatever line breaks are in it."""
    page = house.open()
    text = "a\n\nid: 5-5\r\rdata: b\u2028\x00"
    house.notify(text, {"text": text, "n": [1, {"ü": None}]})
    first, second = page.take(2)
    assert json.loads(first) == {"text": text}
    assert json.loads(second) == {"text": text, "n": [1, {"ü": None}]}


@pytest.mark.parametrize(
    "fields", [{"x": "y"}, {"message": "a\r\n\r\nid: 9-9\n"}, {"after": "zzz", "message": b"\xff"}]
)
def test_what_somebody_else_wrote_into_a_stream_breaks_nothing(
    house: House, client: Any, fields: dict[str, Any]
) -> None:
    """It may be a gap, and an empty message; those after it arrive."""
    client.xadd("NOTIFICATIONS:SESSION:ada", fields)
    page = house.open()
    house.notify("Hello")
    seen = [page.next()]
    while seen[-1].data != texts("Hello")[0]:
        seen.append(page.next())
    assert all(event.kind in ("message", "gap") for event in seen)
    assert sign_in(house.app.test_client()).status_code == 303
    assert house.sign_in().get("/notifications").status_code == 200


def test_a_key_that_is_no_stream_is_an_outage(house: House, client: Any) -> None:
    """For whoever sends."""
    client.set("NOTIFICATIONS:SESSION:ada", "x")
    with pytest.raises(Exception, match="something else"):
        house.notify("Hello")


def test_the_setting_is_checked_at_the_start() -> None:
    """Key, value, and what was expected."""
    with pytest.raises(ValueError, match="NOTIFICATIONS_MAX_CLIENTS is 0; expected"):
        create_app({**CONFIG, "NOTIFICATIONS_MAX_CLIENTS": 0}, fakeredis.FakeRedis())
