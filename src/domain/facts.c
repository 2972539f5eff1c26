/* facts: see facts.h. State: per natural key what tells the same from another and the older from
 * the newer. The documents stay in the journal; the read model's rows point at them. */
#include "domain/facts.h"

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/seal.h"
#include "domain/inbound.h"
#include "domain/items.h"

#define FACT_REFS_MAX 16
#define DIGEST_LEN 32

static const struct shape_field fact_rows[] = {
    [FACT_CONNECTOR] = SHAPE_ROW(struct fact, connector, SHAPE_CODE, "Who says so",
                                 .flags = SHAPE_READ_ONLY, .owner = "hub"),
    [FACT_KIND] = SHAPE_ROW(struct fact, kind, SHAPE_CODE,
                            "What it is: refund, payment, sale, product, price",
                            .flags = SHAPE_REQUIRED),
    [FACT_KEY] = SHAPE_ROW(struct fact, key, SHAPE_ID, "The partner's own number of it",
                           .flags = SHAPE_REQUIRED, .max = 256),
    [FACT_VERSION] = SHAPE_ROW(struct fact, version, SHAPE_TEXT,
                               "Number or time: what is older than what was kept changes nothing",
                               .max = 256),
    [FACT_HAPPENED_AT] = SHAPE_ROW(struct fact, happened_at, SHAPE_INSTANT, "When it happened"),
    [FACT_CUSTOMER_ID] = SHAPE_ROW(struct fact, customer_id, SHAPE_ID,
                                   "Whom it is about; must be there where `personal` is"),
    [FACT_REFS] = SHAPE_ROW(struct fact, refs, SHAPE_LIST,
                            "Other numbers it is found under: of its order, its payment",
                            .max = FACT_REFS_MAX),
    [FACT_DOCUMENT] = SHAPE_ROW(struct fact, document, SHAPE_OPEN,
                                "What is known of it, without what is personal",
                                .flags = SHAPE_REQUIRED),
    [FACT_PERSONAL] = SHAPE_ROW(struct fact, personal, SHAPE_OPEN,
                                "What of it is personal: names, addresses, mail, phones",
                                .privacy = PERSONAL),
    [FACT_DIGEST] = SHAPE_ROW(struct fact, digest, SHAPE_CODE, "Tells the same from another",
                              .flags = SHAPE_READ_ONLY, .owner = "hub"),
};
SHAPE_DEFINE(fact_shape, "fact", struct fact, "What a partner says has happened, or is so",
             fact_rows);

/* --- state ------------------------------------------------------------------------------- */

struct fact_entry {
    struct hash128 key; /* of the event's subject */
    char *texts;        /* digest, version, person; NULL: a free slot */
    uint32_t version_len, person_len;
    uint32_t next_free; /* slot + 1 */
};
struct facts_state {
    struct fact_entry *items;
    uint32_t count, cap, free;
    struct map by_key;
};
static const struct entity_kind fact_entity;

static struct str entry_digest(const struct fact_entry *e) { return str_of(e->texts, DIGEST_LEN); }
static struct str entry_version(const struct fact_entry *e) {
    return str_of(e->texts + DIGEST_LEN, e->version_len);
}
static struct str entry_person(const struct fact_entry *e) {
    return str_of(e->texts + DIGEST_LEN + e->version_len, e->person_len);
}

static bool fact_eq(const void *ctx, uint32_t index, const void *key) {
    return hash128_eq(((const struct facts_state *)ctx)->items[index].key,
                      *(const struct hash128 *)key);
}
static uint64_t fact_hash(const void *ctx, uint32_t index) {
    return ((const struct facts_state *)ctx)->items[index].key.hi;
}
static uint32_t fact_slot(const void *part, struct hash128 key) {
    const struct facts_state *s = part;
    return map_find(&s->by_key, key.hi, fact_eq, s, &key);
}
static struct hash128 fact_key(struct str subject) { return hash128(subject, 0); }

static void facts_free(void *part) {
    struct facts_state *s = part;
    for (uint32_t i = 0; i < s->count; i++)
        mem_free(s->items[i].texts);
    mem_free(s->items);
    map_free(&s->by_key);
}

/* Sets what was said last; false: memory is out. */
static bool entry_set(struct fact_entry *entry, struct str digest, struct str version,
                      struct str person) {
    char *texts = mem_alloc(DIGEST_LEN + version.len + person.len + 1);
    if (!texts)
        return false;
    must(digest.len == DIGEST_LEN);
    memcpy(texts, digest.ptr, DIGEST_LEN);
    if (version.len)
        memcpy(texts + DIGEST_LEN, version.ptr, version.len);
    if (person.len)
        memcpy(texts + DIGEST_LEN + version.len, person.ptr, person.len);
    mem_free(entry->texts);
    entry->texts = texts;
    entry->version_len = (uint32_t)version.len;
    entry->person_len = (uint32_t)person.len;
    return true;
}

