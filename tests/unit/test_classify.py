"""What a request did to its session: a pure function of the owners before and after."""

from __future__ import annotations

from typing import Any

import pytest

from _redis_store.change import classify

ADA, BOB, NOBODY = {"user_id": "ada"}, {"user_id": "bob"}, dict[str, str]()


@pytest.mark.parametrize(
    ("before", "after", "cleared", "regenerated", "kind"),
    [
        (NOBODY, NOBODY, False, False, "write"),
        (NOBODY, NOBODY, True, False, "write"),
        (NOBODY, NOBODY, False, True, "move"),
        (NOBODY, NOBODY, True, True, "move"),
        (NOBODY, ADA, False, False, "login"),
        (NOBODY, ADA, True, True, "login"),
        (ADA, ADA, False, False, "write"),
        (ADA, ADA, True, False, "write"),
        (ADA, ADA, False, True, "move"),
        (ADA, ADA, True, True, "login"),
        (ADA, BOB, False, False, "login"),
        (ADA, NOBODY, False, False, "logout"),
        (ADA, NOBODY, True, True, "logout"),
        (ADA, ADA | {"_user_id": "ada"}, False, False, "login"),
        (ADA | {"_user_id": "ada"}, ADA, False, False, "move"),
    ],
)
def test_what_a_request_did_follows_from_its_owners(
    before: Any, after: Any, cleared: bool, regenerated: bool, kind: str
) -> None:
    """From the owners before and after, and from whether the app cleared or regenerated the session."""
    assert classify(before, after, cleared=cleared, regenerated=regenerated) == kind
