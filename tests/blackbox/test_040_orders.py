"""Orders: capture, idempotency, cancel, ship, lists. All or nothing, once and for ever."""

import threading

import pytest

import docs


def capture(api, *lines, **more):
    return api.post("/v1/orders", docs.order(*lines, **more)).ok(201)


def test_capture_answers_as_the_contract_says(api, stocked):
    sku = stocked(10)
    doc = docs.full_order(sku)
    answer = api.post("/v1/orders", doc, headers={"Penstock-Correlation-Id": "cart-77"})
    order = answer.ok(201)
    assert order["order_id"].startswith("ord_")
    assert (order["state"], order["version"]) == ("accepted", 1)
    assert order["correlation_id"] == "cart-77"
    assert order["reservations"] == [{"line_id": "a", "location": "WH-HAM", "quantity": "2"}]
    assert docs.stock(api, sku) == ("10", "0", "2", "8")


def test_get_gives_back_what_came(api, stocked):
    sku = stocked(10)
    doc = docs.full_order(sku)
    order_id = api.post("/v1/orders", doc).ok(201)["order_id"]
    found = api.get(f"/v1/orders/{order_id}").ok()
    assert (found["order_id"], found["state"], found["version"]) == (order_id, "accepted", 1)
    for member, value in doc.items():
        if member in ("customer", "ship_to", "totals", "currency", "channel", "ext", "placed_at"):
            assert found[member] == value, member
    line = found["lines"][0]
    for member, value in doc["lines"][0].items():
        assert line[member] == value, member
    assert found["shipping"][0]["total"] == 490
    assert found["tenders"][0]["reference"] == "psp-4711"


def test_what_is_left_out_is_computed(api, stocked):
    sku = stocked(10)
    doc = docs.order((sku, 2), docs.line(sku, 1, 500, discount=100))
    found = api.get("/v1/orders/" + api.post("/v1/orders", doc).ok(201)["order_id"]).ok()
    assert [line["line_id"] for line in found["lines"]] == ["1", "2"]
    totals = found["totals"]
    assert (totals["lines"], totals["discount"], totals["grand"]) == (4398, 100, 4398)
    assert totals.get("shipping", 0) == 0 and totals.get("rounding", 0) == 0


def test_prices_below_a_cent(api, stocked):
    sku = stocked(5000)
    line = {"sku": sku, "quantity": "1500", "unit_price": 333, "price_quantity": "1000",
            "total": 500}  # 499.5 rounds half up
    api.post("/v1/orders", docs.order(line)).ok(201)


def test_a_quantity_may_be_a_fraction(api, sku):
    name = sku()
    api.post("/v1/stock/counts", docs.count(name, "10.5")).ok(201)
    line = {"sku": name, "quantity": "1.25", "unit_price": 1000, "total": 1250}
    api.post("/v1/orders", docs.order(line)).ok(201)
    assert docs.stock(api, name) == ("10.5", "0", "1.25", "9.25")


def test_prices_that_exclude_tax(api, stocked):
    sku = stocked(10)
    line = docs.line(sku, 1, 10000, taxes=[{"code": "US-NY", "rate": "0.08875", "base": 10000,
                                            "amount": 888}])
    doc = docs.order(line, prices_include_tax=False, currency="USD",
                     totals={"tax": 888, "grand": 10888})
    api.post("/v1/orders", doc).ok(201)


def test_tenders_need_not_sum_up(api, stocked):
    sku = stocked(10)
    tender = {"tender_id": "t1", "kind": "gift_card", "amount": 0, "state": "authorised"}
    api.post("/v1/orders", docs.order((sku, 1), tenders=[tender], shipping=[])).ok(201)
    api.post("/v1/orders", docs.order(docs.line(sku, 1, taxes=[]), tenders=[])).ok(201)


