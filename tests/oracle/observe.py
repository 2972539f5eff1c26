"""observe: reads through the API what a hub holds, and what the ERP behind it has booked.

`api` and `erp` are clients with get(path) -> answer (.status, .json). Reading is all it does.
"""

import re
import time
from urllib.parse import urlencode

from oracle import View


PRIVATE = ("audit.noted", "approval.requested", "approval.decided", "approval.executed")


def read_events(api, after=0):
    """All events behind a seq: the feed, and what is told only where it is asked for by name."""
    private = [event for name in PRIVATE for event in read_feed(api, after, f"&type={name}")]
    return sorted(private + read_feed(api, after), key=lambda event: int(event["penstockseq"]))


def read_feed(api, after, more=""):
    found = []
    while True:
        page = api.get(f"/v1/events?after={after}&limit=1000{more}").json["items"]
        if not page:
            return found
        found += page
        after = int(page[-1]["penstockseq"])


def read_availability(api, skus):
    """{(sku, location): item} of all places where the SKUs lie."""
    found = {}
    skus = sorted(skus)
    for at in range(0, len(skus), 50):
        query = urlencode([("sku", sku) for sku in skus[at:at + 50]])
        for item in api.get("/v1/availability?" + query).json["items"]:
            key = item["sku"], item["location"]
            assert key not in found, f"{key} twice"
            found[key] = item
    return found


def read_orders(api, seq, wait_s=60):
    """{order_id: document} by the list, which may lag: it is asked again until it has reached
    `seq`. Every tenth is asked for by its id as well, and must say the same."""
    deadline = time.monotonic() + wait_s
    while api.get("/v1/orders?limit=1").seq < seq:
        assert time.monotonic() < deadline, f"the list of orders did not reach {seq}"
        time.sleep(0.02)
    found, cursor = {}, None
    while True:
        query = urlencode({"limit": 1000, **({"cursor": cursor} if cursor else {})})
        page = api.get("/v1/orders?" + query).json
        for order in page["items"]:
            assert order["order_id"] not in found, f"{order['order_id']} twice in the list"
            found[order["order_id"]] = order
        cursor = page.get("next_cursor")
        if not cursor:
            break
    for order_id in sorted(found)[::10]:
        alone = api.get(f"/v1/orders/{order_id}").json
        for name, value in found[order_id].items():
            assert alone[name] == value, f"{order_id}: {name} is {alone[name]}, in the list {value}"
    return found


def read_ledgers(api):
    """What the hub counts of each subscription, from its metrics."""
    found = {}
    for line in api.get("/metrics").body.decode().splitlines():
        parts = re.match(r'penstock_delivery_(taken|ended|open)(?:_total|_events)\{connector="[^"]*",'
                         r'subscription="([^"]*)"(?:,(?:how|where)="([^"]*)")?\} (\d+)', line)
        if parts:
            what, name, state, count = parts.groups()
            found.setdefault(name, {"subscription": name})[state or what] = int(count)
    return list(found.values())


def observe(api, skus, erp=None, numbers=None):
    """A View. `erp`: rows of the ERP's books, `numbers`: what the hub knows of them."""
    events = read_events(api)
    seq = int(events[-1]["penstockseq"]) if events else 0
    return View(events, read_availability(api, skus), read_orders(api, seq), erp, numbers,
                read_ledgers(api))
