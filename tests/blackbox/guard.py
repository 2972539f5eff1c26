"""guard: a partner of the tests' own who lets nobody in without the right word: its token endpoint
(OAuth 2: client credentials, refresh tokens with rotation) and the orders behind it, in this process.

What it checks a call by is `check(headers, method, target, body)`: None lets it in, a text is the 401's
words, in which it repeats everything it was told (a careless partner: the hub must not).
"""

import base64
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CLIENT, SECRET = "hub client", "cl!ent s3cret+%/"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, doc, **headers):
        body = json.dumps(doc).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        guard = self.server.guard
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/token"):
            return guard.token(self, body.decode())
        if guard.answer:
            with guard.lock:
                return guard.answer(self, body)
        why = guard.check(self.headers, self.command, self.path, body)
        with guard.lock:
            guard.calls.append((self.command, self.path, dict(self.headers), why))
        if why:
            return self.answer(401, {"error": f"{why}: {self.path} {dict(self.headers)}"})
        if body:
            with guard.lock:
                doc = json.loads(body)
                guard.book.append(doc["order_id"])
        self.answer(201, {"number": f"G-{len(guard.book)}"})

    do_GET = do_POST


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Guard:
    def __init__(self):
        self.lock = threading.RLock()
        self.calls, self.book, self.asked = [], [], []
        self.good = set()          # access tokens that are let in
        self.refresh = None        # the one refresh token that is good now
        self.expires_in, self.rotate, self.refuse, self.slow_s, self.down = 3600, False, None, 0, False
        self.made = 0
        self.check = self.by_token
        self.answer = None         # or a function that answers each call: (request, body)
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.guard = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def by_token(self, headers, method, target, body):
        kind, _, token = headers.get("Authorization", "").partition(" ")
        return None if kind == "Bearer" and token in self.good else "a good token is needed"

    def token(self, request, body):
        form = dict(urllib.parse.parse_qsl(body, strict_parsing=True))
        time.sleep(self.slow_s)
        with self.lock:
            self.asked.append(form)
            if self.down:
                request.close_connection = True
                return request.connection.close()
            kind, _, basic = request.headers.get("Authorization", "").partition(" ")
            if kind == "Basic":
                client, _, secret = base64.b64decode(basic).decode().partition(":")
                client, secret = urllib.parse.unquote(client), urllib.parse.unquote(secret)
            else:
                client, secret = form.get("client_id"), form.get("client_secret")
            if (client, secret) != (CLIENT, SECRET):
                return request.answer(401, {"error": "invalid_client"})
            if self.refuse:
                words = f"told to: {body} {request.headers.get('Authorization')}"
                return request.answer(400, {"error": self.refuse, "error_description": words})
            if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.refresh:
                return request.answer(400, {"error": "invalid_grant", "error_description": "revoked"})
            self.made += 1
            token = f"access-{self.made}-{'t' * 40}"
            self.good.add(token)
            answer = {"access_token": token, "token_type": "bearer", "expires_in": self.expires_in}
            if self.rotate:
                self.refresh = answer["refresh_token"] = f"refresh-{self.made}-{'r' * 40}"
            request.answer(200, answer)

    def connector(self, hub, auth, more="", concurrency=16):
        path = hub.config / "connectors" / "guarded"
        path.mkdir(parents=True, exist_ok=True)
        (path / "connector.yaml").write_text(CONNECTOR.format(url=self.url, auth=auth.strip("\n").format(
            url=self.url), more=more, concurrency=concurrency))


CONNECTOR = """\
connector: guarded
version: "1.0.0"
owner: finance
description: A partner that wants to know who calls
auth:
{auth}
send:
  - subscription: guarded-orders
    events: [order.captured]
    request: {{method: POST, url: "{url}/orders?a=b"}}
    reference: /number
    retry: {{first_ms: 20, max_ms: 200, factor: 2, jitter: none}}
    limits: {{concurrency: {concurrency}}}
    timeout_ms: 5000
{more}
"""
