"""Webhooks of a shop: signature, stored before it is looked at, once; what can not be mapped
becomes an exception that keeps the payload. A paid order is a fact: never refused."""

import base64
import hashlib
import hmac
import json

import pytest

import docs
from conftest import FIXTURES, running
from hub import Hub
from wire import until

SECRET = "a-secret-of-the-tests"
PATH = "/x/shopify/orders-create"


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    env = {"SHOPIFY_WEBHOOK_SECRET": SECRET}
    yield from running(Hub(binary, tmp_path_factory.mktemp("hub"), env).start())


_ids = iter(range(7300000001000, 7400000000000))


def payload(**more):
    """An order as Shopify tells it, with a number of its own."""
    doc = json.loads((FIXTURES / "shopify_order.json").read_text())
    number = next(_ids)
    doc.update({"id": number, "name": f"#{number}", "order_number": number, **more})
    return doc


def sign(raw, secret=SECRET):
    return base64.b64encode(hmac.new(secret.encode(), raw, hashlib.sha256).digest()).decode()


def send(hub, doc, signature=None, webhook_id=None, **headers):
    raw = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
    fields = {"X-Shopify-Topic": "orders/create", "X-Shopify-Shop-Domain": "tests.example.org",
              "X-Shopify-Hmac-Sha256": sign(raw) if signature is None else signature,
              "X-Shopify-Webhook-Id": webhook_id or f"wh-{next(_ids)}"}
    fields.update({k.replace("_", "-"): v for k, v in headers.items()})
    return hub.client(key=None).post(PATH, raw=raw, headers=fields)


def order_of(api, doc):
    """The order that came of a payload, once it is there."""
    def ask():
        for number in (str(doc["id"]), doc["name"], str(doc["order_number"])):
            items = api.get("/v1/orders" + docs.query(
                channel="web-de", channel_order_id=number)).ok()["items"]
            if items:
                assert len(items) == 1
                return api.get("/v1/orders/" + items[0]["order_id"]).ok()
        return None
    return until(ask, 20, "an order from the webhook")


def stock_up(api, quantity=1000):
    for sku in ("SHOP-TEE", "SHOP-CAP"):
        api.post("/v1/stock/counts", docs.count(sku, quantity)).ok(201)


def raised(api, after):
    return [e for e in docs.events(api, after=after) if docs.short(e) == "exception.raised"]


def test_a_signed_order_becomes_an_order(hub, api):
    stock_up(api)
    doc = payload()
    answer = send(hub, doc, Penstock_Correlation_Id="shop-flow-1").ok(200, 201, 202)
    assert answer["payload_id"]
    order = order_of(api, doc)
    assert (order["channel"], order["currency"], order["state"]) == ("web-de", "EUR", "accepted")
    assert order["totals"]["grand"] == 6387
    assert [(x["sku"], x["quantity"], x["total"]) for x in order["lines"]] == [
        ("SHOP-TEE", "2", 3698), ("SHOP-CAP", "1", 2199)]
    assert order["shipping"][0]["total"] == 490
    assert sum(t["amount"] for x in order["lines"] for t in x["taxes"]) == 941
    assert order["ship_to"]["city"] == "Hamburg" and order["ship_to"]["country"] == "DE"
    assert docs.stock(api, "SHOP-TEE")[2] == "2"
    captured = next(e for e in docs.events(api, key=order["order_id"])
                    if docs.short(e) == "order.captured")
    assert captured["correlationid"] == "shop-flow-1"


@pytest.mark.parametrize("signature", ["", "x", "AAAA", sign(b"another body"),
                                       sign(b"{}", "another secret")])
def test_a_wrong_signature_is_401_and_leaves_nothing(hub, api, signature):
    before = docs.stored(api)
    send(hub, payload(), signature=signature or " ").problem(401)
    assert docs.stored(api) == before


def test_no_signature_is_401(hub):
    raw = json.dumps(payload()).encode()
    hub.client(key=None).post(PATH, raw=raw).problem(401)


def test_an_api_key_is_no_signature(hub):
    raw = json.dumps(payload()).encode()
    hub.client().post(PATH, raw=raw).problem(401)


def test_one_changed_byte_is_401(hub):
    raw = json.dumps(payload()).encode()
    changed = raw.replace(b"63.87", b"63.88", 1)
    send(hub, changed, signature=sign(raw)).problem(401)


