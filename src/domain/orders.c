/* orders: what capture, cancel and ship decide, and how their events change the entries.
 *
 * Capture: all lines are committed or the whole order is refused; a fact (a paid order of a web
 * shop) is never refused for stock: it is held, with an exception, and commits nothing. */
#include "domain/orders_priv.h"

#include "base/decimal.h"
#include "domain/exceptions.h"
#include "domain/inbound.h"
#include "domain/postings.h"

const char *const order_states[] = {"accepted", "held", "allocated", "partially_shipped",
                                    "shipped", "completed", "cancelled", NULL};

/* --- shapes ---------------------------------------------------------------------------------------- */

static const struct shape_field reservation_rows[] = {
    [RESERVATION_LINE_ID] = SHAPE_ROW(struct order_reservation, line_id, SHAPE_ID, "Order line"),
    [RESERVATION_LOCATION] = SHAPE_ROW(struct order_reservation, location, SHAPE_CODE,
                                       "Where stock is committed for it"),
    [RESERVATION_QUANTITY] = SHAPE_ROW(struct order_reservation, quantity, SHAPE_DECIMAL,
                                       "How much"),
};
SHAPE_DEFINE(order_reservation_shape, "order_reservation", struct order_reservation,
             "Stock committed for a line", reservation_rows);

static const struct shape_field captured_rows[] = {
    [CAPTURED_ORDER_ID] = SHAPE_ROW(struct order_captured, order_id, SHAPE_ID, "The hub's id",
                                    .flags = SHAPE_REQUIRED),
    [CAPTURED_STATE] = SHAPE_ROW(struct order_captured, state, SHAPE_ENUM, "accepted or held",
                                 .flags = SHAPE_REQUIRED, .values = order_states),
    [CAPTURED_VERSION] = SHAPE_ROW(struct order_captured, version, SHAPE_INTEGER,
                                   "Of the order: 1 (a held one is at 2, by order.held)", .flags = SHAPE_REQUIRED),
    [CAPTURED_RESERVATIONS] = SHAPE_ROW(struct order_captured, reservations, SHAPE_LIST,
                                        "Stock committed for it", .max = 100000,
                                        .shape = &order_reservation_shape),
    [CAPTURED_ORDER] = SHAPE_ROW(struct order_captured, order, SHAPE_OBJECT, "The order",
                                 .flags = SHAPE_REQUIRED, .shape = &order_shape),
};
SHAPE_DEFINE(order_captured_shape, "order_captured", struct order_captured, "An order came in",
             captured_rows);

static const struct shape_field part_rows[] = {
    [PART_LINE_ID] = SHAPE_ROW(struct order_part, line_id, SHAPE_ID, "Order line",
                               .flags = SHAPE_REQUIRED),
    [PART_QUANTITY] = SHAPE_ROW(struct order_part, quantity, SHAPE_DECIMAL,
                                "How much; left out: all that is open of the line",
                                .min = 1, .max = INT64_MAX),
    [PART_SKU] = {.name = "sku", .kind = SHAPE_ID, .flags = SHAPE_READ_ONLY, .since = 1,
                  .offset = offsetof(struct order_part, sku), .help = "Stock keeping unit"},
    [PART_LOCATION] = {.name = "location", .kind = SHAPE_CODE, .flags = SHAPE_READ_ONLY,
                       .offset = offsetof(struct order_part, location), .since = 1,
                       .help = "Where it was committed"},
};
static SHAPE_DEFINE(order_part_shape, "order_part", struct order_part, "A quantity of a line",
                    part_rows);

static const struct shape_field parcel_rows[] = {
    SHAPE_ROW(struct parcel, carrier, SHAPE_CODE, "Who carries it"),
    SHAPE_ROW(struct parcel, tracking, SHAPE_ID, "The carrier's number"),
};
static SHAPE_DEFINE(parcel_shape, "parcel", struct parcel, "A parcel", parcel_rows);

