"""Calls that need a second person: kept sealed, decided by another, carried out once."""

import json
import random
import sqlite3
import threading
import time

import pytest

import docs
from test_038_audit import lines
from wire import Gone, until

ERASE = "DELETE /v1/customers/{customer_id}"


@pytest.fixture
def guarded(idle_hub):
    """A hub on which an erasure needs two persons."""
    hub = idle_hub
    with open(hub.config / "penstock.yaml", "a") as yaml:
        yaml.write(f'two_persons: ["{ERASE}", "POST /ops/held/{{id}}/discard"]\n')
    hub.start()
    return hub


def person(hub, name, *scopes):
    return hub.client(key=hub.create_key(name, *(scopes or ("*",))))


def buy(hub, customer="C-2"):
    """An order of a customer: its id."""
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("TP", 100)).ok(201)
    order = docs.full_order("TP")
    order["customer"] = {"customer_id": customer, "email": "zwei@example.org", "name": "Zwei Muster"}
    return api.post("/v1/orders", order).ok(201)["order_id"]


def email(hub, order_id):
    return hub.client().get(f"/v1/orders/{order_id}").ok().get("customer", {}).get("email")


def ask(client, customer="C-2"):
    answer = client.delete(f"/v1/customers/{customer}").ok(202)
    assert answer["state"] == "pending" and answer["approval_id"].startswith("apr_")
    return answer["approval_id"]


def test_another_person_must_approve(guarded):
    hub = guarded
    order_id = buy(hub)
    ann, bob = person(hub, "ann"), person(hub, "bob")
    approval = ask(ann)
    assert email(hub, order_id) == "zwei@example.org", "nothing is done before"
    ann.post(f"/ops/approvals/{approval}/approve").problem(403)
    person(hub, "Ann").post(f"/ops/approvals/{approval}/approve").problem(403)
    item = bob.get(f"/ops/approvals/{approval}").ok()
    assert item["requested_by"] == "ann" and item["about"] == "C-2" and item["state"] == "pending"
    done = bob.post(f"/ops/approvals/{approval}/approve", {"reason": "letter"}).ok()
    assert done["state"] == "executed" and done["answer"]["documents"] == 1
    assert email(hub, order_id) is None
    bob.post(f"/ops/approvals/{approval}/approve").problem(409)
    erased = lines(hub.client(), route="customer.erase")
    assert len(erased) == 1
    assert erased[0]["actor"] == f"{ann.key[:15]}+{bob.key[:15]}", "in both names"
    story = [x["action"] for x in lines(hub.client(), about=approval, kind="change")]
    assert story == ["approval.request", "approval.decide", "approval.close"]
    item = bob.get(f"/ops/approvals/{approval}").ok()
    assert item["state"] == "executed" and item["decided_by"] == "bob" and item["reason"] == "letter"


def test_rejected_and_taken_back(guarded):
    hub = guarded
    order_id = buy(hub)
    ann, bob = person(hub, "ann"), person(hub, "bob")
    first, second = ask(ann), ask(ann)
    assert first != second
    bob.post(f"/ops/approvals/{first}/reject", {"reason": "no"}).ok()
    ann.post(f"/ops/approvals/{second}/reject").ok()
    for approval in (first, second):
        bob.post(f"/ops/approvals/{approval}/approve").problem(409)
    assert email(hub, order_id) == "zwei@example.org"
    states = {x["approval_id"]: x["state"] for x in docs.listed(bob, "/ops/approvals")}
    assert states == {first: "rejected", second: "rejected"}


def test_it_survives_restart_and_kill(guarded):
    hub = guarded
    order_id = buy(hub)
    approval = ask(person(hub, "ann"))
    hub.kill()
    hub.start()
    bob = person(hub, "bob")
    assert bob.get(f"/ops/approvals/{approval}").ok()["state"] == "pending"
    hub.restart()
    assert person(hub, "cid").post(f"/ops/approvals/{approval}/approve").ok()["state"] == "executed"
    assert email(hub, order_id) is None
    hub.kill()
    hub.start()
    person(hub, "dan").post(f"/ops/approvals/{approval}/approve").problem(409)


