"""What redis_store.py is made of: one noun per file. Imports go down this list only.

From the command line to Redis:

    cli         `flask sessions`
    search      finding sessions in all of Redis
    statistics  how many there are, and how large
    terminal    how a terminal shows them

From the request to Redis, below redis_store.py, which has Flask's hooks:

    listing     a session seen from outside
    save        what becomes of a session when its request ends
    write       one change on its way into Redis
    session     `flask.session` during a request
    owners      the sessions of an owner
    trail       ending sessions, wherever they have gone
    store       the seven verbs
    change      what one request did: pure
    snapshot    whether a session has changed since it was read: pure
    record      JSON bytes: pure
    place       where in a session a value is: pure
    shape       of what types a session is, and how deep: pure
    tags        types that JSON lacks: pure
    cookie      the sid's signature, and its time: pure
    lifetime    both limits, and when a refresh is due: pure
    sid         a session's name: pure
    settings    what each may be, and all of them as a request sees them
    outage      the 503
    marks       what a request notes in its WSGI environ
    sender      time budget and circuit breaker
    connection  `connect`
    servers     Sentinel and Cluster
    url         what a URL says, checked
    client      commands
    pool        connections
    parser      answers
    watch       whether an idle one can be used
    signals     what became of sessions, told to whoever counts it
    failure     what the client raises, and what others raise meanwhile
"""
