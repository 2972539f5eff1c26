"""Events that are fetched: leases, acknowledgements, several workers, and ends of the hub between."""

import threading
import time

import pytest

import docs
from wire import Gone, until

P = "/v1/subscriptions"


def count(api, sku, n=1):
    api.post("/v1/stock/counts", docs.count(sku, n)).ok(201)


def make(api, name, **more):
    return api.post(P, {"name": name, "kind": "pull", "events": ["stock.counted"], **more}).ok(201)


def pull(api, name, **body):
    return api.post(f"{P}/{name}/pull", body).ok()["items"]


def ack(api, name, *items):
    return api.post(f"{P}/{name}/ack", {"leases": [item["lease"] for item in items]})


def subjects(items):
    return [item["event"]["subject"].split("@")[0] for item in items]


def pull_until(api, name, **body):
    """What waits may be a moment away: it is read ahead by another thread."""
    return pull(api, name, wait_s=10, **body)


def test_a_lease_an_acknowledgement_and_the_order_of_a_key(api):
    made = make(api, "basic")
    assert "secret" not in made and made["kind"] == "pull"
    for n, sku in enumerate(("PA", "PB", "PA", "PC", "PA")):
        count(api, sku, n)
    until(lambda: api.get(f"{P}/basic/progress").ok()["waiting"] == 5, 20, "all read")
    items = pull(api, "basic", max=10, lease_s=300)
    assert subjects(items) == ["PA", "PB", "PC"], "one of a key at a time"
    assert all(item["delivery"] == 1 for item in items)
    assert pull(api, "basic", max=10) == []
    events = {e["id"]: e for e in docs.events(api, type="stock.counted")}
    assert all(item["event"] == events[item["event"]["id"]] for item in items)
    assert ack(api, "basic", *items).ok() == {"leases": 3}
    assert ack(api, "basic", *items).ok() == {"leases": 3}, "twice is once"
    more = pull(api, "basic", max=10)
    assert subjects(more) == ["PA"]
    assert int(more[0]["event"]["penstockseq"]) > int(items[0]["event"]["penstockseq"])
    ack(api, "basic", *more).ok()
    last = pull(api, "basic", max=10)
    assert subjects(last) == ["PA"]
    ack(api, "basic", *last).ok()
    progress = api.get(f"{P}/basic/progress").ok()
    assert progress["delivered"] == 5 and progress["waiting"] == 0


def test_who_waits_is_woken(hub, api):
    make(api, "waiting")
    assert pull(api, "waiting", max=1) == []
    found = {}

    def wait():
        found["items"] = pull(hub.client(), "waiting", wait_s=20)
        found["at"] = time.monotonic()
    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "answered although nothing had happened"
    count(api, "WAKE")
    began = time.monotonic()
    thread.join(10)
    assert subjects(found["items"]) == ["WAKE"] and found["at"] - began < 5
    began = time.monotonic()
    assert pull(api, "waiting", wait_s=1) == []
    assert 0.8 < time.monotonic() - began < 10


def test_a_lease_that_ends_is_handed_out_again(api):
    make(api, "ending")
    count(api, "END-A")
    first, = pull_until(api, "ending", lease_s=1)
    again, = pull_until(api, "ending", lease_s=60)
    assert again["event"] == first["event"] and again["delivery"] == 2
    assert again["lease"] != first["lease"]
    ack(api, "ending", first).problem(409)
    api.post(f"{P}/ending/extend", {"leases": [first["lease"]]}).problem(409)
    api.post(f"{P}/ending/nack", {"leases": [first["lease"]]}).problem(409)
    ack(api, "ending", again).ok()
    ack(api, "ending", first).ok()  # it is done: whoever says so again is not wrong
    # one that ended, and nobody else has it
    count(api, "END-B")
    late, = pull_until(api, "ending", lease_s=1)
    time.sleep(1.2)
    ack(api, "ending", late).ok()
    time.sleep(1.5)
    assert pull(api, "ending") == []
    api.post(f"{P}/ending/extend", {"leases": [late["lease"]]}).problem(409)


def test_given_back_and_extended(api):
    make(api, "nacked")
    count(api, "NACK-A")
    first, = pull_until(api, "nacked", lease_s=2)
    assert api.post(f"{P}/nacked/extend", {"leases": [first["lease"]], "lease_s": 60}).ok()
    time.sleep(2.5)
    assert pull(api, "nacked") == [], "it was extended"
    api.post(f"{P}/nacked/nack", {"leases": [first["lease"]]}).ok()
    again, = pull_until(api, "nacked")
    assert again["delivery"] == 2
    api.post(f"{P}/nacked/nack", {"leases": [again["lease"]], "delay_s": 3600}).ok()
    time.sleep(1.5)
    assert pull(api, "nacked") == []


