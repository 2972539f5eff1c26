/* stock: counts, adjustments, receipts, holds; and how every stock event changes positions.
 * See stock.h for what holds, stock_priv.h for the tables.
 *
 * A late count does not wipe out what came after it: on hand = counted + movements after
 * counted_at. Of two counts with one time the later arrival wins; an older one is recorded
 * without effect. */
#include "domain/stock_priv.h"

#include "base/decimal.h"
#include "retail/stock.h"

static const struct shape_field change_rows[] = {
    [CHANGE_LINE_ID] = SHAPE_ROW(struct stock_change, line_id, SHAPE_ID, "Order line it is for"),
    [CHANGE_SKU] = SHAPE_ROW(struct stock_change, sku, SHAPE_ID, "Stock keeping unit",
                             .flags = SHAPE_REQUIRED),
    [CHANGE_LOCATION] = SHAPE_ROW(struct stock_change, location, SHAPE_CODE, "Where",
                                  .flags = SHAPE_REQUIRED),
    [CHANGE_ON_HAND] = SHAPE_ROW(struct stock_change, on_hand, SHAPE_DECIMAL,
                                 "Difference of what is there"),
    [CHANGE_HELD] = SHAPE_ROW(struct stock_change, held, SHAPE_DECIMAL,
                              "Difference of what carts hold"),
    [CHANGE_COMMITTED] = SHAPE_ROW(struct stock_change, committed, SHAPE_DECIMAL,
                                   "Difference of what orders are promised"),
    [CHANGE_RESERVATION_ID] = SHAPE_ROW(struct stock_change, reservation_id, SHAPE_ID,
                                        "The hold that `held` belongs to"),
    [CHANGE_VERSION] = {.name = "version", .kind = SHAPE_INTEGER, .since = 1, .owner = "hub",
                        .offset = offsetof(struct stock_change, version),
                        .flags = SHAPE_READ_ONLY, .help = "Of the position, after the event"},
};
SHAPE_DEFINE(stock_change_shape, "stock_change", struct stock_change,
             "A difference at one position", change_rows);

static const struct shape_field stock_event_rows[] = {
    [STOCK_REASON] = SHAPE_ROW(struct stock_event, reason, SHAPE_TEXT, "Why"),
    [STOCK_REFERENCE] = SHAPE_ROW(struct stock_event, reference, SHAPE_ID,
                                  "The caller's own key of it"),
    [STOCK_ORDER_ID] = SHAPE_ROW(struct stock_event, order_id, SHAPE_ID, "The order it is for"),
    [STOCK_RESERVATION_ID] = SHAPE_ROW(struct stock_event, reservation_id, SHAPE_ID,
                                       "The hold it makes or ends"),
    [STOCK_EXPIRES_AT] = SHAPE_ROW(struct stock_event, expires_at, SHAPE_INSTANT,
                                   "When that hold ends by itself"),
    [STOCK_OCCURRED_AT] = SHAPE_ROW(struct stock_event, occurred_at, SHAPE_INSTANT,
                                    "When it happened there; counts and movements"),
    [STOCK_COUNTED] = SHAPE_ROW(struct stock_event, counted, SHAPE_DECIMAL, "What was found"),
    [STOCK_FUTURE] = SHAPE_ROW(struct stock_event, future, SHAPE_BOOL,
                               "Its time lay in the future: the hub's own was taken"),
    [STOCK_SUPERSEDED] = SHAPE_ROW(struct stock_event, superseded, SHAPE_BOOL,
                                   "Older than the count the hub has: without effect"),
    [STOCK_NEGATIVE] = SHAPE_ROW(struct stock_event, negative, SHAPE_BOOL,
                                 "On hand is below zero afterwards"),
    [STOCK_CHANGES] = SHAPE_ROW(struct stock_event, changes, SHAPE_LIST, "The differences",
                                .flags = SHAPE_REQUIRED, .max = 100000,
                                .shape = &stock_change_shape),
    [STOCK_EXT] = SHAPE_ROW(struct stock_event, ext, SHAPE_OPEN, "Passed on as it came"),
};
SHAPE_DEFINE(stock_event_shape, "stock_event", struct stock_event, "A change of stock",
             stock_event_rows);

/* --- apply ------------------------------------------------------------------------------------------ */

static enum err change_apply(struct state *state, const struct stock_change *change,
                             bool movement, int64_t at_us) {
    struct stock_state *s = state_of(state, &stock_capability);
    uint32_t index = position_make(s, change->sku, change->location);
    if (index == MAP_NONE)
        return ERR_NOMEM;
    struct position *p = &s->positions[index];
    p->now.on_hand += change->on_hand;
    p->now.held += change->held;
    p->now.committed += change->committed;
    must(p->now.held >= 0 && p->now.committed >= 0);
    enum err err = position_touch(
        state, index,
        shape_has(change, CHANGE_VERSION) ? (uint32_t)change->version : p->version + 1);
    if (err == OK && movement && change->on_hand)
        err = position_move(s, index, at_us, change->on_hand);
    if (err == OK && change->held < 0 && shape_has(change, CHANGE_RESERVATION_ID)) {
        uint32_t hold = hold_find(s, change->reservation_id);
        must(hold != MAP_NONE);
        err = hold_take(state, hold, index, -change->held);
    }
    return err;
}

