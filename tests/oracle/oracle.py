"""oracle: says whether a hub kept its word.

It is told every request before it is sent and every answer that came back, and is then shown what
the hub (and the ERP behind it) hold. It keeps a model of its own, from the requests alone: of the
hub's events it believes only which request took effect, and in which order.

How a request is tied to its effect: every request has a correlation id of its own, which retries
keep; the events of a command carry it. A command that took effect once has exactly one *primary*
event (PRIMARY below) under that id. Orders are tied by their natural key instead, because the
lines of a bulk share one correlation id.

Holds always: judging changes nothing; a run can be judged at any quiet moment, several times.

Rules, by the name a Violation carries:
  hole                 seq starts at 1 and has no holes; event ids are unique
  acknowledged-lost    what was acknowledged has its event
  doubled              nothing took effect twice, no natural key names two orders
  refused-stored       what was refused left no event
  invented             no order came from nowhere
  other-answer         every acknowledgement of one request names the same thing
  not-whole            an order is there with all its lines and its sum, or not at all
  version              an order's events count its versions 1, 2, 3 … in order of seq
  oversold             no request was promised stock that was not there
  stock                availability equals the model: on hand, held, committed, available
  conserved            availability equals the sum of all changes that stock events tell
  erp-missing, erp-doubled, erp-invented, erp-total, erp-number
                       the ERP has each order once, with its sum; the hub knows its number
  money                all the hub captured equals all the ERP booked, per currency
"""

import itertools
import threading
from collections import Counter, defaultdict
from decimal import Decimal

PRIMARY = {
    "order": "order.captured",
    "cancel": "order.cancelled",
    "shipment": "order.shipped",
    "count": "stock.counted",
    "adjustment": "stock.adjusted",
    "receipt": "stock.received",
    "hold": "stock.reserved",
    "release": "stock.released",
}

ACKNOWLEDGED, REFUSED, UNKNOWN = "acknowledged", "refused", "unknown"


class Violation(str):
    """What was found, in words; `rule` is its name."""

    def __new__(cls, rule, text):
        made = super().__new__(cls, f"{rule}: {text}")
        made.rule = rule
        return made


class Op:
    """One request and all attempts at it."""

    def __init__(self, number, run, kind, body, target, fact):
        self.kind, self.body, self.target, self.fact = kind, body, target, fact
        self.raw = None  # a fact's payload in its partner's words, where it has one
        self.correlation = f"{run}-c{number}"
        self.key = f"{run}-k{number}"
        self.attempts = []  # (status or None, document or None)

    @property
    def headers(self):
        return {"Idempotency-Key": self.key, "Penstock-Correlation-Id": self.correlation}

    @property
    def fate(self):
        """By the last attempt: an earlier one that took effect would have been replayed."""
        if not self.attempts or self.attempts[-1][0] is None:
            return UNKNOWN
        return ACKNOWLEDGED if self.attempts[-1][0] < 300 else REFUSED

    @property
    def answers(self):
        return [doc for status, doc in self.attempts if status is not None and status < 300]

    def __repr__(self):
        return (f"{self.kind} {self.correlation} {self.target or ''} {self.body} "
                f"attempts {self.attempts}")


class View:
    """What a hub holds, as `observe` reads it through the API.

    events: CloudEvents in order of seq. availability: {(sku, location): item}. orders: {order_id:
    document}. erp: None, or [{"order_id", "total", "currency", "number"}]. numbers: {order_id:
    the ERP's number as the hub knows it}."""

    def __init__(self, events, availability, orders, erp=None, numbers=None):
        self.events, self.availability, self.orders = events, availability, orders
        self.erp, self.numbers = erp, numbers or {}


def event_kind(event):
    return event["type"].removeprefix("org.penstock.").removesuffix(".v1")


def natural_key(order):
    return order["channel"], order["channel_order_id"]


def event_seq(event):
    return int(event["penstockseq"])


