"""sink: two systems of the tests' own that take many at once, told how to misbehave, call by call.

POST /quantities sets quantities: `values` has what it knows, by key. POST /orders books orders once per id,
POST /orders/find says which it has. Each call takes the next of `script` ("ok" where that is empty):
  ok           done, 200
  503, 422 …   not done, that status
  lost         done, then the connection is closed without an answer
  drop         connection closed, not done
  page         done, 200 with a page that is no JSON
A member whose key is in `refused` is not taken ("final"), one in `busy` once more each time it is
asked ("retryable") as often as its number says. With `compare` on, a quantity that comes with a `previous`
other than the one that is there is "stale". More than `most` in a call are too many: 413, or, with `says_large`,
200 and an answer that says so; nothing of it is done.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler

from ledger import Server


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, raw):
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_POST(self):
        sink = self.server.ledger
        doc = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if sink.most and len(doc["members"]) > sink.most:
            sink.too_many.append(len(doc["members"]))
            return self.answer(200 if sink.says_large else 413, json.dumps({"too_large": True}).encode())
        if self.path == "/orders/find":
            with sink.lock:
                sink.lookups.append([m["id"] for m in doc["members"]])
                body = {"members": [{"number": sink.number(m["id"])} for m in doc["members"]]}
            return self.answer(200, json.dumps(body).encode())
        with sink.lock:
            todo = sink.script.pop(0) if sink.script else "ok"
            sink.calls.append((time.monotonic(), self.headers.get("Idempotency-Key"), doc))
            if todo in ("ok", "lost", "page"):
                said = [sink.take(self.path, m) for m in doc["members"]]
        if todo in ("lost", "drop"):
            self.close_connection = True
            return self.connection.close()
        if todo == "page":
            return self.answer(200, b"<html>welcome</html>")
        if todo != "ok":
            return self.answer(todo, b'{"error": "told so"}')
        return self.answer(200, json.dumps({"members": said}).encode())


class Sink:
    def __init__(self):
        self.lock = threading.RLock()
        self.script, self.calls, self.lookups = [], [], []
        self.values, self.booked, self.refused, self.busy = {}, [], set(), {}
        self.compare = False
        self.most, self.says_large, self.too_many = 0, False, []
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.ledger = self
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def number(self, id):
        return next((f"B-{i}" for i, m in enumerate(self.booked) if m["id"] == id), None)

    def take(self, path, member):
        key = member.get("key") or member["id"]
        if key in self.refused:
            return {"outcome": "final", "cause": f"{key} is not known here"}
        if self.busy.get(key):
            self.busy[key] -= 1
            return {"outcome": "retryable", "cause": "locked"}
        if path == "/orders":
            self.booked.append(member)
            return {"outcome": "success", "number": self.number(member["id"])}
        there = self.values.get(key)
        if self.compare and member.get("previous") is not None and member["previous"] != there:
            return {"outcome": "stale", "current": there}
        self.values[key] = member["quantity"]
        return {"outcome": "success"}

    def members(self):
        with self.lock:
            return [m for call in self.calls for m in call[2]["members"]]

    def log(self):
        return f"calls {len(self.calls)}, values {dict(list(self.values.items())[:20])}, booked {len(self.booked)}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def connector(self, folder, **changes):
        """Writes a connector with both subscriptions into a configuration folder."""
        values = {"max_items": 10, "linger_ms": 10, "concurrency": 2, "rate": 0, "settle_ms": 100,
                  "key": "subject", **changes}
        path = folder / "connectors" / "sink"
        path.mkdir(parents=True, exist_ok=True)
        (path / "connector.yaml").write_text(CONNECTOR.format(url=self.url, **values))
        for name, text in MAPPINGS.items():
            (path / f"{name}.lua").write_text(text)


CONNECTOR = """\
connector: sink
version: "1.0.0"
owner: ecommerce
description: What the tests send many to at once
send:
  - subscription: sink-stock
    events: [availability.changed]
    key: {key}
    conflate: latest
    mapping: quantity.lua
    batch: {{max_items: {max_items}, linger_ms: {linger_ms}, mapping: quantities.lua, answer: said.lua}}
    request:
      url: "{url}/quantities"
      headers: {{Idempotency-Key: "{{batch.key}}"}}
    retry: {{first_ms: 20, max_ms: 200, jitter: none}}
    limits: {{concurrency: {concurrency}, rate_per_s: {rate}}}
    timeout_ms: 2000
    settle_ms: {settle_ms}
  - subscription: sink-orders
    events: [order.captured]
    mapping: order.lua
    batch:
      max_items: {max_items}
      linger_ms: {linger_ms}
      by: /data/order/currency
      mapping: orders.lua
      answer: said.lua
      lookup: {{url: "{url}/orders/find", mapping: find.lua, answer: found.lua}}
    request:
      url: "{url}/orders"
      headers: {{Idempotency-Key: "{{batch.key}}"}}
    retry: {{first_ms: 20, max_ms: 200, jitter: none}}
    limits: {{concurrency: {concurrency}}}
    timeout_ms: 2000
    settle_ms: {settle_ms}
"""
MAPPINGS = {
    "quantity": "return function(doc) return {quantity = doc.data.available} end\n",
    "quantities": """\
return function(doc)
  return {members = each(doc.members, function(m)
    return {key = m.key, quantity = m.document.quantity, previous = opt(m, "previous.quantity"), suspect = m.suspect}
  end)}
end
""",
    "said": """\
return function(doc)
  if opt(doc, "body.too_large") then return {too_large = true} end
  return {members = each(doc.body.members, function(m)
    local current = opt(m, "current")
    return {outcome = m.outcome, cause = opt(m, "cause"), reference = opt(m, "number"),
            current = current and {quantity = current}}
  end)}
end
""",
    "order": "return function(doc) return {id = doc.subject, currency = doc.data.order.currency} end\n",
    "orders": """\
return function(doc)
  return {by = doc.batch.by, members = each(doc.members, function(m) return m.document end)}
end
""",
    "find": """\
return function(doc)
  return {members = each(doc.members, function(m) return {id = m.event.subject} end)}
end
""",
    "found": """\
return function(doc)
  return {members = each(doc.body.members, function(m)
    local number = opt(m, "number")
    return {found = number ~= nil, reference = number}
  end)}
end
""",
}
