"""Versions: every event of an entity says its version after it, strictly rising; a request that
has not seen the newest is refused; a message that comes before what it is about waits for it."""

import json

import pytest

import docs
import test_075_webhook as shop
from conftest import running
from hub import Hub
from wire import until


def versions(events):
    """Every (entity, version) an event states, in order: orders, positions, cases."""
    for event in events:
        kind, data = docs.short(event), event["data"]
        if kind.startswith(("order.", "exception.")):
            yield event["subject"], data["version"], kind
        elif kind.startswith("stock.") and not data.get("superseded"):
            of = {(c["sku"], c["location"]): set() for c in data["changes"]}
            for change in data["changes"]:
                of[change["sku"], change["location"]].add(change["version"])
            for position, stated in of.items():
                assert len(stated) == 1, event  # one event, one version
                yield position, stated.pop(), kind


def check_feed(api):
    """The versions of the whole feed rise by one; the last ones are those of the documents."""
    last = {}
    for entity, version, kind in versions(docs.events(api)):
        assert version == last.get(entity, 0) + 1, (entity, version, last.get(entity), kind)
        last[entity] = version
    for entity, version in last.items():
        if isinstance(entity, tuple):
            assert docs.availability(api, entity[0])[entity]["version"] == version
        elif entity.startswith("ord_"):
            assert api.get("/v1/orders/" + entity).ok()["version"] == version
    return last


def test_versions_rise_over_the_whole_feed(fresh_hub):
    hub, api = fresh_hub, fresh_hub.client()
    for sku in ("A", "B"):
        api.post("/v1/stock/counts", docs.count(sku, 50)).ok(201)
    answer = api.post("/v1/stock/receipts", {
        "receipt_reference": "r-1", "location": "WH-HAM",
        "items": [{"sku": "A", "quantity": "1"}, {"sku": "B", "quantity": "2"},
                  {"sku": "A", "quantity": "3"}]}).ok(201)
    assert [(i["sku"], i["on_hand"], i["version"]) for i in answer["items"]] == [
        ("A", "51", 2), ("B", "52", 2), ("A", "54", 2)]
    api.post("/v1/stock/adjustments", docs.adjustment("A", -1)).ok(201)
    hold = api.post("/v1/reservations", {"channel": "web-de", "items": [
        {"sku": "A", "quantity": "1"}, {"sku": "A", "quantity": "2"}]}).ok(201)
    api.delete("/v1/reservations/" + hold["reservation_id"]).ok()
    order = api.post("/v1/orders", docs.order(
        docs.line("A", 3, line_id="1"), docs.line("A", 1, line_id="2"))).ok(201)
    path = "/v1/orders/" + order["order_id"]
    api.post(path + "/cancel", {"lines": [{"line_id": "1", "quantity": "1"}]}).ok()
    api.post(path + "/shipments", {"location": "WH-HAM"}).ok(200, 201)
    late = docs.count("A", 9)
    late["counted_at"] = "2026-01-01T00:00:00Z"
    assert api.post("/v1/stock/counts", late).status in (201, 409)
    before = check_feed(api)
    assert before["A", "WH-HAM"] >= 8 and before[order["order_id"]] >= 3
    hub.restart()
    assert check_feed(hub.client()) == before


@pytest.mark.parametrize("what, body", [("cancel", {"reason": "x"}),
                                        ("shipments", {"location": "WH-HAM"})])
def test_a_stale_if_match_is_412(api, stocked, what, body):
    order = api.post("/v1/orders", docs.order(docs.line(stocked(9), 3, line_id="1"))).ok(201)
    path = "/v1/orders/" + order["order_id"]
    api.post(path + "/cancel", {"lines": [{"line_id": "1", "quantity": "1"}]}).ok()
    for stale in ('"1"', '"3"'):
        api.post(f"{path}/{what}", body, headers={"If-Match": stale}).problem(412)
    api.post(f"{path}/{what}", body, headers={"If-Match": '"2"'}).ok(200, 201)


# --- messages that come before what they are about --------------------------------------------

CREATE, CANCEL = "/x/shopify/orders-create", "/x/shopify/orders-cancelled"
ENV = {"SHOPIFY_WEBHOOK_SECRET": shop.SECRET}


def send(hub, path, doc, webhook_id=None):
    raw = json.dumps(doc).encode()
    return hub.client(key=None).post(path, raw=raw, headers={
        "X-Shopify-Hmac-Sha256": shop.sign(raw),
        "X-Shopify-Webhook-Id": webhook_id or f"v-{next(shop._ids)}"}).ok(200, 201, 202)


