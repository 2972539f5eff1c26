"""The oracle can fail: a run that kept its word passes, and each way of breaking it is found."""

import copy

import pytest

from oracle import Oracle, View


def order(number, *lines, currency="EUR"):
    lines = [{"sku": sku, "quantity": str(q), "unit_price": 100, "total": 100 * q}
             for sku, q in lines]
    return {"channel": "web-de", "channel_order_id": number, "currency": currency,
            "lines": lines, "totals": {"grand": sum(x["total"] for x in lines)}}


class Honest:
    """A run of a hub that keeps its word, written down by hand."""

    def __init__(self):
        self.oracle = Oracle("t")
        self.events, self.orders, self.erp, self.numbers = [], {}, [], {}
        self.op = {}

    def event(self, kind, op, subject, **data):
        seq = len(self.events) + 1
        data = {name: value for name, value in data.items() if value is not None}
        self.events.append({"type": f"org.penstock.{kind}.v1", "id": f"main-{seq}",
                            "source": "/penstock/main", "subject": subject, "data": data,
                            "penstockseq": seq, "correlationid": op.correlation})

    def did(self, name, kind, body, status=201, answer=None, target=None):
        op = self.op[name] = self.oracle.sending(kind, body, target)
        if status is None:
            self.oracle.lost(op)
        else:
            self.oracle.answered(op, status, answer or {})
        return op

    @staticmethod
    def change(sku="A", **differences):
        return [{"sku": sku, "location": "WH-HAM",
                 **{name: str(value) for name, value in differences.items()}}]

    def capture(self, name, body, status=201, held=0):
        order_id = f"ord_{name}"
        op = self.did(name, "order", body, status, {"order_id": order_id})
        self.event("order.captured", op, order_id, version=1, order=body)
        line = body["lines"][0]
        self.event("stock.reserved", op, "x", changes=self.change(
            line["sku"], committed=line["quantity"], held=held))
        self.orders[order_id] = {**copy.deepcopy(body), "order_id": order_id, "version": 1}
        self.erp.append({"order_id": order_id, "total": body["totals"]["grand"],
                         "currency": body["currency"], "number": f"SO-{name}"})
        self.numbers[order_id] = f"SO-{name}"
        return op

    def run(self):
        stock = {"sku": "A", "location": "WH-HAM"}
        op = self.did("count", "count", {**stock, "on_hand": "10"})
        self.event("stock.counted", op, "A@WH-HAM", changes=self.change(on_hand=10))
        self.capture("a", order("1", ("A", 2)))
        self.did("short", "order", order("2", ("A", 99)), 409)
        self.capture("b", order("3", ("A", 3)), None)  # its answer was lost, it is there
        self.did("gone", "order", order("4", ("A", 1)), None)  # lost, and not there
        op = self.did("cut", "cancel", {"reason": "x", "lines": [{"line_id": "1", "quantity": "1"}]},
                      200, {"version": 2}, "ord_a")
        self.event("order.cancelled", op, "ord_a", version=2)
        self.event("stock.released", op, "x", changes=self.change(committed=-1))
        self.orders["ord_a"]["version"] = 2
        op = self.did("sent", "shipment", {"location": "WH-HAM"}, 200, {"version": 2}, "ord_b")
        self.event("order.shipped", op, "ord_b", version=2)
        self.event("stock.adjusted", op, "x", changes=self.change(committed=-3, on_hand=-3))
        self.orders["ord_b"]["version"] = 2
        op = self.did("hold", "hold", {"sku": "A", "quantity": "4"}, 201, {"reservation_id": "r1"})
        self.event("stock.reserved", op, "A@WH-HAM", changes=self.change(held=4))
        op = self.did("in", "receipt", {**stock, "quantity": "5"})
        self.event("stock.received", op, "A@WH-HAM", changes=self.change(on_hand=5))
        self.oracle.answered(self.op["b"], 200, {"order_id": "ord_b"})  # the retry
        self.availability = {("A", "WH-HAM"): {
            "on_hand": "12", "held": "4", "committed": "1", "reserved": "5", "available": "7"}}
        return self

    def rules(self):
        view = View(self.events, self.availability, self.orders, self.erp, self.numbers)
        return {violation.rule for violation in self.oracle.judge(view)}


