"""Webhooks to others: subscriptions made through the API, signed by Standard Webhooks 1.0. The
verifier here is written apart, and checked with the example of the specification first."""

import base64
import hashlib
import hmac
import json
import sqlite3
import time

import pytest

import docs
from conftest import running
from hub import Hub
from peer import Peer
from wire import until


def signature(secret, message, seconds, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{message}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode()


def signed_by(secret, headers, body):
    """Whether one of the signatures is of this secret, over a time that is now."""
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 300
    want = signature(secret, headers["webhook-id"], headers["webhook-timestamp"], body)
    return any(hmac.compare_digest(want, one) for one in headers["webhook-signature"].split(" "))


def test_the_verifier_knows_the_example_of_the_specification():
    assert signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek",
                     "1614265330", b'{"test": 2432232314}') == \
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


class Subscriber:
    """Takes webhooks; `status(event)` says what it answers."""

    def __init__(self):
        self.status = lambda event: 204
        self.taken, self.tried = [], []
        self.peer = Peer(self.answer)
        self.url = self.peer.url + "/hook"

    def answer(self, path, query, headers, event):
        status = self.status(event)
        self.tried.append((dict(headers.items()), event))
        if status < 300:
            self.taken.append((dict((k.lower(), v) for k, v in headers.items()), event))
        return status, b"", {"Location": self.peer.url + "/elsewhere"}

    def subjects(self):
        return [event["subject"] for _, event in self.taken]


@pytest.fixture
def subscriber():
    it = Subscriber()
    yield it
    it.peer.close()


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    """Webhooks may go to this machine here."""
    yield from running(Hub(binary, tmp_path_factory.mktemp("hub"), {
        "PENSTOCK_WEBHOOKS_PRIVATE": "1"}).start())


def make(api, name, url=None, events=("stock.counted",), status=201, **more):
    body = {"name": name, "events": list(events), **more}
    if url:
        body["url"] = url
    return api.post("/v1/subscriptions", body).ok(status)


def count(api, sku, n=1):
    api.post("/v1/stock/counts", docs.count(sku, n)).ok(201)


def test_what_it_wants_is_posted_and_signed(hub, api, subscriber):
    made = make(api, "crm", subscriber.url, owner="sales", description="for the CRM")
    assert made["secret"].startswith("whsec_") and len(base64.b64decode(made["secret"][6:])) == 32
    assert made["state"] == "active" and made["delivery"].startswith("crm:")
    count(api, "HOOK-1")
    api.post("/v1/stock/receipts", docs.receipt("HOOK-1", 5)).ok(201)
    count(api, "HOOK-2")
    until(lambda: len(subscriber.taken) == 2, 20, "two webhooks")
    counted = docs.events(api, type="stock.counted")
    by_id = {event["id"]: event for event in counted}
    for headers, event in subscriber.taken:
        assert headers["content-type"] == "application/cloudevents+json"
        assert headers["webhook-id"] == event["id"]
        assert event == by_id[event["id"]]
    assert subscriber.subjects() == ["HOOK-1@WH-HAM", "HOOK-2@WH-HAM"]
    # it began when it was made, and is alone in knowing its secret
    shown = api.get("/v1/subscriptions/crm").ok()
    assert "secret" not in shown and {**made, "secret": None} == {**shown, "secret": None}
    assert made["secret"] not in json.dumps(docs.events(api, type="subscriber.created"))
    assert made["secret"].encode() not in b"".join(
        file.read_bytes() for file in hub.config.rglob("*") if file.is_file())
    progress = api.get("/v1/subscriptions/crm/progress").ok()
    assert progress["delivered"] == 2 and progress["held"] == 0
    api.delete("/v1/subscriptions/crm").ok()



