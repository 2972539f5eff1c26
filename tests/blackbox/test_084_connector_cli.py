"""penstock connector: a folder is begun, its fixture leads to a finished mapping, recorded payloads are
tried without a trace, and all connectors are listed, with how they fare in a hub. Its schema is what
editors check connector.yaml by: it takes what the hub takes and refuses what the hub refuses."""

import json
import re
import shutil

import pytest
import yaml
from jsonschema import Draft202012Validator

from conftest import FIXTURES, running
from hub import Hub

TOP = FIXTURES.parents[1]


@pytest.fixture
def shop(binary, tmp_path):
    binary.ok("init", tmp_path / "shop")
    return tmp_path / "shop"


def steps(binary, shop, name, *args):
    done = binary.run("connector", "test", "-C", shop, name, *args)
    return done.returncode, done.stdout


@pytest.mark.parametrize("kind,mapping", [("shop", "order"), ("erp", "post_order")])
def test_a_new_folder_says_what_to_do_next(binary, shop, kind, mapping):
    out = binary.ok("connector", "new", "acme-2", "-C", shop, "--kind", kind)
    assert f"connector test -C {shop} acme-2" in out
    folder = shop / "connectors" / "acme-2"
    text = (folder / "connector.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=../../.schemas/connector.json\n")
    assert (shop / ".schemas" / "connector.json").is_file() and "@" not in text
    code, said = steps(binary, shop, "acme-2")
    assert code == 1 and "step 1 of 3" in said and f"fixtures/{mapping}/first.in.json" in said
    fixture = folder / "fixtures" / mapping / "first.in.json"
    if kind == "shop":
        fixture.write_text(json.dumps({
            "id": 7, "created_at": "2026-11-23T09:15:00+01:00", "currency": "EUR", "total": "3.00",
            "items": [{"price": "1.50", "sku": "A", "quantity": 2}]}))
    else:
        fixture.write_text(json.dumps({"subject": "ord_1", "data": {
            "channel_order_id": "1", "currency": "EUR", "totals": {"grand": 1},
            "lines": [{"sku": "A", "quantity": "1", "total": 1}]}}))
    code, said = steps(binary, shop, "acme-2")
    assert code == 1 and "step 2 of 3" in said
    lua = folder / f"{mapping}.lua"
    lua.write_text(re.sub(r"  error\('step 2.*?\)\n", "", lua.read_text(), flags=re.S))
    code, said = steps(binary, shop, "acme-2")
    assert code == 1 and "first.out.json is missing; --update writes it" in said, said
    binary.ok("map", "test", "-C", shop, "acme-2", "--update")
    assert steps(binary, shop, "acme-2") == (0, f"ok     acme-2/{mapping}.lua first\n1 fixtures, 0 failed\n")
    binary.ok("check", "-C", shop)


@pytest.mark.parametrize("args,words", [
    (["connector", "new", "Big Name"], "small letters"),
    (["connector", "new", "shopify"], "is there already"),
    (["connector", "new", "x", "--kind", "spaceship"], "--kind is shop"),
    (["connector", "test", "nobody"], "there is no connector nobody"),
    (["connector", "dance"], "new, test, list or expected?"),
])
def test_what_it_refuses(binary, shop, args, words):
    done = binary.run(*args, "-C", shop)
    assert done.returncode in (1, 2) and words in done.stderr, done.stderr


def test_recorded_payloads_are_tried(binary, shop, tmp_path):
    recorded = tmp_path / "recorded"
    (recorded / "orders_create").mkdir(parents=True)
    (recorded / "orders_cancelled").mkdir()
    order = TOP / "connectors" / "shopify" / "fixtures" / "order" / "gross-vat-discount.in.json"
    shutil.copy(order, recorded / "orders_create" / "1.json")
    (recorded / "orders_create" / "2.json").write_text("{")
    (recorded / "orders_create" / "3.json").write_text('{"id": 1}')
    shutil.copy(order, recorded / "what.json")
    code, said = steps(binary, shop, "shopify", recorded, "--json")
    rows = {row["file"].removeprefix(f"{recorded}/"): row for row in json.loads(said)}
    assert code == 1 and len(rows) == 4
    assert rows["orders_create/1.json"] == {
        "file": str(recorded / "orders_create" / "1.json"), "topic": "orders-create", "outcome": "valid",
        "detail": "order.capture", "pointer": ""}
    assert [rows[f"orders_create/{i}.json"]["outcome"] for i in (2, 3)] == ["fault", "fault"]
    assert "not in the document" in rows["orders_create/3.json"]["detail"]
    assert (rows["what.json"]["topic"], rows["what.json"]["outcome"]) == ("?", "fault")
    code, said = steps(binary, shop, "shopify", recorded, "--topic", "orders-create")
    assert "4 payloads: 2 valid, 0 of which nothing is to be done, 2 with faults" in said
    assert "has no topic" in binary.run("connector", "test", "-C", shop, "shopify", recorded,
                                        "--topic", "nope").stderr


