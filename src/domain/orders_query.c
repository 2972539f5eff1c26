/* reading orders: by hub id and natural key through the writer (never missing an acknowledged
 * write), lists from the read model. The document itself comes from the journal, what changed
 * since from the state. */
#include "base/decimal.h"
#include "base/json.h"
#include "domain/orders_priv.h"

/* Body of order.get and order.list; never sent by anyone, bound from the query. */
struct order_question {
    uint64_t has;
    struct str channel, channel_order_id, state, cursor;
    struct instant updated_since;
    int64_t limit;
    /* filled by decide: */
    bool exists, by_natural;
    struct order_snapshot found;
};
enum { QUESTION_CHANNEL, QUESTION_CHANNEL_ORDER_ID, QUESTION_STATE, QUESTION_CURSOR,
       QUESTION_UPDATED_SINCE, QUESTION_LIMIT };
static const struct shape_field question_rows[] = {
    [QUESTION_CHANNEL] = SHAPE_ROW(struct order_question, channel, SHAPE_CODE, "Channel"),
    [QUESTION_CHANNEL_ORDER_ID] = SHAPE_ROW(struct order_question, channel_order_id, SHAPE_ID,
                                            "The channel's own number"),
    [QUESTION_STATE] = SHAPE_ROW(struct order_question, state, SHAPE_CODE, "State"),
    [QUESTION_CURSOR] = SHAPE_ROW(struct order_question, cursor, SHAPE_TEXT, "Page"),
    [QUESTION_UPDATED_SINCE] = SHAPE_ROW(struct order_question, updated_since, SHAPE_INSTANT,
                                         "Changed at or after"),
    [QUESTION_LIMIT] = SHAPE_ROW(struct order_question, limit, SHAPE_INTEGER, "Items on a page"),
};
static SHAPE_DEFINE(order_question_shape, "order_question", struct order_question,
                    "What is asked about orders", question_rows);

/* For the contract: the order as it is answered. */
struct fulfilment {
    uint64_t has;
    struct str line_id;
    int64_t quantity, open, shipped, cancelled;
};
static const struct shape_field fulfilment_rows[] = {
    SHAPE_ROW(struct fulfilment, line_id, SHAPE_ID, "Order line"),
    SHAPE_ROW(struct fulfilment, quantity, SHAPE_DECIMAL, "Ordered"),
    SHAPE_ROW(struct fulfilment, open, SHAPE_DECIMAL, "Neither shipped nor cancelled"),
    SHAPE_ROW(struct fulfilment, shipped, SHAPE_DECIMAL, "Shipped"),
    SHAPE_ROW(struct fulfilment, cancelled, SHAPE_DECIMAL, "Cancelled"),
};
static SHAPE_DEFINE(fulfilment_shape, "fulfilment", struct fulfilment, "Where a line stands",
                    fulfilment_rows);
struct order_document {
    uint64_t has;
    struct str order_id;
    int32_t state;
    int64_t version;
    struct str correlation_id;
    struct instant created_at, updated_at;
    struct shape_list reservations, fulfilment;
    const struct json *members;
};
static const struct shape_field document_rows[] = {
    SHAPE_ROW(struct order_document, order_id, SHAPE_ID, "The hub's id"),
    SHAPE_ROW(struct order_document, state, SHAPE_ENUM, "State", .values = order_states),
    SHAPE_ROW(struct order_document, version, SHAPE_INTEGER, "Counted up with every change"),
    SHAPE_ROW(struct order_document, correlation_id, SHAPE_ID, "Joins what belongs together"),
    SHAPE_ROW(struct order_document, created_at, SHAPE_INSTANT, "When it was captured"),
    SHAPE_ROW(struct order_document, updated_at, SHAPE_INSTANT, "When it changed last"),
    SHAPE_ROW(struct order_document, reservations, SHAPE_LIST,
              "Stock committed for it now (not in lists)", .max = 100000,
              .shape = &order_reservation_shape),
    SHAPE_ROW(struct order_document, fulfilment, SHAPE_LIST,
              "Where each line stands (not in lists)", .max = 5000, .shape = &fulfilment_shape),
};
const struct shape order_document_shape = {
    .name = "order_document",
    .help = "An order as it is now: these members, and all of the order as it was captured",
    .size = sizeof(struct order_document),
    .fields = document_rows,
    .count = sizeof document_rows / sizeof *document_rows,
    .open = true};

