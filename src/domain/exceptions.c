/* exceptions: see exceptions.h. State: the cases, by id, closed ones as well; of the open ones what
 * waits for them (exceptions_open.c). Rows: one for each case, as it stands. */
#include "domain/exceptions_priv.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "domain/inbound.h"

#define HUB_SET(type, member, kind_, help_text)                                                    \
    {.name = #member, .kind = kind_, .offset = offsetof(type, member), .since = 1,                 \
     .owner = "hub", .flags = SHAPE_READ_ONLY, .help = help_text}

static const struct shape_field exception_rows[] = {
    [EXCEPTION_ID] = HUB_SET(struct exception, exception_id, SHAPE_ID, "The hub's id of the case"),
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
    [EXCEPTION_VERSION] = HUB_SET(struct exception, version, SHAPE_INTEGER, "Of the case: 1"),
    [EXCEPTION_CONNECTOR] = SHAPE_ROW(struct exception, connector, SHAPE_CODE,
                                      "Whose message it is about"),
    [EXCEPTION_TOPIC] = SHAPE_ROW(struct exception, topic, SHAPE_CODE, "What that message is"),
    [EXCEPTION_LANE] = SHAPE_ROW(struct exception, lane, SHAPE_TEXT,
                                 "Later messages of this key wait until it is closed", .max = 512),
    [EXCEPTION_MAPPING] = SHAPE_ROW(struct exception, mapping, SHAPE_TEXT,
                                    "The mapping that was run: CONNECTOR/FILE", .max = 512),
    [EXCEPTION_MAPPING_VERSION] = SHAPE_ROW(struct exception, mapping_version, SHAPE_TEXT,
                                            "Its version: of the connector, and a hash", .max = 256),
};
SHAPE_DEFINE(exception_shape, "exception", struct exception, "A case a person must decide",
             exception_rows);

static const char *const change_kinds[] = {"retried", "edited", "failed", NULL};
static const struct shape_field change_rows[] = {
    [TRIED_EXCEPTION_ID] = HUB_SET(struct exception_change, exception_id, SHAPE_ID, "The case"),
    [TRIED_CHANGE] = SHAPE_ROW(struct exception_change, change, SHAPE_ENUM,
                                "Processed again; with another version of the message; or failed "
                                "again, of a new cause",
                                .values = change_kinds, .flags = SHAPE_REQUIRED),
    [TRIED_KIND] = SHAPE_ROW(struct exception_change, kind, SHAPE_CODE,
                              "failed: what went wrong this time"),
    [TRIED_CAUSE] = SHAPE_ROW(struct exception_change, cause, SHAPE_TEXT,
                               "failed: what happened, in words"),
    [TRIED_ACTION] = SHAPE_ROW(struct exception_change, action, SHAPE_TEXT,
                                "failed: what to do about it"),
    [TRIED_REASON] = SHAPE_ROW(struct exception_change, reason, SHAPE_TEXT, "A person's words"),
    [TRIED_BY] = SHAPE_ROW(struct exception_change, by, SHAPE_TEXT, "Who decided"),
    [TRIED_DETAILS] = SHAPE_ROW(struct exception_change, details, SHAPE_OPEN,
                                 "failed: faults with their pointers, quantities, sums"),
    [TRIED_MAPPING] = SHAPE_ROW(struct exception_change, mapping, SHAPE_TEXT,
                                 "failed: the mapping that was run", .max = 512),
    [TRIED_MAPPING_VERSION] = SHAPE_ROW(struct exception_change, mapping_version, SHAPE_TEXT,
                                         "failed: its version", .max = 256),
    [TRIED_EDITION_SEQ] = SHAPE_ROW(struct exception_change, edition_seq, SHAPE_INTEGER,
                                     "edited: seq of the event that keeps the new version"),
    [TRIED_ATTEMPTS] = SHAPE_ROW(struct exception_change, attempts, SHAPE_INTEGER,
                                  "How often it was processed again, so far"),
    [TRIED_VERSION] = SHAPE_ROW(struct exception_change, version, SHAPE_INTEGER,
                                 "Of the case, afterwards"),
};
SHAPE_DEFINE(exception_change_shape, "exception_change", struct exception_change,
             "What was tried to close a case", change_rows);

