"""Every way in which Python, Jinja, Flask and C code look into a session, beside Flask's own session.

Each is tried on an object that nobody has used yet: what `session_transaction` yields, what a view takes with
``session._get_current_object()``, `flask.session` itself, and what `open_session` gives an extension in a view.
"""

from __future__ import annotations

import copy
import json
import operator
import pickle
import pprint
import string
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any

import fakeredis
import flask
import msgspec
import pytest
from flask import Flask, session
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from support.apps import SECRET_KEY, content, interface_of, route

from redis_store import RedisSession, RedisSessionInterface

CONTENT = {"cart": [1, {"a": 2}], "n": 3, "user_id": "ada"}  # sorted, as Flask writes it


def match(held: Any) -> Any:
    match held:
        case {"user_id": str(name), **rest}:
            return name, rest
    return None


def takes(**values: Any) -> Any:
    return values


def render(source: str) -> Callable[[Any], str]:
    return lambda held: flask.render_template_string(source, held=held)


class Copied(dict[str, Any]):
    """A subclass of dict that an app may make of its session."""


WAYS: dict[str, Callable[[Any], Any]] = {
    "s[key]": lambda s: s["cart"],
    "missing": lambda s: s["no"],
    "get": lambda s: (s.get("n"), s.get("no"), s.get("no", 1)),
    "setdefault": lambda s: (s.setdefault("n", 0), s.setdefault("new", [])),
    "pop": lambda s: (s.pop("n"), s.pop("no", 5)),
    "pop missing": lambda s: s.pop("no"),
    "popitem": lambda s: s.popitem(),
    "in": lambda s: ("n" in s, "no" in s, "n" not in s),
    "len": len,
    "bool": lambda s: (bool(s), not s, any(s), all(s)),
    "iter": lambda s: [*s],
    "next": lambda s: next(iter(s)),
    "list": list,
    "tuple": tuple,
    "set": lambda s: (set(s), frozenset(s)),
    "sorted": sorted,
    "min, max": lambda s: (min(s), max(s)),
    "enumerate": lambda s: list(enumerate(s)),
    "zip": lambda s: list(zip(s, s.values(), strict=True)),
    "map, filter": lambda s: (list(map(str, s)), list(filter(None, s))),
    "join": lambda s: " ".join(s),
    "reversed": lambda s: (list(reversed(s)), list(reversed(s.items()))),
    "unpack": lambda s: [key for key, *_ in [(*s,)]],
    "a comprehension": lambda s: {key: s[key] for key in s},
    "keys": lambda s: (list(s.keys()), "n" in s.keys(), len(s.keys())),  # it is the view that is tried
    "values": lambda s: (list(s.values()), 3 in s.values()),
    "items": lambda s: (list(s.items()), ("n", 3) in s.items()),
    "views as sets": lambda s: (s.keys() & {"n"}, s.keys() | {"x"}, s.keys() - {"n"}, s.keys() ^ {"n"}),
    "the mapping of a view": lambda s: dict(s.keys().mapping),
    "dict": dict,
    "dict and more": lambda s: dict(s, x=1),
    "**": lambda s: {**s},
    "call(**)": lambda s: takes(**s),
    "call(*)": lambda s: (lambda *keys: keys)(*s),
    "|": lambda s: (s | {"x": 1}, {"x": 1} | s),
    "|=": lambda s: operator.ior({"x": 1}, s),  # type: ignore[no-untyped-call]
    "s |=": lambda s: operator.ior(s, {"x": 1}) is s,  # type: ignore[no-untyped-call]
    "== and !=": lambda s: (s == CONTENT, s != CONTENT, CONTENT == s, s == {}, s == 1),
    "==, to a MappingProxyType": lambda s: MappingProxyType(s) == CONTENT,
    "<": lambda s: s < {},
    "hash": hash,
    "repr": lambda s: repr(s).partition(" ")[2],
    "str": lambda s: (str(s).partition(" ")[2], f"{s}".partition(" ")[2], "%s".__mod__(s).partition(" ")[2]),
    "pprint": lambda s: pprint.pformat(dict(s)),
    "copy": lambda s: s.copy(),
    "copy.copy": lambda s: dict(copy.copy(s)),
    "deepcopy": lambda s: dict(copy.deepcopy(s)),
    "deepcopy inside": lambda s: dict(copy.deepcopy([s])[0]),
    "replaced in a deepcopy": lambda s: copy.deepcopy({"s": s})["s"] == CONTENT,
    "fromkeys": lambda s: dict.fromkeys(s),
    "update": lambda s: Copied(x=1).update(s),
    "update of another": lambda s: [other := {"x": 1}, other.update(s)],
    "setattr": lambda s: s.update(x=1),
    "del": lambda s: operator.delitem(s, "n"),
    "clear": lambda s: s.clear(),
    "match": match,
    "isinstance": lambda s: [isinstance(s, kind) for kind in (dict, Mapping, MutableMapping, SessionMixin)],
    "itemgetter": operator.itemgetter("n", "user_id"),
    "operator": lambda s: (operator.contains(s, "n"), operator.getitem(s, "n"), operator.length_hint(s)),
    "dict's own methods": lambda s: (dict.get(s, "n"), dict.__len__(s), list(dict.items(s)), dict.copy(s)),
    "dict's own ==": lambda s: (dict.__eq__(s, CONTENT), dict.__contains__(s, "n"), dict.__repr__(s)),
    "format_map": lambda s: "{user_id} has {n}: {cart[0]}".format_map(s),
    "format": lambda s: "{0[user_id]}".format(s),  # noqa: UP030, UP032  # the way that is tried
    "%": lambda s: "%(user_id)s has %(n)d" % s,  # noqa: UP031  # the way that is tried
    "Template": lambda s: string.Template("$user_id").substitute(s),
    "eval": lambda s: eval("n + 1", {}, s),
    "ChainMap": lambda s: (dict(ChainMap({"x": 1}, s)), ChainMap(s)["n"]),
    "MappingProxyType": lambda s: (dict(MappingProxyType(s)), MappingProxyType(s)["n"]),
    "UserDict": lambda s: UserDict(s).data,
    "OrderedDict": lambda s: OrderedDict(s),
    "defaultdict": lambda s: defaultdict(int, s),
    "Counter": lambda s: Counter(list(s)),
    "a subclass": lambda s: Copied(s),
    "pickle": lambda s: [pickle.loads(pickle.dumps(dict(s), protocol)) for protocol in range(6)],
    "json": json.dumps,
    "json, indented": lambda s: json.dumps(s, indent=1),
    "json, sorted": lambda s: json.dumps(s, sort_keys=True, separators=(",", ":")),
    "json, nested": lambda s: json.dumps({"s": [s]}),
    "json, iterencode": lambda s: "".join(json.JSONEncoder(indent=2).iterencode(s)),
    "app.json": lambda s: (flask.json.dumps(s), flask.current_app.json.dumps(s)),
    "jsonify": lambda s: (flask.jsonify(s).get_data(), flask.jsonify(session=s).get_data()),
    "make_response": lambda s: flask.make_response(s).get_data(),
    "tagged json": lambda s: flask.json.tag.TaggedJSONSerializer().dumps(s),
    "msgspec": lambda s: msgspec.json.encode(dict(s)),
    "msgspec, itself": lambda s: msgspec.json.encode(s),
    "msgspec, to_builtins": lambda s: msgspec.to_builtins(s),
    "msgspec, convert": lambda s: msgspec.convert(s, dict[str, Any]),
    "msgspec, msgpack": lambda s: msgspec.msgpack.encode(s),
    "|tojson": render("{{ held|tojson }}"),
    "{{ }}": render("{{ held }}"),
    "held.x": render("{{ held.user_id }} {{ held.no }} {{ held.cart.1.a }}"),
    "held[x]": render("{{ held['user_id'] }} {{ held['no'] }}"),
    "|attr": render("{{ held|attr('modified') }}"),
    "if held": render("{% if held %}yes{% endif %} {{ 'yes' if not held }}"),
    "if x in": render("{{ 'n' in held }} {{ 'no' in held }}"),
    "for": render("{% for key in held %}{{ key }} {% endfor %}"),
    "for items": render("{% for key, value in held.items() %}{{ key }}={{ value }} {% endfor %}"),
    "|length": render("{{ held|length }} {{ held|count }}"),
    "|list": render("{{ held|list }} {{ held|sort }} {{ held|first }}"),
    "|dictsort": render("{{ held|dictsort }}"),
    "|items": render("{{ held|items|list }}"),
    "|xmlattr": render("{{ held|xmlattr }}"),
    "|pprint": render("{{ held|string|length > 9 }}"),
    "is mapping": render("{{ held is mapping }} {{ held is iterable }} {{ held is sequence }}"),
    "dict(held)": render("{{ dict(held) }} {{ dict(**held) }}"),
    "with": render("{% with a = held.n %}{{ a }}{% endwith %}"),
    "a macro": render("{% macro m(a) %}{{ a.n }}{% endmacro %}{{ m(held) }}"),
    "render_template(**)": lambda s: flask.render_template_string("{{ n }} {{ user_id }}", **s),
    "new": lambda s: s.new,
    "modified": lambda s: s.modified,
    "permanent": lambda s: s.permanent,
    "flash": lambda s: s.setdefault("_flashes", []).append(("message", "hi")),
}


