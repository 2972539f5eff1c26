"""Connectors change while the hub serves: a folder that is fit is taken up, by a signal, a call or by
itself; one that is not leaves the version before in its place and says why. What is under way is not
disturbed, nothing is lost and nothing done twice, whatever happens in between."""

import hashlib
import hmac
import json
import signal
import threading
import time

import pytest

import docs
from conftest import running
from hub import Hub
from wire import Gone, until

SECRET = "bazaar-secret"

YAML = """connector: {name}
version: {version}
owner: shop-team
service_level: answered within a minute
receive:
  - topic: orders
    signature:
      scheme: hmac-sha256-hex
      header: X-Bazaar-Signature
      secret: ${{file:{secret}}}
    key: {{member: number}}
    mapping: order.lua
    command: order.capture
"""

LUA = """-- {mark}
return function(doc)
  return {{
    channel = 'web-de', channel_order_id = doc.number, placed_at = doc.placed, currency = 'EUR',
    prices_include_tax = true, ext = {{mark = '{mark}'}},
    lines = {{{{line_id = '1', sku = doc.sku, quantity = doc.quantity, unit_price = doc.price,
               total = doc.price}}}},
    totals = {{grand = doc.price}},
  }}
end
"""


class Folder:
    """A connector's folder below a hub's configuration."""

    def __init__(self, hub, name="bazaar", mark="one", version="1.0.0"):
        self.hub, self.name = hub, name
        self.path = hub.config / "connectors" / name
        self.secret = hub.config.parent / "bazaar.secret"
        self.path.mkdir()
        self.secret.write_text(SECRET + "\n")
        self.yaml(version)
        self.lua(mark)

    def yaml(self, version, text=YAML):
        (self.path / "connector.yaml").write_text(
            text.format(name=self.name, version=version, secret=self.secret))

    def lua(self, mark, text=LUA):
        (self.path / "order.lua").write_text(text.format(mark=mark))

    def fixture(self, mark):
        folder = self.path / "fixtures" / "order"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "one.in.json").write_text(json.dumps(payload("B-fixture")))
        answer = {"channel": "web-de", "channel_order_id": "B-fixture", "currency": "EUR", "ext": {"mark": mark},
                  "placed_at": "2026-11-23T09:15:00+01:00", "prices_include_tax": True,
                  "lines": [{"line_id": "1", "sku": "BAZAAR", "quantity": "1", "unit_price": 500,
                             "total": 500}], "totals": {"grand": 500}}
        (folder / "one.out.json").write_text(json.dumps(answer))


def payload(number):
    return {"number": number, "placed": "2026-11-23T09:15:00+01:00", "sku": "BAZAAR",
            "quantity": "1", "price": 500}


def send(hub, number, secret=SECRET, name="bazaar"):
    raw = json.dumps(payload(number)).encode()
    digest = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    return hub.client(key=None).post(f"/x/{name}/orders", raw=raw,
                                     headers={"X-Bazaar-Signature": digest})


def order(hub, number):
    def ask():
        items = hub.client().get("/v1/orders" + docs.query(
            channel="web-de", channel_order_id=number)).ok()["items"]
        return hub.client().get("/v1/orders/" + items[0]["order_id"]).ok() if items else None
    return until(ask, 20 * hub.binary.patience, f"order {number}")


def reload(hub):
    return hub.client().post("/ops/connectors/reload").ok()


def status(hub, name="bazaar"):
    return hub.client().get(f"/ops/connectors/{name}").ok()


def rejections(hub):
    return [e["data"] for e in docs.events(hub.client(), type="exception.raised")
            if e["data"]["kind"] == "connector-rejected"]


def open_cases(hub):
    return [e for e in docs.listed(hub.client(), "/ops/exceptions", state="open")
            if e["kind"] == "connector-rejected"]


@pytest.fixture
def hub(binary, tmp_path):
    hub = Hub(binary, tmp_path, {"PENSTOCK_CONNECTORS_WATCH_S": "0"})
    for made in running(hub.start()):
        made.client().post("/v1/stock/counts", docs.count("BAZAAR", 100000)).ok(201)
        yield made


def test_a_new_folder_goes_live_without_a_restart(hub):
    send(hub, "B-0").problem(404)
    folder = Folder(hub)
    assert reload(hub)["changes"] == [
        {"connector": "bazaar", "change": "added", "version": "1.0.0",
         "hash": status(hub)["hash"], "faults": []}]
    send(hub, "B-1").ok()
    assert order(hub, "B-1")["totals"]["grand"] == 500
    seen = status(hub)
    assert (seen["state"], seen["version"], seen["received"]) == ("serving", "1.0.0", 1)
    again = reload(hub)
    assert again["changes"] == [] and again["rejected"] == 0
    folder.yaml("1.1.0")
    change = reload(hub)["changes"][0]
    assert (change["change"], change["version"]) == ("changed", "1.1.0")
    assert status(hub)["received"] == 1, "what was counted goes on"
    lines = hub.client().get("/ops/audit" + docs.query(limit=1000)).ok()["items"]
    assert any(x.get("action") == "connectors.reloaded" for x in lines), lines[-3:]


