"""idp: a small identity provider in the test's own process: keys, a key set over HTTP, tokens, and
whatever forgeries a test asks for. Standard library and python3-cryptography.

Idp.token signs claims that a hub configured with Idp.section takes; every part of it can be
replaced. What it publishes (`published`) and whether it answers (`down`, `status`) can change while
a hub asks; `fetches` counts how often one did.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def b64(data):
    """base64url without padding, of bytes, text or what becomes JSON."""
    if not isinstance(data, (bytes, str)):
        data = json.dumps(data, separators=(",", ":"))
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Key:
    """A private key under a kid, for one algorithm."""

    def __init__(self, kid, alg="ES256", bits=2048, private=None):
        self.kid, self.alg = kid, alg
        self.private = private or (
            ec.generate_private_key(ec.SECP256R1()) if alg == "ES256"
            else rsa.generate_private_key(65537, bits))

    def sign(self, data):
        """The signature as JWS has it."""
        if self.alg == "ES256":
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        pad = padding.PKCS1v15() if self.alg == "RS256" else padding.PSS(
            padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
        return self.private.sign(data, pad, hashes.SHA256())

    def jwk(self, **more):
        numbers = self.private.public_key().public_numbers()
        if self.alg == "ES256":
            doc = {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32, "big")),
                   "y": b64(numbers.y.to_bytes(32, "big"))}
        else:
            doc = {"kty": "RSA", "e": b64(numbers.e.to_bytes(3, "big")),
                   "n": b64(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big"))}
        return {**doc, "kid": self.kid, "use": "sig", "alg": self.alg, **more}

    def pem(self):
        return self.private.public_key().public_bytes(Encoding.PEM,
                                                      PublicFormat.SubjectPublicKeyInfo)


def encode(header, claims, sign):
    """A token; `sign` makes the signature of the bytes before it, or is the signature."""
    text = f"{b64(header)}.{b64(claims)}"
    signature = sign(text.encode()) if callable(sign) else sign
    return f"{text}.{b64(signature)}"


def hmac_sign(secret):
    return lambda data: hmac.new(secret, data, hashlib.sha256).digest()


class Idp:
    def __init__(self, name="corp", audience="penstock"):
        self.name, self.audience = name, audience
        self.key = Key("key-1")
        self.published = [self.key]
        self.down = False       # closes the connection without an answer
        self.status = 200
        self.delay_s = 0
        self.fetches = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer_get(self)

            def do_POST(self):
                outer.answer_post(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.issuer = f"{self.url}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    # --- over HTTP; extend by path ------------------------------------------------------------
    def answer_get(self, request):
        if request.path == "/keys":
            self.fetches += 1
            time.sleep(self.delay_s)
            if self.down:
                request.close_connection = True
                return
            self.reply(request, self.status, {"keys": [key.jwk() for key in self.published]})
        else:
            self.reply(request, 404, {})

    def answer_post(self, request):
        self.reply(request, 404, {})

    @staticmethod
    def reply(request, status, doc):
        body = json.dumps(doc).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    # --- tokens -------------------------------------------------------------------------------
    def claims(self, **more):
        """Those of a good token; None takes one away."""
        now = int(time.time())
        doc = {"iss": self.issuer, "sub": "web-shop", "aud": self.audience, "iat": now,
               "exp": now + 600, "scope": "orders:write orders:read stock:read events:read", **more}
        return {name: value for name, value in doc.items() if value is not None}

    def token(self, key=None, header=None, **claims):
        key = key or self.key
        return encode({"alg": key.alg, "kid": key.kid, "typ": "at+jwt", **(header or {})},
                      self.claims(**claims), key.sign)

    def section(self, **more):
        """Its row of auth.issuers."""
        return {"name": self.name, "issuer": self.issuer, "audience": [self.audience],
                "jwks_url": f"{self.url}/keys", **more}


def configure(hub, auth, **settings):
    """Puts a section `auth` (a document) into a hub's penstock.yaml, settings into its
    environment. JSON is YAML."""
    path = hub.config / "penstock.yaml"
    path.write_text(path.read_text() + f"\nauth: {json.dumps(auth)}\n")
    hub.env.update({f"PENSTOCK_{name.upper()}": str(value) for name, value in settings.items()})
