"""Rates: what a caller may ask, how it is told what is left, and that nobody gets more than that,
however many connections he has. Rates here are so slow that none comes back while a test runs:
what is counted is the burst, to the last call."""

import base64
import hashlib
import hmac
import re
import threading
import time

import pytest

import docs
from conftest import running
from hub import Hub
from wire import Connection

SECRET = "a-secret-of-the-tests"
LIMITS = """
limits:
  - {policy: default, rate: 1000000, burst: 1000000}
  - {policy: default, callers: [narrow], rate: 1, window: 3600, burst: 20}
  - {policy: default, callers: [other-narrow], rate: 1, window: 3600, burst: 20}
  - {policy: default, callers: [many], rate: 1, window: 3600, burst: 500}
  - {policy: default, callers: [slow], rate: 20, burst: 1, over: slow}
  - {policy: default, callers: [liner], rate: 200, burst: 5}
  - {policy: default, callers: [caller], rate: 1, window: 3600, burst: 2, unit: calls}
  - {policy: reading, routes: [GET /v1/availability], scopes: ["stock:read"], rate: 1, window: 3600, burst: 7}
  - {policy: address, by: address, rate: 1, window: 3600, burst: 12}
  - {policy: webhooks, by: connector, connectors: [shopify], rate: 1, window: 3600, burst: 4}
"""


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    hub = Hub(binary, tmp_path_factory.mktemp("hub"), {"SHOPIFY_WEBHOOK_SECRET": SECRET})
    with open(hub.config / "penstock.yaml", "a", encoding="utf-8") as file:
        file.write(LIMITS)
    yield from running(hub.start())


@pytest.fixture(scope="module")
def shared_key(hub):
    """A caller without a policy of his own."""
    return hub.create_key("plain", "orders:*", "stock:write", "ops:read")


def caller(hub, name, *scopes):
    return hub.client(key=hub.create_key(name, *(scopes or ("*",))))


def left(answer, policy="default"):
    found = re.search(rf'"{policy}";r=(\d+);t=(\d+)', answer.header("ratelimit") or "")
    assert found, repr(answer)
    return int(found.group(1)), int(found.group(2))


def test_answers_say_what_is_left(hub):
    api = caller(hub, "narrow", "ops:read", "orders:*")
    for n in range(20):
        answer = api.get("/v1/orders?limit=1")
        answer.ok()
        assert answer.header("ratelimit-policy") == '"default";q=1;w=3600'
        assert left(answer)[0] == 19 - n
        # what was used comes back at one an hour, less the moment that has passed
        assert (n + 1) * 3600 - 60 <= left(answer)[1] <= (n + 1) * 3600
    refused = api.get("/v1/orders?limit=1")
    problem = refused.problem(429, slug="rate-limited")
    assert '"default"' in problem["detail"] and "1 documents in 3600 s" in problem["detail"]
    assert 3500 <= int(refused.header("retry-after")) <= 3600
    assert left(refused)[0] == 0
    assert api.get("/livez").status == 200, "probes are never limited"
    assert api.get("/metrics").status == 200, "nor figures"


def test_a_refusal_costs_no_body_and_keeps_the_connection(hub):
    api = caller(hub, "other-narrow", "orders:*")
    for _ in range(20):
        api.get("/v1/orders?limit=1").ok()
    connection = Connection(hub.host, hub.port)
    fields = [("Authorization", f"Bearer {api.key}"), ("Content-Type", "application/json")]
    body = b"{not json" * 100
    for _ in range(3):
        answer = connection.request("POST", "/v1/orders", fields, body)
        answer.problem(429)
        assert "close" not in (answer.header("connection") or "")
    connection.close()


def test_many_connections_get_exactly_the_burst(hub):
    key = hub.create_key("many", "orders:*")
    counts, threads = {}, []
    lock = threading.Lock()

    def ask():
        client = hub.client(key=key)
        for _ in range(50):
            status = client.get("/v1/orders?limit=1").status
            with lock:
                counts[status] = counts.get(status, 0) + 1

    for _ in range(16):
        threads.append(threading.Thread(target=ask))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert counts == {200: 500, 429: 300}


def test_one_callers_flood_is_not_anothers(hub, shared_key):
    flooder = hub.client(key=hub.create_key("narrow", "orders:*"))
    while flooder.get("/v1/orders?limit=1").status != 429:
        pass
    other = hub.client(key=shared_key)
    for _ in range(50):
        other.get("/v1/orders?limit=1").ok()


def test_a_policy_of_a_route_and_scope_counts_beside_the_default(hub):
    api = caller(hub, "reader", "stock:read")
    for n in range(7):
        answer = api.get("/v1/availability?sku=X&location=WH-HAM")
        answer.ok()
        assert answer.header("ratelimit-policy") == '"default";q=1000000;w=1, "reading";q=1;w=3600'
        assert left(answer, "reading")[0] == 6 - n
    refused = api.get("/v1/availability?sku=X&location=WH-HAM")
    assert '"reading"' in refused.problem(429)["detail"]
    assert left(refused)[0] > 900000, "the policy that did not refuse was not charged"