#define HUB_SET(type, member, kind_, help_text, ...)                                               \
    {.name = #member, .kind = kind_, .offset = offsetof(type, member), .since = 1,                 \
     .owner = "hub", .flags = SHAPE_READ_ONLY, .help = help_text, ##__VA_ARGS__}

static const struct shape_field change_rows[] = {
    [ORDER_CHANGE_ORDER_ID] = HUB_SET(struct order_change, order_id, SHAPE_ID, "The order"),
    [ORDER_CHANGE_SHIPMENT_ID] = HUB_SET(struct order_change, shipment_id, SHAPE_ID,
                                         "The hub's id of the shipment"),
    [ORDER_CHANGE_STATE] = HUB_SET(struct order_change, state, SHAPE_ENUM,
                                   "Of the order, afterwards", .values = order_states),
    [ORDER_CHANGE_VERSION] = HUB_SET(struct order_change, version, SHAPE_INTEGER,
                                     "Of the order, afterwards"),
    [ORDER_CHANGE_REASON] = SHAPE_ROW(struct order_change, reason, SHAPE_TEXT, "Why, free text"),
    [ORDER_CHANGE_LOCATION] = SHAPE_ROW(struct order_change, location, SHAPE_CODE,
                                        "Where it is shipped from; left out: where it is committed"),
    [ORDER_CHANGE_SHIPPED_AT] = SHAPE_ROW(struct order_change, shipped_at, SHAPE_INSTANT,
                                          "When the goods left; left out: now"),
    [ORDER_CHANGE_LINES] = SHAPE_ROW(struct order_change, lines, SHAPE_LIST,
                                     "Which lines and how much; left out: all that is open",
                                     .min = 1, .max = 5000, .shape = &order_part_shape),
    [ORDER_CHANGE_PARCELS] = SHAPE_ROW(struct order_change, parcels, SHAPE_LIST, "The parcels",
                                       .max = 1000, .shape = &parcel_shape),
    [ORDER_CHANGE_EXT] = SHAPE_ROW(struct order_change, ext, SHAPE_OPEN, "Passed on as it came"),
};
static SHAPE_DEFINE(order_change_shape, "order_change", struct order_change,
                    "A cancellation, shipment or hold of an order", change_rows);

/* Body of the commands that name the order by its channel's number. */
struct order_fact {
    uint64_t has;
    struct str channel, channel_order_id;
    struct str reference;
    struct str reason, location;
    struct instant shipped_at;
    struct shape_list lines, parcels;
};
enum { FACT_CHANNEL, FACT_CHANNEL_ORDER_ID, FACT_REFERENCE, FACT_REASON, FACT_LOCATION,
       FACT_SHIPPED_AT, FACT_LINES, FACT_PARCELS };
static const struct shape_field fact_rows[] = {
    [FACT_CHANNEL] = SHAPE_ROW(struct order_fact, channel, SHAPE_CODE, "The order's channel",
                               .flags = SHAPE_REQUIRED),
    [FACT_CHANNEL_ORDER_ID] = SHAPE_ROW(struct order_fact, channel_order_id, SHAPE_ID,
                                        "The order's number there", .flags = SHAPE_REQUIRED),
    [FACT_REFERENCE] = SHAPE_ROW(struct order_fact, reference, SHAPE_ID,
                                 "The partner's own number of this change: taken once"),
    [FACT_REASON] = SHAPE_ROW(struct order_fact, reason, SHAPE_TEXT, "Why, free text"),
    [FACT_LOCATION] = SHAPE_ROW(struct order_fact, location, SHAPE_CODE,
                                "Where it is shipped from; left out: where it is committed"),
    [FACT_SHIPPED_AT] = SHAPE_ROW(struct order_fact, shipped_at, SHAPE_INSTANT,
                                  "When the goods left; left out: now"),
    [FACT_LINES] = SHAPE_ROW(struct order_fact, lines, SHAPE_LIST,
                             "Which lines and how much; left out: all that is open", .min = 1,
                             .max = 5000, .shape = &order_part_shape),
    [FACT_PARCELS] = SHAPE_ROW(struct order_fact, parcels, SHAPE_LIST, "The parcels",
                               .max = 1000, .shape = &parcel_shape),
};
static SHAPE_DEFINE(order_fact_shape, "order_fact", struct order_fact,
                    "What a partner says happened to an order, named by the channel's number",
                    fact_rows);

struct order_answer {
    uint64_t has;
    struct str order_id, shipment_id;
    int32_t state;
    int64_t version;
    struct str correlation_id;
    struct shape_list reservations;
};
enum { ANSWER_ORDER_ID, ANSWER_SHIPMENT_ID, ANSWER_STATE, ANSWER_VERSION, ANSWER_CORRELATION_ID,
       ANSWER_RESERVATIONS };
static const struct shape_field answer_rows[] = {
    [ANSWER_ORDER_ID] = SHAPE_ROW(struct order_answer, order_id, SHAPE_ID, "The hub's id"),
    [ANSWER_SHIPMENT_ID] = SHAPE_ROW(struct order_answer, shipment_id, SHAPE_ID,
                                     "The hub's id of the shipment"),
    [ANSWER_STATE] = SHAPE_ROW(struct order_answer, state, SHAPE_ENUM, "Of the order",
                               .values = order_states),
    [ANSWER_VERSION] = SHAPE_ROW(struct order_answer, version, SHAPE_INTEGER, "Of the order"),
    [ANSWER_CORRELATION_ID] = SHAPE_ROW(struct order_answer, correlation_id, SHAPE_ID,
                                        "Joins everything that belongs to this case"),
    [ANSWER_RESERVATIONS] = SHAPE_ROW(struct order_answer, reservations, SHAPE_LIST,
                                      "Stock committed for it", .max = 100000,
                                      .shape = &order_reservation_shape),
};
static SHAPE_DEFINE(order_answer_shape, "order_answer", struct order_answer,
                    "What became of an order", answer_rows);

/* --- apply --------------------------------------------------------------------------------------------- */

static enum err captured_apply(struct state *state, const struct event *event) {
    return order_add(state, event);
}

/* NULL: its bytes can not be read (entity_get has noted it), or memory is out. */
static struct order_entry *change_entry(struct state *state, const struct event *event) {
    struct orders_state *s = state_of(state, &orders_capability);
    const struct order_change *e = event->data;
    uint32_t index = order_find(state, e->order_id);
    must(index != MAP_NONE || state_unread(state));
    if (index == MAP_NONE || entity_changed(state, &order_entity, index) != OK)
        return NULL;
    struct order_entry *entry = &s->orders[index];
    entry->state = (uint8_t)e->state;
    entry->version = (uint32_t)e->version;
    entry->last_seq = event->seq;
    entry->updated_us = event->time_us;
    return entry;
}

/* Takes what a part says out of the line's allocations. */
static void allocation_take(struct order_entry *entry, uint32_t line, struct str location,
                            int64_t quantity) {
    for (uint32_t i = 0; i < entry->allocation_count && quantity > 0; i++) {
        struct allocation *a = &entry->allocations[i];
        if (a->line != line || !str_eq(a->location, location))
            continue;
        int64_t take = a->quantity < quantity ? a->quantity : quantity;
        a->quantity -= take;
        quantity -= take;
    }
    must(quantity == 0);
}

static enum err parts_apply(struct state *state, const struct event *event, bool shipped) {
    struct order_entry *entry = change_entry(state, event);
    const struct order_change *e = event->data;
    if (!entry)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < e->lines.count; i++) {
        const struct order_part *part = list_at(e->lines, struct order_part, i);
        uint32_t line = order_line_find(entry, part->line_id);
        must(line != MAP_NONE);
        if (shipped)
            entry->lines[line].shipped += part->quantity;
        else
            entry->lines[line].cancelled += part->quantity;
        must(line_open(&entry->lines[line]) >= 0);
        if (part->location.len)
            allocation_take(entry, line, part->location, part->quantity);
    }
    return OK;
}
static enum err cancelled_apply(struct state *state, const struct event *event) {
    return parts_apply(state, event, false);
}
static enum err shipped_apply(struct state *state, const struct event *event) {
    return parts_apply(state, event, true);
}
static enum err state_apply_only(struct state *state, const struct event *event) {
    return change_entry(state, event) ? OK : ERR_NOMEM;
}

