"""Out to Kafka and in from it: in order per key, known by its id, whatever becomes of the brokers and of the hub."""

import uuid

import pytest

import docs
from conftest import running
from hub import Hub
from kafka import REAL, Kafka
from wire import until

YAML = """connector: log
version: "1"
owner: web
send:
  - subscription: log-orders
    events: [order.captured, order.cancelled]
    request: {url: "${env:KAFKA_URL}/${env:TOPIC_OUT}?key={event.subject}&look=${env:LOOK}"}
    reference: /offset
    retry: {first_ms: 100, max_ms: 500}
    timeout_ms: 3000
    limits: {concurrency: 16}
streams:
  - topic: refunds
    url: "${env:KAFKA_URL}/${env:TOPIC_IN}?session_ms=${env:SESSION_MS}"
    in_flight: 50
    mapping: refund.lua
    command: fact.keep
"""
LUA = """return function(doc)
  return {kind = "refund", key = tostring(doc.id), document = {amount = doc.amount}}
end
"""
PRODUCE, COMMIT = 0, 8  # numbers of the protocol's requests, and of its errors
DISCONNECT, NOT_LEADER, REBALANCING = -195, 6, 27


@pytest.fixture
def kafka(binary):
    kafka = Kafka(binary)
    kafka.run = uuid.uuid4().hex[:8]
    kafka.out, kafka.into = f"orders-{kafka.run}", f"refunds-{kafka.run}"
    kafka.topic(kafka.out)
    kafka.topic(kafka.into)
    yield kafka
    kafka.close()


@pytest.fixture
def hub(binary, tmp_path, kafka):
    hub = Hub(binary, tmp_path, {"KAFKA_URL": kafka.url, "TOPIC_OUT": kafka.out, "TOPIC_IN": kafka.into,
                                 "SESSION_MS": "6000" if REAL else "4000", "LOOK": "on"})
    folder = hub.config / "connectors" / "log"
    folder.mkdir()
    (folder / "connector.yaml").write_text(YAML)
    (folder / "refund.lua").write_text(LUA)
    for made in running(hub.start()):
        made.client().post("/v1/stock/counts", docs.count("K", 100000)).ok(201)
        yield made


def capture(hub, count=1):
    lines = hub.client().bulk("/v1/orders", [docs.order(("K", 1)) for _ in range(count)]).lines
    assert {x["status"] for x in lines} == {201}, lines
    return [x["answer"]["order_id"] for x in lines]


def told(hub, count, timeout_s=30):
    until(lambda: len(docs.events(hub.client(), type="posting.posted")) >= count, timeout_s * hub.binary.patience,
          f"{count} told: {hub.client().get('/ops/subscriptions').json}")


def kept(hub):
    return [int(e["data"]["key"]) for e in docs.events(hub.client(), type="fact.kept")]


def status(hub):
    return next(s for s in docs.listed(hub.client(), "/ops/streams") if s["connector"] == "log")


def all_kept(hub, count, timeout_s=40):
    until(lambda: len(kept(hub)) >= count, timeout_s * hub.binary.patience, f"{count} kept: {status(hub)}")
    return kept(hub)


def test_events_are_records_under_their_key(hub, kafka):
    ids = capture(hub, 20)
    told(hub, 20)
    for order_id in ids:
        hub.client().post(f"/v1/orders/{order_id}/cancel", {"reason": "x"}).ok()
    told(hub, 40)
    records = kafka.records(kafka.out)
    events = {e["id"]: e for e in docs.events(hub.client()) if docs.short(e) in ("order.captured", "order.cancelled")}
    assert sorted(r["headers"]["ce_id"] for r in records) == sorted(events)
    for order_id in ids:
        mine = [r for r in records if r["key"] == order_id]
        assert [r["headers"]["ce_type"].split(".")[-2] for r in mine] == ["captured", "cancelled"]
        assert len({r["partition"] for r in mine}) == 1
        assert mine[0]["headers"]["content-type"] == "application/json"
        assert mine[0]["body"]["order_id"] == order_id
    assert len({r["partition"] for r in records}) > 1


def test_failures_of_the_broker_double_nothing(hub, kafka):
    kafka.fail(PRODUCE, NOT_LEADER, DISCONNECT, NOT_LEADER, DISCONNECT)
    ids = capture(hub, 100)
    told(hub, 100)
    assert sorted({r["key"] for r in kafka.records(kafka.out)}) == sorted(ids)
    assert len(kafka.records(kafka.out)) == 100


def test_brokers_that_are_gone_for_a_while(hub, kafka):
    told_before = capture(hub, 3)
    told(hub, 3)
    kafka.down()
    ids = capture(hub, 5)
    until(lambda: status(hub)["state"] == "failing", 30 * hub.binary.patience, f"seen to be gone: {status(hub)}")
    kafka.up()
    told(hub, 8, 40)
    assert {r["key"] for r in kafka.records(kafka.out)} == set(told_before + ids)
    kafka.put(kafka.into, "a", {"id": 1, "amount": 1})
    assert all_kept(hub, 1) == [1]


def test_records_are_taken_once_and_in_order(hub, kafka):
    for n in range(200):
        kafka.put(kafka.into, "one", {"id": n, "amount": n}, f"id-{n}")
    kafka.put(kafka.into, "one", {"id": 7, "amount": 7}, "id-7")
    kafka.put(kafka.into, "one", '{"of":"another kind"}')
    kafka.put(kafka.into, "one", {"id": 200, "amount": 1})
    until(lambda: len(docs.listed(hub.client(), "/ops/exceptions")) == 1, 40 * hub.binary.patience, "told of")
    shown = until(lambda: status(hub)["messages"] == 203 and status(hub), 20 * hub.binary.patience, "counted")
    assert (shown["taken"], shown["known"], shown["waiting"]) == (202, 1, 0), shown
    assert kept(hub)[:200] == list(range(200))


def test_a_commit_that_fails_and_kill_at_any_moment(hub, kafka):
    kafka.fail(COMMIT, REBALANCING)
    for n in range(60):
        kafka.put(kafka.into, "one", {"id": n, "amount": n}, f"id-{n}")
        if n == 30:
            hub.kill()
            hub.start()
    assert all_kept(hub, 60) == list(range(60))


KILLS = 6


def test_killed_under_load_each_record_is_there_once_and_in_order(hub, kafka):
    """Records under way when the hub is killed are in the topic, and it does not know: it looks before it sends."""
    ids = []
    for _ in range(KILLS):
        new = capture(hub, 150)
        ids += new
        for order_id in new[:10]:
            hub.client().post(f"/v1/orders/{order_id}/cancel", {"reason": "x"}).ok()
        told(hub, len(ids) // 2)
        hub.kill()
        hub.start()
    told(hub, KILLS * 160, 60)
    records = kafka.records(kafka.out)
    order = {e["id"]: n for n, e in enumerate(docs.events(hub.client()))}
    assert len(records) == len({r["headers"]["ce_id"] for r in records}) == KILLS * 160
    assert {r["key"] for r in records} == set(ids)
    for order_id in ids:
        mine = [order[r["headers"]["ce_id"]] for r in records if r["key"] == order_id]
        assert mine == sorted(mine)
    posted = [e["data"] for e in docs.events(hub.client(), type="posting.posted")]
    found = [p for p in posted if p["found"]]
    assert found and all(p["reference"].isdigit() for p in found), len(found)
