"""The documents the program prints: OpenAPI 3.1 and AsyncAPI 3; they tell what really answers."""

import json
import re
import sys
from pathlib import Path

import pytest

import docs

sys.path.append(str(Path(__file__).resolve().parent.parent / "contracts"))
import linters  # noqa: E402


@pytest.fixture(scope="module")
def openapi(binary):
    return json.loads(binary.ok("openapi"))


@pytest.fixture(scope="module")
def asyncapi(binary):
    return json.loads(binary.ok("asyncapi"))


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document, reference):
    at = document
    assert reference.startswith("#"), reference
    for part in reference[1:].split("/")[1:]:
        at = at[part.replace("~1", "/").replace("~0", "~")]
    return at


def operations(openapi):
    return [(path, method, operation) for path, item in openapi["paths"].items()
            for method, operation in item.items()
            if method in ("get", "post", "put", "patch", "delete")]


def test_openapi_is_well_formed(openapi):
    assert re.fullmatch(r"3\.1\.\d+", openapi["openapi"])
    assert openapi["info"]["title"] and openapi["info"]["version"]
    ids = [operation["operationId"] for _, _, operation in operations(openapi)]
    assert len(ids) == len(set(ids)) >= 15
    for path, _, operation in operations(openapi):
        assert operation["summary"] and operation["responses"], path
        named = set(re.findall(r"{([^}]+)}", path))
        given = {p["name"] for p in operation.get("parameters", []) if p.get("in") == "path"}
        assert named == given, path
    for reference in references(openapi):
        resolve(openapi, reference)


def test_the_linters_find_nothing(binary, tmp_path):
    """Spectral with all rules of its sets for OpenAPI and AsyncAPI, and AsyncAPI's own parser."""
    for name in ("openapi", "asyncapi"):
        (tmp_path / f"{name}.json").write_text(binary.ok(name), "utf-8")
    try:
        found = linters.lint(tmp_path / "openapi.json", tmp_path / "asyncapi.json")
    except linters.Missing as missing:
        pytest.skip(str(missing))
    assert not found, "\n".join(found)


def test_the_linters_find_what_is_wrong(binary, tmp_path):
    """They are switched on: a document with a mistake in each is not passed."""
    openapi = json.loads(binary.ok("openapi"))
    asyncapi = json.loads(binary.ok("asyncapi"))
    del openapi["paths"]["/v1/orders"]["post"]["responses"]
    openapi["components"]["schemas"]["order"]["properties"]["lines"] = {"$ref": "#/nowhere"}
    next(iter(asyncapi["operations"].values()))["action"] = "shout"
    for name, document in (("openapi", openapi), ("asyncapi", asyncapi)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document), "utf-8")
    try:
        found = "\n".join(linters.lint(tmp_path / "openapi.json", tmp_path / "asyncapi.json"))
    except linters.Missing as missing:
        pytest.skip(str(missing))
    for expected in ("spectral:oas: error", "invalid-ref", "spectral:asyncapi: error",
                     "asyncapi-parser: error"):
        assert expected in found, found


def test_the_contract_is_in_it(openapi):
    for path, method in [
            ("/v1/orders", "post"), ("/v1/orders", "get"), ("/v1/orders/{order_id}", "get"),
            ("/v1/orders/{order_id}/cancel", "post"), ("/v1/orders/{order_id}/shipments", "post"),
            ("/v1/stock/counts", "post"), ("/v1/stock/adjustments", "post"),
            ("/v1/stock/receipts", "post"), ("/v1/availability", "get"),
            ("/v1/reservations", "post"), ("/v1/events", "get"), ("/livez", "get"),
            ("/readyz", "get"), ("/metrics", "get")]:
        assert method in openapi["paths"].get(path, {}), f"{method} {path}"


def test_it_is_served(api, openapi, asyncapi):
    assert api.get("/openapi.json").ok() == openapi
    assert api.get("/asyncapi.json").ok() == asyncapi


def test_every_operation_answers(api, openapi):
    """Nothing is described that is not there: no route answers 404 for its path, 405 or 501."""
    for path, method, _ in operations(openapi):
        real = re.sub(r"{[^}]+}", "none", path)
        answer = api.call(method.upper(), real, {} if method in ("post", "put", "patch") else None)
        assert answer.status not in (405, 500, 501, 502), answer
        if "{" not in path:
            assert answer.status != 404, answer


def test_every_operation_but_the_open_ones_needs_a_key(hub, openapi):
    api = hub.client(key=None)
    for path, method, _ in operations(openapi):
        if path in ("/livez", "/readyz", "/openapi.json", "/asyncapi.json"):
            continue
        if path in ("/ops/login", "/ops/callback"):
            continue  # for those who have no credentials yet
        if path in ("/oauth2/token",) or path.startswith("/.well-known/"):
            continue  # asks for the client's secret itself; public keys and addresses
        if path.startswith("/x/"):
            continue  # webhooks: by their platform's signature
        real = re.sub(r"{[^}]+}", "none", path)
        answer = api.call(method.upper(), real, {} if method in ("post", "put", "patch") else None)
        assert answer.status == 401, answer


def test_asyncapi_is_well_formed(asyncapi):
    assert re.fullmatch(r"3\.\d+\.\d+", asyncapi["asyncapi"])
    assert asyncapi["info"]["title"] and asyncapi["info"]["version"]
    for reference in references(asyncapi):
        resolve(asyncapi, reference)


def test_every_event_that_happens_is_in_asyncapi(api, asyncapi, stocked):
    sku = stocked(10)
    order = api.post("/v1/orders", docs.order((sku, 1))).ok(201)
    api.post(f"/v1/orders/{order['order_id']}/cancel", {"reason": "x"}).ok()
    text = json.dumps(asyncapi)
    for event in docs.events(api):
        assert f'"{event["type"]}"' in text or f'"{docs.short(event)}"' in text, event["type"]


def test_metrics_are_prometheus_text(api):
    answer = api.get("/metrics")
    assert answer.status == 200
    assert answer.header("content-type").startswith("text/plain")
    names = set()
    for line in answer.body.decode().splitlines():
        if line.startswith("#"):
            assert re.match(r"# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* .+", line), line
        elif line:
            assert re.fullmatch(
                r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="[^"]*",?)*\})? \S+', line), line
            names.add(re.split(r"[{ ]", line)[0])
    assert all(name.startswith(("penstock_", "process_")) for name in names), names
