/* allocation: which location gives the stock of which line. Never promises what is not there:
 * quantities are summed per SKU before anything is compared with what is available. */
#include "domain/orders_priv.h"

#include <stdlib.h>

#include "base/decimal.h"

/* What is still wanted of a line, sorted by SKU. */
struct want {
    struct str sku;
    uint32_t line;
    int64_t quantity; /* not yet allocated */
};

static int want_order(const void *a, const void *b) {
    const struct want *x = a, *y = b;
    int order = str_cmp(x->sku, y->sku);
    return order ? order : x->line < y->line ? -1 : x->line > y->line;
}

static enum err allocating_add(struct decision *decision, struct allocating *out, uint32_t line,
                               struct str location, int64_t quantity,
                               struct str reservation_id) {
    if (out->count == out->cap) {
        uint32_t cap = out->cap ? out->cap * 2 : 8;
        struct taking *takings = arena_array(decision_arena(decision), cap, sizeof *takings);
        if (!takings)
            return decision_refuse(decision, ERR_NOMEM, "no memory for the reservations");
        if (out->count)
            memcpy(takings, out->takings, out->count * sizeof *takings);
        out->takings = takings;
        out->cap = cap;
    }
    out->takings[out->count] =
        (struct taking){line, out->count, location, reservation_id, quantity};
    out->count++;
    return OK;
}

/* What earlier lines of this order took from the same item of a hold. */
static int64_t taken_of_hold(const struct allocating *out, const struct order *order,
                             const struct order_line *line, struct str location) {
    int64_t sum = 0;
    for (uint32_t i = 0; i < out->count; i++) {
        const struct taking *taking = &out->takings[i];
        if (str_eq(taking->reservation_id, line->reservation_id) &&
            str_eq(list_at(order->lines, struct order_line, taking->line)->sku, line->sku) &&
            str_eq(taking->location, location))
            sum += taking->quantity;
    }
    return sum;
}

/* Lines that name a hold take from it first. */
static enum err take_hold(struct decision *decision, const struct order *order, struct want *want,
                          bool refuse, struct allocating *out) {
    const struct order_line *line = list_at(order->lines, struct order_line, want->line);
    struct str location;
    int64_t quantity;
    bool found = false;
    if (!line->reservation_id.ptr)
        return OK;
    for (uint32_t nth = 0; want->quantity > 0 &&
                           stock_hold_item(decision, line->reservation_id, line->sku, nth,
                                           &location, &quantity);
         nth++) {
        found = true;
        quantity -= taken_of_hold(out, order, line, location);
        if (quantity <= 0)
            continue;
        if (quantity > want->quantity)
            quantity = want->quantity;
        enum err err =
            allocating_add(decision, out, want->line, location, quantity, line->reservation_id);
        if (err != OK)
            return err;
        want->quantity -= quantity;
    }
    if (!found && refuse)
        return decision_fault(
            decision, ERR_CONFLICT,
            arena_printf(decision_arena(decision), "/lines/%u/reservation_id", want->line),
            "the reservation has none of this SKU or is gone (expired, used, ended): leave it out "
            "to take from open stock");
    return OK;
}

/* Gives `available` at a location to the wants of one SKU, in the order of the lines. */
static enum err take_open(struct decision *decision, struct want *wants, uint32_t count,
                          struct str location, int64_t available, struct allocating *out) {
    for (uint32_t i = 0; i < count && available > 0; i++) {
        int64_t quantity = wants[i].quantity < available ? wants[i].quantity : available;
        if (quantity == 0)
            continue;
        enum err err =
            allocating_add(decision, out, wants[i].line, location, quantity, STR_NONE);
        if (err != OK)
            return err;
        wants[i].quantity -= quantity;
        available -= quantity;
    }
    return OK;
}

static enum err shortage_fault(struct decision *decision, const struct order *order,
                               const struct want *want, int64_t short_by) {
    const struct order_line *line = list_at(order->lines, struct order_line, want->line);
    struct buf text;
    buf_init(&text, 256);
    decimal_write(&text, short_by, QTY_SCALE);
    enum err err = decision_fault(
        decision, ERR_OUT_OF_STOCK,
        arena_printf(decision_arena(decision), "/lines/%u/quantity", want->line),
        "%s more of %.*s are wanted than are available", buf_cstr(&text), STR_FMT(line->sku));
    buf_free(&text);
    return err;
}