class Cut:
    """Approves on a thread of its own while the read model takes nothing: what was decided is in the
    journal, and the call waits. Then, after a while or at once, kill -9."""

    def __init__(self, hub, client, approval):
        self.hub, self.client, self.approval = hub, client, approval
        self.answer = None

    def approve(self):
        try:
            self.answer = self.client.post(f"/ops/approvals/{self.approval}/approve")
        except Gone:
            pass

    def run(self, before_the_kill=lambda book: None):
        """before_the_kill(book) may let it go on, for a while."""
        book = sqlite3.connect(self.hub.config / "data" / "read.db", isolation_level=None)
        book.execute("BEGIN IMMEDIATE")
        thread = threading.Thread(target=self.approve)
        thread.start()
        until(lambda: docs.events(self.hub.client(), type="approval.decided"), 20, "the decision")
        before_the_kill(book)
        self.hub.kill()
        thread.join()
        book.close()
        self.hub.start()


def test_a_hub_that_dies_between_decision_and_execution(guarded):
    hub = guarded
    order_id = buy(hub)
    ann, bob = person(hub, "ann"), hub.create_key("bob", "*")
    approval = ask(ann)
    cut = Cut(hub, hub.client(key=bob), approval)
    cut.run()
    assert cut.answer is None
    assert not lines(hub.client(), route="customer.erase")
    assert email(hub, order_id) == "zwei@example.org", "not carried out: nobody was told it was"
    bob = hub.client(key=bob)
    item = bob.get(f"/ops/approvals/{approval}").ok()
    assert item["state"] == "approved" and item["decided_by"] == "bob" and not item["done"]
    assert "approve it again" in item["hint"]
    listed = hub.cli("approvals", "list", key=bob.key)
    assert approval in listed.stdout and "approve it again" in listed.stdout
    refused = bob.post(f"/ops/approvals/{approval}/reject").problem(409)["detail"]
    assert "approve it again" in refused
    hub.client(key=ann.key).post(f"/ops/approvals/{approval}/approve").problem(403)
    done = bob.post(f"/ops/approvals/{approval}/approve").ok()
    assert done["state"] == "executed" and done["answer"]["documents"] == 1
    assert email(hub, order_id) is None
    item = bob.get(f"/ops/approvals/{approval}").ok()
    assert item["state"] == "executed" and item["done"] and item["hint"] is None
    assert len(lines(hub.client(), route="customer.erase")) == 1
    bob.post(f"/ops/approvals/{approval}/approve").problem(409)


def test_what_fails_the_second_time_may_have_been_done_the_first(guarded):
    hub = guarded
    approval = ask(person(hub, "ann"), "C-nobody")
    bob = hub.create_key("bob", "*")
    Cut(hub, hub.client(key=bob), approval).run()
    done = hub.client(key=bob).post(f"/ops/approvals/{approval}/approve").ok()
    assert done["state"] == "failed" and "nobody is known" in done["reason"]
    assert "may have been carried out then" in done["reason"]


def version(book):
    return book.execute("PRAGMA data_version").fetchone()


def dies_at(hub, before_the_kill):
    """Whenever it dies: the person is erased once, and the approval ends as executed."""
    order_id = buy(hub)
    ann, bob = person(hub, "ann"), hub.create_key("bob", "*")
    approval = ask(ann)
    Cut(hub, hub.client(key=bob), approval).run(before_the_kill)
    bob = hub.client(key=bob)
    first = bob.get(f"/ops/approvals/{approval}").ok()
    if first["state"] == "approved":
        assert "approve it again" in first["hint"]
        assert bob.post(f"/ops/approvals/{approval}/approve").ok()["state"] == "executed"
    item = bob.get(f"/ops/approvals/{approval}").ok()
    assert item["state"] == "executed" and item["done"]
    assert email(hub, order_id) is None
    assert len(lines(hub.client(), route="customer.erase")) == 1


def test_a_hub_that_dies_between_execution_and_its_record(guarded):
    def erased_and_stuck(book):
        before = version(book)
        book.execute("ROLLBACK")
        deadline = time.monotonic() + 10
        while version(book) == before and time.monotonic() < deadline:
            pass # the decision is in the read model now: the erasure goes on, and waits for it again
        book.execute("BEGIN IMMEDIATE")
        until(lambda: docs.events(guarded.client(), type="customer.erased"), 10, "the erasure")
    dies_at(guarded, erased_and_stuck)