@pytest.fixture
def honest():
    return Honest().run()


def test_an_honest_run_passes(honest):
    assert honest.rules() == set()


def test_fates(honest):
    assert [honest.op[n].fate for n in ("a", "short", "gone", "b")] == [
        "acknowledged", "refused", "unknown", "acknowledged"]


def drop_event(honest, op_name):
    op = honest.op[op_name]
    honest.events = [e for e in honest.events if e["correlationid"] != op.correlation]
    for seq, event in enumerate(honest.events, 1):
        event["penstockseq"], event["id"] = seq, f"main-{seq}"


def lose_acknowledged(h):
    drop_event(h, "a")


def lose_acknowledged_receipt(h):
    drop_event(h, "in")


def store_refused(h):
    h.event("order.captured", h.op["short"], "ord_short", version=1,
            order=h.op["short"].body)


def store_trace_of_refused(h):
    h.event("stock.reserved", h.op["short"], "A@WH-HAM")


def double_effect(h):
    h.event("stock.received", h.op["in"], "A@WH-HAM")


def double_order(h):
    h.orders["ord_z"] = {**h.orders["ord_a"], "order_id": "ord_z"}


def invent(h):
    h.orders["ord_z"] = {**h.orders["ord_a"], "channel_order_id": "77", "version": 0}


def leave_hole(h):
    for event in h.events[3:]:
        event["penstockseq"] += 1


def repeat_event_id(h):
    h.events[2]["id"] = h.events[1]["id"]


def answer_otherwise(h):
    h.oracle.answered(h.op["b"], 200, {"order_id": "ord_other"})


def forget_order(h):
    del h.orders["ord_a"]


def drop_line(h):
    h.orders["ord_a"]["lines"] = []


def change_quantity(h):
    h.orders["ord_a"]["lines"][0]["quantity"] = "3"


def skip_version(h):
    event = next(e for e in h.events if e["type"].endswith("order.cancelled.v1"))
    event["data"]["version"] = 3


def fall_behind_version(h):
    h.orders["ord_a"]["version"] = 1


def oversell(h):
    h.capture("big", order("9", ("A", 8)))
    h.availability["A", "WH-HAM"].update(committed="9", reserved="13", available="-1")


def lose_stock(h):
    h.availability["A", "WH-HAM"]["on_hand"] = "11"


def forget_stock(h):
    h.availability.clear()


def leak_commitment(h):
    h.availability["A", "WH-HAM"]["committed"] = "2"


def invent_stock(h):
    h.availability["B", "WH-HAM"] = {"on_hand": "1", "available": "1"}


def miscount_change(h):
    next(e for e in h.events if "changes" in e["data"])["data"]["changes"][0]["on_hand"] = "11"


def erp_missing(h):
    h.erp.pop(0)


def erp_doubled(h):
    h.erp.append({**h.erp[0], "number": "SO-2"})


def erp_total(h):
    h.erp[0]["total"] += 1
    h.erp[1]["total"] -= 1


def erp_money(h):
    h.erp[0]["total"] += 1


def erp_number(h):
    h.numbers["ord_a"] = "SO-other"


def erp_invented(h):
    h.erp.append({**h.erp[0], "order_id": "ord_nobody"})


@pytest.mark.parametrize("break_it,rule", [
    (lose_acknowledged, "acknowledged-lost"), (lose_acknowledged_receipt, "acknowledged-lost"),
    (store_refused, "refused-stored"), (store_trace_of_refused, "refused-stored"),
    (double_effect, "doubled"), (double_order, "doubled"), (invent, "invented"),
    (leave_hole, "hole"), (repeat_event_id, "hole"), (answer_otherwise, "other-answer"),
    (forget_order, "not-whole"), (drop_line, "not-whole"), (change_quantity, "not-whole"),
    (skip_version, "version"), (fall_behind_version, "version"), (oversell, "oversold"),
    (lose_stock, "stock"), (forget_stock, "stock"), (leak_commitment, "stock"),
    (invent_stock, "stock"), (invent_stock, "conserved"), (miscount_change, "conserved"),
    (erp_missing, "erp-missing"), (erp_doubled, "erp-doubled"),
    (erp_total, "erp-total"), (erp_money, "money"), (erp_number, "erp-number"),
    (erp_invented, "erp-invented"),
], ids=lambda x: getattr(x, "__name__", x))
def test_a_broken_word_is_found(honest, break_it, rule):
    break_it(honest)
    assert rule in honest.rules()


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_an_answer_that_leaves_it_open_is_unknown(honest, status):
    op = honest.oracle.sending("order", order("10", ("A", 1)))
    honest.oracle.answered(op, status, {})
    assert op.fate == "unknown" and honest.rules() == set()


