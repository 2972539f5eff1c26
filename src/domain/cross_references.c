/* cross_references: see cross_references.h. Commands, events, rows and routes; the entries are in
 * cross_references_state.c. */
#include "domain/cross_references_priv.h"

#include "core/core.h"

const char *const cross_directions[] = {"both", "in", "out", NULL};

#define CROSS_ROWS_OF_KEY                                                                          \
    [CROSS_SYSTEM] = SHAPE_ROW(struct cross_reference, system, SHAPE_CODE,                         \
                               "Whose: a connector, or any other name",                            \
                               .flags = SHAPE_REQUIRED),                                           \
    [CROSS_KIND] = SHAPE_ROW(struct cross_reference, kind, SHAPE_CODE,                             \
                             "Of what: sku, tax, location, unit, payment-method, customer",        \
                             .flags = SHAPE_REQUIRED)
static const struct shape_field cross_rows[] = {
    CROSS_ROWS_OF_KEY,
    [CROSS_VALUE] = SHAPE_ROW(struct cross_reference, value, SHAPE_ID, "What the system calls it",
                              .flags = SHAPE_REQUIRED, .max = CROSS_TEXT_MAX),
    [CROSS_CODE] = SHAPE_ROW(struct cross_reference, code, SHAPE_ID, "What the hub calls it",
                             .flags = SHAPE_REQUIRED, .max = CROSS_TEXT_MAX),
    [CROSS_DIRECTION] = SHAPE_ROW(struct cross_reference, direction, SHAPE_ENUM,
                                  "both (default): the value comes in as the code, and the code goes "
                                  "out as the value; in, out: only so", .values = cross_directions),
    [CROSS_VERSION] = {.name = "version", .kind = SHAPE_INTEGER, .flags = SHAPE_READ_ONLY,
                       .offset = offsetof(struct cross_reference, version), .since = 1,
                       .owner = "hub", .help = "Counted up with every change"},
};
SHAPE_DEFINE(cross_reference_shape, "cross_reference", struct cross_reference,
             "What another system calls what the hub has a code for", cross_rows);

/* Bodies of PUT: the rest is in the path. */
struct cross_code {
    uint64_t has;
    struct str code;
    int32_t direction;
};
static const char *const in_directions[] = {"both", "in", NULL};
static const struct shape_field code_rows[] = {
    SHAPE_ROW(struct cross_code, code, SHAPE_ID, "What the hub calls it", .flags = SHAPE_REQUIRED,
              .max = CROSS_TEXT_MAX),
    SHAPE_ROW(struct cross_code, direction, SHAPE_ENUM,
              "both (default): the code also goes out as the value; in: it does not",
              .values = in_directions),
};
static SHAPE_DEFINE(code_shape, "cross_reference_code", struct cross_code,
                    "The hub's code of a system's value", code_rows);
struct cross_value {
    uint64_t has;
    struct str value;
};
static const struct shape_field value_rows[] = {
    SHAPE_ROW(struct cross_value, value, SHAPE_ID, "What the system calls it",
              .flags = SHAPE_REQUIRED, .max = CROSS_TEXT_MAX),
};
static SHAPE_DEFINE(value_shape, "cross_reference_value", struct cross_value,
                    "What a code goes out as, and does not come in as", value_rows);

/* --- read model ---------------------------------------------------------------------------- */

enum { COL_WAY, COL_SYSTEM, COL_KIND, COL_NAME, COL_VALUE, COL_CODE, COL_DIRECTION, COL_VERSION,
       COL_STATE, COL_UPDATED, COL_SEQ, COLS };
static const struct table_column cross_columns[COLS] = {
    [COL_WAY] = {"way", COLUMN_TEXT, "in: found by its value; out: by its code alone"},
    [COL_SYSTEM] = {"system", COLUMN_TEXT, "Whose"},
    [COL_KIND] = {"kind", COLUMN_TEXT, "Of what"},
    [COL_NAME] = {"name", COLUMN_TEXT, "The value; where it goes out alone, the code"},
    [COL_VALUE] = {"value", COLUMN_TEXT, "What the system calls it"},
    [COL_CODE] = {"code", COLUMN_TEXT, "What the hub calls it"},
    [COL_DIRECTION] = {"direction", COLUMN_TEXT, "both, in or out"},
    [COL_VERSION] = {"version", COLUMN_INTEGER, "Counted up with every change"},
    [COL_STATE] = {"state", COLUMN_TEXT, "set or removed"},
    [COL_UPDATED] = {"updated_us", COLUMN_INTEGER, "Last change, microseconds since 1970",
                     UNIT_INSTANT_US},
    [COL_SEQ] = {"seq", COLUMN_INTEGER, "Of the last change"},
};
static const char *const cross_indexes[] = {"seq", "system, kind, seq", "code, seq", "value, seq",
                                            NULL};
