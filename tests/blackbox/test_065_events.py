"""The event feed: CloudEvents in order of seq; filters, long poll, server-sent events."""

import json
import re
import threading
import time
import urllib.parse

import pytest

import docs
from conftest import SUITES
from wire import Connection

FIELDS = {"specversion": str, "id": str, "source": str, "type": str, "subject": str, "time": str,
          "datacontenttype": str, "data": dict, "correlationid": str, "partitionkey": str}


@pytest.fixture(scope="module")
def story(hub):
    """Some of everything that happens."""
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("EV", 100)).ok(201)
    api.post("/v1/stock/receipts", docs.receipt("EV", 5)).ok(201)
    api.post("/v1/stock/adjustments", docs.adjustment("EV", -1)).ok(201)
    first = api.post("/v1/orders", docs.full_order("EV"), headers={
        "Penstock-Correlation-Id": "story-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}).ok(201)
    second = api.post("/v1/orders", docs.order(docs.line("EV", 3, line_id="1"))).ok(201)
    api.post(f"/v1/orders/{second['order_id']}/cancel",
             {"reason": "x", "lines": [{"line_id": "1", "quantity": "1"}]}).ok()
    api.post(f"/v1/orders/{second['order_id']}/shipments", {"location": "WH-HAM"}).ok(200, 201)
    api.post("/v1/reservations", {"channel": "web-de", "sku": "EV", "quantity": "1"}).ok(201)
    return {"first": first, "second": second}


def check_cloudevent(event):
    """What CloudEvents 1.0.2 demands, and what the contract adds."""
    for name, kind in FIELDS.items():
        assert isinstance(event.get(name), kind), (name, event)
        assert event[name] or kind is dict, (name, event)
    assert event["specversion"] == "1.0"
    assert event["datacontenttype"] == "application/json"
    assert re.fullmatch(r"org\.penstock\.[a-z]+\.[a-z_]+\.v1", event["type"]), event["type"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", event["time"])
    assert not urllib.parse.urlparse(event["source"]).fragment
    assert int(event["penstockseq"]) > 0
    for name in event:
        assert re.fullmatch(r"[a-z0-9]{1,20}", name), f"{name} is no CloudEvents attribute name"
    for name, value in event.items():
        assert name == "data" or isinstance(value, (str, int, bool)), (name, value)
    if "traceparent" in event:
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", event["traceparent"])


def test_seq_has_no_holes_but_the_audit_and_every_event_is_a_cloudevent(api, story):
    events = docs.events(api)
    seqs = [int(e["penstockseq"]) for e in events]
    audit = [int(e["penstockseq"]) for e in docs.events(api, type="audit.noted")]
    assert seqs == sorted(seqs) and not set(seqs) & set(audit)
    assert set(range(1, seqs[-1] + 1)) <= set(seqs) | set(audit)
    for event in events:
        check_cloudevent(event)
    assert len({(e["source"], e["id"]) for e in events}) == len(events)
    kinds = {docs.short(e) for e in events}
    assert {"stock.counted", "stock.received", "stock.adjusted", "order.captured",
            "order.cancelled", "order.shipped", "stock.reserved"} <= kinds


def test_events_agree_with_the_official_schema_where_it_is_at_hand(api, story):
    path = SUITES / "10-schemas" / "cloudevents.schema.json"
    try:
        import jsonschema
        schema = json.loads(path.read_text())
    except (ImportError, OSError):
        for event in docs.events(api):
            check_cloudevent(event)
        return
    for event in docs.events(api):
        jsonschema.validate(event, schema)


def test_an_order_event_tells_the_order(api, story):
    events = docs.events(api, key=story["first"]["order_id"])
    captured = next(e for e in events if docs.short(e) == "order.captured")
    assert captured["subject"] == captured["partitionkey"] == story["first"]["order_id"]
    assert captured["correlationid"] == "story-1"
    assert captured["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert "psp-4711" in json.dumps(captured["data"])


def test_filter_by_key(api, story):
    order_id = story["second"]["order_id"]
    events = docs.events(api, key=order_id)
    assert {e["subject"] for e in events} == {order_id}
    kinds = [docs.short(e) for e in events if docs.short(e).startswith("order.")]
    assert kinds[:3] == ["order.captured", "order.cancelled", "order.shipped"]
    assert docs.events(api, key="nobody") == []


def test_filter_by_type(api, story):
    whole = docs.events(api)
    for kind in ("order.captured", "org.penstock.order.captured.v1"):
        found = docs.events(api, type=kind)
        assert found == [e for e in whole if docs.short(e) == "order.captured"]


def test_after_and_limit(api, story):
    whole = docs.events(api)
    seqs = [int(e["penstockseq"]) for e in whole]
    assert docs.events(api, after=seqs[2], limit=2) == whole[3:]
    page = api.get(f"/v1/events?after={seqs[1]}&limit=3").ok()["items"]
    assert page == whole[2:5]
    assert api.get("/v1/events?after=1000000").ok()["items"] == []
    for bad in ("after=-1", "after=x", "limit=0", "limit=x", "wait=soon", "nonsense=1"):
        answer = api.get("/v1/events?" + bad)
        assert answer.status in (400, 422), answer


def test_pages_link_to_the_next(api, story):
    answer = api.get("/v1/events?limit=2")
    assert 'rel="next"' in answer.header("link")
    assert answer.json["next_cursor"]


def test_an_acknowledged_write_is_in_the_feed_at_once(api, stocked):
    sku = stocked(100)
    for _ in range(50):
        after = docs.last_seq(api)
        answer = api.post("/v1/orders", docs.order((sku, 1)))
        order_id = answer.ok(201)["order_id"]
        found = docs.events(api, after=after)
        assert order_id in [e["subject"] for e in found]
        assert answer.seq >= int(found[-1]["penstockseq"])


def test_long_poll_waits_and_wakes(hub, api, stocked):
    sku = stocked(10)
    after = docs.last_seq(api)
    found = {}

    def wait():
        found["answer"] = hub.client().get(f"/v1/events?after={after}&wait=20")
        found["at"] = time.monotonic()
    thread = threading.Thread(target=wait)
    began = time.monotonic()
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "answered although nothing had happened"
    order_id = api.post("/v1/orders", docs.order((sku, 1))).ok(201)["order_id"]
    done = time.monotonic()
    thread.join(20)
    items = found["answer"].ok()["items"]
    assert items and order_id in {e["subject"] for e in docs.events(api, after=after)}
    assert found["at"] - began < 15 and found["at"] - done < 2 * hub.binary.patience


def test_long_poll_ends_empty_after_its_time(api):
    after = docs.last_seq(api)
    began = time.monotonic()
    assert api.get(f"/v1/events?after={after}&wait=1").ok()["items"] == []
    assert 0.7 < time.monotonic() - began < 10


def test_long_poll_with_a_filter_wakes_for_its_own_only(hub, api, stocked):
    sku = stocked(10)
    after = docs.last_seq(api)
    found = []
    thread = threading.Thread(target=lambda: found.append(
        hub.client().get(f"/v1/events?after={after}&wait=20&type=order.captured")))
    thread.start()
    api.post("/v1/stock/adjustments", docs.adjustment(sku, 1)).ok(201)
    thread.join(0.3)
    assert thread.is_alive()
    api.post("/v1/orders", docs.order((sku, 1))).ok(201)
    thread.join(20)
    assert [docs.short(e) for e in found[0].ok()["items"]] == ["order.captured"]


class Stream:
    """A server-sent event stream (WHATWG HTML, section 9.2)."""

    def __init__(self, hub, path="/v1/events", last=None):
        self.c = Connection(hub.host, hub.port, 20)
        headers = [("Authorization", f"Bearer {hub.key}"), ("Accept", "text/event-stream")]
        if last is not None:
            headers.append(("Last-Event-ID", str(last)))
        self.c.send(self.c.head("GET", path, headers, None))
        status, _, self.headers = self.c.read_head()
        assert status == 200, status
        assert self.headers["content-type"].startswith("text/event-stream")
        self.rest = b""

    def more(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            data = self.c.read_chunk()
        else:
            data = self.c.stream.read1(65536)
        assert data, "the stream ended"
        self.rest += data

    def next(self):
        """The next event: {"id", "event", "data"}; comments are passed over."""
        while True:
            while b"\n\n" not in self.rest:
                self.more()
            block, self.rest = self.rest.split(b"\n\n", 1)
            fields = {}
            for line in block.decode().split("\n"):
                name, _, value = line.partition(":")
                if name:
                    fields[name] = fields.get(name, "") + value.removeprefix(" ")
            if "data" in fields:
                return fields


def test_server_sent_events_from_the_start(hub, api, story):
    stream = Stream(hub, "/v1/events?after=0")
    whole = docs.events(api)
    for expected in whole:
        got = stream.next()
        assert json.loads(got["data"]) == expected
        assert int(got["id"]) == int(expected["penstockseq"])
    stream.c.close()


def test_server_sent_events_go_on_from_the_last(hub, api, story, stocked):
    whole = docs.events(api)
    stream = Stream(hub, "/v1/events", last=int(whole[2]["penstockseq"]))
    assert json.loads(stream.next()["data"]) == whole[3]
    for _ in whole[4:]:
        stream.next()
    sku = stocked(10)
    assert json.loads(stream.next()["data"])["type"].endswith("stock.counted.v1")
    order_id = api.post("/v1/orders", docs.order((sku, 1))).ok(201)["order_id"]
    subjects = {json.loads(stream.next()["data"])["subject"] for _ in range(2)}
    assert order_id in subjects
    stream.c.close()


def test_a_stream_that_is_cut_off_goes_on_without_loss_or_repetition(hub, api, stocked):
    sku = stocked(50)
    began, last, seen = docs.last_seq(api), docs.last_seq(api), []
    for n in range(12):
        api.post("/v1/stock/receipts", docs.receipt(sku, n + 1)).ok(201)
    while len(seen) < 12:
        stream = Stream(hub, "/v1/events?type=stock.received", last=last)
        for _ in range(min(1 + len(seen) % 4, 12 - len(seen))):
            got = stream.next()
            seen.append(int(got["id"]))
            last = got["id"]
        stream.c.close()
    assert seen == [int(e["penstockseq"]) for e in docs.events(api, after=began, type="stock.received")]


def test_a_stream_says_when_to_come_again(hub):
    stream = Stream(hub, "/v1/events?after=1000000")
    while b"\n\n" not in stream.rest:
        stream.more()
    assert stream.rest.startswith(b"retry: 2000\n\n")
    stream.c.close()


def test_server_sent_events_with_a_filter(hub, api, stocked):
    sku = stocked(10)
    stream = Stream(hub, f"/v1/events?after={docs.last_seq(api)}&type=order.captured")
    made = []
    for _ in range(3):
        api.post("/v1/stock/adjustments", docs.adjustment(sku, 1)).ok(201)
        made.append(api.post("/v1/orders", docs.order((sku, 1))).ok(201)["order_id"])
    assert [json.loads(stream.next()["data"])["subject"] for _ in range(3)] == made
    stream.c.close()


def test_streams_do_not_hold_up_a_stop(idle_hub):
    hub = idle_hub.start()
    stream = Stream(hub, "/v1/events?after=0")
    began = time.monotonic()
    hub.stop()
    assert time.monotonic() - began < 8 * hub.binary.patience
    stream.c.close()


def test_a_reader_that_does_not_read_harms_nobody(hub, api, stocked):
    sku = stocked(100000)
    lazy = Stream(hub, "/v1/events?after=0")
    for _ in range(4):
        lines = api.bulk("/v1/orders", [docs.order((sku, 1)) for _ in range(500)]).lines
        assert {x["status"] for x in lines} == {201}
    assert docs.stock(api, sku)[2] == "2000"
    for _ in range(5):
        lazy.next()
    lazy.c.close()
