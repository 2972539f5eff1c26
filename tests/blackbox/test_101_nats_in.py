"""In from a stream of NATS JetStream: each message once and in order, whatever ends when; what can not be taken is
told and stops nothing; people see how it fares."""

import json
import threading
import time

import pytest

import docs
from conftest import running
from hub import Hub
from nats import Server
from wire import until

YAML = """connector: feed
version: "1"
owner: web
auth: {bearer: {token: "${env:FEED_TOKEN}"}}
streams:
  - topic: refunds
    url: "${env:FEED_URL}/REFUNDS"
    subject: refunds.>
    in_flight: 50
    mapping: refund.lua
    command: fact.keep
"""
LUA = """return function(doc)
  return {kind = "refund", key = tostring(doc.id), refs = {doc.order}, document = {amount = doc.amount}}
end
"""


def refund(number, **more):
    return {"id": number, "amount": number * 10, "order": f"O-{number}", **more}


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "nats", "authorization { token: t0ken }\n").start()
    yield server
    server.stop()


@pytest.fixture
def nats(server):
    client = server.client(auth_token="t0ken")
    yield client
    client.close()


@pytest.fixture
def hub(binary, tmp_path, server):
    hub = Hub(binary, tmp_path, {"FEED_URL": server.url, "FEED_TOKEN": "t0ken"})
    folder = hub.config / "connectors" / "feed"
    folder.mkdir()
    (folder / "connector.yaml").write_text(YAML)
    (folder / "refund.lua").write_text(LUA)
    yield from running(hub.start())


def kept(api):
    return [int(e["data"]["key"]) for e in docs.events(api, type="fact.kept")]


def status(hub):
    return next(s for s in docs.listed(hub.client(), "/ops/streams") if s["connector"] == "feed")


def cases(hub):
    return hub.client().get("/ops/exceptions").ok()["items"]


def all_kept(hub, count, timeout_s=30):
    until(lambda: len(kept(hub.client())) >= count, timeout_s * hub.binary.patience, f"{count} kept, {status(hub)}")
    return kept(hub.client())


def stream(nats):
    """With the hub's consumer, made before it, so that what a hub that is gone had taken comes again soon: the one
    that the hub makes waits 10 s."""
    nats.stream("REFUNDS", "refunds.>")
    nats.api("CONSUMER.DURABLE.CREATE.REFUNDS.penstock-main", {"stream_name": "REFUNDS", "config": {
        "durable_name": "penstock-main", "ack_policy": "explicit", "ack_wait": 1_500_000_000, "deliver_policy": "all",
        "replay_policy": "instant", "filter_subject": "refunds.>", "max_ack_pending": 50}})


def consumer(nats):
    return nats.api("CONSUMER.INFO.REFUNDS.penstock-main")


def all_done(hub, nats, timeout_s=30):
    def done():
        info = consumer(nats)
        return info.get("num_pending") == info.get("num_ack_pending") == 0 or print(info)
    until(done, timeout_s * hub.binary.patience, "all acknowledged")


def test_messages_are_taken_once_and_in_order(hub, nats):
    until(lambda: "no stream REFUNDS" in (status(hub)["error"] or ""), 20, "it says what is missing")
    nats.stream("REFUNDS", "refunds.>", "other")
    for n in range(300):
        nats.publish("refunds.de", refund(n), Nats_Msg_Id=f"m-{n}")
    nats.publish("other", {"nothing": "of ours"})
    assert all_kept(hub, 300) == list(range(300))
    all_done(hub, nats)
    shown = until(lambda: status(hub)["messages"] >= 300 and status(hub), 10, "counted")
    assert shown["state"] == "reading" and shown["taken"] == 300 and shown["place"] == "REFUNDS:300", shown
    payloads = [e["data"] for e in docs.events(hub.client(), type="payload.received")]
    assert (payloads[7]["topic"], payloads[7]["key"], payloads[7]["dedup_id"]) == ("refunds", "refunds.de", "m-7")


