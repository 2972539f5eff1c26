"""Into a real ERP: Tryton 6 on PostgreSQL. Each captured order becomes one sale with one posted
invoice of exactly the order's total, whatever happens on the way."""

import datetime
import json
import random
import re
import threading

import pytest

import docs
from conftest import running
from flaky import Flaky
from hub import Hub
from tryton import Tryton
from wire import until


def day(ago):
    """Tryton has periods for the years around this one, so a fixed day will not do."""
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=ago)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


TODAY = day(0)


@pytest.fixture(scope="module")
def tryton():
    peer = Tryton().up()
    try:
        yield peer
    finally:
        peer.stop()


@pytest.fixture
def selling_hub(release_binary, tmp_path, tryton, request):
    """A hub whose captured orders go to Tryton, with plenty of stock. A parameter is another setting."""
    hub = Hub(release_binary, tmp_path)
    hub.env.update(tryton.configure(hub.config))
    path = hub.config / "connectors" / "tryton" / "connector.yaml"
    name, value = getattr(request, "param", "invoice_at: capture").split(": ")
    text, changes = re.subn(rf"^  {name}: \w+", f"  {name}: {value}", path.read_text(), flags=re.MULTILINE)
    assert changes == 1
    path.write_text(text)
    for made in running(hub.start()):
        for sku in ("TEE-RED-M", "MUG-BLUE", "CHEESE"):
            made.client().post("/v1/stock/counts", docs.count(sku, 1000000)).ok(201)
        yield made


def posted(hub):
    return {e["data"]["order_id"]: e["data"]["reference"]
            for e in docs.events(hub.client(), type="posting.posted")}


class Postings:
    """Follows a hub's postings over its lives, asking for what is new alone."""

    def __init__(self):
        self.seen, self.after = {}, 0

    def look(self, hub):
        page = hub.client().get(f"/v1/events?after={self.after}&type=posting.posted&wait=1").ok()["items"]
        self.seen.update((e["data"]["order_id"], e["data"]["reference"]) for e in page)
        self.after = max([self.after, *(e["penstockseq"] for e in page)])
        return self.seen


def orders(hub, count, start=0):
    """Captured in bulk: {order id: grand total}."""
    docs_in = [docs.full_order("TEE-RED-M") if n % 3 else docs.order(("MUG-BLUE", 1 + n % 5))
               for n in range(start, start + count)]
    for n, doc in enumerate(docs_in, start):
        doc["placed_at"] = day(2) if n % 10 == 9 else TODAY
    lines = hub.client().bulk("/v1/orders", docs_in).lines
    assert {line["status"] for line in lines} == {201}, lines
    return {line["answer"]["order_id"]: doc["totals"]["grand"] for line, doc in zip(lines, docs_in)}


def agree(hub, tryton, captured):
    """Each captured order: one sale, one posted invoice of its total, and its number known here."""
    numbers, books = posted(hub), tryton.sales()
    wrong = {order_id: books.get(order_id) for order_id, total in captured.items()
             if books.get(order_id) != [(numbers.get(order_id), "processing", total, ["posted"])]}
    assert not wrong
    assert set(captured) <= set(numbers)


def invoice_dates(tryton, order_ids):
    rows = tryton.all("account.invoice", ["reference", "invoice_date"], [["reference", "in", sorted(order_ids)]])
    return {row["reference"]: "{year}-{month:02}-{day:02}".format(**row["invoice_date"]) for row in rows}


@pytest.mark.parametrize("selling_hub", ["payment_in_past: hold"], indirect=True)
def test_a_payment_in_the_past_is_held_by_policy(selling_hub, tryton):
    """First of all: behind an invoice of today no other is dated earlier."""
    api = selling_hub.client()
    late = api.post("/v1/orders", {**order_of(("TEE-RED-M", "1", 1000)), "placed_at": day(2)}).ok(201)["order_id"]
    held = until(lambda: docs.listed(api, "/ops/held"), 120, "the held delivery")
    assert "generates a payment date" in held[0]["cause"]
    assert invoice_dates(tryton, [late]) == {late: day(2)[:10]} and tryton.sales()[late][0][3] == ["draft"]


