"""The stories about sessions. Each is told with the thirty lines and with `redis_store.py`, and is a test of both.

A function tells what people do, in the order in which it happens, and ends with a promise: whether it held is looked up
in what the people see, never in which store it is.
"""

from __future__ import annotations

from study.shop import PASSWORDS
from study.story import Book, Story
from study.tab import Answer, Tab

SCENARIOS = Book()


def sign_in(tab: Tab, user: str = "ada") -> Answer:
    """Send the form with name and password."""
    says = "signs in" if tab.name == user.capitalize() else f"signs in as {user.capitalize()}"
    return tab.post("/login", says, user=user, password=PASSWORDS[user])


def change_letter(cookie: str) -> str:
    """Return a cookie with another first letter in its last part: in its signature, if it has one."""
    rest, dot, last = cookie.rpartition(".")
    return f"{rest}{dot}{'b' if last.startswith('a') else 'a'}{last[1:]}"


@SCENARIOS.tells(
    title="One sign-in, from the form to the key and back",
    folds=False,
    seed="The second click comes without a cookie. Setting the session to null is a change for the middleware, so it "
    "writes the word null under a new key, and hands out a cookie for it.",
    ours="What was empty and stays empty is no change. So nothing is written, and nobody gets a cookie.",
    seed_test="tests/study/test_seed_store.py::test_a_logout_without_a_cookie_leaves_a_junk_record",
    ours_test="tests/promises/test_03_logout_is_final.py::test_signing_out_without_a_session_changes_nothing",
)
def one_sign_in(story: Story) -> None:
    """Ada signs in, looks around, and clicks twice on Sign out: what is left of her?"""
    ada = story.browser("Ada")
    ada.get("/login", "asks for the form")
    sign_in(ada)
    ada.get("/", "looks at the shop")
    ada.post("/logout", "signs out")
    ada.post("/logout", "clicks once more")
    story.promise(
        "After a sign-out nothing is left: no key in Redis, and no cookie.",
        held=not story.redis.keys() and not ada.cookie,
        yes="Redis is empty, and Ada has no cookie.",
        no="A record that says null is left for a week, and Ada has a cookie for it.",
    )


@SCENARIOS.tells(
    title="A page that does not ask, one that reads, one that writes",
    seed="The middleware reads before it knows whether anybody will ask: on every page, for pictures too if the app "
    "serves them.",
    ours="flask.session reads its record when a view first touches it. What is never touched is never read. Once in "
    "five minutes any page costs more: it reads, and renews cookie and record.",
    seed_test="tests/study/test_seed_store.py::test_what_changes_nothing_reads_all_the_same",
    ours_test="tests/promises/test_02_cost.py::test_a_view_that_never_touches_the_session_costs_nothing",
)
def what_a_page_costs(story: Story) -> None:
    """Three pages, one after the other: how often does each ask Redis?"""
    ada = story.browser("Ada")
    ada.post("/theme", "chooses a theme", theme="dark")
    untouched = ada.get("/about", "asks for a page that is the same for everybody")
    read = ada.get("/", "asks for a page that shows her theme")
    written = ada.post("/theme", "chooses another theme", theme="light")
    costs = [len(answer.commands) for answer in (untouched, read, written)]
    story.promise(
        "A page costs what it does: nothing, one command to read, two to write.",
        held=costs == [0, 1, 2],
        yes="None, one and two commands.",
        no=f"{costs[0]}, {costs[1]} and {costs[2]}: a page that needs nothing waits for Redis, and fails with it.",
    )


@SCENARIOS.tells(
    title="A change deep inside a list",
    seed="Both stores compare the JSON of before and after, so both save the change. But JSON knows no tuple: what "
    "comes back is a list, and the comparison with a tuple finds nothing. Nobody was told.",
    ours="Here, too, the change is found by comparing the JSON of before and after. Redis gets both: a script compares "
    "the old one with what is stored, and writes all of the new one. What JSON lacks gets Flask's tags: a tuple comes "
    "back as a tuple. What cannot be kept is an error that names the key, before anything is written.",
    ours_test="tests/promises/test_01_drop_in.py::test_special_types_come_back_as_they_were",
)
def deep_inside_a_list(story: Story) -> None:
    """An order is a list in a dict in the session, and a line of it is a tuple. Is it saved, and is it the same?"""
    ada = story.browser("Ada")
    ada.post("/order", "begins an order")
    ada.post("/order/lines", "adds a line, deep inside", item="tea")
    seen = ada.get("/order", "looks for that line")
    story.promise(
        "A change anywhere in the session is saved, and comes back as what it was.",
        held="1 line. 2 x tea is there" in seen.text,
        yes="The tuple is there, and is a tuple.",
        no="It was saved, and came back as a list: the app does not find its own tuple any more.",
    )


