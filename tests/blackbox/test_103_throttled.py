"""A system with limits: a leaky bucket that says so in its headers and turns away what is too much, and that is gone
for a while. What is permitted goes, everything arrives once and in order per key, over a kill as well."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler

import pytest

import docs
from conftest import running
from hub import Hub
from ledger import Server
from wire import until

BURST, RATE = 10, 20


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        shop = self.server.ledger
        doc = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, fields = shop.take(doc)
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


class Shop:
    def __init__(self):
        self.lock = threading.Lock()
        self.level, self.at = 0.0, time.monotonic()
        self.taken, self.turned_away, self.gone, self.asked_when_gone = [], 0, False, 0
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.ledger = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, doc):
        with self.lock:
            if self.gone:
                self.asked_when_gone += 1
                return 503, {}
            now = time.monotonic()
            self.level, self.at = max(0.0, self.level - (now - self.at) * RATE), now
            if self.level + 1 > BURST:
                self.turned_away += 1
                return 429, {"Retry-After": "0.5", "X-Shopify-Shop-Api-Call-Limit": f"{BURST}/{BURST}"}
            self.level += 1
            self.taken.append((now, doc))
            return 200, {"X-Shopify-Shop-Api-Call-Limit": f"{int(self.level)}/{BURST}"}

    def log(self):
        return f"taken {len(self.taken)}, turned away {self.turned_away}, asked when gone {self.asked_when_gone}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


CONNECTOR = """\
connector: shop
version: "1.0.0"
owner: ecommerce
description: A shop with limits
account: {{{account}}}
send:
  - subscription: shop-stock
    events: [stock.counted]
    key: subject
    mapping: count.lua
    outcome: {{like: shopify}}
    request: {{url: "{url}/counts", headers: {{Idempotency-Key: "{{event.id}}"}}}}
    retry: {{first_ms: 20, max_ms: 200}}
    limits: {{concurrency: 8}}
"""
BREAKER = "breaker: {after: 3, first_ms: 300, max_ms: 600}"


@pytest.fixture
def shop():
    yield from running(Shop())


@pytest.fixture
def start(binary, tmp_path, shop):
    hubs = []

    def make(account):
        hub = Hub(binary, tmp_path)
        path = hub.config / "connectors" / "shop"
        path.mkdir(parents=True)
        (path / "connector.yaml").write_text(CONNECTOR.format(url=shop.url, account=account))
        (path / "count.lua").write_text(
            "return function(doc) return {id = doc.id, sku = doc.subject, on_hand = doc.data.counted} end\n")
        hubs.append(running(hub.start()))
        return next(hubs[-1])
    yield make
    for made in hubs:
        next(made, None)


def count(api, skus, turns):
    for turn in turns:
        lines = api.bulk("/v1/stock/counts", [docs.count(sku, turn) for sku in skus]).lines
        assert {x["status"] for x in lines} == {201}, lines


def arrived(shop, wanted):
    until(lambda: len(shop.taken) >= wanted, 20, f"{wanted} calls to be taken")
    ids = [doc["id"] for _, doc in shop.taken]
    assert len(ids) == len(set(ids)) == wanted
    last = {}
    for _, doc in shop.taken:
        assert int(doc["on_hand"]) > last.get(doc["sku"], 0)
        last[doc["sku"]] = int(doc["on_hand"])


def test_what_is_declared_is_kept(start, shop):
    hub = start(f"rate: {{calls: {RATE - 2}, per_s: 1, burst: {BURST - 2}}}, {BREAKER}")
    count(hub.client(), [f"D-{i}" for i in range(12)], range(1, 6))
    arrived(shop, 60)
    assert shop.turned_away == 0
    times = [at for at, _ in shop.taken]
    assert 60 <= (times[-1] - times[0] + 0.1) * (RATE - 2) + BURST


def test_what_nobody_declared_is_found_out(start, shop):
    hub = start(BREAKER)
    count(hub.client(), [f"F-{i}" for i in range(12)], range(1, 6))
    arrived(shop, 60)
    assert shop.turned_away <= 25  # not hammered: each is met with a pause
    assert not docs.events(hub.client(), type="endpoint.opened")  # it is there, it only has limits


def test_one_that_is_gone_is_left_alone_over_a_kill(start, shop):
    hub = start(f"rate: {{calls: 18, per_s: 1, burst: 8}}, {BREAKER}")
    shop.gone = True
    count(hub.client(), [f"G-{i}" for i in range(6)], range(1, 3))
    opened, = until(lambda: docs.events(hub.client(), type="endpoint.opened"), 10, "the breaker to open")
    assert opened["data"]["connector"] == "shop" and opened["data"]["endpoint"] == shop.url
    assert opened["data"]["failures"] == 3
    hub.kill()
    before = shop.asked_when_gone
    hub.restart()
    began = time.monotonic()
    until(lambda: shop.asked_when_gone > before, 10, "a probe of the new life")
    time.sleep(0.7)
    assert shop.asked_when_gone - before <= 2 + (time.monotonic() - began) / 0.15  # by one, not by all that wait
    shop.gone = False
    arrived(shop, 12)
    api = hub.client()
    until(lambda: docs.events(api, type="endpoint.closed"), 10, "the breaker to close")
    assert len(docs.events(api, type="endpoint.opened")) == 1
