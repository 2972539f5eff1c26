"""What shops say of an order later: paid, updated, refunded. An order that the hub has is nothing new; one
that it missed is captured once it is paid; each refund is kept once, with the shop's own amounts."""

import base64
import hashlib
import hmac
import json
import re

import pytest

import docs
from conftest import FIXTURES, ROOT, running
from hub import Hub
from wire import until

SECRET = "a-secret-of-the-tests"
_ids = iter(range(7500000001000, 7600000000000))


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    env = {"SHOPIFY_WEBHOOK_SECRET": SECRET, "WOOCOMMERCE_WEBHOOK_SECRET": SECRET}
    yield from running(Hub(binary, tmp_path_factory.mktemp("hub"), env).start())


def tell(hub, path, doc):
    raw = json.dumps(doc).encode()
    mac = base64.b64encode(hmac.new(SECRET.encode(), raw, hashlib.sha256).digest()).decode()
    number = f"wh-{next(_ids)}"
    fields = {"X-Shopify-Hmac-Sha256": mac, "X-Shopify-Webhook-Id": number, "X-WC-Webhook-Signature": mac,
              "X-WC-Webhook-Delivery-ID": number}
    return hub.client(key=None).post(path, raw=raw, media="application/json", headers=fields).ok()["seq"]


def settled(hub, seq):
    """(outcome, reason) of a message that came to nothing."""
    def ask():
        return [(e["data"]["outcome"], e["data"].get("reason"))
                for e in docs.events(hub.client(), type="payload.settled") if e["data"]["payload_seq"] == seq]
    return until(ask, 20, "the message settled")[0]


def captured(hub, number):
    return hub.client().get("/v1/orders" + docs.query(channel="web-de", channel_order_id=str(number))).ok()["items"]


def order(**more):
    doc = json.loads((FIXTURES / "shopify_order.json").read_text())
    number = next(_ids)
    doc.update({"id": number, "name": f"#{number}", "order_number": number, **more})
    return doc


def fixture(connector, mapping, name):
    path = ROOT / "connectors" / connector / "fixtures" / mapping / f"{name}.in.json"
    return json.loads(path.read_text("utf-8"))


def facts(hub, connector):
    listed = docs.listed(hub.client(), "/v1/facts", kind="refund", connector=connector)
    return {item["key"]: item["fact"]["document"] for item in listed}


def later(doc, **more):
    return {**doc, "updated_at": "2030-01-01T00:00:00Z", **more}


def test_an_order_the_hub_has_is_nothing_new(hub):
    doc = order(financial_status="pending")
    tell(hub, "/x/shopify/orders-create", doc)
    until(lambda: captured(hub, doc["id"]), 20, "the order")
    for topic in ("orders-paid", "orders-updated"):
        outcome, _ = settled(hub, tell(hub, f"/x/shopify/{topic}", later(doc, financial_status="paid", note=topic)))
        assert outcome == "nothing-new"
    assert len(captured(hub, doc["id"])) == 1
    assert not [e for e in docs.events(hub.client(), type="exception.raised") if e["data"]["kind"] == "refused"]


@pytest.mark.parametrize("topic", ["orders-paid", "orders-updated"])
def test_an_order_it_missed_is_captured_when_it_is_paid(hub, topic):
    doc = order(financial_status="pending")
    if topic == "orders-updated":
        outcome, reason = settled(hub, tell(hub, f"/x/shopify/{topic}", doc))
        assert (outcome, reason) == ("ignored", "financial_status is pending")
        assert not captured(hub, doc["id"])
    tell(hub, f"/x/shopify/{topic}", later(doc, financial_status="paid"))
    until(lambda: captured(hub, doc["id"]), 20, "the order")
    # what created it comes behind: older, and nothing new
    outcome, _ = settled(hub, tell(hub, "/x/shopify/orders-create", doc))
    assert outcome == "stale" and len(captured(hub, doc["id"])) == 1


def test_shopify_refunds_are_kept_once(hub):
    doc = fixture("shopify", "refund", "two-lines-and-shipping")
    tell(hub, "/x/shopify/refunds-create", doc)
    kept = until(lambda: facts(hub, "shopify").get(str(doc["id"])), 20, "the refund")
    assert (kept["amount"], kept["currency"], kept["channel_order_id"]) == (5288, "EUR", "9007199254740993")
    outcome, _ = settled(hub, tell(hub, "/x/shopify/refunds-create", doc))
    assert outcome == "nothing-new"
    tell(hub, "/x/shopify/refunds-create", fixture("shopify", "refund", "no-currency-fails"))
    until(lambda: "tells no currency" in json.dumps(docs.listed(hub.client(), "/ops/exceptions")), 20, "the exception")


def test_woocommerce_refunds_are_kept_each_once(hub):
    doc = fixture("woocommerce", "refunds", "two-refunds")
    tell(hub, "/x/woocommerce/orders-refunds", doc)
    until(lambda: set(facts(hub, "woocommerce")) == {"726", "730"}, 20, "the refunds")
    doc["refunds"].append({"id": 740, "reason": "", "total": "-0.60"})
    doc["date_modified_gmt"] = "2026-11-23T13:00:00"
    tell(hub, "/x/woocommerce/orders-refunds", doc)
    until(lambda: facts(hub, "woocommerce").get("740"), 20, "the third")
    kept = [e for e in docs.events(hub.client(), type="fact.kept") if e["subject"].startswith("woocommerce/")]
    assert len(kept) == 3
    assert [facts(hub, "woocommerce")[key]["amount"] for key in ("726", "730", "740")] == [1000, 940, 60]


@pytest.mark.parametrize("change,words", [("known: sometimes", "/known"), ("only: {member: state}", "/only/values")])
def test_a_wrong_topic_is_told(binary, tmp_path, change, words):
    hub = Hub(binary, tmp_path)
    path = hub.config / "connectors" / "shopify" / "connector.yaml"
    path.write_text(re.sub(r"known: ignore .*", change, path.read_text(), count=1))
    done = binary.run("check", "-C", str(hub.config), env=hub.env)
    assert done.returncode != 0 and words in done.stdout + done.stderr
