"""All stories there are: those about sessions, and those about what else Redis does here."""

from __future__ import annotations

from study import role_scenarios, scenarios

SCENARIOS = {**scenarios.SCENARIOS, **role_scenarios.SCENARIOS}
