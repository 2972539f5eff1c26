"""The read model: how far behind it is, what waits for it, how it is made anew, what is in it."""

import re
import sqlite3
import threading

import docs
from wire import until


def read_db(hub):
    return hub.config / "data" / "read.db"


def metric(api, name):
    text = api.get("/metrics").body.decode()
    found = re.search(rf"^{name} ([\d.]+)$", text, re.M)
    assert found, f"no {name} in\n{text}"
    return float(found.group(1))


def hold_back(hub):
    """A lock on the file: the read model can not write, and falls behind."""
    db = sqlite3.connect(read_db(hub), isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    return db


def test_bulk_waits_for_a_read_model_that_is_behind_and_selling_goes_on(idle_hub):
    hub = idle_hub
    hub.env["PENSTOCK_READ_MODEL_LAG_EVENTS_MAX"] = "1000"
    hub.start()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("LAG", 100000)).ok(201)
    db = hold_back(hub)
    got = []
    sender = threading.Thread(target=lambda: got.append(hub.client().bulk(
        "/v1/orders", [docs.order(("LAG", 1)) for _ in range(4000)])))
    sender.start()
    until(lambda: metric(api, "penstock_bulk_waiting") == 1, 20, "the bulk call to wait")
    behind = metric(api, "penstock_read_model_lag_events")
    assert 1000 < behind < 6000, "lines under way may end, no more are taken"
    until(lambda: metric(api, "penstock_read_model_lag_seconds") > 0.2, 10, "its age to be told")
    refused = api.bulk("/v1/orders", [docs.order(("LAG", 1))])
    assert refused.status == 503 and int(refused.header("retry-after")) > 0, refused
    assert "read_model_lag_events_max" in refused.json["detail"]
    api.post("/v1/orders", docs.order(("LAG", 1))).ok(201)
    ready = api.get("/readyz").ok()
    assert ready["read_model"]["bulk"] == "waits" and ready["read_model"]["behind"] >= behind
    assert api.get("/ops/overview").ok()["read_model"]["behind_ms"] > 0
    listed = api.get("/v1/orders?limit=1")
    assert listed.seq <= metric(api, "penstock_journal_seq") - behind, "a list says how far it is"
    db.execute("ROLLBACK")
    db.close()
    sender.join(60)
    assert got and [x["status"] for x in got[0].lines] == [201] * 4000
    until(lambda: metric(api, "penstock_read_model_lag_events") == 0, 20, "it to catch up")
    assert metric(api, "penstock_bulk_waiting") == 0
    assert metric(api, "penstock_read_model_lag_seconds") == 0
    assert api.bulk("/v1/orders", [docs.order(("LAG", 1))]).lines[0]["status"] == 201
    assert api.get("/readyz").ok()["read_model"]["bulk"] == "taken"


def test_a_client_that_goes_while_its_bulk_call_waits(idle_hub):
    hub = idle_hub
    hub.env["PENSTOCK_READ_MODEL_LAG_EVENTS_MAX"] = "1000"
    hub.start()
    api = hub.client()
    db = hold_back(hub)
    def send():
        try:
            hub.client(timeout_s=3).bulk(
                "/v1/stock/adjustments", [docs.adjustment("GO", 1) for _ in range(4000)])
        except Exception:
            pass
    sender = threading.Thread(target=send)
    sender.start()
    until(lambda: metric(api, "penstock_bulk_waiting") == 1, 20, "the bulk call to wait")
    sender.join(20)
    for client in hub.clients[1:]:
        client.close()
    db.execute("ROLLBACK")
    db.close()
    until(lambda: metric(api, "penstock_bulk_waiting") == 0, 20, "the call to end")
    api.post("/v1/stock/adjustments", docs.adjustment("GO", 1)).ok(201)