/* The books have it. */
static enum err orders_observe(struct state *state, const struct event *event) {
    if (event->type != &posting_posted_event)
        return OK;
    struct orders_state *s = state_of(state, &orders_capability);
    uint32_t index = order_find(state, ((const struct posting *)event->data)->order_id);
    if (index == MAP_NONE || s->orders[index].posted)
        return OK;
    s->orders[index].posted = true;
    return entity_changed(state, &order_entity, index);
}

/* --- read model ------------------------------------------------------------------------------------------ */

static void captured_project(struct rows *rows, const struct event *event) {
    const struct order_captured *e = event->data;
    struct row_value values[ORDERS_COLUMNS] = {
        [ORDERS_ORDER_ID] = row_text(e->order_id),
        [ORDERS_CHANNEL] = row_text(e->order->channel),
        [ORDERS_CHANNEL_ORDER_ID] = row_text(e->order->channel_order_id),
        [ORDERS_STATE] = row_text(str_c(order_states[e->state])),
        [ORDERS_VERSION] = row_int(e->version),
        [ORDERS_CURRENCY] = row_text(e->order->currency),
        [ORDERS_GRAND] = row_int(e->order->totals->grand),
        [ORDERS_CAPTURED_US] = row_int(event->time_us),
        [ORDERS_UPDATED_US] = row_int(event->time_us),
        [ORDERS_SEQ] = row_int((int64_t)event->seq),
    };
    rows_put(rows, &orders_table, UINT64_MAX, values);
    rows_ref(rows, e->order->channel_order_id);
}

static void change_project(struct rows *rows, const struct event *event) {
    const struct order_change *e = event->data;
    struct row_value values[ORDERS_COLUMNS] = {
        [ORDERS_ORDER_ID] = row_text(e->order_id),
        [ORDERS_STATE] = row_text(str_c(order_states[e->state])),
        [ORDERS_VERSION] = row_int(e->version),
        [ORDERS_UPDATED_US] = row_int(event->time_us),
    };
    rows_put(rows, &orders_table,
             1u << ORDERS_STATE | 1u << ORDERS_VERSION | 1u << ORDERS_UPDATED_US, values);
    if (shape_has(e, ORDER_CHANGE_SHIPMENT_ID))
        rows_ref(rows, e->shipment_id);
    for (uint32_t i = 0; i < e->parcels.count; i++)
        if (list_at(e->parcels, struct parcel, i)->tracking.len)
            rows_ref(rows, list_at(e->parcels, struct parcel, i)->tracking);
}

static const char *const captured_reads[] = {"order_id", "state", "version", "order/channel",
                                             "order/channel_order_id", "order/currency",
                                             "order/totals/grand", NULL};
const struct event_type order_captured_event = {
    .name = "order.captured", .shape = &order_captured_shape, .apply = captured_apply,
    .project = captured_project, .project_reads = captured_reads,
    .help = "An order came in and is promised"};
const struct event_type order_held_event = {
    .name = "order.held", .shape = &order_change_shape, .apply = state_apply_only,
    .project = change_project, .help = "An order waits for a decision"};
const struct event_type order_cancelled_event = {
    .name = "order.cancelled", .shape = &order_change_shape, .apply = cancelled_apply,
    .project = change_project, .help = "An order, or a part of it, was cancelled"};
const struct event_type order_shipped_event = {
    .name = "order.shipped", .shape = &order_change_shape, .apply = shipped_apply,
    .project = change_project, .help = "Goods of an order left"};
const struct event_type order_completed_event = {
    .name = "order.completed", .shape = &order_change_shape, .apply = state_apply_only,
    .project = change_project, .help = "All goods of an order left, and the books have it"};
static const struct event_type *const order_events[] = {
    &order_captured_event, &order_held_event,      &order_cancelled_event,
    &order_shipped_event,  &order_completed_event, NULL};

/* --- capture ------------------------------------------------------------------------------------------------ */

static enum err capture_check(const struct command_context *context, void *body,
                              struct arena *arena, struct fault *fault) {
    struct order *order = body;
    int64_t bound = context->fact ? context->config->settings.rounding_bound_x : 0;
    enum err err = order_check(order, bound, arena, fault);
    if (!config_channel(context->config, order->channel)) {
        fault_add(fault, STR("/channel"), "there is no channel %.*s in the configuration",
                  STR_FMT(order->channel));
        err = err == OK ? ERR_INVALID : err;
    }
    int64_t most = context->config->settings.order_lines_max;
    if (order->lines.count > most) {
        fault_add(fault, STR("/lines"), "at most %lld lines (setting order_lines_max)",
                  (long long)most);
        err = err == OK ? ERR_INVALID : err;
    }
    return err;
}