static const struct shape_field resolution_rows[] = {
    [RESOLUTION_EXCEPTION_ID] = HUB_SET(struct resolution, exception_id, SHAPE_ID, "The case"),
    [RESOLUTION_RESOLUTION] = SHAPE_ROW(struct resolution, resolution, SHAPE_CODE,
                                        "How: discarded (default), fixed, retried; by itself: "
                                        "processed, cancelled, started"),
    [RESOLUTION_REASON] = SHAPE_ROW(struct resolution, reason, SHAPE_TEXT, "Why",
                                    .flags = SHAPE_REQUIRED, .min = 1),
    [RESOLUTION_VERSION] = HUB_SET(struct resolution, version, SHAPE_INTEGER,
                                   "Of the case, afterwards"),
    [RESOLUTION_LANE] = HUB_SET(struct resolution, lane, SHAPE_TEXT,
                                "Messages of this key that waited for it go on"),
    [RESOLUTION_BY] = HUB_SET(struct resolution, by, SHAPE_TEXT,
                              "Who decided; absent: the cause went away"),
    [RESOLUTION_PAYLOAD_SEQ] = HUB_SET(struct resolution, payload_seq, SHAPE_INTEGER,
                                       "seq of the event that keeps its payload"),
};
SHAPE_DEFINE(resolution_shape, "exception_resolution", struct resolution, "How a case was closed",
             resolution_rows);

static const struct shape_field edit_rows[] = {
    [EDIT_PAYLOAD_ID] = SHAPE_ROW(struct payload_edit, payload_id, SHAPE_ID,
                                  "The hub's id of the payload"),
    [EDIT_PAYLOAD_SEQ] = SHAPE_ROW(struct payload_edit, payload_seq, SHAPE_INTEGER,
                                   "seq of the event that keeps what came"),
    [EDIT_EXCEPTION_ID] = HUB_SET(struct payload_edit, exception_id, SHAPE_ID,
                                  "The case it is to close"),
    [EDIT_DOCUMENT] = SHAPE_ROW(struct payload_edit, document, SHAPE_RAW,
                                "The new version, where it is JSON", .privacy = PERSONAL),
    [EDIT_TEXT] = SHAPE_ROW(struct payload_edit, text, SHAPE_TEXT,
                            "The new version, where it is another text",
                            .max = PAYLOAD_BYTES_MAX, .privacy = PERSONAL),
    [EDIT_REASON] = SHAPE_ROW(struct payload_edit, reason, SHAPE_TEXT, "Why"),
    [EDIT_BY] = SHAPE_ROW(struct payload_edit, by, SHAPE_TEXT, "Who"),
    [EDIT_CHANGED] = SHAPE_ROW(struct payload_edit, changed, SHAPE_LIST,
                               "JSON Pointers of what was set; none: the whole was written"),
};
SHAPE_DEFINE(payload_edit_shape, "payload_edit", struct payload_edit,
             "Another version of a stored message; what came is kept beside it", edit_rows);

/* --- state ----------------------------------------------------------------------------------- */

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

uint32_t case_find(const struct state *state, struct str exception_id) {
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
    waiting_free(&s->waiting);
}

/* MAP_NONE: memory is out. */
static uint32_t case_put(struct exceptions_state *s, struct id128 id, struct str kind, uint64_t seq,
                         enum case_state state, int64_t version) {
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
    s->cases[slot] = (struct open_case){.id = id, .kind = text, .seq = seq, .state = state,
                                         .version = version};
    return map_add(&s->map, case_id_hash(&id), slot, case_hash, s) ? slot : MAP_NONE;
}