def test_orders_of_days_ago_are_posted(selling_hub, tryton):
    """Tryton warns of payments that are due in the past, and numbers invoices by their dates."""
    late = captured(selling_hub, {**order_of(("TEE-RED-M", "1", 1000)), "placed_at": day(2)})
    today = captured(selling_hub, order_of(("TEE-RED-M", "1", 1000)))
    behind = captured(selling_hub, {**order_of(("TEE-RED-M", "1", 1000)), "placed_at": day(1)})
    assert invoice_dates(tryton, [late, today, behind]) == {
        late: day(2)[:10], today: TODAY[:10], behind: TODAY[:10]}
    agree(selling_hub, tryton, dict.fromkeys([late, today, behind], 1490))
    assert tryton.all("res.user.warning", ["name"], []) == []  # used up


def test_a_full_order_becomes_a_posted_invoice(selling_hub, tryton):
    captured = orders(selling_hub, 3)
    until(lambda: set(captured) <= set(posted(selling_hub)), 120, "the postings")
    agree(selling_hub, tryton, captured)
    number = posted(selling_hub)[next(iter(captured))]
    story = selling_hub.client().get(f"/ops/trace/{next(iter(captured))}").ok()
    assert number in json.dumps(story)


def test_a_refusal_is_held_in_the_words_of_the_erp(selling_hub, tryton):
    api = selling_hub.client()
    api.post("/v1/stock/counts", docs.count("NOT-IN-TRYTON", 5)).ok(201)
    api.post("/v1/orders", {**docs.order(("NOT-IN-TRYTON", 1)), "placed_at": TODAY}).ok(201)
    held = until(lambda: docs.listed(api, "/ops/held"), 60, "the held delivery")
    assert "no product with the code NOT-IN-TRYTON" in held[0]["cause"]
    captured = orders(selling_hub, 1)  # others go on
    until(lambda: set(captured) <= set(posted(selling_hub)), 120, "the posting")


def test_the_session_ends(selling_hub, tryton):
    captured = orders(selling_hub, 1)
    until(lambda: set(captured) <= set(posted(selling_hub)), 120, "the posting")
    tryton.sessions_end()
    captured.update(orders(selling_hub, 2))
    until(lambda: set(captured) <= set(posted(selling_hub)), 120, "the postings")
    agree(selling_hub, tryton, captured)


def order_of(*lines, currency="EUR", charge=490):
    """With tax in each amount, which is made to divide badly."""
    def taxed(amount):
        tax = (amount * 38 + 119) // 238
        return {"total": amount, "taxes": [{"code": "DE-STD", "rate": "0.19", "base": amount - tax, "amount": tax}]}
    made = [{"line_id": str(n), "sku": sku, "quantity": quantity, "unit_price": total, "price_quantity": quantity,
             **taxed(total)} for n, (sku, quantity, total) in enumerate(lines, 1)]
    goods = sum(line["total"] for line in made)
    return {"channel": "web-de", "channel_order_id": docs.order_id(), "placed_at": TODAY,
            "currency": currency, "prices_include_tax": True, "lines": made,
            "shipping": [{"line_id": "s1", "method": "parcel", **taxed(charge)}],
            "totals": {"lines": goods, "shipping": charge, "grand": goods + charge}}


def changed(hub, order_id, what, lines=None):
    """Cancels or ships; answers the references of all that is posted of the order, once this is."""
    before = len(posted_all(hub, order_id))
    parts = {"lines": [{"line_id": line, "quantity": n} for line, n in lines]} if lines else {}
    body = {"reason": "changed mind", **parts} if what == "cancel" else parts
    hub.client().post(f"/v1/orders/{order_id}/{what}", body).ok(200, 201)
    return until(lambda: len(posted_all(hub, order_id)) > before and posted_all(hub, order_id), 120, f"the {what}")


def posted_all(hub, order_id):
    return [e["data"]["reference"] for e in docs.events(hub.client(), type="posting.posted")
            if e["data"]["order_id"] == order_id]


def captured(hub, doc):
    order_id = hub.client().post("/v1/orders", doc).ok(201)["order_id"]
    until(lambda: posted_all(hub, order_id), 120, "the posting")
    return order_id


