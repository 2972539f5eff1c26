"""docs: documents the tests send, and questions they ask of a hub in the same words always."""

import itertools
import json
import urllib.parse
import uuid
from datetime import datetime, timedelta, timezone

_run = uuid.uuid4().hex[:6]
_numbers = itertools.count(1)


def order_id():
    """A channel's order number that nothing else uses."""
    return f"N{_run}-{next(_numbers)}"


def key():
    """An Idempotency-Key, ready as headers."""
    return {"Idempotency-Key": f"key-{_run}-{next(_numbers)}"}


def now(offset_s=0):
    """An instant so many seconds from now, RFC 3339."""
    at = datetime.now(timezone.utc) + timedelta(seconds=offset_s)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(sku, quantity=1, unit_price=1999, **more):
    """An order line whose total is right (whole quantities)."""
    doc = {"sku": sku, "quantity": str(quantity), "unit_price": unit_price,
           "total": int(quantity) * unit_price - more.get("discount", 0)}
    return {**doc, **more}


def order(*lines, channel="web-de", number=None, **more):
    """The least order there can be; lines are (sku, quantity) or documents."""
    lines = [x if isinstance(x, dict) else line(*x) for x in lines]
    doc = {"channel": channel, "channel_order_id": number or order_id(),
           "placed_at": "2026-11-23T09:15:00+01:00", "currency": "EUR", "lines": lines,
           "totals": {"grand": sum(x["total"] for x in lines)}}
    return {**doc, **more}


def full_order(sku, number=None, **more):
    """Every member the canonical order has, sums right."""
    doc = {
        "channel": "web-de", "channel_order_id": number or order_id(),
        "placed_at": "2026-11-23T09:15:00+01:00", "currency": "EUR",
        "prices_include_tax": True, "tax_rounding": "line",
        "customer": {"customer_id": "C-77", "email": "ida@example.org", "name": "Ida Muster"},
        "ship_to": {"name": "Ida Muster", "street": ["Am Kai 4", "Hof 2"],
                    "postal_code": "20457", "city": "Hamburg", "country": "DE"},
        "lines": [{"line_id": "a", "sku": sku, "quantity": "2", "unit_price": 1999,
                   "discount": 98, "total": 3900,
                   "taxes": [{"code": "DE-STD", "rate": "0.19", "base": 3277, "amount": 623}]}],
        "shipping": [{"line_id": "s1", "method": "parcel", "total": 490,
                      "taxes": [{"code": "DE-STD", "rate": "0.19", "base": 412, "amount": 78}]}],
        "tenders": [{"tender_id": "t1", "kind": "card", "amount": 4390,
                     "reference": "psp-4711", "state": "authorised"}],
        "totals": {"lines": 3900, "discount": 98, "shipping": 490, "tax": 701, "rounding": 0,
                   "grand": 4390},
        "ext": {"gift": {"text": "Zum Fest", "wrap": True}},
    }
    return {**doc, **more}


def count(sku, on_hand, location="WH-HAM", **more):
    return {"sku": sku, "location": location, "on_hand": str(on_hand), **more}


def adjustment(sku, delta, location="WH-HAM", reason="damaged", **more):
    return {"sku": sku, "location": location, "delta": str(delta), "reason": reason, **more}


def receipt(sku, quantity, location="WH-HAM", **more):
    return {"sku": sku, "location": location, "quantity": str(quantity), **more}


def captured(hub, count=1, sku="ERP"):
    """The ids of so many new orders of one SKU."""
    lines = hub.client().bulk("/v1/orders", [order((sku, 1)) for _ in range(count)]).lines
    assert {x["status"] for x in lines} == {201}, lines
    return [x["answer"]["order_id"] for x in lines]


def query(**params):
    """?a=1&b=2; a list repeats the name; `after_` may be written for reserved words."""
    return "?" + urllib.parse.urlencode(
        [(k.rstrip("_"), v) for k, vs in params.items()
         for v in (vs if isinstance(vs, (list, tuple)) else [vs])])


def availability(api, skus, locations=()):
    """{(sku, location): item}."""
    skus = [skus] if isinstance(skus, str) else list(skus)
    items = api.get("/v1/availability" + query(sku=skus, location=list(locations))).ok()["items"]
    found = {(item["sku"], item["location"]): item for item in items}
    assert len(found) == len(items), f"an item twice: {items}"
    return found


def stock(api, sku, location="WH-HAM"):
    """(on_hand, held, committed, available), as the hub writes them."""
    item = availability(api, sku, [location])[(sku, location)]
    return tuple(item[k] for k in ("on_hand", "held", "committed", "available"))


def events(api, after=0, limit=1000, **params):
    """All events behind `after`, page by page."""
    found = []
    while True:
        page = api.get("/v1/events" + query(after=after, limit=limit, **params)).ok()["items"]
        if not page:
            return found
        found += page
        after = page[-1]["penstockseq"]
        after = int(after)


def last_seq(api):
    """The newest seq there is; what the hub tells its audit counts, though the feed leaves it out."""
    return api.get("/v1/events" + query(after=0, limit=1)).seq


def stored(api):
    """How many events of the business there are: a refusal adds none, though the audit, which the
    feed leaves out, may tell of it at any time later."""
    return len(events(api))


def listed(api, path, **params):
    """All items of a list, following next_cursor."""
    found, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = api.get(path + query(**params, **more)).ok()
        found += page["items"]
        cursor = page.get("next_cursor")
        if not cursor:
            return found
        assert page["items"], "an empty page that says there is more"


def short(event):
    """"order.captured" of "org.penstock.order.captured.v1"."""
    kind = event["type"]
    assert kind.startswith("org.penstock.") and kind.endswith(".v1"), kind
    return kind[len("org.penstock."):-len(".v1")]


def copy(doc):
    return json.loads(json.dumps(doc))


def connections(api):
    """How many the hub has open, this question's among them."""
    for line in api.get("/metrics").body.decode().splitlines():
        if line.startswith("penstock_connections "):
            return int(float(line.split()[-1]))
    raise AssertionError("no figure for connections")