def test_signatures_of_all_secrets_that_count(hub, api, binary):
    bodies = []
    subscriber = Subscriber()
    handler = subscriber.peer.server.RequestHandlerClass
    loads = json.loads

    class Keeping(handler):
        def do_POST(self):
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(({k.lower(): v for k, v in self.headers.items()}, raw, loads(raw)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
    subscriber.peer.server.RequestHandlerClass = Keeping
    first = make(api, "signed", subscriber.url)["secret"]
    count(api, "SIGN-1")
    until(lambda: len(bodies) == 1, 20, "a webhook")
    headers, raw, _ = bodies[0]
    assert signed_by(first, headers, raw) and not signed_by(first, headers, raw + b" ")
    assert len(headers["webhook-signature"].split(" ")) == 1
    # a new secret beside the old one
    turned = api.post("/v1/subscriptions/signed/rotate", {"overlap_s": 3600}).ok()
    second = turned["secret"]
    assert second != first and len(turned["secrets"]) == 2
    hub.restart()
    api = hub.client()
    count(api, "SIGN-2")
    until(lambda: len(bodies) == 2, 20, "a webhook")
    headers, raw, _ = bodies[1]
    assert signed_by(first, headers, raw) and signed_by(second, headers, raw)
    # the old ones end
    third = api.post("/v1/subscriptions/signed/rotate", {"overlap_s": 0}).ok()["secret"]
    count(api, "SIGN-3")
    until(lambda: len(bodies) == 3, 20, "a webhook")
    headers, raw, _ = bodies[2]
    assert signed_by(third, headers, raw) and not signed_by(second, headers, raw)
    assert signed_by(first, headers, raw), "its hour is not over"
    api.delete("/v1/subscriptions/signed").ok()
    subscriber.peer.close()


def test_filters_and_changes(hub, api, subscriber):
    make(api, "narrow", subscriber.url, events=["stock.*"], keys=["FIL-1@WH-HAM", "FIL-2@*"])
    for sku in ("FIL-1", "FIL-2", "FIL-3"):
        count(api, sku)
    api.post("/v1/stock/receipts", docs.receipt("FIL-1", 5)).ok(201)
    until(lambda: len(subscriber.taken) == 3, 20, "three webhooks")
    assert sorted(subscriber.subjects()) == ["FIL-1@WH-HAM", "FIL-1@WH-HAM", "FIL-2@WH-HAM"]
    version = api.get("/v1/subscriptions/narrow").ok()["version"]
    stale = api.call("PATCH", "/v1/subscriptions/narrow", {"keys": []},
                        headers={"If-Match": f'"{version + 1}"'})
    stale.problem(412)
    changed = api.call("PATCH", "/v1/subscriptions/narrow",
                          {"keys": [], "events": ["stock.counted"]}).ok()
    assert changed["version"] == version + 1
    count(api, "FIL-4")
    until(lambda: "FIL-4@WH-HAM" in subscriber.subjects(), 20, "a webhook")
    api.delete("/v1/subscriptions/narrow").ok()
    api.get("/v1/subscriptions/narrow").problem(404)
    count(api, "FIL-5")
    # made again it is another one: nothing of the old one's time comes
    make(api, "narrow", subscriber.url)
    count(api, "FIL-6")
    until(lambda: "FIL-6@WH-HAM" in subscriber.subjects(), 20, "a webhook")
    assert "FIL-5@WH-HAM" not in subscriber.subjects()
    api.delete("/v1/subscriptions/narrow").ok()


def test_an_example_goes_to_one_alone(api, subscriber):
    make(api, "tried", subscriber.url, events=["order.captured"])
    api.post("/v1/subscriptions/tried/test").ok(202)
    until(lambda: subscriber.taken, 20, "the example")
    assert subscriber.taken[0][1]["type"] == "org.penstock.subscriber.tested.v1"
    api.delete("/v1/subscriptions/tried").ok()


def open_cases(api):
    return [c["subject"] for c in docs.listed(api, "/ops/exceptions", state="open")
            if c["kind"] == "subscription-stopped"]


def test_gone_stops_at_once_and_the_place_is_kept(hub, api, subscriber):
    make(api, "leaving", subscriber.url)
    subscriber.status = lambda event: 410
    count(api, "GONE-1")
    until(lambda: api.get("/v1/subscriptions/leaving").ok()["state"] == "stopped", 20, "stopped")
    shown = api.get("/v1/subscriptions/leaving").ok()
    assert shown["stopped"]["why"] == "gone" and "410" in shown["stopped"]["cause"], shown
    until(lambda: open_cases(api) == [shown["delivery"]], 20, "a case for a person")
    # one state, wherever it is looked at
    row = until(lambda: [s for s in docs.listed(api, "/ops/subscriptions") if s["subscription"] == shown["delivery"]
                         and s["state"] == "stopped"], 10, "the report")[0]
    assert {**shown["stopped"], "by": None} == row["stopped"], (shown, row)
    assert [s["state"] for s in docs.listed(api, "/v1/subscriptions")] == ["stopped"]
    assert api.get("/readyz").ok()["subscriptions"] == {"stopped": 1}
    assert f'penstock_delivery_stopped{{connector="leaving",subscription="{shown["delivery"]}"}} 1' in \
        api.get("/metrics").body.decode()
    event, = docs.events(api, type="subscription.stopped")
    assert event["data"]["why"] == "gone" and event["data"]["subscription"] == shown["delivery"]
    count(api, "GONE-2")
    hub.restart()
    api = hub.client()
    tried = len(subscriber.tried)
    count(api, "GONE-3")
    time.sleep(0.5)
    assert len(subscriber.tried) == tried, "it is left alone"
    subscriber.status = lambda event: 200
    assert api.post("/v1/subscriptions/leaving/start").ok()["state"] == "active"
    assert api.post("/v1/subscriptions/leaving/start").ok()["state"] == "active", "it may be said twice"
    until(lambda: len(subscriber.taken) == 3, 20, "what waited")
    assert sorted(subscriber.subjects()) == [f"GONE-{n}@WH-HAM" for n in (1, 2, 3)]
    until(lambda: open_cases(api) == [], 20, "the case closed")
    api.delete("/v1/subscriptions/leaving").ok()


def test_who_fails_for_too_long_is_stopped(binary, tmp_path, subscriber):
    for hub in running(Hub(binary, tmp_path, {"PENSTOCK_WEBHOOKS_PRIVATE": "1",
                                              "PENSTOCK_WEBHOOK_STOP_AFTER_S": "3"}).start()):
        api = hub.client()
        make(api, "failing", subscriber.url)
        subscriber.status = lambda event: 503
        count(api, "FAIL-1")
        until(lambda: subscriber.tried, 20, "an attempt")
        hub.restart()  # since when it fails is not forgotten
        api = hub.client()
        until(lambda: api.get("/v1/subscriptions/failing").ok()["state"] == "stopped", 30, "stopped")
        stopped = api.get("/v1/subscriptions/failing").ok()["stopped"]
        assert stopped["why"] == "dead" and "503" in stopped["cause"] and "nothing was taken" in stopped["cause"]
        subscriber.status = lambda event: 200
        api.post("/v1/subscriptions/failing/start", {"reason": "mended"}).ok()
        until(lambda: subscriber.subjects() == ["FAIL-1@WH-HAM"], 20, "what waited")


def test_redirects_are_not_followed(api, subscriber):
    make(api, "moved", subscriber.url)
    subscriber.status = lambda event: 302
    count(api, "MOVED-1")
    until(lambda: api.get("/v1/subscriptions/moved/progress").ok()["failed"], 20, "a failure")
    assert {path for _, path, _, _ in subscriber.peer.asked} == {"/hook"}
    api.delete("/v1/subscriptions/moved").ok()


def test_addresses_that_are_refused(binary, tmp_path, subscriber):
    for hub in running(Hub(binary, tmp_path).start()):
        api = hub.client()
        for url in (subscriber.url, "https://127.0.0.1/x", "https://10.1.2.3/", "https://[::1]/x",
                    "https://[fd00::1]:8443/", "https://169.254.169.254/latest", "https://localhost/x",
                    "https://a.localhost", "http://example.org/", "ftp://example.org/",
                    "https://user@example.org/", "https://", "https://[::ffff:10.0.0.1]/",
                    "https://example.org/#a", "https://100.64.1.1", "https://exa mple.org/"):
            api.post("/v1/subscriptions", {"name": "bad", "events": ["order.*"], "url": url}).problem(
                422, pointers=["/url"])
        api.post("/v1/subscriptions", {"name": "bad", "events": ["audit.noted"],
                                       "url": "https://example.org/"}).problem(422, ["/events/0"])
        api.post("/v1/subscriptions", {"name": "bad", "events": ["order.*"]}).problem(422, ["/url"])
        # a name that leads to this machine is found out when it is called
        host = subscriber.url.split(":")[2].split("/")[0]
        make(api, "sly", f"https://127.0.0.1.nip.invalid:{host}/")
        assert docs.listed(api, "/v1/subscriptions")[0]["name"] == "sly"
        assert not subscriber.tried


def test_who_may(hub, subscriber):
    reader = hub.client(key=hub.create_key("sub-reader", "subscriptions:read"))
    writer = hub.client(key=hub.create_key("sub-writer", "subscriptions:*"))
    body = {"name": "scoped", "events": ["order.*"], "url": subscriber.url}
    reader.post("/v1/subscriptions", body).problem(403)
    writer.post("/v1/subscriptions", {**body, "personal": True}).problem(403)
    writer.post("/v1/subscriptions", body).ok(201)
    writer.post("/v1/subscriptions", body).problem(409)
    assert reader.get("/v1/subscriptions/scoped").ok()["personal"] is False
    api = hub.client()
    api.call("PATCH", "/v1/subscriptions/scoped", {"personal": True}).ok()
    # what sees personal data is not sent elsewhere by who may not see it
    writer.call("PATCH", "/v1/subscriptions/scoped", {"url": subscriber.url + "/2"}).problem(403)
    api.delete("/v1/subscriptions/scoped").ok()


def test_personal_data_is_for_who_may_see_it(api, subscriber, sku):
    other = Subscriber()
    make(api, "blind", subscriber.url, events=["order.captured"])
    make(api, "seeing", other.url, events=["order.captured"], personal=True)
    name = sku()
    count(api, name, 9)
    api.post("/v1/orders", docs.full_order(name)).ok(201)
    until(lambda: subscriber.taken and other.taken, 20, "both")
    mail = docs.full_order(name)["customer"]["email"]
    assert mail in json.dumps(other.taken[0][1])
    assert mail not in json.dumps(subscriber.taken[0][1])
    for one in ("blind", "seeing"):
        api.delete(f"/v1/subscriptions/{one}").ok()
    other.peer.close()


def test_killed_in_the_middle_of_a_removal(fresh_hub):
    """What delivery keeps of a subscription that is gone does not stay behind, whenever the hub ended."""
    hub = fresh_hub
    api = hub.client()
    kept = []
    for n in range(3):
        make(api, f"brief-{n}", "https://nobody.invalid/in")
        count(api, f"BRIEF-{n}")
        until(lambda: api.get(f"/v1/subscriptions/brief-{n}/progress").ok()["failed"], 20, "an attempt")
        time.sleep(0.3)  # progress is written every 100 ms
        api.delete(f"/v1/subscriptions/brief-{n}").ok()
        hub.kill()
        kept.append(progress_of(hub, "brief-"))
        hub.start()
        api = hub.client()
        until(lambda: api.get("/readyz").status == 200, 10, "ready")
        hub.kill()
        assert progress_of(hub, "brief-") == 0, kept
        hub.start()
        api = hub.client()


def progress_of(hub, name):
    """Rows in delivery.db about what is called so."""
    path, = hub.config.rglob("delivery.db")
    db = sqlite3.connect(path)
    tables = ("subscription:name", "waiting:subscription", "failure:subscription", "failing:subscription",
              "ended:subscription", "acknowledged:subscription", "made:subscription")
    rows = sum(db.execute(f"SELECT count(*) FROM {t.split(':')[0]} WHERE {t.split(':')[1]} LIKE ?",
                          (name + "%",)).fetchone()[0] for t in tables)
    db.close()
    return rows


def test_recover_by_time_and_by_seq(hub, api, subscriber):
    """What is behind what is held comes with it, in order; a place that is not there yet is told."""
    make(api, "back", subscriber.url)
    path = "/v1/subscriptions/back/recover"
    for body, pointer in (({"since": "soon"}, "/since"), ({"since": "2099-01-01T00:00:00Z"}, "/since"),
                          ({"since_seq": 0}, "/since_seq"), ({"since_seq": -5}, "/since_seq"),
                          ({"since_seq": 10 ** 12}, "/since_seq"), ({"since_seq": "7"}, "/since_seq"),
                          ({"since_seq": 1, "since": "2026-01-01T00:00:00Z"}, "/since_seq"),
                          ({"until": 1}, "/until")):
        api.post(path, body).problem(422, [pointer])
    api.post("/v1/subscriptions/nobody/recover", {}).problem(404)
    for body in ({}, {"since_seq": 1}, {"since": "2026-01-01T00:00:00+01:00"}):
        assert api.post(path, body).ok() == {"recovered": 0, "more": False}
    api.post(path).ok()
    api.delete("/v1/subscriptions/back").ok()