def test_parts_are_cancelled_shipped_and_credited(selling_hub, tryton):
    order = captured(selling_hub, order_of(("TEE-RED-M", "3", 1000), ("CHEESE", "1.35", 1777)))
    assert tryton.invoices(order) == [3267]
    references = changed(selling_hub, order, "cancel", [("1", "1"), ("2", "0.5")])
    assert tryton.invoices(order) == [3267, -(333 + 658)]
    assert references[1].startswith("CN")
    changed(selling_hub, order, "shipments", [("1", "1")])
    changed(selling_hub, order, "shipments")
    assert tryton.shipped(order) == {"TEE-RED-M": 2, "CHEESE": 0.85}
    whole = captured(selling_hub, order_of(("TEE-RED-M", "3", 1000)))
    changed(selling_hub, whole, "cancel")
    assert tryton.invoices(whole) == [1490, -1490]
    assert tryton.shipped(whole) == {}


@pytest.mark.parametrize("selling_hub", ["invoice_at: shipment"], indirect=True)
def test_invoices_come_with_the_shipments(selling_hub, tryton):
    order = captured(selling_hub, order_of(("CHEESE", "1.35", 1777), ("MUG-BLUE", "2", 1599)))
    assert tryton.invoices(order) == []
    for part in ([("1", "0.45")], [("1", "0.45"), ("2", "1")], None):
        changed(selling_hub, order, "shipments", part)
    invoices = tryton.invoices(order)
    assert len(invoices) == 3 and sum(invoices) == 3866  # the charge with the first, all cents in the end
    assert tryton.shipped(order) == {"CHEESE": 1.35, "MUG-BLUE": 2}
    less = captured(selling_hub, order_of(("TEE-RED-M", "3", 1000)))
    changed(selling_hub, less, "shipments", [("1", "1")])
    changed(selling_hub, less, "cancel")
    assert tryton.invoices(less) == [333 + 490]
    none = captured(selling_hub, order_of(("TEE-RED-M", "3", 1000)))
    changed(selling_hub, none, "cancel")
    assert tryton.invoices(none) == [] and tryton.sales()[none][0][1] == "done"


def test_other_currencies_and_what_tryton_can_not_keep(selling_hub, tryton):
    krona = captured(selling_hub, order_of(("TEE-RED-M", "3", 10000), currency="SEK"))
    assert tryton.invoices(krona) == [10490]
    api = selling_hub.client()
    for doc, words in ((order_of(("TEE-RED-M", "1", 1000), currency="NOK"), "no currency NOK"),
                       (order_of(("TEE-RED-M", "1.5", 1000)), "more digits than Tryton's unit"),
                       ({**order_of(("TEE-RED-M", "1", 1000)), "placed_at": "2019-05-02T09:00:00+02:00"},
                        "you must create a period")):
        api.post("/v1/orders", doc).ok(201)
        until(lambda: any(words in held["cause"] for held in docs.listed(api, "/ops/held")), 60, words)


def polled(hub, topic):
    """Fetches now, and waits until what came is worked off."""
    api = hub.client()
    rounds = polls(api)[topic]["rounds"]
    api.post(f"/ops/polls/tryton/{topic}/run").ok(200, 202)
    until(lambda: polls(api)[topic]["rounds"] > rounds, 60, f"a round of {topic}")
    return polls(api)[topic]


def polls(api):
    return {row["topic"]: row for row in api.get("/ops/polls").ok()["items"] if row["connector"] == "tryton"}


def fact(hub, kind, key):
    items = hub.client().get(f"/v1/facts?connector=tryton&kind={kind}&key={key}").ok()["items"]
    return items[0]["fact"]["document"] if items else None


@pytest.fixture
def reading_hub(release_binary, tmp_path, tryton):
    """A hub that takes Tryton's word for its stock."""
    hub = Hub(release_binary, tmp_path)
    hub.env.update(tryton.configure(hub.config))
    path = hub.config / "connectors" / "tryton" / "connector.yaml"
    path.write_text(path.read_text().replace("enabled: false         # true where", "enabled: true  # where"))
    yield from running(hub.start())


def on_hand(hub, sku):
    items = hub.client().get(f"/v1/availability?sku={sku}&location=WH-HAM").ok()["items"]
    return items[0]["on_hand"] if items else None


