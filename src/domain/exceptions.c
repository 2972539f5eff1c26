/* exceptions: see exceptions.h. State: the open ones, by id. Raising yields exception.raised,
 * resolving exception.resolved with who, how and why. */
#include "domain/exceptions.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "domain/inbound.h"
#include "domain/items.h"

static const struct shape_field exception_rows[] = {
    [EXCEPTION_ID] = {.name = "exception_id", .kind = SHAPE_ID, .flags = SHAPE_READ_ONLY,
                      .offset = offsetof(struct exception, exception_id), .since = 1,
                      .owner = "hub", .help = "The hub's id of the case"},
    [EXCEPTION_KIND] = SHAPE_ROW(struct exception, kind, SHAPE_CODE, "What went wrong, as a code",
                                 .flags = SHAPE_REQUIRED),
    [EXCEPTION_SUBJECT] = SHAPE_ROW(struct exception, subject, SHAPE_ID,
                                    "What it is about: an order, a payload, a position"),
    [EXCEPTION_CAUSE] = SHAPE_ROW(struct exception, cause, SHAPE_TEXT, "What happened, in words",
                                  .flags = SHAPE_REQUIRED),
    [EXCEPTION_ACTION] = SHAPE_ROW(struct exception, action, SHAPE_TEXT, "What to do about it"),
    [EXCEPTION_OWNER] = SHAPE_ROW(struct exception, owner, SHAPE_CODE, "The team that decides"),
    [EXCEPTION_PAYLOAD_SEQ] = SHAPE_ROW(struct exception, payload_seq, SHAPE_INTEGER,
                                        "seq of the event that keeps the payload"),
    [EXCEPTION_DETAILS] = SHAPE_ROW(struct exception, details, SHAPE_OPEN,
                                    "Faults with their pointers, quantities, sums"),
    [EXCEPTION_VERSION] = {.name = "version", .kind = SHAPE_INTEGER, .flags = SHAPE_READ_ONLY,
                           .offset = offsetof(struct exception, version), .since = 1,
                           .owner = "hub", .help = "Of the case: 1"},
};
SHAPE_DEFINE(exception_shape, "exception", struct exception, "A case a person must decide",
             exception_rows);

struct resolution {
    uint64_t has;
    struct str exception_id;
    struct str resolution; /* discarded, fixed, retried */
    struct str reason;
    int64_t version;
};
enum resolution_row {
    RESOLUTION_EXCEPTION_ID, RESOLUTION_RESOLUTION, RESOLUTION_REASON, RESOLUTION_VERSION,
};
static const struct shape_field resolution_rows[] = {
    [RESOLUTION_EXCEPTION_ID] = {.name = "exception_id", .kind = SHAPE_ID,
                                 .flags = SHAPE_READ_ONLY,
                                 .offset = offsetof(struct resolution, exception_id), .since = 1,
                                 .owner = "hub", .help = "The case"},
    [RESOLUTION_RESOLUTION] = SHAPE_ROW(struct resolution, resolution, SHAPE_CODE,
                                        "How: discarded (default), fixed, retried"),
    [RESOLUTION_REASON] = SHAPE_ROW(struct resolution, reason, SHAPE_TEXT, "Why",
                                    .flags = SHAPE_REQUIRED, .min = 1),
    [RESOLUTION_VERSION] = {.name = "version", .kind = SHAPE_INTEGER, .flags = SHAPE_READ_ONLY,
                            .offset = offsetof(struct resolution, version), .since = 1,
                            .owner = "hub", .help = "Of the case, afterwards: 2"},
};
static SHAPE_DEFINE(resolution_shape, "exception_resolution", struct resolution,
                    "How a case was closed", resolution_rows);

/* --- state ----------------------------------------------------------------------------------- */

struct open_case {
    struct id128 id;
    char *kind; /* NULL: a free slot */
    uint64_t seq; /* of a free slot: the next one, + 1 */
    bool open;
};
struct exceptions_state {
    struct open_case *cases; /* those in memory */
    uint32_t count, cap;     /* slots ever used; allocated */
    uint32_t free;           /* slot + 1 */
    struct map map;
};
static const struct entity_kind case_entity;

