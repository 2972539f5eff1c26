"""What the benchmark sends: orders over many SKUs with a Zipf-like demand, stock counts, a
shop's webhook. Everything is drawn from a fixed seed, so two runs send the same.

Owns the texts; a run puts its own unique numbers where ID_MARK and DIGITS_MARK stand.
"""
import bisect
import itertools
import json
import random

ID_MARK = "@" * 16  # an order's number: letters and digits, 16 of them
DIGITS_MARK = "7" * 13  # a shop's order number: 13 digits
SEED = 20261123
ZIPF_EXPONENT = 1.0
TAX_RATE_PERCENT = 19


class Demand:
    """Draws SKU numbers 0..n-1 with probability proportional to 1 / (rank + 10)^s; the ranks
    are scattered over the numbers, as in a real catalogue."""

    def __init__(self, skus, seed):
        self.random = random.Random(seed)
        weights = (1 / (rank + 10) ** ZIPF_EXPONENT for rank in range(skus))
        self.cumulated = list(itertools.accumulate(weights))
        self.number_of_rank = list(range(skus))
        self.random.shuffle(self.number_of_rank)

    def draw(self):
        at = self.random.random() * self.cumulated[-1]
        return self.number_of_rank[min(bisect.bisect(self.cumulated, at),
                                       len(self.number_of_rank) - 1)]


def sku_name(number):
    return f"SKU-{number:06d}"


def location_name(number):
    return f"WH-{number + 1:02d}"


def channel_name(number):
    return f"shop-{number + 1:02d}"


def tax_of(total):
    """Tax included in a total, rounded half up, in minor units."""
    return (total * TAX_RATE_PERCENT * 2 + 100 + TAX_RATE_PERCENT) // (2 * (100 + TAX_RATE_PERCENT))


def taxes_of(total):
    tax = tax_of(total)
    return [{"code": "DE-STD", "rate": "0.19", "base": total - tax, "amount": tax}]


