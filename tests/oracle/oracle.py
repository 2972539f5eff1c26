"""oracle: the judge, for Python. It keeps what requests asked and what was answered, and writes
all that was observed down for the program penstock-oracle, which has the rules: oracle.h beside
this file says what they are, and in which form observations are written.

Holds always: judging changes nothing; a run can be judged at any quiet moment, several times.
"""

import itertools
import json
import os
import subprocess
import threading
from collections import Counter
from pathlib import Path

KINDS = ("order", "cancel", "shipment", "count", "adjustment", "receipt", "hold", "release")

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
    the ERP's number as the hub knows it}. ledgers: what the hub counts of each subscription."""

    def __init__(self, events, availability, orders, erp=None, numbers=None,
                 ledgers=()):
        self.events, self.availability, self.orders = events, availability, orders
        self.ledgers = ledgers
        self.sets, self.quiet_us = (), None  # values told; when all was quiet
        self.effects = ()  # what other systems did, as oracle.h has it
        self.calls = ()  # accounts, calls and their ends, lives, as oracle.h has them
        self.at_once = 0  # deliveries of a subscription, at most
        self.fetches = ()  # of a system that fetches its events, as oracle.h has it
        self.streams = ()  # what a broker stored, what of it was acknowledged, its log, as oracle.h has it
        self.hooks = ()  # what webhooks were sent and did, what who made them was told, as oracle.h has it
        self.stops = ()  # what was refused and started, as oracle.h has it
        self.decided = ()  # what persons were answered about held deliveries, the same
        self.erp, self.numbers = erp, numbers or {}


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
        assert kind in KINDS
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

    def judge(self, view):
        """All violations found; of each rule the first fifty."""
        lines = "\n".join(json.dumps(line) for line in self.observations(view))
        done = subprocess.run([program()], input=lines, capture_output=True, text=True,
                              timeout=300, check=False)
        assert done.returncode in (0, 1), f"the oracle can not judge: {done.stderr}"
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert bool(found) == (done.returncode == 1)
        return [Violation(one["rule"], one["text"]) for one in found]

    def observations(self, view):
        """What is known, as oracle.h has it."""
        for number, op in enumerate(self.ops):
            yield {"sent": {"op": number, "kind": op.kind, "key": op.key, "body": op.body,
                            "correlation": op.correlation, "target": op.target, "fact": op.fact}}
            for status, document in op.attempts:
                yield {"answered": {"op": number, "status": status, "document": document}}
        for event in view.events:
            yield {"event": event}
        for (sku, location), item in view.availability.items():
            yield {"position": {**item, "sku": sku, "location": location}}
        for order_id, order in view.orders.items():
            yield {"order": {**order, "order_id": order_id}}
        for row in view.erp or ():
            yield {"booked": row}
        wanted = {one["subscription"]: one.get("events", ["order.*", "stock.*"]) for one in view.effects}
        wanted.update((one["subscription"], []) for one in view.sets)
        wanted.update((next(iter(one.values()))["subscription"], []) for one in view.stops if "life" not in one)
        wanted.update((one["logged"]["subscription"], ["test.*"]) for one in view.streams if "logged" in one)
        wanted.update((one["subscription"], one.get("events", [])) for one in view.ledgers)
        for name, events in wanted.items():
            yield {"subscription": {"name": name, "events": events, "at_once": view.at_once}}
        for ledger in view.ledgers:
            yield {"ledger": ledger}
        for value in view.sets:
            yield {"set": value}
        yield from view.stops
        yield from view.fetches
        yield from view.streams
        yield from view.hooks
        for effect in view.effects:
            yield {"effect": effect}
        yield from view.calls
        for decided in view.decided:
            yield {"decided": decided}
        for order_id, known in view.numbers.items():
            yield {"number": {"order_id": order_id, "number": known}}
        yield {"end": {"source": self.source, "erp": None if view.erp is None else "erp-orders",
                       **({"quiet_us": view.quiet_us} if view.quiet_us else {})}}


def program():
    """PENSTOCK_ORACLE, or beside the program under test, or in the build folder."""
    build = Path(__file__).resolve().parents[2] / "build"
    beside = Path(os.environ.get("PENSTOCK_BIN", build / "penstock")).resolve().parent
    return os.environ.get("PENSTOCK_ORACLE") or str(beside / "penstock-oracle")
