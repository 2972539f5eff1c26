"""Subscriptions of others on the command line: make, show, change, rotate, test, recover, stop, start, remove."""

import json

import pytest

import docs
from conftest import running
from hub import Hub
from peer import Peer
from wire import until


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    """Webhooks may go to this machine here."""
    yield from running(Hub(binary, tmp_path_factory.mktemp("hub"), {"PENSTOCK_WEBHOOKS_PRIVATE": "1"}).start())


@pytest.fixture
def taken():
    events = []
    peer = Peer(lambda path, query, headers, event: events.append((headers, event)) or (200, b"", {}))
    peer.events = events
    yield peer
    peer.close()


def run(hub, *words, code=0):
    done = hub.cli("subscriptions", *words)
    assert done.returncode == code, (words, done)
    return done


def count(api, sku, n=1):
    api.post("/v1/stock/counts", docs.count(sku, n)).ok(201)


def test_the_life_of_a_webhook(hub, api, taken):
    made = run(hub, "create", "crm", "--url", taken.url + "/in", "--event", "stock.counted", "--event", "stock.recei*",
               "--subject", "CLI-1@*", "--owner", "sales", "--description", "for the CRM")
    secret = made.stdout.strip()
    assert secret.startswith("whsec_") and "\n" not in secret and secret not in made.stderr and "crm:" in made.stderr
    shown = api.get("/v1/subscriptions/crm").ok()
    assert shown["events"] == ["stock.counted", "stock.recei*"] and shown["keys"] == ["CLI-1@*"]
    assert (shown["owner"], shown["description"], shown["kind"]) == ("sales", "for the CRM", "webhook")
    count(api, "CLI-1")
    count(api, "CLI-2")
    run(hub, "test", "crm")
    until(lambda: len(taken.events) == 2, 20, "the event and the example")
    assert {e["subject"] for _, e in taken.events} == {"CLI-1@WH-HAM", "crm"}
    text = until(lambda: "delivered 2" in run(hub, "show", "crm").stdout and run(hub, "show", "crm"), 10, "told").stdout
    assert "CLI-1@*" in text and "stock.counted" in text and taken.url in text and secret not in text
    run(hub, "change", "crm", "--all-subjects", "--event", "stock.counted")
    changed = json.loads(run(hub, "show", "crm", "--json").stdout)
    assert changed["keys"] == [] and changed["events"] == ["stock.counted"] and changed["version"] == 2
    second = run(hub, "rotate", "crm", "--overlap", "60")
    assert second.stdout.strip().startswith("whsec_") and second.stdout.strip() != secret and "60 s" in second.stderr
    assert secret not in json.dumps(docs.events(api, type="subscriber.rotated"))
    assert f"crm:{shown['after']}" in run(hub, "list").stdout
    rows = [json.loads(line) for line in run(hub, "list", "--api", "--json").stdout.splitlines()]
    assert [r["name"] for r in rows] == ["crm"]
    assert run(hub, "list", "--api", "--owner", "nobody").stdout == ""
    assert "crm removed" in run(hub, "remove", "crm").stdout
    assert "there is no subscription crm" in run(hub, "show", "crm", code=1).stderr


def test_stopped_and_started_by_either_key(hub, api):
    run(hub, "create", "picking", "--pull", "--event", "stock.counted", "--after", "0")
    assert api.get("/v1/subscriptions/picking").ok()["after"] == 0
    assert "stopped" in run(hub, "stop", "picking", "--reason", "stocktaking").stdout
    for words in (["list"], ["list", "--api"], ["show", "picking"]):
        assert "(person): stocktaking" in run(hub, *words).stdout, words
    run(hub, "stop", "picking", "--reason", "again", code=1)
    # who may only have subscriptions of the API: theirs alone
    key = hub.create_key("cli-owner", "subscriptions:*")
    assert "started" in run(hub, "start", "picking", "--reason", "counted", "--key", key).stdout
    assert api.get("/v1/subscriptions/picking").ok()["state"] == "active"
    run(hub, "stop", "erp-orders", "--reason", "not theirs", "--key", key, code=1)
    reasons = [e["data"].get("reason") for e in docs.events(api, type="subscription.started")]
    assert reasons[-1] == "counted"
    run(hub, "remove", "picking")


def test_recover_says_how_many(hub, api, taken):
    run(hub, "create", "late", "--url", taken.url, "--event", "stock.counted")
    assert "0 deliveries" in run(hub, "recover", "late").stdout
    last = docs.events(api)[-1]
    assert json.loads(run(hub, "recover", "late", "--since-seq", last["penstockseq"], "--json").stdout) == \
        {"recovered": 0}
    assert "future" in run(hub, "recover", "late", "--since", "2099-01-01T00:00:00Z", code=1).stderr
    assert "beyond the journal" in run(hub, "recover", "late", "--since-seq", "99999999", code=1).stderr
    run(hub, "recover", "late", "--since", "yesterday", code=1)
    run(hub, "remove", "late")


def test_what_is_wrong_is_told(hub):
    for words in (["create", "x", "--event", "a.b"], ["create", "x", "--url", "https://a.example", "--pull",
                  "--event", "a.b"], ["create", "x", "--pull"], ["change", "x"], ["rotate"], ["pause", "x"], [],
                  ["recover", "x", "--since-seq", "1", "--since", "2026-01-01T00:00:00Z"],
                  ["recover", "x", "--since-seq", "0"], ["stop", "x"],
                  ["change", "x", "--personal", "--no-personal"]):
        run(hub, *words, code=2)
    refused = run(hub, "create", "x", "--url", "ftp://a.example", "--event", "a.b", code=1)
    assert "/url" in refused.stderr
    for verb in ("show", "test", "rotate", "recover", "remove"):
        assert "there is no subscription nobody" in run(hub, verb, "nobody", code=1).stderr
    text = hub.cli("subscriptions", "--help").stdout
    for word in ("create", "rotate", "recover", "--since-seq", "Standard Webhooks"):
        assert word in text