/* {"order_id":…,"reservations":[…],"order":<the document as it was encoded before>} */
static struct str captured_json(struct decision *decision, const struct order_captured *e,
                                struct str order_json) {
    struct order_captured head = *e;
    struct buf json;
    head.has &= ~(UINT64_C(1) << CAPTURED_ORDER);
    buf_init(&json, 0);
    buf_reserve(&json, order_json.len + 1024);
    shape_encode(&order_captured_shape, &head, &json);
    if (buf_ok(&json))
        json.len--; /* the closing brace */
    buf_lit(&json, ",\"order\":");
    buf_str_add(&json, order_json);
    buf_char(&json, '}');
    struct str text = buf_ok(&json) ? arena_str(decision_arena(decision), buf_str(&json))
                                    : STR_NONE;
    buf_free(&json);
    return text;
}

static enum err no_memory(struct decision *decision) {
    return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
}

static enum err capture_event(struct decision *decision, const struct command *command,
                              struct str order_id, const struct allocating *taken, bool held) {
    struct order_captured *e;
    struct event *event = decision_event(decision, &order_captured_event, order_id, (void **)&e);
    if (!event)
        return no_memory(decision);
    *e = (struct order_captured){.has = 0x1f,
                                 .order_id = order_id,
                                 .state = held ? ORDER_HELD : ORDER_ACCEPTED,
                                 .version = 1,
                                 .reservations = {taken->reservations, taken->count},
                                 .order = command->body};
    decision_seal(decision, event, STR("order"));
    event->data_json = captured_json(decision, e, command->body_json);
    return event->data_json.ptr ? OK : no_memory(decision);
}

static enum err reserve_event(struct decision *decision, struct str order_id,
                              const struct allocating *taken) {
    struct stock_event *e;
    if (taken->count == 0)
        return OK;
    if (!decision_event(decision, &stock_reserved_event, order_id, (void **)&e))
        return no_memory(decision);
    *e = (struct stock_event){.has = 1u << STOCK_ORDER_ID | 1u << STOCK_CHANGES,
                              .order_id = order_id,
                              .changes = {taken->changes, taken->count}};
    stock_versions(decision, taken->changes, taken->count);
    return OK;
}

/* A held order: order.held says why, and a person is asked. */
/* What is short, in words: "2 of TEE-RED-M, and of 3 more SKUs". */
static struct str shortage_words(struct arena *arena, const struct allocating *taken) {
    struct buf text;
    buf_init(&text, 1024);
    decimal_write(&text, taken->short_by, QTY_SCALE);
    buf_printf(&text, " of %.*s", STR_FMT(taken->short_sku));
    if (taken->short_count > 1)
        buf_printf(&text, ", and of %u more SKU%s", taken->short_count - 1,
                   taken->short_count > 2 ? "s" : "");
    struct str words = arena_str(arena, buf_str(&text));
    buf_free(&text);
    return words;
}

static enum err hold_events(struct decision *decision, const struct command *command,
                            struct str order_id, const struct allocating *taken) {
    const struct order *order = command->body;
    struct order_change *e;
    struct arena *arena = decision_arena(decision);
    if (!decision_event(decision, &order_held_event, order_id, (void **)&e))
        return no_memory(decision);
    *e = (struct order_change){.has = 1u << ORDER_CHANGE_ORDER_ID | 1u << ORDER_CHANGE_STATE |
                                      1u << ORDER_CHANGE_VERSION | 1u << ORDER_CHANGE_REASON,
                               .order_id = order_id,
                               .state = ORDER_HELD,
                               .version = 2, /* order.captured is 1 */
                               .reason = STR("shortage")};
    struct exception exception = {
        .has = 1u << EXCEPTION_KIND | 1u << EXCEPTION_SUBJECT | 1u << EXCEPTION_CAUSE |
               1u << EXCEPTION_ACTION | 1u << EXCEPTION_PAYLOAD_SEQ,
        .kind = STR("shortage"),
        .subject = order_id,
        .cause = arena_printf(arena,
                              "Order %.*s of channel %.*s is placed, but there is not enough stock "
                              "to promise all of it: missing are %.*s",
                              STR_FMT(order->channel_order_id), STR_FMT(order->channel),
                              STR_FMT(shortage_words(arena, taken))),
        .action = STR("Bring in stock, or cancel the order or the lines that are short"),
        .payload_seq = (int64_t)command->cause_seq,
    };
    return exception_raise(decision, &exception, 0);
}

static struct str order_natural(struct arena *arena, const struct order *order) {
    return arena_printf(arena, "%.*s\n%.*s", STR_FMT(order->channel),
                        STR_FMT(order->channel_order_id));
}

static void capture_needs(struct command *command) {
    struct str natural = order_natural(command->arena, command->body);
    if (natural.ptr)
        command_need_first(command, "order", natural);
}

