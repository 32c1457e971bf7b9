"""An app that Hypothesis uses as it likes, and a model that says what must come of it: `tests/stateful`."""
