"""docs/throttling.md: what it says of keys and limits."""

from __future__ import annotations

import re

from support.docstrings import assert_page
from support.project import PAGES

from roles import throttle

PAGE = PAGES["docs/throttling.md"]


def test_the_page_has_the_keys_of_the_role() -> None:
    """Those of its docstring."""
    assert_page(PAGE, "throttle")


def test_the_page_has_the_limits_of_the_code() -> None:
    """How many failures at once, and how soon one is forgotten."""
    (limits,) = re.findall(r"An account takes (\d+) failures at once and an address (\d+)", " ".join(PAGE.split()))
    assert limits == (str(throttle.LIMITS["account"]), str(throttle.LIMITS["address"]))
    assert throttle.INTERVAL == 5 * 60
    assert "Each forgets one every five minutes" in " ".join(PAGE.split())