/* MAP_NONE: memory is out. */
static uint32_t entry_put(struct facts_state *s, struct hash128 key, struct str digest,
                          struct str version, struct str person) {
    if (!s->free && !MEM_ROOM(s->items, s->count, s->cap, 64))
        return MAP_NONE;
    struct fact_entry entry = {.key = key};
    if (!entry_set(&entry, digest, version, person))
        return MAP_NONE;
    uint32_t slot = s->free ? s->free - 1 : s->count;
    if (s->free)
        s->free = s->items[slot].next_free;
    else
        s->count++;
    s->items[slot] = entry;
    return map_add(&s->by_key, key.hi, slot, fact_hash, s) ? slot : MAP_NONE;
}

static enum err kept_apply(struct state *state, const struct event *event) {
    struct facts_state *s = state_of(state, &facts_capability);
    const struct fact *fact = event->data;
    struct hash128 key = fact_key(event->subject);
    uint32_t slot = entity_get(state, &fact_entity, key);
    if (slot == MAP_NONE) {
        if (state_unread(state))
            return ERR_UNAVAILABLE;
        slot = entry_put(s, key, fact->digest, fact->version, event->meta.person);
        return slot == MAP_NONE ? ERR_NOMEM : entity_changed(state, &fact_entity, slot);
    }
    if (!entry_set(&s->items[slot], fact->digest, fact->version, event->meta.person))
        return ERR_NOMEM;
    return entity_changed(state, &fact_entity, slot);
}

static void facts_dump(const void *part, struct buf *out) {
    const struct facts_state *s = part;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct fact_entry *e = &s->items[i];
        if (e->texts)
            buf_printf(out, "fact %016llx%016llx digest=%.*s version=%.*s person=%.*s\n",
                       (unsigned long long)e->key.hi, (unsigned long long)e->key.lo,
                       STR_FMT(entry_digest(e)), STR_FMT(entry_version(e)),
                       STR_FMT(entry_person(e)));
    }
}

static struct hash128 entry_key(const void *part, uint32_t slot) {
    return ((const struct facts_state *)part)->items[slot].key;
}
static void entry_save(const void *part, uint32_t slot, struct buf *out) {
    const struct fact_entry *entry = &((const struct facts_state *)part)->items[slot];
    pack_str(out, entry_digest(entry));
    pack_str(out, entry_version(entry));
    pack_str(out, entry_person(entry));
}
static enum err entry_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct unpack in = unpack_of(bytes);
    struct str digest = unpack_str(&in), version = unpack_str(&in), person = unpack_str(&in);
    if (unpack_end(&in) != OK || digest.len != DIGEST_LEN)
        return ERR_DAMAGED;
    *slot = entry_put(part, key, digest, version, person);
    return *slot == MAP_NONE ? ERR_NOMEM : OK;
}
static void entry_evict(void *part, uint32_t slot) {
    struct facts_state *s = part;
    struct fact_entry *entry = &s->items[slot];
    must(map_remove(&s->by_key, entry->key.hi, slot));
    mem_free(entry->texts);
    *entry = (struct fact_entry){.next_free = s->free};
    s->free = slot + 1;
}
static size_t entry_bytes(const void *part, uint32_t slot) {
    (void)part;
    (void)slot;
    return sizeof(struct fact_entry) + 130; /* its texts and its place in the map */
}
static const struct entity_kind fact_entity = {
    .name = "fact", .flags = ENTITY_SPARSE, .help = "What of a partner's fact was kept last",
    .load = entry_load, .key = entry_key, .save = entry_save, .find = fact_slot,
    .evict = entry_evict, .bytes = entry_bytes};
static const struct entity_kind *const fact_entities[] = {&fact_entity, NULL};

/* --- read model -------------------------------------------------------------------------- */

static const struct table_column fact_columns[] = {
    {"connector", COLUMN_TEXT, "Who says so", UNIT_NONE},
    {"kind", COLUMN_TEXT, "What it is", UNIT_NONE},
    {"key", COLUMN_TEXT, "The partner's own number of it", UNIT_NONE},
    {"version", COLUMN_TEXT, "Its version or time there", UNIT_NONE},
    {"kept_us", COLUMN_INTEGER, "When this version was kept", UNIT_INSTANT_US},
    {"seq", COLUMN_INTEGER, "Of the event that keeps it", UNIT_NONE},
};
enum { COL_CONNECTOR, COL_KIND, COL_KEY, COL_VERSION, COL_KEPT, COL_SEQ, COLS };
static const char *const fact_indexes[] = {"seq", "kind, seq", "key, seq", NULL};
static const struct table facts_table = {
    .name = "facts", .help = "What partners say, the newest of each",
    .columns = fact_columns, .count = COLS, .key_columns = 3, .indexes = fact_indexes};