def test_unknown_connector_or_topic_is_404(hub):
    client = hub.client(key=None)
    client.post("/x/nobody/orders-create", {}).problem(404)
    client.post("/x/shopify/no-such-topic", {}).problem(404)


def test_the_same_webhook_again_is_one_order(hub, api):
    stock_up(api)
    doc = payload()
    first = send(hub, doc, webhook_id="wh-same").ok(200, 201, 202)
    for _ in range(5):
        again = send(hub, doc, webhook_id="wh-same")
        assert again.status == 200 and again.json == first
    before = order_of(api, doc)
    committed = docs.stock(api, "SHOP-TEE")[2]
    # delivered once more under another id: the order's own number tells
    send(hub, doc).ok(200, 201, 202)
    marker = payload()
    send(hub, marker).ok(200, 201, 202)
    order_of(api, marker)
    assert order_of(api, doc) == before
    assert int(docs.stock(api, "SHOP-TEE")[2]) == int(committed) + 2


def test_stored_before_it_is_looked_at(hub, api):
    """Signed bytes that are no JSON: 2xx, kept, and an exception that a person decides."""
    seq = docs.last_seq(api)
    answer = send(hub, b"this is \x00 not JSON")
    assert answer.status in (200, 201, 202), answer
    found = until(lambda: raised(api, seq), 20, "an exception")
    assert len(found) == 1
    data = found[0]["data"]
    assert data["kind"] and data["cause"]
    kept = next(e for e in docs.events(api, after=seq)
                if int(e["penstockseq"]) == data["payload_seq"])
    assert kept["subject"] == answer.json["payload_id"]
    assert "not JSON" in json.dumps(kept["data"]) or "dGhpcyBpcyA" in json.dumps(kept["data"])


@pytest.mark.parametrize("change", [
    {"line_items": []}, {"currency": None}, {"line_items": "none"}, {"total_price": "sixty"},
    {"currency": "XXQ"},
])
def test_what_can_not_be_mapped_is_an_exception(hub, api, change):
    seq, doc = docs.last_seq(api), payload(**change)
    assert send(hub, doc).status in (200, 201, 202)
    found = until(lambda: raised(api, seq), 20, "an exception")
    assert found[0]["data"]["exception_id"] in hub.cli("trace", str(doc["id"])).stdout
    assert found[0]["data"]["cause"], found
    assert not [e for e in docs.events(api, after=seq) if docs.short(e) == "order.captured"]


def test_shortage_holds_a_paid_order_and_tells(hub, api):
    for sku in ("SHOP-TEE", "SHOP-CAP"):
        api.post("/v1/stock/counts", docs.count(sku, 100000)).ok(201)
    doc = payload()
    doc["line_items"][1]["sku"] = "SHOP-SOLD-OUT"
    seq = docs.last_seq(api)
    assert send(hub, doc).status in (200, 201, 202)
    order = order_of(api, doc)
    assert order["state"] == "held"
    found = until(lambda: raised(api, seq), 20, "an exception")
    assert "SHOP-SOLD-OUT" in json.dumps(found)
    available = docs.availability(api, "SHOP-SOLD-OUT")
    assert all(float(item["on_hand"]) >= 0 for item in available.values())


def test_a_webhook_survives_a_kill_right_after_its_answer(binary, tmp_path):
    env = {"SHOPIFY_WEBHOOK_SECRET": SECRET}
    for hub in running(Hub(binary, tmp_path, env).start()):
        stock_up(hub.client())
        sent = []
        for _ in range(5):
            doc = payload()
            send(hub, doc).ok(200, 201, 202)
            hub.kill()
            hub.start()
            sent.append(doc)
        api = hub.client()
        for doc in sent:
            order_of(api, doc)
        until(lambda: docs.stock(api, "SHOP-CAP")[2] == "5", 10, "each order once")
        captured = [e for e in docs.events(api) if docs.short(e) == "order.captured"]
        assert len(captured) == 5


def test_without_a_secret_nothing_gets_in(binary, tmp_path):
    for hub in running(Hub(binary, tmp_path).start()):
        assert send(hub, payload()).status in (401, 404, 503)
        assert send(hub, payload(), signature=sign(b"")).status in (401, 404, 503)


def test_a_very_large_payload_is_413(hub):
    assert send(hub, b"[" + b"1," * (5 << 20) + b"1]").status == 413
