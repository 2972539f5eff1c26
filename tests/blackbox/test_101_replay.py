"""Replays: what is counted is what is sent, throttled, found where it is there, beside live traffic of the
same keys, over kills, on the command line and over HTTP."""

import json
import time

import pytest

import docs
from conftest import running
from hub import Hub
from ledger import Ledger
from wire import until

KEYED = """\
connector: ledger
version: "1.0.0"
owner: finance
description: Books that know a call by its key
send:
  - subscription: ledger-orders
    events: [order.captured, order.cancelled]
    key: subject
    request:
      method: POST
      url: "{url}/orders"
      headers: {{Idempotency-Key: "{{event.id}}"}}
    outcome: {{success: [200, 201], final: [400, 422], retryable: [429, "5xx"]}}
    retry: {{first_ms: 20, max_ms: 200, factor: 2, jitter: none, attempts_max: 0}}
    limits: {{concurrency: 8}}
    replay: {replay}
    timeout_ms: 2000
"""


@pytest.fixture
def ledger():
    yield from running(Ledger())


def started(binary, tmp_path, ledger, replay=None):
    hub = Hub(binary, tmp_path)
    ledger.connector(hub.config)
    if replay:
        text = KEYED.format(url=ledger.url, replay=replay)
        (hub.config / "connectors" / "ledger" / "connector.yaml").write_text(text)
    for made in running(hub.start()):
        made.client().post("/v1/stock/counts", docs.count("RP", 100000)).ok(201)
        yield made


@pytest.fixture
def posting_hub(binary, tmp_path, ledger):
    yield from started(binary, tmp_path, ledger)


@pytest.fixture
def keyed_hub(binary, tmp_path, ledger):
    yield from started(binary, tmp_path, ledger, "same")


@pytest.fixture
def again_hub(binary, tmp_path, ledger):
    yield from started(binary, tmp_path, ledger, "again")


def capture(hub, count):
    lines = hub.client().bulk("/v1/orders", [docs.order(("RP", 1)) for _ in range(count)]).lines
    assert {x["status"] for x in lines} == {201}, lines
    return [x["answer"]["order_id"] for x in lines]


def booked(ledger, count):
    until(lambda: len(ledger.ids()) >= count, 30, f"{count} booked")


def over(hub, number, state="done", seconds=60):
    def ask():
        replay = hub.client().get(f"/ops/replays/{number}").ok()
        return replay if replay["state"] == state else None
    return until(ask, seconds, f"replay {number} {state}")


def forget(ledger):
    """The books are lost, as after a restore from an old backup."""
    with ledger.lock:
        ledger.book.clear()
        ledger.calls.clear()
        ledger.replays.clear()
        ledger.keys.clear()


def test_a_dry_run_counts_what_is_sent(posting_hub, ledger):
    hub, api = posting_hub, posting_hub.client()
    ids = capture(hub, 40)
    booked(ledger, 40)
    until(lambda: len(docs.events(api, type="posting.posted")) == 40, 20, "the postings, which follow the booking")
    stored = docs.stored(api)
    run = hub.cli("replay", "--subscription", "ledger-orders", "--dry-run")
    assert run.returncode == 0 and "40 events would go to ledger-orders" in run.stdout, run
    assert "order.captured" in run.stdout and docs.stored(api) == stored
    run = hub.cli("replay", "--subscription", "ledger-orders", "--key", ids[7], "--dry-run", "--json")
    dry = json.loads(run.stdout)
    assert (dry["chosen"], dry["state"], dry["guard"]) == (1, "counted", "lookup"), dry
    # all is there: it is found, nothing is posted
    run = hub.cli("replay", "--subscription", "ledger-orders", "--json")
    assert json.loads(run.stdout)["found"] == 40 and len(ledger.ids()) == 40, run
    forget(ledger)
    first = [e["penstockseq"] for e in docs.events(api, type="order.captured")][0]
    run = hub.cli("replay", "--subscription", "ledger-orders", "--from-seq", str(first), "--reason", "lost", "--json")
    replay = json.loads(run.stdout)
    assert (replay["chosen"], replay["sent"], replay["state"]) == (40, 40, "done"), replay
    assert sorted(ledger.ids()) == sorted(ids) and set(ledger.replays) == {str(replay["id"])}
    told = [e["data"] for e in docs.events(api, type="delivery.replayed") if e["data"]["replay"] == replay["id"]]
    assert [t["action"] for t in told] == ["started", "done"]
    assert told[0]["reason"] == "lost" and told[0]["by"] and told[1]["sent"] == 40
    figures = api.get("/metrics").body.decode()
    assert 'penstock_replayed_total{connector="ledger",subscription="ledger-orders",outcome="sent"} 40' in figures
    assert str(replay["id"]) in hub.cli("replay", "list").stdout
    # what came of it is in nobody's books twice
    capture(hub, 1)
    booked(ledger, 41)


