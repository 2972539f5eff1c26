"""Bad documents over every route that takes one: derived from the schemas that the hub prints itself,
member by member, so that a new member or route is tried without a word here; and rows of our own.
Each has its exact status and pointers, and nothing is stored."""

import itertools
import json
import re

import pytest

import docs
from bad_requests import documents

# What is no JSON at all: the byte that the answer must name.
MALFORMED = [
    (b'{"sku": "A",}', 12), (b'{"sku" "A"}', 7), (b'{"sku": A}', 8), (b'{sku: 1}', 1), (b'{"a":1}}', 7),
    (b'{"a":1 "b":2}', 7), (b'{"a":01}', 5), (b'{"a":.5}', 5), (b'{"a":1.}', 5), (b'{"a":+1}', 5),
    (b'{"a":"x\ny"}', 7), (b'{"a":"\x00"}', 6), (b'{"a":"x', 5), (b'["a', 1), (b'{"a":"\\x"}', 5),
    (b'{"a":"\\u12"}', 5), (b'{"a":"\\ud800"}', 5), (b'{"a":"\\udc00\\ud800"}', 5), (b'{"a":tru}', 5),
    (b'{"a":[1,2}', 9), (b'[1,2', 4), (b'{"a"', 4), (b'{"a":', 5), (b'\xef\xbb\xbf{}', 0),
    (b'{"a":"\xff"}', 6), (b'{"a":"\xc0\xaf"}', 6), (b'{"a":"\xed\xa0\x80"}', 6), (b'{"a":"\xe2\x82"}', 6),
    (b'{"a":"x\xf4\x90\x80\x80"}', 7), (b'{"a":"\xc3', 5), (b'\xfe\xff\x00{', 0), (b'{"a":1}\x00', 7),
    (b"{'a':1}", 1), (b'{"a":/* */1}', 5), (b'{"a":1,,"b":1}', 7), (b'[,1]', 1), (b'{"a":NaN}', 5),
    (b'{"a":1e}', 5), (b'{"a":0x1}', 5), (b'{"a":1_0}', 5), (b'nul', 0), (b'"a" "b"', 4), (b'{"a":--1}', 5),
]

# Further rows: route, change by pointer (as in bad_requests), pointers.
ROWS = [
    ("order", {"/lines/0/quantity": "1.0000001"}, ["/lines/0/quantity"]),
    ("order", {"/lines/0/taxes/0/rate": "101"}, ["/lines/0/taxes/0/rate"]),
    ("order", {"/lines/0/taxes/0/rate": "-0.1"}, ["/lines/0/taxes/0/rate"]),
    ("order", {"/ship_to/street": ["x"] * 99}, ["/ship_to/street"]),
    ("order", {"/ship_to/street": ["", "y"]}, ["/ship_to/street/0"]),
    ("order", {"/ship_to/street": [1, "y", None]}, ["/ship_to/street/0", "/ship_to/street/2"]),
    ("order", {"/customer/email": "a\u0007b"}, ["/customer/email"]),
    ("order", {"/lines/0/name": "x" * 501}, ["/lines/0/name"]),
    ("order", {"/lines/0/name": "\U0001F600" * 126}, ["/lines/0/name"]),
    ("order", {"/channel": "w\u0435b-de"}, ["/channel"]),  # a Cyrillic letter
    ("order", {"/channel_order_id": "x\u0085y"}, ["/channel_order_id"]),
    ("order", {"/placed_at": "2026-11-23T09:15:00+24:00"}, ["/placed_at"]),
    ("order", {"/placed_at": "2026-11-23 09:15:00+01:00x"}, ["/placed_at"]),
    ("order", {"/placed_at": "12026-11-23T09:15:00Z"}, ["/placed_at"]),
    ("order", {"/placed_at": 1795512345}, ["/placed_at"]),
    ("order", {"/totals/grand": 9223372036854775808}, ["/totals/grand"]),
    ("order", {"/totals/grand": -9223372036854775809}, ["/totals/grand"]),
    ("order", {"/totals/grand": 1e300}, ["/totals/grand"]),
    ("order", {"/lines/0/taxes": [{}]}, ["/lines/0/taxes/0/code", "/lines/0/taxes/0/amount"]),
    ("order", {"/lines/0/reservation_id": ""}, ["/lines/0/reservation_id"]),
    ("order", {"/shipping/0/method": ""}, ["/shipping/0/method"]),
    ("count", {"/counted_at": "2026-11-23"}, ["/counted_at"]),
    ("count", {"/on_hand": "1" * 40}, ["/on_hand"]),
    ("count", {"/on_hand": "\u0661"}, ["/on_hand"]),
    ("count", {"/on_hand": "1e3"}, ["/on_hand"]),
    ("adjustment", {"/reason": "x" * 5000}, ["/reason"]),
    ("adjustment", {"/delta": "-"}, ["/delta"]),
    ("receipt", {"/items": [{}, {"sku": "A"}]},
     ["/items/0/sku", "/items/0/quantity", "/items/1/quantity"]),
    ("receipt", {"/receipt_reference": "x" * 300}, ["/receipt_reference"]),
    ("hold", {"/expires_in_s": 1.5}, ["/expires_in_s"]),
    ("cancel", {"/lines": [{"line_id": "1", "quantity": "1", "sku": "A"}]}, ["/lines/0/sku"]),
    ("shipment", {"/parcels": [{"carrier": "d h l", "tracking": "1"}]}, ["/parcels/0/carrier"]),
]

