"""Cross-references through the program: set, asked, imported, removed, used by a mapping of a webhook,
and an exception where one is missing that passes once it is set."""

import json

import pytest

from conftest import running
from hub import Hub
from wire import until

SET = "/v1/cross-references"

YAML = """connector: shop
version: "2.1.0"
owner: web
settings:
  unmapped: {unit: same}
receive:
  - topic: counts
    signature: {scheme: none}
    mapping: count.lua
    command: stock.count
  - topic: mixed
    signature: {scheme: none}
    mapping: mixed.lua
    commands: [stock.count, stock.adjust]
"""
COUNT = """return function(doc)
  local there = look("availability", "TEE-RED-M", "WH-HAM").items[1]
  return {sku = code("sku", doc.item), location = code("location", doc.place),
          on_hand = decimal(doc.n + there.version * 0), counted_at = doc.at}
end
"""
MIXED = """return function(doc)
  return each(doc.parts, function(part)
    local sku = code("sku", part.item)
    if part.kind == "count" then
      return route("stock.count", {sku = sku, location = "WH-HAM", on_hand = decimal(part.n), counted_at = part.at})
    end
    return route("stock.adjust", {sku = sku, location = "WH-HAM", delta = decimal(part.n), reason = part.kind})
  end)
end
"""


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    hub = Hub(binary, tmp_path_factory.mktemp("codes"))
    folder = hub.config / "connectors" / "shop"
    folder.mkdir(parents=True)
    (folder / "connector.yaml").write_text(YAML)
    (folder / "count.lua").write_text(COUNT)
    (folder / "mixed.lua").write_text(MIXED)
    yield from running(hub.start())


def cases(api):
    return api.get("/ops/exceptions?kind=code-unmapped").json["items"]


def on_hand(api, sku):
    return api.get(f"/v1/availability?sku={sku}&location=WH-HAM").json["items"][0]["on_hand"]


def test_set_ask_remove(shop):
    api = shop.client()
    put = api.put(f"{SET}/erp/tax/MwSt%2019%25", {"code": "DE-STD"})
    assert put.status == 201 and put.json["version"] == 1
    assert api.put(f"{SET}/erp/tax/MwSt%2019%25", {"code": "DE-STD"}).status == 200
    assert api.get(f"{SET}/erp/tax/MwSt%2019%25").json["code"] == "DE-STD"
    assert api.get(f"{SET}/erp/tax/out/DE-STD").json["value"] == "MwSt 19%"
    refused = api.put(f"{SET}/erp/tax/VAT%2F19", {"code": "DE-STD"})
    assert refused.status == 409 and "goes out to erp as \"MwSt 19%\" already" in refused.json["detail"]
    assert api.put(f"{SET}/erp/tax/VAT%2F19", {"code": "DE-STD", "direction": "in"}).status == 201
    assert api.put(f"{SET}/erp/tax/out/DE-STD", {"value": "other"}).status == 409
    stale = api.put(f"{SET}/erp/tax/VAT%2F19", {"code": "X", "direction": "in"}, headers={"If-Match": '"7"'})
    assert stale.status == 412
    assert api.delete(f"{SET}/erp/tax/VAT%2F19").json["version"] == 2
    assert api.get(f"{SET}/erp/tax/VAT%2F19").status == 404
    assert api.delete(f"{SET}/erp/tax/VAT%2F19").status == 404
    assert api.delete(f"{SET}/erp/tax/out/DE-STD").status == 404  # it does not go out alone
    for path, fault in ((f"{SET}/e%20rp/tax/a", "system"), (f"{SET}/erp/t%20x/a", "kind"),
                        (f"{SET}/erp/tax/%20a", "value"), (f"{SET}/erp/tax/{'a' * 257}", "value")):
        wrong = api.put(path, {"code": "X"})
        assert wrong.status == 422 and fault in json.dumps(wrong.json["errors"]), path


