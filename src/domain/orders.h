/* orders: capture, cancel, ship (O1 to O3). An order is kept as its captured document in the
 * journal and a small entry in the state: what is open, shipped, cancelled, and where stock is
 * committed for it. */
#ifndef PENSTOCK_DOMAIN_ORDERS_H
#define PENSTOCK_DOMAIN_ORDERS_H

#include "core/capability.h"
#include "retail/order.h"

extern const struct capability orders_capability;
/* Body: struct order. With command.fact (a web shop's paid order) a shortage holds the order
 * and raises an exception instead of refusing it. */
extern const struct command_type order_capture_command;

enum order_state {
    ORDER_ACCEPTED, ORDER_HELD, ORDER_ALLOCATED, ORDER_PARTIALLY_SHIPPED, ORDER_SHIPPED,
    ORDER_COMPLETED, ORDER_CANCELLED,
};
extern const char *const order_states[];

/* Stock committed for a line. */
struct order_reservation {
    uint64_t has;
    struct str line_id, location;
    int64_t quantity;
};
enum order_reservation_row { RESERVATION_LINE_ID, RESERVATION_LOCATION, RESERVATION_QUANTITY };
extern const struct shape order_reservation_shape;

/* A question for one order, to be submitted; its answer is OK or ERR_NOT_FOUND, and the order as it
 * was captured is in the event order_asked_seq tells. For who has no reader (deliver/look.c). */
struct core;
enum err order_ask(struct core *core, struct str order_id, struct arena *arena,
                   struct command *out, struct fault *fault) WARN_UNUSED;
/* The same by the channel's own number; where there is none, order_asked_seq is 0. */
enum err order_ask_number(struct core *core, struct str channel, struct str channel_order_id,
                          struct arena *arena, struct command *out, struct fault *fault) WARN_UNUSED;
uint64_t order_asked_seq(const struct command *command);

/* Data of order.captured. */
struct order_captured {
    uint64_t has;
    struct str order_id;
    int32_t state; /* enum order_state: accepted or held */
    int64_t version;
    struct shape_list reservations; /* of struct order_reservation */
    struct order *order;
};
enum order_captured_row {
    CAPTURED_ORDER_ID, CAPTURED_STATE, CAPTURED_VERSION, CAPTURED_RESERVATIONS, CAPTURED_ORDER,
};
extern const struct shape order_captured_shape;
extern const struct event_type order_captured_event, order_held_event, order_cancelled_event,
    order_shipped_event, order_completed_event;

/* A quantity of a line: cancelled, shipped. */
struct order_part {
    uint64_t has;
    struct str line_id;
    int64_t quantity;
    struct str sku, location; /* in events */
};
enum order_part_row { PART_LINE_ID, PART_QUANTITY, PART_SKU, PART_LOCATION };

struct parcel {
    uint64_t has;
    struct str carrier, tracking;
};

/* Body of cancel and ship, and data of order.cancelled, order.shipped, order.held and
 * order.completed. */
struct order_change {
    uint64_t has;
    struct str order_id;   /* hub: set in events */
    struct str shipment_id;
    int32_t state;         /* enum order_state afterwards */
    int64_t version;
    struct str reason;
    struct str location;
    struct instant shipped_at;
    struct shape_list lines;   /* of struct order_part */
    struct shape_list parcels; /* of struct parcel */
    const struct json *ext;
};
enum order_change_row {
    ORDER_CHANGE_ORDER_ID, ORDER_CHANGE_SHIPMENT_ID, ORDER_CHANGE_STATE, ORDER_CHANGE_VERSION,
    ORDER_CHANGE_REASON, ORDER_CHANGE_LOCATION, ORDER_CHANGE_SHIPPED_AT, ORDER_CHANGE_LINES,
    ORDER_CHANGE_PARCELS, ORDER_CHANGE_EXT,
};

/* For command_type.needs of what touches an order. */
void order_need(struct command *command, struct str order_id);

#endif
