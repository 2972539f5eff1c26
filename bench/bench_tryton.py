"""How much of a real Tryton's own throughput is left when the hub posts into it.

    python3 bench/bench_tryton.py [--penstock build/penstock] [--orders N] [--rounds N]
                                  [--concurrency N] [--workers N]

The same orders are posted in turn by a bare client that knows Tryton as well as one can (ids of products known
beforehand, nested reads, many orders at once, numbers given out one at a time) and by the hub. Prints orders per
second of both, their ratio round by round, and the CPU that Tryton with its database and the hub need for an
order: where the machine is busy with other things, the ratio of that CPU (bare to hub's, its own included) is
the one to believe. Both work at --concurrency; `--concurrency 1,2,3` shows where the bare client is best. Needs
the packages of `scripts/setup.sh peers`.
"""
import argparse
import http.client
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "blackbox"))

import docs  # noqa: E402
from hub import Binary, Hub  # noqa: E402
from tryton import HOME, Tryton  # noqa: E402

SKUS = ("TEE-RED-M", "MUG-BLUE")
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
READ = ["state", "number", "untaxed_amount", "invoices.state", "invoices.untaxed_amount", "invoices.taxes.tax",
        "invoices.taxes.amount"]


def children(pids):
    """Those and all below them."""
    pids = [str(pid) for pid in pids]
    found = subprocess.run(["pgrep", "-P", ",".join(pids)], capture_output=True, text=True, check=False).stdout
    return pids + (children(found.split()) if found.split() else [])


def cpu_ms(pids):
    total = 0
    for pid in children(pids):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return total * TICK_MS


def erp_pids():
    return [(HOME / "server.pid").read_text("utf-8").split()[0],
            (HOME / "pg" / "postmaster.pid").read_text("utf-8").split()[0]]


def order(number):
    return docs.full_order(SKUS[number % 2]) if number % 3 else docs.order((SKUS[number % 2], 1 + number % 5))


class Bare:
    """A client of Tryton alone: what a careful programmer writes who posts orders and nothing else."""

    numbers = threading.Lock()

    def __init__(self, tryton, products):
        self.tryton, self.products = tryton, products
        self.url = urlsplit(tryton.url)
        self.link = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=120)
        self.context = {"company": tryton.ids["settings"]["company"], "language": "en"}

    def call(self, method, *params):
        body = json.dumps({"id": 1, "method": "model." + method, "params": [*params, self.context]})
        self.link.request("POST", self.url.path, body, {"Content-Type": "application/json",
                                                        "Authorization": self.tryton.session})
        told = json.loads(self.link.getresponse().read())
        assert "error" not in told, told
        return told["result"]

    def lines(self, doc):
        ids = self.tryton.ids["settings"]["taxes"]
        for holder in doc["lines"] + doc.get("shipping", []):
            tax = sum(one["amount"] for one in holder.get("taxes", []))
            units = int(holder.get("quantity", 1))
            each, more = divmod(holder["total"] - tax, units)
            product = self.products[holder.get("sku", "SHIPPING")]
            for count, price in ((units - more, each), (more, each + 1)):
                if count:
                    yield {"type": "line", "product": product, "quantity": count, "unit": 1,
                           "unit_price": {"__class__": "Decimal", "decimal": f"{price // 100}.{price % 100:02}"},
                           "description": holder.get("name", "shipping"),
                           "taxes": [["add", [ids[one["code"]] for one in holder.get("taxes", [])]]]}

    def post(self, doc):
        settings = self.tryton.ids["settings"]
        year, month, day = map(int, doc["placed_at"][:10].split("-"))
        date = {"__class__": "date", "year": year, "month": month, "day": day}
        code = doc.get("customer", {}).get("customer_id", "WALKIN")
        party = self.call("party.party.search_read", [["code", "=", code]], 0, 1, [["id", "ASC"]],
                          ["code", "addresses"])[0]
        sale = self.call("sale.sale.create", [{
            "party": party["id"], "invoice_address": party["addresses"][0],
            "shipment_address": party["addresses"][0], "reference": doc["channel_order_id"],
            "description": doc["channel"], "sale_date": date, "warehouse": settings["warehouse"],
            "currency": settings["currency_id"], "payment_term": settings["payment_term"],
            "invoice_method": "order", "shipment_method": "order", "lines": [["create", list(self.lines(doc))]]}])
        self.call("sale.sale.quote", sale)
        self.call("sale.sale.confirm", sale)
        read = self.call("sale.sale.read", sale, READ)[0]
        invoice = read["invoices."][0]
        due = {}
        for holder in doc["lines"] + doc.get("shipping", []):
            for tax in holder.get("taxes", []):
                key = settings["taxes"][tax["code"]]
                due[key] = due.get(key, 0) + tax["amount"]
        taxes = [["write", [row["id"]], {"amount": {"__class__": "Decimal", "decimal": f"{due[row['tax']] / 100:.2f}"}}]
                 for row in invoice["taxes."] if round(float(row["amount"]["decimal"]) * 100) != due[row["tax"]]]
        self.call("account.invoice.write", [invoice["id"]],
                  {"invoice_date": date, "reference": doc["channel_order_id"], **({"taxes": taxes} if taxes else {})})
        with self.numbers:
            self.call("account.invoice.post", [invoice["id"]])