static enum err changes_apply(struct state *state, const struct event *event, bool movement) {
    const struct stock_event *e = event->data;
    int64_t at_us = shape_has(e, STOCK_OCCURRED_AT) ? e->occurred_at.us : event->time_us;
    for (uint32_t i = 0; i < e->changes.count; i++) {
        enum err err =
            change_apply(state, list_at(e->changes, struct stock_change, i), movement, at_us);
        if (err != OK)
            return err;
    }
    return OK;
}

static enum err moved_apply(struct state *state, const struct event *event) {
    return changes_apply(state, event, true);
}

static enum err counted_apply(struct state *state, const struct event *event) {
    struct stock_state *s = state_of(state, &stock_capability);
    const struct stock_event *e = event->data;
    if (e->superseded)
        return OK;
    enum err err = changes_apply(state, event, false);
    if (err != OK)
        return err;
    const struct stock_change *change = list_at(e->changes, struct stock_change, 0);
    position_counted(s, position_find(s, change->sku, change->location), e->occurred_at.us);
    return OK;
}

static enum err reserved_apply(struct state *state, const struct event *event) {
    const struct stock_event *e = event->data;
    struct id128 id;
    enum err err = changes_apply(state, event, false);
    if (err != OK || !shape_has(e, STOCK_EXPIRES_AT))
        return err;
    must(id_parse(e->reservation_id, "res_", &id));
    return hold_add(state, id, e->expires_at.us, e);
}

static void stock_project(struct rows *rows, const struct event *event) {
    const struct stock_event *e = event->data;
    if (shape_has(e, STOCK_REFERENCE))
        rows_ref(rows, e->reference);
    if (shape_has(e, STOCK_ORDER_ID) && !str_eq(e->order_id, event->subject))
        rows_ref(rows, e->order_id);
}

const struct event_type stock_counted_event = {
    .name = "stock.counted", .shape = &stock_event_shape, .apply = counted_apply,
    .help = "Stock was counted"};
static const char *const stock_reads[] = {"order_id", "reference", NULL};
const struct event_type stock_adjusted_event = {
    .name = "stock.adjusted", .shape = &stock_event_shape, .apply = moved_apply,
    .project = stock_project, .project_reads = stock_reads,
    .help = "Stock changed by a difference: correction, shipment"};
const struct event_type stock_received_event = {
    .name = "stock.received", .shape = &stock_event_shape, .apply = moved_apply,
    .project = stock_project, .project_reads = stock_reads, .help = "Goods came in"};
const struct event_type stock_reserved_event = {
    .name = "stock.reserved", .shape = &stock_event_shape, .apply = reserved_apply,
    .help = "Stock was promised, to a cart (held) or an order (committed)"};
const struct event_type stock_released_event = {
    .name = "stock.released", .shape = &stock_event_shape, .apply = moved_apply,
    .help = "A promise ended without the goods leaving"};
static const struct event_type *const stock_events[] = {
    &stock_counted_event,  &stock_adjusted_event, &stock_received_event,
    &stock_reserved_event, &stock_released_event, NULL};

/* --- for other capabilities ---------------------------------------------------------------------------- */

static const struct position *decision_position(const struct decision *decision, struct str sku,
                                                struct str location) {
    const struct stock_state *s = decision_state(decision, &stock_capability);
    uint32_t index = position_find(s, sku, location);
    return index == MAP_NONE ? NULL : &s->positions[index];
}

static int64_t values_available(const struct stock_values *v) {
    return v->on_hand - v->held - v->committed;
}

int64_t stock_available(const struct decision *decision, struct str sku, struct str location) {
    const struct position *p = decision_position(decision, sku, location);
    return p ? values_available(&p->now) : 0;
}

int64_t stock_on_hand(const struct decision *decision, struct str sku, struct str location) {
    const struct position *p = decision_position(decision, sku, location);
    return p ? p->now.on_hand : 0;
}

void stock_versions(const struct decision *decision, struct stock_change *changes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const struct position *p =
            decision_position(decision, changes[i].sku, changes[i].location);
        changes[i].version = p ? (int64_t)p->version + 1 : 1;
        shape_mark(&changes[i], CHANGE_VERSION);
    }
}

bool stock_hold_item(const struct decision *decision, struct str reservation_id, struct str sku,
                     uint32_t nth, struct str *location, int64_t *quantity) {
    const struct stock_state *s = decision_state(decision, &stock_capability);
    uint32_t index = hold_find(s, reservation_id), sku_id = name_find(&s->skus, sku);
    if (index == MAP_NONE || sku_id == MAP_NONE)
        return false;
    const struct hold *hold = &s->holds[index];
    for (uint32_t i = 0; i < hold->item_count; i++) {
        const struct position *p = &s->positions[hold->items[i].position];
        if (p->sku != sku_id || nth-- > 0)
            continue;
        *location = s->locations.items[p->location];
        *quantity = hold->items[i].quantity;
        return true;
    }
    return false;
}

