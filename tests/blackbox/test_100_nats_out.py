"""Out to a stream of NATS JetStream: each event once and in order, whatever becomes of the server, of its answers,
and of the hub."""

import pytest

import docs
from conftest import running
from hub import Hub
from nats import Cut, Server
from wire import until

YAML = """connector: news
version: "1"
owner: web
auth: {basic: {username: "${env:NATS_USER}", password: "${env:NATS_PASSWORD}"}}
send:
  - subscription: news-orders
    events: [order.captured, order.cancelled]
    request: {url: "${env:NATS_URL}/orders.{event.subject}"}
    reference: /seq
    retry: {first_ms: 100, max_ms: 500}
    timeout_ms: 2000
"""
USERS = """accounts { A: { jetstream: enabled, users: [{user: hub, password: secret}] } }
"""
LOGIN = {"user": "hub", "pass": "secret"}


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "nats", USERS).start()
    yield server
    server.stop()


@pytest.fixture
def cut(server):
    cut = Cut(server.port)
    yield cut
    cut.close()


@pytest.fixture
def hub(binary, tmp_path, cut):
    hub = Hub(binary, tmp_path, {"NATS_URL": cut.url, "NATS_USER": "hub", "NATS_PASSWORD": "secret"})
    folder = hub.config / "connectors" / "news"
    folder.mkdir()
    (folder / "connector.yaml").write_text(YAML)
    for made in running(hub.start()):
        made.client().post("/v1/stock/counts", docs.count("N", 100000)).ok(201)
        yield made


def capture(hub, count=1):
    lines = hub.client().bulk("/v1/orders", [docs.order(("N", 1)) for _ in range(count)]).lines
    assert {x["status"] for x in lines} == {201}, lines
    return [x["answer"]["order_id"] for x in lines]


def told(hub):
    return {e["data"]["order_id"] for e in docs.events(hub.client(), type="posting.posted")}


def all_told(hub, ids, timeout_s=30):
    until(lambda: set(ids) <= told(hub), timeout_s * hub.binary.patience, f"{len(ids)} orders told: {told(hub)}")


def in_stream(server):
    nats = server.client(**LOGIN)
    found = nats.messages("ORDERS")
    nats.close()
    return found


def stream(server, **more):
    nats = server.client(**LOGIN)
    nats.stream("ORDERS", "orders.>", **more)
    nats.close()


def test_an_event_is_a_message_on_the_subject_of_its_key(hub, server):
    stream(server)
    [order_id] = capture(hub)
    hub.client().post(f"/v1/orders/{order_id}/cancel", {"reason": "x"}).ok()
    until(lambda: len(in_stream(server)) == 2, 20, "two messages")
    events = {e["id"]: e for e in docs.events(hub.client()) if docs.short(e) in ("order.captured", "order.cancelled")}
    messages = in_stream(server)
    assert [m[0] for m in messages] == [f"orders.{order_id}"] * 2
    assert [m[1]["Nats-Msg-Id"] for m in messages] == list(events)
    for _, headers, document in messages:
        event = events[headers["ce-id"]]
        assert headers["ce-specversion"] == "1.0" and headers["Content-Type"] == "application/json"
        names = ("source", "type", "subject", "time")
        assert {n: headers[f"ce-{n}"] for n in names} == {n: event[n] for n in names}
        assert "Authorization" not in headers and document["order_id"] == order_id
    until(lambda: [e["data"]["reference"] for e in docs.events(hub.client(), type="posting.posted")] == ["1", "2"],
          20, "the stream's numbers are known")


def test_without_a_stream_nothing_is_lost(hub, server):
    ids = capture(hub, 3)
    status = until(lambda: [s for s in hub.client().get("/ops/subscriptions").ok()["items"]
                            if s["subscription"] == "news-orders" and s.get("error")], 20, "trouble is told")[0]
    assert "no stream takes the subject" in str(status), status
    stream(server)
    all_told(hub, ids)
    assert sorted(m[0] for m in in_stream(server)) == sorted(f"orders.{i}" for i in ids)


def test_lost_acknowledgements_double_nothing_even_beyond_the_duplicate_window(hub, server, cut):
    """The stream forgets ids after a tenth of a second: only the look-up can know."""
    stream(server, duplicate_window=100_000_000)
    ids = capture(hub, 5)
    all_told(hub, ids)
    cut.silent = True
    more = capture(hub, 20)
    until(lambda: cut.lost, 20, "acknowledgements were lost")
    assert len(in_stream(server)) > 5 # the stream has some that the hub does not know of
    before = told(hub)
    assert not set(more) & before
    cut.silent = False
    all_told(hub, more)
    ids += more
    assert sorted(m[0] for m in in_stream(server)) == sorted(f"orders.{i}" for i in ids)
    posted = [e["data"] for e in docs.events(hub.client(), type="posting.posted")]
    assert any(p["found"] for p in posted), posted


def test_a_server_that_is_gone_for_a_while(hub, server):
    stream(server)
    server.stop()
    ids = capture(hub, 10)
    server.start()
    all_told(hub, ids)
    assert sorted(m[0] for m in in_stream(server)) == sorted(f"orders.{i}" for i in ids)


def test_killed_at_any_moment_each_is_there_once(hub, server):
    stream(server, duplicate_window=100_000_000)
    ids = []
    for _ in range(2):
        ids += capture(hub, 200)
        hub.kill()
        hub.start()
    all_told(hub, ids, 60)
    messages = in_stream(server)
    assert sorted(m[0] for m in messages) == sorted(f"orders.{i}" for i in ids)


def test_wrong_credentials_are_told_and_hold_nothing(binary, tmp_path, server):
    stream(server)
    hub = Hub(binary, tmp_path / "h", {"NATS_URL": server.url, "NATS_USER": "hub", "NATS_PASSWORD": "wrong"})
    folder = hub.config / "connectors" / "news"
    folder.mkdir()
    (folder / "connector.yaml").write_text(YAML)
    for made in running(hub.start()):
        made.client().post("/v1/stock/counts", docs.count("N", 10)).ok(201)
        capture(made, 2)
        until(lambda: "does not take these credentials" in made.client().get("/ops/subscriptions").ok().__str__(),
              20 * binary.patience, "it says why")
        assert made.client().get("/ops/held").ok()["items"] == []
    assert in_stream(server) == []
