/* stock: the canonical stock documents (API.md). Quantities scale 6. */
#ifndef PENSTOCK_RETAIL_STOCK_H
#define PENSTOCK_RETAIL_STOCK_H

#include "shape/shape.h"

/* POST /v1/stock/counts: what is there, absolute. */
struct stock_count {
    uint64_t has;
    struct str sku, location;
    int64_t on_hand; /* >= 0 */
    struct instant counted_at;  /* default: now */
    int64_t expected_on_hand;   /* compare and set: refused where the hub has another */
    struct str reason;
    const struct json *ext;
};
enum stock_count_row {
    COUNT_SKU, COUNT_LOCATION, COUNT_ON_HAND, COUNT_COUNTED_AT, COUNT_EXPECTED_ON_HAND,
    COUNT_REASON, COUNT_EXT,
};

/* POST /v1/stock/adjustments: a difference. */
struct stock_adjustment {
    uint64_t has;
    struct str sku, location;
    int64_t delta; /* not 0 */
    struct instant occurred_at; /* default: now */
    struct str reason;          /* free text, optional */
    struct str reference;       /* natural key of the adjustment, optional */
    const struct json *ext;
};
enum stock_adjustment_row {
    ADJUSTMENT_SKU, ADJUSTMENT_LOCATION, ADJUSTMENT_DELTA, ADJUSTMENT_OCCURRED_AT,
    ADJUSTMENT_REASON, ADJUSTMENT_REFERENCE, ADJUSTMENT_EXT,
};

/* POST /v1/stock/receipts: goods in. */
struct stock_item {
    uint64_t has;
    struct str sku;
    int64_t quantity; /* > 0 */
};
enum stock_item_row { ITEM_SKU, ITEM_QUANTITY };
struct stock_receipt {
    uint64_t has;
    struct str location;
    struct str receipt_reference; /* natural key, optional */
    struct instant received_at;   /* default: now */
    struct str sku;    /* either sku and quantity … */
    int64_t quantity;
    struct shape_list items; /* … or items, of struct stock_item */
    const struct json *ext;
};
enum stock_receipt_row {
    RECEIPT_LOCATION, RECEIPT_REFERENCE, RECEIPT_RECEIVED_AT, RECEIPT_SKU, RECEIPT_QUANTITY,
    RECEIPT_ITEMS, RECEIPT_EXT,
};

/* POST /v1/reservations: a hold with a time limit (a cart). */
struct hold_request {
    uint64_t has;
    struct str channel;  /* its sourcing applies where an item names no location */
    struct str location;
    struct str sku;      /* either sku and quantity … */
    int64_t quantity;
    struct shape_list items; /* … or items, of struct stock_item */
    int64_t expires_in_s;       /* default 900 */
    struct instant expires_at;  /* instead of expires_in_s */
    const struct json *ext;
};
enum hold_request_row {
    HOLD_CHANNEL, HOLD_LOCATION, HOLD_SKU, HOLD_QUANTITY, HOLD_ITEMS, HOLD_EXPIRES_IN_S,
    HOLD_EXPIRES_AT, HOLD_EXT,
};

extern const struct shape stock_count_shape, stock_adjustment_shape, stock_item_shape,
    stock_receipt_shape, hold_request_shape;

#endif
