"""Held deliveries that persons edit: what goes out is other, the event stays what it is; who and why is told;
over failures, a kill, another version of the mapping, a replay and an erasure; filters by status and age."""

import json

import pytest

import docs
from conftest import running
from hub import Hub
from ledger import Ledger
from test_088_privacy import told, traces
from wire import until

CONNECTOR = """\
connector: ledger
version: "{version}"
owner: finance
description: Books that take a currency they know
send:
  - subscription: ledger-orders
    events: [order.captured, order.cancelled]
    key: subject
    personal: true
    mapping: out.lua
    request:
      method: POST
      url: "{url}/orders"
      headers: {{Idempotency-Key: "{{event.id}}"}}
    outcome: {{success: [200, 201], final: [400, 422], retryable: [429, "5xx"]}}
    retry: {{first_ms: 20, max_ms: 200, factor: 2, jitter: none, attempts_max: 1}}
    limits: {{concurrency: 4}}
    replay: again
    timeout_ms: 2000
"""
MAPPING = """\
return function(event)
  local order = opt(event.data, 'order')
  if not order then return {order_id = event.subject, gone = true} end
  if order.currency == 'EUR' and opt(order, 'ext.bad') then error('no EUR here') end
  return {order_id = event.subject, currency = order.currency, mail = opt(order, 'customer.email'),
          note = opt(order, 'ext.note')}
end
"""


def write(hub, ledger, version="1.0.0", mapping=MAPPING):
    folder = hub.config / "connectors" / "ledger"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "connector.yaml").write_text(CONNECTOR.format(url=ledger.url, version=version))
    (folder / "out.lua").write_text(mapping)


@pytest.fixture
def ledger():
    yield from running(Ledger())


@pytest.fixture
def hub(binary, tmp_path, ledger):
    hub = Hub(binary, tmp_path)
    write(hub, ledger)
    for made in running(hub.start()):
        made.client().post("/v1/stock/counts", docs.count("ERP", 100000)).ok(201)
        yield made


def held(hub, count=1, **filters):
    def ask():
        found = docs.listed(hub.client(), "/ops/held", **filters)
        return found if len(found) == count and all(x["state"] == "held" for x in found) else None
    return until(ask, 20, f"{count} held") if count else until(lambda: ask() == [], 20, "none held")


def capture(hub, **more):
    return hub.client().post("/v1/orders", docs.order(("ERP", 1), **more), headers=docs.key()).ok(201)["order_id"]


def patch(**order):
    return {"order": order}


def edit(api, row, **body):
    return api.post(f"/ops/held/{row['id']}/edit", {"reason": "the shop sent another currency", **body})


def edits(api):
    return docs.events(api, type="delivery.edited")


def test_what_is_edited_goes_out_and_the_event_stays(hub, ledger):
    api = hub.client()
    ledger.script += [422]
    order = capture(hub, customer={"email": "ida@example.org"})
    row = held(hub)[0]
    dry = edit(api, row, patch=patch(currency="CHF", ext={"note": "by hand"}), dry_run=True).ok()
    assert dry["state"] == "preview" and not edits(api), dry
    preview = dry["preview"]
    assert preview["outcome"] == "maps" and preview["mapping"] == "ledger/out.lua"
    assert preview["document"] == {"order_id": order, "currency": "CHF", "mail": "ida@example.org",
                                   "note": "by hand"}
    assert {"target": "/currency", "sources": ["/data/order/currency"]} in preview["trace"]
    bad = edit(api, row, patch=patch(ext={"bad": True}), dry_run=True).ok()["preview"]
    assert bad["outcome"] == "mapping-failed" and "no EUR here" in bad["cause"] and "document" not in bad
    assert len(ledger.calls) == 1  # nothing was sent

    made = edit(api, row, patch=patch(currency="CHF", ext={"note": "by hand"})).ok()
    assert made["state"] == "retrying" and made["id"] == row["id"]
    until(lambda: ledger.rows(order), 20, "the order booked")
    assert ledger.rows(order)[0]["doc"] == preview["document"]
    held(hub, 0)
    # it has refused that id once: it is told another one
    assert [k.removeprefix(ledger.keys[0]) for k in ledger.keys] == ["", f"-e{made['edit']}"]
    assert api.get("/v1/orders/" + order).ok()["currency"] == "EUR"
    event = edits(api)[0]
    assert int(event["penstockseq"]) == made["edit"]
    assert event["data"]["patch"] == patch(currency="CHF", ext={"note": "by hand"})
    assert event["data"]["changed"] == ["/order/currency", "/order/ext/note"]
    assert event["data"]["reason"] == "the shop sent another currency" and event["data"]["by"].startswith("pk_")
    words = json.dumps(api.get("/ops/trace/" + order).ok())
    assert "ledger-orders edited at /order/currency, /order/ext/note" in words and "another currency" in words
    audit = api.get("/ops/audit?kind=change&limit=1000").ok()["items"]
    line = [x for x in audit if x["action"] == "delivery.edit"]
    assert len(line) == 1 and line[0]["events"][0]["seq"] == made["edit"], line
    # a replay sends what has happened
    api.post("/ops/replays", {"subscription": "ledger-orders", "key": order, "reason": "lost there"}).ok(201)
    until(lambda: len(ledger.rows(order)) == 2, 20, "the replay booked")
    assert ledger.rows(order)[1]["doc"]["currency"] == "EUR"