static const struct table *const fact_tables[] = {&facts_table, NULL};

static void kept_project(struct rows *rows, const struct event *event) {
    const struct fact *fact = event->data;
    struct row_value values[COLS] = {
        [COL_CONNECTOR] = row_text(fact->connector), [COL_KIND] = row_text(fact->kind),
        [COL_KEY] = row_text(fact->key),             [COL_VERSION] = row_text(fact->version),
        [COL_KEPT] = row_int(event->time_us),        [COL_SEQ] = row_int((int64_t)event->seq),
    };
    rows_put(rows, &facts_table, UINT64_MAX, values);
    rows_ref(rows, fact->key);
    for (uint32_t i = 0; i < fact->refs.count; i++)
        rows_ref(rows, *list_at(fact->refs, struct str, i));
}

static const struct event_type fact_kept_event = {
    .name = "fact.kept", .shape = &fact_shape, .apply = kept_apply, .project = kept_project,
    .help = "What a partner said was kept, for who follows it"};
static const struct event_type *const fact_events[] = {&fact_kept_event, NULL};

/* --- keeping ----------------------------------------------------------------------------- */

static struct str source_name(const struct command *command) {
    return command->source ? command->source->connector : STR("hub");
}

/* "shop/refund/17": a kind has no slash, nor has a connector's name. */
static struct str subject_of(struct arena *arena, const struct command *command) {
    const struct fact *fact = command->body;
    struct str connector = source_name(command);
    return arena_printf(arena, "%.*s/%.*s/%.*s", STR_FMT(connector), STR_FMT(fact->kind),
                        STR_FMT(fact->key));
}

static enum err keep_check(const struct command_context *context, void *body, struct arena *arena,
                           struct fault *fault) {
    const struct fact *fact = body;
    (void)context;
    (void)arena;
    enum err err = OK;
    if (memchr(fact->kind.ptr, '/', fact->kind.len)) {
        fault_add(fault, STR("/kind"), "must not have a slash");
        err = ERR_INVALID;
    }
    if (fact->personal && !shape_has(fact, FACT_CUSTOMER_ID)) {
        fault_add(fault, STR("/customer_id"),
                  "must be there, because /personal is: without it nobody could erase the person");
        err = ERR_INVALID;
    }
    return err;
}

/* Where it has nothing personal, it is its own: decide knows its name. */
static struct str keep_person(const void *body, struct id128 id, struct arena *arena) {
    const struct fact *fact = body;
    (void)id;
    (void)arena;
    return fact->customer_id.len ? fact->customer_id : STR("");
}

static void keep_needs(struct command *command) {
    struct str subject = subject_of(command->arena, command);
    if (subject.ptr)
        command_need(command, &fact_entity, fact_key(subject));
}

/* What was kept is as new as this, or newer: *done. */
static enum err keep_known(struct decision *decision, const struct command *command,
                           struct str subject, struct str digest, struct str version, bool *done) {
    const struct fact *fact = command->body;
    uint32_t slot = entity_get(decision_whole_state(decision), &fact_entity, fact_key(subject));
    if (slot == MAP_NONE)
        return OK;
    const struct facts_state *s = decision_state(decision, &facts_capability);
    const struct fact_entry *entry = &s->items[slot];
    struct arena *arena = decision_arena(decision);
    struct str newest = entry_version(entry), reason;
    bool older = inbound_version_older(version, newest);
    if (!older && (inbound_version_older(newest, version) || !str_eq(entry_digest(entry), digest)))
        return OK;
    *done = true;
    decision_seal_none(decision);
    if (!command->source)
        return decision_answer(decision, 200, &fact_shape, fact);
    if (!older)
        return inbound_nothing_new(decision, command,
                                   arena_printf(arena, "%.*s was kept as it is before",
                                                STR_FMT(subject)),
                                   entry_person(entry));
    reason = arena_printf(arena, "%.*s is older (version %.*s) than what was kept (version %.*s)",
                          STR_FMT(subject), STR_FMT(version), STR_FMT(newest));
    return inbound_stale(decision, command, reason, entry_person(entry));
}

