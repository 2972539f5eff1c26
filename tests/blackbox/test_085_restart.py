"""Restart: everything acknowledged is still there, and every key is still known."""

import sqlite3
import time

import docs


def test_a_restart_keeps_everything(idle_hub):
    hub = idle_hub.start()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("RE", 100)).ok(201)
    doc, key = docs.full_order("RE"), docs.key()
    first = api.post("/v1/orders", doc, headers=key).ok(201)
    other = api.post("/v1/orders", docs.order(docs.line("RE", 5, line_id="1"))).ok(201)
    api.post(f"/v1/orders/{other['order_id']}/cancel",
             {"reason": "x", "lines": [{"line_id": "1", "quantity": "2"}]}).ok()
    api.post(f"/v1/orders/{other['order_id']}/shipments", {
        "location": "WH-HAM", "lines": [{"line_id": "1", "quantity": "1"}]}).ok(200, 201)
    held = api.post("/v1/reservations",
                    {"channel": "web-de", "sku": "RE", "quantity": "4"}).ok(201)

    def everything(api):
        return (docs.events(api), docs.availability(api, "RE"),
                api.get(f"/v1/orders/{first['order_id']}").ok(),
                api.get(f"/v1/orders/{other['order_id']}").ok())
    before = everything(api)
    hub.restart()
    api = hub.client()
    assert everything(api) == before
    again = api.post("/v1/orders", doc, headers=key)
    assert again.ok(200) == first and again.header("idempotency-replayed") == "true"
    assert api.post("/v1/orders", doc).ok(200) == first
    api.post("/v1/orders", {**doc, "ext": {}}, headers=key).problem(422)
    api.post("/v1/orders", {**doc, "ext": {}}).problem(409)
    line = docs.line("RE", 4, reservation_id=held["reservation_id"])
    api.post("/v1/orders", docs.order(line)).ok(201)
    assert docs.stock(api, "RE") == ("99", "0", "8", "91")
    assert everything(api)[0][:len(before[0])] == before[0]
    hub.stop()
    hub.verify()


def test_journal_verify_finds_a_changed_byte(idle_hub):
    """An amount in the journal that somebody changed on disk: found, and never served from."""
    hub = idle_hub.start()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("VERIFY-ME", 100)).ok(201)
    for _ in range(50):
        api.post("/v1/orders", docs.order(("VERIFY-ME", 1))).ok(201)
    seq = int(docs.events(api, type="order.captured")[5]["penstockseq"])
    hub.stop()
    hub.verify()
    segment = hub.config / "data" / "journal" / "00000001.db"
    with sqlite3.connect(segment) as db:
        db.execute("UPDATE event SET data = replace(data, '1999', '1998') WHERE seq = ?", [seq])
    db.close()
    done = hub.binary.run("journal", "verify", "-C", hub.config)
    assert done.returncode == 1 and f"record {seq}:" in done.stdout, done
    # The written state has what the event says; the event itself is never told as it is now.
    hub.start()
    api = hub.client()
    answer = api.get(f"/v1/events?after={seq - 1}&limit=1")
    assert answer.status == 500 and b"1998" not in answer.body, answer
    assert api.post("/v1/orders", docs.order(("VERIFY-ME", 1))).ok(201)
    hub.stop()
    for path in (hub.config / "data").glob("state.db*"):
        path.unlink()
    started = hub.binary.run("serve", "-C", hub.config, "--listen", "127.0.0.1:0", env=hub.env)
    assert started.returncode == 1 and str(seq) in started.stderr, "served from a damaged journal"


def test_the_read_model_is_rebuilt_where_it_is_missing(idle_hub):
    hub = idle_hub.start()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("RM", 100)).ok(201)
    made = {api.post("/v1/orders", docs.order(("RM", 1))).ok(201)["order_id"] for _ in range(30)}
    hub.stop()
    removed = [p for p in (hub.config / "data").rglob("*")
               if p.is_file() and "journal" not in str(p) and "key" not in str(p)
               and "deliver" not in str(p) and "progress" not in str(p)]
    for path in removed:
        path.unlink()
    assert removed
    hub.start()
    api = hub.client()
    from wire import until
    found = until(lambda: {i["order_id"] for i in docs.listed(api, "/v1/orders")} == made,
                  30, "the list to be rebuilt")
    assert found


def test_ten_restarts_in_a_row(idle_hub):
    hub = idle_hub
    for i in range(10):
        hub.start()
        api = hub.client()
        api.post("/v1/stock/adjustments", docs.adjustment("TEN", 1)).ok(201)
        assert docs.stock(api, "TEN")[0] == str(i + 1)
        hub.stop()
    hub.verify()


def test_start_and_stop_are_quick(idle_hub):
    hub = idle_hub.start()
    assert hub.ready_s < 1.0 * hub.binary.patience, f"ready after {hub.ready_s:.2f} s"
    began = time.monotonic()
    hub.stop()
    assert time.monotonic() - began < 3.0 * hub.binary.patience