def test_the_list_of_connectors_says_how_it_fares(hub, nats, binary):
    nats.stream("REFUNDS", "refunds.>")
    nats.publish("refunds.de", refund(1))
    until(lambda: status(hub)["messages"] == 1, 20 * binary.patience, "read")
    [feed] = [c for c in docs.listed(hub.client(), "/ops/connectors") if c["connector"] == "feed"]
    assert feed["streams"] == [{"topic": "refunds", "state": "reading", "messages": 1, "waiting": 0, "error": None}]
    shown = binary.ok("connector", "list", "-C", hub.config, "--hub", hub.url, "--key", hub.key)
    assert "refunds: reading, 1 messages, 0 wait" in shown, shown
    metrics = hub.client().get("/metrics").body.decode()
    assert 'penstock_stream_messages_taken_total{connector="feed",topic="refunds"} 1' in metrics


def test_one_message_is_here_soon(hub, nats):
    nats.stream("REFUNDS", "refunds.>")
    nats.publish("refunds.de", refund(1))
    all_kept(hub, 1)
    began = time.monotonic()
    nats.publish("refunds.de", refund(2))
    all_kept(hub, 2)
    assert time.monotonic() - began < 0.4 * hub.binary.patience


def test_what_is_published_twice_is_taken_once(hub, nats):
    """Beyond the stream's own duplicate window."""
    nats.stream("REFUNDS", "refunds.>", duplicate_window=100_000_000)
    nats.publish("refunds.de", refund(1), Nats_Msg_Id="a")
    nats.publish("refunds.de", refund(2), ce_id="b")
    time.sleep(0.3)
    nats.publish("refunds.de", refund(1), Nats_Msg_Id="a")
    nats.publish("refunds.de", refund(2), ce_id="b")
    nats.publish("refunds.de", refund(3))
    assert nats.count("REFUNDS") == 5
    assert all_kept(hub, 3) == [1, 2, 3]
    all_done(hub, nats)
    assert until(lambda: status(hub)["messages"] == 5 and status(hub), 10, "counted")["known"] == 2


def test_poison_becomes_an_exception_and_stops_nothing(hub, nats):
    nats.stream("REFUNDS", "refunds.>")
    nats.publish("refunds.a", refund(1))
    nats.publish("refunds.b", b"\xff\x00 no text")
    nats.publish("refunds.c", {"of": "another kind"})
    nats.publish("refunds.d", ["[" * 40])
    nats.publish("refunds.e", refund(2))
    assert sorted(all_kept(hub, 2)) == [1, 2]
    all_done(hub, nats)
    found = until(lambda: len(cases(hub)) == 3 and cases(hub), 20, "3 cases")
    assert all("feed" in json.dumps(e) for e in found), found


def test_the_server_goes_and_comes_back(hub, server, nats):
    stream(nats)
    nats.publish("refunds.de", refund(1))
    all_kept(hub, 1)
    all_done(hub, nats)
    server.stop()
    until(lambda: status(hub)["state"] == "failing", 20 * hub.binary.patience, "it is seen to be gone")
    server.start()
    again = server.client(auth_token="t0ken")
    again.publish("refunds.de", refund(2))
    assert all_kept(hub, 2, 40) == [1, 2]
    again.close()
    assert status(hub)["failures"] >= 1


def test_killed_at_any_moment_nothing_is_lost_or_doubled_or_out_of_order(hub, server, nats):
    stream(nats)
    stop, sent = threading.Event(), []

    def publisher():
        other = server.client(auth_token="t0ken")
        while not stop.is_set():
            other.publish("refunds.de", refund(len(sent)), Nats_Msg_Id=f"m-{len(sent)}")
            sent.append(len(sent))
            time.sleep(0.001)
        other.close()
    thread = threading.Thread(target=publisher)
    thread.start()
    for pause in (0.4, 0.1):
        all_kept(hub, 1)
        time.sleep(pause)
        hub.kill()
        hub.start()
    stop.set()
    thread.join()
    assert all_kept(hub, len(sent), 60) == sent
    all_done(hub, nats)
