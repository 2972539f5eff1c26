"""tryton: a real Tryton as the tests use it: brought up by peers/tryton/peer.sh, filled anew for
each file of tests, looked at over the same JSON-RPC interface that the connector uses.

Owns: Tryton (the servers; up, kill, restore) and its books (sales, invoices, parties).
"""

import base64
import json
import os
import subprocess
import urllib.request
from decimal import Decimal
from pathlib import Path



ROOT = Path(__file__).resolve().parent.parent.parent
HOME = Path(os.environ.get("TRYTON_HOME") or ROOT / "build-peers" / "tryton")


class Tryton:
    def __init__(self, workers=2):
        self.env = {**os.environ, "TRYTON_HOME": str(HOME), "TRYTON_WORKERS": str(workers)}
        self.session = None

    def peer(self, *command, timeout_s=900):
        done = subprocess.run(["bash", str(ROOT / "peers/tryton/peer.sh"), *command], env=self.env,
                              capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, f"peer.sh {command}: {done.stderr}"
        return done.stdout

    def up(self):
        facts = dict(line.split("=", 1) for line in self.peer("up").splitlines())
        self.peer("restore")
        self.url, self.user, self.password = facts["url"], facts["user"], facts["password"]
        self.ids = json.loads(Path(facts["ids"]).read_text("utf-8"))
        return self

    def stop(self):
        self.peer("stop")

    def log(self):
        return (HOME / "trytond.log").read_text("utf-8", "replace")

    # --- its interface ---

    def call(self, method, *params):
        headers = {"Content-Type": "application/json"}
        if self.session:
            headers["Authorization"] = self.session
        body = json.dumps({"id": 1, "method": method, "params": list(params)}).encode()
        request = urllib.request.Request(self.url, body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = json.load(answer)
        assert "error" not in told, f"{method}: {told['error']}"
        return told["result"]

    def model(self, method, *params):
        if not self.session:
            user, session = self.call("common.db.login", self.user, {"password": self.password}, "en")
            text = f"{self.user}:{user}:{session}"
            self.session = "Session " + base64.b64encode(text.encode()).decode()
        return self.call("model." + method, *params, {"company": self.ids["settings"]["company"], "language": "en"})

    def all(self, model, fields, domain=()):
        return self.model(f"{model}.search_read", list(domain), 0, 100000, [["id", "ASC"]], list(fields))

    # --- its books ---

    def sales(self):
        """{the hub's order id: [(number, state, total, state of its invoice) …]}, in minor units of euro."""
        books = {}
        invoices = {row["id"]: row for row in self.all(
            "account.invoice", ["number", "state", "total_amount"], [["type", "=", "out"]])}
        for sale in self.all("sale.sale", ["number", "reference", "state", "invoices"]):
            of = [invoices[i] for i in sale["invoices"]]
            cents = sum(int(Decimal(i["total_amount"]["decimal"]) * 100) for i in of)
            books.setdefault(sale["reference"], []).append(
                (sale["number"], sale["state"], cents, [i["state"] for i in of]))
        return books

    def of_sale(self, order_id, *fields):
        return self.all("sale.sale", fields, [["reference", "=", order_id]])[0]

    def invoices(self, order_id):
        """What was invoiced and credited of an order, in minor units, in the order of its posting."""
        rows = self.of_sale(order_id, "invoices.state", "invoices.total_amount")["invoices."]
        assert {row["state"] for row in rows} <= {"posted", "paid"}, rows
        return [int(Decimal(row["total_amount"]["decimal"]) * 100) for row in sorted(rows, key=lambda row: row["id"])]

    def shipped(self, order_id):
        """{code of the product: what was done of it}; nothing may wait any more."""
        done = {}
        for shipment in self.of_sale(order_id, *(f"shipments.{name}" for name in (
                "state", "outgoing_moves.product.code", "outgoing_moves.quantity")))["shipments."]:
            assert shipment["state"] in ("done", "cancelled"), shipment
            for move in shipment["outgoing_moves."]:
                code = move["product."]["code"]
                done[code] = round(done.get(code, 0) + move["quantity"], 6)
        return done

    def sql(self, text):
        ports = dict(line.split("=") for line in (HOME / "ports").read_text("utf-8").split())
        return subprocess.run(["psql", "-h", "127.0.0.1", "-p", ports["TRYTON_PG_PORT"], "-U", "postgres", "-d",
                               "retail", "-qc", text], check=True, timeout=30, capture_output=True, text=True).stdout

    def sessions_end(self):
        """All who are signed in are not any more."""
        self.sql("delete from ir_session")
        self.session = None

    def working(self):
        """What its database is doing, for who reads why a test has failed."""
        return self.sql("select state, wait_event_type, wait_event, now() - xact_start as since, left(query, 100)"
                        " from pg_stat_activity where datname = 'retail'")

    # --- the hub's side ---

    def configure(self, config):
        """Writes this database's ids into the connector's settings; the environment it needs."""
        self.peer("configure", str(Path(config)))
        return {"TRYTON_URL": self.url, "TRYTON_PASSWORD": self.password}
