"""What else Redis is good for. Each file is one role, and `app.py` lists those that there are."""
