"""Stock: counts, adjustments, receipts, availability. Conserved, exact, never in floating point."""

import pytest

import docs


def test_a_count_is_absolute(api, stocked):
    sku = stocked(120)
    assert docs.stock(api, sku) == ("120", "0", "0", "120")
    api.post("/v1/stock/counts", docs.count(sku, 7)).ok(201)
    assert docs.stock(api, sku) == ("7", "0", "0", "7")


def test_availability_says_everything(api, stocked):
    sku = stocked(120)
    api.post("/v1/orders", docs.order((sku, 2))).ok(201)
    item = docs.availability(api, sku, ["WH-HAM"])[(sku, "WH-HAM")]
    version = item.pop("version")
    assert isinstance(version, int) and version >= 2
    assert item == {"sku": sku, "location": "WH-HAM", "on_hand": "120", "held": "0",
                    "committed": "2", "reserved": "2", "safety": "0", "in_transit": "0",
                    "available": "118"}


def test_several_skus_and_locations(api, stocked):
    a, b = stocked(5), stocked(6)
    api.post("/v1/stock/counts", docs.count(a, 7, "S01")).ok(201)
    found = docs.availability(api, [a, b], ["WH-HAM", "S01"])
    assert found[(a, "WH-HAM")]["on_hand"] == "5"
    assert found[(a, "S01")]["on_hand"] == "7"
    assert found[(b, "WH-HAM")]["on_hand"] == "6"
    assert {k for k in docs.availability(api, a)} == {(a, "WH-HAM"), (a, "S01")}


def test_a_sku_without_stock_has_none(api, sku):
    found = docs.availability(api, sku(), ["WH-HAM"])
    assert all(item["available"] == "0" for item in found.values())


def test_availability_without_a_sku_is_refused(api):
    answer = api.get("/v1/availability")
    assert answer.status in (400, 422), answer


@pytest.mark.parametrize("written,read", [
    ("5.500", "5.5"), ("7.0", "7"), ("0", "0"), ("0.000001", "0.000001"), ("100", "100"),
    ("1000000000", "1000000000"), ("1000000.100000", "1000000.1"),
])
def test_quantities_have_no_superfluous_zeros(api, sku, written, read):
    name = sku()
    api.post("/v1/stock/counts", docs.count(name, written)).ok(201)
    assert docs.stock(api, name) == (read, "0", "0", read)


def test_ten_times_a_tenth_is_one(api, stocked):
    sku = stocked(0)
    for _ in range(10):
        api.post("/v1/stock/adjustments", docs.adjustment(sku, "0.1")).ok(201)
    assert docs.stock(api, sku)[0] == "1"


def test_a_late_count_keeps_what_came_after_it(api, sku):
    """On hand = counted + movements after counted_at."""
    sku = sku()
    api.post("/v1/stock/counts", docs.count(sku, 100, counted_at=docs.now(-60))).ok(201)
    api.post("/v1/stock/receipts", docs.receipt(sku, 40)).ok(201)
    api.post("/v1/stock/adjustments", docs.adjustment(sku, -3)).ok(201)
    assert docs.stock(api, sku)[0] == "137"
    api.post("/v1/stock/counts", docs.count(sku, 50, counted_at=docs.now(-30))).ok(201)
    assert docs.stock(api, sku)[0] == "87"


def test_of_two_counts_with_one_time_the_later_arrival_wins(api, sku):
    sku = sku()
    at = docs.now(-5)
    api.post("/v1/stock/counts", docs.count(sku, 10, counted_at=at)).ok(201)
    api.post("/v1/stock/counts", docs.count(sku, 12, counted_at=at)).ok(201)
    assert docs.stock(api, sku)[0] == "12"


def test_an_older_count_does_not_overwrite_a_newer_one(api, sku):
    name = sku()
    api.post("/v1/stock/counts", docs.count(name, 10, counted_at=docs.now(-10))).ok(201)
    answer = api.post("/v1/stock/counts", docs.count(name, 99, counted_at=docs.now(-20)))
    assert answer.status in (200, 201, 409), answer
    assert docs.stock(api, name)[0] == "10"


def test_a_count_from_the_future_is_taken_and_marked(api, sku):
    name = sku()
    api.post("/v1/stock/counts", docs.count(name, 10, counted_at=docs.now(3600))).ok(201)
    assert docs.stock(api, name)[0] == "10"
    events = [e for e in docs.events(api, key=f"{name}@WH-HAM") if docs.short(e) == "stock.counted"]
    if not events:
        events = [e for e in docs.events(api) if e["data"].get("sku") == name]
    assert "future" in str(events[0]["data"]), events