def messages(**more):
    """An order of the shop as created, and as cancelled a minute later."""
    doc = shop.payload(updated_at="2026-11-23T10:00:00+01:00", **more)
    return doc, {**doc, "updated_at": "2026-11-23T10:01:00+01:00", "cancel_reason": "customer",
                 "cancelled_at": "2026-11-23T10:01:00+01:00"}


def parked(api, **params):
    return docs.listed(api, "/ops/parked", **params)


def waiting(api, count):
    return until(lambda: len(parked(api)) == count and parked(api), 20, f"{count} parked")


def kinds(api, **params):
    return [docs.short(e) for e in docs.events(api, **params)]


def settled(api, outcome):
    return [e["data"] for e in docs.events(api)
            if docs.short(e) == "payload.settled" and e["data"]["outcome"] == outcome]


@pytest.fixture
def webshop(binary, tmp_path):
    """A hub that takes the shop's webhooks; `start` it."""
    yield from running(Hub(binary, tmp_path, ENV))


def cancelled(api, doc):
    def ask():
        order = shop.order_of(api, doc)
        return order if order["state"] == "cancelled" else None
    return until(ask, 20, "the order to be cancelled")


@pytest.mark.parametrize("restart", [None, "restart", "kill"])
def test_a_cancellation_before_its_order_waits_for_it(webshop, restart):
    hub = webshop.start()
    shop.stock_up(hub.client())
    doc, cancel = messages()
    first = send(hub, CANCEL, cancel, "c-1")
    assert send(hub, CANCEL, cancel, "c-1") == first  # the same message again
    item = waiting(hub.client(), 1)[0]
    assert item["waits_for"] == f"order web-de/{doc['id']}" and item["connector"] == "shopify"
    assert item["payload_seq"] == first["seq"] and item["parked_at"] < item["until"]
    if restart:
        hub.kill() if restart == "kill" else hub.stop()
        hub.start()
    api = hub.client()
    waiting(api, 1)
    assert "penstock_payloads_parked 1\n" in api.get("/metrics").body.decode()
    assert api.get("/ops/overview").ok()["payloads"]["parked"] == 1
    trace = api.get(f"/ops/trace/{doc['id']}")
    assert "waits for order web-de/" in json.dumps(trace.json)
    send(hub, CREATE, doc)
    order = cancelled(api, doc)
    assert order["version"] == 2
    assert docs.stock(api, "SHOP-TEE")[2] == "0"
    until(lambda: not parked(api), 20, "none to wait")
    seen = [k for k in kinds(api) if k.startswith(("order.", "exception.", "payload."))]
    assert seen == ["payload.received", "payload.parked", "payload.received", "order.captured",
                    "payload.released", "order.cancelled"]
    check_feed(api)
    assert [x["state"] for x in parked(api, state="released")] == ["released"]
    assert "penstock_payloads_parked 0\n" in api.get("/metrics").body.decode()


def test_what_is_cancelled_already_or_old_is_settled(webshop):
    hub = webshop.start()
    api = hub.client()
    shop.stock_up(api)
    doc, cancel = messages()
    for name in ("c-1", "c-2"):  # told twice, under two ids
        send(hub, CANCEL, cancel, name)
    waiting(api, 2)
    send(hub, CREATE, doc)
    assert cancelled(api, doc)["version"] == 2
    until(lambda: settled(api, "nothing-new"), 20, "the second to be settled")
    # the order as it was before it was cancelled, once more and with another content
    send(hub, CREATE, {**doc, "note": "changed", "tags": "late"})
    stale = until(lambda: settled(api, "stale"), 20, "the late one to be settled")
    assert "10:00:00+01:00" in stale[0]["reason"] and "10:01:00+01:00" in stale[0]["reason"]
    trace = json.dumps(api.get(f"/ops/trace/{shop.order_of(api, doc)['order_id']}").json)
    assert "cancelled" in trace
    assert "exception.raised" not in kinds(api)
    assert kinds(api).count("order.cancelled") == 1
    order = cancelled(api, doc)
    hub.restart()
    api = hub.client()
    send(hub, CREATE, {**doc, "tags": "later"})
    until(lambda: len(settled(api, "stale")) == 2, 20, "the next late one to be settled")
    assert shop.order_of(api, doc) == order