def outcome(way: Callable[[Any], Any], held: Any) -> Any:
    """What it gives, or raises, and what is in the session then."""
    try:
        result = way(held)
    except Exception as error:
        result = type(error), str(error)
    if isinstance(result, SessionMixin):
        result = dict(result)
    shown = result if isinstance(result, bytes) else repr(result).replace("RedisSession", "SecureCookieSession")
    return shown, dict(held), held.modified


@contextmanager
def transaction(app: Flask, browser: Any) -> Iterator[Any]:
    """What a test looks into, and leaves without saving. Templates need a context, whose session is another one."""
    with suppress(EOFError), browser.session_transaction() as held, app.test_request_context():
        yield held
        raise EOFError


@contextmanager
def in_view(app: Flask, browser: Any, get: Callable[[], Any]) -> Iterator[Any]:
    """What a view gets in some way, of which it is the first use."""
    cookie = browser.get_cookie("session")
    with app.test_request_context("/", headers={"Cookie": f"session={cookie.value}"}):
        yield get()


TAKING: dict[str, Callable[[Flask, Any], Any]] = {
    "session_transaction": transaction,
    "the proxy": lambda app, browser: in_view(app, browser, lambda: session),
    "the object": lambda app, browser: in_view(app, browser, lambda: session._get_current_object()),  # type: ignore[attr-defined]
    "the context's": lambda app, browser: in_view(app, browser, lambda: flask.globals.request_ctx.session),
    "open_session": lambda app, browser: in_view(
        app, browser, lambda: app.session_interface.open_session(app, flask.request)
    ),
}


