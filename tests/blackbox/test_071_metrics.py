"""The figures of a hub at work: Prometheus' own checker finds nothing to say, the printed list is
what is told, and what is told is what happened."""

import json
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

import docs
import test_075_webhook as shop
from conftest import ROOT, running
from hub import Hub
from wire import until

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def scrape(api):
    """{(name, labels as a frozenset): value}; a sample twice fails."""
    found = {}
    for line in api.get("/metrics").body.decode().splitlines():
        if line.startswith("#"):
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        key = (match[1], frozenset(LABEL.findall(match[2] or "")))
        assert key not in found, f"twice: {line}"
        found[key] = float(match[3])
    return found


def value(figures, name, **labels):
    return figures.get((name, frozenset(labels.items())), 0)


@pytest.fixture(scope="module")
def table(binary):
    return {row["name"]: row for row in json.loads(binary.ok("metrics", "--list", "--json"))["items"]}


def work(api, sku):
    """Something of everything that a channel does."""
    api.post("/v1/stock/counts", docs.count(sku, 100)).ok(201)
    for n in range(20):
        order = api.post("/v1/orders", docs.order((sku, 1)), headers=docs.key()).ok(201)
        if n % 4 == 0:
            api.post(f"/v1/orders/{order['order_id']}/cancel", {"reason": "x"}).ok()
    assert api.post("/v1/orders", docs.order((sku, 1000))).status == 409
    assert api.post("/v1/orders", {}).status == 422
    assert api.get("/v1/nowhere").status == 404
    api.get("/v1/orders" + docs.query(state="accepted")).ok()
    docs.availability(api, sku)