def test_compare_and_set(api, stocked):
    sku = stocked(10)
    api.post("/v1/stock/counts", docs.count(sku, 12, expected_on_hand="10")).ok(201)
    api.post("/v1/stock/counts", docs.count(sku, 15, expected_on_hand="10")).problem(409)
    assert docs.stock(api, sku)[0] == "12"


def test_adjustments_add_up(api, stocked):
    sku = stocked(10)
    api.post("/v1/stock/adjustments", docs.adjustment(sku, -4)).ok(201)
    api.post("/v1/stock/adjustments", docs.adjustment(sku, 1, reason="found")).ok(201)
    assert docs.stock(api, sku)[0] == "7"


def test_a_reference_makes_an_adjustment_count_once(api, stocked):
    sku = stocked(10)
    doc = docs.adjustment(sku, -4, reference="ADJ-" + docs.order_id())
    first = api.post("/v1/stock/adjustments", doc).ok(201)
    again = api.post("/v1/stock/adjustments", doc)
    assert again.ok(200) == first and again.header("idempotency-replayed") == "true"
    other = {**doc, "delta": "-5"}
    api.post("/v1/stock/adjustments", other).problem(409)
    assert docs.stock(api, sku)[0] == "6"


def test_a_fall_below_zero_is_marked_never_silent(api, stocked):
    """What has happened is taken; that it can not be is marked in the event."""
    sku = stocked(2)
    seq = docs.last_seq(api)
    answer = api.post("/v1/stock/adjustments", docs.adjustment(sku, -5))
    assert answer.status in (201, 409), answer
    if answer.status == 409:
        assert docs.stock(api, sku)[0] == "2"
        return
    assert docs.stock(api, sku)[0] == "-3"
    marked = [e for e in docs.events(api, after=seq) if "negative" in str(e["data"])]
    assert marked, "a negative stock without a mark"
    assert int(docs.stock(api, sku)[3]) <= 0
    api.post("/v1/orders", docs.order((sku, 1))).problem(409)


def test_receipts_by_item_and_by_list(api, stocked):
    a, b = stocked(1), stocked(2)
    api.post("/v1/stock/receipts", docs.receipt(a, 5)).ok(201)
    doc = {"location": "WH-HAM", "receipt_reference": "REC-" + docs.order_id(),
           "received_at": docs.now(), "items": [{"sku": a, "quantity": "2"},
                                                {"sku": b, "quantity": "0.5"}]}
    api.post("/v1/stock/receipts", doc).ok(201)
    assert (docs.stock(api, a)[0], docs.stock(api, b)[0]) == ("8", "2.5")
    assert api.post("/v1/stock/receipts", doc).header("idempotency-replayed") == "true"
    assert (docs.stock(api, a)[0], docs.stock(api, b)[0]) == ("8", "2.5")


def test_idempotency_key_of_stock(api, stocked):
    sku = stocked(10)
    key = docs.key()
    api.post("/v1/stock/adjustments", docs.adjustment(sku, -1), headers=key).ok(201)
    again = api.post("/v1/stock/adjustments", docs.adjustment(sku, -1), headers=key)
    assert again.status == 200 and again.header("idempotency-replayed") == "true"
    api.post("/v1/stock/adjustments", docs.adjustment(sku, -2), headers=key).problem(422)
    assert docs.stock(api, sku)[0] == "9"


def test_a_count_below_what_is_committed_leaves_nothing_to_sell(api, stocked):
    sku = stocked(10)
    api.post("/v1/orders", docs.order((sku, 6))).ok(201)
    api.post("/v1/stock/counts", docs.count(sku, 4)).ok(201)
    on_hand, _, committed, available = docs.stock(api, sku)
    assert (on_hand, committed) == ("4", "6")
    assert float(available) <= 0
    api.post("/v1/orders", docs.order((sku, 1))).problem(409)


def test_version_rises_with_every_change(api, stocked):
    sku = stocked(10)
    seen = []
    for _ in range(4):
        api.post("/v1/stock/adjustments", docs.adjustment(sku, 1)).ok(201)
        seen.append(docs.availability(api, sku)[(sku, "WH-HAM")]["version"])
    assert seen == sorted(set(seen))


def test_a_read_follows_an_acknowledged_write_at_once(api, stocked):
    sku = stocked(1000)
    for i in range(1, 101):
        api.post("/v1/stock/adjustments", docs.adjustment(sku, 1)).ok(201)
        assert docs.stock(api, sku)[0] == str(1000 + i)


def test_orders_are_sourced_from_the_warehouse_only(api, sku):
    name = sku()
    api.post("/v1/stock/counts", docs.count(name, 5, "S01")).ok(201)
    api.post("/v1/orders", docs.order((name, 1))).problem(409)
    assert docs.stock(api, name, "S01") == ("5", "0", "0", "5")