VALID = {  # of routes that bad_requests has no document of
    "/ops/exceptions/{exception_id}/resolve": {"reason": "done"},
    "/ops/exceptions/{exception_id}/discard": {"reason": "done"},
    "/ops/exceptions/{exception_id}/retry": {"reason": "mended"},
    "/ops/exceptions/{exception_id}/fix": {"set": [{"pointer": "/a", "text": "b"}]},
    "/ops/exceptions/bulk": {"action": "discard", "state": "open", "reason": "done"},
    "/v1/cross-references": {"system": "shop", "kind": "tax", "value": "VAT", "code": "DE-STD"},
    "/v1/cross-references/{system}/{kind}/{value}": {"code": "DE-STD"},
    "/v1/cross-references/{system}/{kind}/out/{code}": {"value": "VAT"},
    "/ops/held/bulk": {"action": "retry", "all": True},
    "/ops/held/{id}/discard": {"reason": "done"},
    "/ops/held/{id}/edit": {"reason": "wrong there", "patch": {"order": {"currency": "EUR"}}},
    "/ops/held/{id}/retry": {},
    "/ops/replays": {"subscription": "erp-orders", "from_seq": 1, "dry_run": True},
    "/ops/replays/{id}/pause": {"reason": "later"},
    "/ops/replays/{id}/resume": {"reason": "now"},
    "/ops/replays/{id}/cancel": {"reason": "never"},
    "/ops/subscriptions/{subscription}/stop": {"reason": "a new ERP"},
    "/ops/subscriptions/{subscription}/start": {"reason": "it is there"},
    "/v1/subscriptions": {"name": "crm", "kind": "pull", "events": ["order.*"]},
    "/v1/subscriptions/{name}": {"description": "of the shops"},
    "/v1/subscriptions/{name}/stop": {"reason": "it is moved"},
    "/v1/subscriptions/{name}/start": {"reason": "it was moved"},
    "/v1/subscriptions/{name}/rotate": {"overlap_s": 60},
    "/v1/subscriptions/{name}/recover": {"since_seq": 1},
    "/v1/subscriptions/{name}/pull": {"max": 1},
    "/v1/subscriptions/{name}/ack": {"leases": ["l1"]},
    "/v1/subscriptions/{name}/nack": {"leases": ["l1"]},
    "/v1/subscriptions/{name}/extend": {"leases": ["l1"], "lease_s": 60},
}
PATHS = {"order": "/v1/orders", "count": "/v1/stock/counts", "adjustment": "/v1/stock/adjustments",
         "receipt": "/v1/stock/receipts", "hold": "/v1/reservations",
         "cancel": "/v1/orders/{order_id}/cancel", "shipment": "/v1/orders/{order_id}/shipments"}