def test_a_consumed_hold_is_committed_once():
    h = Honest().run()
    body = order("20", ("A", 4))
    body["lines"][0]["reservation_id"] = "r1"
    h.capture("c", body, held=-4)
    h.availability["A", "WH-HAM"].update(held="0", committed="5")
    assert h.rules() == set()


def test_lines_of_a_bulk_are_told_apart(honest):
    ops = [honest.oracle.sending("order", order(f"b{i}", ("A", 1))) for i in range(3)]
    for op in ops[:2]:
        honest.oracle.lost(op)
    honest.oracle.answered(ops[2], 409, {})
    honest.event("order.captured", ops[2], "ord_b0", version=1, order=ops[0].body)
    honest.orders["ord_b0"] = {**ops[0].body, "version": 1}
    honest.availability["A", "WH-HAM"].update(committed="2", reserved="6", available="6")
    ops[2].correlation = "another"
    rules = honest.rules()
    assert not rules & {"refused-stored", "invented", "doubled", "stock", "oversold"}, rules
    assert "erp-missing" in rules


def test_a_hold_is_honoured_although_stock_was_lost():
    h = Honest().run()
    op = h.did("lost", "adjustment", {"sku": "A", "location": "WH-HAM", "delta": "-11"})
    h.event("stock.adjusted", op, "A@WH-HAM", changes=h.change(on_hand=-11))
    body = order("21", ("A", 4))
    body["lines"][0]["reservation_id"] = "r1"
    h.capture("c", body, held=-4)
    h.availability["A", "WH-HAM"].update(on_hand="1", held="0", committed="5", available="-4")
    assert h.rules() == set()


def test_a_fact_that_is_held_promises_nothing(honest):
    op = honest.oracle.sending("order", order("30", ("A", 99)), fact=True)
    honest.oracle.answered(op, 200, {"payload_id": "p"})
    honest.event("order.captured", op, "ord_f", version=1, state="held", order=op.body)
    honest.event("order.held", op, "ord_f", version=2)
    honest.orders["ord_f"] = {**op.body, "version": 2}
    honest.erp.append({"order_id": "ord_f", "total": 9900, "currency": "EUR", "number": "SO-f"})
    honest.numbers["ord_f"] = "SO-f"
    assert honest.rules() == set()
    honest.availability["A", "WH-HAM"].update(committed="100")
    assert "stock" in honest.rules()


def test_a_release_gives_back():
    h = Honest().run()
    op = h.did("release", "release", {}, 200, {}, "r1")
    h.event("stock.released", op, "A@WH-HAM", changes=h.change(held=-4))
    h.availability["A", "WH-HAM"].update(held="0", reserved="1", available="11")
    assert h.rules() == set()


# --- what is counted ------------------------------------------------------------------------------

def ledger(**parts):
    return {"subscription": "erp-orders", "events": ["order.*"], "taken": 4, "delivered": 2,
            "discarded": 1, "superseded": 0, "listed": 1, "waiting": 0, **parts}


def counted(honest, **parts):
    view = View(honest.events, honest.availability, honest.orders, honest.erp, honest.numbers,
                ledgers=[ledger(**parts)])
    return {violation.rule for violation in honest.oracle.judge(view)}


@pytest.mark.parametrize("parts", [
    {}, {"superseded": 3, "taken": 7}, {"from": 0, "to": 9, "before": 0}, {"from": 2, "to": 9, "before": 1},
    {"from": 0, "to": 9, "before": 1, "again": 1}])
def test_what_came_in_is_somewhere(honest, parts):
    assert counted(honest, **parts) == set()


