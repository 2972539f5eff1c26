"""bad_requests: requests that must be refused: the table that test_045 sends.

A row is (name, route, change, status, pointers). The route names a valid document below; the
change is applied to it: {"/pointer": value} sets a member, DROP takes it away; bytes are sent as
they are in the document's place. `pointers` are those that the problem's `errors` must name, all
of them and no other; None where the body can not be read at all.
"""

DROP = object()

ROUTES = {
    "order": "/v1/orders",
    "count": "/v1/stock/counts",
    "adjustment": "/v1/stock/adjustments",
    "receipt": "/v1/stock/receipts",
    "hold": "/v1/reservations",
    "cancel": "/v1/orders/{order_id}/cancel",
    "shipment": "/v1/orders/{order_id}/shipments",
}


def documents(sku, number):
    """The valid document of each route: each of them is accepted where nothing is changed."""
    return {
        "order": {
            "channel": "web-de", "channel_order_id": number,
            "placed_at": "2026-11-23T09:15:00+01:00", "currency": "EUR",
            "prices_include_tax": True, "tax_rounding": "line",
            "customer": {"customer_id": "C-5", "email": "x@example.org", "name": "Xaver"},
            "ship_to": {"name": "Xaver", "street": ["Weg 1"], "postal_code": "10115",
                        "city": "Berlin", "country": "DE"},
            "lines": [
                {"line_id": "1", "sku": sku, "quantity": "2", "unit_price": 1999,
                 "discount": 0, "total": 3998,
                 "taxes": [{"code": "DE-STD", "rate": "0.19", "base": 3360, "amount": 638}]},
                {"line_id": "2", "sku": sku, "quantity": "1", "unit_price": 500, "total": 500},
            ],
            "shipping": [{"line_id": "s1", "method": "parcel", "total": 490,
                          "taxes": [{"code": "DE-STD", "rate": "0.19", "base": 412,
                                     "amount": 78}]}],
            "tenders": [{"tender_id": "t1", "kind": "card", "amount": 4988,
                         "reference": "psp-1", "state": "authorised"}],
            "totals": {"lines": 4498, "discount": 0, "shipping": 490, "tax": 716, "rounding": 0,
                       "grand": 4988},
        },
        "count": {"sku": sku, "location": "WH-HAM", "on_hand": "100"},
        "adjustment": {"sku": sku, "location": "WH-HAM", "delta": "1", "reason": "found"},
        "receipt": {"location": "WH-HAM", "receipt_reference": "R-" + number,
                    "items": [{"sku": sku, "quantity": "1"}]},
        "hold": {"channel": "web-de", "sku": sku, "quantity": "1", "expires_in_s": 600},
        "cancel": {"reason": "no", "lines": [{"line_id": "1", "quantity": "1"}]},
        "shipment": {"location": "WH-HAM", "shipped_at": "2026-11-23T10:00:00Z",
                     "parcels": [{"carrier": "dhl", "tracking": "1"}],
                     "lines": [{"line_id": "1", "quantity": "1"}]},
    }


def _missing(route, *pointers):
    return [(f"{route} without {p}", route, {p: DROP}, 422, [p]) for p in pointers]


def _kind(route, pointer, *values):
    return [(f"{route} with {pointer} = {str(v)[:24]!r} ({type(v).__name__})", route,
             {pointer: v}, 422, [pointer]) for v in values]


