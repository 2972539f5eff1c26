"""The log of a hub at work: every line is logfmt, what concerns a request or a delivery says whose it
is, and nothing that is secret or personal stands in it."""

import json
import re

import pytest

import docs
import test_075_webhook as shop
from collector import Collector
from conftest import running
from hub import Hub
from ledger import Ledger
from test_072_otlp import context
from wire import until

PAIR = re.compile(r'([a-z][a-z0-9_]*)=("(?:[^"\\\x00-\x1f\x7f-\x9f]|\\["\\n]|\\u00[0-9a-f]{2})*"|'
                  r'[!#-<>-\[\]-~]+)')
LEVELS = {"debug", "info", "warn", "error"}
PERSONAL = ("Ida Muster", "ida@example.org", "Am Kai", "20457")


def parse(line):
    """The pairs of a line; anything that is not logfmt to the letter fails."""
    found, at = {}, 0
    while at < len(line):
        match = PAIR.match(line, at)
        assert match and match[1] not in found, f"{line!r} at {line[at:]!r}"
        found[match[1]] = json.loads(match[2]) if match[2].startswith('"') else match[2]
        at = match.end()
        assert at == len(line) or line[at] == " ", f"{line!r} at {line[at:]!r}"
        at += 1
    return found


def lines_of(hub):
    text = hub.process.err_path.read_bytes()
    assert text.endswith(b"\n") and b"\r" not in text
    lines = [parse(line) for line in text.decode("utf-8").split("\n")[:-1]]
    for line in lines:
        assert list(line)[:4] == ["ts", "level", "part", "msg"], line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", line["ts"]), line
        assert line["level"] in LEVELS and line["part"] and line["msg"], line
    return lines


@pytest.fixture
def ledger():
    ledger = Ledger()
    yield ledger
    ledger.stop()


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.stop()


@pytest.fixture
def telling(binary, tmp_path, ledger, collector):
    """A hub that tells every request, with an ERP that may see persons and speaks of them."""
    env = {"SHOPIFY_WEBHOOK_SECRET": shop.SECRET, "PENSTOCK_REQUEST_LOG_PER_MILLION": "1000000",
           "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "PENSTOCK_TRACE_SAMPLE_PER_MILLION": "0",
           "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20geheim"}
    hub = Hub(binary, tmp_path, env)
    ledger.connector(hub.config, personal="true")
    yield from running(hub.start())


def personal_order(sku):
    order = docs.order((sku, 1), customer={"name": "Ida Muster", "email": "ida@example.org"})
    order["ship_to"] = {"name": "Ida Muster", "street": ["Am Kai 4"], "postal_code": "20457",
                        "city": "Hamburg", "country": "DE"}
    return order


def test_a_run_is_logfmt_without_secrets_and_persons(telling, ledger, collector, sku):
    ledger.script[:] = [503, lambda doc: (422, "unknown customer Ida Muster, ida@example.org\r\n\x1b[2J")]
    hub, name = telling, sku()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count(name, 100)).ok(201)
    odd = 'a"b=c\\d'
    parent, trace, _ = context()
    held = api.post("/v1/orders", personal_order(name),
                    headers={"Penstock-Correlation-Id": odd, "traceparent": parent}).ok(201)
    until(lambda: any(line["msg"] == "delivery held" for line in lines_of(hub)), 20, "the held delivery")
    raw = json.dumps(shop.payload()).encode()
    headers = {"X-Shopify-Hmac-Sha256": shop.sign(raw), "X-Shopify-Webhook-Id": "l-1"}
    hub.client(key=None).post("/x/shopify/orders-create", raw=raw, headers=headers).ok(200, 201, 202)
    hub.client(key=None).post("/x/shopify/orders-create", raw=raw + b" ", headers=headers)
    wrong = hub.key[:-4] + "AAAA"
    assert hub.client(key=wrong).get("/v1/orders/x").status == 401
    assert api.get("/v1/customers/ida@example.org").status in (200, 404, 405)
    assert api.get("/v1/%1b%5b2J%0aLOG").status in (400, 404)
    assert api.post("/v1/orders", personal_order("no-such-sku")).status == 409
    api.post("/v1/orders", {"customer": {"email": "ida@example.org"}}).problem(422)
    lines = lines_of(hub)
    told = [line for line in lines if line["msg"] == "request"]
    assert len(told) >= 8 and all(line["correlation"] for line in told)
    [captured] = [line for line in told if line["correlation"] == odd]
    assert (captured["method"], captured["route"], captured["status"]) == ("POST", "/v1/orders", "201")
    assert captured["trace_id"] == trace and captured["span_id"] and int(captured["us"]) > 0
    assert captured["caller"] and captured["caller"] not in (hub.key, "none")
    [delivery] = [line for line in lines if line["msg"] == "delivery held"]
    assert delivery["correlation"] == odd and delivery["trace_id"] == trace
    assert delivery["subscription"] == "ledger-orders" and delivery["level"] == "warn"
    assert held["order_id"] in delivery["key"] and "422" in delivery["cause"]
    assert any(line["status"] == "401" and line["caller"] == "none" for line in told)
    assert not any("trace_id" in line for line in told if line["correlation"] != odd)
    text = hub.process.err_path.read_text()
    for secret in (*PERSONAL, hub.key, wrong, shop.SECRET, "geheim", "\x1b"):
        assert secret not in text, secret


def test_requests_are_told_only_where_asked_for(binary, tmp_path):
    env = {"PENSTOCK_REQUEST_LOG_PER_MILLION": "200000"}
    for hub in running(Hub(binary, tmp_path, env).start()):
        api = hub.client()
        for _ in range(500):
            api.get("/v1/events").ok()
        told = [line for line in lines_of(hub) if line["msg"] == "request"]
        assert 50 <= len(told) <= 150


def test_none_are_told_by_default(fresh_hub, sku):
    api = fresh_hub.client()
    api.post("/v1/stock/counts", docs.count(sku(), 5)).ok(201)
    assert api.get("/v1/nowhere").status == 404
    assert not [line for line in lines_of(fresh_hub) if line["msg"] == "request"]