@pytest.mark.parametrize("parts", [
    {"taken": 5}, {"delivered": 3}, {"listed": 0}, {"superseded": 1}, {"waiting": 1}, {"discarded": 0},
    {"from": 0, "to": 9, "before": 1}, {"from": 3, "to": 9, "before": 0}, {"from": 0, "to": 3, "before": 0}])
def test_what_came_in_and_is_nowhere_is_found(honest, parts):
    assert counted(honest, **parts) == {"conservation"}


# --- what was given up ----------------------------------------------------------------------------

def given_up(honest, asked, *later, replay=False, decided=()):
    """The effect of an event at the CRM, asked for at seq `asked`; discarded at seq 9, behind which
    `later` happened; persons were answered `decided`: (action, seq of the journal)."""
    seq = len(honest.events) + 1
    for kind, data in (("delivery.released", {"action": "discard"}), *later):
        honest.event(kind, honest.op["count"], "ord_a", subscription="crm", event_seq=2, **data)
    view = View(honest.events, honest.availability, honest.orders, honest.erp, honest.numbers)
    view.effects = [{"subscription": "crm", "seq": 2, "lane": "a", "asked": seq + asked,
                     "replay": replay}]
    view.decided = [{"subscription": "crm", "seq": 2, "action": action, "at": seq + at}
                    for action, at in decided]
    return {violation.rule for violation in honest.oracle.judge(view)}


def test_what_was_discarded_may_have_been_sent_before(honest):
    assert given_up(honest, -1) == set()


def test_what_was_discarded_is_not_sent(honest):
    assert given_up(honest, 3) == {"discarded-sent"}


def test_what_was_discarded_may_be_asked_for_once_more(honest):
    assert given_up(honest, 3, replay=True) == set()


def test_what_a_crash_made_held_again_may_be_sent(honest):
    assert given_up(honest, 3, ("delivery.held", {})) == set()


def test_what_nobody_was_answered_to_be_given_up_may_be_retried(honest):
    assert given_up(honest, 3, decided=[("retry", 1)]) == set()


@pytest.mark.parametrize("decided", [
    [("discard", 0)], [("discard", 0), ("retry", 1)], [("retry", -1)], [("retry", 4)]])
def test_what_was_answered_to_be_given_up_is_not_sent(honest, decided):
    """Nor is it where the retry was before it was given up, or after it was sent."""
    assert given_up(honest, 3, decided=decided) == {"discarded-sent"}


# --- where the newest value counts ------------------------------------------------------------------

def told(honest, *values):
    """The shelf was told these (version, available) of the only position, of which 7 are available."""
    view = View(honest.events, honest.availability, honest.orders, honest.erp, honest.numbers)
    view.sets = [{"subscription": "shelf", "lane": "A@WH-HAM", "version": version, "available": str(available)}
                 for version, available in values]
    view.quiet_us = 2_000_000_000_000_000
    return {violation.rule for violation in honest.oracle.judge(view)} & {"value-back", "value-stale"}


@pytest.mark.parametrize("values,rules", [
    ([(1, 3), (4, 7)], set()), ([(1, 3), (4, 7), (4, 7)], set()), ([(4, 7), (1, 3)], {"value-back", "value-stale"}),
    ([(4, 7), (3, 7)], {"value-back"}), ([(1, 3)], {"value-stale"})])
def test_the_newest_value_is_told_last(honest, values, rules):
    assert told(honest, *values) == rules


# --- what systems are asked -----------------------------------------------------------------------

ACCOUNT = {"name": "erp", "calls": 10, "per_ms": 1000, "burst": 2, "concurrency": 2, "quota": 0, "after": 2}


class Calls:
    """Calls to one endpoint of one account, by a clock in hundredths of a second."""

    def __init__(self, **account):
        self.lines = [{"account": {**ACCOUNT, **account}}]
        self.count = 0

    def call(self, at, end=None, until=None, pause_ms=0):
        self.count += 1
        self.lines.append({"call": {"id": self.count, "account": "erp", "endpoint": "http://erp",
                                    "at_us": at * 10000, "wall_us": at * 10000}})
        return self.end(self.count, at if until is None else until, end, pause_ms) if end else self

    def end(self, number, at, end, pause_ms=0):
        self.lines.append({"ended": {"id": number, "at_us": at * 10000, "end": end, "pause_ms": pause_ms}})
        return self

    def say(self, what, at=0):
        self.lines.append({what: {"at_us": at * 10000}})
        return self

    def judged(self, honest, *told, quiet=False):
        for breaker in told:
            honest.event(f"endpoint.{breaker}", honest.op["count"], "erp", connector="erp", endpoint="http://erp")
        view = View(honest.events, honest.availability, honest.orders, honest.erp, honest.numbers)
        view.calls = self.lines
        view.quiet_us = 10**15 if quiet else None
        return {violation.rule for violation in honest.oracle.judge(view)} - {"undelivered", "timer"}


