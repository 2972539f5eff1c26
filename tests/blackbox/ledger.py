"""ledger: an ERP of the tests' own, in this process, told exactly how to misbehave, call by call.

It books POST /orders once per order_id unless told otherwise, and answers GET /orders/ORDER_ID. Each
POST takes the next order from `script` ("ok" where that is empty):
  ok           booked, 201
  503, 429 …   not booked, that status
  400, 422     not booked: final
  drop         connection closed, not booked
  lost         booked, then the connection is closed without an answer
  late         booked, answered after `late_s`
  slow         waits `slow_s`, then not booked and closed
  nonsense     booked, 201 with a body that is no JSON
  hollow       not booked, 200 with an error in it
"""

import json
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, doc, raw=None, headers=()):
        body = raw if raw is not None else json.dumps(doc).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self):
        self.close_connection = True
        self.connection.close()

    def do_GET(self):
        ledger = self.server.ledger
        order_id = self.path.rsplit("/", 1)[-1]
        with ledger.lock:
            ledger.lookups.append(order_id)
            rows = ledger.rows(order_id)
        if ledger.down:
            self.hang_up()
        elif rows:
            self.answer(200, {"number": rows[0]["number"], "order_id": order_id})
        else:
            self.answer(404, {"error": "no such order"})

    def do_POST(self):
        ledger = self.server.ledger
        body = self.rfile.read(int(self.headers["Content-Length"]))
        doc = json.loads(body)
        with ledger.lock:
            ledger.calls.append((time.monotonic(), doc))
            ledger.traceparents.append(self.headers.get("traceparent"))
            ledger.replays.append(self.headers.get("Penstock-Replay"))
            ledger.keys.append(self.headers.get("Idempotency-Key"))
            order_id = doc["order_id"]
            todo = ledger.script.pop(0) if ledger.script else ledger.fates.get(order_id, "ok")
            ledger.under_way[order_id] += 1
            ledger.together = max(ledger.together, sum(ledger.under_way.values()))
            ledger.per_order = max(ledger.per_order, ledger.under_way[order_id])
        try:
            self.act(ledger, "drop" if ledger.down else todo, order_id, doc)
        finally:
            with ledger.lock:
                ledger.under_way[order_id] -= 1

    def act(self, ledger, todo, order_id, doc):
        if todo == "slow":
            time.sleep(ledger.slow_s)
            return self.hang_up()
        if todo == "drop":
            return self.hang_up()
        if callable(todo):  # says something about the document
            status, words = todo(doc)
            return self.answer(status, {"error": words})
        if todo == "hollow":
            return self.answer(200, {"error": "the period is closed"})
        if todo not in ("ok", "lost", "late", "nonsense"):
            headers = [("Retry-After", "1")] if todo == 429 else []
            return self.answer(todo, {"error": f"told to answer {todo}"}, headers=headers)
        with ledger.lock:
            number = f"L-{len(ledger.book) + 1}"
            ledger.book.append({"order_id": order_id, "number": number, "doc": doc})
        if todo == "lost":
            return self.hang_up()
        if todo == "late":
            time.sleep(ledger.late_s)
        try:
            self.answer(201, {"number": number},
                        raw=b"<html>booked</html>" if todo == "nonsense" else None)
        except OSError:
            pass  # the hub did not wait


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class Ledger:
    slow_s, late_s = 3.0, 3.0

    def __init__(self):
        self.lock = threading.RLock()
        self.script, self.fates, self.book, self.calls, self.lookups = [], {}, [], [], []
        self.traceparents, self.replays, self.keys = [], [], []  # of each call, or None
        self.under_way = defaultdict(int)
        self.together = self.per_order = 0
        self.down = False
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.ledger = self
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def rows(self, order_id):
        with self.lock:
            return [row for row in self.book if row["order_id"] == order_id]

    def ids(self):
        with self.lock:
            return [row["order_id"] for row in self.book]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def log(self):
        return f"calls {len(self.calls)}, booked {self.ids()[-50:]}, looked up {self.lookups[-50:]}"

    def connector(self, folder, **changes):
        """Writes a connector that posts captured orders here into a configuration folder."""
        values = {"first_ms": 20, "max_ms": 200, "attempts_max": 0, "timeout_ms": 1000,
                  "concurrency": 4, "personal": "false", "extra": "", **changes}
        path = folder / "connectors" / "ledger"
        path.mkdir(parents=True, exist_ok=True)
        (path / "connector.yaml").write_text(CONNECTOR.format(url=self.url, **values))


CONNECTOR = """\
connector: ledger
version: "1.0.0"
owner: finance
description: The tests' own books
send:
  - subscription: ledger-orders
    events: [order.captured]
    key: subject
    personal: {personal}
    request:
      method: POST
      url: "{url}/orders"
    lookup:
      method: GET
      url: "{url}/orders/{{event.subject}}"
      found: /number
      reference: /number
    reference: /number
    outcome: {{success: [200, 201], final: [400, 422], retryable: [429, "5xx"]}}
    retry: {{first_ms: {first_ms}, max_ms: {max_ms}, factor: 2, jitter: none, attempts_max: {attempts_max}}}
    limits: {{concurrency: {concurrency}}}
    timeout_ms: {timeout_ms}
{extra}"""