def test_it_stays_over_failures_and_a_kill_and_its_lane_keeps_its_order(hub, ledger):
    api = hub.client()
    ledger.script += [422]
    order = capture(hub)
    ledger.fates[order] = 422
    row = held(hub)[0]
    api.post(f"/v1/orders/{order}/cancel", {"reason": "other"}, headers=docs.key()).ok(200, 201)
    first = edit(api, row, patch=patch(currency="CHF")).ok()["edit"]
    until(lambda: len(ledger.calls) == 2 and held(hub), 20, "refused again")
    row = held(hub)[0]
    assert row["edit"] == first and ledger.calls[1][1]["currency"] == "CHF"
    assert api.get("/ops/held/" + row["id"]).ok()["edit"] == first
    assert "edit             %d" % first in hub.cli("held", "show", row["id"]).stdout
    # who edits what he has not seen is told so
    edit(api, row, patch=patch(currency="SEK"), edit=0).problem(409)
    hub.kill()
    hub.start()
    api = hub.client()
    row = held(hub)[0]
    assert row["edit"] == first and {c[1]["currency"] for c in ledger.calls[1:]} == {"CHF"}
    calls = len(ledger.calls)
    second = edit(api, row, patch=patch(ext={"note": "x"}), edit=first).ok()["edit"]
    until(lambda: len(ledger.calls) > calls and held(hub), 20, "refused once more")
    assert ledger.calls[-1][1]["currency"] == "EUR"  # the second takes the place of the first
    assert [e["data"].get("replaces") for e in edits(api)] == [None, first]
    del ledger.fates[order]
    api.post(f"/ops/held/{row['id']}/retry", {}).ok()
    until(lambda: len(ledger.rows(order)) == 2, 20, "both booked")
    assert [r["doc"].get("gone") for r in ledger.rows(order)] == [None, True]  # in their order
    assert ledger.rows(order)[0]["doc"]["note"] == "x" and ledger.keys[-2].endswith(f"-e{second}")
    hub.stop()
    hub.verify()


def test_what_can_not_be_edited_is_refused(hub, ledger):
    api = hub.client()
    ledger.script += [422]
    order = capture(hub)
    row = held(hub)[0]
    path = f"/ops/held/{row['id']}/edit"
    api.post(path, {"reason": "x"}).problem(422, ["/patch"])
    api.post(path, {"patch": {"a": 1}}).problem(422, ["/reason"])
    api.post(path, {"reason": "x", "patch": [1]}).problem(422, ["/patch"])
    api.post(path, {"reason": "x", "patch": {}}).problem(422, ["/patch"])
    api.post("/ops/held/ledger-orders:99999/edit", {"reason": "x", "patch": {"a": 1}}).problem(404)
    answer = edit(api, row, mapping_version="0.9.0+abc").problem(409)
    loaded = edit(api, row, patch=patch(currency="CHF"), dry_run=True).ok()["preview"]["mapping_version"]
    assert loaded in answer["detail"]
    reader = hub.create_key("reader", "ops:read")
    api.post(path, {"reason": "x", "patch": {"a": 1}}, key=reader).problem(403)
    # it holds for the version it was made for, whatever comes
    ledger.script += [422]
    edit(api, row, patch=patch(currency="CHF"), mapping_version=loaded).ok()
    until(lambda: len(ledger.calls) == 2 and held(hub), 20, "refused again")
    write(hub, ledger, "2.0.0", MAPPING.replace("error('no EUR here')", "error('none')"))
    api.post("/ops/connectors/reload").ok()
    api.post(f"/ops/held/{row['id']}/retry", {}).ok()
    again = until(lambda: [x for x in held(hub) if x["cause"].startswith("edit: ")], 20, "held again")
    assert "another version of the mapping" in again[0]["cause"] and len(ledger.calls) == 2
    run = hub.cli("held", "edit", row["id"], "--patch", '{"order":{"currency":"CHF"}}', "--reason", "as before")
    assert run.returncode == 0 and "retrying" in run.stdout, run
    until(lambda: ledger.rows(order), 20, "booked")
    assert ledger.rows(order)[0]["doc"]["currency"] == "CHF"


SECRET = "Quirinius Quappendorf"


