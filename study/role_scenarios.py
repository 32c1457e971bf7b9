"""The stories about what else Redis does here: one for each role. The other side is what tutorials show.

A role can be taken out of the app, and so its story may be missing.
"""

from __future__ import annotations

from importlib.util import find_spec

from study import role_apps
from study.story import Book, Story

SCENARIOS = Book()


def sides_of(role: str) -> dict[str, str]:
    """Return how both sides of a role's story are told."""
    return {"seed": "as tutorials show it", "ours": f"with roles/{role}.py"}


if find_spec("roles.tokens"):

    @SCENARIOS.tells(
        title="A refresh token that is used twice",
        seed="Redis has one refresh token for each user, and it stays the same for a week. That it is used from two "
        "places looks like any other day. A sign-in on a second device would end the first one.",
        ours="Each refresh gives another token, and Redis knows which one comes next. When an old one comes again, two "
        "have it, and nobody can tell which of them is the thief. So all that this sign-in began ends, on that device.",
        ours_test="tests/roles/test_tokens_rotation.py::test_a_replay_ends_the_family_and_is_logged",
        sides=sides_of("tokens"),
        make_app=role_apps.make_tokens_of,
    )
    def refresh_token_used_twice(story: Story) -> None:
        """A thief has copied the refresh token from Ada's phone. Both of them use it. Does anybody notice?"""
        phone, thief = story.browser("Phone"), story.browser("Thief")
        password = {"username": "ada", "password": "lovelace"}
        stolen = phone.call("/api/login", "signs in", **password).json["refreshToken"]
        story.tell("A backup of the phone is stolen, with the refresh token in it")
        tokens = phone.call("/api/refresh", "asks for another access token", refreshToken=stolen).json
        story.let_pass(seconds=60)
        thiefs = thief.call("/api/refresh", "uses the copy", refreshToken=stolen)
        phones = phone.call("/api/refresh", "asks again", refreshToken=tokens.get("refreshToken", stolen))
        story.promise(
            "A refresh token is good once. A second use is noticed, and ends what the sign-in began.",
            held=[thiefs.status, phones.status] == [403, 403],
            yes="The thief got nothing, and Ada, who has to sign in again, knows that something was wrong.",
            no="The thief has access for as long as he likes, and Ada notices nothing.",
        )


if find_spec("roles.oauth") and find_spec("authlib"):

    @SCENARIOS.tells(
        title="The state of a sign-in, in another browser",
        seed="The state is in Redis, and that is all that is asked: any browser may come with it. Whoever is signed in "
        "to somebody else's account, and does not notice, gives them what they type there. This is login CSRF.",
        ours="A state is good once, for ten minutes, and in the browser that it was made for: a cookie there holds the "
        "other half of its name. Without that half there is no such key.",
        ours_test="tests/roles/test_oauth_state.py::test_another_browser_cannot_use_a_state",
        sides=sides_of("oauth"),
        make_app=role_apps.make_oauth_of,
    )
    def state_in_another_browser(story: Story) -> None:
        """Eve begins a sign-in with a provider, stops before its end, and sends Ada the last link. Who is Ada then?"""
        eve, ada = story.browser("Eve"), story.browser("Ada")
        begun = eve.get("/oauth/login", "wants to sign in with a provider")
        link = story.world.app.extensions["study_provider"].approve(begun.location, "eve")
        story.tell("At the provider Eve says yes, but does not follow the link back. She sends it to Ada")
        ada.get(link, "follows Eve's link")
        seen = ada.get("/", "looks at the shop")
        eve.get(link, "follows it herself")
        own = eve.get("/", "looks at the shop")
        story.promise(
            "A sign-in ends in the browser that began it, and in no other.",
            held="Not signed in" in seen.text and "eve" in own.text,
            yes="Ada is nobody, and Eve is Eve.",
            no="Ada is signed in as Eve. What she buys now, Eve sees.",
        )