@pytest.fixture
def client() -> Any:
    """It is about what Redis gave, whichever that is."""
    return fakeredis.FakeRedis()


@pytest.fixture
def flasks() -> Flask:
    """The same app with Flask's own sessions."""
    app = Flask("app")
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True)
    assert isinstance(app.session_interface, SecureCookieSessionInterface)
    return app


@pytest.mark.parametrize("used", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("taking", TAKING)
def test_each_way_shows_what_flasks_own_session_shows(app: Flask, flasks: Flask, taking: str, used: bool) -> None:
    """As the first use of a session, and after one."""
    app.config["SESSION_PERMANENT"] = False
    browsers = [(each, each.test_client()) for each in (app, flasks)]
    for _, browser in browsers:
        with browser.session_transaction() as seed:
            seed.update(CONTENT)
    different = {}
    for name, way in WAYS.items():
        outcomes = []
        for each, browser in browsers:
            with TAKING[taking](each, browser) as held:
                if used:
                    assert held["n"] == 3
                outcomes.append(outcome(way, held))
        if outcomes[0] != outcomes[1]:
            different[name] = outcomes
    assert different == {}


class SetsAtOnce(RedisSessionInterface):
    """One of somebody's own, which sets a default before anybody has read the session."""

    def open_session(self, app: Flask, request: flask.Request) -> RedisSession | None:
        session = super().open_session(app, request)
        if session is not None:
            session.setdefault("language", "en")
        return session


def test_what_was_set_before_the_session_was_read_is_stored(app: Flask, client: Any) -> None:
    """It was not in the record: a change, also of a request that changes nothing else."""
    browser = app.test_client()
    with browser.session_transaction() as seed:
        seed.update(CONTENT)
    app.session_interface = SetsAtOnce(client, clock=interface_of(app).clock)
    route(app, "/read", lambda: str(session["n"]))
    browser.get("/read")
    assert content(client) == CONTENT | {"language": "en"}
