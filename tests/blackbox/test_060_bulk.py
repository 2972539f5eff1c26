"""Bulk: NDJSON under the same path; an answer for each line, in order; no line stops another."""

import json
import threading

import docs
from wire import Connection


def test_answers_come_in_order(api, stocked):
    sku = stocked(100)
    sent = [docs.order((sku, 1)) for _ in range(50)]
    answer = api.bulk("/v1/orders", sent)
    assert answer.status == 200
    assert answer.header("content-type").startswith("application/x-ndjson")
    lines = answer.lines
    assert [x["line"] for x in lines] == list(range(1, 51))
    assert all(x["status"] == 201 for x in lines)
    for doc, line in zip(sent, lines):
        found = api.get("/v1/orders/" + line["answer"]["order_id"]).ok()
        assert found["channel_order_id"] == doc["channel_order_id"]
    assert docs.stock(api, sku)[2] == "50"


def test_a_bad_line_in_the_middle_stops_nothing(api, stocked):
    sku = stocked(10)
    bad = docs.order((sku, 1))
    del bad["currency"]
    again = docs.order((sku, 1))
    lines = api.bulk("/v1/orders", [
        docs.order((sku, 1)), b"{not json", bad, b"[]", again, docs.order((sku, 100)), again,
        b'{"channel": "\xff"}', docs.order((sku, 1)),
    ]).lines
    assert [x["line"] for x in lines] == list(range(1, 10))
    assert [x["status"] for x in lines] == [201, 400, 422, 422, 201, 409, 200, 400, 201]
    for line in lines:
        assert ("answer" in line) == (line["status"] < 300)
        assert ("problem" in line) == (line["status"] >= 300)
    assert lines[2]["problem"]["errors"][0]["pointer"] == "/currency"
    assert lines[6]["answer"] == lines[4]["answer"]
    assert docs.stock(api, sku)[2] == "3"


def test_line_ends_and_blank_lines(api, sku):
    a, b, c = sku(), sku(), sku()
    docs_ = [json.dumps(docs.count(name, 1)).encode() for name in (a, b, c)]
    body = b"\n" + docs_[0] + b"\r\n\n  \n" + docs_[1] + b"\n" + docs_[2]  # no end behind the last
    answer = api.post("/v1/stock/counts", raw=body, media="application/x-ndjson")
    lines = answer.lines
    assert [x["status"] for x in lines] == [201, 201, 201], answer
    numbers = [x["line"] for x in lines]
    assert numbers in ([2, 5, 6], [1, 2, 3]), "line counts lines of the input"


def test_an_empty_body(api):
    answer = api.post("/v1/orders", raw=b"", media="application/x-ndjson")
    assert answer.status in (200, 400), answer
    assert answer.status != 200 or answer.body == b""


def test_ten_thousand_lines(api, stocked):
    skus = [stocked(100000) for _ in range(5)]
    sent = [docs.order((skus[i % 5], 1), (skus[(i + 1) % 5], 2)) for i in range(10000)]
    answer = api.bulk("/v1/orders", sent)
    lines = answer.lines
    assert [x["line"] for x in lines] == list(range(1, 10001))
    assert all(x["status"] == 201 for x in lines)
    assert len({x["answer"]["order_id"] for x in lines}) == 10000
    assert sum(int(docs.stock(api, sku)[2]) for sku in skus) == 30000


def test_bulk_again_is_all_replayed(api, stocked):
    sku = stocked(1000)
    sent = [docs.order((sku, 1)) for _ in range(100)]
    first = api.bulk("/v1/orders", sent).lines
    again = api.bulk("/v1/orders", sent).lines
    assert [x["status"] for x in again] == [200] * 100
    assert [x["answer"] for x in again] == [x["answer"] for x in first]
    assert docs.stock(api, sku)[2] == "100"


def test_stock_in_bulk(api, sku):
    names = [sku() for _ in range(300)]
    assert all(x["status"] == 201 for x in
               api.bulk("/v1/stock/counts", [docs.count(n, 5) for n in names]).lines)
    assert all(x["status"] == 201 for x in
               api.bulk("/v1/stock/adjustments", [docs.adjustment(n, -1) for n in names]).lines)
    assert all(x["status"] == 201 for x in
               api.bulk("/v1/stock/receipts", [docs.receipt(n, 2) for n in names]).lines)
    assert all(docs.stock(api, n)[0] == "6" for n in names[::30])


