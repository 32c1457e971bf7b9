"""README.md and docs/: what is said of every page, and that no command, table or code on one goes unchecked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from support.project import PAGES, ROOT, tables

LINKED = [(page, link) for page, text in PAGES.items() for link in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", text)]
#: What a page names between backticks that is a path of this project, with `*` for any text.
NAMED = re.compile(
    r"`((?:tests|docs|conformance|benchmarks|study|roles|_redis_store)/[\w./*-]+|[\w-]+\.(?:py|md|toml))(?:::\w+)?`"
)
ELSEWHERE = {"shop.py", "conftest.py"}  # files that a reader makes

#: Blocks of the exercises: all are applied to a copy.
EXERCISES = re.findall(r"^```python\n(.+)$", PAGES["docs/exercises.md"], re.M)

#: What runs or compares each block of code, by its first line: a test, or a program of conformance/.
BLOCKS = {
    "README.md": {
        " browser                        Flask                                    Redis": "",  # a picture
        "python3 -m venv .venv": "test_the_first_two_commands_set_up_run_and_test",
        "import os": "test_the_complete_app_signs_in_and_out",
        "export REDIS_URL": "test_the_complete_app_is_found_by_flask",
        "$ curl -si -d name": "test_the_complete_app_is_seen_from_both_sides",
        "from redis_store import": "test_the_two_lines_are_all_that_an_app_needs",
        "sessions = app.session_interface.sessions_of": "test_a_user_is_signed_out_everywhere_else_by_two_lines",
        "client = create_app": "test_a_test_client_needs_one_line",
    },
    "docs/benchmarks.md": {"python3 benchmarks/run.py": "test_what_measures_anew_knows_its_options"},
    "docs/exercises.md": {
        ".venv/bin/python -m pytest": "test_each_exercise_turns_the_test_red_that_it_names",
        **dict.fromkeys(EXERCISES, "test_each_exercise_turns_the_test_red_that_it_names"),
    },
    "docs/cache.md": {
        "from roles.cache": "test_the_code_of_the_page_keeps_and_forgets",
        ".venv/bin/python benchmarks/cache.py": "test_the_program_that_measures_finds_the_counts_right",
    },
    "docs/faults.md": {".venv/bin/python -m pytest": "test_what_measures_anew_knows_its_options"},
    "docs/growing.md": {
        "deploy/make-secrets": "test_the_commands_make_secrets_a_certificate_and_an_account",
        "docker compose": "test_the_compose_file_names_files_that_are_there",
        "mkdir -p": "test_the_commands_name_files_that_are_there",
        "def revoke_for_good": "test_a_sign_out_can_wait_for_a_replica",
        "masteruser": "test_a_sign_out_can_wait_for_a_replica",
        "sentinel monitor": "test_sentinels_with_the_lines_of_the_page_promote_the_replica",
        ".venv/bin/python benchmarks/durability.py": "test_what_is_counted_can_be_counted_again",
    },
    "docs/jobs.md": {
        "export REDIS_URL": "test_a_worker_sends_what_a_view_enqueued",
        "def init_app": "test_the_example_of_the_page_is_a_job",
        "$ .venv/bin/flask jobs list": "test_the_commands_show_what_the_page_shows",
        ".venv/bin/python benchmarks/jobs.py": "test_jobs_survive_workers_that_are_killed",
    },
    "docs/koa-session2.md": {".venv/bin/python conformance/koa.py": "test_the_conformance_with_koa_is_a_program"},
    "docs/learn.md": {
        "with ada.visit": "test_a_step_breaks_the_short_store_only",
        "the thirty lines": "",  # a picture
        "thief = ": "test_a_step_breaks_the_short_store_only",
        "eve.write": "test_a_step_breaks_the_short_store_only",
        "server.connected": "test_a_step_breaks_the_short_store_only",
        "(key,) = redis.keys": "test_a_step_breaks_the_short_store_only",
        "frozen = ": "test_a_step_breaks_the_short_store_only",
    },
    "docs/migrating.md": {
        'app.config["SESSION_COOKIE_NAME"]': "test_each_side_reads_its_own_cookie",
        "from flask import request": "test_a_logout_deletes_both_cookies",
        "from flask import request, session": "test_a_session_is_carried_over_and_the_old_one_stays",
        "import msgspec": "test_a_session_is_carried_over_and_the_old_one_stays",
    },
    "docs/notifications.md": {
        "with app.app_context()": "test_the_page_shows_how_to_send",
        ".venv/bin/flask notify": "test_the_page_shows_how_to_send",
        "retry: 2000": "test_the_page_shows_what_a_browser_gets",
        ".venv/bin/gunicorn": "test_gunicorn_serves_streams_and_pages_as_the_page_says",
    },
    "docs/oauth.md": {
        ".venv/bin/python -m oidc": "test_a_provider_to_try_is_there_and_the_app_takes_it",
        "FLASK_OAUTH_ISSUER": "test_a_provider_to_try_is_there_and_the_app_takes_it",
    },
    "docs/metrics.md": {
        "scrape_configs": "test_prometheus_takes_the_configuration_of_the_page",
        ". deploy/secrets/app.env": "test_the_command_of_the_page_writes_the_token",
    },
    "docs/operations.md": {
        "ACL SETUSER": "test_it_is_enough",
        "redis+sentinel": "test_urls_of_several_servers_are_those_of_the_code",
        ".venv/bin/pip install gunicorn": "test_the_demo_app_starts_with_the_settings_that_the_page_exports",
    },
    "docs/request.md": {"$ curl -si -c jar": "test_a_session_is_seen_from_both_sides"},
    "docs/settings.md": {
        "from redis_store import": "test_a_prefix_of_ones_own_is_that_of_the_keys",
        "@app.before_request": "test_a_cookie_that_ends_with_the_browser_may_have_a_sliding_limit",
    },
    "docs/sign-out-everywhere.md": {
        "from flask import redirect": "test_a_user_ends_one_session_by_its_handle",
        "$ .venv/bin/flask sessions list": "test_the_commands_list_sessions_as_shown",
        "login_user(user)": "conformance/flask_login_everywhere.py",
        "class User": "conformance/flask_login_everywhere.py",
        "from typing import cast": "test_a_type_checker_reads_the_wheel",
    },
    "docs/signals.md": {"from collections import Counter": "test_a_listener_counts_what_ended"},
    "docs/testing.md": {
        "import fakeredis": "test_the_recipes_pass_with_the_app_of_the_readme",
        "def test_a_user_finds": "test_the_recipes_pass_with_the_app_of_the_readme",
        "def test_an_outage": "test_the_recipes_pass_with_the_app_of_the_readme",
        "import time": "test_the_recipes_pass_with_the_app_of_the_readme",
        "def test_a_new_password": "test_the_recipes_pass_with_the_app_of_the_readme",
        "class DictStore": "test_the_store_in_a_dict_is_the_one_that_keeps_the_contract",
        "@pytest.mark.parametrize": "test_a_store_is_held_to_the_contract_by_these_lines",
    },
    "docs/tokens.md": {
        "$ api=": "test_a_program_gets_tokens_as_shown",
        "claims = ": "test_a_program_gets_tokens_as_shown",
    },
}

#: What compares each table, by its first head.
TABLES = {
    "README.md": {
        "setting": "test_the_settings_that_most_need_have_the_defaults_of_flask_and_of_ours",
        "µs per request, its session": "test_the_figures_are_those_of_the_run_that_is_stored",
        "promise": "test_every_promise_has_tests_of_its_own",
        "what": "test_what_redis_does_here_is_what_it_has_to_allow",
        "you want to": "test_the_readme_leads_to_every_page",
    },
    "docs/benchmarks.md": {"ratio of medians": "test_the_figures_are_those_of_the_run_that_is_stored"},
    "docs/cache.md": {
        "key": "test_the_page_has_the_keys_and_the_setting_of_the_role",
        "setting": "test_the_page_has_the_keys_and_the_setting_of_the_role",
        "what": "test_the_page_has_the_figures_of_a_whole_run",
    },
    "docs/faults.md": {"fault": "test_the_page_has_the_figures_of_each_fault"},
    "docs/growing.md": {
        "what happens": "test_the_table_of_what_is_lost_has_each_case",
        "sessions": "test_what_measures_capacity_runs",
        "a request that": "test_what_requests_send_is_what_the_benchmark_found",
        "what breaks": "test_what_shows_a_fault_is_an_alert",
    },
    "docs/glossary.md": {"word": "test_the_glossary_is_in_order_and_its_words_are_used"},
    "docs/koa-session2.md": {"koa-session2 with a typical store": "test_the_koa_table_names_verbs_that_exist"},
    "docs/migrating.md": {
        "in the app": "test_what_an_app_did_with_flask_session_has_its_name_here",
        "Flask-Session": "test_the_settings_of_flask_session_are_all_named_with_what_the_log_says",
    },
    "docs/notifications.md": {
        "setting": "test_the_keys_are_those_of_the_docstring",
        "key": "test_the_keys_are_those_of_the_docstring",
        "clients": "test_the_page_has_figures_of_a_run_without_a_fault",
    },
    "docs/monitoring.md": {
        "setting": "test_the_page_has_the_setting_and_the_key_of_the_role",
        "key": "test_the_page_has_the_setting_and_the_key_of_the_role",
    },
    "docs/metrics.md": {
        "setting": "test_the_page_has_the_setting_of_the_role",
        "series": "test_the_page_has_each_series",
        "alert": "test_each_alert_has_a_fault_and_a_row_in_the_docs",
    },
    "docs/jobs.md": {
        "what": "test_the_figures_of_the_page_are_good_ones",
        "setting": "test_the_page_has_the_settings_and_the_keys_of_the_role",
        "key": "test_the_page_has_the_settings_and_the_keys_of_the_role",
    },
    "docs/mail.md": {
        "setting": "test_the_page_has_the_settings_and_the_keys_of_the_role",
        "key": "test_the_page_has_the_settings_and_the_keys_of_the_role",
    },
    "docs/oauth.md": {
        "setting": "test_the_page_has_the_settings_of_the_role",
        "where": "test_what_a_sign_in_with_a_provider_keeps_is_what_the_role_names",
    },
    "docs/study.md": {"question": "test_each_question_leads_to_a_story"},
    "docs/throttling.md": {"key": "test_the_page_has_the_keys_of_the_role"},
    "docs/tokens.md": {
        "setting": "test_the_page_has_the_settings_and_the_keys_of_the_role",
        "key": "test_the_page_has_the_settings_and_the_keys_of_the_role",
    },
    "docs/operations.md": {"the log says": "test_what_the_log_says_is_in_the_code"},
    "docs/request.md": {
        "request": "test_the_cost_table_is_tested_row_by_row",
        "file": "test_the_order_to_read_in_names_files_that_are_there",
        "what": "test_every_folder_of_tests_is_in_the_table",
    },
    "docs/settings.md": {"setting": "test_the_settings_table_is_that_of_the_code"},
    "docs/signals.md": {"signal": "test_the_table_has_the_signals_and_reasons_of_the_code"},
    "docs/sign-out-everywhere.md": {
        "method": "test_the_methods_that_sign_out_are_those_of_the_interface",
        "attribute": "test_the_methods_that_sign_out_are_those_of_the_interface",
    },
}


def anchors(text: str) -> set[str]:
    """The names by which GitHub links to the headings of a text."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def first_lines(text: str) -> list[str]:
    """The first line of each block of code."""
    return re.findall(r"^```.*\n(.+)\n(?:.*\n)*?```$", text, re.M)


