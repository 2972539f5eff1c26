"""The figures of a hub at work: Prometheus' own checker finds nothing to say, the printed list is
what is told, and what is told is what happened."""

import re
import shutil
import subprocess

import pytest

import docs
from conftest import ROOT

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
    import json
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