static enum err keep_decide(struct decision *decision, const struct command *command) {
    const struct fact *given = command->body;
    struct arena *arena = decision_arena(decision);
    struct str subject = subject_of(arena, command);
    struct str digest = arena_printf(arena, "%016llx%016llx",
                                     (unsigned long long)command->fingerprint.hi,
                                     (unsigned long long)command->fingerprint.lo);
    struct str version = given->version;
    if (!version.len && command->source)
        version = command->source->version;
    if (!subject.ptr || !digest.ptr)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the fact");
    bool done = false;
    enum err err = keep_known(decision, command, subject, digest, version, &done);
    if (err != OK || done)
        return err;
    struct fact *fact;
    struct event *event = decision_event(decision, &fact_kept_event, subject, (void **)&fact);
    if (!event)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the fact");
    decision_seal(decision, event, STR_NONE);
    if (!given->customer_id.len) {
        event->meta.person = subject;
        shape_mark(&event->meta, EVENT_META_PERSON);
    }
    *fact = *given;
    fact->connector = arena_str(arena, source_name(command));
    fact->digest = digest;
    fact->version = version;
    shape_mark(fact, FACT_CONNECTOR);
    shape_mark(fact, FACT_DIGEST);
    if (version.len)
        shape_mark(fact, FACT_VERSION);
    struct fact answer = *fact;
    answer.has &= ~(UINT64_C(1) << FACT_PERSONAL | UINT64_C(1) << FACT_DOCUMENT);
    return decision_answer(decision, 201, &fact_shape, &answer);
}
const struct command_type fact_keep_command = {
    .name = "fact.keep", .shape = &fact_shape, .check = keep_check, .decide = keep_decide,
    .person = keep_person, .needs = keep_needs,
    .help = "Keep what a partner says, where the hub has no command for it"};
static const struct command_type *const fact_commands[] = {&fact_keep_command, NULL};

/* --- asking ------------------------------------------------------------------------------ */

struct fact_copy {
    struct query *query;
    struct str data;
    struct fault fault;
};
static bool fact_visit(void *ctx, const struct record *record) {
    struct fact_copy *copy = ctx;
    struct reader *reader = copy->query->reader;
    if (seal_record(reader->keyring, record, reader->parser, copy->query->arena, &copy->data,
                    &copy->fault) != OK)
        copy->data = record->data;
    copy->data = arena_str(copy->query->arena, copy->data);
    return false;
}

static void fact_item(struct query *query, const struct row_value *values) {
    struct buf *out = query->out;
    struct fact_copy copy = {.query = query};
    uint64_t next;
    fault_init(&copy.fault, NULL);
    buf_printf(out, "{\"seq\":%lld,\"kept_at\":\"", (long long)values[COL_SEQ].integer);
    instant_write(out, (struct instant){.us = values[COL_KEPT].integer});
    buf_lit(out, "\"");
    query_member(query, "connector", values[COL_CONNECTOR].text);
    query_member(query, "kind", values[COL_KIND].text);
    query_member(query, "key", values[COL_KEY].text);
    enum err err = journal_read(query->reader->journal, (uint64_t)values[COL_SEQ].integer, 1,
                                fact_visit, &copy, &next, &copy.fault);
    if (err == OK && copy.data.len) {
        buf_lit(out, ",\"fact\":");
        buf_str_add(out, copy.data);
    }
    buf_char(out, '}');
}

static enum err facts_query(struct query *query, struct fault *fault) {
    static const struct query_filter by[] = {
        {"kind", COL_KIND}, {"connector", COL_CONNECTOR}, {"key", COL_KEY}, {NULL, 0}};
    return query_rows(query, &facts_table, COL_SEQ, by, fact_item, fault);
}

static const struct query_param fact_params[] = {
    {"kind", false, false, "Only this kind"},
    {"connector", false, false, "Only what this one says"},
    {"key", false, false, "Only what has this number there"},
    {"limit", false, false, "Items on a page, 1 to 1000 (100)", QUERY_WHOLE, 1, 1000},
    {"cursor", false, false, "next_cursor of the page before"},
    {NULL, false, false, NULL},
};
static const struct route fact_routes[] = {
    {.method = "GET", .path = "/v1/facts", .scope = "facts:read", .traffic = CLASS_BULK,
     .query = facts_query, .params = fact_params, .answer = &fact_item_shape,
     .help = "What partners say that is no order and no stock: refunds, payments, products, the "
             "newest of each"},
    {.method = NULL},
};

const struct capability facts_capability = {
    .name = "facts",
    .help = "What partners say, kept for the capabilities to come",
    .commands = fact_commands,
    .events = fact_events,
    .routes = fact_routes,
    .tables = fact_tables,
    .entities = fact_entities,
    .state_size = sizeof(struct facts_state),
    .state_free = facts_free,
    .dump = facts_dump,
};