def test_a_rate_and_a_burst_are_kept(honest):
    calls = Calls().call(0, "good").call(0, "good").call(10, "good").call(20, "good").call(90, "good").call(90, "good")
    assert calls.judged(honest) == set()


@pytest.mark.parametrize("at", [(0, 0, 0), (0, 0, 5), (0, 9, 10, 19), (0, 0, 10, 20, 29)])
def test_a_call_too_many_is_found(honest, at):
    calls = Calls()
    for one in at:
        calls.call(one, "good")
    assert calls.judged(honest) == {"account-rate"}


def test_a_start_begins_with_one_call(honest):
    calls = Calls().call(0, "good").call(0, "good").say("life", 1).call(1, "good")
    assert calls.judged(honest) == set()
    assert calls.call(1, "good").judged(honest) == {"account-rate"}


def test_calls_at_once(honest):
    assert Calls().call(0).call(20).end(1, 30, "good").call(40).judged(honest) == set()
    assert Calls().call(0).call(20).call(40).judged(honest) == {"account-concurrency"}
    assert Calls().call(0).call(20).say("life", 30).call(40).call(50).judged(honest) == set()


def test_a_days_calls(honest):
    calls = Calls(quota=2).call(0, "good").call(100, "good")
    assert calls.judged(honest) == set()
    calls.say("life", 150).call(200, "good")
    assert calls.judged(honest) == {"account-quota"}


def test_a_pause_that_was_asked_for(honest):
    assert Calls().call(0, "good", 10, 1000).call(110, "good").judged(honest) == set()
    assert Calls().call(0, "good", 10, 1000).call(105, "good").judged(honest) == {"account-paused"}


def away(*ends):
    calls = Calls(calls=0, concurrency=0)
    for i, end in enumerate(ends):
        calls.call(i, end)
    return calls


def test_who_does_not_answer_is_called_by_one_at_a_time(honest):
    assert away("bad", "bad", "bad", "bad").call(9).judged(honest) == set()
    assert away("bad").call(9).call(9).judged(honest) == set()
    assert away("bad", "bad", "good").call(9).call(9).judged(honest) == set()
    assert away("bad", "bad").call(9).call(9).judged(honest) == {"probe-alone"}
    assert away("bad", "bad", "bad").call(9).end(4, 10, "nothing").call(11).call(12).judged(honest) == {
        "probe-alone"}


def test_that_outlives_a_crash_where_it_was_noted(honest):
    assert away("bad", "bad").say("life", 5).call(9).call(9).judged(honest) == set()
    assert away("bad", "bad").say("noted").say("life", 5).call(9).call(9).judged(honest) == {"probe-alone"}
    assert away("bad", "bad").say("noted").say("life", 5).call(9, "good").call(10).call(10).judged(
        honest) == set()


@pytest.mark.parametrize("told, fine", [
    (["opened", "closed"], True), (["opened"], False), (["opened", "opened"], False), (["closed"], False),
    (["opened", "closed", "opened"], False)])
def test_the_journal_knows_who_does_not_answer(honest, told, fine):
    found = away("bad", "bad", "good").judged(honest, *told, quiet=True)
    assert ("breaker-told" in found) != fine


# --- subscriptions that stop themselves -----------------------------------------------------------