BAD_REQUESTS = [
    # not JSON at all
    ("nothing", "order", b"", 400, None),
    ("white space", "order", b"  \n", 400, None),
    ("cut off", "order", b'{"channel": "web-de"', 400, None),
    ("two documents", "order", b"{} {}", 400, None),
    ("a comma too many", "order", b'{"channel": "web-de",}', 400, None),
    ("single quotes", "order", b"{'channel': 'web-de'}", 400, None),
    ("a comment", "order", b'{"channel": "web-de" /* x */}', 400, None),
    ("NaN", "order", b'{"channel": NaN}', 400, None),
    ("a leading zero", "order", b'{"totals": {"grand": 01}}', 400, None),
    ("a leading plus", "order", b'{"totals": {"grand": +1}}', 400, None),
    ("hexadecimal", "order", b'{"totals": {"grand": 0x1f}}', 400, None),
    ("bad UTF-8", "order", b'{"channel": "\xff\xfe"}', 400, None),
    ("overlong UTF-8", "order", b'{"channel": "\xc0\xaf"}', 400, None),
    ("UTF-8 of a surrogate", "order", b'{"channel": "\xed\xa0\x80"}', 400, None),
    ("a lone surrogate escape", "order", b'{"channel": "\\ud800"}', 400, None),
    ("a raw line end in a text", "order", b'{"channel": "web\nde"}', 400, None),
    ("an unknown escape", "order", b'{"channel": "web\\xde"}', 400, None),
    ("UTF-16", "order", '{"channel": "web-de"}'.encode("utf-16"), 400, None),
    ("XML", "order", b"<order/>", 400, None),
    ("depth without end", "order", b"[" * 100000, (400, 413), None),
    ("depth in ext", "order", b'{"ext": ' + b"[" * 5000 + b"]" * 5000 + b"}", (400, 413, 422), None),

    # JSON, but not the document
    ("an array", "order", b"[]", 422, [""]),
    ("a text", "order", b'"order"', 422, [""]),
    ("a number", "order", b"7", 422, [""]),
    ("null", "order", b"null", 422, [""]),
    ("an empty object", "order", b"{}", 422,
     ["/channel", "/channel_order_id", "/placed_at", "/currency", "/lines", "/totals"]),
    ("a member twice", "order",
     b'{"channel":"web-de","channel":"web-de","channel_order_id":"1",'
     b'"placed_at":"2026-11-23T09:15:00Z","currency":"EUR","lines":[{"sku":"A","quantity":"1",'
     b'"unit_price":1,"total":1}],"totals":{"grand":1}}', 422, ["/channel"]),

    # what is required
    *_missing("order", "/channel", "/channel_order_id", "/placed_at", "/currency", "/lines",
              "/totals/grand", "/lines/0/sku", "/lines/1/quantity", "/lines/0/unit_price",
              "/lines/1/total", "/tenders/0/kind"),
    *_missing("count", "/sku", "/location", "/on_hand"),
    *_missing("adjustment", "/sku", "/location", "/delta"),
    *_missing("receipt", "/location", "/items/0/sku", "/items/0/quantity"),

    # unknown members: a typing error is told, not swallowed
    ("unknown member", "order", {"/chanel": "web-de"}, 422, ["/chanel"]),
    ("unknown member of a line", "order", {"/lines/1/colour": "red"}, 422, ["/lines/1/colour"]),
    ("a name that needs escaping", "order", {"/a~1b~0c": 1}, 422, ["/a~1b~0c"]),
    ("a member of the hub's", "order", {"/order_id": "ord_mine"}, 422, ["/order_id"]),
    ("a state of one's own", "order", {"/state": "shipped"}, 422, ["/state"]),
    ("unknown member of a count", "count", {"/onhand": "5"}, 422, ["/onhand"]),
    ("several faults, all told", "order",
     {"/channel": DROP, "/currency": "XXQ", "/lines/0/quantity": "0", "/lines/1/sku": DROP,
      "/surplus": 1}, 422,
     ["/channel", "/lines/0/quantity", "/lines/1/sku", "/surplus"]),

    # kinds
    *_kind("order", "/channel", 7, True, [], {}),
    *_kind("order", "/lines", {}, "x", 1),
    *_kind("order", "/lines/0", [], "x", 3),
    *_kind("order", "/totals/grand", "4988", 49.88, 4988.5, True),
    *_kind("order", "/lines/0/unit_price", "1999", 19.99),
    *_kind("order", "/lines/0/quantity", 2.5, True, "", "two", "1e2", "+2", "0x2", " 2", "2.",
           ".5", "02", "\u0662"),
    *_kind("order", "/customer", "Ann", []),
    *_kind("order", "/prices_include_tax", "yes", 1),
    *_kind("order", "/ship_to/street", "Weg 1"),

    # bounds
    *_kind("order", "/lines/0/quantity", "0", "-1", "0.0000001", "1" + "0" * 30),
    *_kind("order", "/lines/0/unit_price", -1, 10 ** 19),
    *_kind("order", "/totals/grand", 10 ** 30),
    *_kind("order", "/channel", "", "x" * 500, "web de\u0000"),
    *_kind("order", "/channel_order_id", "", "x" * 1000, " 1 "),
    *_kind("order", "/lines", []),
    *_kind("order", "/lines/0/sku", "", "x" * 1000),
    *_kind("order", "/currency", "EURO", "eur", "XXQ", "", "978"),
    *_kind("order", "/ship_to/country", "Deutschland", "de"),
    *_kind("order", "/tax_rounding", "never", "LINE"),
    *_kind("order", "/tenders/0/state", "stolen"),
    *_kind("order", "/lines/0/taxes/0/rate", "19%", "abc"),
    *_kind("order", "/lines/0/discount", -1),
    *_kind("order", "/placed_at", "yesterday", "2026-11-23", "2026-11-23T09:15:00",
           "2026-02-30T09:15:00Z", "2026-11-23T25:15:00Z", "2026-11-23T09:15:60Z", "1700000000"),

    # what the parts say of each other
    ("a channel there is none of", "order", {"/channel": "web-atlantis"}, 422, ["/channel"]),
    ("two lines of one id", "order", {"/lines/1/line_id": "1"}, 422, ["/lines/1/line_id"]),
    ("a line's total is wrong", "order", {"/lines/1/total": 501}, 422,
     ["/lines/1/total", "/totals/lines", "/totals/grand"]),
    ("the grand total is wrong by one", "order", {"/totals/grand": 4989}, 422, ["/totals/grand"]),
    ("a partial total is wrong", "order", {"/totals/lines": 4497}, 422, ["/totals/lines"]),
    ("the shipping total is wrong", "order", {"/totals/shipping": 0}, 422, ["/totals/shipping"]),
    ("the sum overflows", "order",
     {"/lines/0/quantity": "9000000000000", "/lines/0/unit_price": 9 * 10 ** 18}, 422, None),
    ("a discount beyond the price", "order",
     {"/lines/1/discount": 600, "/lines/1/total": -100}, 422, None),

    # stock
    *_kind("count", "/on_hand", "-1", 1.5, "many", ""),
    *_kind("count", "/counted_at", "now", "2026-13-01T00:00:00Z"),
    *_kind("count", "/expected_on_hand", "some"),
    ("a place there is none of", "count", {"/location": "WH-ATLANTIS"}, 422, ["/location"]),
    *_kind("adjustment", "/delta", "0", "", "1,5", None),
    ("an adjustment at no place", "adjustment", {"/location": "WH-ATLANTIS"}, 422, ["/location"]),
    *_kind("receipt", "/items/0/quantity", "0", "-1"),
    ("a receipt at no place", "receipt", {"/location": "NOWHERE"}, 422, ["/location"]),
    ("a receipt of nothing", "receipt", {"/items": []}, 422, ["/items"]),
    *_kind("hold", "/quantity", "0", "-2", "x"),
    *_kind("hold", "/expires_in_s", 0, -1, "600", 10 ** 12),
    ("a hold both ways", "hold", {"/expires_at": "2099-01-01T00:00:00Z"}, 422, None),
    ("a hold of nothing", "hold", {"/sku": DROP, "/quantity": DROP}, 422, None),

    # orders that exist
    *_kind("cancel", "/lines/0/quantity", "0", "-1", "x"),
    ("cancel with an unknown member", "cancel", {"/why": "x"}, 422, ["/why"]),
    *_missing("cancel", "/lines/0/line_id"),
    *_kind("shipment", "/lines/0/quantity", "0", "-1"),
    ("ship from no place", "shipment", {"/location": "NOWHERE"}, 422, ["/location"]),
    *_kind("shipment", "/shipped_at", "soon"),
]
