"""vendure: a real Vendure as the tests use it: brought up by peers/vendure/peer.sh, filled anew for each file of
tests, shopped in through its shop API, looked at over the same admin API that the connector uses.

Owns: Vendure (the servers; up, kill, restore), its shoppers and its books (orders, stock, fulfilments).
"""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HOME = Path(os.environ.get("VENDURE_HOME") or ROOT / "build-peers" / "vendure")
SECRET = "vendure-webhook-secret"
NOT_HERE = 3  # peer.sh: Node or npm's registry is missing
SHIPPING = {"fullName": "Ann Example", "streetLine1": "Hafenstr. 1", "city": "Hamburg", "postalCode": "20457",
            "countryCode": "DE"}
FAILED = "...on ErrorResult{errorCode message}"


class Missing(Exception):
    """No Vendure on this machine."""


def graphql(url, query, variables=None, headers=None):
    """(result of the one field, the answer's headers); a refusal is an AssertionError."""
    request = urllib.request.Request(url, json.dumps({"query": query, "variables": variables or {}}).encode(),
                                     {"Content-Type": "application/json", **(headers or {})})
    with urllib.request.urlopen(request, timeout=60) as answer:
        told, got = json.load(answer), answer.headers
    assert "errors" not in told, f"{query}: {told['errors']}"
    result = next(iter(told["data"].values()))
    assert not (isinstance(result, dict) and result.get("errorCode")), f"{query}: {result}"
    return result, got


class Vendure:
    def __init__(self, hook=None):
        """`hook`: the hub's address for the shop's plug-in, http://…/x/vendure; none: it sends nothing."""
        self.env = {**os.environ, "VENDURE_HOME": str(HOME), "PENSTOCK_VENDURE_HOOK": hook or "",
                    "PENSTOCK_VENDURE_SECRET": SECRET}
        self.token, self.variants = None, {}

    def peer(self, command, timeout_s=600):
        done = subprocess.run(["bash", str(ROOT / "peers/vendure/peer.sh"), command], env=self.env,
                              capture_output=True, text=True, timeout=timeout_s, check=False)
        if done.returncode == NOT_HERE:
            raise Missing(done.stderr.strip())
        assert done.returncode == 0, f"peer.sh {command}: {done.stderr}"
        return done.stdout

    def up(self):
        facts = dict(line.split("=", 1) for line in self.peer("restore").splitlines())
        self.url, self.user, self.password = facts["url"], facts["user"], facts["password"]
        self.token = None
        found = self.admin("{productVariants{items{id sku}}}")["items"]
        self.variants = {variant["sku"]: variant["id"] for variant in found}
        return self

    def stop(self):
        self.peer("stop")

    # --- its shop ---

    def shopper(self, channel=None, currency=None):
        return Shopper(self, channel, currency)

    # --- its books ---

    def admin(self, query, channel=None, **variables):
        url = self.url + "/admin-api"
        if not self.token:
            _, headers = graphql(url, "mutation($u:String!,$p:String!){login(username:$u,password:$p){__typename "
                                 f"{FAILED}}}}}", {"u": self.user, "p": self.password})
            self.token = headers["vendure-auth-token"]
        headers = {"Authorization": f"Bearer {self.token}", **({"vendure-token": channel} if channel else {})}
        return graphql(url, query, variables, headers)[0]

    def order(self, code):
        found = self.admin(
            "query($c:String!){orders(options:{filter:{code:{eq:$c}}}){items{id code state orderPlacedAt updatedAt "
            "totalWithTax lines{id quantity orderPlacedQuantity productVariant{sku}} fulfillments{id state method "
            "trackingCode lines{orderLineId quantity}}}}}", c=code)["items"]
        assert len(found) == 1, found
        return found[0]

    def stock(self, sku):
        """(on hand, allocated to its own orders) over all locations."""
        found = self.admin("query($s:String!){productVariants(options:{filter:{sku:{eq:$s}}}){items{stockLevels{"
                           "stockOnHand stockAllocated}}}}", s=sku)["items"][0]["stockLevels"]
        return sum(level["stockOnHand"] for level in found), sum(level["stockAllocated"] for level in found)

    def sessions_end(self):
        """All who are signed in are not any more, from its next start on (it remembers them for a while)."""
        ports = dict(line.split("=") for line in (HOME / "ports").read_text("utf-8").split())
        subprocess.run(["psql", "-h", "127.0.0.1", "-p", ports["VENDURE_PG_PORT"], "-U", "postgres", "-d",
                        "shop", "-qc", "delete from session"], check=True, timeout=30)
        self.token = None

    def cancel(self, order_id):
        return self.admin("mutation($i:CancelOrderInput!){cancelOrder(input:$i){__typename ...on Order{state} "
                          f"{FAILED}}}}}", i={"orderId": order_id, "reason": "changed their mind",
                                              "cancelShipping": True})


class Shopper:
    """One visit to the shop: a cart that becomes an order."""

    def __init__(self, shop, channel, currency):
        self.shop, self.channel = shop, channel
        self.url = shop.url + "/shop-api" + (f"?currencyCode={currency}" if currency else "")
        self.headers = {"vendure-token": channel} if channel else {}

    def ask(self, query, **variables):
        result, headers = graphql(self.url, query, variables, self.headers)
        if headers.get("vendure-auth-token"):
            self.headers["Authorization"] = "Bearer " + headers["vendure-auth-token"]
        return result

    def fill(self, *lines):
        for sku, quantity in lines:
            self.ask("mutation($v:ID!,$n:Int!){addItemToOrder(productVariantId:$v,quantity:$n){__typename "
                     f"{FAILED}}}}}", v=self.shop.variants[sku], n=quantity)
        return self

    def check_out(self, coupons=(), **address):
        self.ask(f"mutation($i:CreateCustomerInput!){{setCustomerForOrder(input:$i){{__typename {FAILED}}}}}",
                 i={"firstName": "Ann", "lastName": "Example", "emailAddress": "ann@example.org"})
        self.ask(f"mutation($i:CreateAddressInput!){{setOrderShippingAddress(input:$i){{__typename {FAILED}}}}}",
                 i={**SHIPPING, **address})
        for code in coupons:
            self.ask(f"mutation($c:String!){{applyCouponCode(couponCode:$c){{__typename {FAILED}}}}}", c=code)
        prefix = "us-" if self.channel else ""
        methods = {method["code"]: method["id"] for method in self.ask("{eligibleShippingMethods{id code}}")}
        self.ask(f"mutation($i:[ID!]!){{setOrderShippingMethod(shippingMethodId:$i){{__typename {FAILED}}}}}",
                 i=[methods[prefix + "parcel"]])
        return self

    def pay(self, method="card"):
        """Places the order: {id, code, totalWithTax, …}."""
        self.ask("mutation{transitionOrderToState(state:\"ArrangingPayment\"){__typename "
                 "...on OrderStateTransitionError{errorCode message}}}")
        return self.ask("mutation($i:PaymentInput!){addPaymentToOrder(input:$i){__typename ...on Order{id code state "
                        f"totalWithTax}} {FAILED}}}}}",
                        i={"method": ("us-" if self.channel else "") + method, "metadata": {}})

    def buy(self, *lines):
        return self.fill(*lines).check_out().pay()
