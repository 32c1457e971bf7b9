"""Ten questions about session stores, and the words by which the pages answer them."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask.testing import FlaskClient
from support.demo import CONFIG, OURS, sign_in

from app import create_app

SEED, STORE = "/study/{}?store=seed", "/study/{}?store=ours"

#: By question: where the answer stands, and words of it.
ANSWERS: dict[str, list[tuple[str, ...]]] = {
    "Why does a login need a new sid? What can somebody do when it keeps the old one?": [
        (SEED.format("planted-sid"), "Whoever chose that sid knows it", "Eve is signed in as Bob"),
        (STORE.format("planted-sid"), "its record moves to a new sid", "The old sid is dead"),
    ],
    "What is in the cookie, part by part, and what is not in it?": [
        ("/", "Beginning", "Random part", "Permanence", "Time of signing", "Signature", "secret key"),
        ("/", "The first two are a name", "prove that it was made here", "What the name stands for is only in Redis"),
    ],
    "What happens to a write that reaches Redis after the user has signed out?": [
        (
            STORE.format("slow-request-and-sign-out"),
            "its change is dropped, and the log says so",
            "leaves the cookie alone",
            "so the change is dropped. That is no error",
        ),
    ],
    "Two tabs write at once. What is kept?": [
        (
            STORE.format("two-tabs-write"),
            "merges its own changes",
            "same key, the later one would win",
            "a list is one value",
        ),
    ],
    "How long do the cookie and the record live? What if not the same time? When are they renewed?": [
        (SEED.format("two-lifetimes"), "Her cookie ended after the first week", "a name for nothing"),
        (
            STORE.format("two-lifetimes"),
            "one number, PERMANENT_SESSION_LIFETIME, here a week",
            "by every write",
            "once five minutes have passed",
        ),
        ("/", "both end together", "Every write renews both, and so does any other request once 300 s have passed"),
    ],
    "What does a page cost in Redis that does not use the session, one that reads it, one that writes it?": [
        (STORE.format("what-a-page-costs"), "None, one and two commands", "Once in five minutes any page costs more"),
    ],
    "What does a visitor see when Redis is away, or refuses to write? Are they signed out afterwards?": [
        (STORE.format("redis-away-and-back"), "503 and when to try again", "everybody is where they were"),
        (STORE.format("refused-write"), "makes the answer a 503", "nobody is signed out", "Ada is still signed in"),
    ],
    "Somebody stole a dump of Redis. What can they do with it?": [
        (SEED.format("stolen-dump"), "The name of a key is the value of the cookie"),
        (
            STORE.format("stolen-dump"),
            "tells what was in the sessions, and opens none",
            "Who has the key as well can sign",
        ),
    ],
    "How does the store notice a change deep inside a list, and what does it send to Redis?": [
        (STORE.format("deep-inside-a-list"), "comparing the JSON of before and after", "writes all of the new one"),
    ],
    "How do I end the session of a stolen device, and what happens to a request of it that is under way?": [
        (STORE.format("sign-out-everywhere"), "on the page Devices", "gets its answer, and its change is dropped"),
        ("/sessions", "Sign out all others", "nothing that it still sends is stored"),
    ],
}


@pytest.fixture(scope="module")
def ada() -> FlaskClient:
    """A browser of the embedded app, which ada is signed in with; so is another one."""
    app = create_app({"TESTING": True, "ACCOUNTS": CONFIG["ACCOUNTS"]})
    ada, other = app.test_client(), app.test_client()
    for browser in (ada, other):
        sign_in(browser)
    ada.post("/live/put", data={"key": "city", "value": "London"}, headers=OURS)
    return ada


@pytest.mark.parametrize("question", ANSWERS)
def test_the_pages_answer_a_question(question: str, ada: FlaskClient) -> None:
    """In the running app, without any other document."""
    for path, *words in ANSWERS[question]:
        text = " ".join(unescape(re.sub("<[^>]+>", " ", ada.get(path).text)).split())
        assert [each for each in words if each not in text] == []