def bare_run(clients, count, start):
    """Seconds until all are posted."""
    jobs, failed = queue.SimpleQueue(), []
    for n in range(count):
        jobs.put(order(start + n))

    def work(client):
        client.link.close() # the server has, too, after a pause
        try:
            while True:
                client.post(jobs.get_nowait())
        except queue.Empty:
            pass
        except (AssertionError, OSError) as problem:
            failed.append(problem)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
    return time.monotonic() - began


def hub_run(hub, count, start):
    api = hub.client()
    last = docs.events(api)[-1]["penstockseq"]
    began = time.monotonic()
    lines = api.bulk("/v1/orders", [order(start + n) for n in range(count)]).lines
    assert {line["status"] for line in lines} == {201}
    posted = 0
    while posted < count:
        page = api.get(f"/v1/events?after={last}&type=posting.posted&wait=10").ok()
        posted += len(page["items"])
        last = page["items"][-1]["penstockseq"] if page["items"] else last
        assert time.monotonic() - began < 60 + 10 * count, "the hub does not post"
    api.close()
    return time.monotonic() - began


def measure(name, run, pids, count):
    before = [cpu_ms(group) for group in pids]
    seconds = run()
    used = [(cpu_ms(group) - was) / count for group, was in zip(pids, before)]
    load = os.getloadavg()[0]
    print(f"  {name:5} {count / seconds:6.2f} orders/s   CPU per order: Tryton {used[0]:5.0f} ms, hub {used[1]:5.1f} ms"
          f"   load {load:.1f}", flush=True)
    return count / seconds, sum(used)


def rounds_run(args, tryton, hub, clients, at_once, start):
    ratios = []
    pids = [erp_pids(), [hub.process.popen.pid]]
    for number in range(args.rounds):
        bare = measure("bare", lambda: bare_run(clients[:at_once], args.orders, start), pids, args.orders)
        start += args.orders
        kept = measure("hub", lambda: hub_run(hub, args.orders, start), pids, args.orders)
        start += args.orders
        ratios.append((kept[0] / bare[0], bare[1] / kept[1]))
        print(f"round {number + 1}, {at_once} at once: kept {ratios[-1][0]:.2f} by the clock, "
              f"{ratios[-1][1]:.2f} by CPU", flush=True)
    return ratios, start


def hub_with(binary, folder, tryton, at_once):
    hub = Hub(binary, folder)
    hub.env.update(tryton.configure(hub.config))
    path = hub.config / "connectors" / "tryton" / "connector.yaml"
    text = path.read_text("utf-8")
    assert "concurrency: " in text
    path.write_text("\n".join(f"    limits: {{concurrency: {at_once}, rate_per_s: 0}}" if "concurrency: " in line
                              else line for line in text.splitlines()), "utf-8")
    hub.start()
    for sku in SKUS:
        hub.client().post("/v1/stock/counts", docs.count(sku, 1000000)).ok(201)
    return hub


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", default=str(ROOT / "build" / "penstock"))
    parser.add_argument("--orders", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", default="3", help="orders at once; several: 1,2,3")
    parser.add_argument("--workers", type=int, default=2, help="processes of Tryton")
    args = parser.parse_args()
    tryton = Tryton(args.workers).up()
    hub = None
    try:
        products = {row["code"]: row["id"] for row in tryton.all("product.product", ["code"])}
        levels, start, binary = [int(n) for n in args.concurrency.split(",")], 0, Binary(args.penstock)
        clients = [Bare(tryton, products) for _ in range(max(levels))]
        with tempfile.TemporaryDirectory() as folder:
            for at_once in levels:
                hub = hub_with(binary, Path(folder) / str(at_once), tryton, at_once)
                hub_run(hub, 2 * at_once, start)  # makes the customer, warms both up
                bare_run(clients, 2 * at_once, start)
                ratios, start = rounds_run(args, tryton, hub, clients, at_once, start + 4 * at_once)
                hub.stop()
                hub = None
                clock, cpu = (statistics.median(column) for column in zip(*ratios))
                print(f"{at_once} at once: the hub keeps {clock:.2f} by the clock, {cpu:.2f} by CPU, of what Tryton "
                      f"reaches by itself (median of {len(ratios)} rounds)", flush=True)
    finally:
        if hub is not None:
            hub.process.kill()
        tryton.stop()


main()