@pytest.mark.parametrize("currency,unit_price", [("JPY", 1999), ("KWD", 19999), ("EUR", 0)])
def test_currencies_with_other_minor_units(api, stocked, currency, unit_price):
    sku = stocked(10)
    api.post("/v1/orders", docs.order(docs.line(sku, 2, unit_price), currency=currency)).ok(201)


# --- idempotency -------------------------------------------------------------------------------

def test_same_key_same_body_is_the_first_answer_again(api, stocked):
    sku = stocked(10)
    doc, key = docs.order((sku, 3)), docs.key()
    first = api.post("/v1/orders", doc, headers=key)
    stored = docs.stored(api)
    assert first.status == 201 and first.header("idempotency-replayed") is None
    for _ in range(3):
        again = api.post("/v1/orders", doc, headers=key)
        assert again.status == 200
        assert again.header("idempotency-replayed") == "true"
        assert again.json == first.json
    assert docs.stored(api) == stored
    assert docs.stock(api, sku)[2] == "3"


def test_members_in_another_order_are_the_same_body(api, stocked):
    sku = stocked(10)
    doc, key = docs.full_order(sku), docs.key()
    first = api.post("/v1/orders", doc, headers=key).ok(201)
    turned = {name: doc[name] for name in reversed(list(doc))}
    assert api.post("/v1/orders", turned, headers=key).ok(200)["order_id"] == first["order_id"]


def test_same_key_other_body_is_422(api, stocked):
    sku = stocked(10)
    key = docs.key()
    api.post("/v1/orders", docs.order((sku, 1)), headers=key).ok(201)
    answer = api.post("/v1/orders", docs.order((sku, 2)), headers=key)
    answer.problem(422, slug="idempotency-key-reused")
    assert docs.stock(api, sku)[2] == "1"


def test_same_natural_key_same_body_is_200(api, stocked):
    sku = stocked(10)
    doc = docs.order((sku, 1))
    first = api.post("/v1/orders", doc).ok(201)
    again = api.post("/v1/orders", doc)
    assert again.status == 200 and again.header("idempotency-replayed") == "true"
    assert again.json == first
    third = api.post("/v1/orders", doc, headers=docs.key())
    assert third.status == 200 and third.json["order_id"] == first["order_id"]
    assert docs.stock(api, sku)[2] == "1"


def test_same_natural_key_other_body_is_409(api, stocked):
    sku = stocked(10)
    doc = docs.order((sku, 1))
    api.post("/v1/orders", doc).ok(201)
    other = docs.order((sku, 2), number=doc["channel_order_id"])
    api.post("/v1/orders", other).problem(409, slug="natural-key-reused")
    api.post("/v1/orders", other, headers=docs.key()).problem(409)
    assert docs.stock(api, sku)[2] == "1"
    elsewhere = docs.order((sku, 2), number=doc["channel_order_id"], channel="web-fr")
    api.post("/v1/orders", elsewhere).ok(201)


def test_an_answer_is_replayed_as_it_was_even_after_changes(api, stocked):
    sku = stocked(10)
    doc, key = docs.order((sku, 1)), docs.key()
    first = api.post("/v1/orders", doc, headers=key).ok(201)
    api.post(f"/v1/orders/{first['order_id']}/cancel", {"reason": "changed my mind"}).ok()
    again = api.post("/v1/orders", doc, headers=key)
    assert again.status == 200 and again.json == first


def test_a_refused_request_does_not_consume_its_key(api, stocked):
    sku = stocked(1)
    doc, key = docs.order((sku, 2)), docs.key()
    api.post("/v1/orders", doc, headers=key).problem(409, slug="out-of-stock")
    bad = docs.copy(doc)
    bad["totals"]["grand"] += 1
    api.post("/v1/orders", bad, headers=key).problem(422, ["/totals/grand"])
    api.post("/v1/stock/counts", docs.count(sku, 5)).ok(201)
    api.post("/v1/orders", doc, headers=key).ok(201)