# Routes whose body is no document of ours, or that have none.
OTHERS = {"/oauth2/token", "/s/{role}/{operation}", "/x/{connector}/{topic}", "/x/{connector}/{topic}/{part}"}
OPERATIONS = ("/ops/held/",)  # bodies read by hand: one fault at a time


@pytest.fixture(scope="module")
def api(hub):
    return hub.client()


@pytest.fixture(scope="module")
def contract(api):
    return api.get("/openapi.json").ok()


@pytest.fixture(scope="module")
def order_id(api):
    api.post("/v1/stock/counts", docs.count("BAD", 1000)).ok(201)
    return api.post("/v1/orders", docs.order(docs.line("BAD", 5, line_id="1"))).ok(201)["order_id"]


def routes(contract):
    """(path, schema) of every call that takes a JSON document."""
    for path, methods in contract["paths"].items():
        for method in ("post", "put", "patch"):
            content = methods.get(method, {}).get("requestBody", {}).get("content", {})
            if "application/json" in content:
                yield method, path, content["application/json"]["schema"]


def resolve(contract, schema):
    while "$ref" in schema:
        schema = contract["components"]["schemas"][schema["$ref"].split("/")[-1]]
    return schema


WRONG = {"string": [7, True, [], {}], "integer": ["1", 1.5, True, [], {}], "boolean": ["true", 0, [], {}],
         "array": [{}, "x", 1, True], "object": [[], "x", 1, True]}


def escaped(name):
    return name.replace("~", "~0").replace("/", "~1")


def faults(contract, schema, value, pointer=""):
    """(pointer of the value that is exchanged, its new value, pointers told), for a valid document."""
    schema = resolve(contract, schema)
    kind = schema.get("type")
    for wrong in WRONG.get(kind, []):
        yield pointer, wrong, [pointer]
    if kind == "object" and isinstance(value, dict):
        for name in value:
            if name in schema.get("properties", {}):
                yield from faults(contract, schema["properties"][name], value[name],
                                  f"{pointer}/{escaped(name)}")
        for name in schema.get("required", []):
            if name in value:
                yield pointer, {k: v for k, v in value.items() if k != name}, [f"{pointer}/{name}"]
                yield pointer, {**value, name: None}, [f"{pointer}/{name}"]
        yield pointer, {**value, "no~such/member": 1}, [f"{pointer}/no~0such~1member"]
        for name, its in schema.get("properties", {}).items():
            if resolve(contract, its).get("readOnly"):
                yield pointer, {**value, name: "x"}, [f"{pointer}/{name}"]
    if kind == "array" and isinstance(value, list):
        for i, element in enumerate(value[:1]):
            yield from faults(contract, schema["items"], element, f"{pointer}/{i}")
            yield f"{pointer}/{i}", None, [f"{pointer}/{i}"]


def exchanged(doc, pointer, value):
    if pointer == "":
        return value
    doc = docs.copy(doc)
    *way, last = [p.replace("~1", "/").replace("~0", "~") for p in pointer.split("/")[1:]]
    at = doc
    for part in way:
        at = at[int(part) if isinstance(at, list) else part]
    at[int(last) if isinstance(at, list) else last] = value
    return doc


def valid(path):
    for name, its in PATHS.items():
        if its == path:
            return documents("BAD", docs.order_id())[name]
    return VALID[path]