class Oracle:
    """`source`: the location that orders and holds are taken from."""

    def __init__(self, run, source="WH-HAM"):
        self.run, self.source = run, source
        self.ops = []
        self.seq_acknowledged = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    # --- being told ---------------------------------------------------------------------------

    def sending(self, kind, body, target=None, fact=False):
        """Before the first attempt. `target`: the order or hold it is about. A fact is not refused
        for stock; it is acknowledged when it is stored, and takes effect by and by."""
        assert kind in PRIMARY
        with self._lock:
            op = Op(next(self._numbers), self.run, kind, body, target, fact)
            self.ops.append(op)
        return op

    def answered(self, op, status, document, seq=None):
        """An answer came: 2xx acknowledges, 4xx refuses; 429 and 5xx say nothing for sure."""
        certain = status < 300 or 400 <= status < 500 and status not in (408, 425, 429)
        op.attempts.append((status, document) if certain else (None, None))
        if seq is not None and status < 300:
            with self._lock:
                self.seq_acknowledged = max(self.seq_acknowledged, seq)

    def lost(self, op):
        """The connection ended before an answer came."""
        op.attempts.append((None, None))

    def unknown(self):
        return [op for op in self.ops if op.fate == UNKNOWN]

    def counts(self):
        return Counter((op.kind, op.fate) for op in self.ops)

    # --- judging ------------------------------------------------------------------------------

    def judge(self, view, limit=50):
        """All violations found, at most `limit` of each rule."""
        found = []
        effects = self._effects(view.events)
        found += self._judge_feed(view.events)
        found += self._judge_fates(view.events, effects)
        found += self._judge_orders(view, effects)
        found += self._judge_versions(view)
        found += self._judge_stock(view, effects)
        found += self._judge_conserved(view)
        if view.erp is not None:
            found += self._judge_erp(view)
        kept, seen = [], Counter()
        for violation in found:
            seen[violation.rule] += 1
            if seen[violation.rule] <= limit:
                kept.append(violation)
        return kept

    def _effects(self, events):
        """{op: [its primary events]}"""
        by_correlation = {op.correlation: op for op in self.ops if op.kind != "order"}
        by_name = {natural_key(op.body): op for op in self.ops if op.kind == "order"}
        effects = defaultdict(list)
        for event in events:
            if event_kind(event) == PRIMARY["order"]:
                op = by_name.get(natural_key(event["data"]["order"]))
            else:
                op = by_correlation.get(event.get("correlationid"))
            if op is not None and event_kind(event) == PRIMARY[op.kind]:
                effects[op].append(event)
        return effects

    @staticmethod
    def _judge_feed(events):
        for expected, event in enumerate(events, 1):
            if event_seq(event) != expected:
                yield Violation("hole", f"seq {event_seq(event)} where {expected} was due")
                break
        for identity, n in Counter((e["source"], e["id"]) for e in events).items():
            if n > 1:
                yield Violation("hole", f"event id {identity} {n} times")

    def _judge_fates(self, events, effects):
        touched = Counter(e.get("correlationid") for e in events)
        for op in self.ops:
            n = len(effects[op])
            if n > 1:
                yield Violation("doubled", f"{n} effects of {op}")
            if op.fate == ACKNOWLEDGED and n == 0:
                yield Violation("acknowledged-lost", repr(op))
            if op.fate == REFUSED and (n or touched[op.correlation]):
                yield Violation("refused-stored", repr(op))
            if any(answer != op.answers[0] for answer in op.answers[1:]):
                yield Violation("other-answer", repr(op))

    def _judge_orders(self, view, effects):
        ours = {}
        for op in self.ops:
            for event in effects[op] if op.kind == "order" else ():
                ours[event["subject"]] = op
        names = Counter()
        for event in view.events:
            if event_kind(event) != "order.captured":
                continue
            if event["subject"] not in ours:
                yield Violation("invented", f"order {event['subject']} at {event_seq(event)}")
        for order_id, order in view.orders.items():
            names[natural_key(order)] += 1
            if order_id not in ours:
                yield Violation("invented", f"order {order_id} in the list")
        for name, n in names.items():
            if n > 1:
                yield Violation("doubled", f"{n} orders are called {name}")
        for order_id, op in ours.items():
            if order_id not in view.orders:
                yield Violation("not-whole", f"{order_id} has its event but is not there: {op}")
            elif not same_order(op.body, view.orders[order_id]):
                yield Violation("not-whole", f"{order_id}: {view.orders[order_id]} for {op}")
            for answer in () if op.fact else op.answers:
                if answer["order_id"] != order_id:
                    yield Violation("other-answer", f"{order_id} for {op}")

    @staticmethod
    def _judge_versions(view):
        reached = Counter()
        for event in view.events:
            if not event_kind(event).startswith("order."):
                continue
            order_id = event["subject"]
            version = event["data"].get("version")
            if event_kind(event) == "order.captured" and version is None:
                version = 1
            if event_kind(event) == "order.held" and version == reached[order_id] == 1:
                continue  # held as it was captured: one change, two events
            if version != reached[order_id] + 1:
                yield Violation("version", f"{order_id} went from {reached[order_id]} to {version} "
                                           f"at seq {event_seq(event)}")
            reached[order_id] = version
        for order_id, order in view.orders.items():
            if reached[order_id] != order["version"]:
                yield Violation("version", f"{order_id} is at {order['version']}, its events at "
                                           f"{reached[order_id]}")

    def _judge_stock(self, view, effects):
        model = Stock(self.source)
        order = sorted(((event_seq(es[0]), op, es[0]) for op, es in effects.items() if es),
                       key=lambda row: row[0])
        for seq, op, event in order:
            for key in model.apply(op, event):
                if not op.fact and model.available(key) < 0:
                    yield Violation("oversold", f"{key} by {model.available(key)} "
                                                f"at seq {seq}: {op}")
        for key in sorted(model.keys() | view.availability.keys()):
            item, mine = view.availability.get(key), model.describe(key)
            if item is None and not any(mine.values()):
                continue
            theirs = {name: Decimal((item or {}).get(name, "0")) for name in mine}
            if theirs != mine:
                yield Violation("stock", f"{key}: hub {theirs}, model {mine}")

    @staticmethod
    def _judge_conserved(view):
        sums = defaultdict(Counter)
        for event in view.events:
            if event_kind(event).startswith("stock."):
                for change in event["data"].get("changes", ()):
                    at = sums[change["sku"], change["location"]]
                    for name in ("on_hand", "held", "committed"):
                        at[name] += Decimal(change.get(name, "0"))
        for key in sorted(sums.keys() | view.availability.keys()):
            item = view.availability.get(key, {})
            for name in ("on_hand", "held", "committed"):
                if Decimal(item.get(name, "0")) != sums[key][name]:
                    yield Violation("conserved", f"{key}: {name} is {item.get(name)}, its "
                                                 f"events add up to {sums[key][name]}")

    @staticmethod
    def _judge_erp(view):
        captured = {e["subject"] for e in view.events if event_kind(e) == "order.captured"}
        booked = defaultdict(list)
        for row in view.erp:
            booked[row["order_id"]].append(row)
        hub_money, erp_money = Counter(), Counter()
        for order_id in sorted(captured):
            rows = booked.pop(order_id, [])
            if not rows:
                yield Violation("erp-missing", order_id)
            if len(rows) > 1:
                yield Violation("erp-doubled", f"{order_id}: {rows}")
            order = view.orders.get(order_id)
            if order is None:
                continue
            grand = order["totals"]["grand"]
            hub_money[order["currency"]] += grand
            for row in rows:
                if (row["total"], row["currency"]) != (grand, order["currency"]):
                    yield Violation("erp-total", f"{order_id}: {row} for {grand}")
                if view.numbers.get(order_id) != row["number"]:
                    yield Violation("erp-number", f"{order_id}: the hub knows "
                                                  f"{view.numbers.get(order_id)}, {row}")
        for order_id, rows in booked.items():
            yield Violation("erp-invented", f"{order_id}: {rows}")
        for row in view.erp:
            erp_money[row["currency"]] += row["total"]
        for currency in sorted(hub_money | erp_money):
            if hub_money[currency] != erp_money[currency]:
                yield Violation("money", f"{currency}: hub {hub_money[currency]}, "
                                         f"ERP {erp_money[currency]}")