/* --- commands -------------------------------------------------------------------------------------------- */

/* "SKU@LOCATION": subject of what happens at one position. */
static struct str position_subject(struct arena *arena, struct str sku, struct str location) {
    return arena_printf(arena, "%.*s@%.*s", STR_FMT(sku), STR_FMT(location));
}

static enum err location_check(const struct command_context *context, struct str location,
                               const char *pointer, struct fault *fault) {
    if (!location.ptr || config_location(context->config, location))
        return OK;
    fault_add(fault, str_c(pointer), "there is no location %.*s in the configuration",
              STR_FMT(location));
    return ERR_INVALID;
}

/* A stock event of `count` changes. */
static struct stock_event *stock_event_new(struct decision *decision,
                                           const struct event_type *type, struct str subject,
                                           uint32_t count) {
    struct stock_event *e = NULL;
    struct arena *arena = decision_arena(decision);
    struct stock_change *changes = arena_array(arena, count, sizeof *changes);
    if (!subject.ptr || !changes || !decision_event(decision, type, subject, (void **)&e))
        return NULL;
    e->changes = (struct shape_list){changes, count};
    shape_mark(e, STOCK_CHANGES);
    return e;
}

static void change_fill(struct stock_change *change, struct str sku, struct str location) {
    change->sku = sku;
    change->location = location;
    shape_mark(change, CHANGE_SKU);
    shape_mark(change, CHANGE_LOCATION);
}

static void event_text(struct stock_event *e, struct str *to, struct str from, unsigned row) {
    if (from.len) {
        *to = from;
        shape_mark(e, row);
    }
}

static enum err no_memory(struct decision *decision) {
    return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
}

/* What the answer to a change at one position says. */
struct position_answer {
    uint64_t has;
    struct str sku, location;
    int64_t on_hand, version;
    struct instant counted_at;
    bool future, superseded, negative;
};
enum position_answer_row {
    ANSWER_SKU, ANSWER_LOCATION, ANSWER_ON_HAND, ANSWER_VERSION, ANSWER_COUNTED_AT, ANSWER_FUTURE,
    ANSWER_SUPERSEDED, ANSWER_NEGATIVE,
};
static const struct shape_field position_answer_rows[] = {
    [ANSWER_SKU] = SHAPE_ROW(struct position_answer, sku, SHAPE_ID, "Stock keeping unit"),
    [ANSWER_LOCATION] = SHAPE_ROW(struct position_answer, location, SHAPE_CODE, "Where"),
    [ANSWER_ON_HAND] = SHAPE_ROW(struct position_answer, on_hand, SHAPE_DECIMAL,
                                 "What is there now"),
    [ANSWER_VERSION] = SHAPE_ROW(struct position_answer, version, SHAPE_INTEGER,
                                 "Of the position, counted up with every change"),
    [ANSWER_COUNTED_AT] = SHAPE_ROW(struct position_answer, counted_at, SHAPE_INSTANT,
                                    "The time the count holds for"),
    [ANSWER_FUTURE] = SHAPE_ROW(struct position_answer, future, SHAPE_BOOL,
                                "The stated time lay in the future: the hub's own was taken"),
    [ANSWER_SUPERSEDED] = SHAPE_ROW(struct position_answer, superseded, SHAPE_BOOL,
                                    "A newer count is known: this one has no effect"),
    [ANSWER_NEGATIVE] = SHAPE_ROW(struct position_answer, negative, SHAPE_BOOL,
                                  "On hand is below zero"),
};
static SHAPE_DEFINE(position_answer_shape, "stock_position", struct position_answer,
                    "A position after a change", position_answer_rows);

static void answer_fill(struct position_answer *answer, struct str sku, struct str location,
                        int64_t on_hand, int64_t version) {
    answer->sku = sku;
    answer->location = location;
    answer->on_hand = on_hand;
    answer->version = version;
    answer->negative = on_hand < 0;
    answer->has |= 1u << ANSWER_SKU | 1u << ANSWER_LOCATION | 1u << ANSWER_ON_HAND |
                   1u << ANSWER_VERSION;
    if (on_hand < 0)
        shape_mark(answer, ANSWER_NEGATIVE);
}

/* --- counts */

static enum err count_check(const struct command_context *context, void *body, struct arena *arena,
                            struct fault *fault) {
    (void)arena;
    return location_check(context, ((struct stock_count *)body)->location, "/location", fault);
}

