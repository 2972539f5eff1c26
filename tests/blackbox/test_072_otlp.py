"""Traces at an OpenTelemetry collector: the protocol's JSON to the letter, one order followed from
the request to the ERP's own request and one webhook to its order, sampling, and a collector that is
away costs nothing but its spans."""

import json
import re
import time
import uuid

import pytest

import docs
import test_075_webhook as shop
from collector import Collector
from conftest import running
from hub import Hub
from ledger import Ledger
from test_071_metrics import message, scrape, value
from wire import until

INTERNAL, SERVER, CLIENT, CONSUMER = 1, 2, 3, 5


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.stop()


def settings(collector, ratio):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "PENSTOCK_TRACE_INTERVAL_MS": "50",
            "PENSTOCK_TRACE_SAMPLE_PER_MILLION": str(ratio), "SHOPIFY_WEBHOOK_SECRET": shop.SECRET,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=acme%20gmbh,authorization=Bearer%20geheim"}


@pytest.fixture
def ledger():
    ledger = Ledger()
    yield ledger
    ledger.stop()


@pytest.fixture
def traced(binary, tmp_path, collector, ledger):
    """A hub that samples what its callers sample, with an ERP behind it."""
    hub = Hub(binary, tmp_path, settings(collector, 0))
    ledger.connector(hub.config)
    yield from running(hub.start())


def context(sampled=True):
    """(traceparent, trace id, span id) of a caller."""
    trace, span = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    return f"00-{trace}-{span}-0{int(sampled)}", trace, span


def one(spans, name=None, **at):
    found = [s for s in spans if name in (None, s.name) and
             all(s.at.get(k.replace("__", ".")) == v for k, v in at.items())]
    assert len(found) == 1, (name, at, spans)
    return found[0]


def complete(collector, trace, name, count=1):
    def there():
        spans = collector.trace(trace)
        return len([s for s in spans if s.name == name]) >= count and spans
    return until(there, 20, f"{name} at the collector: {collector.spans}")


def tree_is_whole(spans, root_parent):
    """Every parent is a span of the trace, and ends not before its child began."""
    by_id = {span.id: span for span in spans}
    assert len(by_id) == len(spans), "a span twice"
    for span in spans:
        if span.parent == root_parent:
            continue
        assert span.parent in by_id, (span, spans)
        assert by_id[span.parent].start <= span.start + 1_000_000, (span, by_id[span.parent])


def test_an_order_from_its_request_to_the_erps(traced, collector, ledger, sku):
    api, name = traced.client(), sku()
    api.post("/v1/stock/counts", docs.count(name, 10)).ok(201)
    parent, trace, caller = context()
    order = docs.order((name, 1), customer={"name": "Ida Muster", "email": "ida@example.org"})
    order["ship_to"] = {"name": "Ida Muster", "street": ["Am Kai 4"], "postal_code": "20457",
                        "city": "Hamburg", "country": "DE"}
    api.post("/v1/orders", order, headers={"traceparent": parent}).ok(201)
    complete(collector, trace, "decide posting.record")
    spans = complete(collector, trace, "process ledger-orders")
    tree_is_whole(spans, caller)
    server = one(spans, "POST /v1/orders", http__response__status_code=201)
    assert server.kind == SERVER and server.parent == caller
    assert server.at["http.request.method"] == "POST" and server.at["http.route"] == "/v1/orders"
    assert server.at["url.path"] == "/v1/orders" and server.at["penstock.class"] == "checkout"
    assert server.at["penstock.caller"] and server.at["penstock.correlation"] == trace
    decide = one(spans, "decide order.capture")
    assert (decide.kind, decide.parent, decide.at["penstock.outcome"]) == (INTERNAL, server.id, "done")
    commit = min((s for s in spans if s.name == "commit"), key=lambda s: s.start)
    assert commit.parent == server.id and commit.at["penstock.batch.commands"] >= 1
    event = [e for e in docs.events(api) if docs.short(e) == "order.captured"][0]
    assert commit.at["penstock.seq"] >= int(event["penstockseq"])
    assert event["traceparent"] == f"00-{trace}-{server.id}-01", "the event's is the request's span"
    deliver = one(spans, "process ledger-orders")
    assert deliver.kind == CONSUMER and deliver.parent == server.id
    assert deliver.at["messaging.message.id"] == event["id"]
    assert deliver.at["penstock.outcome"] == "success"
    call = one(spans, "POST", http__response__status_code=201)
    assert call.kind == CLIENT and call.parent == deliver.id and not call.failed
    assert call.at["url.full"] == ledger.url + "/REDACTED" and call.at["server.port"] == int(
        ledger.url.rsplit(":", 1)[1])
    assert ledger.traceparents[-1] == f"00-{trace}-{call.id}-01", "the ERP goes on under the call"
    assert one(spans, "decide posting.record").parent == deliver.id
    resource = server.resource
    assert resource["service.name"] == "penstock" and resource["service.version"]
    assert resource["service.instance.id"] and resource["penstock.cell"] == "main"
    path, headers, raw = collector.requests[0][1:]
    assert path == "/v1/traces" and headers["Content-Type"] == "application/json"
    assert headers["x-tenant"] == "acme gmbh" and headers["authorization"] == "Bearer geheim"
    told = b"".join(raw for _, _, _, raw in collector.requests).decode()
    for secret in ("Ida", "ida@", "Am Kai", "20457", "geheim", traced.key):
        assert secret not in told, secret