def test_an_erased_person_is_in_no_message_that_waited_or_was_late(webshop):
    """The payloads of a cancellation, and of what was settled as stale, are the customer's too."""
    hub = webshop.start()
    api = hub.client()
    shop.stock_up(api)
    doc, cancel = messages()
    secret = "wanderer@erased.example"
    for one in (doc, cancel):
        one.update({"email": secret, "contact_email": secret,
                    "customer": {"id": 4711123, "email": secret, "first_name": "W"}})
    send(hub, CANCEL, cancel)
    waiting(api, 1)
    send(hub, CREATE, doc)
    cancelled(api, doc)
    send(hub, CANCEL, {**cancel, "note": "again"})
    send(hub, CREATE, {**doc, "note": "late"})
    until(lambda: settled(api, "stale") and settled(api, "nothing-new"), 20, "both to be settled")
    assert json.dumps(docs.events(api)).count(secret) >= 4
    api.delete("/v1/customers/4711123").ok(200)
    assert secret not in json.dumps(docs.events(api))


def test_an_order_that_never_comes_is_an_exception(webshop):
    webshop.env["PENSTOCK_PARK_SECONDS_MAX"] = "2"
    hub = webshop.start()
    doc, cancel = messages()
    sent = send(hub, CANCEL, cancel)
    waiting(hub.client(), 1)
    hub.restart()
    api = hub.client()
    found = until(lambda: docs.listed(api, "/ops/exceptions", state="open"), 20, "an exception")
    assert len(found) == 1 and found[0]["kind"] == "parent-missing"
    assert found[0]["owner"] == "ecommerce" and found[0]["subject"] == sent["payload_id"]
    assert f"order web-de/{doc['id']}" in found[0]["case"]["cause"]
    assert found[0]["case"]["payload_seq"] == sent["seq"]
    assert not parked(api) and len(parked(api, state="expired")) == 1
    # it comes after all: what waited in vain is processed, and there is nothing left to decide
    shop.stock_up(api)
    send(hub, CREATE, doc)
    assert cancelled(api, doc)["version"] == 2
    until(lambda: not docs.listed(api, "/ops/exceptions", state="open"), 20, "the case to be closed")


def test_several_wait_in_the_order_they_came(webshop):
    """A partner of our own: parts of an order are cancelled, then the rest is shipped."""
    folder = webshop.config / "connectors" / "parts"
    folder.mkdir()
    receive = """  - topic: {topic}
    signature: {{scheme: none}}
    dedup: {{header: X-Id}}
    {key}mapping: {topic}.lua
    command: order.{command}
"""
    (folder / "connector.yaml").write_text(
        "connector: parts\nversion: \"1\"\nowner: store\nreceive:\n"
        + receive.format(topic="cut", key="", command="cancel_by_number")
        + receive.format(topic="sent", key="", command="ship_by_number"))
    (folder / "cut.lua").write_text(
        "return function(doc) return {channel = 'web-de', channel_order_id = doc.order,"
        " reference = doc.ref, reason = doc.ref,"
        " lines = {{line_id = '1', quantity = doc.quantity}}} end\n")
    (folder / "sent.lua").write_text(
        "return function(doc) return {channel = 'web-de', channel_order_id = doc.order,"
        " location = 'WH-HAM'} end\n")
    hub = webshop.start()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("P", 100)).ok(201)
    numbers = [docs.order_id() for _ in range(5)]
    client = hub.client(key=None)
    for number in numbers:
        for ref, quantity in (("a", "1"), ("b", "2"), ("a", "1"), ("c", "3")):
            client.post("/x/parts/cut", {"order": number, "ref": ref, "quantity": quantity}).ok()
        client.post("/x/parts/sent", {"order": number}).ok()
    waiting(api, 25)
    hub.restart()
    api, client = hub.client(), hub.client(key=None)
    for number in numbers:
        order = api.post("/v1/orders", docs.order(docs.line("P", 9, line_id="1"),
                                                  number=number)).ok(201)
        client.post("/x/parts/cut", {"order": number, "ref": "d", "quantity": "1"}).ok()
        path = "/v1/orders/" + order["order_id"]
        until(lambda: api.get(path).ok()["state"] == "shipped", 20, "the order to be shipped")
        changes = [(docs.short(e), e["data"].get("reason")) for e in docs.events(api, key=order["order_id"])
                   if docs.short(e).startswith("order.")]
        assert changes == [("order.captured", None), ("order.cancelled", "a"),
                           ("order.cancelled", "b"), ("order.cancelled", "c"),
                           ("order.shipped", None)]
    assert docs.stock(api, "P")[0] == str(100 - 5 * 3)
    until(lambda: not parked(api), 20, "none to wait")
    # what came after the goods had left is for a person
    until(lambda: len(docs.listed(api, "/ops/exceptions", state="open")) == 5, 20, "exceptions")
    check_feed(api)
