"""load: many connections that sell, cancel, ship, hold, receive and adjust at random, seeded, and
tell the oracle of each request before it is sent and of each answer that comes.

Holds always: a request whose answer was lost is kept and sent again later, with the same
Idempotency-Key and body; a worker never has two requests under way.
"""

import base64
import hashlib
import hmac
import json
import random
import threading

LOCATION = "WH-HAM"
WEBHOOK = "/x/shopify/orders-create"
WEIGHTS = {"order": 45, "webhook": 8, "held_order": 5, "cancel": 10, "shipment": 10, "hold": 8, "release": 4,
           "receipt": 6, "adjustment": 7}


class Worker:
    """One connection's life over several runs of the hub; its own random numbers."""

    def __init__(self, load, number):
        self.load, self.rng = load, random.Random(f"{load.seed}/{number}")
        self.number, self.made = number, 0
        self.orders, self.holds, self.lost = [], [], []
        self.failure = None

    # --- what it sends ------------------------------------------------------------------------

    def next_op(self):
        if self.lost and self.rng.random() < 0.5:
            return self.lost.pop(0)
        kind = self.rng.choices(list(WEIGHTS), WEIGHTS.values())[0]
        return getattr(self, "_" + kind)() or self._order()

    def sku(self):
        """Few are popular: so that shortage happens."""
        return self.load.skus[int(len(self.load.skus) * self.rng.random() ** 3)]

    def _order(self, lines=None):
        self.made += 1
        if lines is None:
            lines = [self._line() for _ in range(self.rng.randint(1, 4))]
        return self.load.oracle.sending("order", {
            "channel": self.rng.choice(("web-de", "web-fr")),
            "channel_order_id": f"{self.load.oracle.run}-{self.number}-{self.made}",
            "placed_at": "2026-11-23T09:15:00+01:00", "currency": "EUR", "lines": lines,
            "totals": {"grand": sum(line["total"] for line in lines)}})

    def _line(self, sku=None, quantity=None, **more):
        quantity = quantity or self.rng.randint(1, 3)
        price = self.rng.randint(1, 9999)
        return {"sku": sku or self.sku(), "quantity": str(quantity), "unit_price": price,
                "total": quantity * price, **more}

    def _held_order(self):
        if not self.holds:
            return None
        hold, sku, quantity = self.holds.pop(self.rng.randrange(len(self.holds)))
        return self._order([self._line(sku, quantity, reservation_id=hold)])

    def _about_order(self, kind, body):
        if not self.orders:
            return None
        order_id, lines = self.rng.choice(self.orders[-20:])
        if self.rng.random() < 0.6:
            position = self.rng.randrange(lines)
            body["lines"] = [{"line_id": str(position + 1), "quantity": "1"}]
        return self.load.oracle.sending(kind, body, order_id)

    def _cancel(self):
        return self._about_order("cancel", {"reason": "changed mind"})

    def _shipment(self):
        return self._about_order("shipment", {"location": LOCATION})

    def _hold(self):
        return self.load.oracle.sending("hold", {
            "channel": "web-de", "sku": self.sku(), "quantity": str(self.rng.randint(1, 3)),
            "expires_in_s": 3600})

    def _release(self):
        if not self.holds:
            return None
        hold = self.holds.pop(self.rng.randrange(len(self.holds)))[0]
        return self.load.oracle.sending("release", {}, hold)

    def _receipt(self):
        return self.load.oracle.sending("receipt", {
            "sku": self.sku(), "location": LOCATION, "quantity": str(self.rng.randint(1, 9))})

    def _adjustment(self):
        delta = self.rng.choice(("-1", "1", "0.5", "-0.5", "2"))
        return self.load.oracle.sending("adjustment", {
            "sku": self.sku(), "location": LOCATION, "delta": delta, "reason": "check"})

    def _webhook(self):
        """A paid order of the Shopify shop, of SKUs there is enough of."""
        if self.load.secret is None:
            return None
        self.made += 1
        number = (self.load.base + self.number) * 1000000 + self.made
        lines = [self._line(self.rng.choice(self.load.ample)) for _ in range(self.rng.randint(1, 3))]
        op = self.load.oracle.sending("order", {
            "channel": "web-de", "channel_order_id": str(number), "currency": "EUR",
            "lines": lines, "totals": {"grand": sum(line["total"] for line in lines)}}, fact=True)
        op.raw = json.dumps(shopify_order(number, op.body)).encode()
        return op

    def send_webhook(self, client, op):
        digest = hmac.new(self.load.secret.encode(), op.raw, hashlib.sha256).digest()
        return client.post(WEBHOOK, raw=op.raw, key=None, headers={
            **op.headers, "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
            "X-Shopify-Webhook-Id": op.key})

    def bulk(self):
        """Many orders in one call."""
        return [self._order() for _ in range(self.rng.randint(2, 40))]

    # --- sending ------------------------------------------------------------------------------

    PATHS = {"order": "/v1/orders", "cancel": "/v1/orders/{}/cancel",
             "shipment": "/v1/orders/{}/shipments", "receipt": "/v1/stock/receipts",
             "adjustment": "/v1/stock/adjustments", "hold": "/v1/reservations",
             "release": "/v1/reservations/{}", "count": "/v1/stock/counts"}

    def send(self, client, op):
        """One attempt. False where the connection is gone: the op is kept for later."""
        path = self.PATHS[op.kind].format(op.target)
        try:
            if op.raw is not None:
                answer = self.send_webhook(client, op)
            elif op.kind == "release":
                answer = client.delete(path, headers=op.headers)
            else:
                answer = client.post(path, op.body, headers=op.headers)
        except self.load.gone:
            self.load.oracle.lost(op)
            self.lost.append(op)
            return False
        if answer.status >= 500 and answer.status != 503:
            raise AssertionError(f"the hub failed: {answer!r}")
        document = answer.json if answer.body else {}
        self.load.oracle.answered(op, answer.status, document, answer.seq)
        if op.fate == "unknown":
            self.lost.append(op)
        elif op.fate == "acknowledged":
            self.note(op, document)
        return True

    def send_bulk(self, client, ops):
        """NDJSON: a result for each line. What gets none is sent again later, one by one."""
        try:
            answer = client.bulk("/v1/orders", [op.body for op in ops])
        except self.load.gone:
            for op in ops:
                self.load.oracle.lost(op)
            self.lost += ops
            return False
        assert answer.status == 200, answer
        for op, result in zip(ops, answer.lines, strict=True):
            document = result.get("answer") or result["problem"]
            self.load.oracle.answered(op, result["status"], document, answer.seq)
            if op.fate == "unknown":
                self.lost.append(op)
            elif op.fate == "acknowledged":
                self.note(op, document)
        return True

    def note(self, op, document):
        """What later requests can be about."""
        if op.kind == "order" and not op.fact:
            self.orders.append((document["order_id"], len(op.body["lines"])))
        elif op.kind == "hold":
            self.holds.append((document["reservation_id"], op.body["sku"],
                               int(op.body["quantity"])))

    def run(self, client, stop):
        try:
            while not stop.is_set():
                if self.rng.random() < 0.01:
                    alive = self.send_bulk(client, self.bulk())
                else:
                    alive = self.send(client, self.next_op())
                if not alive:
                    return
        except BaseException as failure:
            self.failure = failure
        finally:
            client.close()

    def settle(self, client):
        """Sends what is lost again until each has its answer."""
        for _ in range(100):
            if not self.lost:
                return
            op = self.lost.pop(0)
            assert self.send(client, op), f"lost again, by a hub that runs: {op}"
        raise AssertionError(f"no answer: {self.lost}")