def test_a_mapping_is_a_span_of_its_own(binary, tmp_path, collector, erp):
    env = {**settings(collector, 0), "GENERIC_ERP_URL": erp.url}
    for hub in running(Hub(binary, tmp_path, env).start()):
        api = hub.client()
        api.post("/v1/stock/counts", docs.count("M-1", 10)).ok(201)
        parent, trace, caller = context()
        api.post("/v1/orders", docs.order(("M-1", 1)), headers={"traceparent": parent}).ok(201)
        spans = complete(collector, trace, "process erp-orders")
        tree_is_whole(spans, caller)
        mapping = one(spans, "map post_order.lua", penstock__connector="generic-erp")
        assert mapping.kind == INTERNAL and mapping.parent == one(spans, "process erp-orders").id


def test_what_was_called_by_no_route_tells_no_path(traced, collector):
    api = traced.client()
    parent, trace, _ = context()
    assert api.get("/v1/nowhere/ida@example.org", headers={"traceparent": parent}).status == 404
    span = one(complete(collector, trace, "GET"))
    assert "url.path" not in span.at and "http.route" not in span.at
    parent, trace, _ = context()
    api.delete("/v1/customers/ida@example.org", headers={"traceparent": parent})
    span = one(complete(collector, trace, "DELETE /v1/customers/{customer_id}"), "DELETE /v1/customers/{customer_id}")
    assert span.at["url.path"] == "/v1/customers/{customer_id}"
    parent, trace, _ = context()
    assert api.call("LOCK", "/v1/orders", headers={"traceparent": parent}).status in (405, 501)
    assert complete(collector, trace, "HTTP")[0].at["http.request.method"] == "_OTHER"


def test_attempts_and_failures_are_spans_of_their_own(traced, collector, ledger, sku):
    ledger.script[:] = [503, "lost"]
    api, name = traced.client(), sku()
    api.post("/v1/stock/counts", docs.count(name, 10)).ok(201)
    parent, trace, caller = context()
    api.post("/v1/orders", docs.order((name, 1)), headers={"traceparent": parent}).ok(201)

    def delivered():
        return [s for s in collector.trace(trace) if s.name == "process ledger-orders" and
                s.at["penstock.outcome"] == "success"] and collector.trace(trace)
    spans = until(delivered, 30, "the order to be delivered")
    tree_is_whole(spans, caller)
    attempts = sorted((s for s in spans if s.name == "process ledger-orders"), key=lambda s: s.start)
    outcomes = [s.at["penstock.outcome"] for s in attempts]
    assert outcomes[0] == "unreachable" and outcomes[-1] == "success" and "ambiguous" in outcomes
    assert [s.failed for s in attempts] == [o != "success" for o in outcomes]
    posts = sorted((s for s in spans if s.name == "POST" and s.kind == CLIENT), key=lambda s: s.start)
    assert posts[0].at["http.response.status_code"] == 503 and posts[0].failed
    assert posts[1].at["error.type"] and posts[1].failed
    lookups = [s for s in spans if s.name == "GET" and s.kind == CLIENT]
    assert lookups and one(attempts, penstock__found=True).id in {s.parent for s in lookups}


def test_a_webhook_from_its_request_to_its_order(traced, collector, ledger):
    parent, trace, caller = context()
    raw = json.dumps(shop.payload()).encode()
    traced.client(key=None).post("/x/shopify/orders-create", raw=raw, headers={
        "X-Shopify-Hmac-Sha256": shop.sign(raw), "X-Shopify-Webhook-Id": "t-1",
        "traceparent": parent}).ok(200, 201, 202)
    spans = complete(collector, trace, "process ledger-orders")
    tree_is_whole(spans, caller)
    server = one(spans, "POST /x/{connector}/{topic}")
    assert server.at["url.path"] == "/x/shopify/orders-create" and server.parent == caller
    assert one(spans, "decide inbound.receive").parent == server.id
    process = one(spans, "process shopify/orders-create")
    assert process.kind == CONSUMER and process.parent == server.id
    assert process.at["penstock.outcome"] == "mapped"
    assert one(spans, "map order.lua").parent == process.id
    assert one(spans, "decide order.capture").parent == process.id
    assert one(spans, "process ledger-orders").parent == process.id