static enum err raised_apply(struct state *state, const struct event *event) {
    struct exceptions_state *s = state_of(state, &exceptions_capability);
    const struct exception *e = event->data;
    struct id128 id;
    must(id_parse(e->exception_id, "exc_", &id));
    uint32_t slot = case_put(s, id, e->kind, event->seq, CASE_OPEN, 1);
    if (slot == MAP_NONE)
        return ERR_NOMEM;
    enum err err = entity_changed(state, &case_entity, slot);
    return err == OK ? waiting_begin(state, id, e) : err;
}

/* The case of an event about it; MAP_NONE: it can not be read. */
static uint32_t case_of_event(struct state *state, struct str exception_id) {
    uint32_t slot = case_find(state, exception_id);
    must(slot != MAP_NONE || state_unread(state));
    return slot;
}

static enum err changed_apply(struct state *state, const struct event *event) {
    struct exceptions_state *s = state_of(state, &exceptions_capability);
    const struct exception_change *change = event->data;
    uint32_t slot = case_of_event(state, change->exception_id);
    if (slot == MAP_NONE)
        return ERR_UNAVAILABLE;
    s->cases[slot].version = change->version;
    enum err err = entity_changed(state, &case_entity, slot);
    uint32_t waiting = waiting_find(&s->waiting, s->cases[slot].id);
    must(waiting != MAP_NONE);
    return err == OK ? waiting_change(state, waiting, change) : err;
}

static enum err resolved_apply(struct state *state, const struct event *event) {
    struct exceptions_state *s = state_of(state, &exceptions_capability);
    const struct resolution *r = event->data;
    uint32_t slot = case_of_event(state, r->exception_id);
    if (slot == MAP_NONE)
        return ERR_UNAVAILABLE;
    s->cases[slot].state = str_is(r->resolution, RESOLUTION_DISCARDED) ? CASE_DISCARDED
                                                                       : CASE_RESOLVED;
    s->cases[slot].version = r->version;
    enum err err = entity_changed(state, &case_entity, slot);
    uint32_t waiting = waiting_find(&s->waiting, s->cases[slot].id);
    return err == OK && waiting != MAP_NONE ? waiting_end(state, waiting) : err;
}

/* The new version itself is read from the journal when it is processed. */
static enum err edited_apply(struct state *state, const struct event *event) {
    (void)state;
    (void)event;
    return OK;
}

static void exceptions_dump(const void *part, struct buf *out) {
    const struct exceptions_state *s = part;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct open_case *c = &s->cases[i];
        char id[ID_TEXT_LEN];
        if (!c->kind)
            continue;
        id_write(id, c->id);
        buf_printf(out, "exc_%.*s kind=%s seq=%llu state=%d version=%lld\n", ID_TEXT_LEN, id, c->kind,
                   (unsigned long long)c->seq, c->state, (long long)c->version);
    }
    waiting_dump(&s->waiting, out);
}

static struct hash128 case_key(const void *part, uint32_t slot) {
    return id_key(((const struct exceptions_state *)part)->cases[slot].id);
}

static void case_save(const void *part, uint32_t slot, struct buf *out) {
    const struct open_case *c = &((const struct exceptions_state *)part)->cases[slot];
    pack_str(out, str_c(c->kind));
    pack_uint(out, c->seq);
    pack_uint(out, c->state);
    pack_int(out, c->version);
}

static enum err case_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct unpack in = unpack_of(bytes);
    struct str kind = unpack_str(&in);
    uint64_t seq = unpack_uint(&in), state = unpack_uint(&in);
    int64_t version = unpack_int(&in);
    if (unpack_end(&in) != OK || state > CASE_DISCARDED)
        return ERR_DAMAGED;
    *slot = case_put(part, id_of_key(key), kind, seq, (enum case_state)state, version);
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
static const struct entity_kind *const exception_entities[] = {&case_entity, &waiting_entity, NULL};