if find_spec("roles.cache"):

    @SCENARIOS.tells(
        title="Sixty readers and a cold cache",
        seed="Each of them looks into Redis, finds nothing, and asks the database. Whoever comes while the first "
        "answer is being made does that, too. The more people come, the longer it takes, and the more come meanwhile.",
        ours="The first one takes a lease, by a SET that writes only if there is none. The others see it, and wait for "
        "what it makes. Whoever dies with a lease is replaced when that ends.",
        ours_test="tests/roles/test_cache_leases.py::test_one_request_makes_it_and_the_others_wait",
        sides=sides_of("cache"),
        make_app=role_apps.make_cache_of,
    )
    def cold_cache(story: Story) -> None:
        """Sixty people ask for the same page, of which Redis has nothing yet. How often does the database work?"""
        database = story.world.app.extensions["database"]
        first, others = story.browser("First"), story.crowd("59 others", 59, database)
        with first.busy("/posts/trending", "asks for the posts", database.wait_until_busy, database.finish):
            others.ask("/posts/trending", "ask for the same")
        others.finish()
        first.get("/posts/trending", "asks again")
        story.promise(
            "However many ask at once, the work is done once.",
            held=database.asked == 1 and others.statuses == [200] * 59,
            yes="The database worked once, for all of them.",
            no=f"The database worked {database.asked} times for one answer.",
        )


if find_spec("roles.notifications"):

    @SCENARIOS.tells(
        title="A notification while the connection is lost",
        seed="Pub/sub reaches whoever listens at this moment, at most once. Redis keeps nothing, so what was published "
        "while Ada was in the tunnel is gone. And all listen to one channel: everybody gets what is for somebody.",
        ours="The message goes into a stream of its owner, and pub/sub only says that there is something to read. The "
        "browser brings the id of the last message that it got, and what came since is read from the stream.",
        ours_test="tests/roles/test_notifications_events.py::test_what_came_while_nobody_listened_is_sent_first",
        sides=sides_of("notifications"),
        make_app=role_apps.make_notifications_of,
    )
    def lost_connection(story: Story) -> None:
        """Ada's train is in a tunnel when Bob writes to her. Does the message arrive?"""
        ada, bob = story.browser("Ada"), story.browser("Bob")
        ada.post("/login", "signs in", username="ada", password="lovelace")  # noqa: S106
        page = ada.listen("/events", "opens a page that waits for messages")
        bob.post("/say", "writes to Ada", to="ada", text="Tea is ready")
        page.read_until("Tea is ready")
        ada.hang_up(page, "is in a tunnel, without a connection")
        bob.post("/say", "writes again", to="ada", text="Cake is ready")
        page = ada.listen("/events", "is back, and her browser connects again", last=page.last)
        bob.post("/say", "writes once more", to="ada", text="Milk is ready")
        got = page.read_until("Milk is ready")
        story.promise(
            "What is sent while the connection is lost arrives when it is back.",
            held=any("Cake" in text for text in got),
            yes="Ada got all three messages, in order.",
            no="The message about the cake is lost, and nobody knows.",
        )


if find_spec("roles.jobs") and find_spec("rq"):

    @SCENARIOS.tells(
        title="A job whose worker was killed",
        seed="A worker takes a job out of the list, and then only its memory has it. When it is killed, there is "
        "nothing that anybody could look for.",
        ours="A job is always somewhere: in the queue, on its way, or at work until a time that its worker puts off "
        "while it lives. When that time is over, another worker has it tried again. So a job may run twice, and has to "
        "bear that.",
        ours_test="tests/roles/test_jobs_queue.py::test_what_a_dead_worker_left_behind_is_tried_again",
        sides=sides_of("jobs"),
        make_app=role_apps.make_jobs_of,
    )
    def killed_worker(story: Story) -> None:
        """The worker that is to send a mail to Ada is killed at that moment. Does she ever get it?"""
        ada, mails = story.browser("Ada"), story.world.app.extensions["mails"]
        first, second = story.worker("Worker 1"), story.worker("Worker 2")
        ada.post("/order", "orders tea, and is to get a mail", to="ada")
        first.take_and_die("takes the job")
        story.let_pass(seconds=20)
        second.work("looks for work")
        story.let_pass(seconds=20)
        second.work("looks for work again")
        story.promise(
            "What a worker left behind is done by another one.",
            held=mails == ["ada"],
            yes="The second worker sent the mail.",
            no="The mail is never sent, and nobody knows that there was one.",
        )
