"""What goes out many at a time, and what only the newest of counts: availability to a sink that fails some
members, loses its answers, compares; orders in batches that are booked once each; a hub that is killed."""

import random
import threading
from collections import Counter

import pytest

import docs
from conftest import running
from hub import Hub
from sink import Sink
from wire import until


@pytest.fixture
def sink():
    yield from running(Sink())


@pytest.fixture
def start(binary, tmp_path, sink):
    hubs = []

    def make(**changes):
        hub = Hub(binary, tmp_path)
        sink.connector(hub.config, **changes)
        made = running(hub.start())
        hubs.append(made)
        return next(made)
    yield make
    for made in hubs:
        next(made, None)


def figures(hub, subscription):
    return next(s for s in docs.listed(hub.client(), "/ops/subscriptions") if s["subscription"] == subscription)


def at_rest(hub, subscription="sink-stock", **wanted):
    seq = docs.last_seq(hub.client())

    def ask():
        found = figures(hub, subscription)
        rest = found["last"] >= seq and found["behind"] == 0 and found["out"] == 0 and found["waiting"] == 0
        return found if rest and all(found[k] == v for k, v in wanted.items()) else None
    return until(ask, 20, f"{subscription} at rest with {wanted}")


def counts(api, *pairs):
    lines = api.bulk("/v1/stock/counts", [docs.count(sku, n) for sku, n in pairs]).lines
    assert {x["status"] for x in lines} == {201}, lines


def exact(api, sink, skus):
    truth = {f"{sku}@WH-HAM": docs.stock(api, sku)[3] for sku in skus}
    assert {key: sink.values.get(key) for key in truth} == truth


def test_the_newest_counts(start, sink):
    hub = start(rate=20)
    api, skus = hub.client(), [f"N-{i}" for i in range(15)]
    for turn in range(40):
        counts(api, *((sku, 100 * turn + i) for i, sku in enumerate(skus)))
    rest = at_rest(hub, held=0)
    exact(api, sink, skus)
    sent = len(sink.members())
    assert rest["delivered"] + rest["superseded"] + rest["suppressed"] == 600
    assert rest["delivered"] == sent < 400 and rest["superseded"] > 200
    times = [at for at, _, _ in sink.calls]
    assert len(times) <= 20 * (times[-1] - times[0]) + 4  # the rate is of calls
    assert all(len(doc["members"]) <= 10 for _, _, doc in sink.calls)
    per_key = Counter()
    for member in sink.members():
        assert int(member["quantity"]) >= per_key[member["key"]]  # never back to an older one
        per_key[member["key"]] = int(member["quantity"])


def test_an_order_changes_all_its_skus_and_what_is_the_same_is_not_sent(start, sink):
    hub = start(linger_ms=300)
    api, skus = hub.client(), ["O-1", "O-2", "O-3"]
    counts(api, *((sku, 50) for sku in skus))
    at_rest(hub, delivered=3)
    order = api.post("/v1/orders", docs.order(*((sku, 2) for sku in skus))).ok(201)
    at_rest(hub, delivered=6)
    exact(api, sink, skus)
    assert set(sink.values.values()) == {"48"}
    for delta in (5, -5):  # back before it goes out
        api.post("/v1/stock/adjustments", docs.adjustment("O-1", delta)).ok(201)
    rest = at_rest(hub, delivered=6, suppressed=1)
    assert rest["superseded"] == 1 and rest["attempts"] == len([c for c in sink.calls if "by" not in c[2]])
    api.post(f"/v1/orders/{order['order_id']}/cancel", {"reason": "changed my mind"}).ok(200, 201)
    at_rest(hub, delivered=9)
    assert set(sink.values.values()) == {"50"}
    text = api.get("/metrics").body.decode()
    assert 'penstock_delivery_ended_total{connector="sink",subscription="sink-stock",how="superseded"} 1' in text
    assert 'penstock_delivery_suppressed_total{connector="sink",subscription="sink-stock"} 1' in text


def test_a_member_that_fails_is_held_alone_and_a_newer_value_frees_it(start, sink):
    hub = start()
    api, skus = hub.client(), [f"F-{i}" for i in range(8)]
    sink.refused.add("F-3@WH-HAM")
    sink.busy["F-5@WH-HAM"] = 2
    counts(api, *((sku, 7) for sku in skus))
    at_rest(hub, held=1, delivered=7)
    held, = docs.listed(api, "/ops/held")
    assert held["key"] == held["subject"] == "F-3@WH-HAM" and "not known here" in held["cause"]
    assert held["type"] == "availability.changed"
    counts(api, ("F-3", 8))  # still refused: held again, by its newest
    until(lambda: any(x["seq"] > held["seq"] for x in docs.listed(api, "/ops/held", state="held")), 20, "held anew")
    sink.refused.clear()
    counts(api, ("F-3", 9))
    at_rest(hub, held=0, parked=0, delivered=8)
    exact(api, sink, skus)
    assert not docs.listed(api, "/ops/held")
    until(lambda: len(docs.events(api, type="delivery.released")) == 2, 20, "both to be released")
    assert all("superseded" in e["data"]["reason"] for e in docs.events(api, type="delivery.released"))
    assert len(docs.events(api, type="delivery.held")) == 2


