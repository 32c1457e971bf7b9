"""Guessing is slowed down, by account and by address, and nobody is locked out by somebody else."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import fakeredis
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from support.apps import SECRET_KEY, set_cookie
from support.clock import StillClock
from support.servers import PATIENCE
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

import auth
from app import create_app
from roles.throttle import DEVICE_MAX_AGE, INTERVAL, LIMITS, drain, fill, level, network

FAST = "pbkdf2:sha256:1"
CONFIG = {
    "TESTING": True,
    "SECRET_KEY": SECRET_KEY,
    "ACCOUNTS": {
        "ada": generate_password_hash("lovelace", FAST),
        "grace": generate_password_hash("hopper", FAST),
    },
}
OURS = {"Origin": "http://localhost"}  # what a browser sends with the forms of our own pages
HOME, OFFICE = "192.0.2.1", "192.0.2.2"
BOTS = [f"198.51.100.{number}" for number in range(30)]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def app(client: Any, clock: StillClock) -> Flask:
    return create_app({**CONFIG, "SESSION_MAX_WAIT": PATIENCE}, client, clock=clock)


def sign_in(
    browser: Flask | FlaskClient,
    username: str | bytes = "ada",
    password: str = "wrong",
    address: str = HOME,
    **headers: str,
) -> TestResponse:
    """An attempt from an address; of an app's new browser, if no other is given."""
    web = browser.test_client() if isinstance(browser, Flask) else browser
    form = {"username": username, "password": password}
    return web.post("/login", data=form, headers=OURS | headers, environ_overrides={"REMOTE_ADDR": address})


def known(app: Flask, username: str = "ada", password: str = "lovelace", address: str = HOME) -> FlaskClient:
    """A browser that has signed in to the account, and out."""
    web = app.test_client()
    assert sign_in(web, username, password, address).status_code == 303
    web.delete_cookie("session")
    return web


def device_of(web: FlaskClient) -> str:
    cookie = web.get_cookie("session_device")
    assert cookie is not None
    return cookie.value


def attack(app: Flask, username: str = "ada") -> None:
    """From many addresses, until the account's counter is full."""
    answers = [sign_in(app, username, address=bot).status_code for bot in BOTS for _ in range(2)]
    assert answers[0] == 401
    assert answers[-1] == 429


def keys(client: Any, kind: str = "*") -> list[str]:
    return [key.decode() for key in client.keys(f"FAILED:SESSION:{kind}:*")]


