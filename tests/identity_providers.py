"""An identity provider on loopback: configuration, keys, and tokens that it signs."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "fitcast"


class Provider:
    """One that answers as OpenID Connect's discovery says, and counts who asks."""

    def __init__(self, url):
        self.url = url
        self.keys = {}
        self.asked = 0
        self.is_away = False
        self.calls_itself = url
        self.add_key("first")

    def add_key(self, name, algorithm="RS256"):
        is_rsa = algorithm.startswith(("RS", "PS"))
        self.keys[name] = (
            rsa.generate_private_key(65_537, 2048)
            if is_rsa
            else ec.generate_private_key(ec.SECP256R1()),
            algorithm,
        )

    def claims(self, name="ann", **changed):
        now = time.time()
        told = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": name,
            "iat": now - 1,
            "exp": now + 600,
        } | changed
        return {claim: value for claim, value in told.items() if value is not None}

    def token(self, name="ann", key="first", headers=None, **changed):
        private, algorithm = self.keys[key]
        told = {"kid": key} if headers is None else headers
        return jwt.encode(self.claims(name, **changed), private, algorithm, headers=told)

    def told(self, path):
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.calls_itself, "jwks_uri": f"{self.url}/keys"}
        listed = []
        for name, (private, algorithm) in self.keys.items():
            maker = jwt.algorithms.get_default_algorithms()[algorithm]
            key = json.loads(maker.to_jwk(private.public_key()))
            listed.append({**key, "kid": name, "use": "sig", "alg": algorithm})
        return {"keys": listed}


@contextmanager
def identity_provider():
    """Run one, in a context."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            provider.asked += 1
            body = json.dumps(provider.told(self.path)).encode()
            self.send_response(503 if provider.is_away else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    provider = Provider(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
