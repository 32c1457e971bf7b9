"""What else Redis does here: each file is one role, and `app.py` lists those that there are.

To remove one, delete its file and its line there; its tests are tests/roles/test_*<name>*.py, and what these share is
tests/support/roles/<name>.py.
"""