void case_needs(struct command *command) {
    struct id128 id;
    if (id_parse(command->args[0], "exc_", &id))
        command_need(command, &case_entity, id_key(id));
}

/* --- read model -------------------------------------------------------------------------------- */

static const struct table_column exception_columns[] = {
    [CASE_ID] = {"exception_id", COLUMN_TEXT, "The case"},
    [CASE_KIND] = {"kind", COLUMN_TEXT, "What went wrong, as a code"},
    [CASE_SUBJECT] = {"subject", COLUMN_TEXT, "What it is about"},
    [CASE_STATE] = {"state", COLUMN_TEXT, "open, resolved or discarded"},
    [CASE_OWNER] = {"owner", COLUMN_TEXT, "The team that decides"},
    [CASE_RAISED] = {"raised_us", COLUMN_INTEGER, "When, microseconds since 1970", UNIT_INSTANT_US},
    [CASE_UPDATED] = {"updated_us", COLUMN_INTEGER, "Last change, microseconds since 1970",
                      UNIT_INSTANT_US},
    [CASE_SEQ] = {"seq", COLUMN_INTEGER, "Of the event that raised it"},
    [CASE_CONNECTOR] = {"connector", COLUMN_TEXT, "Whose message it is about"},
    [CASE_TOPIC] = {"topic", COLUMN_TEXT, "What that message is"},
    [CASE_LANE] = {"lane", COLUMN_TEXT, "Later messages of this key wait while it is open"},
    [CASE_PAYLOAD_SEQ] = {"payload_seq", COLUMN_INTEGER, "seq of the event that keeps the payload"},
    [CASE_EDITION_SEQ] = {"edition_seq", COLUMN_INTEGER,
                          "seq of the event that keeps its newest version; 0: what came"},
    [CASE_VERSION] = {"version", COLUMN_INTEGER, "Of the case"},
    [CASE_ATTEMPTS] = {"attempts", COLUMN_INTEGER, "How often it was processed again"},
    [CASE_CAUSE] = {"cause", COLUMN_TEXT, "What happened last, in words"},
    [CASE_CHANGED_SEQ] = {"changed_seq", COLUMN_INTEGER, "Of the newest event about it"},
};
static const char *const exception_indexes[] = {"updated_us, exception_id",
                                                "state, updated_us, exception_id", NULL};
const struct table exceptions_table = {
    .name = "exceptions",
    .help = "Cases a person must decide, or had to",
    .columns = exception_columns,
    .count = CASE_COLUMNS,
    .key_columns = 1,
    .indexes = exception_indexes,
};
static const struct table *const exception_tables[] = {&exceptions_table, NULL};

static void raised_project(struct rows *rows, const struct event *event) {
    const struct exception *e = event->data;
    struct row_value values[CASE_COLUMNS] = {
        [CASE_ID] = row_text(e->exception_id), [CASE_KIND] = row_text(e->kind),
        [CASE_SUBJECT] = row_text(e->subject), [CASE_STATE] = row_text(STR("open")),
        [CASE_OWNER] = row_text(e->owner),     [CASE_RAISED] = row_int(event->time_us),
        [CASE_UPDATED] = row_int(event->time_us), [CASE_SEQ] = row_int((int64_t)event->seq),
        [CASE_CONNECTOR] = row_text(e->connector), [CASE_TOPIC] = row_text(e->topic),
        [CASE_LANE] = row_text(e->lane),       [CASE_PAYLOAD_SEQ] = row_int(e->payload_seq),
        [CASE_VERSION] = row_int(1),           [CASE_CAUSE] = row_text(e->cause),
        [CASE_CHANGED_SEQ] = row_int((int64_t)event->seq),
    };
    rows_put(rows, &exceptions_table, UINT64_MAX, values);
    if (e->subject.len)
        rows_ref(rows, e->subject);
}

#define COLUMN(column) (UINT64_C(1) << (column))

