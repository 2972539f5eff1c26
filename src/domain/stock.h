/* stock: what is where (I1, I2). Positions by SKU and location; holds of carts; every change is
 * a list of differences in an event, so that anyone can add them up.
 *
 * Availability = on hand - held - committed - safety. It is what readers on other threads see:
 * values published after the fsync, never those a command is changing. */
#ifndef PENSTOCK_DOMAIN_STOCK_H
#define PENSTOCK_DOMAIN_STOCK_H

#include "core/capability.h"

extern const struct capability stock_capability;

/* One difference at one position; quantities scale 6, signed, absent = 0. */
struct stock_change {
    uint64_t has;
    struct str line_id; /* of the order it is for */
    struct str sku, location;
    int64_t on_hand, held, committed;
    struct str reservation_id; /* the hold that `held` belongs to */
    int64_t version; /* of the position, after the event; set by the hub. An event raises it by
                        one however many of its changes are at the position; 0 where it is of
                        before positions had versions in events, and in a superseded count */
};
enum stock_change_row {
    CHANGE_LINE_ID, CHANGE_SKU, CHANGE_LOCATION, CHANGE_ON_HAND, CHANGE_HELD, CHANGE_COMMITTED,
    CHANGE_RESERVATION_ID, CHANGE_VERSION,
};
extern const struct shape stock_change_shape;

/* Data of every stock event. */
struct stock_event {
    uint64_t has;
    struct str reason;         /* shipment, cancelled, expired …, or the caller's words */
    struct str reference;      /* the caller's natural key */
    struct str order_id;
    struct str reservation_id; /* stock.reserved: the hold this makes */
    struct instant expires_at; /* of that hold */
    struct instant occurred_at; /* when it happened there: counts and movements */
    int64_t counted;           /* stock.counted: what was found */
    bool future;               /* stated in the future: the hub's own time was taken */
    bool superseded;           /* an older count than the one we have: without effect */
    bool negative;             /* on hand is below zero afterwards */
    struct shape_list changes; /* of struct stock_change */
    const struct json *ext;
};
enum stock_event_row {
    STOCK_REASON, STOCK_REFERENCE, STOCK_ORDER_ID, STOCK_RESERVATION_ID, STOCK_EXPIRES_AT,
    STOCK_OCCURRED_AT, STOCK_COUNTED, STOCK_FUTURE, STOCK_SUPERSEDED, STOCK_NEGATIVE,
    STOCK_CHANGES, STOCK_EXT,
};
extern const struct shape stock_event_shape;
extern const struct event_type stock_counted_event, stock_adjusted_event, stock_received_event,
    stock_reserved_event, stock_released_event;

/* --- for other capabilities' decide --------------------------------------------------------- */

/* What may still be promised there, now (scale 6); 0 for an unknown position. */
int64_t stock_available(const struct decision *decision, struct str sku, struct str location);
/* on hand there, now. */
int64_t stock_on_hand(const struct decision *decision, struct str sku, struct str location);

/* Sets the version of each change, as it will be after an event of these changes. One event of a
 * decision alone may change a position. */
void stock_versions(const struct decision *decision, struct stock_change *changes, uint32_t count);

/* What is left of a hold for a SKU: the location and the quantity; false where there is no such
 * hold (expired, used up, never made) or it has none of this SKU. `nth` counts the hold's
 * items of that SKU. */
bool stock_hold_item(const struct decision *decision, struct str reservation_id, struct str sku,
                     uint32_t nth, struct str *location, int64_t *quantity);

/* GET /v1/availability, for who asks on another thread: `sku` and `location` values of the query, the
 * answer into query->out. Uses nothing of the reader but its core. */
enum err stock_availability(struct query *query, struct fault *fault) WARN_UNUSED;

#endif