static enum err count_decide(struct decision *decision, const struct command *command) {
    const struct stock_count *count = command->body;
    const struct position *p = decision_position(decision, count->sku, count->location);
    static const struct position unknown = {.counted_at_us = NEVER, .pruned_at_us = NEVER};
    const struct stock_state *s = decision_state(decision, &stock_capability);
    uint32_t index = p ? (uint32_t)(p - s->positions) : MAP_NONE;
    if (!p)
        p = &unknown;
    if (shape_has(count, COUNT_EXPECTED_ON_HAND) && count->expected_on_hand != p->now.on_hand) {
        struct buf have;
        buf_init(&have, 64);
        decimal_write(&have, p->now.on_hand, QTY_SCALE);
        enum err err = decision_fault(decision, ERR_CONFLICT, STR("/expected_on_hand"),
                                      "on hand is %s", buf_cstr(&have));
        buf_free(&have);
        return err;
    }
    bool stated = shape_has(count, COUNT_COUNTED_AT);
    bool future = stated && count->counted_at.us > command->now_us;
    struct instant at = stated ? count->counted_at : (struct instant){.us = command->now_us};
    if (future)
        at.us = command->now_us;
    bool superseded = at.us < p->counted_at_us;
    if (!superseded && at.us < p->pruned_at_us)
        return decision_fault(decision, ERR_CONFLICT, STR("/counted_at"),
                              "movements from before the last %lld hours are not remembered one "
                              "by one (setting count_horizon_hours): count again",
                              (long long)decision_config(decision)->settings.count_horizon_hours);
    int64_t after = p->now.on_hand;
    if (!superseded && !decimal_add(count->on_hand,
                                    p == &unknown ? 0 : position_moved_since(s, index, at.us),
                                    &after))
        return decision_fault(decision, ERR_INVALID, STR("/on_hand"), "is too large");
    struct stock_event *e = stock_event_new(
        decision, &stock_counted_event,
        position_subject(decision_arena(decision), count->sku, count->location), 1);
    if (!e)
        return no_memory(decision);
    struct stock_change *change = list_at(e->changes, struct stock_change, 0);
    change_fill(change, count->sku, count->location);
    change->on_hand = after - p->now.on_hand;
    shape_mark(change, CHANGE_ON_HAND);
    if (!superseded)
        stock_versions(decision, change, 1);
    e->occurred_at = at;
    e->counted = count->on_hand;
    shape_mark(e, STOCK_OCCURRED_AT);
    shape_mark(e, STOCK_COUNTED);
    event_text(e, &e->reason, count->reason, STOCK_REASON);
    struct position_answer answer = {.counted_at = at, .future = future,
                                     .superseded = superseded};
    answer_fill(&answer, count->sku, count->location, after, p->version + !superseded);
    shape_mark(&answer, ANSWER_COUNTED_AT);
    if (future) {
        e->future = true;
        shape_mark(e, STOCK_FUTURE);
        shape_mark(&answer, ANSWER_FUTURE);
    }
    if (superseded) {
        e->superseded = true;
        shape_mark(e, STOCK_SUPERSEDED);
        shape_mark(&answer, ANSWER_SUPERSEDED);
    }
    return decision_answer(decision, 201, &position_answer_shape, &answer);
}
static const struct command_type stock_count_command = {
    .name = "stock.count", .shape = &stock_count_shape, .check = count_check,
    .decide = count_decide, .help = "Record what was counted"};

/* --- adjustments */

static enum err adjustment_check(const struct command_context *context, void *body,
                                 struct arena *arena, struct fault *fault) {
    const struct stock_adjustment *adjustment = body;
    (void)arena;
    enum err err = location_check(context, adjustment->location, "/location", fault);
    if (adjustment->delta == 0) {
        fault_add(fault, STR("/delta"), "must not be 0");
        err = ERR_INVALID;
    }
    return err;
}

static enum err adjustment_decide(struct decision *decision, const struct command *command) {
    const struct stock_adjustment *adjustment = command->body;
    const struct position *p = decision_position(decision, adjustment->sku, adjustment->location);
    int64_t before = p ? p->now.on_hand : 0, after;
    enum err err;
    if (shape_has(adjustment, ADJUSTMENT_REFERENCE) &&
        !decision_first(decision, "adjustment", adjustment->reference, &err))
        return err;
    struct instant at = shape_has(adjustment, ADJUSTMENT_OCCURRED_AT)
                            ? adjustment->occurred_at
                            : (struct instant){.us = command->now_us};
    /* A count that came after it has seen it. */
    bool superseded = p && at.us <= p->counted_at_us &&
                      shape_has(adjustment, ADJUSTMENT_OCCURRED_AT);
    if (!decimal_add(before, superseded ? 0 : adjustment->delta, &after))
        return decision_fault(decision, ERR_INVALID, STR("/delta"), "is too large");
    if (after < 0 && !command->fact && after < before) {
        struct buf have;
        buf_init(&have, 64);
        decimal_write(&have, before, QTY_SCALE);
        err = decision_fault(decision, ERR_CONFLICT, STR("/delta"),
                             "only %s are on hand; record a count if that is wrong",
                             buf_cstr(&have));
        buf_free(&have);
        return err;
    }
    struct stock_event *e = stock_event_new(
        decision, &stock_adjusted_event,
        position_subject(decision_arena(decision), adjustment->sku, adjustment->location), 1);
    if (!e)
        return no_memory(decision);
    struct stock_change *change = list_at(e->changes, struct stock_change, 0);
    change_fill(change, adjustment->sku, adjustment->location);
    change->on_hand = after - before;
    shape_mark(change, CHANGE_ON_HAND);
    stock_versions(decision, change, 1);
    e->occurred_at = at;
    shape_mark(e, STOCK_OCCURRED_AT);
    event_text(e, &e->reason, adjustment->reason, STOCK_REASON);
    event_text(e, &e->reference, adjustment->reference, STOCK_REFERENCE);
    e->negative = after < 0;
    if (after < 0)
        shape_mark(e, STOCK_NEGATIVE);
    struct position_answer answer = {.superseded = superseded};
    answer_fill(&answer, adjustment->sku, adjustment->location, after,
                change->version);
    if (superseded) {
        e->superseded = true;
        shape_mark(e, STOCK_SUPERSEDED);
        shape_mark(&answer, ANSWER_SUPERSEDED);
    }
    return decision_answer(decision, 201, &position_answer_shape, &answer);
}
static const struct command_type stock_adjust_command = {
    .name = "stock.adjust", .shape = &stock_adjustment_shape, .check = adjustment_check,
    .decide = adjustment_decide, .help = "Change what is on hand by a difference"};