static enum err capture_decide(struct decision *decision, const struct command *command) {
    const struct order *order = command->body;
    struct arena *arena = decision_arena(decision);
    enum err err;
    struct str natural = order_natural(arena, order);
    if (!natural.ptr)
        return no_memory(decision);
    if (!decision_first(decision, "order", natural, &err))
        return err;
    const struct config_channel *channel =
        config_channel(decision_config(decision), order->channel);
    must(channel);
    int32_t policy = channel->on_shortage;
    bool refuse = !command->fact && policy == SHORTAGE_REFUSE;
    struct allocating taken = {0};
    err = order_allocate(decision, order, policy == SHORTAGE_BACK_ORDER, refuse, &taken);
    if (err != OK)
        return err;
    bool held = taken.shortage && policy != SHORTAGE_BACK_ORDER;
    struct str order_id = id_text(arena, "ord_", command->id);
    if (!order_id.ptr)
        return no_memory(decision);
    err = capture_event(decision, command, order_id, &taken, held);
    if (err == OK)
        err = reserve_event(decision, order_id, &taken);
    if (err == OK && held)
        err = hold_events(decision, command, order_id, &taken);
    if (err != OK)
        return err;
    struct order_answer answer = {.has = 1u << ANSWER_ORDER_ID | 1u << ANSWER_STATE |
                                         1u << ANSWER_VERSION | 1u << ANSWER_RESERVATIONS,
                                  .order_id = order_id,
                                  .state = held ? ORDER_HELD : ORDER_ACCEPTED,
                                  .version = held ? 2 : 1,
                                  .correlation_id = command->correlation,
                                  .reservations = {taken.reservations, taken.count}};
    if (command->correlation.len)
        shape_mark(&answer, ANSWER_CORRELATION_ID);
    return decision_answer(decision, 201, &order_answer_shape, &answer);
}

/* A guest's order is its own. */
static struct str capture_person(const void *body, struct id128 id, struct arena *arena) {
    const struct order *order = body;
    return order->customer && order->customer->customer_id.len ? order->customer->customer_id
                                                               : id_text(arena, "ord_", id);
}

const struct command_type order_capture_command = {
    .name = "order.capture", .shape = &order_shape, .check = capture_check,
    .decide = capture_decide, .person = capture_person, .needs = capture_needs,
    .help = "Take an order and promise its stock"};

/* --- cancel and ship ----------------------------------------------------------------------------------------- */

/* The entry a change is about; NULL with *err set where there is none or it is stale. */
static const struct order_entry *change_target(struct decision *decision,
                                               const struct command *command, struct str id,
                                               enum err *err) {
    const struct orders_state *s = decision_state(decision, &orders_capability);
    uint32_t index = order_find(decision_whole_state(decision), id);
    if (index == MAP_NONE) {
        *err = decision_refuse(decision, ERR_NOT_FOUND, "there is no order %.*s",
                               (int)(id.len < 64 ? id.len : 64), id.ptr);
        return NULL;
    }
    if (command->if_match >= 0 && command->if_match != s->orders[index].version) {
        *err = decision_refuse(decision, ERR_STALE, "the order is at version %u",
                               s->orders[index].version);
        return NULL;
    }
    return &s->orders[index];
}

/* How much of each line a change is about: given, or all that is open. */
static enum err wanted_parts(struct decision *decision, const struct order_entry *entry,
                             const struct order_change *body, int64_t *wanted) {
    enum err err = OK;
    struct arena *arena = decision_arena(decision);
    int64_t any = 0;
    if (!shape_has(body, ORDER_CHANGE_LINES)) {
        for (uint32_t i = 0; i < entry->line_count; i++)
            any |= wanted[i] = line_open(&entry->lines[i]);
        if (!any)
            err = decision_refuse(decision, ERR_CONFLICT,
                                  "nothing of the order is open: it is %s",
                                  order_states[entry->state]);
        return err;
    }
    for (uint32_t i = 0; i < body->lines.count; i++) {
        const struct order_part *part = list_at(body->lines, struct order_part, i);
        uint32_t line = order_line_find(entry, part->line_id);
        if (line == MAP_NONE) {
            err = decision_fault(decision, ERR_INVALID,
                                 arena_printf(arena, "/lines/%u/line_id", i),
                                 "the order has no such line");
            continue;
        }
        int64_t open = line_open(&entry->lines[line]) - wanted[line];
        int64_t quantity = shape_has(part, PART_QUANTITY) ? part->quantity : open;
        if (quantity > open || quantity <= 0) {
            struct buf text;
            buf_init(&text, 64);
            decimal_write(&text, open, QTY_SCALE);
            enum err one = decision_fault(decision, ERR_CONFLICT,
                                          arena_printf(arena, "/lines/%u/quantity", i),
                                          "only %s of the line are open", buf_cstr(&text));
            buf_free(&text);
            err = err == ERR_INVALID ? err : one;
            continue;
        }
        wanted[line] += quantity;
    }
    return err;
}

struct change_parts {
    struct order_part *parts;
    struct stock_change *changes;
    uint32_t part_count, change_count;
};

static void part_add(struct change_parts *out, const struct line_entry *line, struct str location,
                     int64_t quantity, bool shipped) {
    struct order_part *part = &out->parts[out->part_count++];
    *part = (struct order_part){.has = 1u << PART_LINE_ID | 1u << PART_QUANTITY | 1u << PART_SKU,
                                .line_id = line->line_id, .quantity = quantity,
                                .sku = line->sku};
    if (!location.len)
        return;
    part->location = location;
    shape_mark(part, PART_LOCATION);
    struct stock_change *change = &out->changes[out->change_count++];
    *change = (struct stock_change){.has = 1u << CHANGE_LINE_ID | 1u << CHANGE_SKU |
                                           1u << CHANGE_LOCATION | 1u << CHANGE_COMMITTED,
                                    .line_id = line->line_id, .sku = line->sku,
                                    .location = location, .committed = -quantity};
    if (shipped) {
        change->on_hand = -quantity;
        shape_mark(change, CHANGE_ON_HAND);
    }
}

