"""Our own Shopify order, and every one of a collection of real Shopify documents where this machine
has it beside the repository: each maps to an order that the hub would take, to the platform's own total, or
fails with a reason that a person can act on."""

import json
from decimal import Decimal

from conftest import FIXTURES, SUITES

PAYLOADS = SUITES / "01-shopify"
REASONS = ("has no SKU in Shopify", "taxes are given for the order alone", "is not in the document")
DECIMALS = {"JPY": 0, "KRW": 0, "KWD": 3, "BHD": 3}


def orders(value):
    """Order documents at any depth: alone, in lists, in the envelope of an API or a recorder."""
    if isinstance(value, dict):
        if {"line_items", "currency", "total_price"} <= value.keys():
            yield value
        else:
            for member in value.values():
                yield from orders(member)
    elif isinstance(value, list):
        for element in value:
            yield from orders(element)


def test_every_order_maps_or_says_why(binary, tmp_path):
    config = tmp_path / "shop"
    assert binary.run("init", config).returncode == 0
    table, mapped = [], 0
    collection = sorted(PAYLOADS.glob("*.json"))
    for file in [FIXTURES / "shopify_order.json", *collection]:
        for number, order in enumerate(orders(json.loads(file.read_text(), parse_float=Decimal)), 1):
            path = tmp_path / "order.json"
            path.write_text(json.dumps(order, default=float))
            run = binary.run("map", "run", "-C", config, "shopify/order", path, "--json")
            name = f"{file.name} #{number}"
            if run.returncode == 0:
                answer, mapped = json.loads(run.stdout), mapped + 1
                units = Decimal(order["total_price"]) * 10 ** DECIMALS.get(order["currency"], 2)
                assert answer["totals"]["grand"] == units, name
                assert answer["channel_order_id"] == str(order["id"]), name
                table.append((name, f"{len(answer['lines'])} lines, {answer['totals']['grand']}"))
            else:
                assert run.returncode == 1 and any(reason in run.stderr for reason in REASONS), (name, run.stderr)
                table.append((name, run.stderr.strip()))
    print()
    for name, what in table:
        print(f"{name:60} {what}")
    assert mapped >= (10 if collection else 1)