static uint64_t case_id_hash(const struct id128 *id) {
    return hash64(str_of((const char *)id->bytes, ID_BYTES), 0);
}
static bool case_eq(const void *ctx, uint32_t index, const void *key) {
    return memcmp(&((const struct exceptions_state *)ctx)->cases[index].id, key, ID_BYTES) == 0;
}
static uint64_t case_hash(const void *ctx, uint32_t index) {
    return case_id_hash(&((const struct exceptions_state *)ctx)->cases[index].id);
}
static uint32_t case_slot(const void *part, struct hash128 key) {
    const struct exceptions_state *s = part;
    struct id128 id = id_of_key(key);
    return map_find(&s->map, case_id_hash(&id), case_eq, s, &id);
}

/* Its slot, loaded where it was not in memory; MAP_NONE: there is no such case. */
static uint32_t case_find(const struct state *state, struct str exception_id) {
    struct id128 id;
    return id_parse(exception_id, "exc_", &id) ? entity_get(state, &case_entity, id_key(id))
                                               : MAP_NONE;
}

static void exceptions_free(void *part) {
    struct exceptions_state *s = part;
    for (uint32_t i = 0; i < s->count; i++)
        mem_free(s->cases[i].kind);
    mem_free(s->cases);
    map_free(&s->map);
}

/* MAP_NONE: memory is out. */
static uint32_t case_put(struct exceptions_state *s, struct id128 id, struct str kind, uint64_t seq,
                         bool open) {
    if (!s->free && !MEM_ROOM(s->cases, s->count, s->cap, 64))
        return MAP_NONE;
    char *text = mem_alloc(kind.len + 1);
    if (!text)
        return MAP_NONE;
    memcpy(text, kind.ptr, kind.len);
    text[kind.len] = '\0';
    uint32_t slot = s->free ? s->free - 1 : s->count;
    if (s->free)
        s->free = (uint32_t)s->cases[slot].seq;
    else
        s->count++;
    s->cases[slot] = (struct open_case){.id = id, .kind = text, .seq = seq, .open = open};
    return map_add(&s->map, case_id_hash(&id), slot, case_hash, s) ? slot : MAP_NONE;
}

static enum err raised_apply(struct state *state, const struct event *event) {
    struct exceptions_state *s = state_of(state, &exceptions_capability);
    const struct exception *e = event->data;
    struct id128 id;
    must(id_parse(e->exception_id, "exc_", &id));
    uint32_t slot = case_put(s, id, e->kind, event->seq, true);
    return slot == MAP_NONE ? ERR_NOMEM : entity_changed(state, &case_entity, slot);
}

static enum err resolved_apply(struct state *state, const struct event *event) {
    struct exceptions_state *s = state_of(state, &exceptions_capability);
    const struct resolution *r = event->data;
    uint32_t slot = case_find(state, r->exception_id);
    must(slot != MAP_NONE || state_unread(state));
    if (slot == MAP_NONE)
        return ERR_UNAVAILABLE;
    s->cases[slot].open = false;
    return entity_changed(state, &case_entity, slot);
}

static void exceptions_dump(const void *part, struct buf *out) {
    const struct exceptions_state *s = part;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct open_case *c = &s->cases[i];
        char id[ID_TEXT_LEN];
        if (!c->kind)
            continue;
        id_write(id, c->id);
        buf_printf(out, "exc_%.*s kind=%s seq=%llu open=%d\n", ID_TEXT_LEN, id, c->kind,
                   (unsigned long long)c->seq, c->open);
    }
}

static struct hash128 case_key(const void *part, uint32_t slot) {
    return id_key(((const struct exceptions_state *)part)->cases[slot].id);
}