def test_one_key_on_two_routes_is_two_keys(api, stocked):
    sku = stocked(10)
    key = docs.key()
    order = api.post("/v1/orders", docs.order((sku, 1)), headers=key).ok(201)
    api.post(f"/v1/orders/{order['order_id']}/cancel", {"reason": "x"}, headers=key).ok()


def test_cancel_with_a_key_counts_once(api, stocked):
    sku = stocked(10)
    order = capture(api, docs.line(sku, 5, line_id="1"))
    key, path = docs.key(), f"/v1/orders/{order['order_id']}/cancel"
    body = {"reason": "less", "lines": [{"line_id": "1", "quantity": "1"}]}
    first = api.post(path, body, headers=key).ok()
    again = api.post(path, body, headers=key)
    assert again.json == first and again.header("idempotency-replayed") == "true"
    assert docs.stock(api, sku)[2] == "4"


@pytest.mark.parametrize("value", ["", "x" * 2000])
def test_a_useless_key_is_refused(api, stocked, value):
    answer = api.post("/v1/orders", docs.order((stocked(5), 1)),
                      headers={"Idempotency-Key": value})
    assert answer.status in (400, 422), answer


def test_many_at_once_with_one_key_make_one_order(hub, api, stocked):
    sku = stocked(100)
    doc, key = docs.order((sku, 1)), docs.key()
    answers, gate = [], threading.Barrier(16)

    def run():
        client = hub.client()
        gate.wait()
        answers.append(client.post("/v1/orders", doc, headers=key))
    threads = [threading.Thread(target=run) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(answers) == 16
    assert {a.json["order_id"] for a in answers} == {answers[0].json["order_id"]}
    assert sorted(a.status for a in answers) == [200] * 15 + [201]
    assert docs.stock(api, sku)[2] == "1"


# --- stock ---------------------------------------------------------------------------------------

def test_shortage_is_409_and_changes_nothing(api, stocked):
    plenty, scarce = stocked(10), stocked(2)
    stored = docs.stored(api)
    doc = docs.order((plenty, 3), (scarce, 3))
    problem = api.post("/v1/orders", doc).problem(409, slug="out-of-stock")
    assert scarce in str(problem) and plenty not in str(problem), problem
    assert docs.stored(api) == stored
    assert docs.stock(api, plenty) == ("10", "0", "0", "10")
    assert docs.stock(api, scarce) == ("2", "0", "0", "2")
    assert api.get("/v1/orders" + docs.query(
        channel="web-de", channel_order_id=doc["channel_order_id"])).ok()["items"] == []


def test_unknown_stock_is_a_shortage(api, sku):
    api.post("/v1/orders", docs.order((sku(), 1))).problem(409, slug="out-of-stock")


def test_two_lines_of_one_sku_are_summed_first(api, stocked):
    sku = stocked(5)
    api.post("/v1/orders", docs.order((sku, 3), (sku, 3))).problem(409)
    assert docs.stock(api, sku)[2] == "0"
    order = capture(api, (sku, 3), (sku, 2))
    assert docs.stock(api, sku) == ("5", "0", "5", "0")
    per_line = {}
    for r in order["reservations"]:
        per_line[r["line_id"]] = per_line.get(r["line_id"], 0) + int(r["quantity"])
    assert per_line == {"1": 3, "2": 2}


def test_the_last_piece_is_sold_once(hub, api, stocked):
    sku = stocked(20)
    statuses, gate = [], threading.Barrier(12)

    def run():
        client = hub.client()
        gate.wait()
        for _ in range(5):
            statuses.append(client.post("/v1/orders", docs.order((sku, 1))).status)
    threads = [threading.Thread(target=run) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (statuses.count(201), statuses.count(409)) == (20, 40)
    assert docs.stock(api, sku) == ("20", "0", "20", "0")


# --- cancel ---------------------------------------------------------------------------------------

def test_cancel_whole(api, stocked):
    a, b = stocked(10), stocked(10)
    order = capture(api, (a, 2), (b, 3))
    done = api.post(f"/v1/orders/{order['order_id']}/cancel", {"reason": "Kunde rief an"}).ok()
    assert (done["state"], done["version"]) == ("cancelled", 2)
    assert docs.stock(api, a) == ("10", "0", "0", "10")
    assert docs.stock(api, b) == ("10", "0", "0", "10")
    assert api.get(f"/v1/orders/{order['order_id']}").ok()["state"] == "cancelled"


def test_cancel_whole_needs_no_body(api, stocked):
    a = stocked(10)
    order = capture(api, (a, 2))
    done = api.post(f"/v1/orders/{order['order_id']}/cancel").ok()
    assert done["state"] == "cancelled"
    assert docs.stock(api, a) == ("10", "0", "0", "10")
    api.post("/v1/orders").problem(400)


def test_cancel_twice_is_409(api, stocked):
    order = capture(api, (stocked(10), 2))
    path = f"/v1/orders/{order['order_id']}/cancel"
    api.post(path, {"reason": "a"}).ok()
    api.post(path, {"reason": "b"}).problem(409)


def test_cancel_by_line(api, stocked):
    a, b = stocked(10), stocked(10)
    order = capture(api, docs.line(a, 4, line_id="x"), docs.line(b, 3, line_id="y"))
    path = f"/v1/orders/{order['order_id']}/cancel"
    done = api.post(path, {"reason": "a", "lines": [{"line_id": "x", "quantity": "1"}]}).ok()
    assert (done["state"], done["version"]) == ("accepted", 2)
    assert (docs.stock(api, a)[2], docs.stock(api, b)[2]) == ("3", "3")
    too_many = {"reason": "a", "lines": [{"line_id": "x", "quantity": "4"}]}
    api.post(path, too_many).problem(409)
    unknown = {"reason": "a", "lines": [{"line_id": "z", "quantity": "1"}]}
    assert api.post(path, unknown).status in (409, 422)
    assert docs.stock(api, a)[2] == "3"
    rest = {"reason": "a", "lines": [{"line_id": "x", "quantity": "3"},
                                     {"line_id": "y", "quantity": "3"}]}
    assert api.post(path, rest).ok()["state"] == "cancelled"
    assert (docs.stock(api, a)[2], docs.stock(api, b)[2]) == ("0", "0")


def test_cancel_of_one_line_that_fails_cancels_none(api, stocked):
    a, b = stocked(10), stocked(10)
    order = capture(api, docs.line(a, 4, line_id="x"), docs.line(b, 3, line_id="y"))
    body = {"reason": "a", "lines": [{"line_id": "x", "quantity": "1"},
                                     {"line_id": "y", "quantity": "9"}]}
    api.post(f"/v1/orders/{order['order_id']}/cancel", body).problem(409)
    assert (docs.stock(api, a)[2], docs.stock(api, b)[2]) == ("4", "3")


# --- ship -----------------------------------------------------------------------------------------

def shipment(*lines, **more):
    doc = {"location": "WH-HAM", "shipped_at": docs.now(),
           "parcels": [{"carrier": "dhl", "tracking": "JD0146"}], **more}
    if lines:
        doc["lines"] = [{"line_id": i, "quantity": q} for i, q in lines]
    return doc


def test_ship_whole(api, stocked):
    sku = stocked(10)
    order = capture(api, (sku, 2))
    done = api.post(f"/v1/orders/{order['order_id']}/shipments", shipment()).ok(200, 201)
    assert done["state"] in ("shipped", "completed") and done["version"] >= 2
    assert docs.stock(api, sku) == ("8", "0", "0", "8")


def test_ship_in_parts(api, stocked):
    a, b = stocked(10), stocked(10)
    order = capture(api, docs.line(a, 4, line_id="x"), docs.line(b, 3, line_id="y"))
    path = f"/v1/orders/{order['order_id']}/shipments"
    done = api.post(path, shipment(("x", "1"), ("y", "3"))).ok(200, 201)
    assert done["state"] == "partially_shipped"
    assert docs.stock(api, a) == ("9", "0", "3", "6")
    assert docs.stock(api, b) == ("7", "0", "0", "7")
    api.post(path, shipment(("x", "4"))).problem(409)
    done = api.post(path, shipment()).ok(200, 201)
    assert done["state"] in ("shipped", "completed")
    assert docs.stock(api, a) == ("6", "0", "0", "6")
    api.post(path, shipment()).problem(409)


def test_what_is_shipped_can_not_be_cancelled_and_the_other_way_round(api, stocked):
    sku = stocked(10)
    order = capture(api, docs.line(sku, 4, line_id="x"))
    base = f"/v1/orders/{order['order_id']}"
    api.post(base + "/shipments", shipment(("x", "1"))).ok(200, 201)
    too_many = {"reason": "a", "lines": [{"line_id": "x", "quantity": "4"}]}
    api.post(base + "/cancel", too_many).problem(409)
    api.post(base + "/cancel", {"reason": "rest"}).ok()
    api.post(base + "/shipments", shipment(("x", "1"))).problem(409)
    assert docs.stock(api, sku) == ("9", "0", "0", "9")
    gone = capture(api, (sku, 1))
    api.post(f"/v1/orders/{gone['order_id']}/cancel", {"reason": "a"}).ok()
    api.post(f"/v1/orders/{gone['order_id']}/shipments", shipment()).problem(409)


def test_versions_go_up_by_one_and_if_match_binds(api, stocked):
    sku = stocked(10)
    order = capture(api, docs.line(sku, 4, line_id="x"))
    path = f"/v1/orders/{order['order_id']}/cancel"
    body = {"reason": "a", "lines": [{"line_id": "x", "quantity": "1"}]}
    for version in (2, 3):
        assert api.post(path, body).ok()["version"] == version
    api.post(path, body, headers={"If-Match": '"2"'}).problem(412, slug="stale")
    assert api.post(path, body, headers={"If-Match": '"3"'}).ok()["version"] == 4
    assert docs.stock(api, sku)[2] == "1"


# --- lists ----------------------------------------------------------------------------------------

def test_by_channel_and_number(api, stocked):
    sku = stocked(10)
    doc = docs.order((sku, 1))
    order = api.post("/v1/orders", doc).ok(201)
    where = docs.query(channel="web-de", channel_order_id=doc["channel_order_id"])
    items = api.get("/v1/orders" + where).ok()["items"]
    assert [i["order_id"] for i in items] == [order["order_id"]]
    where = docs.query(channel="web-fr", channel_order_id=doc["channel_order_id"])
    assert api.get("/v1/orders" + where).ok()["items"] == []


def test_by_natural_key_never_misses_an_acknowledged_write(api, stocked):
    sku = stocked(200)
    for _ in range(100):
        doc = docs.order((sku, 1))
        order = api.post("/v1/orders", doc).ok(201)
        where = docs.query(channel="web-de", channel_order_id=doc["channel_order_id"])
        items = api.get("/v1/orders" + where).ok()["items"]
        assert [i["order_id"] for i in items] == [order["order_id"]]


def reached(api, path, seq, **params):
    """The list once its Penstock-Seq has reached seq."""
    from wire import until

    def ask():
        answer = api.get(path + docs.query(**params))
        return answer if answer.seq >= seq else None
    return until(ask, 20, f"{path} at seq {seq}")


def test_list_pages_with_cursor(fresh_hub):
    api = fresh_hub.client()
    api.post("/v1/stock/counts", docs.count("PAGES", 1000)).ok(201)
    made = [capture(api, ("PAGES", 1))["order_id"] for _ in range(23)]
    answer = reached(api, "/v1/orders", docs.last_seq(api), limit=10)
    assert len(answer.json["items"]) == 10 and answer.json["next_cursor"]
    assert 'rel="next"' in answer.header("link")
    found = [i["order_id"] for i in docs.listed(api, "/v1/orders", limit=10)]
    assert sorted(found) == sorted(made) and len(set(found)) == 23
    assert len(api.get("/v1/orders").ok()["items"]) == 23


def test_a_list_waits_for_a_seq_that_the_reader_names(fresh_hub):
    api = fresh_hub.client()
    api.post("/v1/stock/counts", docs.count("WAIT", 1000)).ok(201)
    for i in range(1, 31):
        answer = api.post("/v1/orders", docs.order(("WAIT", 1)))
        answer.ok(201)
        listed = api.get("/v1/orders", headers={"Penstock-Wait-Seq": str(answer.seq)})
        assert len(listed.ok()["items"]) == i and listed.seq >= answer.seq


def test_list_by_state_and_updated_since(fresh_hub):
    from wire import until
    api = fresh_hub.client()
    api.post("/v1/stock/counts", docs.count("SINCE", 1000)).ok(201)
    early = [capture(api, ("SINCE", 1))["order_id"] for _ in range(5)]
    stamp = docs.now()
    until(lambda: docs.now() != stamp, 1, "the clock to move on")
    stamp = docs.now()  # milliseconds: above all that is early
    late = [capture(api, ("SINCE", 1))["order_id"] for _ in range(3)]
    api.post(f"/v1/orders/{early[2]}/cancel", {"reason": "x"}).ok()
    reached(api, "/v1/orders", docs.last_seq(api))
    changed = {i["order_id"] for i in docs.listed(api, "/v1/orders", updated_since=stamp)}
    assert changed == {*late, early[2]}
    cancelled = docs.listed(api, "/v1/orders", state="cancelled")
    assert [i["order_id"] for i in cancelled] == [early[2]]
    accepted = {i["order_id"] for i in docs.listed(api, "/v1/orders", state="accepted", limit=2)}
    assert accepted == {*early, *late} - {early[2]}


@pytest.mark.parametrize("params", [
    {"limit": "0"}, {"limit": "-1"}, {"limit": "x"}, {"limit": "1000000000"},
    {"cursor": "nonsense"}, {"updated_since": "yesterday"}, {"state": "no-such-state"},
    {"channel_order_id": "1"}, {"no_such_parameter": "1"},
])
def test_bad_questions_are_refused(api, params):
    answer = api.get("/v1/orders" + docs.query(**params))
    assert answer.status in (400, 422), answer
    answer.problem(answer.status)


def test_a_large_order(api, stocked):
    sku = stocked(100000)
    lines = [docs.line(sku, 2, 100 + i % 7, line_id=f"L{i}") for i in range(5000)]
    order = api.post("/v1/orders", docs.order(*lines)).ok(201)
    found = api.get(f"/v1/orders/{order['order_id']}").ok()
    assert len(found["lines"]) == 5000
    assert docs.stock(api, sku)[2] == "10000"


def test_text_comes_back_as_it_went(api, stocked):
    sku = stocked(10)
    odd = 'Zo\u00eb "Quote" \\ \u20ac \U0001f455 \u4e2d\u6587 \u0645\u0631\u062d\u0628\u0627 </script>\n\t'
    doc = docs.order((sku, 1), customer={"customer_id": "C-1", "name": odd},
                     ext={"deep": [[{"a": odd}], None, True, 12345678901234567890, 1.50]})
    order = api.post("/v1/orders", doc).ok(201)
    answer = api.get(f"/v1/orders/{order['order_id']}")
    assert answer.json["customer"]["name"] == odd
    assert answer.json["ext"]["deep"][0] == [{"a": odd}]
    assert b"12345678901234567890" in answer.body and b"1.5" in answer.body
