"""A subscription of which too much fails stops itself: what it wants waits in the journal, over kills;
a person starts it, and all goes out, in order, once."""

import time

import pytest

import docs
from conftest import running
from hub import Hub
from ledger import Ledger
from wire import until

NAME = "ledger-orders"


@pytest.fixture
def ledger():
    yield from running(Ledger())


@pytest.fixture
def posting_hub(binary, tmp_path, ledger):
    hub = Hub(binary, tmp_path)
    ledger.connector(hub.config, extra="    stop: {share: \"0.4\", of_last: 10, at_least: 5}\n")
    for made in running(hub.start()):
        made.client().post("/v1/stock/counts", docs.count("ERP", 100000)).ok(201)
        yield made


def capture(hub, count):
    lines = hub.client().bulk("/v1/orders", [docs.order(("ERP", 1)) for _ in range(count)]).lines
    assert {x["status"] for x in lines} == {201}, lines
    return [x["answer"]["order_id"] for x in lines]


def outlet(hub):
    return [x for x in docs.listed(hub.client(), "/ops/subscriptions") if x["subscription"] == NAME][0]


def test_stops_itself_and_is_started(posting_hub, ledger):
    hub, api = posting_hub, posting_hub.client()
    ledger.script += [422] * 1000  # a wrong deployment
    ids = capture(hub, 60)
    until(lambda: outlet(hub)["state"] == "stopped", 20, "the subscription to stop itself")
    # it is told everywhere, with the cause
    stopped = outlet(hub)["stopped"]
    assert stopped["why"] == "failures" and "422" in stopped["cause"] and stopped["by"] is None, stopped
    until(lambda: len(docs.events(api, type="subscription.stopped")) == 1, 10, "the event")
    until(lambda: [x["subject"] for x in docs.listed(api, "/ops/exceptions", kind="subscription-stopped",
                                                     state="open")] == [NAME], 10, "the case")
    assert api.get("/readyz").ok()["subscriptions"] == {"stopped": 1}
    assert f'penstock_delivery_stopped{{connector="ledger",subscription="{NAME}"}} 1' in \
        api.get("/metrics").body.decode()
    run = hub.cli("subscriptions", "list")
    assert run.returncode == 0 and "stopped" in run.stdout and "were held" in run.stdout, run
    # a few are held, the rest waits; kills and further orders change nothing of that
    time.sleep(0.5)  # progress is written every 100 ms: what was under way has ended and is in it
    held = len(docs.listed(api, "/ops/held"))
    calls = len(ledger.calls)
    assert 5 <= held <= 5 + 8
    for _ in range(2):
        hub.kill()
        hub.start()
        ids += capture(hub, 5)
    assert outlet(hub)["state"] == "stopped"
    api = hub.client()
    assert len(ledger.calls) == calls and len(docs.listed(api, "/ops/held")) == held
    assert len(docs.events(api, type="subscription.stopped")) == 1
    # a person starts it, with a reason; what was held is let go
    assert hub.cli("subscriptions", "start", NAME).returncode == 2
    api.post(f"/ops/subscriptions/{NAME}/start", {}).problem(422)
    api.post("/ops/subscriptions/nobody/start", {"reason": "x"}).problem(404)
    api.post(f"/ops/subscriptions/{NAME}/stop", {"reason": "x"}).problem(409)
    ledger.script.clear()
    run = hub.cli("subscriptions", "start", NAME, "--reason", "mapping is mended")
    assert run.returncode == 0 and "started" in run.stdout, run
    api.post(f"/ops/subscriptions/{NAME}/start", {"reason": "x"}).problem(409)
    assert hub.cli("held", "retry", "--all", "--reason", "mended").returncode == 0
    until(lambda: len(ledger.ids()) == len(ids), 30, "all to be booked")
    assert sorted(ledger.ids()) == sorted(ids)  # each once
    started = docs.events(api, type="subscription.started")
    assert [e["data"]["reason"] for e in started] == ["mapping is mended"] and started[0]["data"]["by"]
    until(lambda: not docs.listed(api, "/ops/exceptions", kind="subscription-stopped", state="open"), 10,
          "the case to be closed")
    assert outlet(hub)["state"] == "running" and outlet(hub).get("stopped") is None


def test_a_person_stops_and_starts(posting_hub, ledger):
    hub, api = posting_hub, posting_hub.client()
    api.post(f"/ops/subscriptions/{NAME}/stop", {"reason": "stocktaking"}).ok(200)
    ids = capture(hub, 20)
    hub.kill()
    hub.start()
    api = hub.client()
    assert outlet(hub)["stopped"]["why"] == "person" and outlet(hub)["stopped"]["cause"] == "stocktaking"
    assert not ledger.calls and not docs.listed(api, "/ops/exceptions")
    api.post(f"/ops/subscriptions/{NAME}/start", {"reason": "counted"}).ok(200)
    until(lambda: sorted(ledger.ids()) == sorted(ids), 20, "all to be booked")