static const struct table cross_table = {
    .name = "cross_references",
    .help = "What other systems call what the hub has a code for",
    .columns = cross_columns, .count = COLS, .key_columns = 4, .indexes = cross_indexes};
static const struct table *const cross_tables[] = {&cross_table, NULL};

static void cross_project(struct rows *rows, const struct event *event, const char *state) {
    const struct cross_reference *ref = event->data;
    bool out = ref->direction == CROSS_OUT;
    struct row_value values[COLS] = {
        [COL_WAY] = row_text(out ? STR("out") : STR("in")),
        [COL_SYSTEM] = row_text(ref->system),
        [COL_KIND] = row_text(ref->kind),
        [COL_NAME] = row_text(out ? ref->code : ref->value),
        [COL_VALUE] = row_text(ref->value),
        [COL_CODE] = row_text(ref->code),
        [COL_DIRECTION] = row_text(str_c(cross_directions[ref->direction])),
        [COL_VERSION] = row_int(ref->version),
        [COL_STATE] = row_text(str_c(state)),
        [COL_UPDATED] = row_int(event->time_us),
        [COL_SEQ] = row_int((int64_t)event->seq),
    };
    rows_put(rows, &cross_table, UINT64_MAX, values);
    rows_ref(rows, ref->value);
    rows_ref(rows, ref->code);
}

static void changed_project(struct rows *rows, const struct event *event) {
    cross_project(rows, event, "set");
}
static void removed_project(struct rows *rows, const struct event *event) {
    cross_project(rows, event, "removed");
}

static enum err changed_apply(struct state *state, const struct event *event) {
    return cross_put(state, event->data, event->seq);
}
static enum err removed_apply(struct state *state, const struct event *event) {
    return cross_take(state, event->data);
}
static const struct event_type changed_event = {
    .name = "cross_reference.changed", .shape = &cross_reference_shape, .apply = changed_apply,
    .project = changed_project, .help = "A system's value has this code from now on"};
static const struct event_type removed_event = {
    .name = "cross_reference.removed", .shape = &cross_reference_shape, .apply = removed_apply,
    .project = removed_project, .help = "A system's value has no code any more"};
static const struct event_type *const cross_events[] = {&changed_event, &removed_event, NULL};

/* --- commands ------------------------------------------------------------------------------ */

/* "shopify/tax/MwSt 19%" */
static struct event *cross_event(struct decision *decision, const struct event_type *type,
                                 const struct cross_reference *ref, struct cross_reference **out) {
    struct str subject = arena_printf(decision_arena(decision), "%.*s/%.*s/%.*s",
                                      STR_FMT(ref->system), STR_FMT(ref->kind), STR_FMT(ref->value));
    return subject.ptr ? decision_event(decision, type, subject, (void **)out) : NULL;
}

/* A code that is to go out as the value goes out as another one. */
static enum err goes_out_twice(struct decision *decision, const struct cross_reference *ref,
                               const struct cross_entry *holder) {
    struct cross_reference other = cross_document(holder);
    return decision_refuse(decision, ERR_CONFLICT,
                           "the %.*s \"%.*s\" goes out to %.*s as \"%.*s\" already: give the direction "
                           "in, or remove that one first",
                           STR_FMT(ref->kind), STR_FMT(ref->code), STR_FMT(ref->system),
                           STR_FMT(other.value));
}