def test_promtool_finds_nothing_to_say(api, sku):
    work(api, sku())
    promtool = shutil.which("promtool")
    assert promtool, "promtool is part of Debian's package prometheus (scripts/packages.txt)"
    done = subprocess.run([promtool, "check", "metrics"], input=api.get("/metrics").body,
                          capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_under_load_it_is_whole_and_counters_only_rise(fresh_hub, sku):
    """Scrapes beside sellers: each is one document to promtool, and no counter runs backwards."""
    hub, api, name, stop = fresh_hub, fresh_hub.client(), sku(), threading.Event()
    api.post("/v1/stock/counts", docs.count(name, 100000)).ok(201)

    def sell(client):
        while not stop.is_set():
            client.post("/v1/orders", docs.order((name, 1))).ok(201)
    sellers = [threading.Thread(target=sell, args=(hub.client(),)) for _ in range(8)]
    for seller in sellers:
        seller.start()
    try:
        before = {}
        for _ in range(10):
            text = api.get("/metrics").body
            done = subprocess.run([shutil.which("promtool"), "check", "metrics"], input=text,
                                  capture_output=True, timeout=60, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
            now = {key: n for key, n in scrape(api).items()
                   if key[0].endswith(("_total", "_bucket", "_count", "_sum"))}
            for key, n in before.items():
                assert now[key] >= n, key
            before = now
    finally:
        stop.set()
        for seller in sellers:
            seller.join()
    sold = value(scrape(api), "penstock_http_requests_total", **{"class": "checkout", "status": "201"})
    assert sold == len(docs.events(api, type="order.captured")) > 0


def test_what_is_told_is_in_the_list(api, table, sku):
    work(api, sku())
    told = {}
    for line in api.get("/metrics").body.decode().splitlines():
        if line.startswith("# "):
            _, what, name, text = line.split(" ", 3)
            assert (what, name) not in told, f"twice: {line}"
            told[what, name] = text
    for (what, name), text in told.items():
        assert text == table[name]["help" if what == "HELP" else "kind"], name
    for name, labels in scrape(api):
        family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in table else name
        assert {k for k, _ in labels} - {"le"} == set(table[family]["labels"]), name


def test_the_page_is_what_the_program_prints(binary):
    assert binary.ok("metrics", "--list", "--markdown") == (ROOT / "docs/metrics.md").read_text(), \
        "print it anew: build/penstock metrics --list --markdown > docs/metrics.md"


def test_histograms_are_cumulative_and_agree_with_their_counters(api, sku):
    work(api, sku())
    figures = scrape(api)
    buckets = {}
    for (name, labels), n in figures.items():
        if name.endswith("_bucket"):
            le = dict(labels)["le"]
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            buckets.setdefault((name[:-len("_bucket")], rest), []).append((float(le), n))
    assert buckets
    for (name, rest), series in buckets.items():
        counts = [n for _, n in sorted(series)]
        assert counts == sorted(counts) and sorted(series)[-1][0] == float("inf"), (name, rest)
        assert counts[-1] == figures[name + "_count", rest]
    counted = sum(n for (name, _), n in figures.items() if name == "penstock_http_requests_total")
    timed = sum(n for (name, _), n in figures.items()
                if name == "penstock_http_request_seconds_count")
    by_route = sum(n for (name, _), n in figures.items()
                   if name == "penstock_http_route_requests_total")
    assert counted == timed == by_route


def test_requests_are_counted_by_class_route_and_status(fresh_hub, sku):
    api = fresh_hub.client()
    work(api, sku())
    figures = scrape(api)
    assert value(figures, "penstock_http_requests_total", **{"class": "checkout", "status": "201"}) == 20
    assert value(figures, "penstock_http_requests_total", **{"class": "checkout", "status": "409"}) == 1
    route = {"method": "POST", "route": "/v1/orders"}
    assert value(figures, "penstock_http_route_requests_total", status="2xx", **route) == 20
    assert value(figures, "penstock_http_route_requests_total", status="4xx", **route) == 2
    assert value(figures, "penstock_http_route_seconds_count", **route) == 22
    cancel = {"method": "POST", "route": "/v1/orders/{order_id}/cancel"}
    assert value(figures, "penstock_http_route_seconds_count", **cancel) == 5, "the template, no ids"
    assert value(figures, "penstock_http_route_requests_total", method="any", route="none",
                 status="4xx") == 1


@pytest.fixture
def trading(binary, tmp_path, erp):
    """A hub with a web shop before it and an ERP behind it."""
    env = {"GENERIC_ERP_URL": erp.url, "SHOPIFY_WEBHOOK_SECRET": shop.SECRET}
    yield from running(Hub(binary, tmp_path, env).start())


def message(hub, doc, secret_ok=True):
    raw = json.dumps(doc).encode()
    signature = shop.sign(raw if secret_ok else raw + b" ")
    return hub.client(key=None).post("/x/shopify/orders-create", raw=raw, headers={
        "X-Shopify-Hmac-Sha256": signature, "X-Shopify-Webhook-Id": f"m-{next(shop._ids)}"})


def test_partners_systems_and_cases_are_told(trading):
    hub, api = trading, trading.client()
    message(hub, shop.payload()).ok(200, 201, 202)
    message(hub, {"id": 1, "no": "order"}).ok(200, 201, 202)
    assert message(hub, shop.payload(), secret_ok=False).status == 401

    def done():
        figures = scrape(api)
        outcome = {"connector": "generic-erp", "subscription": "erp-orders", "outcome": "success"}
        return value(figures, "penstock_deliveries_total", **outcome) == 1 and \
            value(figures, "penstock_exceptions_open") >= 1 and figures
    figures = until(done, 20, "the order to be delivered and the case to be counted")
    shopify, erp = {"connector": "shopify"}, {"connector": "generic-erp", "subscription": "erp-orders"}
    assert value(figures, "penstock_connector_received_total", **shopify) == 2
    assert value(figures, "penstock_connector_rejected_total", **shopify) == 1
    assert value(figures, "penstock_connector_processed_total", outcome="mapped", **shopify) == 1
    assert value(figures, "penstock_connector_processed_total", outcome="failed", **shopify) == 1
    assert value(figures, "penstock_connector_processing_seconds_count", **shopify) == 2
    assert value(figures, "penstock_delivery_call_seconds_count", **erp) >= 1
    assert value(figures, "penstock_delivery_seconds_count", **erp) == 1
    assert 0 < value(figures, "penstock_delivery_seconds_sum", **erp) < 60
    assert value(figures, "penstock_delivery_usable", **erp) == 1
    assert value(figures, "penstock_keyring_taken_total") >= 1


def test_a_system_that_is_away_is_told(trading, erp, sku):
    erp.stop()
    api, name = trading.client(), sku()
    api.post("/v1/stock/counts", docs.count(name, 10)).ok(201)
    api.post("/v1/orders", docs.order((name, 1))).ok(201)
    labels = {"connector": "generic-erp", "subscription": "erp-orders"}
    until(lambda: value(scrape(api), "penstock_delivery_breaker_open", **labels) == 1, 20,
          "the breaker to be told")
    figures = scrape(api)
    assert value(figures, "penstock_delivery_waiting", **labels) == 1
    assert value(figures, "penstock_deliveries_total", outcome="unreachable", **labels) >= 5


def test_commits_and_the_process_are_told(fresh_hub, sku):
    api, hub = fresh_hub.client(), fresh_hub
    work(api, sku())
    figures = {}

    def told():
        """With the lines of the audit, which come beside the answers: one was refused, hub started …"""
        noted = len(docs.events(api, type="audit.noted"))
        figures.update(scrape(api))
        return noted > 0 and value(figures, "penstock_commands_total", outcome="done") == 27 + noted
    until(told, 20, "the commands (a list was read, too), and the audit's")
    done = value(figures, "penstock_commands_total", outcome="done")
    assert value(figures, "penstock_commands_total", outcome="refused") == 1
    assert value(figures, "penstock_batch_commands_sum") == done + 1
    assert value(figures, "penstock_batch_events_sum") == value(figures, "penstock_journal_seq")
    appends = value(figures, "penstock_journal_append_seconds_count")
    assert 0 < appends == value(figures, "penstock_journal_sync_seconds_count") <= done
    assert value(figures, "penstock_journal_append_seconds_sum") >= \
        value(figures, "penstock_journal_sync_seconds_sum") > 0
    for queue in ("writer", "loader", "workers", "inbound"):
        assert value(figures, "penstock_queue_limit", queue=queue) >= 100
        assert ("penstock_queue_length", frozenset({("queue", queue)})) in figures
    proc = Path(f"/proc/{hub.process.popen.pid}")
    files = len(list((proc / "fd").iterdir()))
    assert abs(value(figures, "process_open_fds") - files) <= 3
    assert 10e6 < value(figures, "process_resident_memory_bytes")
    assert 0 < value(figures, "process_cpu_seconds_total") < 60
    assert abs(time.time() - value(figures, "process_start_time_seconds")) < 120
    for loop in ("0", "1"):
        assert value(figures, "penstock_loop_turn_seconds_count", loop=loop) >= 1
    assert value(figures, "penstock_loop_turn_seconds_sum", loop="0") < 10
    for thread in ("loop", "writer", "deliver", "read-model", "inbound"):
        assert value(figures, "penstock_threads", thread=thread) >= 1, thread
    assert value(figures, "penstock_log_lines_total", level="warn") >= 1
    number = docs.order_id()
    for _ in range(2):
        api.post("/v1/stock/counts", docs.count(number, 5), headers={"Idempotency-Key": number}).ok(200, 201)
    assert value(scrape(api), "penstock_commands_total", outcome="replayed") == 1


def test_the_example_alerts_are_rules_about_figures_there_are(table):
    path = ROOT / "docs/alerts.example.yml"
    done = subprocess.run([shutil.which("promtool"), "check", "rules", path], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done
    names = set(re.findall(r"\b(?:penstock|process)_[a-z_]+\b", path.read_text()))
    assert len(names) >= 15
    for name in names:
        assert re.sub(r"_(bucket|sum|count)$", "", name) in table or name in table, name