/* Splits what is wanted of each line over its allocations. Cancelling takes what was never
 * allocated first; shipping can only take what is allocated (at `from` where given). */
static enum err split_parts(struct decision *decision, const struct order_entry *entry,
                            int64_t *wanted, bool shipped, struct str from,
                            struct change_parts *out) {
    struct arena *arena = decision_arena(decision);
    uint32_t most = entry->line_count + entry->allocation_count;
    int64_t *allocated = arena_array(arena, entry->line_count, sizeof *allocated);
    out->parts = arena_array(arena, most, sizeof *out->parts);
    out->changes = arena_array(arena, most, sizeof *out->changes);
    if (!allocated || !out->parts || !out->changes)
        return no_memory(decision);
    for (uint32_t i = 0; i < entry->allocation_count; i++)
        allocated[entry->allocations[i].line] += entry->allocations[i].quantity;
    for (uint32_t i = 0; i < entry->line_count && !shipped; i++) {
        int64_t loose = line_open(&entry->lines[i]) - allocated[i];
        if (loose > wanted[i])
            loose = wanted[i];
        if (loose > 0) {
            part_add(out, &entry->lines[i], STR_NONE, loose, false);
            wanted[i] -= loose;
        }
    }
    for (uint32_t i = 0; i < entry->allocation_count; i++) {
        const struct allocation *a = &entry->allocations[i];
        int64_t take = a->quantity < wanted[a->line] ? a->quantity : wanted[a->line];
        if (take <= 0 || (from.ptr && !str_eq(from, a->location)))
            continue;
        part_add(out, &entry->lines[a->line], a->location, take, shipped);
        wanted[a->line] -= take;
    }
    enum err err = OK;
    for (uint32_t i = 0; i < entry->line_count; i++)
        if (wanted[i] > 0)
            err = decision_fault(decision, ERR_CONFLICT, STR("/lines"),
                                 "line %.*s has not that much stock committed%s%.*s",
                                 STR_FMT(entry->lines[i].line_id), from.ptr ? " at " : "",
                                 STR_FMT(from));
    return err;
}

static int32_t state_after(const struct order_entry *entry, const struct change_parts *parts,
                           bool shipped) {
    int64_t open = 0;
    bool any_shipped = shipped;
    for (uint32_t i = 0; i < entry->line_count; i++) {
        open += line_open(&entry->lines[i]);
        any_shipped |= entry->lines[i].shipped > 0;
    }
    for (uint32_t i = 0; i < parts->part_count; i++)
        open -= parts->parts[i].quantity;
    if (open == 0)
        return any_shipped ? ORDER_SHIPPED : ORDER_CANCELLED;
    return any_shipped ? ORDER_PARTIALLY_SHIPPED : entry->state;
}

/* The stock side of a change. */
static enum err change_stock(struct decision *decision, const struct command *command,
                             const struct order_entry *entry, const struct order_change *change,
                             const struct change_parts *parts, bool shipped) {
    struct stock_event *e;
    if (parts->change_count == 0)
        return OK;
    if (!decision_event(decision, shipped ? &stock_adjusted_event : &stock_released_event,
                        change->order_id, (void **)&e))
        return no_memory(decision);
    *e = (struct stock_event){.has = 1u << STOCK_ORDER_ID | 1u << STOCK_REASON |
                                     1u << STOCK_CHANGES,
                              .order_id = change->order_id,
                              .reason = shipped ? STR("shipment") : STR("cancelled"),
                              .changes = {parts->changes, parts->change_count}};
    stock_versions(decision, parts->changes, parts->change_count);
    if (!shipped)
        return OK;
    /* Goods can not have left before the hub promised them: a count taken between a wrongly
     * stated time and the capture would otherwise hide the shipment. */
    e->occurred_at = change->shipped_at;
    if (e->occurred_at.us < entry->captured_us)
        e->occurred_at.us = entry->captured_us;
    if (e->occurred_at.us > command->now_us)
        e->occurred_at.us = command->now_us;
    shape_mark(e, STOCK_OCCURRED_AT);
    for (uint32_t i = 0; i < parts->change_count; i++) {
        const struct stock_change *c = &parts->changes[i];
        if (stock_on_hand(decision, c->sku, c->location) + c->on_hand < 0)
            e->negative = true;
    }
    if (e->negative)
        shape_mark(e, STOCK_NEGATIVE);
    return OK;
}

