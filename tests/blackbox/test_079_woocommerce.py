"""Webhooks of a WooCommerce shop: every change of every order comes, and few of them ask for anything. An order
is captured with its first paid status, once; cancelled when its status says so; all the rest is settled
without an exception."""

import copy
import json

import pytest

import docs
import test_075_webhook as shop
from conftest import ROOT, running
from hub import Hub
from wire import until

ORDERS, CANCELLED = "/x/woocommerce/orders", "/x/woocommerce/orders-cancelled"
ORDER = ROOT / "connectors/woocommerce/fixtures/order/gross-with-coupon.in.json"
_numbers = iter(range(9007199254741000, 9007199254742000))


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    env = {"WOOCOMMERCE_WEBHOOK_SECRET": shop.SECRET}
    for hub in running(Hub(binary, tmp_path_factory.mktemp("hub"), env).start()):
        hub.client().post("/v1/stock/counts", docs.count("FX-TEE", 1000)).ok(201)
        yield hub


def order(minute=0, **more):
    doc = json.loads(ORDER.read_text("utf-8"))
    return {**doc, "id": next(_numbers), **changed(minute), **more}


def changed(minute):
    """As WooCommerce writes its UTC: without an offset."""
    return {"date_modified_gmt": f"2026-11-20T09:{minute:02}:00"}


def unpaid(minute=0, **more):
    return order(minute, date_paid=None, date_paid_gmt=None, **{"status": "pending", **more})


def send(hub, doc, path=ORDERS, signature=None, flow=None):
    raw = json.dumps(doc).encode()
    return hub.client(key=None).post(path, raw=raw, headers={
        "X-WC-Webhook-Topic": "order.updated", "X-WC-Webhook-Delivery-ID": f"d-{next(_numbers)}",
        "X-WC-Webhook-Signature": signature or shop.sign(raw),
        "Penstock-Correlation-Id": flow or f"flow-{next(_numbers)}"})


def outcome(hub, doc, path=ORDERS):
    """Sends it; the event that settled it."""
    flow = f"flow-{next(_numbers)}"
    seq = send(hub, doc, path, flow=flow).ok(200)["seq"]
    api = hub.client()
    return until(lambda: next((e for e in docs.events(api, after=seq) if e["correlationid"] == flow), None),
                 20, "the message to be settled")


def settled(event):
    assert docs.short(event) == "payload.settled", event
    return event["data"]["outcome"], event["data"].get("reason")


def of(api, doc):
    return docs.listed(api, "/v1/orders", channel="web-fr", channel_order_id=str(doc["id"]))


def test_the_first_paid_status_captures_and_the_others_ask_for_nothing(hub, api):
    doc = unpaid()
    number = doc["id"]
    assert settled(outcome(hub, doc)) == ("ignored", f"order {number} is not paid: pending")
    doc.update({"status": "on-hold", **changed(1)})
    assert settled(outcome(hub, doc)) == ("ignored", f"order {number} is not paid: on-hold")
    assert not of(api, doc)
    doc.update({"status": "processing", "date_paid_gmt": "2026-11-20T09:02:00", **changed(2)})
    event = outcome(hub, doc)
    assert docs.short(event) == "order.captured"
    found = of(api, doc)
    assert len(found) == 1
    kept = api.get("/v1/orders/" + found[0]["order_id"]).ok()
    assert kept["totals"]["grand"] == 4072 and kept["totals"]["tax"] == 679
    assert kept["lines"][0]["total"] == 3582 and kept["prices_include_tax"] is True
    doc.update({"status": "completed", "date_completed_gmt": "2026-11-20T09:03:00", **changed(3)})
    assert settled(outcome(hub, doc))[0] == "replayed"
    doc.update({"refunds": [{"id": 1, "reason": "", "total": "-3.00"}], **changed(4)})
    assert settled(outcome(hub, doc))[0] == "replayed"
    doc.update({"status": "refunded", **changed(5)})
    assert settled(outcome(hub, doc))[0] == "ignored"
    assert api.get("/v1/orders/" + found[0]["order_id"]).ok() == kept
    assert not docs.listed(api, "/ops/exceptions", state="open")


def test_a_cancelled_order_is_cancelled_once(hub, api):
    doc = order()
    assert docs.short(outcome(hub, doc)) == "order.captured"
    assert settled(outcome(hub, doc, CANCELLED)) == ("ignored", f"order {doc['id']} is not cancelled: processing")
    late = copy.deepcopy(doc)
    doc.update({"status": "cancelled", **changed(6)})
    assert settled(outcome(hub, doc))[0] == "ignored"
    assert docs.short(outcome(hub, doc, CANCELLED)) == "order.cancelled"
    assert of(api, doc)[0]["state"] == "cancelled"
    assert settled(outcome(hub, {**doc, **changed(7)}, CANCELLED))[0] == "nothing-new"
    assert settled(outcome(hub, late))[0] == "stale"  # a time without offset is a version, too


def test_an_order_that_was_never_paid_waits_for_nothing(hub, api):
    doc = unpaid(status="cancelled")
    assert settled(outcome(hub, doc, CANCELLED)) == ("ignored", f"order {doc['id']} was never paid")
    assert not docs.listed(api, "/ops/parked") and not of(api, doc)


def test_a_cancellation_that_is_first_waits_for_its_order(hub, api):
    doc = order()
    send(hub, {**doc, "status": "cancelled", **changed(9)}, CANCELLED).ok(200)
    until(lambda: docs.listed(api, "/ops/parked"), 20, "it to be parked")
    send(hub, doc).ok(200)
    until(lambda: of(api, doc) and of(api, doc)[0]["state"] == "cancelled", 20, "the order to be cancelled")


def test_an_order_changed_in_the_shop_is_for_a_person(hub, api):
    doc = order()
    assert docs.short(outcome(hub, doc)) == "order.captured"
    doc["line_items"][0]["quantity"] = 3
    event = outcome(hub, {**doc, **changed(1)})
    assert docs.short(event) == "exception.raised"
    assert "with another content" in event["data"]["cause"]


def test_a_wrong_signature_and_the_ping_of_the_shop_are_401(hub, api):
    seq = docs.last_seq(api)
    send(hub, order(), signature=shop.sign(b"another body")).problem(401)
    hub.client(key=None).post(ORDERS, raw=b"webhook_id=7", headers={
        "Content-Type": "application/x-www-form-urlencoded"}).problem(401)
    assert not [e for e in docs.events(api, after=seq) if docs.short(e) == "payload.received"]
