"""What webhooks did not bring: a backstop poll fetches it through the same entrance and tells of every repair;
and what should come and does not is told once, and closes by itself."""

import json
import threading
import time
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

import docs
import test_075_webhook as shop
from conftest import running
from hub import Hub
from wire import until


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        since = datetime.fromisoformat(query["updated_at_min"][0])
        known = [o for o in self.server.orders if datetime.fromisoformat(o["updated_at"]) >= since]
        if query["status"] == ["cancelled"]:
            known = [o for o in known if o.get("cancelled_at")]
        known.sort(key=lambda o: datetime.fromisoformat(o["updated_at"]))
        self.server.calls += 1
        body = json.dumps({"orders": known}).encode()
        self.send_response(200 if self.headers.get("X-Shopify-Access-Token") == "token" else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Shop:
    """What a shop's Admin API answers."""

    def __init__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.orders, self.server.calls = [], 0
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def log(self):
        return f"{self.server.calls} calls"


@pytest.fixture
def remote():
    yield from running(Shop())


def changed(folder, *pairs):
    path = folder / "connectors" / "shopify" / "connector.yaml"
    text = path.read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture
def hub(binary, tmp_path, remote):
    env = {"SHOPIFY_WEBHOOK_SECRET": shop.SECRET, "SHOPIFY_URL": remote.url, "SHOPIFY_ACCESS_TOKEN": "token"}
    hub = Hub(binary, tmp_path, env)
    changed(hub.config, ("every_s: 300", "every_s: 1"), ("grace_s: 120", "grace_s: 3"))
    for made in running(hub.start()):
        shop.stock_up(made.client())
        yield made


def topic(api, name):
    found = api.get("/ops/connectors/shopify").ok()
    return next(t for t in found["topics"] if t["topic"] == name)


def at(seconds):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def test_what_webhooks_missed_is_repaired_and_told(hub, remote):
    api = hub.client()
    came = [shop.payload(updated_at=at(0)) for _ in range(4)]
    missed = [shop.payload(updated_at=at(1)) for _ in range(3)]
    for doc in came:
        assert shop.send(hub, doc).status == 200
        shop.order_of(api, doc)
    began = time.monotonic()
    remote.server.orders += came + missed
    orders = [shop.order_of(api, doc) for doc in missed]
    assert time.monotonic() - began > 2  # the grace: their webhooks might still have come
    assert len({o["order_id"] for o in orders}) == 3
    until(lambda: topic(api, "orders-backstop")["repaired"] == 3, 20, "three repairs")
    repaired = [e["data"] for e in docs.events(api, type="payload.repaired")]
    assert len(repaired) == 3 and {r["backstop"] for r in repaired} == {"orders-updated"}
    assert {r["topic"] for r in repaired} == {"orders-backstop"}
    figures = api.get("/metrics").body.decode()
    assert 'penstock_backstop_repairs_total{connector="shopify",topic="orders-backstop"} 3' in figures
    # what the webhooks brought is known; a webhook that comes late, too
    for doc in missed:
        assert shop.send(hub, doc).status == 200
    time.sleep(2)
    assert len(docs.listed(api, "/v1/orders")) == 7
    assert not docs.listed(api, "/ops/exceptions", state="open")
    assert topic(api, "orders-backstop")["repaired"] == 3


def test_without_a_token_it_is_quiet(binary, tmp_path):
    for hub in running(Hub(binary, tmp_path, {"SHOPIFY_WEBHOOK_SECRET": shop.SECRET}).start()):
        api = hub.client()
        assert api.get("/ops/connectors/shopify").ok()["state"] == "serving"
        polls = {p["topic"]: p["state"] for p in docs.listed(api, "/ops/polls") if p["connector"] == "shopify"}
        assert polls == {"orders-backstop": "unusable", "cancelled-backstop": "unusable"}
        assert "SHOPIFY_ACCESS_TOKEN" not in hub.log()


def test_silence_is_told_once_and_closes_itself(binary, tmp_path):
    hub = Hub(binary, tmp_path, {"SHOPIFY_WEBHOOK_SECRET": shop.SECRET})
    changed(hub.config, ("  - topic: orders-create   # POST /x/shopify/orders-create\n",
                         "  - topic: orders-create\n    expect: {every_s: 3}\n"))
    for made in running(hub.start()):
        api = made.client()
        shop.stock_up(api)

        def absent(**more):
            return [x for x in docs.listed(api, "/ops/exceptions", **more) if x["kind"] == "traffic-absent"]
        until(lambda: absent(state="open"), 20, "the case")
        assert topic(api, "orders-create")["absent_since"]
        assert 'penstock_traffic_absent{connector="shopify",topic="orders-create"} 1' in api.get(
            "/metrics").body.decode()
        assert api.get("/readyz").status == 200
        time.sleep(4)
        assert len(absent(state="open")) == 1
        made.kill()
        made.start()
        api = made.client()
        time.sleep(4)
        assert len(absent(state="open")) == 1  # known over the kill
        assert shop.send(made, shop.payload()).status == 200
        until(lambda: not absent(state="open"), 20, "the case to close itself")
        closed = [e["data"] for e in docs.events(api, type="exception.resolved")]
        assert closed[0]["resolution"] == "arrived" and "by" not in closed[0]


def test_one_list_says_what_should_come_and_go(binary, tmp_path):
    hub = Hub(binary, tmp_path, {"SHOPIFY_WEBHOOK_SECRET": shop.SECRET})
    changed(hub.config, ("  - topic: orders-create   # POST /x/shopify/orders-create\n",
                         "  - topic: orders-create\n    expect: {every_s: 1, at_least: 5}\n"),
            ("  - topic: orders-updated  #", "  - topic: orders-updated\n    expect: {every_s: 3600}\n    #"))
    erp = hub.config / "connectors" / "generic-erp" / "connector.yaml"
    text = erp.read_text()
    assert "  - subscription: erp-orders\n" in text
    erp.write_text(text.replace("  - subscription: erp-orders\n",
                                "  - subscription: erp-orders\n    expect: {every_s: 2}\n"))
    hub.env["GENERIC_ERP_URL"] = "http://127.0.0.1:9"
    for made in running(hub.start()):
        api = made.client()
        shop.stock_up(api)

        def found():
            return {(x["direction"], x["name"]): x for x in docs.listed(api, "/ops/expected")}
        until(lambda: found()["in", "orders-create"]["absent_since"], 20, "silence")
        listed = found()
        assert set(listed) == {("in", "orders-create"), ("in", "orders-updated"), ("out", "erp-orders")}
        silent, watched = listed["in", "orders-create"], listed["in", "orders-updated"]
        assert (silent["state"], silent["at_least"], silent["every_s"]) == ("absent", 5, 1)
        assert silent["deadline_at"] is None and silent["last_at"] is None and silent["backstop"] is None
        assert (watched["state"], watched["came"], watched["backstop"]) == ("watched", 0, "orders-backstop")
        left = datetime.fromisoformat(watched["deadline_at"]) - datetime.now(timezone.utc)
        assert timedelta(seconds=3500) < left < timedelta(seconds=3601)
        until(lambda: found()["out", "erp-orders"]["state"] == "absent", 20, "nothing goes: nothing was ordered")
        said = made.cli("connector", "expected").stdout
        assert "orders-create" in said and "absent since" in said and "the rest by" in said
        whole = json.loads(made.cli("connector", "expected", "--json").stdout)
        assert {(x["direction"], x["name"]) for x in whole["items"]} == set(found())