def test_what_is_refused(hub, api):
    make(api, "strict")
    api.post(f"{P}/nobody/pull", {}).problem(404)
    api.post(f"{P}/strict/pull", {"max": 0}).problem(422, ["/max"])
    api.post(f"{P}/strict/pull", {"wait_s": 3600}).problem(422, ["/wait_s"])
    api.post(f"{P}/strict/ack", {"leases": []}).problem(422, ["/leases"])
    for lease in ("x", "1", "1.", "0.0123456789abcdef", "1.0123456789ABCDEF", "99999999.0123456789abcdef"):
        api.post(f"{P}/strict/ack", {"leases": [lease]}).problem(409)
    api.post(f"{P}/strict/ack", {"leases": ["x" * 900]}).problem(409)
    reader = hub.client(key=hub.create_key("pull-reader", "subscriptions:read"))
    reader.post(f"{P}/strict/pull", {}).problem(403)
    worker = hub.client(key=hub.create_key("pull-worker", "subscriptions:pull"))
    assert pull(worker, "strict") == []
    worker.get(f"{P}/strict").problem(403)
    api.post(f"{P}/strict/stop", {}).problem(422, ["/reason"])
    assert api.post(f"{P}/strict/stop", {"reason": "no more"}).ok()["stopped"]["why"] == "person"
    assert "it is stopped (person): no more" in api.post(f"{P}/strict/pull", {}).problem(409)["detail"]
    api.post(f"{P}/strict/start", {}).ok()
    assert pull(worker, "strict") == []


@pytest.mark.parametrize("pulls", [3])
def test_held_after_so_many(binary, tmp_path, pulls):
    from conftest import running
    from hub import Hub
    for hub in running(Hub(binary, tmp_path, {"PENSTOCK_PULL_DELIVERIES_MAX": str(pulls)}).start()):
        api = hub.client()
        make(api, "dead")
        count(api, "DEAD-A")
        for n in range(pulls):
            item, = pull_until(api, "dead")
            assert item["delivery"] == n + 1
            api.post(f"{P}/dead/nack", {"leases": [item["lease"]], "delay_s": 0}).ok()
        count(api, "DEAD-A", 2)
        count(api, "DEAD-B")
        assert subjects(pull_until(api, "dead")) == ["DEAD-B"], "it waits behind what is held"
        held = docs.listed(api, "/ops/held")
        assert [h["subject"] for h in held][:1] == ["DEAD-A@WH-HAM"]
        until(lambda: "delivery.held" in [docs.short(e) for e in docs.events(api)], 10, "the event")
        assert api.post(f"{P}/dead/recover", {}).ok()["recovered"] == 1
        back, = pull_until(api, "dead")
        assert subjects([back]) == ["DEAD-A"] and back["delivery"] == 1
        ack(api, "dead", back).ok()
        behind, = pull_until(api, "dead")
        assert behind["event"]["data"] and subjects([behind]) == ["DEAD-A"]
        ack(api, "dead", behind).ok()


def test_nothing_acknowledged_comes_again_after_a_kill(fresh_hub):
    """Workers pull, acknowledge and forget at random while the hub is killed: in the end each event was
    handed out, none after its acknowledgement was answered, and of a key in order."""
    hub, keys, rounds = fresh_hub, 12, 120
    api = hub.client()
    make(api, "killed")
    for n in range(rounds):
        count(api, f"KILL-{n % keys}", n)
    acked, seen, lock, stop = {}, {}, threading.Lock(), threading.Event()
    wrong = []

    def work(number):
        client, turn = None, 0
        while not stop.is_set():
            try:
                client = client or hub.client()
                answer = client.post(f"{P}/killed/pull", {"max": 5, "lease_s": 2, "wait_s": 1})
                items = answer.json["items"] if answer.status == 200 else []
                for item in items:
                    seq, subject = int(item["event"]["penstockseq"]), item["event"]["subject"]
                    with lock:
                        if seq in acked:
                            wrong.append(f"{seq} came again after its acknowledgement")
                        if any(s > seq for s in acked if seen[s] == subject):
                            wrong.append(f"{seq} came after a later one of its key was done")
                        seen[seq] = subject
                turn += 1
                if turn % 5 == number % 5:
                    continue  # forgotten: the leases end by themselves
                for item in items:
                    answer = client.post(f"{P}/killed/ack", {"leases": [item["lease"]]})
                    if answer.status == 200:
                        with lock:
                            acked[int(item["event"]["penstockseq"])] = True
            except (Gone, OSError, KeyError, AssertionError):
                client = None
                time.sleep(0.05)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            time.sleep(1.0)
            hub.kill()
            hub.start()
        until(lambda: len(acked) == rounds, 60, "all acknowledged")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[:5]
    assert len(seen) == rounds
    api = hub.client()
    hub.restart()
    api = hub.client()
    assert pull(api, "killed", wait_s=1) == []
    assert api.get(f"{P}/killed/progress").ok()["held"] == 0
