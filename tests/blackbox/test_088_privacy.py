"""What is personal: sealed in every file from the first byte on, shown to who may see it, and gone
after an erasure, while orders, stock and books stay whole."""

import base64
import json
import shutil
import sqlite3

import pytest

import docs
from conftest import FIXTURES, running
from hub import Hub
from test_075_webhook import SECRET, send
from wire import until

NAME, STREET, CITY = "Zerline Quastenflosser", "Quastenweg 99a", "Flossenburg-Ost"
EMAIL, PHONE, WISH = "zerline.q@flosse.example", "+4915799887766", "Herzlichst, Deine Quaste"
POSTCODE = "QZ-771234"
KEPT = "Balduin Bleibtreu"
TOLD = [NAME, STREET, CITY, EMAIL, PHONE, WISH, POSTCODE, "Quastenflosser"]
SHOP_CUSTOMER = 990000000077


def person(customer_id=None, name=NAME):
    customer = {"email": EMAIL, "name": name, "phone": PHONE}
    if customer_id:
        customer["customer_id"] = customer_id
    return {"customer": customer,
            "ship_to": {"name": name, "street": [STREET, "Hof 3"], "postal_code": POSTCODE,
                        "city": CITY, "country": "DE"},
            "ext": {"card": WISH}}


def shop_order(number, **more):
    doc = json.loads((FIXTURES / "shopify_order.json").read_text())
    first, last = NAME.split(" ")
    address = {**doc["shipping_address"], "first_name": first, "last_name": last, "name": NAME,
               "address1": STREET, "zip": POSTCODE, "city": CITY, "phone": PHONE}
    doc.update({"id": number, "name": f"#{number}", "order_number": number, "email": EMAIL,
                "note": WISH, "shipping_address": address, "billing_address": address,
                "customer": {**doc["customer"], "id": SHOP_CUSTOMER, "first_name": first,
                             "last_name": last, "email": EMAIL}})
    return {**doc, **more}


def disguises(text):
    """The bytes that would give the text away: as it is, escaped in JSON, and the part of its
    base 64 that does not depend on what stands around it, at each of the three alignments."""
    raw = text.encode()
    found = {raw, json.dumps(text)[1:-1].encode(), raw.hex().encode()}
    for pad in range(3):
        coded = base64.b64encode(b"x" * pad + raw)
        found.add(coded[4 if pad else 0:-4])
    return found