static enum err set_now(struct decision *decision, const struct command *command,
                        const struct cross_reference *ref) {
    const struct cross_state *s = decision_state(decision, &cross_references_capability);
    bool out = ref->direction == CROSS_OUT;
    const struct cross_entry *old =
        cross_find(s, ref->system, ref->kind, out ? ref->code : ref->value, out);
    if (old && out && old->direction == CROSS_BOTH)
        return goes_out_twice(decision, ref, old);
    struct cross_reference was = {0};
    if (old)
        was = cross_document(old);
    if (command->if_match >= 0 && command->if_match != was.version)
        return decision_refuse(decision, ERR_STALE, "its version is %lld", (long long)was.version);
    if (old && old->direction == ref->direction && str_eq(was.value, ref->value) &&
        str_eq(was.code, ref->code))
        return decision_answer(decision, 200, &cross_reference_shape, &was);
    const struct cross_entry *holder =
        ref->direction == CROSS_BOTH ? cross_find(s, ref->system, ref->kind, ref->code, true) : NULL;
    if (holder && holder != old)
        return goes_out_twice(decision, ref, holder);
    int64_t max = decision_config(decision)->settings.cross_references_max;
    if (!old && s->live >= max)
        return decision_refuse(decision, ERR_CONFLICT, "there are %lld cross-references, and no more may "
                               "be (cross_references_max)", (long long)max);
    struct cross_reference *event;
    if (!cross_event(decision, &changed_event, ref, &event))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *event = *ref;
    event->version = was.version + 1;
    shape_mark(event, CROSS_DIRECTION);
    shape_mark(event, CROSS_VERSION);
    return decision_answer(decision, old ? 200 : 201, &cross_reference_shape, event);
}

static enum err set_decide(struct decision *decision, const struct command *command) {
    return set_now(decision, command, command->body);
}

static bool code_valid(struct str text) {
    bool good = text.len > 0 && text.len <= 64;
    for (size_t i = 0; i < text.len && good; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        good = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
               strchr("._:/-", c);
    }
    return good;
}
static bool text_valid(struct str text) {
    return text.len <= CROSS_TEXT_MAX &&
           (text.len <= 128 ? shape_id_valid(text)
                            : shape_id_valid(str_of(text.ptr, 1)) &&
                                  shape_id_valid(str_of(text.ptr + text.len - 1, 1)));
}

/* What the path says, checked as a body is; false: it is refused. */
static bool path_read(struct decision *decision, const struct command *command,
                      struct cross_reference *ref, struct str *name, enum err *err) {
    ref->system = command->args[0];
    ref->kind = command->args[1];
    *name = command->args[2];
    *err = OK;
    if (!code_valid(ref->system))
        *err = decision_fault(decision, ERR_INVALID, STR("system"), "must be a code of 1 to 64 bytes");
    if (!code_valid(ref->kind))
        *err = decision_fault(decision, ERR_INVALID, STR("kind"), "must be a code of 1 to 64 bytes");
    if (!text_valid(*name))
        *err = decision_fault(decision, ERR_INVALID, ref->direction == CROSS_OUT ? STR("code") : STR("value"),
                              "must have 1 to %d bytes, printable, no space at the ends", CROSS_TEXT_MAX);
    ref->has = 1u << CROSS_SYSTEM | 1u << CROSS_KIND | 1u << CROSS_VALUE | 1u << CROSS_CODE;
    return *err == OK;
}

static enum err put_value_decide(struct decision *decision, const struct command *command) {
    const struct cross_code *body = command->body;
    struct cross_reference ref = {.code = body->code,
                                  .direction = body->direction == 1 ? CROSS_IN : CROSS_BOTH};
    enum err err;
    return path_read(decision, command, &ref, &ref.value, &err) ? set_now(decision, command, &ref)
                                                                : err;
}

static enum err put_code_decide(struct decision *decision, const struct command *command) {
    const struct cross_value *body = command->body;
    struct cross_reference ref = {.value = body->value, .direction = CROSS_OUT};
    enum err err;
    return path_read(decision, command, &ref, &ref.code, &err) ? set_now(decision, command, &ref) : err;
}

