/* stock: the tables of the canonical stock documents, see stock.h. */
#include "retail/stock.h"

#include "retail/limits.h"

#define AT(type, member) .offset = offsetof(struct type, member), .since = 1

static const struct shape_field stock_count_fields[] = {
    [COUNT_SKU] = {.name = "sku", .kind = SHAPE_ID, .flags = SHAPE_REQUIRED, AT(stock_count, sku),
                   .help = "What was counted"},
    [COUNT_LOCATION] = {.name = "location", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED,
                        AT(stock_count, location), .help = "The store or warehouse"},
    [COUNT_ON_HAND] = {.name = "on_hand", .kind = SHAPE_DECIMAL, .flags = SHAPE_REQUIRED,
                       AT(stock_count, on_hand), .min = 0, .max = QUANTITY_MAX, .owner = "wms",
                       .help = "What is there, reserved goods included"},
    [COUNT_COUNTED_AT] = {.name = "counted_at", .kind = SHAPE_INSTANT, AT(stock_count, counted_at),
                          .help = "When it was counted; movements after it are added. Default: now"},
    [COUNT_EXPECTED_ON_HAND] = {.name = "expected_on_hand", .kind = SHAPE_DECIMAL,
                                AT(stock_count, expected_on_hand), .min = -QUANTITY_MAX,
                                .max = QUANTITY_MAX,
                                .help = "Refused with 409 where the hub has another figure"},
    [COUNT_REASON] = {.name = "reason", .kind = SHAPE_TEXT, AT(stock_count, reason), .max = 500,
                      .help = "Why, in free text"},
    [COUNT_EXT] = {.name = "ext", .kind = SHAPE_OPEN, AT(stock_count, ext),
                   .help = "Anything else; passed on"},
};
SHAPE_DEFINE(stock_count_shape, "stock_count", struct stock_count,
             "What a store or warehouse has of an article, absolute", stock_count_fields);

static const struct shape_field stock_adjustment_fields[] = {
    [ADJUSTMENT_SKU] = {.name = "sku", .kind = SHAPE_ID, .flags = SHAPE_REQUIRED,
                        AT(stock_adjustment, sku), .help = "What has changed"},
    [ADJUSTMENT_LOCATION] = {.name = "location", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED,
                             AT(stock_adjustment, location), .help = "The store or warehouse"},
    [ADJUSTMENT_DELTA] = {.name = "delta", .kind = SHAPE_DECIMAL, .flags = SHAPE_REQUIRED,
                          AT(stock_adjustment, delta), .min = -QUANTITY_MAX, .max = QUANTITY_MAX,
                          .owner = "wms", .help = "The difference, not 0; negative where goods left"},
    [ADJUSTMENT_OCCURRED_AT] = {.name = "occurred_at", .kind = SHAPE_INSTANT,
                                AT(stock_adjustment, occurred_at), .help = "When. Default: now"},
    [ADJUSTMENT_REASON] = {.name = "reason", .kind = SHAPE_TEXT,
                           AT(stock_adjustment, reason), .min = 1, .max = 500,
                           .help = "Why: damaged, stolen, found, own use … in free text"},
    [ADJUSTMENT_REFERENCE] = {.name = "reference", .kind = SHAPE_ID,
                              AT(stock_adjustment, reference),
                              .help = "The sender's number of it: the same number twice is one "
                                      "adjustment"},
    [ADJUSTMENT_EXT] = {.name = "ext", .kind = SHAPE_OPEN, AT(stock_adjustment, ext),
                        .help = "Anything else; passed on"},
};
SHAPE_DEFINE(stock_adjustment_shape, "stock_adjustment", struct stock_adjustment,
             "A difference in stock", stock_adjustment_fields);