def test_a_secret_is_read_again(hub):
    folder = Folder(hub)
    reload(hub)
    send(hub, "B-1").ok()
    folder.secret.write_text("another\n")
    send(hub, "B-2").ok()
    assert reload(hub)["changes"][0]["change"] == "changed"
    send(hub, "B-3").problem(401)
    send(hub, "B-3", "another").ok()


BROKEN = [
    ("lua", "return function(doc)\n  return {\nend\n", "order.lua:3"),
    ("yaml", "connector: bazaar\nversion: 2\nowner: x\nreceive:\n  - topic: [\n", "connector.yaml:"),
    ("yaml", YAML + "    comand: order.capture\n", "connector.yaml:14"),
    ("yaml", YAML.replace("order.capture", "order.captur"), "connector.yaml:13"),
    ("fixture", "two", "one.in.json"),
]


@pytest.mark.parametrize("what,text,place", BROKEN, ids=["lua", "yaml", "member", "command", "fixture"])
def test_a_broken_version_is_not_taken(hub, what, text, place):
    folder = Folder(hub)
    folder.fixture("one")
    reload(hub)
    before = status(hub)

    def spoil():
        if what == "lua":
            folder.lua("x", text.replace("{", "{{"))
        elif what == "yaml":
            folder.yaml("2.0.0", text if "{name}" in text else text.replace("{", "{{"))
        else:
            folder.lua("two")
        return reload(hub)
    answer = spoil()
    change = answer["changes"][0]
    assert (answer["rejected"], change["change"], change["version"]) == (1, "rejected", "1.0.0")
    said = change["faults"][0]["pointer"] + " " + change["faults"][0]["detail"]
    assert place in said, said
    after = status(hub)
    assert after["state"] == "rejected" and place in after["rejected"]["cause"]
    assert after["hash"] == before["hash"]
    send(hub, "B-1").ok()
    assert order(hub, "B-1")["ext"] == {"mark": "one"}
    assert hub.client().get("/readyz").ok()["connectors"] == {"rejected": 1}
    assert hub.client().get("/ops/overview").ok()["connectors"] == {"rejected": 1}
    raised = until(lambda: rejections(hub), 10, "the exception")
    assert raised[0]["subject"] == "bazaar" and place in raised[0]["cause"]
    assert raised[0]["owner"] == "shop-team"
    reload(hub)
    assert len(rejections(hub)) == 1, "once for the same faults"
    folder.yaml("1.0.1")
    folder.lua("one")
    assert reload(hub)["changes"][0]["version"] == "1.0.1"
    assert status(hub)["state"] == "serving"
    assert hub.client().get("/readyz").ok()["connectors"] == {"rejected": 0}
    until(lambda: open_cases(hub) == [], 10, "what is mended is closed")
    spoil()
    until(lambda: len(rejections(hub)) == 2, 10, "the same fault beside another version is told, too")
    until(lambda: len(open_cases(hub)) == 1, 10, "the case")


def test_a_case_is_closed_when_the_files_are_fit_and_raised_anew_when_not(hub):
    folder = Folder(hub)
    reload(hub)
    served = (folder.path / "order.lua").read_text()

    def spoil():
        folder.lua("x", "this is no Lua")
        reload(hub)
    spoil()
    case = until(lambda: open_cases(hub), 10, "the exception")[0]
    (folder.path / "order.lua").write_text(served)
    assert reload(hub)["changes"] == [], "the same files as serve"
    until(lambda: open_cases(hub) == [], 10, "its end")
    ended = hub.client().get("/ops/exceptions/" + case["exception_id"]).ok()
    assert ended["state"] == "resolved" and "fit again" in json.dumps(ended), ended
    spoil()
    assert len(rejections(hub)) == 2, "the same fault, and nobody knows of it"
    until(lambda: len(open_cases(hub)) == 1, 10, "the second case")
    hub.kill()
    hub.start()
    until(lambda: hub.client().get("/readyz").ok()["connectors"] == {"rejected": 1}, 10, "the rejection")
    assert len(rejections(hub)) == 2, "known from before"
    hub.kill()
    (folder.path / "order.lua").write_text(served)
    hub.start()
    until(lambda: open_cases(hub) == [], 10, "what was mended while the hub was down is closed")