static enum err remove_now(struct decision *decision, const struct command *command, bool out) {
    const struct cross_state *s = decision_state(decision, &cross_references_capability);
    const struct cross_entry *old =
        cross_find(s, command->args[0], command->args[1], command->args[2], out);
    struct str name = command->args[2];
    if (!old || (out && old->direction != CROSS_OUT))
        return decision_refuse(decision, ERR_NOT_FOUND, "there is no such cross-reference: %.*s",
                               (int)(name.len < 64 ? name.len : 64), name.ptr);
    struct cross_reference was = cross_document(old), *event;
    if (command->if_match >= 0 && command->if_match != was.version)
        return decision_refuse(decision, ERR_STALE, "its version is %lld", (long long)was.version);
    if (!cross_copy(decision_arena(decision), &was) ||
        !cross_event(decision, &removed_event, &was, &event))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *event = was;
    event->version++;
    return decision_answer(decision, 200, &cross_reference_shape, event);
}
static enum err remove_value_decide(struct decision *decision, const struct command *command) {
    return remove_now(decision, command, false);
}
static enum err remove_code_decide(struct decision *decision, const struct command *command) {
    return remove_now(decision, command, true);
}

const struct command_type cross_reference_set_command = {
    .name = "cross_reference.set", .shape = &cross_reference_shape, .decide = set_decide,
    .help = "Say what a system calls what the hub has a code for"};
static const struct command_type put_value_command = {
    .name = "cross_reference.set_value", .shape = &code_shape, .decide = put_value_decide,
    .help = "Say which code a system's value has"};
static const struct command_type put_code_command = {
    .name = "cross_reference.set_code", .shape = &value_shape, .decide = put_code_decide,
    .help = "Say what a code goes out as alone"};
static const struct command_type remove_value_command = {
    .name = "cross_reference.remove_value", .decide = remove_value_decide,
    .help = "Remove the code of a system's value"};
static const struct command_type remove_code_command = {
    .name = "cross_reference.remove_code", .decide = remove_code_decide,
    .help = "Remove what a code goes out as alone"};
static const struct command_type *const cross_commands[] = {
    &cross_reference_set_command, &put_value_command, &put_code_command, &remove_value_command,
    &remove_code_command, NULL};

/* --- asking -------------------------------------------------------------------------------- */

static enum err get_entry(struct query *query, bool out, struct fault *fault) {
    struct core *core = query->reader->core;
    struct cross_reference ref = {.has = (1u << (CROSS_VERSION + 1)) - 1};
    query->seq = core_seq(core);
    core_read_begin(core);
    enum err err = cross_reference_get(core_state(core, &cross_references_capability), query->args[0],
                                       query->args[1], query->args[2], out, query->arena, &ref);
    core_read_end(core);
    if (err == ERR_NOT_FOUND)
        return fault_set(fault, err, "there is no such cross-reference: %.*s",
                         (int)(query->args[2].len < 64 ? query->args[2].len : 64), query->args[2].ptr);
    if (err)
        return fault_set(fault, err, "no memory for the answer");
    shape_encode(&cross_reference_shape, &ref, query->out);
    return OK;
}
static enum err value_query(struct query *query, struct fault *fault) {
    return get_entry(query, false, fault);
}
static enum err code_query(struct query *query, struct fault *fault) {
    return get_entry(query, true, fault);
}

static bool cross_visit(void *ctx, const struct row_value *values) {
    struct query *query = ctx;
    struct buf *out = query->out;
    list_next(out);
    buf_lit(out, "{\"system\":");
    buf_json_str(out, values[COL_SYSTEM].text);
    query_member(query, "kind", values[COL_KIND].text);
    query_member(query, "value", values[COL_VALUE].text);
    query_member(query, "code", values[COL_CODE].text);
    query_member(query, "direction", values[COL_DIRECTION].text);
    buf_printf(out, ",\"version\":%lld}", (long long)values[COL_VERSION].integer);
    return true;
}

static enum err list_query(struct query *query, struct fault *fault) {
    static const struct query_filter by[] = {
        {"system", COL_SYSTEM}, {"kind", COL_KIND}, {"value", COL_VALUE}, {"code", COL_CODE}};
    struct row_filter filters[5] = {{COL_STATE, ROW_EQ, {.text = STR("set")}}};
    struct row_query rows = {.table = &cross_table, .filters = filters, .filter_count = 1,
                             .sort_column = COL_SEQ, .cursor = query_value(query, "cursor")};
    enum err err = query_limit(query, 100, 1000, &rows.limit, fault);
    for (size_t i = 0; i < sizeof by / sizeof *by; i++) {
        struct str value = query_value(query, by[i].param);
        if (value.ptr)
            filters[rows.filter_count++] = (struct row_filter){by[i].column, ROW_EQ, row_text(value)};
    }
    if (err == OK)
        err = query->reader->ops->seq(query->reader, &query->seq, fault);
    list_begin(query->out);
    if (err == OK)
        err = query->reader->ops->list(query->reader, &rows, query->arena, cross_visit, query,
                                       &query->next_cursor, fault);
    if (err)
        return err;
    list_end(query->out, query->next_cursor);
    return OK;
}

