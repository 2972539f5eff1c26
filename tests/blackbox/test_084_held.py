"""Held deliveries: filters of the list, and decisions about many at once, over HTTP and on the command
line; what waits behind them goes on, in order."""

import json

import docs
from wire import until


def held(hub, count, **filters):
    def ask():
        found = docs.listed(hub.client(), "/ops/held", **filters)
        return found if len(found) == count and all(x["state"] == "held" for x in found) else None
    if count:
        return until(ask, 20, f"{count} held")
    return until(lambda: not docs.listed(hub.client(), "/ops/held", **filters), 20, "none held")


def test_filters_and_many_at_once(posting_hub, ledger):
    hub, api = posting_hub, posting_hub.client()
    ledger.script += [422] * 8 + [400] * 4
    ids = docs.captured(hub, 12)
    found = held(hub, 12)
    assert sorted(x["subject"] for x in found) == sorted(ids)
    assert len(held(hub, 8, text="told to ANSWER 422")) == 8
    one = held(hub, 1, subject=ids[3])[0]
    assert held(hub, 1, key=one["key"], subscription="ledger-orders", type="order.captured") == [one]
    held(hub, 0, subscription="another")
    held(hub, 0, state="retrying")
    assert docs.listed(api, "/ops/held", text="answer 4", limit=5) == found
    bulk = "/ops/held/bulk"
    for bad in ({"action": "retry"}, {"action": "discard", "all": True}, {"action": "forget", "all": True},
                {"action": "retry", "all": True, "ids": [one["id"]]}, {"action": "retry", "ids": [7]}):
        api.post(bulk, bad).problem(422)
    dry = api.post(bulk, {"action": "discard", "text": "422", "dry_run": True, "limit": 3}).lines
    assert [x["status"] for x in dry] == [200] * 3 and "422" in dry[0]["cause"]
    assert not ledger.ids()
    lines = api.post(bulk, {"action": "retry", "ids": [one["id"], "ledger-orders:999999", "nonsense"],
                            "reason": "mended"}).lines
    assert [x["status"] for x in lines] == [200, 404, 404]
    until(lambda: ledger.ids() == [ids[3]], 20, "the one to be booked")
    lines = api.post(bulk, {"action": "retry", "text": "answer 422", "reason": "mended"}).lines
    assert [x["status"] for x in lines] == [200] * 7
    until(lambda: len(ledger.ids()) == 8, 20, "eight to be booked")
    left = [x["subject"] for x in held(hub, 4)]
    run = hub.cli("held", "discard", "--subscription", "ledger-orders", "--dry-run")
    assert run.returncode == 0 and "4 would be decided" in run.stderr
    assert hub.cli("held", "discard", "--all").returncode == 2
    assert hub.cli("held", "retry", one["id"], "--all").returncode == 2
    run = hub.cli("held", "retry", "--text", "answer 400", "--max", "1", "--json")
    assert [json.loads(x)["status"] for x in run.stdout.splitlines()] == [200], run
    until(lambda: len(ledger.ids()) == 9, 20, "nine to be booked")
    run = hub.cli("held", "discard", "--all", "--reason", "booked by hand")
    assert run.returncode == 0 and "3 done, 0 refused" in run.stderr, run
    held(hub, 0)
    assert len(set(left) - set(ledger.ids())) == 3
    released = docs.events(api, type="delivery.released")
    assert sorted(e["data"]["action"] for e in released) == ["discard"] * 3 + ["retry"] * 9
    assert {e["data"]["reason"] for e in released if e["data"]["action"] == "discard"} == {"booked by hand"}
