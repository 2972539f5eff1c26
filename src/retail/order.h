/* order: the canonical order document (API.md "Canonical order") and its sums.
 * Amounts are minor units of `currency`, quantities scale 6, rates scale 9. */
#ifndef PENSTOCK_RETAIL_ORDER_H
#define PENSTOCK_RETAIL_ORDER_H

#include "shape/shape.h"

enum tax_rounding { TAX_ROUNDING_LINE, TAX_ROUNDING_DOCUMENT };

struct tax_line {
    uint64_t has;
    struct str code; /* "DE-STD" */
    int64_t rate;
    int64_t base; /* money the rate applies to */
    int64_t amount;
    struct str jurisdiction;
};
enum tax_line_row { TAX_CODE, TAX_RATE, TAX_BASE, TAX_AMOUNT, TAX_JURISDICTION };

struct order_line {
    uint64_t has;
    struct str line_id; /* given, or "1", "2" … by position */
    struct str sku;
    struct str name;
    int64_t quantity;       /* > 0 */
    int64_t unit_price;     /* for price_quantity units */
    int64_t price_quantity; /* default 1 */
    int64_t discount;       /* of the whole line, >= 0 */
    int64_t total;          /* round(quantity * unit_price / price_quantity) - discount */
    struct shape_list taxes; /* of struct tax_line */
    struct str reservation_id; /* of a hold that this line turns into a commitment */
    const struct json *ext;
};
enum order_line_row {
    LINE_LINE_ID, LINE_SKU, LINE_NAME, LINE_QUANTITY, LINE_UNIT_PRICE, LINE_PRICE_QUANTITY,
    LINE_DISCOUNT, LINE_TOTAL, LINE_TAXES, LINE_RESERVATION_ID, LINE_EXT,
};

struct shipping_line {
    uint64_t has;
    struct str line_id;
    struct str method;
    int64_t total;
    struct shape_list taxes; /* of struct tax_line */
};
enum shipping_line_row { SHIPPING_LINE_ID, SHIPPING_METHOD, SHIPPING_TOTAL, SHIPPING_TAXES };

struct tender {
    uint64_t has;
    struct str tender_id;
    struct str kind; /* card, cash, gift_card, invoice … : a code */
    int64_t amount;
    struct str reference;
    int32_t state; /* index into tender_states */
};
enum tender_row { TENDER_TENDER_ID, TENDER_KIND, TENDER_AMOUNT, TENDER_REFERENCE, TENDER_STATE };
enum tender_state { TENDER_AUTHORISED, TENDER_CAPTURED, TENDER_VOIDED, TENDER_FAILED, TENDER_EXPIRED };
extern const char *const tender_states[];

struct order_customer {
    uint64_t has;
    struct str customer_id, email, name, phone; /* all but the id personal */
};
enum order_customer_row { CUSTOMER_CUSTOMER_ID, CUSTOMER_EMAIL, CUSTOMER_NAME, CUSTOMER_PHONE };

struct address {
    uint64_t has;
    struct str name, company;
    struct shape_list street; /* of struct str */
    struct str postal_code, city, region, country, phone; /* country: ISO 3166-1 alpha-2 */
};
enum address_row {
    ADDRESS_NAME, ADDRESS_COMPANY, ADDRESS_STREET, ADDRESS_POSTAL_CODE, ADDRESS_CITY,
    ADDRESS_REGION, ADDRESS_COUNTRY, ADDRESS_PHONE,
};

struct order_totals {
    uint64_t has;
    int64_t lines, discount, shipping, tax, rounding, grand;
};
enum order_totals_row {
    TOTALS_LINES, TOTALS_DISCOUNT, TOTALS_SHIPPING, TOTALS_TAX, TOTALS_ROUNDING, TOTALS_GRAND,
};

struct order {
    uint64_t has;
    struct str channel, channel_order_id;
    struct instant placed_at;
    struct str currency; /* ISO 4217 */
    bool prices_include_tax; /* default true */
    int32_t tax_rounding;    /* enum tax_rounding */
    struct str base_currency;
    int64_t exchange_rate; /* 1 unit of currency in base_currency */
    struct instant exchange_rate_at;
    struct str exchange_rate_source;
    struct order_customer *customer;
    struct address *ship_to, *bill_to;
    struct shape_list lines;    /* of struct order_line, 1 to 5000 */
    struct shape_list shipping; /* of struct shipping_line */
    struct shape_list tenders;  /* of struct tender */
    struct order_totals *totals;
    const struct json *ext;
};
enum order_row {
    ORDER_CHANNEL, ORDER_CHANNEL_ORDER_ID, ORDER_PLACED_AT, ORDER_CURRENCY,
    ORDER_PRICES_INCLUDE_TAX, ORDER_TAX_ROUNDING, ORDER_BASE_CURRENCY, ORDER_EXCHANGE_RATE,
    ORDER_EXCHANGE_RATE_AT, ORDER_EXCHANGE_RATE_SOURCE, ORDER_CUSTOMER, ORDER_SHIP_TO,
    ORDER_BILL_TO, ORDER_LINES, ORDER_SHIPPING, ORDER_TENDERS, ORDER_TOTALS, ORDER_EXT,
};

extern const struct shape tax_line_shape, order_line_shape, shipping_line_shape, tender_shape,
    order_customer_shape, address_shape, order_totals_shape, order_shape;

/* Fills in what was left out (line ids, price_quantity, discount, prices_include_tax, all of
 * totals but grand) and checks everything the table can not say: currency known, line ids
 * unique, every sum of API.md. A difference of at most `rounding_bound` minor units between
 * the stated grand and the sum goes into totals.rounding where rounding was not stated; a
 * larger one, and any difference in a line or a stated partial total, is a fault with the
 * pointer of the wrong member, what it should be, and by how much it differs. ERR_INVALID
 * where there was a fault; ERR_NOMEM. */
enum err order_check(struct order *order, int64_t rounding_bound, struct arena *arena,
                     struct fault *fault) WARN_UNUSED;

#endif