/* --- receipts */

/* sku and quantity, or items: exactly one of the two forms. */
static enum err items_check(bool has_sku, bool has_quantity, bool has_items, struct fault *fault) {
    if (has_items ? has_sku || has_quantity : !has_sku && !has_quantity) {
        fault_add(fault, STR(""), "give either sku and quantity, or items");
        return ERR_INVALID;
    }
    if (!has_items && !has_sku)
        fault_add(fault, STR("/sku"), "is missing");
    if (!has_items && !has_quantity)
        fault_add(fault, STR("/quantity"), "is missing");
    return has_items || (has_sku && has_quantity) ? OK : ERR_INVALID;
}

static enum err receipt_check(const struct command_context *context, void *body,
                              struct arena *arena, struct fault *fault) {
    struct stock_receipt *receipt = body;
    enum err err = location_check(context, receipt->location, "/location", fault);
    enum err form = items_check(shape_has(receipt, RECEIPT_SKU), shape_has(receipt, RECEIPT_QUANTITY),
                                shape_has(receipt, RECEIPT_ITEMS), fault);
    if (err != OK || form != OK)
        return ERR_INVALID;
    if (shape_has(receipt, RECEIPT_SKU)) {
        struct stock_item *item = arena_new(arena, struct stock_item);
        if (!item)
            return fault_set(fault, ERR_NOMEM, "no memory for the document");
        *item = (struct stock_item){.has = 1u << ITEM_SKU | 1u << ITEM_QUANTITY,
                                    .sku = receipt->sku, .quantity = receipt->quantity};
        receipt->items = (struct shape_list){item, 1};
        shape_mark(receipt, RECEIPT_ITEMS);
        receipt->has &= ~(UINT64_C(1) << RECEIPT_SKU | UINT64_C(1) << RECEIPT_QUANTITY);
    }
    return OK;
}

struct receipt_answer {
    uint64_t has;
    struct str receipt_reference, location;
    struct shape_list items; /* of struct position_answer */
};
enum receipt_answer_row { RECEIPT_ANSWER_REFERENCE, RECEIPT_ANSWER_LOCATION, RECEIPT_ANSWER_ITEMS };
static const struct shape_field receipt_answer_rows[] = {
    [RECEIPT_ANSWER_REFERENCE] = SHAPE_ROW(struct receipt_answer, receipt_reference, SHAPE_ID,
                                           "The caller's own key"),
    [RECEIPT_ANSWER_LOCATION] = SHAPE_ROW(struct receipt_answer, location, SHAPE_CODE, "Where"),
    [RECEIPT_ANSWER_ITEMS] = SHAPE_ROW(struct receipt_answer, items, SHAPE_LIST,
                                       "The positions afterwards", .max = 5000,
                                       .shape = &position_answer_shape),
};
static SHAPE_DEFINE(receipt_answer_shape, "stock_receipt_answer", struct receipt_answer,
                    "Goods that were taken in", receipt_answer_rows);

static enum err receipt_decide(struct decision *decision, const struct command *command) {
    const struct stock_receipt *receipt = command->body;
    struct arena *arena = decision_arena(decision);
    uint32_t count = receipt->items.count;
    enum err err;
    if (shape_has(receipt, RECEIPT_REFERENCE) &&
        !decision_first(decision, "receipt", receipt->receipt_reference, &err))
        return err;
    struct str subject = count == 1 ? position_subject(arena,
                                          list_at(receipt->items, struct stock_item, 0)->sku,
                                          receipt->location)
                                    : receipt->location;
    struct stock_event *e = stock_event_new(decision, &stock_received_event, subject, count);
    struct position_answer *positions = arena_array(arena, count, sizeof *positions);
    if (!e || !positions)
        return no_memory(decision);
    for (uint32_t i = 0; i < count; i++) {
        const struct stock_item *item = list_at(receipt->items, struct stock_item, i);
        const struct position *p = decision_position(decision, item->sku, receipt->location);
        struct stock_change *change = list_at(e->changes, struct stock_change, i);
        int64_t after = p ? p->now.on_hand : 0;
        for (uint32_t k = 0; k < i; k++)
            if (str_eq(positions[k].sku, item->sku))
                after = positions[k].on_hand;
        if (!decimal_add(after, item->quantity, &after))
            return decision_fault(decision, ERR_INVALID,
                                  arena_printf(arena, "/items/%u/quantity", i), "is too large");
        change_fill(change, item->sku, receipt->location);
        change->on_hand = item->quantity;
        shape_mark(change, CHANGE_ON_HAND);
        stock_versions(decision, change, 1);
        answer_fill(&positions[i], item->sku, receipt->location, after, change->version);
    }
    e->occurred_at = shape_has(receipt, RECEIPT_RECEIVED_AT)
                         ? receipt->received_at
                         : (struct instant){.us = command->now_us};
    shape_mark(e, STOCK_OCCURRED_AT);
    event_text(e, &e->reference, receipt->receipt_reference, STOCK_REFERENCE);
    struct receipt_answer answer = {
        .has = 1u << RECEIPT_ANSWER_LOCATION | 1u << RECEIPT_ANSWER_ITEMS,
        .receipt_reference = receipt->receipt_reference,
        .location = receipt->location,
        .items = {positions, count}};
    if (shape_has(receipt, RECEIPT_REFERENCE))
        shape_mark(&answer, RECEIPT_ANSWER_REFERENCE);
    return decision_answer(decision, 201, &receipt_answer_shape, &answer);
}
static const struct command_type stock_receive_command = {
    .name = "stock.receive", .shape = &stock_receipt_shape, .check = receipt_check,
    .decide = receipt_decide, .help = "Take goods in"};