static void case_save(const void *part, uint32_t slot, struct buf *out) {
    const struct open_case *c = &((const struct exceptions_state *)part)->cases[slot];
    pack_str(out, str_c(c->kind));
    pack_uint(out, c->seq);
    pack_uint(out, c->open);
}

static enum err case_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct unpack in = unpack_of(bytes);
    struct str kind = unpack_str(&in);
    uint64_t seq = unpack_uint(&in), open = unpack_uint(&in);
    if (unpack_end(&in) != OK)
        return ERR_DAMAGED;
    *slot = case_put(part, id_of_key(key), kind, seq, open != 0);
    return *slot == MAP_NONE ? ERR_NOMEM : OK;
}

static void case_evict(void *part, uint32_t slot) {
    struct exceptions_state *s = part;
    struct open_case *c = &s->cases[slot];
    must(map_remove(&s->map, case_id_hash(&c->id), slot));
    mem_free(c->kind);
    *c = (struct open_case){.seq = s->free};
    s->free = slot + 1;
}

static size_t case_bytes(const void *part, uint32_t slot) {
    const struct exceptions_state *s = part;
    return sizeof *s->cases + strlen(s->cases[slot].kind) + 60;
}

static const struct entity_kind case_entity = {
    .name = "exception", .flags = ENTITY_TIMED, .help = "Cases, open and resolved",
    .load = case_load, .key = case_key, .save = case_save, .find = case_slot,
    .evict = case_evict, .bytes = case_bytes};
static const struct entity_kind *const exception_entities[] = {&case_entity, NULL};

static void case_needs(struct command *command) {
    struct id128 id;
    if (id_parse(command->args[0], "exc_", &id))
        command_need(command, &case_entity, id_key(id));
}

/* --- read model -------------------------------------------------------------------------------- */

enum { COL_ID, COL_KIND, COL_SUBJECT, COL_STATE, COL_OWNER, COL_RAISED, COL_UPDATED, COL_SEQ };
static const struct table_column exception_columns[] = {
    [COL_ID] = {"exception_id", COLUMN_TEXT, "The case"},
    [COL_KIND] = {"kind", COLUMN_TEXT, "What went wrong, as a code"},
    [COL_SUBJECT] = {"subject", COLUMN_TEXT, "What it is about"},
    [COL_STATE] = {"state", COLUMN_TEXT, "open or resolved"},
    [COL_OWNER] = {"owner", COLUMN_TEXT, "The team that decides"},
    [COL_RAISED] = {"raised_us", COLUMN_INTEGER, "When, microseconds since 1970", UNIT_INSTANT_US},
    [COL_UPDATED] = {"updated_us", COLUMN_INTEGER, "Last change, microseconds since 1970",
                     UNIT_INSTANT_US},
    [COL_SEQ] = {"seq", COLUMN_INTEGER, "Of the event that raised it"},
};
static const char *const exception_indexes[] = {"updated_us, exception_id", NULL};
static const struct table exceptions_table = {
    .name = "exceptions",
    .help = "Cases a person must decide, open and resolved",
    .columns = exception_columns,
    .count = sizeof exception_columns / sizeof *exception_columns,
    .key_columns = 1,
    .indexes = exception_indexes,
};
static const struct table *const exception_tables[] = {&exceptions_table, NULL};

static void raised_project(struct rows *rows, const struct event *event) {
    const struct exception *e = event->data;
    struct row_value values[] = {
        [COL_ID] = row_text(e->exception_id), [COL_KIND] = row_text(e->kind),
        [COL_SUBJECT] = row_text(e->subject), [COL_STATE] = row_text(STR("open")),
        [COL_OWNER] = row_text(e->owner),     [COL_RAISED] = row_int(event->time_us),
        [COL_UPDATED] = row_int(event->time_us), [COL_SEQ] = row_int((int64_t)event->seq),
    };
    rows_put(rows, &exceptions_table, UINT64_MAX, values);
    if (e->subject.len)
        rows_ref(rows, e->subject);
}

