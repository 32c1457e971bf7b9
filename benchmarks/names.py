"""The names of what is compared, in tables, in figures.json and in pictures; and who loads gunicorn."""

FLOOR = "no session"
LIMIT = "no session, one GET"
COOKIE = "Flask's cookie session"
PEER = "Flask-Session"
PEER_LAZY = "Flask-Session, refresh off"
DJANGO = "Django's cache session"
OURS = "redis_store.py"
OURS_0 = "redis_store.py, refresh after 0"
KOA = "koa-session2"
REDIS_PY = "redis-py"  # its client alone, beside ours

CONNECTIONS = 8  # that load gunicorn at a time
VISITORS = 64  # who share them; when two requests of one of them meet, ours merges what others lose
