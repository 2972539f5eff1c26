"""Square: its webhooks become facts under its own signature, its orders come by poll, each once; and
what it says later takes the place of what it said before."""

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import docs
from conftest import ROOT, running
from hub import Hub
from wire import until

KEY, TOKEN, URL = "square-signature-key", "square-access-token-1", "https://hub.example/x/square/events"
FIXTURES = ROOT / "connectors" / "square" / "fixtures"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        square = self.server.square
        ask = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        square.asked.append((self.path, ask, self.headers.get("Authorization"), self.headers.get("Square-Version")))
        since = (ask["query"].get("filter") or {}).get("date_time_filter", {}).get("updated_at", {}).get("start_at", "")
        found = sorted((o for o in square.orders.values() if o["updated_at"] >= since and
                        o["location_id"] in ask["location_ids"]), key=lambda o: o["updated_at"])
        first = int(ask.get("cursor") or 0)
        page, rest = found[first:first + 2], found[first + 2:]
        doc = {**({"orders": page} if page else {}), **({"cursor": str(first + 2)} if rest else {})}
        status = 200
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            status, doc = 401, {"errors": [{"category": "AUTHENTICATION_ERROR", "detail": "no such token"}]}
        text = json.dumps(doc).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Square:
    def __init__(self):
        self.orders, self.asked = {}, []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads, self.server.square = True, self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def sell(self, name, **changes):
        order = {**fixture("order", name), **changes}
        self.orders[order["id"]] = order
        return order


def fixture(mapping, name):
    return json.loads((FIXTURES / mapping / f"{name}.in.json").read_text("utf-8"))


@pytest.fixture
def square():
    square = Square()
    yield square
    square.server.shutdown()
    square.server.server_close()


@pytest.fixture
def till_hub(binary, tmp_path, square):
    hub = Hub(binary, tmp_path)
    hub.env.update(SQUARE_SIGNATURE_KEY=KEY, SQUARE_WEBHOOK_URL=URL, SQUARE_ACCESS_TOKEN=TOKEN)
    path = hub.config / "connectors" / "square" / "connector.yaml"
    text = path.read_text().replace("https://connect.squareup.com ", f"http://127.0.0.1:{square.server.server_port} ")
    text = text.replace("locations: {} ", "locations: {L88TEST: S-HAM-1} ")
    text = text.replace("initial: now", "initial: beginning")
    path.write_text(text.replace("every_s: 30", "every_s: 1"))
    yield from running(hub.start())


def tell(hub, event, key=KEY):
    body = json.dumps(event).encode()
    mac = base64.b64encode(hmac.new(key.encode(), URL.encode() + body, hashlib.sha256).digest()).decode()
    return hub.client(key=None).post("/x/square/events", raw=body, media="application/json",
                                     headers={"x-square-hmacsha256-signature": mac})


def facts(hub, kind):
    listed = docs.listed(hub.client(), "/v1/facts", kind=kind, connector="square")
    return {item["key"]: item["fact"] for item in listed}


def test_webhooks_become_facts(till_hub):
    for name in ("payment-captured", "payment-cash-yen", "refund-pending", "refund-dinar", "order-named",
                 "other-is-nothing"):
        assert tell(till_hub, fixture("event", name)).status == 200
    until(lambda: len(facts(till_hub, "payment")) == 2 and len(facts(till_hub, "refund")) == 2, 20, "the facts")
    assert tell(till_hub, fixture("event", "payment-captured"), key="another").status == 401
    assert facts(till_hub, "payment")["pay1"]["document"]["total"] == 1436
    assert facts(till_hub, "refund")["pay5_ref1"]["document"]["amount"] == 1250
    # later: the refund is done; then its beginning comes once more, under another event
    done = fixture("event", "refund-pending")
    done["event_id"], done["type"] = "00000000-0000-4000-8000-000000000099", "refund.updated"
    done["data"]["object"]["refund"].update(status="COMPLETED", updated_at="2026-11-23T10:05:00Z")
    assert tell(till_hub, done).status == 200
    until(lambda: facts(till_hub, "refund")["pay1_ref1"]["document"]["state"] == "done", 20, "the refund done")
    again = fixture("event", "refund-pending")
    again["event_id"] = "00000000-0000-4000-8000-000000000100"
    assert tell(till_hub, again).status == 200
    until(lambda: "stale" in [e["data"].get("outcome") for e in docs.events(till_hub.client(), type="payload.settled")],
          20, "the late message settled")
    assert facts(till_hub, "refund")["pay1_ref1"]["document"]["state"] == "done"
    assert not docs.listed(till_hub.client(), "/ops/exceptions")


def test_sales_come_by_poll_each_once(till_hub, square):
    names = ["net-tax-discount", "gross-vat", "both-kinds-of-tax", "yen", "dinar-three-decimals"]
    sold = {order["id"]: order for order in (square.sell(name) for name in names)}
    square.sell("tip-in-the-total", location_id="ANOTHER")
    until(lambda: set(facts(till_hub, "sale")) == set(sold), 30, "the sales")
    for number, fact in facts(till_hub, "sale").items():
        assert fact["document"]["totals"]["grand"] == sold[number]["total_money"]["amount"]
        assert fact["document"]["ext"]["square"]["location"] == "S-HAM-1"
    asked = len(square.asked)
    until(lambda: len(square.asked) > asked + 2, 30, "more rounds")
    kept = docs.events(till_hub.client(), type="fact.kept")
    assert len(kept) == len(names)
    path, _, authorization, version = square.asked[0]
    assert (path, authorization) == ("/v2/orders/search", f"Bearer {TOKEN}") and version
    changed = square.sell("yen", version=5, updated_at="2026-11-23T12:00:00Z", state="CANCELED")
    until(lambda: facts(till_hub, "sale")[changed["id"]]["document"]["ext"]["square"]["state"] == "CANCELED", 30,
          "the change")
    wrong = square.sell("wrong-sum-fails", updated_at="2026-11-23T12:01:00Z")
    told = until(lambda: docs.listed(till_hub.client(), "/ops/exceptions"), 30, "the exception")
    assert "differs by 100" in json.dumps(told) and wrong["id"] not in facts(till_hub, "sale")
    assert TOKEN not in till_hub.log()
