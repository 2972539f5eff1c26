"""Reservations: a hold with a time limit that expires, is given up, or becomes a commitment."""

import docs
from wire import until


def hold(api, sku, quantity, **more):
    doc = {"channel": "web-de", "sku": sku, "quantity": str(quantity), **more}
    return api.post("/v1/reservations", doc)


def test_a_hold_takes_from_what_is_available(api, stocked):
    sku = stocked(10)
    made = hold(api, sku, 3).ok(201)
    assert made["reservation_id"]
    assert docs.stock(api, sku) == ("10", "3", "0", "7")
    hold(api, sku, 8).problem(409, slug="out-of-stock")
    api.post("/v1/orders", docs.order((sku, 8))).problem(409)
    assert docs.stock(api, sku) == ("10", "3", "0", "7")


def test_delete_gives_it_back(api, stocked):
    sku = stocked(10)
    made = hold(api, sku, 3).ok(201)
    path = "/v1/reservations/" + made["reservation_id"]
    assert api.delete(path).status in (200, 204)
    assert docs.stock(api, sku) == ("10", "0", "0", "10")
    assert api.delete(path).status in (200, 204, 404, 409)
    assert docs.stock(api, sku) == ("10", "0", "0", "10")
    api.delete("/v1/reservations/res_nothing").problem(404)


def test_a_hold_expires_by_itself(api, stocked):
    sku = stocked(10)
    hold(api, sku, 3, expires_in_s=1).ok(201)
    assert docs.stock(api, sku)[1] == "3"
    until(lambda: docs.stock(api, sku) == ("10", "0", "0", "10"), 10, "the hold to expire")
    released = [e for e in docs.events(api) if docs.short(e) == "stock.released"]
    assert any(sku in str(e["data"]) for e in released)


def test_expires_at_in_the_past_is_refused(api, stocked):
    sku = stocked(10)
    answer = hold(api, sku, 1, expires_at=docs.now(-5))
    assert answer.status in (409, 422), answer
    assert docs.stock(api, sku)[1] == "0"


def test_an_order_line_turns_the_hold_into_a_commitment(api, stocked):
    sku = stocked(3)
    made = hold(api, sku, 3).ok(201)["reservation_id"]
    line = docs.line(sku, 3, reservation_id=made)
    order = api.post("/v1/orders", docs.order(line)).ok(201)
    assert order["reservations"][0]["quantity"] == "3"
    assert docs.stock(api, sku) == ("3", "0", "3", "0")
    answer = api.post("/v1/orders", docs.order(docs.line(sku, 3, reservation_id=made)))
    assert answer.status in (409, 422), "a hold was consumed twice"
    assert docs.stock(api, sku) == ("3", "0", "3", "0")


def test_a_line_smaller_than_its_hold(api, stocked):
    sku = stocked(10)
    made = hold(api, sku, 5).ok(201)["reservation_id"]
    api.post("/v1/orders", docs.order(docs.line(sku, 2, reservation_id=made))).ok(201)
    on_hand, held, committed, available = docs.stock(api, sku)
    assert (on_hand, committed) == ("10", "2")
    assert (held, available) in (("0", "8"), ("3", "5"))


def test_an_unknown_hold_is_refused(api, stocked):
    sku = stocked(10)
    answer = api.post("/v1/orders", docs.order(docs.line(sku, 1, reservation_id="res_none")))
    assert answer.status in (409, 422), answer
    assert docs.stock(api, sku) == ("10", "0", "0", "10")


def test_a_hold_of_another_sku_does_not_help(api, stocked):
    a, b = stocked(10), stocked(1)
    made = hold(api, a, 5).ok(201)["reservation_id"]
    answer = api.post("/v1/orders", docs.order(docs.line(b, 2, reservation_id=made)))
    assert answer.status in (409, 422), answer
    assert docs.stock(api, a)[1:3] == ("5", "0") and docs.stock(api, b)[2] == "0"


def test_commitments_do_not_expire(api, stocked):
    sku = stocked(3)
    made = hold(api, sku, 2, expires_in_s=1).ok(201)["reservation_id"]
    hold(api, sku, 1, expires_in_s=1).ok(201)
    api.post("/v1/orders", docs.order(docs.line(sku, 2, reservation_id=made))).ok(201)
    until(lambda: docs.stock(api, sku) == ("3", "0", "2", "1"), 10, "the other hold to expire")


def test_a_hold_of_several_items_is_all_or_nothing(api, stocked):
    a, b = stocked(5), stocked(1)
    doc = {"channel": "web-de", "items": [{"sku": a, "quantity": "2"}, {"sku": b, "quantity": "2"}]}
    api.post("/v1/reservations", doc).problem(409)
    assert docs.stock(api, a)[1] == "0"
    doc["items"][1]["quantity"] = "1"
    api.post("/v1/reservations", doc).ok(201)
    assert (docs.stock(api, a)[1], docs.stock(api, b)[1]) == ("2", "1")


def test_idempotency_key_of_a_hold(api, stocked):
    sku = stocked(10)
    key = docs.key()
    doc = {"channel": "web-de", "sku": sku, "quantity": "2"}
    first = api.post("/v1/reservations", doc, headers=key).ok(201)
    again = api.post("/v1/reservations", doc, headers=key).ok(200)
    assert again["reservation_id"] == first["reservation_id"]
    assert docs.stock(api, sku)[1] == "2"


def test_a_hold_names_its_location(api, sku):
    name = sku()
    api.post("/v1/stock/counts", docs.count(name, 4, "S02")).ok(201)
    hold(api, name, 1, location="S02").ok(201)
    assert docs.stock(api, name, "S02") == ("4", "1", "0", "3")


def test_holds_survive_a_restart_and_expire_while_the_hub_is_down(idle_hub):
    hub = idle_hub.start()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("DOWN", 10)).ok(201)
    hold(api, "DOWN", 1, expires_in_s=1).ok(201)
    hold(api, "DOWN", 4, expires_in_s=600).ok(201)
    hub.restart()
    api = hub.client()
    until(lambda: docs.stock(api, "DOWN") == ("10", "4", "0", "6"), 10, "the first to expire")
