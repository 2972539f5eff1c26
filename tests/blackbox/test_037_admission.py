"""Admission: when work waits too long, what is less important is shed before it costs anything; the
checkout, probes and a few looks of operators are not. And the writer's lanes keep the order of what
one connection asked for."""

import json
import threading
import time

import pytest

import docs
from conftest import running
from hub import Hub
from wire import Connection, until

# A hub that holds few reads for too many, so that a test can ask for more than it can do.
ENV = {"PENSTOCK_ADMISSION_CATALOGUE_MS": "2", "PENSTOCK_ADMISSION_INTERVAL_MS": "20",
       "PENSTOCK_ADMISSION_CHECKOUT_MS": "60000", "PENSTOCK_WORKER_THREADS": "2"}
ORDERS = 400


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    yield from running(Hub(binary, tmp_path_factory.mktemp("hub"), ENV).start())


@pytest.fixture(scope="module")
def filled(hub):
    """So many orders that a list of them takes its time."""
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("FILL", 1000000)).ok(201)
    answer = api.bulk("/v1/orders", [docs.order(("FILL", 1)) for _ in range(ORDERS)])
    assert {line["status"] for line in answer.lines} == {201}
    until(lambda: len(api.get(f"/v1/orders?limit={ORDERS}").ok()["items"]) == ORDERS, 20,
          "the read model to show them")
    return api


class Flood:
    """Connections that ask for long lists, sixteen at a time, until told to stop."""

    def __init__(self, hub, connections=12):
        self.hub, self.counts, self.first = hub, {}, None
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.errors = []
        self.threads = [threading.Thread(target=self.run) for _ in range(connections)]

    def run(self):
        try:
            connection = Connection(self.hub.host, self.hub.port)
            request = connection.head("GET", f"/v1/orders?limit={ORDERS}",
                                      [("Authorization", f"Bearer {self.hub.key}")], None)
            while not self.stop.is_set():
                connection.send(request * 16)
                for _ in range(16):
                    answer = connection.read_answer("GET /v1/orders")
                    with self.lock:
                        self.counts[answer.status] = self.counts.get(answer.status, 0) + 1
                        if answer.status == 503 and self.first is None:
                            self.first = answer
            connection.close()
        except Exception as error:  # told by the test
            self.errors.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.errors, self.errors


def figure(api, name):
    for line in api.get("/metrics").body.decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[-1])
    raise AssertionError(f"no {name} in /metrics")


def test_reads_are_shed_and_the_checkout_is_not(hub, filled):
    api = hub.client()
    with Flood(hub) as flood:
        until(lambda: flood.counts.get(503, 0) >= 100, 60, "a hundred lists shed")
        for _ in range(50):
            filled.post("/v1/orders", docs.order(("FILL", 1))).ok(201)
            filled.get("/v1/availability?sku=FILL&location=WH-HAM").ok()
        assert api.get("/livez").status == 200
        assert api.get("/readyz").status == 200
        api.get("/ops/overview").ok()
        assert figure(api, "penstock_admission_pressure") >= 0.5
        assert figure(api, 'penstock_admission_shed_total{class="catalogue"}') >= 100
        assert figure(api, 'penstock_admission_shed_total{class="checkout"}') == 0
    assert set(flood.counts) == {200, 503}, flood.counts
    flood.first.problem(503, slug="unavailable")
    assert int(flood.first.header("retry-after")) == 5
    assert "catalogue" in flood.first.json["detail"]
    assert "close" not in (flood.first.header("connection") or "")

    # over: all is taken again
    def recovered():
        return (api.get("/v1/orders?limit=1").status == 200 and
                figure(api, "penstock_admission_pressure") < 0.5)
    until(recovered, 30, "nothing shed any more")
    for _ in range(20):
        api.get("/v1/orders?limit=1").ok()


def test_switched_off_nothing_is_shed(binary, tmp_path):
    hub = Hub(binary, tmp_path, {**ENV, "PENSTOCK_ADMISSION_ENABLED": "0"})
    for hub in running(hub.start()):
        with Flood(hub, 4) as flood:
            until(lambda: flood.counts.get(200, 0) >= 300, 60, "lists answered")
        assert set(flood.counts) == {200}


def test_what_one_connection_asks_is_done_in_its_order(hub):
    """Stock is less important than an order; but who counts it and sells it in one breath, on one
    connection, has counted first."""
    connection = Connection(hub.host, hub.port)
    fields = [("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json")]

    def request(path, doc):
        body = json.dumps(doc).encode()
        return connection.head("POST", path, fields, len(body)) + body

    for n in range(50):
        sku = f"BREATH-{n}"
        connection.send(request("/v1/stock/counts", docs.count(sku, 3)) +
                        request("/v1/orders", docs.order((sku, 3))) +
                        request("/v1/stock/counts", docs.count(sku, 7)) +
                        request("/v1/orders", docs.order((sku, 4))))
        statuses = [connection.read_answer().status for _ in range(4)]
        assert statuses == [201] * 4, f"round {n}: {statuses}"
    connection.close()


def test_bulk_beside_orders_goes_on(hub):
    """A bulk call under way keeps no order waiting, and comes to its end."""
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("BESIDE", 100000)).ok(201)
    results = []

    def push():
        lines = [docs.count(f"PUSH-{n}", n) for n in range(3000)]
        results.append(hub.client().bulk("/v1/stock/counts", lines).lines)

    thread = threading.Thread(target=push)
    thread.start()
    while thread.is_alive():
        api.post("/v1/orders", docs.order(("BESIDE", 1))).ok(201)
    thread.join()
    assert [line["status"] for line in results[0]] == [201] * 3000


def test_busy_times_grow(hub):
    api = hub.client()
    before = {name: figure(api, name) for name in BUSY}
    deadline = time.monotonic() + 30
    while any(figure(api, name) <= before[name] for name in BUSY):
        assert time.monotonic() < deadline, before
        api.post("/v1/stock/counts", docs.count("BUSY", 1)).ok(201)
        api.get("/v1/orders?limit=1").ok()


BUSY = ("penstock_writer_busy_seconds_total", "penstock_workers_busy_seconds_total",
        'penstock_loop_busy_seconds_total{loop="0"}', 'penstock_loop_busy_seconds_total{loop="1"}')