def test_a_price_is_heard_of_although_the_product_keeps_its_date(reading_hub, tryton):
    product = tryton.ids["products"]["BAG-01"]
    until(lambda: fact(reading_hub, "product", product) and fact(reading_hub, "price", product), 60, "the products")
    assert fact(reading_hub, "product", product)["sku"] == "BAG-01"
    dates = tryton.all("product.product", ["write_date", "template.write_date", "template"], [["id", "=", product]])[0]
    template, before = dates["template"], fact(reading_hub, "price", product)["amount"]
    tryton.model("product.template.write", [template], {"list_price": {"__class__": "Decimal", "decimal": "7.7425"}})
    polled(reading_hub, "prices")
    until(lambda: fact(reading_hub, "price", product)["amount"] != before, 30, "the price")
    assert fact(reading_hub, "price", product) == {
        "sku": "BAG-01", "amount": "7.7425", "currency": "EUR", "includes_tax": False, "unit": "u"}
    assert tryton.all("product.product", ["write_date"], [["id", "=", product]])[0]["write_date"] == dates["write_date"]


def test_stock_follows_what_moves_in_tryton(reading_hub, tryton):
    until(lambda: on_hand(reading_hub, "SKU-0007") == "100000", 60, "the stock")
    storage = tryton.all("stock.location", ["storage_location"], [["type", "=", "warehouse"]])[0]["storage_location"]
    count = tryton.model("stock.inventory.create", [{
        "location": storage, "lines": [["create", [
            {"product": tryton.ids["products"]["SKU-0007"], "quantity": 41}]]]}])
    tryton.model("stock.inventory.confirm", count)
    polled(reading_hub, "stock")
    until(lambda: on_hand(reading_hub, "SKU-0007") == "41", 30, "the new count")
    assert on_hand(reading_hub, "SKU-0008") == "100000"
    assert not docs.listed(reading_hub.client(), "/ops/exceptions")


@pytest.mark.timeout(1200)
def test_five_hundred_orders_and_twenty_faults(release_binary, tmp_path, tryton, logged):
    """Lost answers, broken connections, the ERP killed in the middle of a request, the hub killed
    at any moment: in the end the books agree, order by order, to the cent."""
    flaky = Flaky(tryton.url)
    hub = Hub(release_binary, tmp_path)
    hub.env.update({**tryton.configure(hub.config), "TRYTON_URL": flaky.url})
    path = hub.config / "connectors" / "tryton" / "connector.yaml"
    path.write_text(path.read_text().replace("settle_ms: 10000", "settle_ms: 3000"))
    dice = random.Random(20)
    faults = ["drop"] * 9 + ["refuse"] * 4 + ["erp"] * 2 + ["hub"] * 5
    dice.shuffle(faults)
    logged(hub)
    logged(tryton)
    try:
        hub.start()
        for sku in ("TEE-RED-M", "MUG-BLUE"):
            hub.client().post("/v1/stock/counts", docs.count(sku, 1000000)).ok(201)
        captured, postings = {}, Postings()
        for number, fault in enumerate(faults):
            captured.update(orders(hub, 25, number))
            some = min(len(postings.look(hub)) + 5, len(captured))
            until(lambda: len(postings.look(hub)) >= some, 120, "progress")
            if fault == "hub":
                hub.process.kill()
                hub.process = None
                hub.start()
            elif fault == "erp":
                struck = threading.Event()

                def strike():
                    tryton.peer("kill")
                    tryton.peer("up")
                    struck.set()

                with flaky.lock:
                    flaky.faults.append(strike)
                assert struck.wait(180)
            else:
                with flaky.lock:
                    flaky.faults += [None] * dice.randrange(8) + [fault]
        until(lambda: set(captured) <= set(postings.look(hub)), 400, "every order posted")
        assert len(captured) == 500 and flaky.done.count("drop") == 9
        agree(hub, tryton, captured)
        hub.stop()
    except AssertionError:
        print("the hub's side:", json.dumps(docs.listed(hub.client(), "/ops/subscriptions"), indent=1))
        print("the way:", flaky.done, flaky.faults)
        print("the books' database:", tryton.working())
        raise
    finally:
        flaky.stop()
        if hub.process is not None:
            hub.process.kill()