def traces(folder, secrets):
    """Which of the secrets stand in which file below a folder."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        found += [(path.name, secret) for secret in secrets if secret in data]
    return found


def told(*texts):
    return [x for text in texts or TOLD for x in disguises(text)]


@pytest.fixture
def shop(binary, tmp_path, ledger):
    """A hub with a shop in front and books behind that may see persons."""
    hub = Hub(binary, tmp_path, {"SHOPIFY_WEBHOOK_SECRET": SECRET})
    ledger.connector(hub.config, personal="true")
    for made in running(hub.start()):
        made.data = made.config / "data"
        for sku in ("SHOP-TEE", "SHOP-CAP", "QUA"):
            made.client().post("/v1/stock/counts", docs.count(sku, 1000)).ok(201)
        yield made


def capture(hub, **more):
    doc = docs.order(("QUA", 1), **more)
    key = docs.key()
    answer = hub.client().post("/v1/orders", doc, headers=key).ok(201)
    return {"id": answer["order_id"], "doc": doc, "key": key, "answer": answer}


def order(hub, order_id, key=...):
    return hub.client(key).get("/v1/orders/" + order_id).ok()


def shop_order_id(hub, number):
    def ask():
        items = hub.client().get("/v1/orders" + docs.query(
            channel="web-de", channel_order_id=str(number))).ok()["items"]
        return items and items[0]["order_id"]
    return until(ask, 20, "an order from the webhook")


def erase(hub, who, status=200):
    answer = hub.client().delete("/v1/customers/" + who)
    return answer.ok(status) if status == 200 else answer.problem(status)


def settle(hub, count):
    """So many payloads were settled or became exceptions."""
    api = hub.client()
    until(lambda: len([e for e in docs.events(api) if docs.short(e) in
                       ("payload.settled", "exception.raised")]) >= count, 20, "payloads settled")


@pytest.fixture
def story(shop, ledger):
    """All ways in which a person gets into a hub."""
    ledger.fates["echo"] = None
    made = {"posted": capture(shop, **person("C-Q1"))}
    ledger.down = True
    made["held"] = capture(shop, **person("C-Q1"))
    ledger.fates[made["held"]["id"]] = lambda doc: (
        422, f"customer {doc['order']['customer']['name']} <{EMAIL}> is blocked in {CITY}")
    ledger.down = False
    made["guest"] = capture(shop, **person())
    made["kept"] = capture(shop, **person("C-KEPT", KEPT))
    doc = shop_order(7400000000001)
    send(shop, doc).ok(200, 201, 202)
    made["shop"] = {"id": shop_order_id(shop, doc["id"])}
    send(shop, doc).ok(200, 201, 202)  # again: brings nothing new
    send(shop, {**doc, "email": "neu." + EMAIL}).ok(200, 201, 202)  # refused: another document
    made["broken"] = send(shop, shop_order(7400000000002, line_items=[])).ok(200, 201, 202)
    settle(shop, 3)
    until(lambda: set(x["id"] for k, x in made.items() if k not in ("held", "broken")) <=
          set(ledger.ids()), 20, "orders posted")
    until(lambda: shop.client().get("/ops/held").ok()["items"], 20, "the held delivery")
    return made


def test_nothing_personal_is_written_in_clear(shop, story, ledger):
    shop.kill()  # as it is on the disk now, WALs and all
    assert traces(shop.folder, told()) == []
    assert traces(shop.folder, told(KEPT)) == []
    # what is searched for would be found
    assert traces(shop.folder, [story["posted"]["doc"]["channel_order_id"].encode()])
    (shop.folder / "probe").write_bytes(base64.b64encode(b"12" + NAME.encode() + b"3"))
    assert traces(shop.folder, told())
    (shop.folder / "probe").unlink()
    shop.start()


def test_who_may_see_it_sees_it(shop, story, ledger):
    shop.restart()
    some = shop.create_key("some", "orders:read", "events:read", "ops:read")
    more = shop.create_key("more", "orders:read", "events:read", "personal:read")
    for name in ("posted", "guest", "shop"):
        doc = order(shop, story[name]["id"], more)
        assert doc["customer"]["name"] == NAME and doc["ship_to"]["city"] == CITY
        doc = order(shop, story[name]["id"], some)
        assert doc["ship_to"] == {"country": "DE"}
        assert set(doc.get("customer", {})) <= {"customer_id"} and "ext" not in doc
        assert doc["lines"] and doc["totals"]["grand"]
    assert order(shop, story["posted"]["id"], more)["ext"] == {"card": WISH}
    seen = json.dumps([e["data"] for e in docs.events(shop.client(more))])
    assert NAME in seen and EMAIL in seen
    for path in ("/v1/orders?limit=100", "/v1/events?after=0", "/ops/exceptions", "/ops/held"):
        text = shop.client(some).get(path).ok()
        assert not any(x in json.dumps(text, ensure_ascii=False) for x in TOLD), path
    held = shop.client(some).get("/ops/held").ok()["items"]
    assert [x["cause"] for x in held] == ["status 422: customer … <…> is blocked in …"]
    for x in story.values():
        if "id" in x:
            out = shop.cli("trace", x["id"])
            assert out.returncode == 0 and not any(t in out.stdout for t in TOLD)
    assert {row["doc"]["order"]["customer"]["name"] for row in ledger.book} == {NAME, KEPT}


def test_a_system_that_may_not_see_it_does_not_get_it(binary, tmp_path, ledger):
    hub = Hub(binary, tmp_path)
    ledger.connector(hub.config)
    for made in running(hub.start()):
        made.client().post("/v1/stock/counts", docs.count("QUA", 10)).ok(201)
        capture(made, **person("C-Q1"))
        until(lambda: ledger.book, 20, "the order posted")
        sent = json.dumps(ledger.book[0]["doc"], ensure_ascii=False)
        assert "C-Q1" in sent and not any(x in sent for x in TOLD)


def key_numbers(hub, people):
    """Numbers of the keys of what these persons' documents are sealed with; hub stopped."""
    out = hub.binary.ok("journal", "export", "-C", hub.config)
    metas = [json.loads(x).get("meta", {}) for x in out.splitlines()]
    return {m["key"] for m in metas if m.get("sealed") and m["person"] in people}


