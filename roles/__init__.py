"""What else Redis does here: each file is one role, and `app.py` lists those that there are.

Where a role is more than a file, the others begin with its name. To remove one, delete its files, and its line there;
its tests are tests/roles/test_*<name>*.py, and what these share is tests/support/roles/<name>.py.
"""