/* --- the document -------------------------------------------------------------------------------------- */

struct document_writer {
    struct reader *reader;
    struct arena *arena;
    const struct order_snapshot *snapshot;
    struct buf *out;
    enum err err;
    struct fault *fault;
};

static void time_member(struct buf *out, const char *name, int64_t us) {
    buf_printf(out, ",\"%s\":\"", name);
    instant_write(out, (struct instant){.us = us});
    buf_char(out, '"');
}

static void quantity_member(struct buf *out, const char *name, int64_t quantity) {
    buf_printf(out, ",\"%s\":\"", name);
    decimal_write(out, quantity, QTY_SCALE);
    buf_char(out, '"');
}

static void write_progress(struct buf *out, const struct order_snapshot *s) {
    uint32_t written = 0;
    buf_lit(out, ",\"reservations\":[");
    for (uint32_t i = 0; i < s->allocation_count; i++) {
        const struct allocation *a = &s->allocations[i];
        if (a->quantity == 0)
            continue;
        if (written++)
            buf_char(out, ',');
        buf_lit(out, "{\"line_id\":");
        buf_json_str(out, s->lines[a->line].line_id);
        buf_lit(out, ",\"location\":");
        buf_json_str(out, a->location);
        quantity_member(out, "quantity", a->quantity);
        buf_char(out, '}');
    }
    buf_lit(out, "],\"fulfilment\":[");
    for (uint32_t i = 0; i < s->line_count; i++) {
        const struct line_entry *line = &s->lines[i];
        if (i)
            buf_char(out, ',');
        buf_lit(out, "{\"line_id\":");
        buf_json_str(out, line->line_id);
        quantity_member(out, "quantity", line->quantity);
        quantity_member(out, "open", line_open(line));
        quantity_member(out, "shipped", line->shipped);
        quantity_member(out, "cancelled", line->cancelled);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

static bool document_visit(void *ctx, const struct record *record) {
    struct document_writer *w = ctx;
    const struct order_snapshot *s = w->snapshot;
    const struct json *data = NULL;
    struct event_meta meta;
    struct str text;
    w->err = event_meta_load(record->meta, w->reader->parser, w->arena, &meta, w->fault);
    if (w->err == OK)
        w->err = seal_data(w->reader->keyring, record, &meta, w->reader->parser, w->arena, &text,
                           w->fault);
    if (w->err == OK)
        w->err = json_parse(w->reader->parser, w->arena, text, false, &data, w->fault);
    const struct json *order = w->err == OK ? json_member(data, STR("order")) : NULL;
    if (!order || order->kind != JSON_OBJECT) {
        if (w->err == OK)
            w->err = fault_set(w->fault, ERR_IO, "event %llu has no order",
                               (unsigned long long)record->seq);
        return false;
    }
    struct buf *out = w->out;
    buf_lit(out, "{\"order_id\":");
    buf_json_str(out, s->order_id);
    buf_printf(out, ",\"state\":\"%s\",\"version\":%lld", order_states[s->state],
               (long long)s->version);
    if (meta.correlation.ptr) {
        buf_lit(out, ",\"correlation_id\":");
        buf_json_str(out, meta.correlation);
    }
    time_member(out, "created_at", s->captured_us);
    time_member(out, "updated_at", s->updated_us);
    const struct json *key = json_first(order);
    for (uint32_t i = 0; i < order->count; i++) {
        const struct json *value = json_next(key);
        buf_char(out, ',');
        buf_json_str(out, key->text);
        buf_char(out, ':');
        json_write(out, value);
        key = json_next(value);
    }
    if (s->whole)
        write_progress(out, s);
    buf_char(out, '}');
    return false;
}

static enum err document_write(struct reader *reader, struct arena *arena,
                               const struct order_snapshot *snapshot, struct buf *out,
                               struct fault *fault) {
    struct document_writer w = {.reader = reader, .arena = arena, .snapshot = snapshot, .out = out,
                                .err = ERR_IO, .fault = fault};
    uint64_t next;
    enum err err =
        journal_read(reader->journal, snapshot->captured_seq, 1, document_visit, &w, &next, fault);
    if (err == OK && w.err == ERR_IO && fault && !fault->detail[0])
        fault_set(fault, ERR_IO, "event %llu can not be read",
                  (unsigned long long)snapshot->captured_seq);
    return err == OK ? w.err : err;
}

/* --- decide: snapshots ---------------------------------------------------------------------------------- */

static enum err snapshot_take(struct decision *decision, const struct order_entry *entry,
                              struct order_snapshot *out) {
    struct arena *arena = decision_arena(decision);
    struct line_entry *lines = arena_array(arena, entry->line_count, sizeof *lines);
    struct allocation *allocations =
        arena_array(arena, entry->allocation_count, sizeof *allocations);
    *out = (struct order_snapshot){.order_id = id_text(arena, "ord_", entry->id),
                                   .captured_seq = entry->captured_seq,
                                   .captured_us = entry->captured_us,
                                   .updated_us = entry->updated_us,
                                   .version = entry->version,
                                   .state = entry->state,
                                   .lines = lines,
                                   .allocations = allocations,
                                   .line_count = entry->line_count,
                                   .allocation_count = entry->allocation_count,
                                   .whole = true};
    if (!lines || !allocations || !out->order_id.ptr)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the answer");
    for (uint32_t i = 0; i < entry->line_count; i++) {
        lines[i] = entry->lines[i];
        lines[i].line_id = arena_str(arena, lines[i].line_id);
        lines[i].sku = arena_str(arena, lines[i].sku);
    }
    for (uint32_t i = 0; i < entry->allocation_count; i++) {
        allocations[i] = entry->allocations[i];
        allocations[i].location = arena_str(arena, allocations[i].location);
    }
    return OK;
}

static enum err get_decide(struct decision *decision, const struct command *command) {
    const struct orders_state *s = decision_state(decision, &orders_capability);
    struct order_question *question = command->body;
    struct str id = command->args[0];
    uint32_t index = order_find(decision_whole_state(decision), id);
    if (index == MAP_NONE)
        return decision_refuse(decision, ERR_NOT_FOUND, "there is no order %.*s",
                               (int)(id.len < 64 ? id.len : 64), id.ptr);
    question->exists = true;
    return snapshot_take(decision, &s->orders[index], &question->found);
}

static void list_needs(struct command *command) {
    const struct order_question *question = command->body;
    if (shape_has(question, QUESTION_CHANNEL_ORDER_ID))
        order_needs_natural(command, question->channel, question->channel_order_id);
}

static enum err list_decide(struct decision *decision, const struct command *command) {
    const struct orders_state *s = decision_state(decision, &orders_capability);
    struct order_question *question = command->body;
    question->by_natural = shape_has(question, QUESTION_CHANNEL_ORDER_ID);
    if (!question->by_natural)
        return OK;
    uint32_t index = order_find_natural(decision_whole_state(decision), question->channel,
                                        question->channel_order_id);
    question->exists = index != MAP_NONE;
    return question->exists ? snapshot_take(decision, &s->orders[index], &question->found) : OK;
}

/* --- finish: answers -------------------------------------------------------------------------------------- */

static enum err answer_take(struct command *command, struct buf *out, struct fault *fault) {
    struct answer *answer = &command->answer;
    answer->body = buf_ok(out) ? arena_str(command->arena, buf_str(out)) : STR_NONE;
    answer->status = 200;
    buf_free(out);
    return answer->body.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for the answer");
}

static enum err get_finish(struct reader *reader, struct command *command, struct fault *fault) {
    struct order_question *question = command->body;
    struct buf out;
    buf_init(&out, 0);
    enum err err = document_write(reader, command->arena, &question->found, &out, fault);
    if (err == OK)
        return answer_take(command, &out, fault);
    buf_free(&out);
    return err;
}

struct listing {
    struct reader *reader;
    struct command *command;
    struct order_question *question;
    struct buf out;
    enum err err;
    struct fault *fault;
};

static bool list_visit(void *ctx, const struct row_value *values) {
    struct listing *listing = ctx;
    struct str state = values[ORDERS_STATE].text;
    struct order_snapshot snapshot = {
        .order_id = values[ORDERS_ORDER_ID].text,
        .captured_seq = (uint64_t)values[ORDERS_SEQ].integer,
        .captured_us = values[ORDERS_CAPTURED_US].integer,
        .updated_us = values[ORDERS_UPDATED_US].integer,
        .version = values[ORDERS_VERSION].integer,
    };
    while (order_states[snapshot.state + 1] && !str_is(state, order_states[snapshot.state]))
        snapshot.state++;
    list_next(&listing->out);
    listing->err = document_write(listing->reader, listing->command->arena, &snapshot,
                                  &listing->out, listing->fault);
    return listing->err == OK;
}

static enum err list_rows(struct listing *listing, struct str *next) {
    const struct order_question *q = listing->question;
    struct row_filter filters[3];
    struct row_query rows = {.table = &orders_table, .filters = filters,
                             .sort_column = ORDERS_UPDATED_US, .cursor = q->cursor,
                             .limit = (uint32_t)q->limit};
    if (shape_has(q, QUESTION_CHANNEL))
        filters[rows.filter_count++] =
            (struct row_filter){ORDERS_CHANNEL, ROW_EQ, row_text(q->channel)};
    if (shape_has(q, QUESTION_STATE))
        filters[rows.filter_count++] =
            (struct row_filter){ORDERS_STATE, ROW_EQ, row_text(q->state)};
    if (shape_has(q, QUESTION_UPDATED_SINCE))
        filters[rows.filter_count++] =
            (struct row_filter){ORDERS_UPDATED_US, ROW_GE, row_int(q->updated_since.us)};
    uint64_t seq;
    enum err err = listing->reader->ops->seq(listing->reader, &seq, listing->fault);
    if (err == OK)
        err = listing->reader->ops->list(listing->reader, &rows, listing->command->arena,
                                         list_visit, listing, next, listing->fault);
    if (err == OK)
        err = listing->err;
    listing->command->answer.seq = err == OK ? seq : 0;
    return err;
}

static enum err list_finish(struct reader *reader, struct command *command, struct fault *fault) {
    struct order_question *question = command->body;
    struct listing listing = {.reader = reader, .command = command, .question = question,
                              .fault = fault};
    struct str next = STR_NONE;
    enum err err = OK;
    buf_init(&listing.out, 0);
    list_begin(&listing.out);
    if (question->exists)
        err = document_write(reader, command->arena, &question->found, &listing.out, fault);
    else if (!question->by_natural)
        err = list_rows(&listing, &next);
    list_end(&listing.out, next);
    command->answer.next_cursor = next;
    if (err == OK)
        return answer_take(command, &listing.out, fault);
    buf_free(&listing.out);
    return err;
}

const struct command_type order_get_command = {
    .name = "order.get", .shape = &order_question_shape, .decide = get_decide,
    .finish = get_finish, .needs = order_needs, .flags = COMMAND_READS, .help = "Read one order"};
const struct command_type order_list_command = {
    .name = "order.list", .shape = &order_question_shape, .decide = list_decide,
    .finish = list_finish, .needs = list_needs, .flags = COMMAND_READS, .help = "List orders"};

/* --- asked from within --------------------------------------------------------------------------------------- */

enum err order_ask(struct core *core, struct str order_id, struct arena *arena, struct command *out,
                   struct fault *fault) {
    struct order_question *question = arena_new(arena, struct order_question);
    struct str id = arena_str(arena, order_id);
    if (!question || !id.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for a question");
    enum err err = command_prepare(core, &order_get_command, arena, question, out, fault);
    if (err == OK)
        out->args[0] = id;
    return err;
}

enum err order_ask_number(struct core *core, struct str channel, struct str channel_order_id,
                          struct arena *arena, struct command *out, struct fault *fault) {
    struct order_question *question = arena_new(arena, struct order_question);
    if (!question)
        return fault_set(fault, ERR_NOMEM, "no memory for a question");
    question->channel = arena_str(arena, channel);
    question->channel_order_id = arena_str(arena, channel_order_id);
    shape_mark(question, QUESTION_CHANNEL);
    shape_mark(question, QUESTION_CHANNEL_ORDER_ID);
    if (!question->channel.ptr || !question->channel_order_id.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for a question");
    return command_prepare(core, &order_list_command, arena, question, out, fault);
}

uint64_t order_asked_seq(const struct command *command) {
    const struct order_question *question = command->body;
    return question->found.captured_seq;
}

/* --- the query's parameters --------------------------------------------------------------------------------- */

enum err order_get_bind(const struct query *query, void *body, struct arena *arena,
                        struct fault *fault) {
    (void)query;
    (void)body;
    (void)arena;
    (void)fault;
    return OK; /* the path says it all */
}

static void bind_text(const struct query *query, const char *name, struct order_question *question,
                      struct str *to, unsigned row) {
    *to = query_value(query, name);
    if (to->ptr)
        shape_mark(question, row);
}

enum err order_list_bind(const struct query *query, void *body, struct arena *arena,
                         struct fault *fault) {
    struct order_question *question = body;
    uint32_t limit = 0;
    (void)arena;
    bind_text(query, "channel", question, &question->channel, QUESTION_CHANNEL);
    bind_text(query, "channel_order_id", question, &question->channel_order_id,
              QUESTION_CHANNEL_ORDER_ID);
    bind_text(query, "state", question, &question->state, QUESTION_STATE);
    bind_text(query, "cursor", question, &question->cursor, QUESTION_CURSOR);
    struct str since = query_value(query, "updated_since");
    if (since.ptr) {
        shape_mark(question, QUESTION_UPDATED_SINCE);
        if (!instant_parse(since, &question->updated_since))
            fault_add(fault, STR("updated_since"),
                      "must be a time with offset, as 2026-11-23T09:15:00Z (RFC 3339)");
    }
    if (shape_has(question, QUESTION_STATE)) {
        int i = 0;
        while (order_states[i] && !str_is(question->state, order_states[i]))
            i++;
        if (!order_states[i])
            fault_add(fault, STR("state"),
                      "must be one of accepted, held, allocated, partially_shipped, shipped, "
                      "completed, cancelled");
    }
    if (shape_has(question, QUESTION_CHANNEL_ORDER_ID) && !shape_has(question, QUESTION_CHANNEL))
        fault_add(fault, STR("channel"), "is missing: channel_order_id is a channel's own number");
    enum err err = query_limit(query, 100, 1000, &limit, fault);
    question->limit = limit;
    return fault->count ? ERR_INVALID : err;
}

const struct query_param order_list_params[] = {
    {"channel", false, false, "Only this channel's"},
    {"channel_order_id", false, false, "With channel: the one order with this natural key"},
    {"state", false, false, "Only those in this state"},
    {"updated_since", false, false, "Only those changed at or after this time (RFC 3339)",
     QUERY_TIME},
    {"limit", false, false, "Items on a page, 1 to 1000 (100)", QUERY_WHOLE, 1, 1000},
    {"cursor", false, false, "next_cursor of the page before"},
    {NULL, false, false, NULL},
};

/* --- the table ------------------------------------------------------------------------------------------------- */

static const struct table_column order_columns[ORDERS_COLUMNS] = {
    [ORDERS_ORDER_ID] = {"order_id", COLUMN_TEXT, "The hub's id"},
    [ORDERS_CHANNEL] = {"channel", COLUMN_TEXT, "Where it was sold"},
    [ORDERS_CHANNEL_ORDER_ID] = {"channel_order_id", COLUMN_TEXT, "The channel's own number"},
    [ORDERS_STATE] = {"state", COLUMN_TEXT, "accepted, held, shipped, cancelled …"},
    [ORDERS_VERSION] = {"version", COLUMN_INTEGER, "Counted up with every change"},
    [ORDERS_CURRENCY] = {"currency", COLUMN_TEXT, "ISO 4217"},
    [ORDERS_GRAND] = {"grand", COLUMN_INTEGER, "Grand total in minor units",
                     UNIT_MINOR},
    [ORDERS_CAPTURED_US] = {"captured_us", COLUMN_INTEGER, "When it came, microseconds since 1970",
                            UNIT_INSTANT_US},
    [ORDERS_UPDATED_US] = {"updated_us", COLUMN_INTEGER, "Last change, microseconds since 1970",
                           UNIT_INSTANT_US},
    [ORDERS_SEQ] = {"seq", COLUMN_INTEGER, "Of order.captured in the journal"},
};
static const char *const order_indexes[] = {"updated_us, order_id", NULL};
const struct table orders_table = {.name = "orders",
                                   .help = "Every order and its state",
                                   .columns = order_columns,
                                   .count = ORDERS_COLUMNS,
                                   .key_columns = 1,
                                   .indexes = order_indexes};
