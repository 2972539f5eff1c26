"""Into a real ERP: Tryton 6 on PostgreSQL. Each captured order becomes one sale with one posted
invoice of exactly the order's total, whatever happens on the way."""

import json
import random
import threading

import pytest

import docs
from conftest import running
from flaky import Flaky
from hub import Hub
from tryton import Tryton
from wire import until


@pytest.fixture(scope="module")
def tryton():
    peer = Tryton().up()
    try:
        yield peer
    finally:
        peer.stop()


@pytest.fixture
def selling_hub(release_binary, tmp_path, tryton):
    """A hub whose captured orders go to Tryton; with plenty of stock."""
    hub = Hub(release_binary, tmp_path)
    hub.env.update(tryton.configure(hub.config))
    for made in running(hub.start()):
        for sku in ("TEE-RED-M", "MUG-BLUE"):
            made.client().post("/v1/stock/counts", docs.count(sku, 1000000)).ok(201)
        yield made


def posted(hub):
    return {e["data"]["order_id"]: e["data"]["reference"]
            for e in docs.events(hub.client(), type="posting.posted")}


def orders(hub, count, start=0):
    """Captured in bulk: {order id: grand total}."""
    docs_in = [docs.full_order("TEE-RED-M") if n % 3 else docs.order(("MUG-BLUE", 1 + n % 5))
               for n in range(start, start + count)]
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
    api.post("/v1/orders", docs.order(("NOT-IN-TRYTON", 1))).ok(201)
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


@pytest.mark.timeout(1200)
def test_five_hundred_orders_and_twenty_faults(release_binary, tmp_path, tryton):
    """Lost answers, broken connections, the ERP killed in the middle of a request, the hub killed
    at any moment: in the end the books agree, order by order, to the cent."""
    flaky = Flaky(tryton.url)
    hub = Hub(release_binary, tmp_path)
    hub.env.update({**tryton.configure(hub.config), "TRYTON_URL": flaky.url})
    path = hub.config / "connectors" / "tryton" / "connector.yaml"
    path.write_text(path.read_text().replace("settle_ms: 10000", "settle_ms: 1500"))
    dice = random.Random(20)
    faults = ["drop"] * 9 + ["refuse"] * 4 + ["erp"] * 2 + ["hub"] * 5
    dice.shuffle(faults)
    try:
        hub.start()
        for sku in ("TEE-RED-M", "MUG-BLUE"):
            hub.client().post("/v1/stock/counts", docs.count(sku, 1000000)).ok(201)
        captured = {}
        for number, fault in enumerate(faults):
            captured.update(orders(hub, 25, number))
            before = len(posted(hub))
            until(lambda: len(posted(hub)) >= before + 5 or len(posted(hub)) == len(captured), 120, "progress")
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
        until(lambda: set(captured) <= set(posted(hub)), 400, "every order posted")
        assert len(captured) == 500 and flaky.done.count("drop") == 9
        agree(hub, tryton, captured)
        hub.stop()
    finally:
        flaky.stop()
        if hub.process is not None:
            hub.process.kill()