static enum err change_decide(struct decision *decision, const struct command *command,
                              struct str order_id, const struct order_change *body, bool shipped) {
    struct arena *arena = decision_arena(decision);
    enum err err = OK;
    const struct order_entry *entry = change_target(decision, command, order_id, &err);
    if (!entry)
        return err;
    if (shipped && entry->state == ORDER_HELD)
        return decision_refuse(decision, ERR_CONFLICT, "the order is held: decide its exception first");
    int64_t *wanted = arena_array(arena, entry->line_count, sizeof *wanted);
    if (!wanted)
        return no_memory(decision);
    err = wanted_parts(decision, entry, body, wanted);
    struct change_parts parts = {0};
    if (err == OK)
        err = split_parts(decision, entry, wanted, shipped,
                          shipped ? body->location : STR_NONE, &parts);
    if (err != OK)
        return err;
    struct order_change *e;
    struct event *event =
        decision_event(decision, shipped ? &order_shipped_event : &order_cancelled_event, order_id,
                       (void **)&e);
    if (!event)
        return no_memory(decision);
    *e = *body;
    e->order_id = arena_str(arena, order_id);
    if (command->source) { /* its message is the person's whose order it is */
        event->meta.person = e->order_id;
        shape_mark(&event->meta, EVENT_META_PERSON);
    }
    e->state = state_after(entry, &parts, shipped);
    e->version = (int64_t)entry->version + 1;
    e->lines = (struct shape_list){parts.parts, parts.part_count};
    e->has |= 1u << ORDER_CHANGE_ORDER_ID | 1u << ORDER_CHANGE_STATE | 1u << ORDER_CHANGE_VERSION |
              1u << ORDER_CHANGE_LINES;
    struct order_answer answer = {.has = 1u << ANSWER_ORDER_ID | 1u << ANSWER_STATE |
                                         1u << ANSWER_VERSION,
                                  .order_id = e->order_id, .state = e->state,
                                  .version = e->version,
                                  .correlation_id = command->correlation};
    if (command->correlation.len)
        shape_mark(&answer, ANSWER_CORRELATION_ID);
    if (shipped) {
        e->shipment_id = answer.shipment_id = id_text(arena, "shp_", command->id);
        shape_mark(e, ORDER_CHANGE_SHIPMENT_ID);
        shape_mark(&answer, ANSWER_SHIPMENT_ID);
        if (!shape_has(e, ORDER_CHANGE_SHIPPED_AT))
            e->shipped_at = (struct instant){.us = command->now_us};
        shape_mark(e, ORDER_CHANGE_SHIPPED_AT);
    }
    err = change_stock(decision, command, entry, e, &parts, shipped);
    return err == OK ? decision_answer(decision, shipped ? 201 : 200, &order_answer_shape, &answer)
                     : err;
}

static enum err ship_check(const struct command_context *context, void *body, struct arena *arena,
                           struct fault *fault) {
    const struct order_change *change = body;
    (void)arena;
    if (!change->location.ptr || config_location(context->config, change->location))
        return OK;
    fault_add(fault, STR("/location"), "there is no location %.*s in the configuration",
              STR_FMT(change->location));
    return ERR_INVALID;
}

static enum err cancel_decide(struct decision *decision, const struct command *command) {
    return change_decide(decision, command, command->args[0], command->body, false);
}
static enum err ship_decide(struct decision *decision, const struct command *command) {
    return change_decide(decision, command, command->args[0], command->body, true);
}
static const struct command_type order_cancel_command = {
    .name = "order.cancel", .shape = &order_change_shape, .decide = cancel_decide,
    .needs = order_needs, .help = "Cancel an order or a part of it, and free its stock"};
static const struct command_type order_ship_command = {
    .name = "order.ship", .shape = &order_change_shape, .check = ship_check,
    .decide = ship_decide, .needs = order_needs, .help = "Goods of an order left"};

/* --- the same, by the channel's number --- */

static void fact_needs(struct command *command) {
    const struct order_fact *fact = command->body;
    order_needs_natural(command, fact->channel, fact->channel_order_id);
    if (fact->reference.len) {
        struct str key = arena_printf(command->arena, "%.*s\n%.*s\n%.*s", STR_FMT(fact->channel),
                                      STR_FMT(fact->channel_order_id), STR_FMT(fact->reference));
        if (key.ptr)
            command_need_first(command, "order-change", key);
    }
}

static struct order_change fact_change(const struct order_fact *fact) {
    static const uint8_t rows[][2] = {{FACT_REASON, ORDER_CHANGE_REASON},
                                      {FACT_LOCATION, ORDER_CHANGE_LOCATION},
                                      {FACT_SHIPPED_AT, ORDER_CHANGE_SHIPPED_AT},
                                      {FACT_LINES, ORDER_CHANGE_LINES},
                                      {FACT_PARCELS, ORDER_CHANGE_PARCELS}};
    struct order_change change = {.reason = fact->reason, .location = fact->location,
                                  .shipped_at = fact->shipped_at, .lines = fact->lines,
                                  .parcels = fact->parcels};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (shape_has(fact, rows[i][0]))
            shape_mark(&change, rows[i][1]);
    return change;
}

static enum err fact_decide(struct decision *decision, const struct command *command,
                            bool shipped) {
    const struct orders_state *s = decision_state(decision, &orders_capability);
    const struct order_fact *fact = command->body;
    struct arena *arena = decision_arena(decision);
    bool parked = false;
    uint32_t slot = order_find_natural(decision_whole_state(decision), fact->channel,
                                       fact->channel_order_id);
    enum err err = inbound_parent(decision, command,
                                  inbound_order(arena, fact->channel, fact->channel_order_id),
                                  slot != MAP_NONE, &parked);
    if (err != OK || parked)
        return err;
    struct str id = id_text(arena, "ord_", s->orders[slot].id);
    struct str key = arena_printf(arena, "%.*s\n%.*s\n%.*s", STR_FMT(fact->channel),
                                  STR_FMT(fact->channel_order_id), STR_FMT(fact->reference));
    if (!id.ptr || !key.ptr)
        return no_memory(decision);
    if (fact->reference.len && !decision_first(decision, "order-change", key, &err))
        return err;
    bool whole = !shape_has(fact, FACT_LINES);
    if (command->source && whole && !shipped && s->orders[slot].state == ORDER_CANCELLED)
        return inbound_nothing_new(decision, command, STR("the order is cancelled already"), id);
    struct order_change change = fact_change(fact);
    return change_decide(decision, command, id, &change, shipped);
}