def filled(path, order_id):
    return path.format(order_id=order_id, exception_id="exc_none", id="1", system="shop", kind="tax",
                       value="VAT", code="DE-STD", subscription="erp-orders", name="none")


def twice(doc, pointer=""):
    """The document's text with one member written twice, for each member; and its pointer."""
    if isinstance(doc, dict):
        for name in doc:
            parts = [f"{json.dumps(k)}:{json.dumps(v)}" for k, v in doc.items()]
            yield "{" + ",".join([*parts, f"{json.dumps(name)}:{json.dumps(doc[name])}"]) + "}", \
                f"{pointer}/{escaped(name)}"


def refused(api, path, raw, pointers, found, method="POST"):
    answer = api.call(method.upper(), path, raw=raw, headers=docs.key(), media="application/json")
    told = sorted({e["pointer"] for e in answer.json.get("errors", [])}) if answer.status >= 400 else None
    if answer.status != 422 or (pointers is not None and told != sorted(pointers)):
        found.append((path, raw[:200], answer.status, told, pointers))
    elif any(not e["detail"] for e in answer.json.get("errors", [])):
        found.append((path, raw[:200], "no detail"))


def test_every_route_is_here(contract):
    paths = {path for _, path, _ in routes(contract)}
    assert paths - OTHERS == set(PATHS.values()) | set(VALID)


def test_every_member_of_every_route(api, contract, order_id):
    """Wrong kinds, missing, null, unknown, the hub's own, twice: each alone, by its pointer."""
    before, tried, wrong = docs.stored(api), 0, []
    for method, path, schema in routes(contract):
        if path in OTHERS or path.startswith(OPERATIONS):
            continue
        doc = valid(path)
        for pointer, value, pointers in faults(contract, schema, doc):
            raw = json.dumps(exchanged(doc, pointer, value)).encode()
            refused(api, filled(path, order_id), raw, pointers, wrong, method)
            tried += 1
        for raw, pointer in twice(doc):
            refused(api, filled(path, order_id), raw.encode(), [pointer], wrong, method)
            tried += 1
    print(f"{tried} documents")
    assert not wrong, wrong[:10]
    assert tried >= 400
    assert docs.stored(api) == before, "a refused document left something behind"


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_rows(api, order_id, row):
    route, change, pointers = ROWS[row]
    doc = documents("BAD", docs.order_id())[route]
    for pointer, value in change.items():
        doc = exchanged(doc, pointer, value)
    before, wrong = docs.stored(api), []
    refused(api, filled(PATHS[route], order_id), json.dumps(doc).encode(), pointers, wrong)
    assert not wrong and docs.stored(api) == before, wrong


def test_operations_refuse_bad_bodies(api):
    for path, raw in itertools.product(
            ["/ops/held/1/discard", "/ops/held/1/retry"],
            [b"[]", b'"x"', b"7", b'{"reason":7}', b'{"reason":[]}', b'{"other":1}']):
        answer = api.post(path, raw=raw)
        assert answer.status in (404, 422), answer
        answer.problem(answer.status)


@pytest.mark.parametrize("path", [*PATHS.values(), "/ops/exceptions/{exception_id}/resolve"])
def test_what_is_no_json_is_told_by_place(api, order_id, path):
    """400 with line, column and byte."""
    events = docs.stored(api)
    for raw, byte in MALFORMED:
        for before in (b"", b" ", b"\n\n"):
            answer = api.post(filled(path, order_id), raw=before + raw)
            detail = answer.problem(400, slug="malformed")["detail"]
            found = re.search(r"line (\d+), column (\d+) \(byte (\d+)\)$", detail)
            assert found, (raw, detail)
            line, column, at = map(int, found.groups())
            assert at == byte + len(before), (before + raw, detail)
            text = (before + raw)[:at]
            assert line == text.count(b"\n") + 1 and column == at - (text.rfind(b"\n") + 1) + 1
    assert docs.stored(api) == events
