"""observe: reads through the API what a hub holds, and what the ERP behind it has booked.

`api` and `erp` are clients with get(path) -> answer (.status, .json). Reading is all it does.
"""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

from oracle import View, event_kind


def read_events(api, after=0):
    """The whole feed behind a seq."""
    found = []
    while True:
        page = api.get(f"/v1/events?after={after}&limit=1000").json["items"]
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


def read_orders(api, ids):
    """{order_id: document} of those that are there."""
    def ask(order_id):
        answer = api.get(f"/v1/orders/{order_id}")
        assert answer.status in (200, 404), answer
        return order_id, answer.json if answer.status == 200 else None
    with ThreadPoolExecutor(4) as pool:
        return {order_id: doc for order_id, doc in pool.map(ask, sorted(ids)) if doc is not None}


def observe(api, skus, erp=None, numbers=None):
    """A View. `erp`: rows of the ERP's books, `numbers`: what the hub knows of them."""
    events = read_events(api)
    ids = {e["subject"] for e in events if event_kind(e) == "order.captured"}
    return View(events, read_availability(api, skus), read_orders(api, ids), erp, numbers)