@pytest.mark.parametrize("seed", range(4))
def test_a_hub_that_dies_at_any_moment_of_it(guarded, seed):
    def a_while(book):
        book.execute("ROLLBACK")
        time.sleep(random.Random(seed).uniform(0, 0.04))
    dies_at(guarded, a_while)


def test_nobody_in_time(idle_hub):
    hub = idle_hub
    hub.env["PENSTOCK_APPROVAL_SECONDS"] = "1"
    with open(hub.config / "penstock.yaml", "a") as yaml:
        yaml.write("two_persons: [all]\n")
    hub.start()
    buy(hub)
    approval = ask(person(hub, "ann"))
    time.sleep(1.2)
    bob = person(hub, "bob")
    assert "in time" in bob.post(f"/ops/approvals/{approval}/approve").problem(409)["detail"]
    assert bob.get(f"/ops/approvals/{approval}").ok()["state"] == "expired"


def test_what_fails_is_over_and_says_why(guarded):
    hub = guarded
    approval = ask(person(hub, "ann"), "C-nobody")
    done = person(hub, "bob").post(f"/ops/approvals/{approval}/approve").ok()
    assert done["state"] == "failed" and "nobody is known" in done["reason"]
    person(hub, "cid").post(f"/ops/approvals/{approval}/approve").problem(409)


def test_the_body_is_sealed_and_for_who_may_see_it(guarded):
    hub = guarded
    ann, bob = person(hub, "ann"), person(hub, "bob")
    answer = ann.post("/ops/held/erp-orders:1/discard", {"reason": "Geheimer Grund"})
    approval = answer.ok(202)["approval_id"]
    assert "Geheimer" not in answer.body.decode()
    shown = bob.get(f"/ops/approvals/{approval}").ok()
    assert json.loads(shown["call"]["body"]) == {"reason": "Geheimer Grund"}
    plain = person(hub, "eve", "ops:approve")
    assert "body" not in plain.get(f"/ops/approvals/{approval}").ok()["call"]
    assert bob.post(f"/ops/approvals/{approval}/approve").ok()["state"] == "failed"  # none is held
    hub.stop()
    for path in (hub.config / "data").rglob("*"):
        assert not path.is_file() or b"Geheimer" not in path.read_bytes(), path


def test_scopes_and_configuration(guarded, binary):
    hub = guarded
    buy(hub)
    approval = ask(person(hub, "ann", "customers:erase"))
    person(hub, "nobody", "orders:read").post(f"/ops/approvals/{approval}/approve").problem(403)
    person(hub, "nobody", "orders:read").get("/ops/approvals").problem(403)
    assert person(hub, "boss", "ops:approve").post(
        f"/ops/approvals/{approval}/approve").ok()["state"] == "executed"
    hub.stop()
    text = (hub.config / "penstock.yaml").read_text()
    (hub.config / "penstock.yaml").write_text(text.replace(ERASE, "POST /v1/orders"))
    done = binary.run("serve", "-C", hub.config, "--listen", "127.0.0.1:0")
    assert done.returncode == 1 and "POST /v1/orders" in done.stderr and ERASE in done.stderr


def test_without_the_setting_nothing_waits(idle_hub):
    hub = idle_hub.start()
    order_id = buy(hub)
    hub.client().delete("/v1/customers/C-2").ok(200)
    assert email(hub, order_id) is None


def test_the_commands(guarded):
    hub = guarded
    order_id = buy(hub)
    ann, bob = hub.create_key("ann", "*"), hub.create_key("bob", "*")
    asked = hub.cli("erase", "C-2", key=ann)
    assert asked.returncode == 0 and "another person must approve" in asked.stderr, asked
    listed = hub.cli("approvals", "list", "--json", key=bob)
    approval = json.loads(listed.stdout)["approval_id"]
    assert approval in asked.stderr
    own = hub.cli("approvals", "approve", approval, key=ann)
    assert own.returncode == 1 and "another person" in own.stderr
    done = hub.cli("approvals", "approve", approval, "--reason", "letter", key=bob)
    assert done.returncode == 0 and "executed" in done.stdout, done
    assert email(hub, order_id) is None
    assert approval in hub.cli("approvals", "list", "--all", key=bob).stdout
    assert "nothing waits" in hub.cli("approvals", "list", key=bob).stderr
    assert hub.cli("approvals", "show", approval, key=bob).returncode == 0
    assert hub.cli("approvals", "nonsense", key=bob).returncode == 2
