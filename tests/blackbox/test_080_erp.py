"""Out to the books: each order once, whatever the ERP does: slow, failing, silent after it has
done the work, down and back. The hub never waits for it, and knows its number afterwards."""

import json
import threading
import time

import pytest

import books
import docs
from conftest import running
from hub import Erp, Hub
from wire import until


def posted(hub, order_id=None):
    more = {"key": order_id} if order_id else {}
    events = docs.events(hub.client(), type="posting.posted", **more)
    return {e["data"]["order_id"]: e["data"]["reference"] for e in events
            if e["data"]["subscription"] == "ledger-orders"}


def settled(hub, ids, timeout_s=30):
    until(lambda: set(ids) <= set(posted(hub)), timeout_s * hub.binary.patience,
          f"{len(ids)} orders posted")


def check(hub, ledger, ids):
    """Each once, and the hub knows the number."""
    assert sorted(ledger.ids()) == sorted(ids)
    known = posted(hub)
    assert {row["order_id"]: row["number"] for row in ledger.book} == known


def test_an_order_is_posted_once(posting_hub, ledger):
    ids = docs.captured(posting_hub, 50)
    settled(posting_hub, ids)
    check(posting_hub, ledger, ids)
    doc = ledger.book[0]["doc"]
    assert doc["order"]["totals"]["grand"] == 1999


def test_only_what_is_captured_is_posted(posting_hub, ledger):
    api = posting_hub.client()
    api.post("/v1/orders", docs.order(("ERP", 10 ** 7))).problem(409)
    ids = docs.captured(posting_hub)
    api.post(f"/v1/orders/{ids[0]}/cancel", {"reason": "x"}).ok()
    settled(posting_hub, ids)
    check(posting_hub, ledger, ids)


def test_the_hub_does_not_wait_for_a_slow_erp(posting_hub, ledger):
    ledger.script += ["slow"] * 8
    took = []
    for _ in range(20):
        began = time.monotonic()
        posting_hub.client().post("/v1/orders", docs.order(("ERP", 1))).ok(201)
        took.append(time.monotonic() - began)
    assert max(took) < 1.0 * posting_hub.binary.patience
    settled(posting_hub, [e["subject"] for e in docs.events(
        posting_hub.client(), type="order.captured")])
    assert len(ledger.ids()) == len(set(ledger.ids())) == 20


@pytest.mark.parametrize("fault", [503, 500, 429, "drop"])
def test_failures_are_retried(posting_hub, ledger, fault):
    ledger.script += [fault] * 6
    ids = docs.captured(posting_hub, 3)
    settled(posting_hub, ids)
    check(posting_hub, ledger, ids)
    assert len(ledger.calls) >= 9


@pytest.mark.parametrize("fault", ["lost", "late"])
def test_after_an_ambiguous_end_it_looks_before_it_posts_again(posting_hub, ledger, fault):
    """The work was done, the answer did not come: looked up, not posted twice."""
    ledger.script += [fault] * 4
    ids = docs.captured(posting_hub, 6)
    settled(posting_hub, ids)
    check(posting_hub, ledger, ids)
    assert ledger.lookups


def test_an_answer_that_can_not_be_read_is_looked_up(posting_hub, ledger):
    ledger.script += ["nonsense"]
    ids = docs.captured(posting_hub, 2)
    settled(posting_hub, ids)
    check(posting_hub, ledger, ids)


def test_a_success_that_is_none_is_held(posting_hub, ledger):
    """200 without a number, and the look-up finds nothing: a person must look; nothing is sent
    again on a guess."""
    ledger.script += ["hollow"]
    ids = docs.captured(posting_hub)
    held = until(lambda: docs.events(posting_hub.client(), type="delivery.held"), 20, "held")
    assert held[0]["data"]["subject"] == ids[0]
    assert ledger.ids() == [] and len(ledger.calls) == 1


def test_an_outage_and_its_end(posting_hub, ledger):
    before = docs.captured(posting_hub, 5)
    settled(posting_hub, before)
    ledger.down = True
    during = docs.captured(posting_hub, 100)
    until(lambda: len(ledger.calls) > 6, 10, "an attempt during the outage")
    threading.Event().wait(0.5)  # how long the outage lasts
    assert set(ledger.ids()) == set(before)
    calls = len(ledger.calls)
    assert calls < 2000, "an ERP that is down is hammered"
    ledger.down = False
    settled(posting_hub, before + during)
    check(posting_hub, ledger, before + during)


