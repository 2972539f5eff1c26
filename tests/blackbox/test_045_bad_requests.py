"""Bad requests: the problem names every fault by its pointer, and nothing is stored."""

import json

import pytest

import docs
from bad_requests import BAD_REQUESTS, DROP, ROUTES, documents


def changed(doc, changes):
    """The document with members set or dropped by JSON Pointer."""
    doc = docs.copy(doc)
    for pointer, value in changes.items():
        *way, last = [p.replace("~1", "/").replace("~0", "~") for p in pointer.split("/")[1:]]
        at = doc
        for part in way:
            at = at[int(part) if isinstance(at, list) else part]
        last = int(last) if isinstance(at, list) else last
        if value is DROP:
            del at[last]
        else:
            at[last] = value
    return doc


@pytest.fixture(scope="module")
def shop(hub):
    """A hub with stock and an open order; what nothing may change."""
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("BAD", 1000)).ok(201)
    order = docs.order(docs.line("BAD", 5, line_id="1"))
    order_id = api.post("/v1/orders", order).ok(201)["order_id"]
    return api, order_id


def snapshot(api, order_id):
    return (docs.events(api, limit=10000), docs.stock(api, "BAD"),
            api.get(f"/v1/orders/{order_id}").ok())


def test_the_table_is_long_and_its_names_are_unique():
    names = [row[0] for row in BAD_REQUESTS]
    assert len(names) >= 80
    assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)


@pytest.mark.parametrize("route", ROUTES)
def test_the_unchanged_documents_are_taken(hub, shop, route):
    """Else the table would prove nothing."""
    api, _ = shop
    api.post("/v1/stock/adjustments", docs.adjustment("GOOD", 50)).ok(201)
    made = api.post("/v1/orders", docs.order(docs.line("GOOD", 5, line_id="1"))).ok(201)
    doc = documents("GOOD", docs.order_id())[route]
    api.post(ROUTES[route].format(order_id=made["order_id"]), doc).ok(200, 201)


@pytest.mark.parametrize("row", BAD_REQUESTS, ids=[row[0] for row in BAD_REQUESTS])
def test_bad_request(shop, row):
    _, route, change, statuses, pointers = row
    api, order_id = shop
    before = snapshot(api, order_id)
    if isinstance(change, bytes):
        raw = change
    else:
        raw = json.dumps(changed(documents("BAD", docs.order_id())[route], change)).encode()
    key = docs.key()
    path = ROUTES[route].format(order_id=order_id)
    answer = api.post(path, raw=raw, headers=key)
    statuses = statuses if isinstance(statuses, tuple) else (statuses,)
    assert answer.status in statuses, answer
    problem = answer.problem(answer.status, pointers)
    if answer.status == 422:
        assert problem.get("errors"), f"no pointer at all: {problem}"
    assert snapshot(api, order_id) == before, "a refused request changed something"


def test_a_secret_in_a_bad_request_is_not_told_back(shop):
    """Values of personal members are not repeated in problem documents."""
    api, _ = shop
    doc = documents("BAD", docs.order_id())["order"]
    doc["customer"]["email"] = 4111111111111111
    problem = api.post("/v1/orders", doc).problem(422, ["/customer/email"])
    assert "4111111111111111" not in json.dumps(problem)


def test_very_many_faults_are_bounded(shop):
    api, _ = shop
    doc = documents("BAD", docs.order_id())["order"]
    doc["lines"] = [{"sku": "", "quantity": "x", "unit_price": -1, "total": "y"}
                    for _ in range(3000)]
    answer = api.post("/v1/orders", doc)
    problem = answer.problem(422)
    assert 50 <= len(problem["errors"]) <= 1000
    assert len(answer.body) < 1 << 18


def test_too_many_lines(shop):
    api, _ = shop
    doc = docs.order(*[docs.line("BAD", 1, 100, line_id=str(i)) for i in range(5001)])
    assert api.post("/v1/orders", doc).problem(422, ["/lines"])