static const struct query_param list_params[] = {
    {"system", false, false, "Only this system's"},
    {"kind", false, false, "Only of this kind"},
    {"value", false, false, "Only what a system calls so"},
    {"code", false, false, "Only what the hub calls so"},
    {"limit", false, false, "Items on a page, 1 to 1000 (100)", QUERY_WHOLE, 1, 1000},
    {"cursor", false, false, "next_cursor of the page before"},
    {NULL, false, false, NULL},
};
#define PATH "/v1/cross-references"
static const struct route cross_routes[] = {
    {.method = "GET", .path = PATH, .scope = "codes:read", .traffic = CLASS_BULK, .query = list_query,
     .params = list_params, .answer = &cross_reference_shape,
     .help = "What other systems call what the hub has a code for, the latest change last"},
    {.method = "POST", .path = PATH, .scope = "codes:write", .traffic = CLASS_CATALOGUE,
     .command = &cross_reference_set_command, .answer = &cross_reference_shape, .flags = ROUTE_BULK,
     .status = 201, .refusals = ROUTE_REFUSES(ERR_CONFLICT, ERR_STALE),
     .help = "Say what a system calls what the hub has a code for"},
    {.method = "GET", .path = PATH "/{system}/{kind}/{value}", .scope = "codes:read",
     .traffic = CLASS_CATALOGUE, .query = value_query, .answer = &cross_reference_shape,
     .flags = ROUTE_INLINE, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "The code that a system's value comes in as"},
    {.method = "PUT", .path = PATH "/{system}/{kind}/{value}", .scope = "codes:write",
     .traffic = CLASS_CATALOGUE, .command = &put_value_command, .answer = &cross_reference_shape,
     .status = 201, .refusals = ROUTE_REFUSES(ERR_CONFLICT, ERR_STALE),
     .help = "Say which code a system's value has"},
    {.method = "DELETE", .path = PATH "/{system}/{kind}/{value}", .scope = "codes:write",
     .traffic = CLASS_CATALOGUE, .command = &remove_value_command, .answer = &cross_reference_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_STALE), .help = "Remove the code of a system's value"},
    {.method = "GET", .path = PATH "/{system}/{kind}/out/{code}", .scope = "codes:read",
     .traffic = CLASS_CATALOGUE, .query = code_query, .answer = &cross_reference_shape,
     .flags = ROUTE_INLINE, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "What a code goes out as"},
    {.method = "PUT", .path = PATH "/{system}/{kind}/out/{code}", .scope = "codes:write",
     .traffic = CLASS_CATALOGUE, .command = &put_code_command, .answer = &cross_reference_shape,
     .status = 201, .refusals = ROUTE_REFUSES(ERR_CONFLICT, ERR_STALE),
     .help = "Say what a code goes out as, without coming in so"},
    {.method = "DELETE", .path = PATH "/{system}/{kind}/out/{code}", .scope = "codes:write",
     .traffic = CLASS_CATALOGUE, .command = &remove_code_command, .answer = &cross_reference_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_STALE),
     .help = "Remove what a code goes out as alone"},
    {.method = NULL},
};

static const struct entity_kind *const cross_entities[] = {&cross_entity, NULL};

const struct capability cross_references_capability = {
    .name = "cross_references",
    .help = "What other systems call what the hub has a code for",
    .commands = cross_commands,
    .events = cross_events,
    .routes = cross_routes,
    .tables = cross_tables,
    .entities = cross_entities,
    .state_size = sizeof(struct cross_state),
    .state_init = cross_state_init,
    .state_free = cross_state_free,
    .memory = cross_memory,
    .publish = cross_publish,
    .dump = cross_dump,
};