def test_what_may_not_be_asked_for(posting_hub, ledger):
    hub, api = posting_hub, posting_hub.client()
    capture(hub, 2)
    ask = "/ops/replays"
    api.post(ask, {"subscription": "ledger-orders"}).problem(422, {"/from_seq"})
    api.post(ask, {"subscription": "ledger-orders", "from_seq": 9, "to_seq": 8}).problem(422, {"/to_seq"})
    api.post(ask, {"subscription": "nobody", "from_seq": 1}).problem(404)
    api.post(ask, {"subscription": "ledger-orders", "from_seq": 1, "again": True}).problem(409)
    api.post(ask, {"subscription": "ledger-orders", "type": "order.shipped"}).problem(409)
    api.post(ask, {"subscription": "ledger-orders", "from": "yesterday"}).problem(422, {"/from"})
    api.get(ask + "/99").problem(404)
    api.post(ask + "/99/pause", {}).problem(404)
    number = api.post(ask, {"subscription": "ledger-orders", "from_seq": 1}).ok(201)["id"]
    over(hub, number)
    api.post(f"{ask}/{number}/cancel", {}).problem(409)
    reader = hub.client(key=hub.create_key("reader", "ops:read"))
    reader.post(ask, {"subscription": "ledger-orders", "from_seq": 1}).problem(403)
    assert hub.cli("replay", "--dry-run").returncode == 2
    assert hub.cli("replay", "shout").returncode == 2


def test_again_is_sent_as_new(again_hub, ledger):
    hub, api = again_hub, again_hub.client()
    capture(hub, 5)
    booked(ledger, 5)
    keys = list(ledger.keys)
    number = api.post("/ops/replays", {"subscription": "ledger-orders", "from_seq": 1}).ok(201)["id"]
    over(hub, number)
    assert sorted(ledger.keys[5:]) == sorted(keys)  # the same keys: known there
    ask = {"subscription": "ledger-orders", "from_seq": 1, "again": True}
    number = api.post("/ops/replays", ask).ok(201)["id"]
    over(hub, number)
    assert sorted(ledger.keys[10:]) == sorted(f"{k}-r{number}" for k in keys)


def judge(ledger, per_order):
    """Of each order: never two calls at once; live ones and replayed ones each in the journal's order."""
    assert ledger.per_order == 1, "two deliveries of one order were out together"
    seen = {}
    for (_, doc), replay, key in zip(ledger.calls, ledger.replays, ledger.keys):
        seq = int(key.rsplit("-", 1)[1])
        lane = seen.setdefault((doc["order_id"], replay), [])
        # after a kill, a replay goes back a little: what was answered last may come again
        assert not lane or seq >= lane[-1] or per_order == "killed", (doc["order_id"], replay, lane, seq)
        lane.append(seq)
    return seen


def test_beside_live_traffic_of_the_same_keys(keyed_hub, ledger):
    hub, api = keyed_hub, keyed_hub.client()
    ids = capture(hub, 120)
    booked(ledger, 120)
    forget(ledger)
    ledger.script += [503, "late", 429] * 10
    ledger.late_s = 0.2
    number = api.post("/ops/replays", {"subscription": "ledger-orders", "from_seq": 1}).ok(201)["id"]
    for order in ids:
        api.post(f"/v1/orders/{order}/cancel", {"reason": "changed"}).ok()
    replay = over(hub, number)
    assert replay["sent"] == replay["chosen"] >= 120
    until(lambda: len([1 for _, doc in ledger.calls if doc.get("reason")]) >= 120, 30, "all cancelled")
    seen = judge(ledger, "live")
    for order in ids:
        assert len(seen[(order, None)]) >= 1 and seen[(order, str(number))], order
    judged = {d["order_id"] for _, d in ledger.calls}
    assert judged == set(ids)


def test_throttled_paused_and_killed(keyed_hub, ledger):
    hub, api = keyed_hub, keyed_hub.client()
    ids = capture(hub, 200)
    booked(ledger, 200)
    forget(ledger)
    began = time.monotonic()
    ask = {"subscription": "ledger-orders", "from_seq": 1, "rate_per_s": 50}
    number = api.post("/ops/replays", ask).ok(201)["id"]
    booked(ledger, 20)
    stands = api.post(f"/ops/replays/{number}/pause", {"reason": "wait"}).ok()
    assert stands["state"] == "paused"
    time.sleep(0.3)
    count = len(ledger.ids())
    time.sleep(0.5)
    assert len(ledger.ids()) == count < 200
    hub.kill()
    hub.start()
    assert over(hub, number, "paused")["sent"] <= count
    hub.client().post(f"/ops/replays/{number}/resume").ok()
    booked(ledger, count + 20)
    for part in (60, 120):
        booked(ledger, part)
        hub.kill()
        hub.start()
    replay = over(hub, number)
    assert time.monotonic() - began > 200 / 50 * 0.9  # never faster than asked for
    assert replay["sent"] == replay["chosen"] == 200, replay
    assert set(ledger.ids()) == set(ids)
    repeats = len(ledger.ids()) - 200
    assert repeats <= 3 * 32, repeats  # what was not written down yet at the kills, and no more
    judge(ledger, "killed")


def test_what_fails_is_held_with_its_replay(keyed_hub, ledger):
    hub, api = keyed_hub, keyed_hub.client()
    ids = capture(hub, 10)
    booked(ledger, 10)
    ledger.fates[ids[3]] = 422
    number = api.post("/ops/replays", {"subscription": "ledger-orders", "from_seq": 1}).ok(201)["id"]
    replay = over(hub, number)
    assert (replay["sent"], replay["held"]) == (9, 1)
    held = docs.listed(api, "/ops/held")
    assert [(h["subject"], h["replay"]) for h in held] == [(ids[3], number)]
    told = [e["data"] for e in docs.events(api, type="delivery.held")]
    assert [t["replay"] for t in told] == [number]
    del ledger.fates[ids[3]]
    api.post(f"/ops/held/{held[0]['id']}/retry", {"reason": "mended"}).ok()
    until(lambda: not docs.listed(api, "/ops/held"), 20, "none held")
    assert ledger.replays[-1] == str(number)
