"""Polls: what another system does not send is fetched, page after page, each change once; over ends of the
process at any moment; and people see how it fares."""

import threading
import time

import pytest

import docs
from hub import Hub
from peer import Peer
from wire import until

YAML = """connector: stall
version: "1"
owner: web
service_level: within a minute
poll:
  - topic: refunds
    every_s: 1
    request:
      url: "${env:STALL_URL}/refunds?since={watermark}&limit={page_size}"
      headers: {X-Key: "${env:STALL_KEY}"}
    items: /refunds
    watermark: {member: at, overlap_s: 5}
    pages: {style: cursor, next: /next, param: cursor, size: 10}
    key: {member: id}
    mapping: refund.lua
    command: fact.keep
"""
LUA = """return function(doc)
  return {kind = "refund", key = tostring(doc.id), refs = {doc.order}, document = {amount = doc.amount},
          customer_id = doc.customer, personal = {mail = doc.mail}}
end
"""


class Stall:
    """A shop's refunds, ascending by the time of their change, three to a page at most."""

    def __init__(self):
        self.refunds, self.fail, self.seen_keys = {}, 0, set()

    def put(self, number, amount):
        self.refunds[number] = {"id": number, "amount": amount, "at": docs.now(), "order": f"O-{number}",
                                "customer": f"C-{number}", "mail": f"u{number}@example.org"}

    def __call__(self, path, query, headers, body):
        self.seen_keys.add(headers.get("X-Key"))
        if self.fail:
            self.fail -= 1
            return 503, {"message": "closed for a moment"}, {"Retry-After": "1"}
        since = query.get("since", "")
        found = sorted((r for r in self.refunds.values() if r["at"] >= since[:19]), key=lambda r: (r["at"], r["id"]))
        start = int(query.get("cursor", 0))
        page = found[start:start + 3]
        return 200, {"refunds": page, "next": str(start + 3) if start + 3 < len(found) else None}


@pytest.fixture
def stall():
    shop = Stall()
    shop.peer = Peer(shop)
    yield shop
    shop.peer.close()


@pytest.fixture
def hub(binary, tmp_path, stall):
    from conftest import running
    hub = Hub(binary, tmp_path, {"STALL_URL": stall.peer.url, "STALL_KEY": "k-1"})
    folder = hub.config / "connectors" / "stall"
    folder.mkdir()
    (folder / "connector.yaml").write_text(YAML)
    (folder / "refund.lua").write_text(LUA)
    yield from running(hub.start())


def kept(api):
    return [e["data"] for e in docs.events(api) if docs.short(e) == "fact.kept"]


def poll(api):
    [item] = [x for x in docs.listed(api, "/ops/polls") if x["connector"] == "stall"]
    return item


def test_each_change_comes_once(hub, stall, binary):
    api = hub.client()
    for number in range(10):
        stall.put(number, 100)
    until(lambda: len(kept(api)) == 10, 20, "the refunds")
    stall.put(4, 250)
    until(lambda: len(kept(api)) == 11, 20, "the changed one")
    time.sleep(2.2)  # two rounds more
    assert len(kept(api)) == 11 and stall.seen_keys == {"k-1"}
    [fact] = docs.listed(api, "/v1/facts", kind="refund", connector="stall", key="4")
    assert fact["fact"]["document"] == {"amount": 250} and fact["fact"]["personal"]["mail"] == "u4@example.org"
    assert len(docs.listed(api, "/v1/facts", kind="refund")) == 10
    assert "refund 4 of stall kept" in hub.cli("trace", "O-4").stdout
    state = poll(api)
    assert state["state"] in ("waiting", "running") and state["taken"] == 11 and state["rounds"] >= 3, state
    assert state["watermark"] and state["error"] is None
    figures = api.get("/metrics").body.decode("utf-8")
    assert 'penstock_poll_items_taken_total{connector="stall",topic="refunds"} 11' in figures


def test_what_fails_is_seen_and_tried_again(hub, stall):
    api = hub.client()
    with stall.peer.lock:
        stall.put(1, 100)
        stall.fail = 3
    until(lambda: poll(api)["failures"] >= 1, 20, "a failure")
    assert "closed for a moment" in poll(api)["error"]
    until(lambda: len(kept(api)) == 1, 30, "the refund")
    until(lambda: poll(api)["state"] != "failing", 20, "it to fare well again")


def test_a_round_can_be_asked_for(hub, stall):
    api = hub.client()
    until(lambda: poll(api)["rounds"] >= 1, 20, "a round")
    answer = api.post("/ops/polls/stall/refunds/run", None)
    assert answer.status in (202, 409), answer
    api.post("/ops/polls/stall/nothing/run", None).problem(404)


def test_killed_again_and_again(hub, stall):
    """A hub that dies at any moment loses nothing, and nothing comes twice."""
    stop = threading.Event()

    def sell():
        for number in range(400):
            with stall.peer.lock:
                stall.put(number % 150, 1000 + number)
            if stop.wait(0.01):
                return
    seller = threading.Thread(target=sell)
    seller.start()
    for _ in range(4):
        time.sleep(0.9)
        hub.kill()
        hub.start()
    seller.join()
    stop.set()
    api = hub.client()

    def newest():
        listed = {f["key"]: f["fact"]["document"]["amount"] for f in docs.listed(api, "/v1/facts", kind="refund")}
        return listed == {str(n): r["amount"] for n, r in stall.refunds.items()}
    until(newest, 30, "the newest of each")
    facts = [(d["key"], d["document"]["amount"]) for d in kept(api)]
    assert len(facts) == len(set(facts)), "a change came twice"
