"""Versions: every event of an entity says its version after it, strictly rising; a request that
has not seen the newest is refused; a message that comes before what it is about waits for it."""

import pytest

import docs


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
