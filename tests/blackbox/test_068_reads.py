"""Reads that never miss an acknowledged write, asked on another connection right after the answer,
under load and after a restart; lists that say how far they are, and can be waited for."""

import threading
import time

import docs
from test_067_read_model import fill, hold_back
from wire import until


class Load:
    """Bulk calls that keep the writer and the read model busy until the end of the block."""

    def __init__(self, hub, sku):
        self.hub, self.sku, self.stop = hub, sku, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        api = self.hub.client(timeout_s=60)
        while not self.stop.is_set():
            api.bulk("/v1/orders", [docs.order((self.sku, 1)) for _ in range(500)])

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(60)


def see(other, order, doc, seq):
    """All ways to read it, on a connection that did not write it."""
    assert other.get(f"/v1/orders/{order}").ok()["channel_order_id"] == doc["channel_order_id"]
    natural = other.get("/v1/orders" + docs.query(
        channel="web-de", channel_order_id=doc["channel_order_id"])).ok()["items"]
    assert [x["order_id"] for x in natural] == [order]
    events = other.get("/v1/events" + docs.query(after=0, key=order, limit=10)).ok()["items"]
    assert any(docs.short(e) == "order.captured" for e in events)
    for held in (order, doc["channel_order_id"]):
        trace = other.get(f"/ops/trace/{held}")
        assert trace.status == 200 and trace.seq >= seq, trace


def test_what_was_acknowledged_is_read_under_load(fresh_hub):
    hub = fresh_hub
    api, other = hub.client(), hub.client()
    api.post("/v1/stock/counts", docs.count("LOAD", 10_000_000)).ok(201)
    api.post("/v1/stock/counts", docs.count("MINE", 1000)).ok(201)
    seen = []
    with Load(hub, "LOAD"):
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            doc = docs.order(("MINE", 1))
            answer = api.post("/v1/orders", doc)
            order = answer.ok(201)["order_id"]
            seen.append(order)
            assert int(docs.stock(other, "MINE")[2]) == len(seen)
            see(other, order, doc, answer.seq)
            waited = other.get("/v1/orders?limit=1", headers={"Penstock-Wait-Seq": str(answer.seq)})
            assert waited.status == 200 and waited.seq >= answer.seq, waited
    assert len(seen) >= 5
    hub.restart()
    other = hub.client()
    assert int(docs.stock(other, "MINE")[2]) == len(seen)
    for order in seen:
        assert other.get(f"/ops/trace/{order}").status == 200


def test_a_list_says_how_far_it_is(idle_hub):
    hub = idle_hub
    hub.env["PENSTOCK_WAIT_SEQ_MS"] = "300"
    hub.start()
    api = hub.client()
    fill(api, "SEQ", 10)
    until(lambda: api.get("/readyz").ok()["read_model"]["behind"] == 0, 10, "it to catch up")
    db = hold_back(hub)
    answer = api.post("/v1/orders", docs.order(("SEQ", 1)))
    order = answer.ok(201)["order_id"]
    listed = api.get("/v1/orders?limit=1000")
    assert listed.seq < answer.seq, "the list lags, and says so"
    assert order not in {x["order_id"] for x in listed.json["items"]}
    late = api.get("/v1/orders?limit=1000", headers={"Penstock-Wait-Seq": str(answer.seq)})
    assert late.status == 503 and late.header("retry-after"), late
    assert api.get(f"/v1/orders/{order}").status == 200, "by id it is there"
    assert docs.stock(api, "SEQ")[2] == "11"
    db.execute("ROLLBACK")
    db.close()
    until(lambda: api.get("/readyz").ok()["read_model"]["behind"] == 0, 20, "it to catch up")
    listed = api.get("/v1/orders?limit=1000", headers={"Penstock-Wait-Seq": str(answer.seq)})
    assert order in {x["order_id"] for x in listed.ok()["items"]} and listed.seq >= answer.seq


def test_availability_does_not_queue_behind_the_writer(fresh_hub):
    hub = fresh_hub
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("LOAD", 10_000_000)).ok(201)
    took = []
    with Load(hub, "LOAD"), Load(hub, "LOAD"):
        time.sleep(0.2)
        for _ in range(300):
            began = time.monotonic()
            docs.stock(api, "LOAD")
            took.append(time.monotonic() - began)
    took.sort()
    assert took[len(took) // 2] < 0.05 * hub.binary.patience, took[::30]
