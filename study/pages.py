"""``/study``: the stories as pages, step by step, with the code that did each step."""

from __future__ import annotations

import re
import threading

from flask import Blueprint, Flask, abort, render_template, request, url_for
from werkzeug.exceptions import ServiceUnavailable

from study import source
from study.book import SCENARIOS
from study.story import STORES, Scenario, play

MAX_AT_ONCE = 2  # stories; each takes some hundredths of a second
PATIENCE = 1  # seconds that a visitor waits for a turn

#: A signed cookie, shortened; and its parts, as study/anatomy.py names them.
COOKIE = re.compile(r"\b([0-9a-f]{8})-([0-9a-f]{6}…)\.([pb])\.([\w-]{6,8})\.([\w-]{6}…)", re.ASCII)
PARTS = ("began", "random", "kind", "signed", "signature")
STORY_URL = re.compile(r"/study/([a-z-]+)(?:\?store=(seed|ours))?$")

blueprint = Blueprint("study", __name__, url_prefix="/study")
turns = threading.BoundedSemaphore(MAX_AT_ONCE)


def init_app(app: Flask) -> None:
    """Add the pages."""
    app.register_blueprint(blueprint)


@blueprint.get("")
def index() -> str:
    """List the stories."""
    return render_template("study.html", scenarios=SCENARIOS.values())


@blueprint.get("/<name>")
def show(name: str) -> str:
    """Tell a story, with ``?store=seed`` or ``ours``, and show it. 404: there is none. 503: too many are being told."""
    store = request.args.get("store", "seed")
    if name not in SCENARIOS or store not in STORES:
        abort(404)
    if not turns.acquire(timeout=PATIENCE):
        raise ServiceUnavailable("Too many stories are being told at once.", retry_after=PATIENCE)
    try:
        run = play(SCENARIOS[name], store)
    finally:
        turns.release()
    names = [*SCENARIOS]
    place = names.index(name)
    others = {"before": SCENARIOS[names[place - 1]] if place else None, "after": None}
    if place + 1 < len(names):
        others["after"] = SCENARIOS[names[place + 1]]
    other = "ours" if store == "seed" else "seed"
    return render_template("study_story.html", run=run, number=place + 1, other=other, **others)


@blueprint.get("/source/<path:name>")
def show_source(name: str) -> str:
    """Show a function of the running project; ``?line=`` marks one of its lines. 404: there is none of that name."""
    found = source.find(name)
    if found is None:
        abort(404)
    told, store = find_story(request.referrer)
    line = request.args.get("line", 0, int)
    return render_template("study_source.html", source=found, line=line, told=told, store=store)


@blueprint.app_template_filter()
def cut_cookies(text: str) -> list[tuple[str, str]]:
    """Return text in pieces: the parts of each signed cookie in it, with the class of their colour, and the rest."""
    pieces, end = [], 0
    for match in COOKIE.finditer(text):
        for number, kind in enumerate(PARTS, 1):
            pieces += [("", text[end : match.start(number)]), (kind, match[number])]
            end = match.end(number)
    return [*pieces, ("", text[end:])]


def find_story(url: str | None) -> tuple[Scenario | None, str]:
    """Return the story, and the store, of the page from which somebody comes. None: it was another page."""
    match = STORY_URL.search(url or "")
    return (SCENARIOS.get(match[1]), match[2] or STORES[0]) if match else (None, "")


@blueprint.app_template_filter()
def source_url(name: str, line: int = 0) -> str:
    """Return the address of a function's page."""
    return url_for("study.show_source", name=name, line=line or None)