def order(demand, channel):
    """A canonical order of three lines, about 1.4 KB, with ID_MARK for its number."""
    lines, skus = [], set()
    while len(lines) < 3:
        number = demand.draw()
        if number in skus:
            continue
        skus.add(number)
        quantity = demand.random.choice((1, 1, 1, 2, 3))
        price = 499 + number % 9000
        lines.append({"line_id": str(len(lines) + 1), "sku": sku_name(number),
                      "quantity": str(quantity), "unit_price": price, "discount": 0,
                      "total": quantity * price, "taxes": taxes_of(quantity * price)})
    goods = sum(line["total"] for line in lines)
    tax = sum(line["taxes"][0]["amount"] for line in lines) + tax_of(490)
    document = {
        "channel": channel_name(channel), "channel_order_id": ID_MARK,
        "placed_at": "2026-11-23T09:15:00+01:00", "currency": "EUR",
        "prices_include_tax": True, "tax_rounding": "line",
        "customer": {"customer_id": f"C-{demand.random.randrange(10 ** 6):06d}",
                     "email": f"customer{demand.random.randrange(10 ** 6)}@example.org",
                     "name": "Ann Katharina Example"},
        "ship_to": {"name": "Ann Katharina Example", "street": ["Große Hafenstraße 117", "2. OG"],
                    "postal_code": "20457", "city": "Hamburg", "country": "DE"},
        "lines": lines,
        "shipping": [{"line_id": "s1", "method": "parcel", "total": 490,
                      "taxes": taxes_of(490)}],
        "tenders": [{"tender_id": "t1", "kind": "card", "amount": goods + 490,
                     "reference": "psp-" + ID_MARK, "state": "authorised"}],
        "totals": {"lines": goods, "discount": 0, "shipping": 490, "tax": tax, "rounding": 0,
                   "grand": goods + 490},
        "ext": {"browser_ip": "203.0.113.77", "landing_page": "/campaign/november?utm_source=mail",
                "gift_message": "", "newsletter": False, "checkout": "c-" + ID_MARK},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def orders(count, skus, locations, seed=SEED):
    """`count` orders, each of another channel, each channel sourced from one location."""
    demand = Demand(skus, seed)
    for number in range(count):
        yield order(demand, number % locations)


def counts(skus, locations):
    """One NDJSON line for each position; enough for any run."""
    for location in range(locations):
        name = location_name(location)
        for number in range(skus):
            yield (f'{{"sku":"{sku_name(number)}","location":"{name}","on_hand":"1000000"}}\n')


def availability_paths(count, skus, locations, seed=SEED + 1):
    demand = Demand(skus, seed)
    for number in range(count):
        yield (f"/v1/availability?sku={sku_name(demand.draw())}"
               f"&location={location_name(number % locations)}")


def shop_address():
    return {"first_name": "Ann", "last_name": "Example", "address1": "Hafenstr. 1",
            "address2": None, "phone": "+49 40 5550100", "city": "Hamburg", "zip": "20457",
            "province": None, "country": "Germany", "country_code": "DE", "province_code": None,
            "company": None, "name": "Ann Example", "latitude": 53.5437, "longitude": 9.9887}


def shop_money(minor):
    text = f"{minor // 100}.{minor % 100:02d}"
    return text, {"shop_money": {"amount": text, "currency_code": "EUR"},
                  "presentment_money": {"amount": text, "currency_code": "EUR"}}


def shop_line(demand, position):
    number = demand.draw()
    price = 499 + number % 9000
    text, both = shop_money(price)
    tax_text, tax_both = shop_money(tax_of(price))
    return {"id": 450789460 + position, "variant_id": 10 ** 7 + number, "sku": sku_name(number),
            "title": f"Article {number}", "variant_title": "red / M", "vendor": "Example",
            "name": f"Article {number} - red / M", "quantity": 1, "price": text,
            "price_set": both, "total_discount": "0.00", "grams": 200, "taxable": True,
            "requires_shipping": True, "gift_card": False, "fulfillable_quantity": 1,
            "fulfillment_service": "manual", "fulfillment_status": None, "product_exists": True,
            "product_id": 5 * 10 ** 6 + number, "properties": [], "discount_allocations": [],
            "tax_lines": [{"title": "MwSt", "price": tax_text, "rate": 0.19,
                           "price_set": tax_both, "channel_liable": False}]}, price


def shop_order(demand):
    """An orders/create message as Shopify sends it, about 5 KB, DIGITS_MARK for its number."""
    made = [shop_line(demand, position) for position in range(2)]
    goods = sum(price for _, price in made)
    shipping = 490
    grand, grand_both = shop_money(goods + shipping)
    tax = sum(tax_of(price) for _, price in made) + tax_of(shipping)
    ship_text, ship_both = shop_money(shipping)
    ship_tax, ship_tax_both = shop_money(tax_of(shipping))
    zero, zero_both = shop_money(0)
    document = {
        "id": int(DIGITS_MARK), "admin_graphql_api_id": "gid://shopify/Order/" + DIGITS_MARK,
        "app_id": 580111, "browser_ip": "203.0.113.77", "buyer_accepts_marketing": False,
        "cancel_reason": None, "cancelled_at": None, "cart_token": None, "checkout_id": None,
        "closed_at": None, "confirmed": True, "contact_email": "ann@example.org",
        "created_at": "2026-11-23T09:15:00+01:00", "currency": "EUR",
        "current_subtotal_price": shop_money(goods)[0], "current_total_price": grand,
        "current_total_tax": shop_money(tax)[0], "customer_locale": "de-DE",
        "email": "ann@example.org", "estimated_taxes": False, "financial_status": "paid",
        "fulfillment_status": None, "gateway": "bogus", "name": "#" + DIGITS_MARK,
        "note": None, "note_attributes": [], "number": int(DIGITS_MARK),
        "order_number": int(DIGITS_MARK), "payment_gateway_names": ["bogus"],
        "phone": None, "presentment_currency": "EUR", "processed_at": "2026-11-23T09:15:00+01:00",
        "source_name": "web", "subtotal_price": shop_money(goods)[0],
        "subtotal_price_set": shop_money(goods)[1], "tags": "", "tax_lines": [], "taxes_included": True,
        "test": False, "token": "b1946ac92492d2347c6235b4d2611184",
        "total_discounts": zero, "total_discounts_set": zero_both,
        "total_line_items_price": shop_money(goods)[0], "total_outstanding": "0.00",
        "total_price": grand, "total_price_set": grand_both,
        "total_shipping_price_set": ship_both, "total_tax": shop_money(tax)[0],
        "total_tax_set": shop_money(tax)[1], "total_tip_received": "0.00", "total_weight": 400,
        "updated_at": "2026-11-23T09:15:01+01:00", "user_id": None,
        "billing_address": shop_address(),
        "customer": {"id": 115310627314723954, "email": "ann@example.org", "first_name": "Ann",
                     "last_name": "Example", "state": "disabled", "verified_email": True,
                     "tax_exempt": False, "currency": "EUR", "phone": None, "tags": ""},
        "discount_applications": [], "discount_codes": [], "fulfillments": [], "refunds": [],
        "line_items": [line for line, _ in made],
        "shipping_address": shop_address(),
        "shipping_lines": [{"id": 271878346596884015, "code": "parcel", "title": "Parcel",
                            "price": ship_text, "price_set": ship_both, "discounted_price": ship_text,
                            "discounted_price_set": ship_both, "source": "shopify", "phone": None,
                            "carrier_identifier": None, "discount_allocations": [],
                            "tax_lines": [{"title": "MwSt", "price": ship_tax, "rate": 0.19,
                                           "price_set": ship_tax_both, "channel_liable": False}]}],
    }
    return json.dumps(document, separators=(",", ":"))


def shop_orders(count, skus, seed=SEED + 2):
    demand = Demand(skus, seed)
    for _ in range(count):
        yield shop_order(demand)