def test_an_idempotency_key_of_the_call_holds_for_each_of_its_lines(api, stocked):
    sku = stocked(100)
    key = docs.key()
    sent = [docs.adjustment(sku, -1) for _ in range(20)]
    first = api.bulk("/v1/stock/adjustments", sent, headers=key).lines
    again = api.bulk("/v1/stock/adjustments", sent, headers=key).lines
    assert [x["status"] for x in first] == [201] * 20
    assert [x["status"] for x in again] == [200] * 20
    assert [x["answer"] for x in again] == [x["answer"] for x in first]
    assert docs.stock(api, sku)[0] == "80"


def test_cancel_and_ship_in_bulk(api, stocked):
    sku = stocked(100)
    made = api.post("/v1/orders", docs.order(docs.line(sku, 9, line_id="1"))).ok(201)["order_id"]
    one = {"reason": "x", "lines": [{"line_id": "1", "quantity": "1"}]}
    lines = api.bulk(f"/v1/orders/{made}/cancel", [one] * 3).lines
    assert [x["answer"]["version"] for x in lines] == [2, 3, 4]
    part = {"location": "WH-HAM", "lines": [{"line_id": "1", "quantity": "2"}]}
    lines = api.bulk(f"/v1/orders/{made}/shipments", [part] * 4).lines
    assert [x["status"] for x in lines] == [201, 201, 201, 409]
    assert docs.stock(api, sku) == ("94", "0", "0", "94")


def test_a_line_too_long_is_told_and_the_rest_goes_on(binary, tmp_path):
    from conftest import running
    from hub import Hub
    settings = {"PENSTOCK_BULK_LINE_BYTES_MAX": "2048"}
    for hub in running(Hub(binary, tmp_path, settings).start()):
        api = hub.client()
        long = docs.count("LONG", 1, ext={"note": "x" * 5000})
        lines = api.bulk("/v1/stock/counts", [docs.count("A", 1), long, docs.count("B", 2)]).lines
        assert [(x["line"], x["status"]) for x in lines] == [(1, 201), (2, 413), (3, 201)]
        assert docs.stock(api, "B")[0] == "2"


def test_bulk_larger_than_a_body_may_be(api, sku):
    """body_bytes_max binds single documents, not bulk."""
    name = sku()
    sent = [docs.count(name, i, ext={"note": "n" * 3000}) for i in range(3500)]
    answer = api.bulk("/v1/stock/counts", sent)
    assert [x["status"] for x in answer.lines] == [201] * 3500
    assert docs.stock(api, name)[0] == "3499"


def test_answers_flow_while_the_body_is_still_coming(hub, sku):
    """Neither side holds the whole: the first answers arrive before the body has ended."""
    name = sku()
    line = json.dumps(docs.count(name, 1)).encode() + b"\n"
    with Connection(hub.host, hub.port) as c:
        c.send(c.head("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/x-ndjson"),
            ("Transfer-Encoding", "chunked")], None))
        data = line * 200
        c.send(b"%x\r\n%s\r\n" % (len(data), data))
        status, _, headers = c.read_head()
        assert status == 200 and "chunked" in headers["transfer-encoding"]
        assert b'"status"' in c.read_chunk()
        c.send(b"0\r\n\r\n")
        while c.read_chunk():
            pass


def test_a_client_that_stops_in_the_middle_leaves_whole_lines(hub, api, sku):
    name = sku()
    line = json.dumps(docs.adjustment(name, 1)).encode() + b"\n"
    with Connection(hub.host, hub.port) as c:
        data = line * 100 + line[:20]
        c.send(c.head("POST", "/v1/stock/adjustments", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/x-ndjson"),
            ("Transfer-Encoding", "chunked")], None))
        c.send(b"%x\r\n%s\r\n" % (len(data), data))
        c.read_head()
    assert api.get("/livez").status == 200
    found = docs.availability(api, name)
    assert not found or int(found[(name, "WH-HAM")]["on_hand"]) <= 100


def test_several_bulks_at_once_with_a_single_request_between(hub, api, stocked):
    sku = stocked(100000)
    failures = []

    def run():
        lines = hub.client().bulk("/v1/orders", [docs.order((sku, 1)) for _ in range(1500)]).lines
        if [x["status"] for x in lines] != [201] * 1500:
            failures.append(lines)
    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    single = 0
    while any(t.is_alive() for t in threads):
        api.post("/v1/orders", docs.order((sku, 1))).ok(201)
        single += 1
    for t in threads:
        t.join()
    assert not failures and single > 0
    assert docs.stock(api, sku)[2] == str(6000 + single)


def test_bulk_needs_a_route_that_offers_it(api):
    answer = api.bulk("/v1/availability", [{}])
    assert answer.status in (405, 415), answer
