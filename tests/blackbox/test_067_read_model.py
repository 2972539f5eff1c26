"""The read model: how far behind it is, what waits for it, how it is made anew, what is in it."""

import json
import re
import sqlite3
import threading
import time

import pytest

import docs
from conftest import ROOT
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


# --- made anew ---------------------------------------------------------------------------------


def fill(api, sku, n):
    api.post("/v1/stock/counts", docs.count(sku, 10 * n)).ok(201)
    lines = api.bulk("/v1/orders", [docs.order((sku, 1)) for _ in range(n)]).lines
    assert [x["status"] for x in lines] == [201] * n
    return {x["answer"]["order_id"] for x in lines}


def rows(hub, sql):
    db = sqlite3.connect(f"file:{read_db(hub)}?mode=ro", uri=True)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def test_it_is_made_anew_while_it_answers(fresh_hub):
    hub = fresh_hub
    api = hub.client()
    made = fill(api, "ANEW", 3000)
    until(lambda: metric(api, "penstock_read_model_lag_events") == 0, 20, "it to catch up")
    asked, stop = [], threading.Event()
    def ask():
        own = hub.client()
        while not stop.is_set():
            asked.append(own.get("/v1/orders?limit=5").status)
    asker = threading.Thread(target=ask)
    asker.start()
    done = hub.cli("read-model", "rebuild", "--json")
    late = fill(api, "LATE", 200)
    again = hub.cli("read-model", "rebuild")
    stop.set()
    asker.join(30)
    assert done.returncode == 0 and again.returncode == 0, (done, again)
    told = json.loads(done.stdout)
    assert told["seq"] >= 6000 and told["took_ms"] >= 0 and told["events_per_s"] > 0
    assert "events/s" in again.stdout
    assert set(asked) == {200}, "those who ask meanwhile are answered"
    until(lambda: metric(api, "penstock_read_model_lag_events") == 0, 20, "it to catch up")
    assert {o["order_id"] for o in docs.listed(api, "/v1/orders")} == made | late
    assert not list((hub.config / "data").glob("read.db.new*"))
    state = api.get("/ops/read-model").ok()
    assert state["rebuild"]["state"] == "done" and state["behind"] == 0
    assert "rebuild: done" in hub.cli("read-model", "status").stdout
    weak = hub.create_key("weak", "ops:read")
    refused = hub.cli("read-model", "rebuild", key=weak)
    assert refused.returncode == 1 and "ops:rebuild" in refused.stderr


def test_it_is_made_anew_without_a_hub(idle_hub):
    hub = idle_hub.start()
    made = fill(hub.client(), "COLD", 500)
    busy = hub.binary.run("read-model", "rebuild", "-C", hub.config)
    assert busy.returncode == 1 and "--hub" in busy.stderr, busy
    hub.stop()
    done = json.loads(hub.binary.ok("read-model", "rebuild", "-C", hub.config, "--json"))
    assert done["seq"] > 1001, "two events an order, and what the audit has"
    assert rows(hub, "SELECT seq FROM report_status") == [(done["seq"],)]
    assert {r[0] for r in rows(hub, "SELECT order_id FROM report_orders")} == made
    hub.start()
    assert {o["order_id"] for o in docs.listed(hub.client(), "/v1/orders")} == made


def test_a_kill_in_the_middle_of_it_leaves_a_working_one(idle_hub):
    hub = idle_hub.start()
    made = fill(hub.client(), "KILL", 5000)
    for pause_s in (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.16):
        api = hub.client()
        until(lambda: metric(api, "penstock_read_model_lag_events") == 0, 30, "it to catch up")
        assert api.post("/ops/read-model/rebuild").status == 202
        time.sleep(pause_s)
        hub.kill()
        hub.start()
        api = hub.client()
        until(lambda: metric(api, "penstock_read_model_lag_events") == 0, 30, "it to catch up")
        assert {o["order_id"] for o in docs.listed(api, "/v1/orders", limit=1000)} == made
        assert not list((hub.config / "data").glob("read.db.new*"))


# --- reports -----------------------------------------------------------------------------------


def test_the_page_about_reports_is_printed_from_the_tables(binary):
    page = (ROOT / "docs" / "reporting.md").read_text("utf-8")
    between = page.split("<!-- views:begin -->\n\n")[1].split("\n<!-- views:end -->")[0]
    assert between == binary.ok("read-model", "schema", "--markdown"), (
        "print it into docs/reporting.md again: penstock read-model schema --markdown"
    )
    views = json.loads(binary.ok("read-model", "schema", "--json"))["views"]
    assert [v["view"] for v in views][:2] == ["report_status", "report_orders"]


def test_reports_beside_the_running_hub(fresh_hub):
    hub = fresh_hub
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("REP", 100)).ok(201)
    number = docs.order_id()
    answer = api.post("/v1/orders", docs.order(("REP", 2), number=number))
    order = answer.ok(201)["order_id"]
    until(lambda: rows(hub, "SELECT seq FROM report_status")[0][0] >= answer.seq, 10, "the seq")
    found = rows(hub, "SELECT channel_order_id, state, grand, grand_amount, currency, captured_at,"
                      f" captured_us FROM report_orders WHERE order_id='{order}'")
    assert found[0][:5] == (number, "accepted", 3998, "39.98", "EUR")
    at = api.get(f"/v1/orders/{order}").ok()["created_at"]
    assert found[0][5].rstrip("Z").rstrip("0") == at.rstrip("Z").rstrip("0")
    listed = json.loads(hub.binary.ok("read-model", "schema", "--json"))["views"]
    for view in listed:
        names = [c[1] for c in rows(hub, f"PRAGMA table_info({view['view']})")]
        assert names == [c["name"] for c in view["columns"]]
    page = (ROOT / "docs" / "reporting.md").read_text("utf-8")
    examples = re.findall(r"```sql\n(.*?)```", page, re.S)
    assert len(examples) >= 3
    api.post(f"/v1/orders/{order}/shipments", {"location": "WH-HAM"}).ok(201)
    until(lambda: rows(hub, examples[1]), 10, "the shipped order that is not posted")
    assert rows(hub, examples[1])[0][:4] == (order, number, "39.98", "EUR")
    assert rows(hub, examples[0])[0][0] == "web-de" and rows(hub, examples[0])[0][3] == 1
    assert rows(hub, examples[2]) == []
    with pytest.raises(sqlite3.OperationalError):
        rows(hub, "DELETE FROM orders")
