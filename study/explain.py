"""What a command of Redis did, in plain words: for somebody who sees it for the first time."""

from __future__ import annotations

from collections.abc import Sequence

from study.recording import Sent

MAX_TITLE = 120  # characters
NOTHING = ("(nil)", "0", "[]")

#: By command, and whether the answer is something.
PLAIN = {
    ("GET", True): "What is there is read.",
    ("GET", False): "There is no such key.",
    ("GETDEL", True): "Read and deleted in one step: it is good once.",
    ("GETDEL", False): "There is none. Either there never was, or it has been used.",
    ("DEL", True): "The record is deleted. The session has ended.",
    ("DEL", False): "There was nothing to delete.",
    ("EXPIRE", True): "The record lives on, as long as the cookie that goes out with this answer.",
    ("EXPIRE", False): "There is no record any more, so nothing lives on.",
    (
        "ZADD",
        False,
    ): "The sessions that are to end get the score 0, if they are still in the list (XX). A sign-in that is under way "
    "with one of them will see that.",
    ("ZREM", True): "Its name leaves the owner's list.",
    ("ZREM", False): "The owner's list does not have it any more.",
    ("ZSCORE", True): "It is still in the list: nobody signed it out everywhere meanwhile.",
    ("ZSCORE", False): "It is not in the list: somebody signed out everywhere meanwhile.",
    ("RPOP", True): "The job is out of the list. Only this worker knows of it now.",
    ("RPOP", False): "The list is empty.",
    ("LMOVE", False): "Nothing waits.",
    ("PUBLISH", True): "Whoever listens at this moment gets it. Redis keeps nothing.",
    ("PUBLISH", False): "Nobody listens at this moment, and Redis keeps nothing: it is gone.",
    ("ZRANGE", True): "The owner's list has the names of all their sessions.",
    ("ZRANGE", False): "The owner's list is empty.",
}

#: Of jobs: by command, and how the key begins.
JOBS = {
    ("MULTI", ""): "What follows happens together, or not at all.",
    ("EXEC", ""): "Now it has happened.",
    ("SADD", "rq:queues"): "A set has the names of all queues.",
    ("HSET", "rq:job"): "The job itself: what is to be done, with what, and how often it may be tried.",
    ("RPUSH", "rq:queue"): "The name of the job goes to the end of the queue.",
    ("LPUSH", "rq:queue"): "A job that is due goes to the front of the queue.",
    ("LMOVE", "rq:queue"): "In one step the job goes from the queue to a list of those on their way to a worker.",
    ("LREM", "rq:queue"): "It has arrived, and is not on its way any more.",
    ("ZADD", "rq:wip"): "The job is at work, until this time. A worker that is alive puts it off again and again.",
    ("ZREMRANGEBYSCORE", "rq:wip"): "What nobody has put off in time is at work no more.",
    ("ZREM", "rq:wip"): "The job is not at work any more.",
    ("ZADD", "rq:scheduled"): "Its worker has not been heard of: it will be tried again, not before this time.",
    ("ZREM", "rq:scheduled"): "Its time has come.",
    ("LPUSH", "jobs"): "The job goes into the list.",
}

#: Of the cache: by command, and a word of what is read or written.
CACHE = {
    ("GET", '"kept"'): "The group: it has the names of all answers of this page.",
    ("GET", '"body"'): "The answer is kept, so the database is not asked.",
    ("GET", '"lease"'): "The lease is there: the answer is being made.",
    ("SET", '"kept"'): "A new group, for all answers of this page. It is written only if there is none.",
    ("SET", '"lease"'): "The lease goes to whoever comes first, to make the answer. Who finds one waits for that.",
    ("EVAL", '"kept"'): "The group gets the name of the answer.",
    ("EVAL", '"body"'): "The answer takes the place of the lease. Whoever waits for it finds it now.",
}