def test_what_slows_waits_its_turn(hub):
    api = caller(hub, "slow", "orders:*")
    began = time.monotonic()
    for _ in range(11):
        api.get("/v1/orders?limit=1").ok()
    assert time.monotonic() - began >= 0.45, "11 calls at 20 a second, one of them at once"


def test_lines_of_a_bulk_call_wait_for_their_turn(hub):
    api = caller(hub, "liner")
    began = time.monotonic()
    lines = [docs.count(f"LINER-{n}", 1) for n in range(105)]
    answer = api.bulk("/v1/stock/counts", lines)
    assert [line["status"] for line in answer.lines] == [201] * 105
    assert [line["line"] for line in answer.lines] == list(range(1, 106))
    assert time.monotonic() - began >= 0.45, "100 lines behind the burst at 200 a second"
    assert answer.header("ratelimit-policy") == '"default";q=200;w=1'


def test_a_policy_of_calls_does_not_count_lines(hub):
    api = caller(hub, "caller")
    for _ in range(2):
        answer = api.bulk("/v1/stock/counts", [docs.count(f"CALLER-{n}", 1) for n in range(30)])
        assert {line["status"] for line in answer.lines} == {201}
    api.bulk("/v1/stock/counts", [docs.count("CALLER-1", 1)]).problem(429)


def sign(raw):
    return base64.b64encode(hmac.new(SECRET.encode(), raw, hashlib.sha256).digest()).decode()


def test_webhooks_are_limited_by_connector(hub):
    api = hub.client(key=None)
    for n in range(4):
        raw = b'{"id":%d}' % n
        answer = api.post("/x/shopify/orders-create", raw=raw,
                          headers={"X-Shopify-Hmac-Sha256": sign(raw)})
        assert answer.status == 200, repr(answer)
        assert left(answer, "webhooks")[0] == 3 - n
    refused = api.post("/x/shopify/orders-create", raw=b"{}",
                       headers={"X-Shopify-Hmac-Sha256": sign(b"{}")})
    assert '"webhooks"' in refused.problem(429)["detail"]
    assert int(refused.header("retry-after")) > 3000


def test_trying_keys_is_bounded_by_address(binary, tmp_path):
    """Without one good key shown before, an address has so many attempts; who is known behind the
    same address goes on."""
    hub = Hub(binary, tmp_path)
    with open(hub.config / "penstock.yaml", "a", encoding="utf-8") as file:
        file.write(LIMITS)
    for hub in running(hub.start()):
        known = hub.client()
        clients = [hub.client() for _ in range(8)]  # so that each loop has met the good key
        for client in clients:
            client.get("/v1/orders?limit=1").ok()
        stranger = hub.client(key="pk_000000000000_" + "0" * 52)
        statuses = [stranger.get("/v1/orders?limit=1").status for _ in range(20)]
        assert statuses == [401] * 12 + [429] * 8
        hub.client(key=None).get("/v1/orders").problem(429)
        assert "address" in stranger.get("/openapi.json").problem(429)["detail"]
        for client in clients:
            client.get("/v1/orders?limit=1").ok()
        assert hub.client(key=None).get("/readyz").status == 200
        assert 'policy="address"' in known.get("/metrics").body.decode()


@pytest.mark.parametrize("row, words", [
    ("{policy: p}", "or quota: one of them must be given"),
    ("{policy: p, rate: 1, quota: 1, period: day}", "or quota: one of them must be given"),
    ("{policy: p, quota: 5}", "must say of what the quota is"),
    ("{policy: p, rate: 5, classes: [chekout]}", "knows checkout, stock"),
    ("{policy: p, rate: 5, by: connector, callers: [x]}", "goes with by: caller alone"),
    ("{policy: p, rate: 0}", "rate"),
    ("{policy: 'a b', rate: 1}", "policy"),
    ("{policy: p, rate: 5, routes: [orders]}", "are written as POST /v1/orders"),
])
def test_check_names_what_is_wrong(binary, tmp_path, row, words):
    binary.ok("init", tmp_path / "hub")
    with open(tmp_path / "hub" / "penstock.yaml", "a", encoding="utf-8") as file:
        file.write(f"limits:\n  - {row}\n")
    done = binary.run("check", "-C", tmp_path / "hub")
    assert done.returncode == 1
    assert "penstock.yaml:" in done.stderr and "/limits/0/" in done.stderr, done.stderr
    assert words in done.stderr


def test_a_route_that_is_not_there_stops_the_start(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    with open(hub.config / "penstock.yaml", "a", encoding="utf-8") as file:
        file.write("limits:\n  - {policy: p, rate: 1, routes: [POST /v1/ordres]}\n")
    hub.launch()
    assert hub.process.wait() == 1
    assert "names a route" in hub.process.log()


def test_limits_can_be_switched_off(binary, tmp_path):
    hub = Hub(binary, tmp_path, {"PENSTOCK_LIMITS_ENABLED": "0"})
    with open(hub.config / "penstock.yaml", "a", encoding="utf-8") as file:
        file.write("limits:\n  - {policy: default, rate: 1, window: 3600}\n")
    for hub in running(hub.start()):
        api = hub.client()
        for _ in range(5):
            assert api.get("/v1/orders?limit=1").header("ratelimit") is None