@SCENARIOS.tells(
    title="Two tabs write at once",
    seed="Each request reads all of the session, and later writes all of it. The second write is over the first, which "
    "nobody looked at: a lost update.",
    ours="A write is a compare-and-set: a script in Redis writes only over what this request had read. If that is "
    "gone, the request reads again, merges its own changes into what it finds, and writes that. Had both changed the "
    "same key, the later one would win. Dicts inside are merged in the same way; a list is one value: of two carts the "
    "later one is kept.",
    seed_test="tests/study/test_seed_store.py::test_two_writers_of_different_keys_lose_one",
    ours_test="tests/promises/test_04_no_lost_update.py::test_writers_of_different_keys_both_win",
)
def two_tabs_write(story: Story) -> None:
    """In one tab a slow page puts tea into the cart, in another Ada meanwhile chooses a theme. Who wins?"""
    tab_a = story.browser("Tab A")
    sign_in(tab_a)
    tab_b = story.another_tab("Tab B", tab_a)
    with tab_a.held("/cart", "puts tea into the cart", item="tea"):
        tab_b.post("/theme", "chooses the dark theme", theme="dark")
    seen = tab_a.get("/", "looks at the shop")
    story.promise(
        "No update is lost: two requests that change different things both win.",
        held="tea" in seen.text and "dark" in seen.text,
        yes="Tea and theme are both there.",
        no="The theme is lost. Both tabs were told that all went well.",
    )


@SCENARIOS.tells(
    title="A slow request and a sign-out",
    seed="The slow request writes what it has, and does not ask whether the session ended meanwhile. The key is back, "
    "for a week. Ada's own browser does not notice; whoever has a copy of her cookie is signed in.",
    ours="The slow request writes only over the record that it read. That is gone, so its change is dropped, and the "
    "log says so. Its page is shown, and leaves the cookie alone. That is no error: whoever signs out ends the cart as "
    "well, and a page that came a moment earlier would have lost its tea to the same click.",
    seed_test="tests/study/test_seed_store.py::test_a_slow_write_brings_an_ended_session_back",
    ours_test="tests/promises/test_03_logout_is_final.py::test_a_request_under_way_cannot_bring_a_session_back",
)
def slow_request_and_sign_out(story: Story) -> None:
    """Ada signs out while a slow page of hers is still under way. Does she stay signed out?"""
    tab_a = story.browser("Tab A")
    sign_in(tab_a)
    tab_b = story.another_tab("Tab B", tab_a)
    thief = story.browser("Thief")
    thief.copy_cookies(tab_a, "has copied Ada's cookie, from her backup")
    with tab_a.held("/cart", "puts tea into the cart", item="tea"):
        tab_b.post("/logout", "signs out")
    seen = thief.get("/", "tries the old cookie")
    story.promise(
        "A sign-out is final: nothing brings the session back.",
        held="Not signed in" in seen.text and not story.redis.keys(),
        yes="The session stays ended. The late change was dropped.",
        no="The session is back from the dead, and the thief is signed in as Ada.",
    )


@SCENARIOS.tells(
    title="A sid that was planted before the sign-in",
    seed="The sign-in writes the name into the session that is there, under the sid that is there. Whoever chose that "
    "sid knows it. This is session fixation.",
    ours="When the owner of a session changes, its record moves to a new sid in one step, and the old one is dead. The "
    "app does nothing for that.",
    seed_test="tests/study/test_seed_store.py::test_a_login_keeps_the_sid",
    ours_test="tests/promises/test_05_new_sid.py::test_login_moves_the_session_to_a_new_sid",
)
def planted_sid(story: Story) -> None:
    """Eve visits the shop, and plants her own cookie in Bob's browser. Then Bob signs in."""
    eve = story.browser("Eve")
    eve.post("/cart", "puts tea into a cart, to get a cookie", item="tea")
    bob = story.browser("Bob")
    bob.copy_cookies(eve, "has Eve's cookie: she was at his computer, or on a neighbouring subdomain")
    sign_in(bob, "bob")
    seen = eve.get("/", "looks at the shop with the old cookie")
    story.promise(
        "Whoever signs in gets a new sid, and the old one is dead.",
        held="Not signed in" in seen.text,
        yes="The old sid is dead. Eve is nobody.",
        no="The old sid is alive: Eve is signed in as Bob.",
    )