def test_the_list_says_how_they_fare(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    for hub in running(hub.start()):
        said = binary.ok("connector", "list", "-C", hub.config)
        assert "env SHOPIFY_WEBHOOK_SECRET" in said and "erp-orders" in said
        items = json.loads(binary.ok("connector", "list", "-C", hub.config, "--json", "--hub", hub.url,
                                     "--key", hub.key))["items"]
        shopify = next(x for x in items if x["connector"] == "shopify")
        assert {"orders-create", "orders-cancelled"} <= set(shopify["topics"])
        assert shopify["hub"]["state"] == "incomplete" and shopify["hub"]["hash"] == shopify["hash"]
        said = binary.ok("connector", "list", "-C", hub.config, "--hub", hub.url, "--key", hub.key)
        assert "hub: incomplete, version 1.0.0+" in said


# --- the schema -------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def validator(binary):
    schema = json.loads(binary.ok("schema", "connector"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


class Loader(yaml.SafeLoader):
    """Plain scalars as the hub reads them: a time or a version is a text."""


Loader.yaml_implicit_resolvers = {
    key: [(tag, rule) for tag, rule in rules if not tag.endswith(":timestamp")]
    for key, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()}


def test_all_that_is_shipped_is_valid(binary, validator):
    files = sorted(TOP.glob("connectors/*/connector.yaml")) + sorted(TOP.glob("templates/*/connector.yaml"))
    assert len(files) >= 7
    for file in files:
        text = file.read_text().replace("@NAME@", "name").replace("@UPPER@", "NAME")
        faults = [e.message for e in validator.iter_errors(yaml.load(text, Loader))]
        assert faults == [], file


def test_every_member_says_what_it_is(validator):
    def members(schema):
        for name, member in schema.get("properties", {}).items():
            yield name, member
    schema = validator.schema
    for shape in [schema, *schema["$defs"].values()]:
        for name, member in members(shape):
            assert member.get("description"), name


GOOD = """connector: acme
version: "1"
owner: team
receive:
  - topic: orders
    signature: {scheme: hmac-sha256-hex, header: X-S, secret: "${env:ACME}"}
    mapping: order.lua
    command: order.capture
"""
BAD = [
    ("a missing member", GOOD.replace("owner: team\n", "")),
    ("a member that is none", GOOD.replace("owner:", "ownr: x\nowner:")),
    ("a scheme that is none", GOOD.replace("hmac-sha256-hex", "hmac-md4")),
    ("a number for a text", GOOD.replace("topic: orders", "topic: 7")),
    ("a list for an object", GOOD.replace("signature: {", "signature: [{").replace('}"}', '}"}]')),
    ("an object for a list", GOOD.replace("  - topic", "    topic")),
    ("a bound", GOOD + "send:\n  - subscription: s\n    events: [order.captured]\n    timeout_ms: 1\n"
                       "    request: {url: 'http://x'}\n"),
    ("no events", GOOD + "send:\n  - subscription: s\n    events: []\n    request: {url: 'http://x'}\n"),
]


@pytest.mark.parametrize("text", [text for _, text in BAD], ids=[name for name, _ in BAD])
def test_both_refuse(binary, shop, validator, text):
    folder = shop / "connectors" / "acme"
    folder.mkdir()
    (folder / "order.lua").write_text("return function(doc) return {} end\n")
    (folder / "connector.yaml").write_text(GOOD)
    assert validator.is_valid(yaml.load(GOOD, Loader))
    binary.ok("check", "-C", shop)
    (folder / "connector.yaml").write_text(text)
    assert not validator.is_valid(yaml.load(text, Loader))
    done = binary.run("check", "-C", shop)
    assert done.returncode == 1 and re.search(r"connectors/acme/connector.yaml:\d+:", done.stderr)