def roots(hub):
    with sqlite3.connect(hub.data / "persons.db") as db:
        return {block: secret for block, secret in db.execute(
            "SELECT block, secret FROM node WHERE level = 0")}


def whole(hub, story):
    """What must not change with an erasure."""
    api = hub.client()
    documents = {}
    for name, x in story.items():
        if "id" in x:
            doc = order(hub, x["id"])
            for member in ("customer", "ship_to", "bill_to", "ext"):
                doc.pop(member, None)
            documents[name] = doc
    stock = api.get("/v1/availability?sku=QUA&sku=SHOP-TEE&location=WH-HAM").ok()
    postings = api.get("/v1/postings").ok()["items"]
    return documents, stock, sorted((x["order_id"], x["reference"]) for x in postings)


def test_an_erased_person_is_in_no_file(shop, story, ledger):
    shop.stop()
    people = {"C-Q1", story["guest"]["id"], str(SHOP_CUSTOMER), story["broken"]["payload_id"]}
    numbers = key_numbers(shop, people)
    blocks = {n >> 12 for n in numbers}
    secrets = [root for block, root in roots(shop).items() if block in blocks]
    assert len(numbers) == 5 and secrets and traces(shop.data, secrets)
    shutil.copytree(shop.data, shop.folder / "backup")
    shop.start()
    before = whole(shop, story)
    first = {who: erase(shop, who) for who in people}
    # two orders; an order; an order and three payloads; a payload
    assert [first[who]["documents"] for who in
            ("C-Q1", story["guest"]["id"], str(SHOP_CUSTOMER), story["broken"]["payload_id"])] \
        == [2, 1, 4, 1]
    assert traces(shop.data, secrets) == []  # while it runs: the WALs, too
    shop.kill()
    assert traces(shop.data, secrets + told()) == []
    shop.start()
    assert whole(shop, story) == before
    for name in ("posted", "held", "guest", "shop"):
        doc = order(shop, story[name]["id"])
        assert doc["ship_to"] == {"country": "DE"}
        assert set(doc.get("customer", {})) <= {"customer_id"}
    assert order(shop, story["kept"]["id"])["customer"]["name"] == KEPT
    seen = json.dumps(docs.events(shop.client()), ensure_ascii=False)
    assert KEPT in seen and NAME not in seen
    check_life_goes_on(shop, story, ledger, first)
    shop.stop()
    shop.verify()
    for path in shop.data.glob("read.db*"):
        path.unlink()
    shop.start()
    assert erase(shop, "C-KEPT")["documents"] == 1
    shop.client().get("/v1/orders").ok()
    shop.stop()
    shop.verify()
    assert traces(shop.data, secrets + told()[:0]) == []
    check_backup(shop, story)