def same_order(sent, found):
    """Whether the order that is there is the one that was sent, line by line."""
    if natural_key(sent) != natural_key(found):
        return False
    if sent["totals"]["grand"] != found["totals"]["grand"] or sent["currency"] != found["currency"]:
        return False
    if len(sent["lines"]) != len(found["lines"]):
        return False
    return all(a["sku"] == b["sku"] and Decimal(a["quantity"]) == Decimal(b["quantity"])
               and a["total"] == b["total"] for a, b in zip(sent["lines"], found["lines"]))


class Stock:
    """What the requests that took effect, in order, make of the stock."""

    def __init__(self, source):
        self.source = source
        self.on_hand, self.held, self.committed = (defaultdict(Decimal) for _ in range(3))
        self.orders = {}  # order_id: {line_id: [sku, open quantity]}
        self.holds = {}   # reservation_id: (key, quantity)

    def keys(self):
        return self.on_hand.keys() | self.held.keys() | self.committed.keys()

    def available(self, key):
        return self.on_hand[key] - self.held[key] - self.committed[key]

    def describe(self, key):
        reserved = self.held[key] + self.committed[key]
        return {"on_hand": self.on_hand[key], "held": self.held[key],
                "committed": self.committed[key], "reserved": reserved,
                "available": self.on_hand[key] - reserved}

    def apply(self, op, event):
        """Answers the keys of which more is promised than before: what must not be oversold. (A
        correction may find less than was promised; that breaks no promise newly made.)"""
        return getattr(self, "_" + op.kind)(op, event) or ()

    def _key(self, doc):
        return doc["sku"], doc.get("location") or self.source

    def _count(self, op, event):
        self.on_hand[self._key(op.body)] = Decimal(op.body["on_hand"])

    def _adjustment(self, op, event):
        self.on_hand[self._key(op.body)] += Decimal(op.body["delta"])

    def _receipt(self, op, event):
        self.on_hand[self._key(op.body)] += Decimal(op.body["quantity"])

    def _hold(self, op, event):
        key, quantity = self._key(op.body), Decimal(op.body["quantity"])
        self.held[key] += quantity
        for answer in op.answers[:1]:
            self.holds[answer["reservation_id"]] = (key, quantity)
        return [key]

    def _release(self, op, event):
        if op.target in self.holds:
            key, quantity = self.holds.pop(op.target)
            self.held[key] -= quantity

    def _order(self, op, event):
        lines, promised = {}, Counter()
        if op.fact and event["data"].get("state") == "held":
            return []  # kept, with an exception; nothing was promised
        for position, line in enumerate(op.body["lines"], 1):
            key, quantity = (line["sku"], self.source), Decimal(line["quantity"])
            if line.get("reservation_id") in self.holds:
                held_key, held = self.holds.pop(line["reservation_id"])
                self.held[held_key] -= held
                promised[held_key] -= held
            self.committed[key] += quantity
            lines[line.get("line_id") or str(position)] = [line["sku"], quantity]
            promised[key] += quantity
        self.orders[event["subject"]] = lines
        return [key for key, more in promised.items() if more > 0]

    def _taken(self, op, event):
        """The lines a cancel or shipment is about: (line, quantity)."""
        lines = self.orders.get(event["subject"], {})  # empty: lost, which another rule tells
        if op.body.get("lines") is None:
            return [(line, line[1]) for line in lines.values()]
        return [(lines[x["line_id"]], Decimal(x["quantity"])) for x in op.body["lines"]
                if x["line_id"] in lines]

    def _cancel(self, op, event):
        for line, quantity in self._taken(op, event):
            line[1] -= quantity
            self.committed[line[0], self.source] -= quantity

    def _shipment(self, op, event):
        for line, quantity in self._taken(op, event):
            line[1] -= quantity
            self.committed[line[0], self.source] -= quantity
            self.on_hand[line[0], op.body.get("location") or self.source] -= quantity
