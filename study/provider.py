"""A small OpenID Connect provider on this machine, for one story. It believes whoever it talks to."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from flask import Flask, request
from jwt.algorithms import ECAlgorithm
from werkzeug.serving import WSGIRequestHandler, make_server

CLIENT = {"OAUTH_CLIENT_ID": "shop", "OAUTH_CLIENT_SECRET": "only-for-a-story"}


class Silent(WSGIRequestHandler):
    """Writes no log."""

    def log(self, *args: object) -> None:
        """Write nothing."""


class Provider:
    """Answers on a port of its own until it is closed."""

    def __init__(self) -> None:
        self.key = generate_private_key(SECP256R1())
        self.begun: dict[str, tuple[str, str]] = {}  # code -> who said yes, nonce
        app = Flask(__name__, static_folder=None)
        app.add_url_rule("/.well-known/openid-configuration", view_func=self.describe)
        app.add_url_rule("/keys", view_func=self.keys)
        app.add_url_rule("/token", view_func=self.give_token, methods=["POST"])
        self.server = make_server("127.0.0.1", 0, app, request_handler=Silent)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), name="provider")
        self.thread.start()

    def close(self) -> None:
        """Stop, and wait until it has."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def approve(self, url: str, user: str) -> str:
        """Be the page where the user says yes. Return where the browser is sent then."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = secrets.token_urlsafe()
        self.begun[code] = user, asked.get("nonce", "")
        return f"{urlsplit(asked['redirect_uri']).path}?{urlencode({'code': code, 'state': asked['state']})}"

    def describe(self) -> dict[str, str]:
        """Say where everything is."""
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.issuer} | {name: f"{self.issuer}/{path}" for name, path in names.items()}

    def keys(self) -> dict[str, Any]:
        """Return the key that ID tokens are checked with."""
        return {"keys": [ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True) | {"kid": "1", "alg": "ES256"}]}

    def give_token(self) -> dict[str, str]:
        """Say who it was."""
        user, nonce = self.begun.pop(request.form["code"])
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT["OAUTH_CLIENT_ID"], "sub": user, "nonce": nonce, "iat": now}
        token = jwt.encode(claims | {"exp": now + 60}, self.key, "ES256", {"kid": "1"})
        return {"access_token": secrets.token_urlsafe(), "token_type": "Bearer", "id_token": token}