/* --- holds */

#define HOLD_SECONDS_DEFAULT 900

static enum err hold_check(const struct command_context *context, void *body, struct arena *arena,
                           struct fault *fault) {
    struct hold_request *hold = body;
    enum err err = location_check(context, hold->location, "/location", fault);
    enum err form = items_check(shape_has(hold, HOLD_SKU), shape_has(hold, HOLD_QUANTITY),
                                shape_has(hold, HOLD_ITEMS), fault);
    int64_t now_us = clock_now_us(context->clock);
    int64_t longest = context->config->settings.hold_seconds_max;
    if (!shape_has(hold, HOLD_LOCATION) && !shape_has(hold, HOLD_CHANNEL)) {
        fault_add(fault, STR("/location"), "is missing (or give a channel: its sourcing applies)");
        err = ERR_INVALID;
    }
    if (shape_has(hold, HOLD_CHANNEL) && !config_channel(context->config, hold->channel)) {
        fault_add(fault, STR("/channel"), "there is no channel %.*s in the configuration",
                  STR_FMT(hold->channel));
        err = ERR_INVALID;
    }
    if (shape_has(hold, HOLD_EXPIRES_AT) && shape_has(hold, HOLD_EXPIRES_IN_S)) {
        fault_add(fault, STR("/expires_at"), "give either expires_at or expires_in_s");
        err = ERR_INVALID;
    }
    int64_t seconds = shape_has(hold, HOLD_EXPIRES_IN_S) ? hold->expires_in_s
                                                         : HOLD_SECONDS_DEFAULT;
    if (shape_has(hold, HOLD_EXPIRES_AT))
        seconds = (hold->expires_at.us - now_us) / 1000000;
    if (seconds < 0 || (seconds == 0 && shape_has(hold, HOLD_EXPIRES_IN_S)) || seconds > longest) {
        fault_add(fault, shape_has(hold, HOLD_EXPIRES_AT) ? STR("/expires_at")
                                                          : STR("/expires_in_s"),
                  "must lie in the future, at most %lld s (setting hold_seconds_max)",
                  (long long)longest);
        err = ERR_INVALID;
    }
    if (err != OK || form != OK)
        return ERR_INVALID;
    if (shape_has(hold, HOLD_SKU)) {
        struct stock_item *item = arena_new(arena, struct stock_item);
        if (!item)
            return fault_set(fault, ERR_NOMEM, "no memory for the document");
        *item = (struct stock_item){.has = 1u << ITEM_SKU | 1u << ITEM_QUANTITY, .sku = hold->sku,
                                    .quantity = hold->quantity};
        hold->items = (struct shape_list){item, 1};
        shape_mark(hold, HOLD_ITEMS);
        hold->has &= ~(UINT64_C(1) << HOLD_SKU | UINT64_C(1) << HOLD_QUANTITY);
    }
    return OK;
}

/* Where `wanted` of a SKU can be held, given what earlier items of the request took. */
static struct str hold_location(const struct decision *decision, const struct hold_request *hold,
                                const struct stock_event *e, uint32_t done,
                                const struct stock_item *item, int64_t *best) {
    const struct config_channel *channel = config_channel(decision_config(decision), hold->channel);
    uint32_t count = hold->location.ptr ? 1 : channel->sourcing.count;
    *best = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct str location =
            hold->location.ptr ? hold->location : *list_at(channel->sourcing, struct str, i);
        int64_t available = stock_available(decision, item->sku, location);
        for (uint32_t k = 0; k < done; k++) {
            const struct stock_change *change = list_at(e->changes, struct stock_change, k);
            if (str_eq(change->sku, item->sku) && str_eq(change->location, location))
                available -= change->held;
        }
        if (available >= item->quantity)
            return location;
        if (available > *best)
            *best = available;
    }
    return STR_NONE;
}