def is_checked(name: str) -> bool:
    """Whether there is a program, or a test, of that name."""
    if not name or (ROOT / name).is_file():
        return True
    return any(f"\ndef {name}(" in path.read_text() for path in ROOT.glob("tests/**/test_*.py"))


def paths() -> Iterator[tuple[str, str]]:
    """The files that the pages name."""
    for page, text in PAGES.items():
        for name in NAMED.findall(text):
            if name not in ELSEWHERE:
                yield page, name


@pytest.mark.parametrize(("page", "link"), LINKED)
def test_every_link_leads_somewhere(page: str, link: str) -> None:
    """To a file of the project, and a heading in it."""
    file, _, anchor = link.partition("#")
    target = (ROOT / page).parent / file if file else ROOT / page
    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text())


@pytest.mark.parametrize(("page", "name"), sorted(set(paths())))
def test_every_file_that_a_page_names_is_there(page: str, name: str) -> None:
    """From the top, or beside what the page is about."""
    assert [*ROOT.glob(name)] or [*ROOT.glob(f"*/{PurePosixPath(name)}")]


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_a_page_begins_with_whom_it_is_for(page: str) -> None:
    """After its title, in one sentence."""
    assert re.match(r"# .+\n\nFor (somebody|everybody)", PAGES[page])


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_code_is_run_or_compared(page: str) -> None:
    """By a test that exists; a new block fails here until one does."""
    known, lines = BLOCKS.get(page, {}), first_lines(PAGES[page])
    assert [line for line in lines if not any(line.startswith(start) for start in known)] == []
    assert [start for start in known if not any(line.startswith(start) for line in lines)] == []
    assert [name for name in known.values() if not is_checked(name)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_table_is_compared(page: str) -> None:
    """By a test that exists; a new table fails here until one does."""
    known = TABLES.get(page, {})
    assert sorted(table[0][0] for table in tables(PAGES[page])) == sorted(known)
    assert [name for name in known.values() if not is_checked(name)] == []


def test_the_readme_is_short() -> None:
    """What an adopter needs; the rest is in docs/. A line between two cells of a table is no word."""
    words = [word for word in PAGES["README.md"].split() if re.search(r"\w", word)]
    assert len(words) <= 1500