@pytest.fixture
def no_hash(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, to compute the hash of a password fails the test."""

    def fail(*arguments: object) -> bool:
        raise AssertionError("a password was looked at")

    return partial(monkeypatch.setattr, auth, "check_password_hash", fail)


# The limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("username", ["ada", "nobody", "", "ä\x00:*"])
def test_an_account_has_ten_failures_at_once(username: str, app: Flask, no_hash: Callable[[], None]) -> None:
    """After these the password is not even looked at, whether there is such an account or not."""
    assert [sign_in(app, username).status_code for _ in range(LIMITS["account"])] == [401] * 10
    no_hash()
    assert sign_in(app, username).status_code == 429
    assert sign_in(app, username, "lovelace").status_code == 429


def test_known_and_unknown_accounts_get_the_same_answers(app: Flask) -> None:
    """Status, page and wait, but for the name that was typed, before and after the limit."""
    seen = []
    for username, address in (("ada", HOME), ("nobody", OFFICE)):
        answers = [sign_in(app, username, address=address) for _ in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        seen.append([(answer.headers.get("Retry-After"), answer.text.replace(username, "")) for answer in answers])
    assert seen[0] == seen[1]


def test_an_address_has_fifty_failures_at_once(app: Flask) -> None:
    """Whatever accounts it tries, one after the other; another address is not concerned."""
    names = [f"user{number}" for number in range(LIMITS["address"])]
    assert {sign_in(app, name).status_code for name in names} == {401}
    assert sign_in(app, "grace", "hopper").status_code == 429
    assert sign_in(app, "grace", "hopper", OFFICE).status_code == 303


def test_an_account_of_ones_own_buys_no_guesses(app: Flask) -> None:
    """Signing in gives back that attempt, and none of those that failed at the same address."""
    statuses = []
    for number in range(LIMITS["address"] + 5):
        if number <= LIMITS["address"] - 1:
            assert sign_in(app, "grace", "hopper").status_code == 303
        statuses.append(sign_in(app, f"user{number}").status_code)
    assert statuses == [401] * 50 + [429] * 5


def test_the_right_password_counts_nothing(app: Flask, client: Any) -> None:
    """A school may sign in behind one address, and a known browser all day; no counter is left of it."""
    for browser in (app, known(app)):
        assert {sign_in(browser, "ada", "lovelace").status_code for _ in range(60)} == {303}
        assert keys(client) == []


def test_attempts_at_the_same_time_are_all_counted(server: Any) -> None:
    """Thirty at once do not each see an empty counter: as many as the account has left get an answer."""
    app = create_app(CONFIG, server.connect(socket_timeout=10, timeout=10))  # seconds, for a busy machine
    assert sign_in(app).status_code == 401
    barrier = threading.Barrier(30)

    def guess(_: int) -> int:
        barrier.wait()
        return sign_in(app).status_code

    with ThreadPoolExecutor(30) as pool:
        statuses = Counter(pool.map(guess, range(30)))
    assert statuses == {401: LIMITS["account"] - 1, 429: 30 - LIMITS["account"] + 1}


def test_one_failure_is_forgotten_after_the_other(app: Flask, clock: StillClock) -> None:
    """Whoever waits as long as he was told has one try, and is told to wait again."""
    for _ in range(LIMITS["account"]):
        sign_in(app)
    for _ in range(3):
        answer = sign_in(app)
        assert answer.status_code == 429
        clock.move(int(answer.headers["Retry-After"]))
        assert sign_in(app).status_code == 401
        assert sign_in(app).status_code == 429


def test_patience_saves_up_nothing(app: Flask, clock: StillClock) -> None:
    """A counter that has been empty for long, with its key still there, takes ten failures like a new one."""
    sign_in(app)
    clock.move(5 * INTERVAL)
    assert [sign_in(app).status_code for _ in range(11)] == [401] * 10 + [429]


def test_refused_attempts_do_not_prolong_the_wait(app: Flask, client: Any) -> None:
    """Nor do they use up what the address has left."""
    for _ in range(LIMITS["account"]):
        sign_in(app)
    waits = [int(sign_in(app).headers["Retry-After"]) for _ in range(60)]
    assert waits == sorted(waits, reverse=True)
    assert sign_in(app, "grace", "hopper").status_code == 303


def test_refused_sign_in_says_when_to_come_back(app: Flask) -> None:
    """429 on the sign-in page, with Retry-After, the same time in words, the name that was typed, and no cookie."""
    for _ in range(LIMITS["account"]):
        sign_in(app)
    answer = sign_in(app, password="lovelace")
    assert answer.status_code == 429
    wait = int(answer.headers["Retry-After"])
    assert INTERVAL - 60 < wait <= INTERVAL
    assert f"Too many attempts. Try again in {-(-wait // 60)} minutes." in re.sub(r"\s+", " ", answer.text)
    assert 'value="ada"' in answer.text
    assert "lovelace" not in answer.text
    assert "aria-invalid" not in answer.text, "nothing was found wrong with what was typed"
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize(("seconds", "words"), [(1, "1 second"), (120, "120 seconds"), (121, "3 minutes")])
def test_the_wait_is_told_in_words(seconds: int, words: str, app: Flask, clock: StillClock) -> None:
    """Long ones in minutes, rounded up; short ones down to the last second."""
    for _ in range(LIMITS["account"]):
        sign_in(app)
    clock.move(INTERVAL - seconds)
    assert f"Try again in {words}." in re.sub(r"\s+", " ", sign_in(app).text)


# Nobody locks somebody else out -----------------------------------------------------------------------------------


def test_a_known_browser_does_not_notice_an_attack(app: Flask, client: Any) -> None:
    """Its attempts are counted at itself alone, also those that fail, and also behind the attacker's own address."""
    web = known(app)
    attack(app)
    before = {key: client.get(key) for key in keys(client)}
    assert sign_in(web, address=BOTS[0]).status_code == 401
    assert [client.get(key) for key in before] == [*before.values()]
    assert len(keys(client, "device")) == 1
    assert sign_in(web, password="lovelace", address=BOTS[0]).status_code == 303


def test_a_known_browser_guesses_no_more_than_others(app: Flask) -> None:
    """It has its own ten failures, from whatever address, and its owner others from another browser."""
    thief, owner = known(app), known(app)
    assert device_of(thief) != device_of(owner)
    assert [sign_in(thief, address=bot).status_code for bot in BOTS[:11]] == [401] * LIMITS["device"] + [429]
    assert sign_in(owner, password="lovelace").status_code == 303


def test_a_new_browser_gets_in_during_an_attack(app: Flask) -> None:
    """From an address at which nobody failed lately, the attempt goes on although the account's counter is full."""
    attack(app)
    assert sign_in(app, password="lovelace").status_code == 303


def test_a_new_address_has_one_try_during_an_attack(app: Flask, clock: StillClock) -> None:
    """One, or many addresses would be no limit at all; and one again when that one is forgotten."""
    attack(app)
    assert sign_in(app).status_code == 401
    answer = sign_in(app, password="lovelace")
    assert answer.status_code == 429
    clock.move(int(answer.headers["Retry-After"]))
    attack(app)  # takes what the account's counter forgot meanwhile
    clock.move(INTERVAL - int(answer.headers["Retry-After"]))
    assert sign_in(app, password="lovelace").status_code == 303


def test_a_new_address_is_told_when_it_is_free(app: Flask, clock: StillClock) -> None:
    """Sooner than the account, on which the attack goes on."""
    sign_in(app, "grace")
    clock.move(200)
    attack(app)
    assert sign_in(app).headers["Retry-After"] == str(INTERVAL - 200)
    clock.move(INTERVAL - 200)
    assert sign_in(app, password="lovelace").status_code == 303


def test_a_stranger_behind_the_same_address_only_slows_new_browsers(app: Flask) -> None:
    """What remains: nothing tells the two apart. A browser that is known gets in."""
    web = known(app)
    for number in range(LIMITS["address"]):
        sign_in(app, f"user{number}")
    assert sign_in(app, password="lovelace").status_code == 429
    assert sign_in(web, password="lovelace").status_code == 303


def test_an_attack_on_one_account_is_none_on_another(app: Flask) -> None:
    """Other accounts are open, from other addresses as often as ever."""
    attack(app)
    assert [sign_in(app, "grace").status_code for _ in range(9)] == [401] * 9
    assert sign_in(app, "grace", "hopper").status_code == 303


def test_other_sites_cannot_make_a_browser_fail(app: Flask, client: Any) -> None:
    """A page elsewhere that sends our form from its visitors' browsers counts for nothing."""
    assert sign_in(app, Origin="http://elsewhere.example").status_code == 403
    assert keys(client) == []


# The device cookie ------------------------------------------------------------------------------------------------


def is_known(app: Flask, client: Any, *cookies: str, username: str = "ada") -> bool:
    """Whether an attempt with these device cookies is counted at a device."""
    client.delete(*keys(client), "none")
    header = "; ".join(f"session_device={cookie}" for cookie in cookies)
    with app.test_client(use_cookies=False) as web:
        assert sign_in(web, username, **({"Cookie": header} if cookies else {})).status_code == 401
    return bool(keys(client, "device"))


def test_the_device_cookie_is_signed(app: Flask, client: Any) -> None:
    """Not one character of it can be changed, nor can it be made without the key."""
    cookie = device_of(known(app))
    assert is_known(app, client, cookie)
    device, stamp, signature = cookie.split(".")
    forged = [device, f"{device}.{stamp}", f"{'0' * 32}.{stamp}.{signature}", f"{device}.zzzzzz.{signature}", "", "é"]
    assert not any(is_known(app, client, text) for text in forged)
    other = create_app({**CONFIG, "SECRET_KEY": "another-key-of-thirty-two-bytes!"}, client)
    assert not is_known(app, client, device_of(known(other)))


def test_the_device_cookie_is_that_of_one_account(app: Flask, client: Any) -> None:
    """Who signs in to an account of his own is nobody's known browser elsewhere."""
    cookie = device_of(known(app, "grace", "hopper"))
    assert is_known(app, client, cookie, username="grace")
    for username in ("ada", "nobody", "Grace", ""):
        assert not is_known(app, client, cookie, username=username)


def test_the_device_cookie_opens_nothing(app: Flask) -> None:
    """It is no session, whichever name it is sent under, and a session's cookie is no device."""
    web = known(app)
    assert web.get("/account").status_code == 303
    web.set_cookie("session", device_of(web))
    assert web.get("/account").status_code == 303


def test_a_session_cookie_is_no_device_cookie(app: Flask, client: Any) -> None:
    """One key signs both, for two purposes."""
    cookie = set_cookie(sign_in(app, password="lovelace")) or ""
    assert not is_known(app, client, cookie.partition(";")[0].removeprefix("session="))


def test_a_planted_cookie_does_not_hide_the_good_one(app: Flask, client: Any) -> None:
    """A browser sends two of one name when another host of the domain has set one, too."""
    good, planted = device_of(known(app)), device_of(known(app, "grace", "hopper"))
    assert is_known(app, client, planted, good)
    assert is_known(app, client, good, planted)


def test_a_browser_is_known_for_a_year(app: Flask, client: Any, clock: StillClock) -> None:
    """From its last sign-in, which leaves the browser's id as it is."""
    web = known(app)
    device = device_of(web).partition(".")[0]
    clock.move(DEVICE_MAX_AGE - 60)
    assert is_known(app, client, device_of(web))
    answer = sign_in(web, password="lovelace")
    assert device_of(web).partition(".")[0] == device
    assert f"Max-Age={DEVICE_MAX_AGE}" in answer.headers["Set-Cookie"]
    clock.move(DEVICE_MAX_AGE - 60)
    assert is_known(app, client, device_of(web))
    clock.move(120)
    assert not is_known(app, client, device_of(web))


def test_a_key_rotation_keeps_browsers_known(app: Flask, client: Any) -> None:
    """A cookie signed with a key that is now a fallback is good; one signed with no key of ours is not."""
    cookie, key = device_of(known(app)), "k" * 32
    for fallbacks, expected in ([SECRET_KEY], True), ([], False):
        later = create_app({**CONFIG, "SECRET_KEY": key, "SECRET_KEY_FALLBACKS": fallbacks}, client)
        assert is_known(later, client, cookie) is expected


def test_the_device_cookie_has_the_attributes_of_the_session_cookie(client: Any) -> None:
    """What protects the one protects the other."""
    settings = {"NAME": "__Host-s", "SECURE": True, "PARTITIONED": True, "SAMESITE": "Strict"}
    app = create_app({**CONFIG, **{f"SESSION_COOKIE_{name}": value for name, value in settings.items()}}, client)
    cookies = [header.split("; ") for header in sign_in(app, password="lovelace").headers.getlist("Set-Cookie")]
    device, session = ({part for part in cookie[1:] if not re.match("Expires|Max-Age", part)} for cookie in cookies)
    assert [cookie[0].partition("=")[0] for cookie in cookies] == ["__Host-s_device", "__Host-s"]
    assert device == session == {"HttpOnly", "Secure", "Partitioned", "SameSite=Strict", "Path=/"}


def test_only_a_sign_in_sets_the_device_cookie(app: Flask) -> None:
    """No other page, no failure and no sign-out does, or takes it away."""
    web = app.test_client()
    assert sign_in(web).headers.getlist("Set-Cookie") == []
    sign_in(web, password="lovelace")
    for answer in (web.get("/"), web.get("/login"), web.get("/account"), web.post("/logout", headers=OURS)):
        assert not [text for text in answer.headers.getlist("Set-Cookie") if text.startswith("session_device=")]
    assert device_of(web)


# The counters in Redis --------------------------------------------------------------------------------------------


def test_every_counter_expires(app: Flask, client: Any) -> None:
    """Each key has a TTL, no longer than its counter takes to be empty when it is full."""
    web = known(app)
    for _ in range(20):
        sign_in(web)
        sign_in(app)
        sign_in(app, password="lovelace")
    sign_in(app, password="lovelace", address=OFFICE)
    assert Counter(key.split(":")[2] for key in keys(client)) == {"device": 1, "address": 1, "account": 1}
    for key in keys(client):
        assert 0 < client.ttl(key) <= LIMITS[key.split(":")[2]] * INTERVAL


def test_when_they_are_gone_all_is_forgotten(app: Flask, client: Any) -> None:
    """Nothing else remembers a failure."""
    attack(app)
    for key in keys(client):
        client.pexpire(key, 0)
    assert keys(client) == []
    assert [sign_in(app).status_code for _ in range(11)] == [401] * 10 + [429]


def test_looking_counts_nothing(app: Flask, client: Any) -> None:
    """Only a password that is to be looked at does; not a page, and not a form that is refused."""
    web = app.test_client()
    web.get("/login")
    web.head("/login")
    web.get("/login?username=ada&password=wrong")
    sign_in(web, "a" * 1001)
    assert keys(client) == []


@pytest.mark.parametrize("username", ["ada", "*", "a:b", "a" * 1000, b"\xff\xed\xa0\x80", "\U0001f600", "\r\n", "\x00"])
def test_no_input_is_part_of_a_key(username: str | bytes, app: Flask, client: Any) -> None:
    """Kind and hash, always of one length; neither name nor address is in Redis."""
    assert sign_in(app, username, address="203.0.113.77").status_code == 401
    assert len(keys(client)) == 2
    for key in keys(client):
        assert re.fullmatch(r"FAILED:SESSION:(account|address):[A-Za-z0-9_-]{43}", key)
        assert re.fullmatch(rb'{"empty_at":\d+}', client.get(key))


def test_the_hash_is_keyed(client: Any) -> None:
    """Who has a dump of Redis cannot try out names and addresses without the secret."""
    seen = []
    for key in ("k" * 32, "l" * 32):
        sign_in(create_app({**CONFIG, "SECRET_KEY": key}, client))
        seen.append(len(keys(client)))
    assert seen == [2, 4]


@pytest.mark.parametrize("record", ["junk", "[]", "{}", '{"empty_at":"soon"}', '{"empty_at":null}', '{"empty_at":1.5}'])
def test_a_malformed_counter_counts_as_missing(record: str, app: Flask, client: Any) -> None:
    """It neither opens the door nor closes it: counting begins anew."""
    sign_in(app)
    for key in keys(client):
        client.set(key, record, ex=1000)
    assert [sign_in(app).status_code for _ in range(11)] == [401] * 10 + [429]


def test_a_wrong_clock_makes_nobody_wait_longer(app: Flask, client: Any) -> None:
    """A counter that claims to be full until a distant day is just full."""
    sign_in(app)
    for key in keys(client):
        client.set(key, '{"empty_at":99999999999}', ex=1000)
    assert int(sign_in(app).headers["Retry-After"]) <= INTERVAL


@given(st.integers(0, 20 * INTERVAL), st.integers(1, 50), st.integers(0, 2**31))
def test_one_more_and_one_less_is_no_change(left: int, failures: int, now: int) -> None:
    """What is counted and then taken back leaves nothing behind; a full counter takes nothing."""
    record = {"empty_at": now + left}
    filled = fill(record, failures, now)
    assert (filled is None) == (left > (failures - 1) * INTERVAL)
    if filled is not None:
        assert level(filled, failures, now) == left + INTERVAL
        assert drain(filled, failures, now) == (record if left else {})


# Addresses --------------------------------------------------------------------------------------------------------


NO_ADDRESS = [
    *(None, "", " ", ":", "[", "[]", "[]:80", '""', "%", "%eth0"),
    *("unknown", "Unknown", "unknown:80", "_hidden", "_SEVKISEK:_x", "unix:", "unix:/run/app.sock", "/run/app.sock"),
    *("localhost", "localhost:80", "192.0.2", "192.0.2.256", "192.0.2.1.1", "192.0.2.1/24", "3221225985", "0x7f.1"),
    *("0.0.0.0", "::", "[::]:80", "0.0.0.0:80", "2001:db8::g", "1:2:3:4:5:6:7:8:9:10", "192.0.2.1, 192.0.2.2"),
    *("for=192.0.2.1", "\x00", "\u0661.2.3.4", "a" * 10000),
]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        # With a port, as Azure's gateway and some load balancers write it.
        ("192.0.2.1:80", "192.0.2.1"),
        ("192.0.2.1:65535", "192.0.2.1"),
        ("192.0.2.1:", "192.0.2.1"),
        ("192.0.2.1:_hidden", "192.0.2.1"),
        ("[2001:db8:1:2::3]", "2001:db8:1:2::/64"),
        ("[2001:DB8:1:2::3]:443", "2001:db8:1:2::/64"),
        ('"[2001:db8:1:2::3]:443"', "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:3:4:5:6]:_port", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6:44300", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::3:44300", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::3:443", "2001:db8:1:2::/64"),
        # IPv4 in IPv6.
        ("::FFFF:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("::ffff:192.0.2.1:443", "192.0.2.1"),
        ("0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("[64:ff9b::c000:201]:443", "192.0.2.1"),
        # Zones, spaces, loopback.
        ("[fe80::1%25eth0]:443", "fe80::/64"),
        ("fe80::1%1", "fe80::/64"),
        (" 192.0.2.1 ", "192.0.2.1"),
        (" 192.0.2.1:80", "192.0.2.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::/64"),
        # None at all.
        *[(text, None) for text in NO_ADDRESS],
    ],
)
def test_an_address_is_what_one_visitor_has(address: str | None, expected: str | None) -> None:
    """Of IPv6 the /64 that every home gets; of IPv4 all, also as a server on both kinds sees it."""
    assert network(address) == expected


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    """Whatever a proxy writes."""
    network(text)


@given(st.ip_addresses(), st.integers(0, 65535), st.sampled_from(["{}:{}", "[{}]:{}", "[{}]", " {}", '"[{}]:{}"']))
def test_an_address_is_the_same_however_it_is_written(ip: Any, port: int, form: str) -> None:
    """With a port, in brackets, in quotes; but IPv6 with a port and no brackets is another address as it stands."""
    if form != "{}:{}" or ip.version == 4:
        assert network(form.format(ip, port)) == network(str(ip))


@pytest.mark.parametrize("address", ["unix", "", "unknown", "_hidden"])
def test_visitors_without_an_address_do_not_lock_each_other_out(
    address: str, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted by account alone; one line in the log says so."""
    for number in range(LIMITS["address"] + 1):
        assert sign_in(app, f"user{number}", address=address).status_code == 401
    assert sign_in(app, "grace", "hopper", address).status_code == 303
    answers = [sign_in(app, "ada", address=address).status_code for _ in range(LIMITS["account"] + 1)]
    assert answers == [401] * LIMITS["account"] + [429]
    (line,) = [line for line in caplog.messages if "is no address" in line]
    assert "PROXIES" in line


def test_the_right_password_counts_nothing_where_there_is_no_address(app: Flask, client: Any) -> None:
    """It is given back to the account."""
    for _ in range(LIMITS["account"] * 2):
        assert sign_in(app, "ada", "lovelace", "").status_code == 303
    assert keys(client) == []


@pytest.mark.parametrize("form", ["198.51.100.{}:{}", "[2001:db8:0:{}::1]:{}", "[::ffff:198.51.100.{}]:{}"])
def test_a_port_in_what_the_proxy_says_makes_nobody_a_stranger(form: str, client: Any) -> None:
    """Each visitor has a counter of his own, and a new port is no new visitor."""
    app = create_app({**CONFIG, "PROXIES": 1}, client)

    def tried(visitor: int, port: int, name: str) -> int:
        return sign_in(app, name, **{"X-Forwarded-For": form.format(visitor, port)}).status_code

    answers = [tried(1, port, f"user{port}") for port in range(LIMITS["address"] + 1)]
    assert answers == [401] * LIMITS["address"] + [429]
    assert tried(2, 1, "ada") == 401


def test_one_ipv6_network_has_one_limit(app: Flask) -> None:
    """All of its 2^64 addresses share it; the network beside it has its own."""
    for number in range(LIMITS["address"]):
        sign_in(app, f"user{number}", address=f"2001:db8::{number:x}")
    assert sign_in(app, "grace", "hopper", "2001:db8::ffff").status_code == 429
    assert sign_in(app, "grace", "hopper", "2001:db8:0:1::1").status_code == 303


@pytest.mark.parametrize(
    ("proxies", "forwarded", "last"),
    [
        (1, "{}", 401),  # the visitor's address, as the proxy adds it
        (1, "{}, 192.0.2.9", 429),  # what the visitor himself sent is not believed
        (2, "{}, 192.0.2.9", 401),
        (0, "{}", 429),
    ],
)
def test_the_address_is_what_the_proxies_say(proxies: int, forwarded: str, last: int, client: Any) -> None:
    """With PROXIES each visitor has his own; without, the header is not believed, for anyone can send it."""
    app = create_app({**CONFIG, "PROXIES": proxies}, client)
    answers = [
        sign_in(app, f"user{number}", **{"X-Forwarded-For": forwarded.format(f"198.51.100.{number}")}).status_code
        for number in range(LIMITS["address"] + 1)
    ]
    assert answers == [401] * LIMITS["address"] + [last]


# Redis away -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["fakeredis", "stopped", "frozen", "full"])
def broken(request: pytest.FixtureRequest) -> tuple[Any, Callable[[], object]]:
    """A client, and what makes its Redis refuse, not answer, or take no more."""
    if request.param == "fakeredis":
        fake = fakeredis.FakeServer()
        return fakeredis.FakeRedis(server=fake), partial(setattr, fake, "connected", False)
    server = request.getfixturevalue("make_server")()
    client = server.connect()
    ways = {"stopped": server.stop, "frozen": server.freeze, "full": partial(client.config_set, "maxmemory", 1)}
    return client, ways[request.param]


def assert_unavailable(answer: TestResponse) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in answer.headers
    assert "Location" not in answer.headers
    assert "Your cookie was not touched" in answer.text
    assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize("password", ["lovelace", "wrong"])
@pytest.mark.parametrize("username", ["ada", "nobody"])
def test_who_cannot_be_counted_cannot_try(
    username: str, password: str, broken: tuple[Any, Callable[[], object]], no_hash: Callable[[], None]
) -> None:
    """503 within a second, for a known browser too; the password is not looked at."""
    client, break_redis = broken
    app = create_app(CONFIG, client)
    web = known(app)
    break_redis()
    no_hash()
    for browser in (app.test_client(), web):
        start = time.monotonic()
        assert_unavailable(sign_in(browser, username, password))
        assert time.monotonic() - start < 1
        assert browser.get("/login").status_code == 200


def test_an_outage_between_counting_and_signing_in(
    broken: tuple[Any, Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password was right, but nothing is stored: 503, and neither of the two cookies."""
    client, break_redis = broken
    app = create_app(CONFIG, client)
    monkeypatch.setattr(auth, "check_password_hash", lambda *_: break_redis() or True)
    assert_unavailable(sign_in(app, password="lovelace"))


def test_an_outage_of_the_counters_is_logged_without_a_name(
    broken: tuple[Any, Callable[[], object]], caplog: pytest.LogCaptureFixture
) -> None:
    """One line, which says what failed, and not at whose sign-in."""
    client, break_redis = broken
    app = create_app(CONFIG, client)
    break_redis()
    sign_in(app)
    [line] = caplog.messages
    assert line.startswith("SET failed with ")
    assert not re.search(r"ada|192\.0\.2|FAILED|account|address", line)


def test_a_change_of_the_password_makes_browsers_strangers(app: Flask) -> None:
    """Whoever knew the old one has no tries of his own at the new one."""
    web = known(app)
    app.config["ACCOUNTS"] = {**app.config["ACCOUNTS"], "ada": generate_password_hash("changed", FAST)}
    attack(app)
    assert [sign_in(web, address=BOTS[0]).status_code for _ in range(2)] == [429, 429]