/* All lines of one SKU; open stock of it is asked for here alone. */
static enum err allocate_sku(struct decision *decision, const struct order *order,
                             const struct config_channel *channel, struct want *wants,
                             uint32_t count, bool partly, bool refuse, struct allocating *out) {
    int64_t wanted = 0, left;
    for (uint32_t i = 0; i < count; i++)
        if (!decimal_add(wanted, wants[i].quantity, &wanted))
            return decision_fault(decision, ERR_INVALID, STR("/lines"), "quantities are too large");
    if (wanted == 0)
        return OK;
    uint32_t sources = channel->sourcing.count;
    int64_t all = 0;
    for (uint32_t i = 0; i < sources; i++) {
        struct str location = *list_at(channel->sourcing, struct str, i);
        int64_t available = stock_available(decision, wants[0].sku, location);
        if (available >= wanted)
            return take_open(decision, wants, count, location, wanted, out);
        all += available > 0 ? available : 0;
    }
    if (all < wanted) {
        out->shortage = true;
        if (out->short_count++ == 0) {
            out->short_sku = wants[0].sku;
            out->short_by = wanted - all;
        }
        if (refuse)
            return shortage_fault(decision, order, &wants[count - 1], wanted - all);
        if (!partly)
            return OK;
    }
    left = wanted;
    for (uint32_t i = 0; i < sources && left > 0; i++) {
        struct str location = *list_at(channel->sourcing, struct str, i);
        int64_t available = stock_available(decision, wants[0].sku, location);
        if (available <= 0)
            continue;
        enum err err = take_open(decision, wants, count, location,
                                 available < left ? available : left, out);
        if (err != OK)
            return err;
        left -= available < left ? available : left;
    }
    return OK;
}

static int taking_order(const void *a, const void *b) {
    const struct taking *x = a, *y = b;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->nth < y->nth ? -1 : x->nth > y->nth;
}

/* The takings, in the order of the lines, as changes of stock and as the answer's reservations. */
static enum err allocating_end(struct decision *decision, const struct order *order,
                               struct allocating *out) {
    struct arena *arena = decision_arena(decision);
    out->changes = arena_array(arena, out->count, sizeof *out->changes);
    out->reservations = arena_array(arena, out->count, sizeof *out->reservations);
    if (!out->changes || !out->reservations)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the reservations");
    if (out->count)
        qsort(out->takings, out->count, sizeof *out->takings, taking_order);
    for (uint32_t i = 0; i < out->count; i++) {
        const struct taking *taking = &out->takings[i];
        const struct order_line *line = list_at(order->lines, struct order_line, taking->line);
        struct stock_change *change = &out->changes[i];
        *change = (struct stock_change){.line_id = line->line_id, .sku = line->sku,
                                        .location = taking->location,
                                        .committed = taking->quantity};
        change->has = 1u << CHANGE_LINE_ID | 1u << CHANGE_SKU | 1u << CHANGE_LOCATION |
                      1u << CHANGE_COMMITTED;
        if (taking->reservation_id.ptr) {
            change->held = -taking->quantity;
            change->reservation_id = taking->reservation_id;
            change->has |= 1u << CHANGE_HELD | 1u << CHANGE_RESERVATION_ID;
        }
        out->reservations[i] =
            (struct order_reservation){7, line->line_id, taking->location, taking->quantity};
    }
    return OK;
}

enum err order_allocate(struct decision *decision, const struct order *order, bool partly,
                        bool refuse, struct allocating *out) {
    const struct config_channel *channel =
        config_channel(decision_config(decision), order->channel);
    uint32_t lines = order->lines.count;
    struct want *wants = arena_array(decision_arena(decision), lines, sizeof *wants);
    if (!wants)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the reservations");
    must(channel); /* checked before */
    enum err first = OK;
    for (uint32_t i = 0; i < lines; i++) {
        const struct order_line *line = list_at(order->lines, struct order_line, i);
        wants[i] = (struct want){.sku = line->sku, .line = i, .quantity = line->quantity};
        enum err err = take_hold(decision, order, &wants[i], refuse, out);
        if (err != OK && err != ERR_CONFLICT)
            return err;
        first = first == OK ? err : first;
    }
    qsort(wants, lines, sizeof *wants, want_order);
    for (uint32_t i = 0, end; i < lines; i = end) {
        for (end = i + 1; end < lines && str_eq(wants[end].sku, wants[i].sku); end++)
            ;
        enum err err = allocate_sku(decision, order, channel, wants + i, end - i, partly, refuse,
                                    out);
        if (err != OK && err != ERR_OUT_OF_STOCK)
            return err;
        first = first == OK ? err : first;
    }
    if (out->shortage && !partly && !refuse)
        out->count = 0; /* all lines or none */
    return first == OK ? allocating_end(decision, order, out) : first;
}