def test_import(shop, tmp_path):
    api = shop.client()
    file = tmp_path / "codes.csv"
    file.write_text("system,kind,code,value\n# comment\n"
                    "wms,sku,TEE-RED-M,4711\nwms,sku,\"A, \"\"B\"\"\",\"x,1\"\nwms,unit,PCE,Stück,in\n")
    done = shop.cli("codes", "import", str(file))
    assert done.returncode == 0, done
    assert "3 set, 0 refused" in done.stdout

    def listed():
        return [json.loads(line) for line in shop.cli("codes", "list", "wms", "--json").stdout.splitlines()]
    rows = until(lambda: len(listed()) == 3 and listed(), what="the list to follow")
    assert [(r["value"], r["code"], r["direction"]) for r in rows] == [
        ("4711", "TEE-RED-M", "both"), ("x,1", 'A, "B"', "both"), ("Stück", "PCE", "in")]
    file.write_text("wms,sku,TEE-RED-M,4712\nwms,sku,C,4713\n")
    refused = shop.cli("codes", "import", str(file))
    assert refused.returncode == 1 and "1 set, 1 refused" in refused.stdout
    assert "line 1: the sku \"TEE-RED-M\" goes out to wms" in refused.stderr
    file.write_text("wms,sku,C\n")
    assert "line 1: system,kind,code,value" in shop.cli("codes", "import", str(file)).stderr
    assert shop.cli("codes", "remove", "wms", "sku", "4713").returncode == 0
    assert shop.cli("codes", "remove", "wms", "sku", "4713").returncode == 1
    assert api.get(f"{SET}/wms/sku/4713").status == 404


def test_a_mapping_uses_them(shop):
    api = shop.client()
    message = {"item": "Rote Tasse", "place": "Lager 1", "n": 5, "at": "2026-11-23T08:00:00Z"}
    api.post("/v1/stock/counts", {"sku": "TEE-RED-M", "location": "WH-HAM", "on_hand": "1",
                                  "counted_at": "2026-11-23T08:00:00Z"}).ok(201)
    assert shop.cli("codes", "set", "shop", "location", "Lager 1", "WH-HAM").returncode == 0
    api.post("/x/shop/counts", message).ok(200)
    case = until(lambda: cases(api), what="an exception")[0]["case"]
    assert case["details"]["unmapped"] == {"system": "shop", "kind": "sku", "value": "Rote Tasse",
                                           "source": "/item", "target": "/sku"}
    assert "shop/count.lua:3: shop: the sku \"Rote Tasse\" has no code" in case["cause"]
    assert case["owner"] == "web"
    # set, and the same payload passes
    api.put(f"{SET}/shop/sku/Rote%20Tasse", {"code": "MUG-RED"}).ok(201)
    api.post(f"/ops/payloads/{case['payload_seq']}/retry").ok(202)
    until(lambda: on_hand(api, "MUG-RED") == "5", what="the count")


def test_several_commands_of_one_message(shop):
    api = shop.client()
    for value, code in (("a", "ROUTE-A"), ("b", "ROUTE-B")):
        api.put(f"{SET}/shop/sku/{value}", {"code": code}).ok(201)
    at = "2026-11-23T08:00:00Z"
    message = {"parts": [{"kind": "count", "item": "a", "n": 10, "at": at},
                         {"kind": "found", "item": "a", "n": 2}, {"kind": "lost", "item": "b", "n": -1}]}
    sent = api.post("/x/shop/mixed", message).ok(200)
    until(lambda: on_hand(api, "ROUTE-B") == "-1", what="the last of three")
    assert on_hand(api, "ROUTE-A") == "12"
    # once more: nothing twice
    api.post(f"/ops/payloads/{sent['seq']}/retry").ok(202)
    until(lambda: any(e["type"].endswith("payload.settled.v1")
                      for e in api.get("/v1/events?after=0&limit=1000").json["items"]
                      if e["data"].get("payload_seq") == sent["seq"]), what="settled")
    assert (on_hand(api, "ROUTE-A"), on_hand(api, "ROUTE-B")) == ("12", "-1")
    story = shop.cli("trace", sent["payload_id"]).stdout
    assert story.count("stock adjusted") == 2 and story.count("stock counted") == 1


def test_a_topic_names_what_it_may(shop, tmp_path):
    hub = shop
    yaml = hub.config / "connectors" / "shop" / "connector.yaml"
    for wrong, said in ((YAML.replace("    command: stock.count\n", ""), "is needed, or commands in its place"),
                        (YAML.replace("[stock.count, stock.adjust]", "[stock.count, stock.melt]"),
                         'there is no command "stock.melt"'),
                        (YAML.replace("    command: stock.count\n",
                                      "    command: stock.count\n    commands: [stock.adjust]\n"),
                         "is needed, or commands in its place")):
        yaml.write_text(wrong)
        done = hub.binary.run("check", "-C", hub.config)
        yaml.write_text(YAML)
        assert done.returncode == 1 and said in done.stderr + done.stdout, (said, done)


