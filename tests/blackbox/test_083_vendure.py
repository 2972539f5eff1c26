"""Of a real shop: Vendure on Node and PostgreSQL. What is bought there is an order here, once, whatever is lost on
the way. Skipped where Node or npm's registry is missing."""

import shutil

import pytest

import docs
import vendure
from conftest import running
from hub import Hub
from vendure import Vendure
from wire import until

SKUS = ("TEE-RED-M", "MUG-BLUE", "TEA-100G")
SETTINGS = {
    "channels": "{us-store: web-fr}",
    "tax_codes": '{"VAT 19%": DE-STD, "VAT 7%": DE-RED, "shipping tax": DE-STD}',
}


def configure(hub):
    path = hub.config / "connectors" / "vendure" / "connector.yaml"
    text = path.read_text("utf-8")
    for name, value in SETTINGS.items():
        assert f"\n  {name}: {{}}" in text
        text = text.replace(f"\n  {name}: {{}}", f"\n  {name}: {value}")
    path.write_text(text, "utf-8")
    hub.env["VENDURE_WEBHOOK_SECRET"] = vendure.SECRET


@pytest.fixture(scope="module")
def hub(release_binary, tmp_path_factory):
    if not shutil.which("node"):
        pytest.skip("Node is not installed: `make install-deps` brings it")
    hub = Hub(release_binary, tmp_path_factory.mktemp("hub"))
    configure(hub)
    for made in running(hub.start()):
        for sku in SKUS:
            made.client().post("/v1/stock/counts", docs.count(sku, 500)).ok(201)
        yield made


@pytest.fixture(scope="module")
def shop(hub):
    shop = Vendure(hook=f"{hub.url}/x/vendure")
    try:
        yield shop.up()
    except vendure.Missing as missing:
        pytest.skip(str(missing))
    finally:
        shop.stop()


def order_of(api, code, channel="web-de"):
    """The one order that came of it, once it is there."""
    found = until(lambda: docs.listed(api, "/v1/orders", channel=channel, channel_order_id=code), 30, f"order {code}")
    assert len(found) == 1
    return api.get("/v1/orders/" + found[0]["order_id"]).ok()


def state_of(api, code, state):
    return until(lambda: order_of(api, code)["state"] == state, 30, f"order {code} to be {state}")


@pytest.mark.timeout(600)  # the first of a checkout fetches the shop's packages
def test_what_is_bought_in_the_shop_is_an_order(shop, api):
    placed = shop.shopper().fill(("TEE-RED-M", 2), ("TEA-100G", 3)).check_out(["SAVE10"]).pay()
    order = order_of(api, placed["code"])
    assert order["totals"]["grand"] == placed["totalWithTax"] == 6786
    assert [line["sku"] for line in order["lines"]] == ["TEE-RED-M", "TEA-100G"]
    assert [tax["code"] for line in order["lines"] for tax in line["taxes"]] == ["DE-STD", "DE-RED"]
    assert order["shipping"][0]["taxes"] == [{"code": "DE-STD", "rate": "0.19", "base": 412, "amount": 78}]
    assert order["customer"]["email"] == "ann@example.org" and order["ship_to"]["city"] == "Hamburg"


@pytest.mark.timeout(120)
def test_a_channel_with_net_prices_and_one_in_yen(shop, api):
    placed = shop.shopper("us-store").fill(("MUG-BLUE", 3)).check_out(countryCode="US").pay()
    order = order_of(api, placed["code"], "web-fr")
    assert (order["totals"]["grand"], order["currency"]) == (placed["totalWithTax"], "USD")
    placed = shop.shopper(currency="JPY").fill(("MUG-BLUE", 2)).check_out().pay()
    case = until(lambda: docs.listed(api, "/ops/exceptions", state="open"), 30, "the exception")[0]
    assert f"the total is {placed['totalWithTax']} with 2 decimals, and JPY has 0" in str(case)


@pytest.mark.timeout(120)
def test_an_order_cancelled_in_the_shop_is_cancelled(shop, api):
    placed = shop.shopper().buy(("MUG-BLUE", 1))
    state_of(api, placed["code"], "accepted")
    shop.cancel(placed["id"])
    state_of(api, placed["code"], "cancelled")