@SCENARIOS.tells(
    title="The cookie and the record end at different times",
    seed="A write gives the record another week, but the cookie is sent only when it is new: it keeps its old end. "
    "Were the record to end first, the cookie would be a name for nothing. Comments in the original say that both "
    "times must be equal, and nothing sees to it.",
    ours="EX and Max-Age are one number, PERMANENT_SESSION_LIFETIME, here a week, and are set together or not at all: "
    "by every write, and by any other request once five minutes have passed since the last time, which the signed "
    "cookie tells. An app can set SESSION_ABSOLUTE_LIFETIME as well, a limit from the sign-in on: then both end with "
    "that.",
    seed_test="tests/study/test_seed_store.py::test_an_update_moves_the_end_of_the_key_and_not_of_the_cookie",
    ours_test="tests/promises/test_02_lockstep.py::test_a_refresh_that_is_due_sets_both",
)
def two_lifetimes(story: Story) -> None:
    """Ada comes again after six days, and after two more. A session lasts a week: is she still signed in?"""
    ada = story.browser("Ada")
    sign_in(ada)
    story.let_pass(6)
    ada.post("/cart", "puts tea into the cart", item="tea")
    story.let_pass(2)
    seen = ada.get("/", "comes again")
    story.promise(
        "Cookie and record end together, a week after the last visit.",
        held="Signed in as ada" in seen.text,
        yes="Ada is still signed in: each visit moved both ends.",
        no="Her cookie ended after the first week, and with it her cart. The record lives on, and nobody can reach it.",
    )


@SCENARIOS.tells(
    title="Redis refuses the write",
    seed="The store catches every error of a write, prints it, and returns the sid as if nothing had happened. So the "
    "page says that all is well, and the browser gets a cookie for a record that does not exist.",
    ours="A change that could not be stored makes the answer a 503. No cookie is sent for a record that is not there. "
    "What only reads goes on, and nobody is signed out.",
    seed_test="tests/study/test_seed_store.py::test_a_refused_write_is_a_success_with_a_cookie",
    ours_test="tests/promises/test_08_honest.py::test_reads_go_on_when_only_writes_are_refused",
)
def refused_write(story: Story) -> None:
    """Redis has no memory left. Ada and Bob put something into their carts: what are they told?"""
    ada, bob = story.browser("Ada"), story.browser("Bob")
    sign_in(ada)
    story.redis_is_full()
    adas = ada.post("/cart", "puts tea into her cart", item="tea")
    seen = ada.get("/", "looks at the shop")
    bobs = bob.post("/cart", "puts milk into his, and has no session yet", item="milk")
    story.promise(
        "When Redis refuses to store something, nobody is told that it was stored, and who only reads goes on.",
        held=[adas.status, bobs.status] == [503, 503] and "Signed in as ada" in seen.text and not bob.cookie,
        yes="Both got a 503. Ada is still signed in, and Bob has no cookie.",
        no="Both were told that all went well. Ada's cart is empty, and Bob's cookie is for a record that never was.",
    )


@SCENARIOS.tells(
    title="Redis is away, and comes back",
    seed="Who has a cookie gets a plain 500 on every page, for the session is read first; no error handler of the app "
    "is asked. Who has none may sign in: a 200 and a cookie, and nothing stored.",
    ours="Pages that need no session work. The others say 503 and when to try again, and leave the cookie alone, so "
    "that everybody is where they were when Redis is back.",
    ours_test="tests/promises/test_08_honest.py::test_a_page_that_needs_the_session_is_503_and_keeps_the_cookie",
)
def redis_away_and_back(story: Story) -> None:
    """Redis restarts while Ada is signed in and Bob is about to be. What do they see, and what is left afterwards?"""
    ada, bob = story.browser("Ada"), story.browser("Bob")
    sign_in(ada)
    story.redis_goes_away()
    public = ada.get("/about", "asks for a page that needs no session")
    asked = ada.get("/", "asks for one that does")
    bobs = sign_in(bob, "bob")
    story.redis_comes_back()
    after = ada.get("/", "looks again")
    bob.get("/", "looks as well")
    story.promise(
        "In an outage what needs no session works, the rest is a 503, and afterwards everybody is where they were.",
        held=[public.status, asked.status, bobs.status] == [200, 503, 503] and "ada" in after.text and not bob.cookie,
        yes="Ada is still signed in, and Bob was told to try again.",
        no="Every page of Ada's was a 500, and Bob was welcomed to a session that does not exist.",
    )


