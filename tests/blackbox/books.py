"""books: the sandbox ERP's books, and what the hub knows of them, in the words of the oracle."""

from decimal import Decimal

import docs

# Slow, one answer in five an error, one in five lost after the work was done.
MISBEHAVE = ("--latency-ms", "5", "--fail-rate", "0.2", "--ambiguous-rate", "0.2", "--seed", "7")
DECIMALS = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}


def env(erp):
    """The environment of a hub that posts to this ERP through the shipped connector."""
    return {"GENERIC_ERP_URL": erp.url}


def rows(erp):
    """Every order the ERP has booked: [{"order_id", "total", "currency", "number"}]."""
    client, items, after = erp.client(), [], 0
    try:
        while after is not None:
            page = client.get("/orders" + docs.query(after=after, limit=1000)).ok()
            items += page["items"]
            after = page["next_after"]
    finally:
        client.close()
    return [{"order_id": item["external_id"], "currency": item["currency"],
             "number": item["number"],
             "total": int(Decimal(item["grand"]).scaleb(DECIMALS[item["currency"]]))}
            for item in items]


def numbers(api):
    """{order_id: the ERP's number}, as the hub knows it."""
    return {e["data"]["order_id"]: e["data"]["reference"]
            for e in docs.events(api, type="posting.posted")}


def captured(api):
    """How many orders the hub has."""
    return len(docs.events(api, type="order.captured"))
