"""How the app is served: gunicorn --config deploy/gunicorn.conf.py 'app:create_app()'."""

bind = "0.0.0.0:8000"  # without containers: 127.0.0.1:8000; nobody but the proxy may reach it
workers = 4  # processes: about as many as processors
worker_class = "gthread"
threads = 120  # for each worker: a browser that listens to events keeps one busy, and there may be 100 of them
graceful_timeout = 5  # seconds that a request may go on after SIGTERM: a page takes one, a stream would never end
forwarded_allow_ips = "*"  # who may say that a request came over https: whoever reaches the port
control_socket_disable = True  # of newer ones; the container has no place for it
