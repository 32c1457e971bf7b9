"""Tables that name something of the code: each row is compared with it."""

from __future__ import annotations

import importlib
import json
import re
from datetime import timedelta
from fnmatch import fnmatchcase
from inspect import signature
from typing import Any

import fakeredis
import pytest
from flask import Flask
from support.docstrings import keys_of
from support.project import PAGES, PERMISSIONS, ROOT, WORKER_PERMISSIONS, rows, section, tables

import _redis_store
from _redis_store.settings import SETTINGS
from _redis_store.store import TRAIL_MAX_AGE
from app import ROLES
from redis_store import RedisSessionInterface, RedisStore, SessionInfo

PROMISES = rows(section("README.md", "What is promised"))
VERBS = ("get", "set", "destroy", "touch", "add", "take", "update")


def named(cell: str) -> list[str]:
    """What a cell has between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def target(cell: str) -> str:
    """Where the link of a cell leads."""
    (found,) = re.findall(r"\]\(([^)]+)\)", cell)
    return str(found)


# README -----------------------------------------------------------------------------------------------------------


def test_every_promise_has_tests_of_its_own() -> None:
    """Each number once; the files are there, and their tests say in one sentence what they show."""
    assert [row[0].partition(".")[0] for row in PROMISES] == [str(number + 1) for number in range(len(PROMISES))]
    for row in PROMISES:
        (pattern,) = named(row[1])
        found = [*ROOT.glob(pattern)]
        assert found, pattern
        assert all(re.search(r'^def test_\w+\(.*\) -> None:\n    """', path.read_text(), re.M) for path in found)


def test_the_settings_that_most_need_have_the_defaults_of_flask_and_of_ours() -> None:
    """The same that the page of settings has in full."""
    for name, default, _ in rows(section("README.md", "Settings that most need")):
        value = SETTINGS[name.strip("`")][0]
        if value is None:
            value = Flask.default_config.get(name.strip("`"))
        shown = default.removesuffix(" (Flask's)").strip("`")
        assert shown == (f"{value.days} days" if isinstance(value, timedelta) else repr(value))


def test_what_redis_does_here_is_what_it_has_to_allow() -> None:
    """Links to a page, a short file and a test; every pattern of keys in the ACL is in the table, and no other."""
    table = rows(section("README.md", "What Redis does here"))
    for what, file, _, _, test in table:
        assert len((ROOT / target(file)).read_text().splitlines()) <= 250
        assert target(what).startswith("docs/")
        assert (ROOT / target(test)).is_file(), test
    keys = [key for row in table for key in named(row[2])]
    rules = {*PERMISSIONS, *WORKER_PERMISSIONS}
    assert sorted(keys) == sorted(rule.removeprefix("~") for rule in rules if rule.startswith("~"))


def test_times_to_live_are_those_of_the_code() -> None:
    """Where the table has a number."""
    table = rows(section("README.md", "What Redis does here"))
    seconds = {target(row[1]): {*map(int, re.findall(r"(\d+) s\b", row[3]))} for row in table}
    assert seconds["_redis_store/store.py"] == {TRAIL_MAX_AGE}
    assert {role: seconds[f"roles/{role}.py"] for role in ROLES} == {role: {*keys_of(role).values()} for role in ROLES}


def test_the_readme_leads_to_every_page() -> None:
    """By reader, each page once; the pages of the roles, by what Redis does there."""
    linked = re.findall(r"\]\((docs/[\w-]+\.md)\)", section("README.md", "Read on"))
    roles = [
        row[0] for row in rows(section("README.md", "What Redis does here")) if target(row[1]).startswith("roles/")
    ]
    linked += re.findall(r"\]\((docs/[\w-]+\.md)\)", " ".join(roles))
    assert sorted(linked) == sorted(page for page in PAGES if page.startswith("docs/"))


# docs/ ------------------------------------------------------------------------------------------------------------


def test_the_settings_table_is_that_of_the_code() -> None:
    """Each setting of ours, with its default; none is missing, none invented."""
    (table,) = tables(PAGES["docs/settings.md"])
    shown = {row[0].strip("`"): row[1].strip("`") for row in table[1:]}
    flasks = {*Flask.default_config, "SECRET_KEY_FALLBACKS"}
    ours = {
        name: repr(default) for name, (default, _, _) in SETTINGS.items() if name not in flasks or default is not None
    }
    assert shown == ours


def test_the_koa_table_names_verbs_that_exist() -> None:
    """Each verb of the store is in the table, by its name."""
    text = section("docs/koa-session2.md", "What corresponds to what")
    assert len(rows(text)) == 16
    for verb in VERBS:
        assert callable(getattr(RedisStore, verb))
        assert f"RedisStore.{verb}(" in text or f"`{verb}`" in text