@SCENARIOS.tells(
    title="A forged cookie, a changed one, an old one",
    seed="The cookie is the bare sid, so everything that looks like a cookie becomes a question to Redis. And nothing "
    "in it says how old it is: as long as the record lives, any copy works.",
    ours="The cookie is signed, and says when. Three checks come before any question to Redis: of its form, its age "
    "and its signature. What fails one of them is no cookie. The signature is an HMAC with SHA-256, and keys can be "
    "rotated.",
    ours_test="tests/promises/test_02_cost.py::test_a_cookie_that_is_not_ours_costs_nothing",
)
def bad_cookies(story: Story) -> None:
    """Eve makes up a cookie, changes a real one, and tries one from an old backup. Does any of them open a session?"""
    ada, eve = story.browser("Ada"), story.browser("Eve")
    sign_in(ada)
    old = ada.cookie
    story.let_pass(5)
    ada.post("/cart", "buys tea", item="tea")
    good = ada.cookie
    story.let_pass(5)
    answers = []
    for says, value, like in (
        ("makes up a cookie", "0" * len(good), ""),
        ("changes one letter of Ada's, which is five days old", change_letter(good), good),
        ("has an old one of Ada's, from a backup", old, ""),
    ):
        eve.put_cookie(value, says, like)
        answers.append(eve.get("/", "tries it"))
    story.promise(
        "A cookie that is forged, changed or too old opens nothing, and costs no question to Redis.",
        held=all("Not signed in" in answer.text and not answer.commands for answer in answers),
        yes="Three cookies, no command, and Eve is nobody.",
        no="Each was a question to Redis, and the old one opened Ada's session.",
    )


@SCENARIOS.tells(
    title="A stolen dump of Redis",
    seed="The name of a key is the value of the cookie. Whoever reads a backup of Redis is every user in it.",
    ours="A cookie is the sid and a signature, and the key for that is in the app, not in Redis. A dump tells what was "
    "in the sessions, and opens none. Who has the key as well can sign any sid: a new key ends all sessions.",
    seed_test="tests/study/test_seed_store.py::test_a_login_writes_with_an_end_and_sets_the_cookie",
    ours_test="tests/promises/test_10_secrets.py::test_a_dump_of_redis_yields_no_usable_cookie",
)
def stolen_dump(story: Story) -> None:
    """A thief has last night's backup of Redis, with every key and value in it. Who can he be?"""
    ada, thief = story.browser("Ada"), story.browser("Thief")
    sign_in(ada)
    story.tell("The backup is on a disk, and the disk is gone", why="It names every key, and every record.")
    (key,) = [key for key in story.redis.keys() if key.startswith("SESSION:")]
    thief.put_cookie(key.removeprefix("SESSION:"), "makes a cookie of the key's name")
    seen = thief.get("/", "tries it")
    story.promise(
        "A dump of Redis yields no cookie that works.",
        held="Not signed in" in seen.text,
        yes="The thief is nobody: he has no signature.",
        no="The thief is signed in as Ada.",
    )


@SCENARIOS.tells(
    title="Sign out everywhere, from another device",
    seed="The store knows a session by its sid, and only the browser knows that. There is no list of a user's "
    "sessions, so there is nothing to end.",
    ours="Each sign-in enters a list of its owner before its record is written. So every session has a name in the "
    "list, and can be ended from anywhere: on the page Devices, say, or by flask sessions revoke. A request of the "
    "laptop that is under way gets its answer, and its change is dropped: it cannot write the session back.",
    ours_test="tests/promises/test_06_sign_out_everywhere.py::test_revoke_keeps_the_session_that_is_named",
)
def sign_out_everywhere(story: Story) -> None:
    """Ada's laptop is stolen. On her phone she signs out everywhere else. Is the thief out?"""
    laptop, phone = story.browser("Laptop"), story.browser("Phone")
    sign_in(laptop)
    sign_in(phone)
    story.tell("The laptop is stolen")
    phone.post("/sign-out-everywhere", "signs out everywhere else")
    stolen = laptop.get("/", "is opened by the thief")
    own = phone.get("/", "looks at the shop")
    story.promise(
        "A user ends all other sessions from any device, and keeps the one at hand.",
        held="Not signed in" in stolen.text and "Signed in" in own.text,
        yes="The laptop is signed out, and the phone is not.",
        no="The phone is signed out. The laptop, and the thief, are not.",
    )