#: Of throttling: by command, and whether the answer is something.
THROTTLING = {
    ("SET", True): "This attempt is the first that is counted here.",
    ("SET", False): "Something is counted here already.",
    ("GET", True): "How much is counted?",
    ("EVAL", True): "The count is changed. Nobody else has changed it meanwhile.",
}

#: Roles whose commands are one thing to whoever reads about sessions, by how their keys begin.
ROLES = {
    "FAILED:": "Throttling, against guesses: the attempt is counted before the password is checked, and taken "
    "back when that is right.",
}

#: Of the thirty lines, where that differs.
SEED = {
    ("GET", True): "The session is read before the page runs, whether the page will use it or not.",
    ("GET", False): "There is no such record. The cookie is not checked, so Redis is asked for anything.",
    ("SET", True): "All of the session is written, over whatever is there. Nobody looks what that is.",
}


def explain(sent: Sent, before: Sent | None = None) -> str:
    """Return what a command did, in one sentence or two. `before`: the one before it, if there was any."""
    name, found = sent.words[0], sent.answer not in NOTHING
    if sent.failed:
        return explain_failure(sent, before if before and before.failed else None)
    if of_role := explain_role(sent, name, found):
        return of_role
    if is_seed(sent) and (name, found) in SEED:
        return SEED[name, found]
    if name == "EVAL":
        return explain_script(sent)
    if name == "SET" and "NX" in sent.words:
        new = "A new record, with an end. It is written only if there is no such key."
        return new if found else "There is such a key already, so nothing is written."
    if name == "SET":
        return "A record is written, with an end."
    if name == "GET" and sent.words[1].startswith("MOVED:"):
        return "It has moved to another sid meanwhile." if found else "Has it moved to another sid meanwhile? No."
    if name == "GET" and is_called_by(sent, "RedisSession._read"):
        return explain_read(sent) if found else "There is no such record: the session has ended."
    if name == "GET" and is_called_by(sent, "Write.run"):
        return "What is there now? This request will merge its change into it." if found else "Nothing: it has ended."
    return PLAIN.get((name, found), "")


def explain_read(sent: Sent) -> str:
    """Return why a session was read: for its page, or when that was done."""
    if is_called_by(sent, "save"):
        return "The page did not touch flask.session, but a refresh is due: so the record is read first."
    return "The page touched flask.session: only now is the record read."


def explain_role(sent: Sent, name: str, found: bool) -> str:
    """Return what a command of a role did; nothing, if that is what it does anywhere."""
    key = key_of(sent)
    if key.startswith("FAILED:"):
        return THROTTLING.get((name, found), "")
    if name == "HSET" and "status" in sent.words[2:3]:
        return "Where the job is: the state that is shown to operators."
    if not found:
        return ""
    if key.startswith("CACHE:"):
        said = sent.answer if name == "GET" else sent.words[5 if name == "EVAL" else 2]  # what is read, or written
        return next((text for (command, word), text in CACHE.items() if command == name and word in said), "")
    return next((text for (command, begin), text in JOBS.items() if command == name and key.startswith(begin)), "")


def explain_failure(sent: Sent, before: Sent | None) -> str:
    """Return what becomes of a command that failed. `before`: the one before, if that failed as well."""
    if before and before.trip == sent.trip:
        return "It failed with the one before: they were on their way together."
    if before and before.words == sent.words:
        return "It failed again." + (" So the page that wanted it is a 503." if sent.words[0] == "GET" else "")
    if is_seed(sent):
        if sent.words[0] == "SET":
            return "It failed. The store prints the error, and goes on as if it had not."
        return "It failed. The error goes up, past every error handler of the app."
    if is_called_by(sent, "Write._undo"):
        return "What may have been written is taken back, for nobody will have its cookie. That fails as well."
    if sent.words[0] in ("GET", "TTL"):
        return "It failed. A read is tried once more, if there is time."
    return "It failed. What was asked cannot be stored, so the answer will be a 503."


