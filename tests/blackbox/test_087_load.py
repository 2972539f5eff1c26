"""Random commands from many connections: the oracle agrees, and what is seen through the API is
the same after a restart, from the journal alone or from what was written of the state."""

import os
import threading

import pytest

import docs
from load import Load
from observe import observe
from oracle import Oracle
from wire import Client, Gone

SECONDS = float(os.environ.get("PENSTOCK_LOAD_SECONDS", "3"))


# Next to nothing of the state stays in memory: it comes and goes all the time.
TIGHT = {"PENSTOCK_STATE_BYTES_MAX": "4096", "PENSTOCK_STATE_FLUSH_EVENTS": "64",
         "PENSTOCK_JOURNAL_SEGMENT_BYTES": "1000000"}


@pytest.mark.parametrize("seed, settings", [(1, {}), (2, TIGHT)], ids=["roomy", "tight"])
def test_random_commands_then_a_restart(idle_hub, seed, settings):
    seed = os.environ.get("PENSTOCK_SEED", seed)
    print(f"PENSTOCK_SEED={seed}")
    idle_hub.env.update(settings)
    hub = idle_hub.start()
    oracle = Oracle(f"load{seed}")
    load = Load(oracle, seed, Gone, connections=16)
    load.prepare(hub.client())
    load.start(hub.client)
    threading.Event().wait(SECONDS)  # how long the load lasts
    load.join()
    load.settle(hub.client())
    view = observe(hub.client(), load.skus)
    counts = oracle.counts()
    print(dict(counts))
    assert oracle.judge(view) == []
    for kind in ("order", "cancel", "shipment", "hold"):
        assert counts[kind, "acknowledged"] >= 5 and counts[kind, "refused"] >= (kind != "hold")
    if settings:
        loads = [line for line in hub.client().get("/metrics").body.decode().splitlines()
                 if line.startswith("penstock_state_loads_total ")]
        assert int(loads[0].split()[1]) > 20, "nothing left memory"
    hub.restart()
    after = observe(hub.client(), load.skus)
    assert after.availability == view.availability
    assert after.orders == view.orders
    assert business(after) == business(view)
    load.start(hub.client)
    threading.Event().wait(SECONDS / 3)
    load.join()
    load.settle(hub.client())
    assert oracle.judge(observe(hub.client(), load.skus)) == []
    hub.stop()
    hub.verify()


def business(view):
    """Its events without what the hub tells its audit: a stop and a start are lines there."""
    return [event for event in view.events if ".audit." not in event["type"]]


def test_a_stop_under_load_loses_nothing(idle_hub):
    """SIGTERM while many sell: what was acknowledged is there, the rest is not or is whole."""
    hub = idle_hub.start()
    oracle = Oracle("stop")
    load = Load(oracle, 3, Gone, connections=16)
    load.prepare(hub.client())
    for _ in range(4):
        host, port, key = hub.host, hub.port, hub.key
        load.start(lambda: Client(host, port, key))
        threading.Event().wait(0.3)  # how long it sells
        hub.stop()
        load.join()
        hub.start()
    load.settle(hub.client())
    assert oracle.judge(observe(hub.client(), load.skus)) == []
    assert oracle.counts()["order", "acknowledged"] > 50


def test_more_than_the_queue_takes_is_shed_with_a_clear_answer(idle_hub):
    """503 with Retry-After changes nothing, and the same request succeeds later."""
    hub = idle_hub
    hub.env.update({"PENSTOCK_QUEUE_COMMANDS_MAX": "16", "PENSTOCK_BATCH_COMMANDS_MAX": "4"})
    api = hub.start().client()
    api.post("/v1/stock/counts", docs.count("SHED", 100000)).ok(201)
    sent = [docs.order(("SHED", 1)) for _ in range(1000)]
    taken, waiting, shed = 0, sent, 0
    for _ in range(400):
        lines = api.bulk("/v1/orders", waiting).lines
        assert {x["status"] for x in lines} <= {201, 503}, {x["status"] for x in lines}
        taken += sum(x["status"] == 201 for x in lines)
        shed += sum(x["status"] == 503 for x in lines)
        waiting = [doc for doc, x in zip(waiting, lines) if x["status"] == 503]
        if not waiting:
            break
    assert taken == 1000 and docs.stock(api, "SHED")[2] == "1000"
    print(f"{shed} were shed")


def test_readers_never_see_an_impossible_stock(hub, api, stocked):
    """While orders come and go, available = on hand - held - committed in every answer, and
    nothing is ever oversold."""
    sku = stocked(30)
    stop, wrong = threading.Event(), []

    def read():
        client = hub.client()
        while not stop.is_set():
            on_hand, held, committed, available = map(int, docs.stock(client, sku))
            if available != on_hand - held - committed or available < 0:
                wrong.append((on_hand, held, committed, available))
    readers = [threading.Thread(target=read) for _ in range(3)]
    for r in readers:
        r.start()

    def sell():
        client = hub.client()
        for _ in range(40):
            answer = client.post("/v1/orders", docs.order((sku, 7)))
            if answer.status == 201:
                client.post(f"/v1/orders/{answer.json['order_id']}/cancel", {"reason": "x"}).ok()
    sellers = [threading.Thread(target=sell) for _ in range(6)]
    for s in sellers:
        s.start()
    for s in sellers:
        s.join()
    stop.set()
    for r in readers:
        r.join()
    assert not wrong
    assert docs.stock(api, sku) == ("30", "0", "0", "30")