struct hold_answer {
    uint64_t has;
    struct str reservation_id;
    struct instant expires_at;
    struct shape_list items; /* of struct stock_change: held is the quantity */
};
struct hold_answer_item {
    uint64_t has;
    struct str sku, location;
    int64_t quantity;
};
static const struct shape_field hold_answer_item_rows[] = {
    SHAPE_ROW(struct hold_answer_item, sku, SHAPE_ID, "Stock keeping unit"),
    SHAPE_ROW(struct hold_answer_item, location, SHAPE_CODE, "Where it is held"),
    SHAPE_ROW(struct hold_answer_item, quantity, SHAPE_DECIMAL, "How much"),
};
static SHAPE_DEFINE(hold_answer_item_shape, "reservation_item", struct hold_answer_item,
                    "What a hold keeps, and where", hold_answer_item_rows);
static const struct shape_field hold_answer_rows[] = {
    SHAPE_ROW(struct hold_answer, reservation_id, SHAPE_ID, "Names the hold in an order line"),
    SHAPE_ROW(struct hold_answer, expires_at, SHAPE_INSTANT, "When it ends by itself"),
    SHAPE_ROW(struct hold_answer, items, SHAPE_LIST, "What is held", .max = 5000,
              .shape = &hold_answer_item_shape),
};
static SHAPE_DEFINE(hold_answer_shape, "reservation", struct hold_answer, "A hold of a cart",
                    hold_answer_rows);

static enum err hold_answer(struct decision *decision, const struct stock_event *e, int status) {
    struct hold_answer_item *items =
        arena_array(decision_arena(decision), e->changes.count, sizeof *items);
    if (!items)
        return no_memory(decision);
    for (uint32_t i = 0; i < e->changes.count; i++) {
        const struct stock_change *change = list_at(e->changes, struct stock_change, i);
        items[i] = (struct hold_answer_item){7, change->sku, change->location,
                                             change->held < 0 ? -change->held : change->held};
    }
    struct hold_answer answer = {.has = shape_has(e, STOCK_EXPIRES_AT) ? 7 : 5,
                                 .reservation_id = e->reservation_id,
                                 .expires_at = e->expires_at,
                                 .items = {items, e->changes.count}};
    return decision_answer(decision, status, &hold_answer_shape, &answer);
}

static enum err hold_decide(struct decision *decision, const struct command *command) {
    const struct hold_request *hold = command->body;
    struct arena *arena = decision_arena(decision);
    struct str id = id_text(arena, "res_", command->id);
    struct stock_event *e = stock_event_new(decision, &stock_reserved_event, id, hold->items.count);
    if (!e)
        return no_memory(decision);
    enum err err = OK;
    for (uint32_t i = 0; i < hold->items.count; i++) {
        const struct stock_item *item = list_at(hold->items, struct stock_item, i);
        struct stock_change *change = list_at(e->changes, struct stock_change, i);
        int64_t best;
        struct str location = hold_location(decision, hold, e, i, item, &best);
        if (!location.ptr) {
            struct buf have;
            buf_init(&have, 64);
            decimal_write(&have, best, QTY_SCALE);
            err = decision_fault(decision, ERR_OUT_OF_STOCK,
                                 arena_printf(arena, "/items/%u/quantity", i),
                                 "only %s of %.*s are available", buf_cstr(&have),
                                 STR_FMT(item->sku));
            buf_free(&have);
            continue;
        }
        change_fill(change, item->sku, location);
        change->held = item->quantity;
        shape_mark(change, CHANGE_HELD);
        stock_versions(decision, change, 1);
    }
    if (err != OK)
        return err;
    event_text(e, &e->reservation_id, id, STOCK_RESERVATION_ID);
    e->expires_at = hold->expires_at;
    if (!shape_has(hold, HOLD_EXPIRES_AT)) {
        int64_t seconds = shape_has(hold, HOLD_EXPIRES_IN_S) ? hold->expires_in_s
                                                             : HOLD_SECONDS_DEFAULT;
        e->expires_at = (struct instant){.us = command->now_us + seconds * 1000000};
    }
    shape_mark(e, STOCK_EXPIRES_AT);
    return hold_answer(decision, e, 201);
}
static const struct command_type stock_hold_command = {
    .name = "stock.hold", .shape = &hold_request_shape, .check = hold_check,
    .decide = hold_decide, .help = "Hold stock for a cart"};

static enum err hold_end(struct decision *decision, const struct command *command,
                         const char *reason) {
    const struct stock_state *s = decision_state(decision, &stock_capability);
    struct arena *arena = decision_arena(decision);
    struct str id = command->args[0];
    uint32_t index = hold_find(s, id), kept = 0;
    if (index == MAP_NONE)
        return decision_refuse(decision, ERR_NOT_FOUND,
                               "there is no such reservation (any more): it expired, was used by "
                               "an order, or was never made");
    const struct hold *hold = &s->holds[index];
    struct stock_event *e =
        stock_event_new(decision, &stock_released_event, arena_str(arena, id), hold->item_count);
    if (!e)
        return no_memory(decision);
    for (uint32_t i = 0; i < hold->item_count; i++) {
        if (hold->items[i].quantity == 0)
            continue;
        const struct position *p = &s->positions[hold->items[i].position];
        struct stock_change *change = list_at(e->changes, struct stock_change, kept++);
        change_fill(change, s->skus.items[p->sku], s->locations.items[p->location]);
        change->held = -hold->items[i].quantity;
        change->reservation_id = id;
        shape_mark(change, CHANGE_HELD);
        shape_mark(change, CHANGE_RESERVATION_ID);
        stock_versions(decision, change, 1);
    }
    e->changes.count = kept;
    event_text(e, &e->reason, str_c(reason), STOCK_REASON);
    event_text(e, &e->reservation_id, id, STOCK_RESERVATION_ID);
    return hold_answer(decision, e, 200);
}