def check_life_goes_on(shop, story, ledger, first):
    api = shop.client()
    # the first answer again, by key and by number
    x = story["posted"]
    answer = api.post("/v1/orders", x["doc"], headers=x["key"])
    assert answer.ok(200) == x["answer"] and answer.header("Idempotency-Replayed") == "true"
    assert api.post("/v1/orders", x["doc"]).ok(200) == x["answer"]
    other = {**x["doc"], **person("C-Q1", "Jemand Anders")}
    api.post("/v1/orders", other).problem(409)
    # what was held can go, without what is gone
    ledger.fates.pop(story["held"]["id"])
    item = api.get("/ops/held").ok()["items"][0]
    assert item["cause"] == "erased"
    api.post(f"/ops/held/{item['id']}/retry", {"reason": "erased meanwhile"}).ok(200)
    until(lambda: story["held"]["id"] in ledger.ids(), 20, "the held order posted")
    assert "name" not in ledger.rows(story["held"]["id"])[0]["doc"]["order"].get("customer", {})
    # asked again: the same answer, and nothing more in the journal
    seq = api.get("/v1/orders").seq
    for who, answer in first.items():
        assert erase(shop, who) == {**answer, "documents": 0}
    assert len([e for e in docs.events(api) if docs.short(e) == "customer.erased"]) == len(first)
    assert seq <= api.get("/v1/orders").seq
    erase(shop, "C-NOBODY", 404)
    erase(shop, story["kept"]["id"], 409)
    out = shop.cli("erase", "C-Q1")
    assert out.returncode == 0 and "C-Q1 is erased" in out.stdout
    assert shop.cli("erase", "C-NOBODY").returncode == 1
    key = shop.create_key("orders", "orders:*")
    shop.client(key).delete("/v1/customers/C-Q1").problem(403)
    # the same customer once more: a new life
    again = capture(shop, **person("C-Q1"))
    assert order(shop, again["id"])["customer"]["name"] == NAME
    assert "name" not in order(shop, story["posted"]["id"])["customer"]
    assert erase(shop, "C-Q1")["documents"] == 1
    assert "name" not in order(shop, again["id"])["customer"]


def check_backup(shop, story):
    """The key store of before the erasure comes back: the hub destroys the keys again."""
    for path in shop.data.glob("persons.db*"):
        path.unlink()
    shutil.copy(shop.folder / "backup" / "persons.db", shop.data / "persons.db")
    shop.start()
    until(lambda: "name" not in order(shop, story["posted"]["id"])["customer"], 20,
          "the erasure done again")
    until(lambda: "an erasure was ended" in shop.log(), 20, "the log line")


def test_a_master_key_from_outside(shop, story):
    shop.stop()
    secrets = list(roots(shop).values())
    assert traces(shop.data, secrets)
    path = shop.folder / "master"
    path.write_text("5a" * 32 + "\n")
    shop.env["PENSTOCK_PERSONS_KEY_FILE"] = str(path)
    shop.start()
    assert order(shop, story["posted"]["id"])["customer"]["name"] == NAME
    shop.stop()
    assert traces(shop.data, secrets) == []
    for wrong, says in ((None, "give it in PENSTOCK_PERSONS_KEY"), ("a5" * 32, "another master key"),
                        ("5a", "64 hex digits")):
        if wrong is None:
            path.rename(shop.folder / "kept")
            shop.env.pop("PENSTOCK_PERSONS_KEY_FILE")
        else:
            shop.env["PENSTOCK_PERSONS_KEY"] = wrong
        out = shop.binary.run("serve", "-C", shop.config, "--listen", "127.0.0.1:0", env=shop.env)
        assert out.returncode == 1 and says in out.stderr and (not wrong or wrong not in out.stderr)
    shop.env["PENSTOCK_PERSONS_KEY"] = "5A" * 32
    shop.start()
    assert order(shop, story["posted"]["id"])["customer"]["name"] == NAME


def test_without_its_keys_a_hub_works_and_says_so(shop, story):
    shop.stop()
    before = len(shop.log())
    (shop.data / "persons.db").unlink()
    shop.start()
    assert "persons.db was missing" in shop.log()[before:]
    doc = order(shop, story["posted"]["id"])
    assert doc["customer"] == {"customer_id": "C-Q1"} and doc["lines"]
    again = capture(shop, **person("C-Q1"))
    assert order(shop, again["id"])["customer"]["name"] == NAME


def test_the_export_stays_sealed(shop, story):
    shop.stop()
    out = shop.binary.ok("journal", "export", "-C", shop.config)
    assert story["posted"]["id"] in out and not any(x in out for x in TOLD)
    shop.start()