static enum err cancel_fact_decide(struct decision *decision, const struct command *command) {
    return fact_decide(decision, command, false);
}
static enum err ship_fact_decide(struct decision *decision, const struct command *command) {
    return fact_decide(decision, command, true);
}
static enum err ship_fact_check(const struct command_context *context, void *body,
                                struct arena *arena, struct fault *fault) {
    struct order_change change = fact_change(body);
    return ship_check(context, &change, arena, fault);
}
static const struct command_type order_cancel_by_number_command = {
    .name = "order.cancel_by_number", .shape = &order_fact_shape, .decide = cancel_fact_decide,
    .needs = fact_needs, .help = "A partner cancelled an order or a part of it"};
static const struct command_type order_ship_by_number_command = {
    .name = "order.ship_by_number", .shape = &order_fact_shape, .check = ship_fact_check,
    .decide = ship_fact_decide, .needs = fact_needs, .help = "A partner shipped goods of an order"};

/* --- completion ----------------------------------------------------------------------------------------------- */

static enum err complete_decide(struct decision *decision, const struct command *command) {
    enum err err = OK;
    struct order_change *e;
    const struct order_entry *entry = change_target(decision, command, command->args[0], &err);
    if (!entry)
        return err;
    if (!decision_event(decision, &order_completed_event, command->args[0], (void **)&e))
        return no_memory(decision);
    *e = (struct order_change){.has = 1u << ORDER_CHANGE_ORDER_ID | 1u << ORDER_CHANGE_STATE |
                                      1u << ORDER_CHANGE_VERSION,
                               .order_id = command->args[0],
                               .state = ORDER_COMPLETED,
                               .version = (int64_t)entry->version + 1};
    return OK;
}
static const struct command_type order_complete_command = {
    .name = "order.complete", .decide = complete_decide, .flags = COMMAND_INTERNAL,
    .help = "Close an order that is shipped and posted"};

/* Shipped and posted, in whichever order, makes it complete. */
static enum err orders_react(struct decision *decision, const struct event *event) {
    const struct orders_state *s = decision_state(decision, &orders_capability);
    struct str order_id;
    if (event->type == &order_shipped_event)
        order_id = ((const struct order_change *)event->data)->order_id;
    else if (event->type == &posting_posted_event)
        order_id = ((const struct posting *)event->data)->order_id;
    else
        return OK;
    uint32_t index = order_find(decision_whole_state(decision), order_id);
    if (index == MAP_NONE || s->orders[index].state != ORDER_SHIPPED || !s->orders[index].posted)
        return OK;
    return decision_issue(decision, &order_complete_command, NULL, order_id, event->seq);
}

static const struct command_type *const order_commands[] = {
    &order_capture_command,  &order_cancel_command, &order_ship_command,
    &order_complete_command, &order_get_command,    &order_list_command,
    &order_cancel_by_number_command, &order_ship_by_number_command, NULL};

/* --- routes ------------------------------------------------------------------------------------------------------ */

static const struct route order_routes[] = {
    {.method = "POST", .path = "/v1/orders", .scope = "orders:write", .traffic = CLASS_CHECKOUT,
     .command = &order_capture_command, .answer = &order_answer_shape, .flags = ROUTE_BULK,
     .status = 201, .refusals = ROUTE_REFUSES(ERR_CONFLICT, ERR_OUT_OF_STOCK, ERR_DUPLICATE),
     .more = "The natural key is channel and channel_order_id: the same order again is answered as "
             "the first time, another order under the same key with 409.",
     .help = "Capture an order: reserve stock, journal, answer"},
    {.method = "GET", .path = "/v1/orders", .scope = "orders:read", .traffic = CLASS_CATALOGUE,
     .command = &order_list_command, .params = order_list_params, .bind = order_list_bind,
     .answer = &order_document_shape, .help = "Orders, by natural key, state or change"},
    {.method = "GET", .path = "/v1/orders/{order_id}", .scope = "orders:read",
     .traffic = CLASS_CHECKOUT, .command = &order_get_command, .bind = order_get_bind,
     .answer = &order_document_shape, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "An order as it is now"},
    {.method = "POST", .path = "/v1/orders/{order_id}/cancel", .scope = "orders:write",
     .traffic = CLASS_CHECKOUT, .command = &order_cancel_command, .answer = &order_answer_shape,
     .flags = ROUTE_BULK, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT, ERR_STALE),
     .more = "Without lines: the whole order.", .help = "Cancel an order or lines of it before they are shipped"},
    {.method = "POST", .path = "/v1/orders/{order_id}/shipments", .scope = "orders:write",
     .traffic = CLASS_STOCK, .command = &order_ship_command, .answer = &order_answer_shape,
     .flags = ROUTE_BULK, .status = 201,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT, ERR_STALE),
     .more = "Without lines: all that is left.", .help = "Record that goods of an order left"},
    {.method = NULL},
};
static const struct table *const order_tables[] = {&orders_table, NULL};

static const struct entity_kind *const order_entities[] = {&order_entity, &order_natural_entity,
                                                           NULL};

const struct capability orders_capability = {
    .name = "orders",
    .help = "Capture, cancel and ship orders",
    .commands = order_commands,
    .events = order_events,
    .routes = order_routes,
    .tables = order_tables,
    .entities = order_entities,
    .state_size = sizeof(struct orders_state),
    .state_free = orders_state_free,
    .observe = orders_observe,
    .react = orders_react,
    .dump = orders_dump,
};