static enum err release_decide(struct decision *decision, const struct command *command) {
    return hold_end(decision, command, "released");
}
static enum err expire_decide(struct decision *decision, const struct command *command) {
    return hold_end(decision, command, "expired");
}
static const struct command_type stock_release_command = {
    .name = "stock.release", .decide = release_decide, .help = "End a hold"};
static const struct command_type stock_expire_command = {
    .name = "stock.expire", .decide = expire_decide, .flags = COMMAND_INTERNAL,
    .help = "End a hold whose time is up"};

static int64_t stock_timer_next(const void *part) {
    const struct stock_state *s = part;
    return s->heap_count ? s->holds[s->heap[0]].expires_us : INT64_MAX;
}

static enum err stock_timer_fire(const void *part, int64_t now_us, struct decision *decision) {
    const struct stock_state *s = part;
    (void)now_us;
    struct str id = id_text(decision_arena(decision), "res_", s->holds[s->heap[0]].id);
    return id.ptr ? decision_issue(decision, &stock_expire_command, NULL, id, 0) : ERR_NOMEM;
}

static const struct command_type *const stock_commands[] = {
    &stock_count_command, &stock_adjust_command,  &stock_receive_command, &stock_hold_command,
    &stock_release_command, &stock_expire_command, NULL};

/* --- routes -------------------------------------------------------------------------------------------------- */

static const struct query_param availability_params[] = {
    {"sku", true, true, "Stock keeping unit, 1 to 128 bytes; several may be given"},
    {"location", false, true, "Only these locations; several may be given"},
    {NULL, false, false, NULL},
};

static const struct route stock_routes[] = {
    {.method = "GET", .path = "/v1/availability", .scope = "stock:read",
     .traffic = CLASS_CHECKOUT, .query = stock_availability, .params = availability_params,
     .answer = &availability_shape, .flags = ROUTE_INLINE | ROUTE_LIST,
     .help = "What can be promised, by SKU and location"},
    {.method = "POST", .path = "/v1/stock/counts", .scope = "stock:write", .traffic = CLASS_STOCK,
     .command = &stock_count_command, .answer = &position_answer_shape, .flags = ROUTE_BULK,
     .status = 201, .refusals = ROUTE_REFUSES(ERR_CONFLICT), .help = "Record what was counted (absolute)"},
    {.method = "POST", .path = "/v1/stock/adjustments", .scope = "stock:write",
     .traffic = CLASS_STOCK, .command = &stock_adjust_command, .answer = &position_answer_shape,
     .flags = ROUTE_BULK, .status = 201, .refusals = ROUTE_REFUSES(ERR_CONFLICT, ERR_DUPLICATE),
     .help = "Change what is on hand by a difference"},
    {.method = "POST", .path = "/v1/stock/receipts", .scope = "stock:write",
     .traffic = CLASS_STOCK, .command = &stock_receive_command, .answer = &receipt_answer_shape,
     .flags = ROUTE_BULK, .status = 201, .refusals = ROUTE_REFUSES(ERR_DUPLICATE), .help = "Take goods in"},
    {.method = "POST", .path = "/v1/reservations", .scope = "stock:reserve",
     .traffic = CLASS_CHECKOUT, .command = &stock_hold_command, .answer = &hold_answer_shape,
     .flags = ROUTE_BULK, .status = 201, .refusals = ROUTE_REFUSES(ERR_OUT_OF_STOCK),
     .help = "Hold stock for a cart, for a time"},
    {.method = "DELETE", .path = "/v1/reservations/{reservation_id}", .scope = "stock:reserve",
     .traffic = CLASS_CHECKOUT, .command = &stock_release_command, .answer = &hold_answer_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND), .help = "End a hold"},
    {.method = NULL},
};

/* Positions before holds, which name them. */
static const struct entity_kind *const stock_entities[] = {&stock_position_entity,
                                                           &stock_hold_entity, NULL};

const struct capability stock_capability = {
    .name = "stock",
    .help = "What is where, what is promised, what can be sold",
    .commands = stock_commands,
    .events = stock_events,
    .routes = stock_routes,
    .state_size = sizeof(struct stock_state),
    .state_init = stock_state_init,
    .state_free = stock_state_free,
    .entities = stock_entities,
    .memory = stock_memory,
    .publish = stock_publish,
    .timer_next = stock_timer_next,
    .timer_fire = stock_timer_fire,
    .dump = stock_dump,
};
