/* The inside of orders: entries of the state (orders_state.c), allocation of stock
 * (orders_allocate.c), reading (orders_query.c); orders.c decides. */
#ifndef PENSTOCK_DOMAIN_ORDERS_PRIV_H
#define PENSTOCK_DOMAIN_ORDERS_PRIV_H

#include "base/map.h"
#include "domain/orders.h"
#include "domain/stock.h"

struct line_entry {
    struct str line_id, sku;
    int64_t quantity, shipped, cancelled;
};
static inline int64_t line_open(const struct line_entry *line) {
    return line->quantity - line->shipped - line->cancelled;
}
/* Stock committed for a line at a location; `quantity` is what is left of it. */
struct allocation {
    uint32_t line;
    struct str location;
    int64_t quantity;
};
struct order_entry {
    struct id128 id;
    struct hash128 natural; /* channel, channel_order_id */
    uint64_t captured_seq, last_seq;
    int64_t captured_us, updated_us;
    uint32_t version;
    uint32_t line_count, allocation_count;
    uint32_t text_bytes; /* of the texts in the block of lines */
    uint8_t state; /* enum order_state */
    bool posted;   /* a system of the books has it */
    struct line_entry *lines;       /* one block: lines, allocations, texts */
    struct allocation *allocations; /* in the order stock was committed */
};
/* Those in memory; the others are on the shelf. */
struct orders_state {
    struct order_entry *orders; /* by slot; a free one has no version */
    uint32_t count, cap;        /* slots ever used; allocated */
    uint32_t free;              /* slot + 1; the next one is in its last_seq */
    struct map by_id, by_natural;
};
extern const struct entity_kind order_entity, order_natural_entity;

/* Slots; MAP_NONE: there is no such order. May load it, and so move the others. */
uint32_t order_find(const struct state *state, struct str order_id);
uint32_t order_find_natural(const struct state *state, struct str channel,
                            struct str channel_order_id);
uint32_t order_line_find(const struct order_entry *entry, struct str line_id);
enum err order_add(struct state *state, const struct event *event) WARN_UNUSED;
/* command_type.needs of what names an order in its path. */
void order_needs(struct command *command);
void order_needs_natural(struct command *command, struct str channel, struct str channel_order_id);
void orders_state_free(void *part);
void orders_dump(const void *part, struct buf *out);

/* Where the lines of an order get their stock: changes for stock.reserved (held released and
 * committed), and the reservations of the answer. */
struct taking {
    uint32_t line, nth;
    struct str location, reservation_id; /* of the hold it is taken from; absent: open stock */
    int64_t quantity;
};
struct allocating {
    struct taking *takings;
    struct stock_change *changes;
    struct order_reservation *reservations;
    uint32_t count, cap;
    bool shortage; /* not all could be committed; faults name the lines */
    struct str short_sku; /* the first SKU of which there is too little … */
    int64_t short_by;     /* … by so much … */
    uint32_t short_count; /* … of so many SKUs */
};
/* Decides it: same SKU summed first, holds of the lines used before open stock, the channel's
 * sourcing in order; one location for a SKU where one has enough, else split. On shortage and
 * `partly`, what there is is committed. Faults go to the decision's answer when `refuse`. */
enum err order_allocate(struct decision *decision, const struct order *order, bool partly,
                        bool refuse, struct allocating *out) WARN_UNUSED;

/* Reading: bodies of order.get and order.list, filled by decide, answered by finish. */
struct order_snapshot {
    struct str order_id;
    uint64_t captured_seq;
    int64_t captured_us, updated_us, version;
    int32_t state;
    const struct line_entry *lines;
    const struct allocation *allocations;
    uint32_t line_count, allocation_count;
    bool whole; /* lines and allocations are known (not in lists) */
};
extern const struct command_type order_get_command, order_list_command;
extern const struct table orders_table;
enum { ORDERS_ORDER_ID, ORDERS_CHANNEL, ORDERS_CHANNEL_ORDER_ID, ORDERS_STATE, ORDERS_VERSION,
       ORDERS_CURRENCY, ORDERS_GRAND, ORDERS_CAPTURED_US, ORDERS_UPDATED_US, ORDERS_SEQ,
       ORDERS_COLUMNS };
extern const struct query_param order_list_params[];
enum err order_get_bind(const struct query *query, void *body, struct arena *arena,
                        struct fault *fault);
enum err order_list_bind(const struct query *query, void *body, struct arena *arena,
                         struct fault *fault);
extern const struct shape order_document_shape;

#endif