static const struct shape_field stock_item_fields[] = {
    [ITEM_SKU] = {.name = "sku", .kind = SHAPE_ID, .flags = SHAPE_REQUIRED, AT(stock_item, sku),
                  .help = "The article"},
    [ITEM_QUANTITY] = {.name = "quantity", .kind = SHAPE_DECIMAL, .flags = SHAPE_REQUIRED,
                       AT(stock_item, quantity), .min = 1, .max = QUANTITY_MAX,
                       .help = "How many"},
};
SHAPE_DEFINE(stock_item_shape, "stock_item", struct stock_item, "So many of an article",
             stock_item_fields);

static const struct shape_field stock_receipt_fields[] = {
    [RECEIPT_LOCATION] = {.name = "location", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED,
                          AT(stock_receipt, location), .help = "Where the goods came in"},
    [RECEIPT_REFERENCE] = {.name = "receipt_reference", .kind = SHAPE_ID,
                           AT(stock_receipt, receipt_reference),
                           .help = "The sender's number of it: the same number twice is one "
                                   "receipt"},
    [RECEIPT_RECEIVED_AT] = {.name = "received_at", .kind = SHAPE_INSTANT,
                             AT(stock_receipt, received_at), .help = "When. Default: now"},
    [RECEIPT_SKU] = {.name = "sku", .kind = SHAPE_ID, AT(stock_receipt, sku),
                     .help = "The article, where there is but one; else see items"},
    [RECEIPT_QUANTITY] = {.name = "quantity", .kind = SHAPE_DECIMAL, AT(stock_receipt, quantity),
                          .min = 1, .max = QUANTITY_MAX, .help = "How many of sku"},
    [RECEIPT_ITEMS] = {.name = "items", .kind = SHAPE_LIST, AT(stock_receipt, items), .min = 1,
                       .max = ORDER_LINES_MAX, .shape = &stock_item_shape,
                       .help = "What came in, where it is several articles"},
    [RECEIPT_EXT] = {.name = "ext", .kind = SHAPE_OPEN, AT(stock_receipt, ext),
                     .help = "Anything else; passed on"},
};
SHAPE_DEFINE(stock_receipt_shape, "stock_receipt", struct stock_receipt, "Goods in",
             stock_receipt_fields);

static const struct shape_field hold_request_fields[] = {
    [HOLD_CHANNEL] = {.name = "channel", .kind = SHAPE_CODE, AT(hold_request, channel),
                      .owner = "channel",
                      .help = "Its sourcing applies where no location is named"},
    [HOLD_LOCATION] = {.name = "location", .kind = SHAPE_CODE, AT(hold_request, location),
                       .help = "Where the goods are to be held"},
    [HOLD_SKU] = {.name = "sku", .kind = SHAPE_ID, AT(hold_request, sku),
                  .help = "The article, where there is but one; else see items"},
    [HOLD_QUANTITY] = {.name = "quantity", .kind = SHAPE_DECIMAL, AT(hold_request, quantity),
                       .min = 1, .max = QUANTITY_MAX, .help = "How many of sku"},
    [HOLD_ITEMS] = {.name = "items", .kind = SHAPE_LIST, AT(hold_request, items), .min = 1,
                    .max = 500, .shape = &stock_item_shape,
                    .help = "What is to be held, where it is several articles"},
    [HOLD_EXPIRES_IN_S] = {.name = "expires_in_s", .kind = SHAPE_INTEGER,
                           AT(hold_request, expires_in_s), .min = 1, .max = 31536000,
                           .help = "Seconds until it is given back by itself. Default: 900"},
    [HOLD_EXPIRES_AT] = {.name = "expires_at", .kind = SHAPE_INSTANT, AT(hold_request, expires_at),
                         .help = "When it is given back by itself, instead of expires_in_s"},
    [HOLD_EXT] = {.name = "ext", .kind = SHAPE_OPEN, AT(hold_request, ext),
                  .help = "Anything else; passed on"},
};
SHAPE_DEFINE(hold_request_shape, "reservation_request", struct hold_request,
             "A hold on stock with a time limit, for a cart", hold_request_fields);