def test_an_edit_is_sealed_and_erased_with_its_person(hub, ledger):
    api = hub.client()
    refuse = lambda doc: (422, f"nobody knows {doc['mail']}")  # noqa: E731
    ledger.script += [refuse]
    order = capture(hub, customer={"customer_id": "C-Q9", "email": "old@example.org"})
    ledger.fates[order] = refuse
    row = held(hub)[0]
    edit(api, row, patch=patch(customer={"email": SECRET})).ok()
    until(lambda: len(ledger.calls) == 2 and held(hub), 20, "refused again")
    assert ledger.calls[1][1]["mail"] == SECRET
    row = held(hub)[0]
    assert SECRET not in row["cause"] and "nobody knows" in row["cause"], row
    limited = hub.create_key("limited", "ops:read", "ops:retry", "events:read")
    assert "patch" not in edits(hub.client(limited))[0]["data"] and edits(api)[0]["data"]["patch"]
    shown = edit(hub.client(limited), row, patch=patch(currency="CHF"), dry_run=True).ok()["preview"]
    assert shown["outcome"] == "maps" and "document" not in shown and "personal:read" in shown["hidden"]
    hub.kill()
    assert traces(hub.folder, told(SECRET)) == []
    hub.start()
    api = hub.client()
    row, calls = held(hub)[0], len(ledger.calls)
    api.delete("/v1/customers/C-Q9").ok()
    assert "patch" not in edits(api)[0]["data"] and edits(api)[0]["data"]["changed"] == ["/order/customer/email"]
    api.post(f"/ops/held/{row['id']}/retry", {}).ok()
    again = until(lambda: [x for x in held(hub) if "erased" in x["cause"]], 20, "held again")
    assert again[0]["cause"].startswith("edit: what it said was erased") and len(ledger.calls) == calls
    del ledger.fates[order]
    edit(api, again[0], patch=patch(currency="CHF")).ok()
    until(lambda: ledger.rows(order), 20, "booked")


def test_filters_by_status_and_age_and_many_edits_at_once(hub, ledger):
    api = hub.client()
    ledger.script += [422] * 3 + [400] * 2 + [500] * 2
    for _ in range(7):
        capture(hub)
    held(hub, 7)
    for status, count in (("422", 3), ("4xx", 5), ("5xx", 2), ("400", 2)):
        held(hub, count, status=status)
    held(hub, 0, status="0")
    held(hub, 7, since="2020-01-01T00:00:00Z")
    held(hub, 0, since="2090-01-01T00:00:00Z")
    held(hub, 0, older_than="1h")
    held(hub, 7, older_than="0s")
    for bad in ({"status": "4x"}, {"status": "99"}, {"older_than": "soon"}, {"since": "noon"}):
        api.get("/ops/held" + docs.query(**bad)).problem(422, list(bad))
    bulk = "/ops/held/bulk"
    api.post(bulk, {"action": "edit", "status": "4xx", "reason": "x"}).problem(422, ["/patch"])
    api.post(bulk, {"action": "edit", "status": "4xx", "patch": {"a": 1}}).problem(422, ["/reason"])
    api.post(bulk, {"action": "retry", "status": "4xx", "patch": {"a": 1}}).problem(422, ["/action"])
    api.post(bulk, {"action": "retry", "status": "x", "older_than": "y"}).problem(422, ["/older_than", "/status"])
    change = patch(currency="CHF")
    dry = api.post(bulk, {"action": "edit", "status": "4xx", "patch": change, "dry_run": True, "limit": 2}).lines
    assert len(dry) == 2 and [x["found"] for x in dry] == [5, 5], dry
    assert [x["preview"]["document"]["currency"] for x in dry] == ["CHF", "CHF"]
    assert api.post(bulk, {"action": "edit", "older_than": "1h", "patch": change, "reason": "x"}).lines == []
    run = hub.cli("held", "edit", "--status", "400", "--patch", json.dumps(change), "--dry-run")
    assert run.returncode == 0 and "2 would be decided of 2" in run.stderr and '"currency": "CHF"' in run.stdout, run
    lines = api.post(bulk, {"action": "edit", "status": "422", "patch": change, "reason": "x"}).lines
    assert [(x["status"], x["answer"]["state"]) for x in lines] == [(200, "retrying")] * 3
    until(lambda: len(ledger.ids()) == 3, 20, "three booked")
    assert {r["doc"]["currency"] for r in ledger.book} == {"CHF"}
    run = hub.cli("held", "retry", "--status", "5xx", "--since", "2020-01-01T00:00:00Z")
    assert run.returncode == 0 and "2 done, 0 refused" in run.stderr, run
    run = hub.cli("held", "discard", "--status", "400", "--older-than", "0s", "--reason", "no")
    assert run.returncode == 0 and "2 done" in run.stderr, run
    held(hub, 0)
    assert hub.cli("held", "edit", "--all", "--reason", "x").returncode == 2
    assert hub.cli("held", "retry", "--all", "--patch", "{}").returncode == 2
    assert hub.cli("held", "edit", "ledger-orders:1", "--patch", "{}").returncode == 2