ASKS = """return function(doc)
  local order = look("order", doc.channel, doc.number)
  return {sku = code("sku", doc.item), location = "WH-HAM", on_hand = decimal(doc.n),
          counted_at = order and order.placed_at or doc.at}
end
"""


def test_fixtures_give_codes_and_looks(shop, tmp_path):
    """`map run|test|trace` without a hub: from files; with --hub from that."""
    folder = tmp_path / "conf"
    assert shop.binary.run("init", folder).returncode == 0
    connector = folder / "connectors" / "shop"
    fixtures = connector / "fixtures" / "count"
    fixtures.mkdir(parents=True)
    (connector / "connector.yaml").write_text(YAML)
    (connector / "count.lua").write_text(ASKS)
    (connector / "mixed.lua").write_text(MIXED)
    document = {"channel": "web-de", "number": 10045, "item": "Rote Tasse", "n": 3, "at": "2026-11-23T08:00:00Z"}
    out = {"sku": "MUG", "location": "WH-HAM", "on_hand": "3", "counted_at": "2026-11-22T08:00:00Z"}
    (fixtures / "one.in.json").write_text(json.dumps(document))
    (fixtures / "one.out.json").write_text(json.dumps(out))
    run = shop.binary.run
    failed = run("map", "test", "-C", folder, "shop/count")
    assert failed.returncode == 1 and 'look("order", "web-de", …): what it answers is not given' in failed.stdout
    (fixtures / "one.look.json").write_text(json.dumps(
        [{"look": ["order", "web-de", "10045"], "answer": {"placed_at": "2026-11-22T08:00:00Z"}}]))
    failed = run("map", "test", "-C", folder, "shop/count")
    assert failed.returncode == 1 and 'the sku "Rote Tasse" has no code in the hub' in failed.stdout
    (fixtures / "one.codes.json").write_text(json.dumps([{"kind": "sku", "value": "Rote Tasse", "code": "MUG"}]))
    passed = run("map", "test", "-C", folder, "shop/count")
    assert passed.returncode == 0, passed
    assert run("check", "-C", folder).returncode == 0
    assert json.loads(run("map", "run", "-C", folder, "shop/count", fixtures / "one.in.json", "--json").stdout) == out
    traced = json.loads(run("map", "trace", "-C", folder, "shop/count", fixtures / "one.in.json", "--json").stdout)
    sku = next(m for m in traced["members"] if m["target"] == "/sku")
    assert sku["sources"] == ["/item"] and sku["calls"] == [{"line": 3, "call": 'code("sku", "Rote Tasse") = "MUG"'}]
    assert traced["asked"] == ['look("order", "web-de", "10045") = {…}', 'code("sku", "Rote Tasse") = "MUG"']
    assert traced["read_percent"] == 80 and traced["unread"] == ["/at"]
    text = run("map", "trace", "-C", folder, "shop/count", fixtures / "one.in.json").stdout
    assert "4 of 5 members of the document were read (80 %)" in text and "asked of the hub:" in text
    # of a running hub, where no file says it
    shop.client().put(f"{SET}/shop/sku/Tasse", {"code": "MUG-HUB"}).ok(200, 201)
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({**document, "number": "no such order", "item": "Tasse"}))
    asked = shop.cli("map", "run", "-C", folder, "shop/count", plain, "--json", "--hub", shop.url)
    assert json.loads(asked.stdout)["sku"] == "MUG-HUB", asked
    (fixtures / "one.codes.json").write_text('[{"kind": "sku"}]')
    assert "{kind, value, code} as texts are wanted" in run("map", "test", "-C", folder, "shop/count").stdout
    # routes are checked as the hub would
    routes = connector / "fixtures" / "mixed"
    routes.mkdir()
    (routes / "two.in.json").write_text(json.dumps({"parts": [{"kind": "lost", "item": "a", "n": 1}]}))
    (routes / "two.codes.json").write_text(json.dumps([{"kind": "sku", "value": "a", "code": "A"}]))
    assert run("map", "test", "-C", folder, "shop/mixed", "--update").returncode == 0
    (connector / "mixed.lua").write_text(MIXED.replace("stock.adjust", "order.capture"))
    refused = run("map", "test", "-C", folder, "shop/mixed")
    assert 'routes to "order.capture", which is not among the topic\'s commands' in refused.stdout


def test_they_survive(shop):
    shop.kill()
    shop.start()
    api = shop.client()
    assert api.get(f"{SET}/shop/sku/a").json["code"] == "ROUTE-A"
    assert api.get(f"{SET}/erp/tax/out/DE-STD").json["value"] == "MwSt 19%"