static void resolved_project(struct rows *rows, const struct event *event) {
    const struct resolution *r = event->data;
    struct row_value values[sizeof exception_columns / sizeof *exception_columns] = {
        [COL_ID] = row_text(r->exception_id), [COL_STATE] = row_text(STR("resolved")),
        [COL_UPDATED] = row_int(event->time_us),
    };
    rows_put(rows, &exceptions_table, 1u << COL_STATE | 1u << COL_UPDATED, values);
}

const struct event_type exception_raised_event = {
    .name = "exception.raised", .shape = &exception_shape, .apply = raised_apply,
    .project = raised_project, .help = "Something needs a person's decision"};
static const struct event_type exception_resolved_event = {
    .name = "exception.resolved", .shape = &resolution_shape, .apply = resolved_apply,
    .project = resolved_project, .help = "A case was decided"};
static const struct event_type *const exception_events[] = {&exception_raised_event,
                                                            &exception_resolved_event, NULL};

/* --- commands ------------------------------------------------------------------------------------ */

enum err exception_raise(struct decision *decision, const struct exception *exception,
                         uint32_t nth) {
    struct exception *e;
    struct arena *arena = decision_arena(decision);
    struct id128 id = decision_id(decision);
    id.bytes[ID_BYTES - 1] = (uint8_t)(id.bytes[ID_BYTES - 1] + nth);
    struct str text = id_text(arena, "exc_", id);
    if (!text.ptr || !decision_event(decision, &exception_raised_event, text, (void **)&e))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the exception");
    *e = *exception;
    e->exception_id = text;
    e->version = 1;
    shape_mark(e, EXCEPTION_ID);
    shape_mark(e, EXCEPTION_VERSION);
    return OK;
}

/* What came in with card numbers was masked before anything was done with it: a person is told. */
static enum err exceptions_react(struct decision *decision, const struct event *event) {
    if (!shape_has(&event->meta, EVENT_META_MASKED))
        return OK;
    bool message = strcmp(event->type->name, EVENT_PAYLOAD_RECEIVED) == 0;
    struct exception e = {.kind = STR("card-data"),
                          .subject = message ? ((const struct payload *)event->data)->payload_id
                                             : event->subject,
                          .payload_seq = (int64_t)event->seq, .owner = STR("security"),
                          .action = STR("Find out why the sender sends card numbers; only the payment "
                                        "provider may have them")};
    e.cause = arena_printf(decision_arena(decision),
                           "What looks like a payment card number was masked at %.*s",
                           STR_FMT(event->meta.masked));
    if (!e.cause.ptr)
        return ERR_NOMEM;
    shape_mark(&e, EXCEPTION_KIND);
    shape_mark(&e, EXCEPTION_SUBJECT);
    shape_mark(&e, EXCEPTION_CAUSE);
    shape_mark(&e, EXCEPTION_ACTION);
    shape_mark(&e, EXCEPTION_OWNER);
    shape_mark(&e, EXCEPTION_PAYLOAD_SEQ);
    /* no cause: what follows from a partner's message would settle it */
    return decision_issue(decision, &exception_raise_command, &e, STR_NONE, 0);
}

static enum err raise_decide(struct decision *decision, const struct command *command) {
    return exception_raise(decision, command->body, 0);
}
const struct command_type exception_raise_command = {
    .name = "exception.raise", .shape = &exception_shape, .decide = raise_decide,
    .flags = COMMAND_INTERNAL, .help = "Asks for a person's decision"};