def test_answers_that_are_lost_and_refusals_of_all(start, sink):
    hub = start()
    api, skus = hub.client(), [f"L-{i}" for i in range(6)]
    sink.script += ["lost", "page", 503, "drop", 422]
    counts(api, *((sku, 7) for sku in skus))
    at_rest(hub, held=0, parked=0)
    exact(api, sink, skus)
    assert {len(doc["members"]) for _, _, doc in sink.calls[5:]} == {1}  # who was refused together goes alone
    keys = Counter(key for _, key, _ in sink.calls[:5])
    assert keys.most_common(1)[0][1] > 1  # the same members and values: the same key
    counts(api, *((sku, 8) for sku in skus))
    at_rest(hub)
    exact(api, sink, skus)


def test_compare_and_set(start, sink):
    sink.compare = True
    hub = start()
    api = hub.client()
    counts(api, ("C-1", 5), ("C-2", 5))
    at_rest(hub, delivered=2)
    sink.values["C-1@WH-HAM"] = "77"  # somebody else
    counts(api, ("C-1", 6), ("C-2", 6))
    at_rest(hub, delivered=4)
    exact(api, sink, ["C-1", "C-2"])
    assert [m.get("previous") for m in sink.members() if m["key"] == "C-1@WH-HAM"] == [None, "5", "77"]
    assert [m.get("previous") for m in sink.members() if m["key"] == "C-2@WH-HAM"] == [None, "5"]


def test_all_locations_of_a_sku(start, sink):
    hub = start(key="sku")
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("S-1", 5)).ok(201)
    api.post("/v1/stock/counts", docs.count("S-1", 8, location="S01")).ok(201)
    at_rest(hub)
    assert sink.values == {"S-1": "13"}


def test_orders_in_batches_are_booked_once(start, sink):
    hub = start()
    api = hub.client()
    counts(api, ("B", 1000))
    sink.script += ["lost", "ok", 503, "page"]
    lines = api.bulk("/v1/orders", [docs.order(("B", 1)) for _ in range(40)]).lines
    ids = [x["answer"]["order_id"] for x in lines]
    rest = at_rest(hub, "sink-orders", held=0, parked=0)
    assert sorted(m["id"] for m in sink.booked) == sorted(ids)
    assert rest["delivered"] == 40 and rest["found"] >= 10 and sink.lookups
    postings = until(lambda: len(found := docs.listed(api, "/v1/postings")) == 40 and found, 20, "the postings")
    assert {p["order_id"]: p["reference"] for p in postings} == {i: sink.number(i) for i in ids}
    assert all(doc["by"] == "EUR" for _, _, doc in sink.calls if "by" in doc)


def test_a_batch_of_orders_holds_only_who_failed(start, sink):
    hub = start(linger_ms=200)
    api = hub.client()
    counts(api, ("B", 1000))
    at_rest(hub)
    first = api.post("/v1/orders", docs.order(("B", 1))).ok(201)["order_id"]
    at_rest(hub, "sink-orders", delivered=1)
    sink.script.append(422)  # all of them, and it does not say which
    lines = api.bulk("/v1/orders", [docs.order(("B", 1)) for _ in range(5)]).lines
    ids = [x["answer"]["order_id"] for x in lines]
    at_rest(hub, "sink-orders", delivered=6, held=0)
    assert sorted(m["id"] for m in sink.booked) == sorted([first, *ids])


@pytest.mark.parametrize("says", [False, True], ids=["413", "its-answer"])
def test_what_is_too_large_goes_in_smaller_calls(start, sink, says):
    sink.most, sink.says_large = 3, says
    hub = start(linger_ms=100)
    api = hub.client()
    counts(api, ("B", 1000))
    at_rest(hub)
    sink.script.append("lost" if not says else "ok")  # then some are looked up, in calls as small
    lines = api.bulk("/v1/orders", [docs.order(("B", 1)) for _ in range(30)]).lines
    ids = [x["answer"]["order_id"] for x in lines]
    rest = at_rest(hub, "sink-orders", delivered=30, held=0, parked=0)
    assert sorted(m["id"] for m in sink.booked) == sorted(ids)
    assert rest["failed"] <= 3 and sink.too_many and max(sink.too_many) <= 10
    assert max(len(doc["members"]) for _, _, doc in sink.calls) <= 3
    assert 'penstock_delivery_batch_members_max{connector="sink",subscription="sink-orders"}' in api.get(
        "/metrics").body.decode()


def test_killed_in_the_middle(start, sink):
    hub = start(rate=50)
    seed = 4711
    rng, skus, over = random.Random(seed), [f"K-{i}" for i in range(25)], threading.Event()
    counts(hub.client(), *((sku, 10000) for sku in skus))
    sink.script += ["ok", "lost", "ok", "page", "ok", "drop"] * 5
    booked = set()

    def change():
        while not over.is_set():
            try:
                api = hub.client()
                api.post("/v1/stock/adjustments", docs.adjustment(rng.choice(skus), rng.choice([-3, 1, 2]))).ok(201)
                answer = api.post("/v1/orders", docs.order((rng.choice(skus), 1)))
                if answer.status == 201:
                    booked.add(answer.json["order_id"])
            except Exception:
                over.wait(0.05)  # it is being killed
    threads = [threading.Thread(target=change) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        over.wait(rng.uniform(0.3, 0.9))
        hub.kill()
        hub.restart()
    over.set()
    for thread in threads:
        thread.join()
    api = hub.client()
    at_rest(hub, held=0, parked=0)
    at_rest(hub, "sink-orders", held=0, parked=0)
    exact(api, sink, skus)
    ids = [m["id"] for m in sink.booked]
    assert len(ids) == len(set(ids)) and booked <= set(ids)
