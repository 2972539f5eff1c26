"""Trace: any id a person holds opens the whole story, from the command line."""

import json

import pytest

import docs


@pytest.fixture(scope="module")
def told(hub):
    """An order with all its ids: cancelled in part and shipped."""
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("TR", 100)).ok(201)
    doc = docs.full_order("TR")
    key = docs.key()
    made = api.post("/v1/orders", doc, headers={
        **key, "Penstock-Correlation-Id": "trace-cart-1"}).ok(201)
    api.post(f"/v1/orders/{made['order_id']}/cancel",
             {"reason": "one too many", "lines": [{"line_id": "a", "quantity": "1"}]}).ok()
    return {"order_id": made["order_id"], "number": doc["channel_order_id"],
            "key": key["Idempotency-Key"], "correlation": "trace-cart-1"}


@pytest.mark.parametrize("by", ["order_id", "number", "key", "correlation"])
def test_by_every_id(hub, told, by):
    done = hub.cli("trace", told[by])
    assert done.returncode == 0, done
    assert told["number"] in done.stdout or told["order_id"] in done.stdout
    assert "cancel" in done.stdout.lower(), done.stdout


def test_as_json(hub, told):
    done = hub.cli("trace", told["number"], "--json")
    assert done.returncode == 0, done
    text = json.dumps(json.loads(done.stdout))
    assert "order.captured" in text and "order.cancelled" in text and told["order_id"] in text


def test_over_http(hub, told):
    answer = hub.client().get("/ops/trace/" + told["number"])
    text = json.dumps(answer.ok())
    assert "order.captured" in text and "order.cancelled" in text
    hub.client().get("/ops/trace/no-such-id").problem(404)


def test_nothing_is_exit_1(hub, told):
    done = hub.cli("trace", "no-such-id")
    assert done.returncode == 1 and done.stdout == "" and "no-such-id" in done.stderr


def test_wrong_key_is_exit_1(hub, told):
    done = hub.cli("trace", told["number"], key="wrong")
    assert done.returncode == 1 and done.stdout == ""


def test_no_hub_there_is_exit_1(binary):
    done = binary.run("trace", "x", "--hub", "http://127.0.0.1:1", "--key", "k")
    assert done.returncode == 1 and done.stderr


def test_a_trace_tells_no_personal_data(hub, told):
    out = hub.cli("trace", told["order_id"]).stdout
    assert "Ida Muster" not in out and "ida@example.org" not in out


def test_an_acknowledged_order_is_found_at_once(hub):
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("TR2", 100)).ok(201)
    for _ in range(20):
        doc = docs.order(("TR2", 1))
        api.post("/v1/orders", doc).ok(201)
        api.get("/ops/trace/" + doc["channel_order_id"]).ok()


def test_one_number_in_two_channels_gives_both(hub):
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("TR3", 100)).ok(201)
    number = docs.order_id()
    ids = [api.post("/v1/orders", docs.order(("TR3", 1), channel=c, number=number)).ok(201)
           ["order_id"] for c in ("web-de", "web-fr")]
    out = hub.cli("trace", number).stdout
    assert all(order_id in out for order_id in ids), out