def test_the_cost_table_is_tested_row_by_row() -> None:
    """As many rows as tests that quote one."""
    table = rows(section("docs/request.md", "What it costs"))
    (path,) = ROOT.glob("tests/**/test*_cost.py")
    assert len(table) == 11
    assert {f"Row {number}" for number in range(1, 11)} <= set(re.findall(r"Row \d+", path.read_text()))


def test_the_order_to_read_in_names_files_that_are_there() -> None:
    """And `_redis_store/__init__.py` lists those of the library, as the page says."""
    for row in rows(section("docs/request.md", "The order in which to read the code")):
        (name,) = named(row[0])
        assert (ROOT / name).exists()
        if "/" in name:
            assert re.search(rf"^    {name.split('/')[1].removesuffix('.py')} ", _redis_store.__doc__ or "", re.M)


def test_every_folder_of_tests_is_in_the_table() -> None:
    """But for the promises, which the README has; and the programs are there."""
    table = rows(section("docs/request.md", "What shows that it works"))
    places = {place for row in table for place in named(row[1])}
    folders = {f"tests/{path.parent.name}/" for path in ROOT.glob("tests/*/test_*.py")} - {"tests/promises/"}
    assert {place for place in places if place.startswith("tests/")} == folders
    assert all((ROOT / place).exists() for place in places)


def test_the_methods_that_sign_out_are_those_of_the_interface() -> None:
    """With their parameters."""
    methods, attributes = tables(section("docs/sign-out-everywhere.md", "In the code"))
    for row in methods[1:]:
        name, _, rest = row[0].strip("`").partition("(")
        parameters = [*signature(getattr(RedisSessionInterface, name)).parameters.values()][1:]
        shown = [str(each.name) + ("=None" if each.default is None else "") for each in parameters]
        assert rest == ", ".join(shown) + ")"
    assert {row[0].strip("`.") for row in attributes[1:]} == public(SessionInfo)
    for name, kind, _ in attributes[1:]:
        documented = (
            re.sub(r" of `(\w+)`| in UTC", r"[\1]", kind).replace("`", "").replace("[]", "").replace(" or ", " | ")
        )
        known = SessionInfo.__annotations__.get(name.strip("`."), "str").partition("[str, Any]")
        assert documented == known[0] + known[2]


def public(kind: type[Any]) -> set[str]:
    """The attributes and properties of a dataclass that are no methods, and not for the library alone."""
    fields = {*getattr(kind, "__dataclass_fields__", {}), *getattr(kind, "_fields", ())}
    return fields | {name for name, value in vars(kind).items() if isinstance(value, property)}


def test_what_the_log_says_is_in_the_code() -> None:
    """The words of each row, in some message."""
    code = "".join(path.read_text() for path in [ROOT / "redis_store.py", *ROOT.glob("_redis_store/*.py")])
    for line, _ in rows(section("docs/operations.md", "What the log says, and what to do")):
        words = re.sub(r"\w+Error$", "", line.strip("`"))  # the kind of error is the client's
        assert words in code


def test_the_glossary_is_in_order_and_its_words_are_used() -> None:
    """Each on another page, or in the code."""
    words = [row[0] for row in rows(PAGES["docs/glossary.md"])]
    assert words == sorted(words, key=str.lower)
    texts = [page for path, page in PAGES.items() if path != "docs/glossary.md"]
    texts += [path.read_text() for path in ROOT.glob("_redis_store/*.py")]
    used = " ".join(" ".join(texts).lower().split())
    assert [word for word in words if word.lower() not in used] == []


# Figures ----------------------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_run_that_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and ratios are what `benchmarks/run.py` makes of `figures.json`; nobody retouched them."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    report = importlib.import_module("report")
    results, shown = ROOT / "benchmarks" / "results", report.PAGE.read_text()
    found = json.loads((results / "figures.json").read_text())
    assert report.report(found) == (results / "table.md").read_text()
    assert "\n".join(report.target_table(found)) in shown
    assert "\n".join(report.summary(found)[:-1]) in report.README.read_text()
    assert all((results / f"{name}.png").exists() and f"results/{name}.png" in shown for name in report.PICTURES)


def test_the_number_of_faults_is_that_of_the_table() -> None:
    """Wherever a page has it; the first row is the comparison."""
    faults = rows(PAGES["docs/faults.md"])[1:]
    numbers = [re.findall(r"(\d+)\s+(?:ways\s+under|faults\s+under)", page) for page in PAGES.values()]
    assert [number for found in numbers for number in found] == [str(len(faults))] * 2


def test_a_pattern_of_keys_fits_the_keys_that_the_store_uses() -> None:
    """The table's patterns, as Redis reads them."""
    store = RedisStore(fakeredis.FakeRedis())
    keys = [key for row in rows(section("README.md", "What Redis does here")) for key in named(row[2])]
    for key in (store.key("a"), store.trail_key("a"), store.namespace("OWNER").key("a")):
        assert any(fnmatchcase(key, pattern) for pattern in keys)