def refused(honest, *happened, decided=()):
    """At most two in a row; `happened`: the seq of one that was refused, or what else."""
    view = View(honest.events, honest.availability, honest.orders, honest.erp, honest.numbers)
    view.stops = [{"bad": {"subscription": "crm", "at_most": 2}}]
    for one in happened:
        kind = one if isinstance(one, str) else "refused"
        view.stops.append({kind: {"subscription": "crm", "at_us": 0, **({} if isinstance(one, str) else {"seq": one})}})
    view.effects = []
    view.decided = [{"subscription": "crm", "seq": seq, "action": "retry", "at": 1} for seq in decided]
    return {violation.rule for violation in honest.oracle.judge(view)}


@pytest.mark.parametrize("happened, decided", [
    ([1, 2], ()), ([1, 2, 1, 2], ()), ([1, 2, "found", 3, 4], ()), ([1, 2, "started", 3, 4], ()),
    ([1, 2, "life", 3, 4], ()), ([1, 2, "well", 3, 4], ()), ([1, 2, 3], (3,))])
def test_a_few_may_be_refused_until_it_stops(honest, happened, decided):
    assert refused(honest, *happened, decided=decided) == set()


@pytest.mark.parametrize("happened", [[1, 2, 3], [1, "started", 2, 3, 4], [1, "life", 2, 3, 4]])
def test_who_goes_on_all_the_same_is_found(honest, happened):
    assert refused(honest, *happened) == {"stopped-late"}


def stands_still(honest, asked, start=False):
    seq = len(honest.events) + 1
    honest.event("subscription.stopped", honest.op["count"], "crm", subscription="crm")
    if start:
        honest.event("subscription.started", honest.op["count"], "crm", subscription="crm")
    view = View(honest.events, honest.availability, honest.orders, honest.erp, honest.numbers)
    view.at_once = 1
    view.effects = [{"subscription": "crm", "seq": 1 + i, "lane": str(i), "asked": seq + at}
                    for i, at in enumerate(asked)]
    return {violation.rule for violation in honest.oracle.judge(view)}


def test_what_stands_still_does_no_more_than_was_under_way(honest):
    assert stands_still(honest, [-1, -1, 0]) == set()
    assert stands_still(honest, [0, 1]) == {"stopped-sent"}


def test_what_was_started_goes_on(honest):
    assert stands_still(honest, [0, 1, 1, 1], start=True) == set()


# --- who fetches ----------------------------------------------------------------------------------

def fetched(honest, *happened, quiet=True):
    """Three events of two keys: 1 and 3 of "a", 2 of "b"; `happened`: (what, which)."""
    base = len(honest.events)
    for subject in ("a", "b", "a"):
        honest.event("test.happened", honest.op["count"], subject)
    view = View(honest.events, honest.availability, honest.orders, honest.erp, honest.numbers)
    view.fetches = [{"fetcher": {"name": "f:1", "events": ["test.*"], "after": base}}]
    for what, which in happened:
        view.fetches.append({what: {"seq": base + which, "lane": "b" if which == 2 else "a"}})
    view.quiet_us = 10**15 if quiet else None
    return {rule for rule in (one.rule for one in honest.oracle.judge(view)) if rule.startswith("fetch")}


def handled(which):
    return [("fetched", which), ("fetch_done", which), ("fetch_acked", which)]


def test_who_fetches_may_see_a_thing_twice_until_it_says_so(honest):
    assert fetched(honest, ("fetched", 1), ("fetched", 2), *handled(1), *handled(3), *handled(2)) == set()


def test_what_was_never_done_is_lost(honest):
    assert fetched(honest, *handled(1), *handled(3), ("fetched", 2)) == {"fetch-lost"}
    assert fetched(honest, *handled(1), ("fetched", 2), quiet=False) == set()


def test_what_was_acknowledged_does_not_come_again(honest):
    assert fetched(honest, *handled(1), ("fetched", 1), *handled(2), *handled(3)) == {"fetch-again"}


def test_of_a_key_one_comes_after_the_other(honest):
    assert fetched(honest, ("fetched", 1), *handled(3), *handled(1), *handled(2)) == {"fetch-order"}


def test_nothing_else_is_handed_out(honest):
    assert fetched(honest, ("fetched", 0), *handled(1), *handled(2), *handled(3)) == {"fetch-invented"}


# --- what goes through a broker -------------------------------------------------------------------