static enum err resolve_decide(struct decision *decision, const struct command *command) {
    const struct exceptions_state *s = decision_state(decision, &exceptions_capability);
    const struct resolution *given = command->body;
    uint32_t index = case_find(decision_whole_state(decision), command->args[0]);
    if (index == MAP_NONE)
        return decision_refuse(decision, ERR_NOT_FOUND, "there is no exception %.*s",
                               (int)(command->args[0].len < 64 ? command->args[0].len : 64),
                               command->args[0].ptr);
    if (!s->cases[index].open)
        return decision_refuse(decision, ERR_CONFLICT, "the exception is resolved already");
    struct resolution *r;
    if (!decision_event(decision, &exception_resolved_event, command->args[0], (void **)&r))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *r = *given;
    r->exception_id = command->args[0];
    if (!r->resolution.len)
        r->resolution = STR("discarded");
    r->version = 2;
    shape_mark(r, RESOLUTION_EXCEPTION_ID);
    shape_mark(r, RESOLUTION_VERSION);
    shape_mark(r, RESOLUTION_RESOLUTION);
    return decision_answer(decision, 200, &resolution_shape, r);
}
static const struct command_type exception_resolve_command = {
    .name = "exception.resolve", .shape = &resolution_shape, .decide = resolve_decide,
    .needs = case_needs,
    .help = "Closes a case with a reason"};

static const struct command_type *const exception_commands[] = {
    &exception_raise_command, &exception_resolve_command, NULL};

/* --- asking ---------------------------------------------------------------------------------------- */

struct data_copy {
    struct arena *arena;
    struct str data;
};
static bool data_visit(void *ctx, const struct record *record) {
    struct data_copy *copy = ctx;
    copy->data = arena_str(copy->arena, record->data);
    return false;
}

static void exception_item(struct query *query, const struct row_value *values) {
    struct buf *out = query->out;
    struct data_copy copy = {.arena = query->arena};
    struct fault fault;
    uint64_t next;
    buf_lit(out, "{\"exception_id\":");
    buf_json_str(out, values[COL_ID].text);
    query_member(query, "kind", values[COL_KIND].text);
    query_member(query, "subject", values[COL_SUBJECT].text);
    query_member(query, "state", values[COL_STATE].text);
    query_member(query, "owner", values[COL_OWNER].text);
    buf_lit(out, ",\"raised_at\":\"");
    instant_write(out, (struct instant){.us = values[COL_RAISED].integer});
    buf_lit(out, "\"");
    fault_init(&fault, NULL);
    enum err err = journal_read(query->reader->journal, (uint64_t)values[COL_SEQ].integer, 1,
                                data_visit, &copy, &next, &fault);
    if (err == OK && copy.data.len) {
        buf_lit(out, ",\"case\":");
        buf_str_add(out, copy.data);
    }
    buf_char(out, '}');
}

static enum err exceptions_query(struct query *query, struct fault *fault) {
    static const struct query_filter by[] = {
        {"state", COL_STATE}, {"kind", COL_KIND}, {"owner", COL_OWNER}, {NULL, 0}};
    return query_rows(query, &exceptions_table, COL_UPDATED, by, exception_item, fault);
}

static const struct query_param exception_params[] = {
    {"state", false, false, "open or resolved"},
    {"kind", false, false, "Only this kind"},
    {"owner", false, false, "Only this team's"},
    {"limit", false, false, "Items on a page, 1 to 1000 (100)", QUERY_WHOLE, 1, 1000},
    {"cursor", false, false, "next_cursor of the page before"},
    {NULL, false, false, NULL},
};
static const struct route exception_routes[] = {
    {.method = "GET", .path = "/ops/exceptions", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = exceptions_query, .params = exception_params, .answer = &exception_item_shape,
     .help = "Cases that need, or needed, a person's decision"},
    {.method = "POST", .path = "/ops/exceptions/{exception_id}/resolve", .scope = "ops:resolve",
     .traffic = CLASS_OPS, .command = &exception_resolve_command, .answer = &resolution_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT),
     .help = "Close a case with a reason"},
    {.method = NULL},
};

const struct capability exceptions_capability = {
    .name = "exceptions",
    .help = "The business exception queue",
    .commands = exception_commands,
    .events = exception_events,
    .routes = exception_routes,
    .tables = exception_tables,
    .state_size = sizeof(struct exceptions_state),
    .state_free = exceptions_free,
    .entities = exception_entities,
    .react = exceptions_react,
    .dump = exceptions_dump,
};
