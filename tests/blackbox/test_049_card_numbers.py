"""Payment card numbers never enter: a request that holds one is refused by its pointer, or masked
and taken, by a setting; a webhook is masked and taken; a person is told by an exception; and the
digits are in no file, no log and no answer. What only looks like one is left alone."""

import json

import pytest

import docs
from conftest import running
from hub import Hub
from test_075_webhook import SECRET, order_of, payload, send, stock_up
from test_088_privacy import disguises, traces
from wire import until

# The schemes' published test numbers. Nobody's.
CARD, OTHER, AMEX = "4111111111111111", "5555555555554444", "378282246310005"
WRITTEN = ["4111 1111 1111 1111", "4111-1111-1111-1111", "3782 822463 10005",
           "4111\u00a01111\u00a01111\u00a01111"]
ALL = [CARD, OTHER, AMEX, *WRITTEN]


def digits(texts=ALL):
    return [d for text in texts for d in disguises(text)]


def nowhere(hub, more=()):
    """Stops the hub hard and looks into every file: journal, WALs, state, read model, logs."""
    logs = hub.logs
    hub.kill()
    assert traces(hub.folder, digits() + list(more)) == []
    assert list(logs.iterdir()), "there are logs to look into"


def make(binary, folder, **settings):
    env = {"SHOPIFY_WEBHOOK_SECRET": SECRET,
           **{f"PENSTOCK_{name.upper()}": str(value) for name, value in settings.items()}}
    hub = Hub(binary, folder, env).start()
    stock_up(hub.client(), 10000)
    hub.client().post("/v1/stock/counts", docs.count("CARD", 10000)).ok(201)
    return hub


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    yield from running(make(binary, tmp_path_factory.mktemp("hub")))


@pytest.fixture
def own(binary, tmp_path):
    """A hub of the test's own; called with settings."""
    made = []

    def start(**settings):
        made.append(running(make(binary, tmp_path, **settings)))
        return next(made[-1])
    yield start
    for it in made:
        list(it)


def cases(api):
    return [e for e in docs.events(api) if docs.short(e) == "exception.raised"
            and e["data"]["kind"] == "card-data"]


def order(**more):
    return docs.order(docs.line("CARD", 1, line_id="1"), **more)


PLACES = [
    ({"ext": {"note": f"card {CARD} exp 12/27"}}, ["/ext/note"]),
    ({"ext": {"deep": [{"a": [1, int(CARD)]}]}}, ["/ext/deep/0/a/1"]),
    ({"ext": {CARD: True}}, ["/ext/411111******1111"]),
    ({"ext": {"a/b": OTHER, "c": AMEX}}, ["/ext/a~1b", "/ext/c"]),
    ({"customer": {"name": CARD}}, ["/customer/name"]),
    ({"customer": {"email": f"{CARD}@example.org"}}, ["/customer/email"]),
    ({"ship_to": {"name": "x", "street": ["y", WRITTEN[0]], "country": "DE"}}, ["/ship_to/street/1"]),
    ({"tenders": [{"tender_id": "t1", "kind": "card", "amount": 1999, "reference": CARD}]},
     ["/tenders/0/reference"]),
    ({"tenders": [{"tender_id": "t1", "kind": "card", "amount": 1999, "reference": WRITTEN[1]}]},
     ["/tenders/0/reference"]),
    ({"channel_order_id": WRITTEN[1]}, ["/channel_order_id"]),
    *[({"ext": {"note": text}}, ["/ext/note"]) for text in WRITTEN],
]


@pytest.mark.parametrize("change, pointers", PLACES, ids=range(len(PLACES)))
def test_a_request_is_refused_by_its_pointers(hub, api, change, pointers):
    before = len(docs.events(api, type="order.captured"))
    key = docs.key()
    answer = api.post("/v1/orders", order(**change), headers=key)
    problem = answer.problem(422, pointers, "card-data")
    assert not any(d in answer.body for d in digits()), answer
    assert "card" in problem["detail"]
    assert len(docs.events(api, type="order.captured")) == before
    api.post("/v1/orders", order(), headers=key).ok(201)  # the key was not used up


def test_other_faults_are_told_beside_it(api):
    doc = order(ext={"note": CARD}, currency="EURO")
    doc["lines"][0]["quantity"] = CARD + "x"
    problem = api.post("/v1/orders", doc).problem(
        422, ["/ext/note", "/currency", "/lines/0/quantity"])
    assert CARD not in json.dumps(problem)


def test_hidden_in_escapes(api):
    for raw in (CARD.replace("4", "\\u0034", 1), "4111\\u00201111\\u00201111\\u00201111",
                "4111\\u00a01111 1111-1111"):
        text = json.dumps(order(ext={"n": "@"})).replace("@", raw)
        api.post("/v1/orders", raw=text.encode()).problem(422, ["/ext/n"], "card-data")