@pytest.mark.parametrize("ratio, recorded", [(0, False), (1_000_000, True)])
def test_the_caller_says_what_is_sampled_else_chance(binary, tmp_path, collector, ratio, recorded):
    for hub in running(Hub(binary, tmp_path, settings(collector, ratio)).start()):
        api = hub.client()
        yes, yes_trace, _ = context()
        no, no_trace, _ = context(sampled=False)
        api.get("/v1/events", headers={"traceparent": no}).ok()
        made = api.get("/v1/events").header("penstock-correlation-id")
        api.get("/v1/events", headers={"traceparent": yes}).ok()
        complete(collector, yes_trace, "GET /v1/events")
        assert not collector.trace(no_trace)
        assert bool(collector.trace(made)) == recorded


def test_some_of_many_are_sampled(binary, tmp_path, collector):
    for hub in running(Hub(binary, tmp_path, settings(collector, 200_000)).start()):
        api = hub.client()
        for _ in range(500):
            api.get("/v1/events").ok()
        hub.stop()  # what was recorded is sent before it ends
        assert 50 <= len(collector.spans) <= 150, len(collector.spans)
        hub.start()


def test_without_a_collector_a_callers_trace_goes_on(fresh_hub, sku):
    api, name = fresh_hub.client(), sku()
    api.post("/v1/stock/counts", docs.count(name, 10)).ok(201)
    parent, trace, span = context()
    api.post("/v1/orders", docs.order((name, 1)), headers={"traceparent": parent}).ok(201)
    event = docs.events(api)[-1]
    assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-01", event["traceparent"])
    assert span not in event["traceparent"]
    assert "penstock_spans_total" not in api.get("/metrics").body.decode()


def test_what_the_collector_can_not_take_now_is_sent_again(binary, tmp_path, collector):
    collector.script[:] = [503, 429]
    for hub in running(Hub(binary, tmp_path, settings(collector, 0)).start()):
        parent, trace, _ = context()
        hub.client().get("/v1/events", headers={"traceparent": parent}).ok()
        complete(collector, trace, "GET /v1/events")
        assert [r[0] for r in collector.requests] == [503, 429, 200]
        assert len({r[3] for r in collector.requests}) == 1, "the same batch"
        until(lambda: value(scrape(hub.client()), "penstock_spans_total", outcome="sent") == 1, 10, "it")
        collector.script[:] = [400]
        hub.client().get("/v1/events", headers={"traceparent": context()[0]}).ok()
        until(lambda: value(scrape(hub.client()), "penstock_spans_total", outcome="failed") == 1, 10,
              "the refusal to be counted")


def test_a_collector_that_is_away_costs_only_its_spans(binary, tmp_path, collector, sku):
    env = {**settings(collector, 1_000_000), "PENSTOCK_TRACE_RING_SPANS": "16"}
    collector.stop()
    for hub in running(Hub(binary, tmp_path, env).start()):
        api, name = hub.client(), sku()
        api.post("/v1/stock/counts", docs.count(name, 1000)).ok(201)
        for _ in range(100):
            api.post("/v1/orders", docs.order((name, 1))).ok(201)
        until(lambda: value(scrape(api), "penstock_spans_total", outcome="dropped") > 50, 10,
              "dropped spans to be counted")
        log = hub.process.err_path.read_text()
        assert log.count("does not take spans") == 1 and "geheim" not in log
        started = time.monotonic()
        hub.stop()
        assert time.monotonic() - started < 8 * binary.patience, "it does not wait for the collector"
        hub.start()


def test_a_wrong_endpoint_is_told(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    for env, words in (({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "http:// or https://"),):
        done = binary.run("check", "-C", hub.config, env=env)
        assert done.returncode == 1 and words in done.stdout + done.stderr
    done = binary.run("serve", "-C", hub.config, "--listen", "127.0.0.1:0", env={
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_HEADERS": "geheim"})
    assert done.returncode == 1 and "OTEL_EXPORTER_OTLP_HEADERS" in done.stderr
    assert "geheim" not in done.stderr


def test_the_file_can_say_it_too(binary, tmp_path, collector):
    hub = Hub(binary, tmp_path, {"PENSTOCK_TRACE_INTERVAL_MS": "50"})
    with open(hub.config / "penstock.yaml", "a") as file:
        file.write(f"telemetry:\n  endpoint: {collector.url}/\n  service_name: hub-eu\n")
    for hub in running(hub.start()):
        parent, trace, _ = context()
        hub.client().get("/v1/events", headers={"traceparent": parent}).ok()
        spans = complete(collector, trace, "GET /v1/events")
        assert spans[0].resource["service.name"] == "hub-eu"
