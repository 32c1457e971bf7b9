"""The pattern made visible: what the store does, and what a shorter one would not do."""