def test_every_route_that_keeps_a_text(hub, api):
    made = api.post("/v1/orders", order()).ok(201)["order_id"]
    rows = [
        ("/v1/stock/adjustments", docs.adjustment("CARD", 1, reason=f"x {CARD}"), ["/reason"]),
        ("/v1/stock/receipts", {"location": "WH-HAM", "receipt_reference": CARD,
                                "items": [{"sku": "CARD", "quantity": "1"}]}, ["/receipt_reference"]),
        (f"/v1/orders/{made}/cancel", {"reason": CARD}, ["/reason"]),
        (f"/v1/orders/{made}/shipments", {"location": "WH-HAM", "parcels": [
            {"carrier": "dhl", "tracking": WRITTEN[0]}]}, ["/parcels/0/tracking"]),
    ]
    for path, doc, pointers in rows:
        api.post(path, doc).problem(422, pointers, "card-data")
    api.post("/v1/orders", order(), headers={"Idempotency-Key": f'"{WRITTEN[0]}"'}).problem(
        422, slug="card-data")
    api.post(f"/v1/orders/{WRITTEN[1]}/cancel", {}).problem(422, slug="card-data")
    exc = api.post("/ops/exceptions/exc_none/resolve", {"reason": CARD})
    exc.problem(422, ["/reason"], "card-data")
    held = api.post("/ops/held/1/discard", {"reason": CARD})
    held.problem(422, ["/reason"], "card-data")


def test_a_line_of_a_bulk_is_refused_alone(hub, api):
    lines = api.bulk("/v1/orders", [order(), order(ext={"n": CARD}), order()]).lines
    assert [x["status"] for x in lines] == [201, 422, 201]
    assert lines[1]["problem"]["errors"][0]["pointer"] == "/ext/n"
    assert lines[1]["problem"]["type"].endswith("card-data")


def test_echoes_are_masked(hub, api):
    """Details that repeat what was sent, and headers that come back."""
    for path in ("/v1/orders/" + CARD, "/v1/orders?state=" + CARD, "/v1/nothing/" + CARD,
                 "/ops/trace/" + CARD, "/v1/availability?sku=A&colour=" + CARD):
        answer = api.get(path)
        assert CARD.encode() not in answer.body, answer
    doc = docs.count("CARD", 1)
    doc["on_hand"] = CARD + "x"
    answer = api.post("/v1/stock/counts", doc)
    assert answer.status == 422 and CARD.encode() not in answer.body
    for name in ("Penstock-Correlation-Id", "X-Correlation-ID"):
        answer = api.post("/v1/orders", order(), headers={name: f"c-{CARD}"})
        assert answer.status == 201 and CARD not in answer.header("penstock-correlation-id")


FRIENDS = {
    "sku 13": {"lines": [docs.line("4006381000093", 1)]},
    "order id": {"channel_order_id": CARD},
    "customer id": {"customer": {"customer_id": OTHER, "name": "A"}},
    "phone": {"customer": {"name": "A", "phone": "+4915799887766"}},
    "phone 13": {"customer": {"name": "A", "phone": "4222222222222"}},
    "ms": {"ext": {"at": 1795512345678}}, "us": {"ext": {"at": 1795512345678901}},
    "2^53": {"ext": {"n": 9007199254740993, "m": 18446744073709551615}},
    "iban": {"ext": {"iban": "DE14 4165 0001 7884 5510 90", "b": "DE14416500017884551090"}},
    "imei": {"ext": {"n": "490154203237518"}},
    "uuid": {"ext": {"n": "41111111-1111-1111-1111-111111111111"}},
    "hash": {"ext": {"n": "c0ffee4111111111111111c0ffee"}},
    "gtin": {"ext": {"gtin": "4000000000105", "ean": 4000000000204}},
    "tracking": {"ext": {"tracking_number": CARD, "trackingNumbers": [OTHER]}},
    "masked": {"ext": {"n": "411111******1111", "m": "XXXX-XXXX-XXXX-1111", "last4": "1111"}},
    "no check digit": {"ext": {"n": "4111111111111112"}},
    "fraction": {"ext": {"n": 0.4111111111111111, "m": "0.5555555555554444"}},
}


@pytest.mark.parametrize("name", FRIENDS)
def test_false_friends_are_taken(api, name):
    api.post("/v1/stock/counts", docs.count("4006381000093", 100)).ok(201)
    api.post("/v1/orders", order(**FRIENDS[name])).ok(201)


def test_strictly_identifiers_count_too(own):
    api = own(card_numbers_strict=1).client()
    for name in ("order id", "customer id", "tracking"):
        api.post("/v1/orders", order(**FRIENDS[name])).problem(422, slug="card-data")
    for name in ("sku 13", "gtin", "iban", "imei", "us", "2^53"):
        if name == "sku 13":
            api.post("/v1/stock/counts", docs.count("4006381000093", 100)).ok(201)
        api.post("/v1/orders", order(**FRIENDS[name])).ok(201)
    api.post("/v1/orders", order(), headers={"Idempotency-Key": CARD}).problem(422, slug="card-data")