static void changed_project(struct rows *rows, const struct event *event) {
    const struct exception_change *c = event->data;
    struct row_value values[CASE_COLUMNS] = {
        [CASE_ID] = row_text(c->exception_id),     [CASE_KIND] = row_text(c->kind),
        [CASE_UPDATED] = row_int(event->time_us),  [CASE_EDITION_SEQ] = row_int(c->edition_seq),
        [CASE_VERSION] = row_int(c->version),      [CASE_ATTEMPTS] = row_int(c->attempts),
        [CASE_CAUSE] = row_text(c->cause),         [CASE_CHANGED_SEQ] = row_int((int64_t)event->seq),
    };
    uint64_t set = COLUMN(CASE_UPDATED) | COLUMN(CASE_VERSION) | COLUMN(CASE_ATTEMPTS) |
                   COLUMN(CASE_CHANGED_SEQ);
    if (c->change == CASE_FAILED)
        set |= COLUMN(CASE_KIND) | COLUMN(CASE_CAUSE);
    if (c->change == CASE_EDITED)
        set |= COLUMN(CASE_EDITION_SEQ);
    rows_put(rows, &exceptions_table, set, values);
}

static void resolved_project(struct rows *rows, const struct event *event) {
    const struct resolution *r = event->data;
    bool discarded = str_is(r->resolution, RESOLUTION_DISCARDED);
    struct row_value values[CASE_COLUMNS] = {
        [CASE_ID] = row_text(r->exception_id),
        [CASE_STATE] = row_text(discarded ? STR("discarded") : STR("resolved")),
        [CASE_UPDATED] = row_int(event->time_us),
        [CASE_VERSION] = row_int(r->version),
        [CASE_CHANGED_SEQ] = row_int((int64_t)event->seq),
    };
    rows_put(rows, &exceptions_table,
             COLUMN(CASE_STATE) | COLUMN(CASE_UPDATED) | COLUMN(CASE_VERSION) |
                 COLUMN(CASE_CHANGED_SEQ),
             values);
}

/* Found under the message, so that an erasure finds it. */
static void edited_project(struct rows *rows, const struct event *event) {
    const struct payload_edit *edit = event->data;
    rows_ref(rows, edit->payload_id);
}

static const char *const edited_reads[] = {"payload_id", NULL};
const struct event_type exception_raised_event = {
    .name = "exception.raised", .shape = &exception_shape, .apply = raised_apply,
    .project = raised_project, .help = "Something needs a person's decision"};
const struct event_type exception_changed_event = {
    .name = "exception.changed", .shape = &exception_change_shape, .apply = changed_apply,
    .project = changed_project, .help = "Closing a case was tried: processed again, edited, failed"};
const struct event_type exception_resolved_event = {
    .name = "exception.resolved", .shape = &resolution_shape, .apply = resolved_apply,
    .project = resolved_project, .help = "A case was closed: resolved or discarded"};
const struct event_type payload_edited_event = {
    .name = EVENT_PAYLOAD_EDITED, .shape = &payload_edit_shape, .apply = edited_apply,
    .project = edited_project, .project_reads = edited_reads,
    .help = "A person made another version of a stored message; what came is kept"};
static const struct event_type *const exception_events[] = {
    &exception_raised_event, &exception_changed_event, &exception_resolved_event,
    &payload_edited_event, NULL};

static const struct command_type *const exception_commands[] = {
    &exception_raise_command, &exception_retry_command, &exception_edit_command,
    &exception_resolve_command, &exception_close_command, NULL};

const struct capability exceptions_capability = {
    .name = "exceptions",
    .help = "The business exception queue",
    .commands = exception_commands,
    .events = exception_events,
    .tables = exception_tables,
    .state_size = sizeof(struct exceptions_state),
    .state_free = exceptions_free,
    .entities = exception_entities,
    .react = exceptions_react,
    .dump = exceptions_dump,
};