def test_down_over_a_restart(posting_hub, ledger):
    ledger.down = True
    ids = docs.captured(posting_hub, 20)
    posting_hub.restart()
    ledger.down = False
    settled(posting_hub, ids)
    check(posting_hub, ledger, ids)


def test_killed_between_the_work_and_its_answer(posting_hub, ledger):
    """The ERP has booked, the hub dies before it hears so: looked up after the restart."""
    ledger.late_s = 5.0
    ledger.script += ["late"] * 4
    ids = docs.captured(posting_hub, 4)
    until(lambda: len(ledger.book) == 4, 20, "booked")
    posting_hub.kill()
    posting_hub.start()
    settled(posting_hub, ids)
    check(posting_hub, ledger, ids)


def test_a_final_failure_is_held_and_stops_nothing_else(posting_hub, ledger):
    first = docs.captured(posting_hub)[0]
    settled(posting_hub, [first])
    ledger.script += [422]
    bad = docs.captured(posting_hub)[0]
    held = until(lambda: docs.events(posting_hub.client(), type="delivery.held"), 20, "held")
    assert held[0]["data"]["subject"] == bad and held[0]["data"]["status"] == 422
    assert "told to answer 422" in held[0]["data"]["cause"]
    others = docs.captured(posting_hub, 10)
    settled(posting_hub, others)
    assert bad not in ledger.ids()
    posting_hub.restart()
    more = docs.captured(posting_hub, 3)
    settled(posting_hub, more)
    assert bad not in ledger.ids() and len(docs.events(
        posting_hub.client(), type="delivery.held")) == 1
    check(posting_hub, ledger, [first, *others, *more])


def test_an_order_is_never_under_way_twice_and_concurrency_binds(posting_hub, ledger):
    ledger.late_s = 0.02
    ledger.script += ["late"] * 60
    ids = docs.captured(posting_hub, 60)
    settled(posting_hub, ids)
    assert ledger.per_order == 1
    assert 1 < ledger.together <= 4


def test_trace_by_the_erps_number(posting_hub, ledger):
    ids = docs.captured(posting_hub)
    settled(posting_hub, ids)
    number = ledger.book[0]["number"]

    def told():
        done = posting_hub.cli("trace", number, "--json")
        return done.stdout if done.returncode == 0 and ids[0] in done.stdout else None
    out = until(told, 10, "the story by the ERP's number")
    assert "order.captured" in out and "posting.posted" in out


# --- the shipped connector and the sandbox -------------------------------------------------------

def test_the_sandbox_books_what_the_shipped_connector_sends(binary, tmp_path):
    for erp in running(Erp(binary, tmp_path / "erp")):
        for hub in running(Hub(binary, tmp_path / "hub", books.env(erp)).start()):
            api = hub.client()
            api.post("/v1/stock/counts", docs.count("ERP", 1000)).ok(201)
            made = {}
            for i in range(30):
                doc = docs.order(docs.line("ERP", 1, 100 + i))
                made[api.post("/v1/orders", doc).ok(201)["order_id"]] = 100 + i
            until(lambda: len(books.rows(erp)) == 30, 30 * binary.patience, "30 orders booked")
            assert {r["order_id"]: r["total"] for r in books.rows(erp)} == made
            until(lambda: len(books.numbers(api)) == 30, 10 * binary.patience, "numbers known")
            assert books.numbers(api) == {r["order_id"]: r["number"] for r in books.rows(erp)}


def test_the_sandbox_misbehaves_and_nothing_is_lost_or_doubled(binary, tmp_path):
    for erp in running(Erp(binary, tmp_path / "erp", *books.MISBEHAVE)):
        for hub in running(Hub(binary, tmp_path / "hub", books.env(erp)).start()):
            api = hub.client()
            api.post("/v1/stock/counts", docs.count("ERP", 1000)).ok(201)
            lines = api.bulk("/v1/orders", [docs.order(("ERP", 1)) for _ in range(40)]).lines
            ids = sorted(x["answer"]["order_id"] for x in lines)
            until(lambda: len(books.rows(erp)) >= 40, 60 * binary.patience, "all booked")
            until(lambda: len(books.numbers(api)) >= 40, 30 * binary.patience, "numbers known")
            assert sorted(r["order_id"] for r in books.rows(erp)) == ids
            assert json.dumps(sorted(books.numbers(api))) == json.dumps(ids)