def scarce(i):
    return i % 3 == 2


def money(minor):
    return f"{minor // 100}.{minor % 100:02}"


def shopify_order(number, order):
    """The least that Shopify tells of such an order."""
    return {
        "id": number, "name": f"#{number}", "order_number": number, "currency": "EUR",
        "created_at": "2026-11-23T09:15:00+01:00", "taxes_included": True,
        "financial_status": "paid", "total_discounts": "0.00",
        "total_price": money(order["totals"]["grand"]),
        "line_items": [{"id": number * 100 + i, "sku": line["sku"], "title": "A thing",
                        "quantity": int(line["quantity"]), "price": money(line["unit_price"])}
                       for i, line in enumerate(order["lines"])]}


class Load:
    """`gone`: the exception that a client raises for a lost connection. `secret`: of the Shopify
    webhooks; without one none are sent."""

    def __init__(self, oracle, seed, gone, skus=24, connections=24, secret=None):
        self.oracle, self.seed, self.gone, self.secret = oracle, seed, gone, secret
        self.skus = [f"{oracle.run}-SKU-{i}" for i in range(skus)]
        self.ample = [sku for i, sku in enumerate(self.skus) if not scarce(i)]
        self.base = 7000  # of the shop's order numbers
        self.workers = [Worker(self, i) for i in range(connections)]
        self.threads, self.stop = [], threading.Event()

    def prepare(self, client):
        """The first counts: much of most, little of some."""
        rng = random.Random(f"{self.seed}/stock")
        for i, sku in enumerate(self.skus):
            on_hand = str(rng.randint(3, 30) if scarce(i) else rng.randint(200000, 400000))
            op = self.oracle.sending(
                "count", {"sku": sku, "location": LOCATION, "on_hand": on_hand})
            assert self.workers[0].send(client, op) and op.fate == "acknowledged", op

    def start(self, make_client):
        self.stop.clear()
        self.threads = [threading.Thread(target=w.run, args=(make_client(), self.stop), daemon=True)
                        for w in self.workers]
        for thread in self.threads:
            thread.start()

    def join(self, timeout_s=60):
        """Ends the run (of a hub that was killed, or is to rest)."""
        self.stop.set()
        for thread in self.threads:
            thread.join(timeout_s)
            assert not thread.is_alive(), "a request without answer or end"
        for worker in self.workers:
            if worker.failure:
                raise worker.failure

    def settle(self, client):
        for worker in self.workers:
            worker.settle(client)
        assert not self.oracle.unknown()