def test_a_refusal_is_told_once_a_minute_and_leaves_no_digit(own):
    hub = own()
    api = hub.client()
    for _ in range(30):
        api.post("/v1/orders", order(ext={"note": CARD})).problem(422)
        api.bulk("/v1/orders", [order(ext={"note": OTHER})])
    api.post("/v1/orders", order(ext={"a": WRITTEN[0], "b": int(AMEX)})).problem(422)
    for text in WRITTEN:
        api.post("/v1/orders", order(ext={"n": text})).problem(422)
    api.get("/v1/orders/" + CARD)
    api.post("/v1/orders", raw=b'{"n":"' + CARD.encode() + b'"').problem(400)
    found = cases(api)
    assert 1 <= len(found) <= 2 * 64  # one for each loop, caller and route
    assert len(found) < 30
    case = found[0]["data"]
    assert "/ext/note" in case["cause"] and case["owner"] == "security" and case["action"]
    figures = api.get("/metrics").body.decode()
    assert 'penstock_card_numbers_total{done="refused"} 65' in figures
    nowhere(hub)


def test_masked_and_taken_by_the_setting(own):
    hub = own(card_numbers_refuse=0)
    api = hub.client()
    key, doc = docs.key(), order(ext={"note": f"x {CARD}", "n": int(AMEX)},
                                 customer={"name": WRITTEN[0]})
    made = api.post("/v1/orders", doc, headers=key).ok(201)
    again = api.post("/v1/orders", doc, headers=key)
    assert again.status == 200 and again.header("idempotency-replayed") == "true"
    kept = api.get("/v1/orders/" + made["order_id"]).ok()
    assert kept["ext"]["note"] == "x 411111******1111"
    assert str(kept["ext"]["n"])[:6] == "378282" and str(kept["ext"]["n"])[-4:] == "0005"
    assert kept["customer"]["name"] == "4111 11** **** 1111"
    found = cases(api)
    assert len(found) == 1 and found[0]["data"]["subject"] == made["order_id"]
    for pointer in ("/ext/note", "/ext/n", "/customer/name"):
        assert pointer in found[0]["data"]["cause"]
    line = api.bulk("/v1/orders", [order(ext={"n": OTHER})]).lines[0]
    assert line["status"] == 201 and len(cases(api)) == 2
    nowhere(hub)


def test_a_webhook_is_masked_and_taken(own):
    """A fact is never refused: the signature is that of the bytes as they came."""
    hub = own()
    api = hub.client()
    doc = payload(note=f"call me, {CARD}", note_attributes=[
        {"name": "cc", "value": WRITTEN[1]}, {"name": "n", "value": int(AMEX)}])
    doc["shipping_address"]["address2"] = OTHER
    answer = send(hub, doc).ok(200, 201, 202)
    assert send(hub, doc).ok(200, 201, 202) != answer  # another id, the same order
    order_of(api, doc)
    found = until(lambda: cases(api), 10, "an exception")
    case = found[0]["data"]
    assert case["subject"] == answer["payload_id"] and case["payload_seq"] == answer["seq"]
    for pointer in ("/note", "/note_attributes/0/value", "/note_attributes/1/value",
                    "/shipping_address/address2"):
        assert pointer in case["cause"]
    kept = next(e for e in docs.events(api) if int(e["penstockseq"]) == answer["seq"])
    document = kept["data"]["document"]
    assert document["note"] == "call me, 411111******1111"
    assert document["id"] == doc["id"], "identifiers stay"
    # not mapped, no JSON, binary: kept masked
    for raw in (json.dumps(payload(line_items=[], note=CARD)).encode(),
                b"paid with " + CARD.encode() + b", thanks", b"\x00\x01" + CARD.encode() + b"\xff"):
        assert send(hub, raw).status in (200, 201, 202)
    until(lambda: len(cases(api)) >= 5, 10, "more exceptions")
    seq = docs.last_seq(api)
    until(lambda: docs.last_seq(api) >= seq, 5, "rest")
    until(lambda: len([e for e in docs.events(api) if docs.short(e) == "exception.raised"
                       and e["data"]["kind"] != "card-data"]) >= 3, 10, "what could not be mapped")
    hub.restart()
    assert len(cases(hub.client())) == len(cases(hub.client())) >= 5
    nowhere(hub)


def test_a_sender_can_not_make_an_id_of_it(own):
    """Headers that are kept: the id of the message, its type, its correlation."""
    hub = own()
    answer = send(hub, payload(), webhook_id=WRITTEN[1], Penstock_Correlation_Id=CARD,
                  Content_Type="application/json; x=" + CARD)
    answer.ok(200, 201, 202)
    until(lambda: [e for e in docs.events(hub.client()) if docs.short(e) == "order.captured"], 10,
          "the order")
    nowhere(hub)