def explain_script(sent: Sent) -> str:
    """Return what a script of ours did. Scripts are told apart by the commands in them."""
    script, done = sent.words[1], sent.answer not in NOTHING
    if "XADD" in script:
        return "The message goes into a stream, which keeps it, and whoever listens at this moment is told to read it."
    if "ZADD" in script and "NX" in sent.words:
        return "The new sid enters the list of its owner, before there is a record of that name."
    if "ZADD" in script:
        return "In the list of its owner the sid gets a later end: the time until which the session may live."
    if "ZREM" in script:
        moved = "In one step the record moves to a new key, and the old key is gone."
        return moved if done else "The record is not what this request read, so nothing moves."
    if "SET" in script and done and sent.words[5:6] == ("{}",):
        return "A compare-and-set. The record still is what was read, and it ends."
    if "SET" in script:
        written = "A compare-and-set. The record still is what this request read, so it is replaced."
        return written if done else "A compare-and-set. The record is not what this request read: nothing is written."
    return "A script: its commands run in one step."


def name_script(sent: Sent) -> str:
    """Return a command, or the beginning of a long one; a script of ours by what it is for."""
    if sent.words[0] != "EVAL":
        return sent.text if len(sent.text) <= MAX_TITLE else f"{sent.text[:MAX_TITLE]}…"
    script, key = sent.words[1], key_of(sent)
    if is_listing(sent) or "XADD" in script:
        return f"script: add to {key}"
    return f"script: {'move' if 'ZREM' in script else 'compare-and-set'} {key}"


def show_text(sent: Sent) -> str:
    """Return a command in one line; that of an owner's list without the numbers by which it is kept short."""
    return f"{' '.join(sent.words[:6])} …" if is_listing(sent) else sent.text


def show_answer(sent: Sent) -> str:
    """Return the answer; nothing, if it is that no older session of an owner has to end."""
    return "" if is_listing(sent) and sent.answer == "[0, []]" else sent.answer


def explain_cookie(store: str, change: str) -> str:
    """Return what it means that an answer sets the cookie, deletes it, or leaves it alone."""
    if change == "set":
        ours = "The cookie is signed, and ends when the record does: both have the same number of seconds."
        return "The cookie is the bare sid." if store == "seed" else ours
    return "The browser forgets its cookie." if change == "deleted" else ""


def explain_log(said: Sequence[str]) -> str:
    """Return why an answer is no error, though the log says that the change was dropped. Else nothing."""
    if any("changes are dropped" in line for line in said):
        return (
            "The page was made first, then its change was to be stored. The session was over by then, and what it held "
            "as well, so the change is dropped. That is no error."
        )
    return ""


def name_role(sent: Sent) -> str:
    """Return which role sent a command, and what for, if that is one thing with what it sent before. Else nothing."""
    return next((text for begin, text in ROLES.items() if key_of(sent).startswith(begin)), "")


def key_of(sent: Sent) -> str:
    """Return the key that a command is about."""
    place = 3 if sent.words[0] == "EVAL" else 1
    return sent.words[place] if len(sent.words) > place else ""


def is_listing(sent: Sent) -> bool:
    """Return whether it is the script that puts a sid into the list of its owner, with the end of its session."""
    return sent.words[0] == "EVAL" and "ZADD" in sent.words[1]


def is_sign_in(commands: Sequence[Sent]) -> bool:
    """Return whether these, of one round trip, stored the session of somebody who had none."""
    names = [sent.words[0] for sent in commands if not sent.failed]
    return names == ["EVAL", "SET", "ZSCORE"] and is_listing(commands[0])


def is_seed(sent: Sent) -> bool:
    """Return whether the thirty lines sent it."""
    return any(caller.file == "study/seed_store.py" for caller in sent.callers)


def is_called_by(sent: Sent, name: str) -> bool:
    """Return whether this function was on its way when the command was sent."""
    return any(caller.name == name for caller in sent.callers)