def streamed(honest, *happened, quiet=True):
    """Three stored messages, 1 and 3 of key "a", 2 of "b"; "taken 1": it is in the hub, "case 1": a person was told
    of it, "acked 1": it was acknowledged."""
    streams = [{"stored": {"stream": "shop/orders", "place": f"IN:{n}", "id": "" if n == 2 else f"m{n}",
                           "key": "b" if n == 2 else "a"}} for n in (1, 2, 3)]
    for what, number in (one.split() for one in happened):
        op = honest.op["count"]
        if what == "taken":
            name = "IN:2:89abcdef" if number == "2" else f"m{number}"
            honest.event("payload.received", op, "x", connector="shop", topic="orders", dedup_id=name)
        elif what == "case":
            honest.event("exception.raised", op, "exc_1")
            honest.events[-1]["data"]["subject"] = f"IN:{number}"
        else:
            streams.append({"consumed": {"stream": "shop/orders", "place": f"IN:{number}",
                                         "durable": len(honest.events)}})
    view = View(honest.events, honest.availability, honest.orders, honest.erp, honest.numbers)
    view.streams = streams
    view.quiet_us = 10**15 if quiet else None
    return {rule for rule in (one.rule for one in honest.oracle.judge(view)) if rule.startswith("stream")}


def test_each_message_is_there_once_before_it_is_acknowledged(honest):
    assert streamed(honest, "taken 2", "taken 1", "acked 1", "acked 2", "taken 3", "acked 3", "acked 3") == set()


def test_a_case_that_names_its_place_stands_for_a_message(honest):
    assert streamed(honest, "taken 2", "taken 3", "case 1", "acked 1", "acked 2", "acked 3") == set()


def test_what_is_acknowledged_too_early_may_be_lost(honest):
    assert streamed(honest, "taken 1", "taken 2", "acked 1", "acked 2", "acked 3", "taken 3") == {"stream-lost"}


def test_what_was_acknowledged_and_is_nowhere_is_lost(honest):
    assert streamed(honest, "taken 1", "taken 2", "acked 1", "acked 2", "acked 3") == {"stream-lost"}


def test_every_message_is_read_in_the_end(honest):
    assert streamed(honest, "taken 1", "acked 1", "taken 2", "taken 3", "acked 3") == {"stream-unread"}


def test_a_hub_that_still_reads_owes_nothing_yet(honest):
    assert streamed(honest, "taken 1", "acked 1", quiet=False) == set()


def test_no_message_goes_in_twice(honest):
    assert streamed(honest, "taken 1", "taken 2", "taken 2", "taken 3", "acked 1", "acked 2",
                    "acked 3") == {"stream-twice"}


def test_messages_of_a_key_go_in_in_order(honest):
    assert streamed(honest, "taken 3", "taken 2", "taken 1", "acked 1", "acked 2", "acked 3") == {"stream-order"}


def test_no_message_comes_from_nowhere(honest):
    assert streamed(honest, "taken 1", "taken 2", "taken 3", "taken 4", "acked 1", "acked 2",
                    "acked 3") == {"stream-invented"}


def logged(honest, *seqs, replayed=()):
    """A broker's log of three events of one subject, in this order."""
    base = len(honest.events)
    for _ in range(3):
        honest.event("test.happened", honest.op["count"], "a")
    view = View(honest.events, honest.availability, honest.orders, honest.erp, honest.numbers)
    view.streams = [{"logged": {"subscription": "to-broker", "seq": base + seq, "lane": "out.a", "id": f"main-{seq}",
                                "replay": seq in replayed}} for seq in seqs]
    view.quiet_us = 10**15
    return {one.rule for one in honest.oracle.judge(view)}


def test_a_log_has_each_message_once_and_in_order(honest):
    assert logged(honest, 1, 2, 3) == set()


def test_a_message_in_the_log_twice_is_found(honest):
    assert logged(honest, 1, 2, 2, 3) == {"log-twice", "effect-doubled"}


def test_a_log_out_of_order_is_found(honest):
    assert logged(honest, 2, 1, 3) == {"log-order", "lane-order"}


def test_a_replayed_one_has_its_place_where_it_is(honest):
    assert logged(honest, 2, 3, 1, replayed=(1,)) == set()


def test_what_is_not_in_the_log_is_missed(honest):
    assert logged(honest, 1, 2) == {"undelivered"}
