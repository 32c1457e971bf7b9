"""The fault matrix: an app, a load that knows what it was promised, a bad network, and the figures."""

PATIENCE = 30  # seconds that the tests themselves wait for anything