def test_what_served_serves_again_after_a_kill(hub):
    """The files on the disk are broken; what was taken before was kept."""
    folder = Folder(hub)
    reload(hub)
    folder.lua("x", "this is no Lua")
    reload(hub)
    hub.kill()
    hub.start()
    send(hub, "B-1").ok()
    order(hub, "B-1")
    assert status(hub)["state"] == "rejected"
    folder.lua("two")
    assert reload(hub)["changes"][0]["change"] == "changed"
    hub.kill()
    folder.fixture("three")  # taken without its fixtures: the same files as served before
    hub.start()
    assert status(hub)["state"] == "serving"
    folder.lua("four")       # changed while it was down, and its fixture fails
    hub.kill()
    hub.start()
    assert "one.in.json" in status(hub)["rejected"]["cause"]
    send(hub, "B-2").ok()
    order(hub, "B-2")


def test_a_removed_folder_takes_no_more(hub):
    folder = Folder(hub)
    reload(hub)
    send(hub, "B-1").ok()
    order(hub, "B-1")
    (folder.path / "connector.yaml").rename(folder.path / "connector.yaml.off")
    assert reload(hub)["changes"][0]["change"] == "removed"
    send(hub, "B-2").problem(404)
    hub.client().get("/ops/connectors/bazaar").problem(404)
    hub.kill()
    hub.start()
    send(hub, "B-2").problem(404)


def test_a_subscription_has_one_connector(hub, ledger):
    ledger.connector(hub.config)
    assert reload(hub)["changes"][0]["change"] == "added"
    other = hub.config / "connectors" / "aaa"
    other.mkdir()
    text = (hub.config / "connectors" / "ledger" / "connector.yaml").read_text()
    (other / "connector.yaml").write_text(text.replace("connector: ledger", "connector: aaa"))
    for lua in (hub.config / "connectors" / "ledger").glob("*.lua"):
        (other / lua.name).write_text(lua.read_text())
    answer = reload(hub)
    assert [(c["connector"], c["change"]) for c in answer["changes"]] == [("aaa", "rejected")]
    assert "ledger has a subscription of this name" in answer["changes"][0]["faults"][0]["detail"]


def test_sighup_and_the_files_themselves(binary, tmp_path):
    hub = Hub(binary, tmp_path, {"PENSTOCK_CONNECTORS_WATCH_S": "1"})
    for hub in running(hub.start()):
        folder = Folder(hub)
        def version():
            answer = hub.client().get("/ops/connectors/bazaar")
            return answer.json["version"] if answer.status == 200 else None
        until(lambda: version() == "1.0.0", 15 * binary.patience, "the folder seen by itself")
        folder.yaml("1.2.0")
        hub.process.signal(signal.SIGHUP)
        until(lambda: version() == "1.2.0", 15 * binary.patience, "the folder read at SIGHUP")


def traffic(hub, stop, sent):
    """Orders by webhook until told to end; a hub that is down for a moment is asked again."""
    n = 0
    while not stop.is_set():
        number = f"T-{n}"
        try:
            answer = send(hub, number)
        except (Gone, OSError):
            time.sleep(0.05)
            continue
        if answer.status == 200:
            sent.append(number)
            n += 1
        else:
            assert answer.status in (503, 429), answer


def test_reloads_under_traffic_cost_nothing(hub, ledger):
    """Versions good and broken, subscriptions that change and rest, kill -9 in between: each order
    that was acknowledged is there once, and booked once."""
    folder = Folder(hub)
    folder.fixture("one")
    ledger.connector(hub.config)
    books = hub.config / "connectors" / "ledger" / "connector.yaml"
    text = books.read_text()
    reload(hub)
    stop, sent = threading.Event(), []
    sender = threading.Thread(target=traffic, args=(hub, stop, sent))
    sender.start()
    try:
        for i in range(9):
            folder.yaml(f"1.{i}.0")
            folder.lua("one" if i % 3 else "broken by its fixture")
            books.write_text(text.replace('version: "1.0.0"', f'version: "2.{i}.0"') if i % 2 else
                             text + "\n# only a comment\n")
            if i == 5:
                books.rename(books.with_suffix(".off"))
            answer = reload(hub)
            assert answer["rejected"] == (0 if i % 3 else 1), answer
            time.sleep(0.2)
            if i == 5:
                books.with_suffix(".off").rename(books)
                reload(hub)
            if i in (4, 7):
                hub.kill()
                hub.start()
    finally:
        stop.set()
        sender.join()
    assert len(sent) > 20
    ids = [order(hub, number)["order_id"] for number in sent]
    assert len(set(ids)) == len(sent)
    until(lambda: set(ids) <= set(ledger.ids()), 60 * hub.binary.patience, "all orders booked")
    assert sorted(ledger.ids()) == sorted(set(ledger.ids())), "none was booked twice"
