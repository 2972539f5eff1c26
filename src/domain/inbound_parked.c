/* inbound_parked: payloads that came before what they are about (a cancellation before its
 * order), or behind one that a person has to decide (inbound_lanes.c). They wait, keyed by it; when
 * it is there they are processed one after the other, in the order they came; when their time is up,
 * a person is asked, and they wait on: when what they are about comes after all, they are processed.
 *
 * Those that wait for one thing are a chain by seq. The first is released when the thing is
 * there; each of the others when something followed from the one before it. */
#include "domain/inbound_priv.h"

#include "base/links.h"
#include "base/hash.h"
#include "base/mem.h"
#include "domain/exceptions.h"
#include "domain/orders.h"

#define HUB_SET(member, kind_, help_text)                                                         \
    {.name = #member, .kind = kind_, .offset = offsetof(struct payload_wait, member), .since = 1,  \
     .owner = "hub", .flags = SHAPE_READ_ONLY, .help = help_text}

static const struct shape_field wait_rows[] = {
    [WAIT_PAYLOAD_SEQ] = SHAPE_ROW(struct payload_wait, payload_seq, SHAPE_INTEGER,
                                   "seq of the event that keeps the payload",
                                   .flags = SHAPE_REQUIRED, .min = 1, .max = INT64_MAX),
    [WAIT_PAYLOAD_ID] = HUB_SET(payload_id, SHAPE_ID, "The hub's id of the payload"),
    [WAIT_CONNECTOR] = HUB_SET(connector, SHAPE_CODE, "Who sent it"),
    [WAIT_TOPIC] = HUB_SET(topic, SHAPE_CODE, "What it is"),
    [WAIT_OWNER] = HUB_SET(owner, SHAPE_CODE, "The team that gets the exception"),
    [WAIT_WAITS_FOR] = HUB_SET(waits_for, SHAPE_TEXT, "What it waits for: \"order web-de/4711\""),
    [WAIT_UNTIL] = HUB_SET(until, SHAPE_INSTANT, "When a person is asked"),
    [WAIT_EDITION_SEQ] = HUB_SET(edition_seq, SHAPE_INTEGER,
                                 "seq of the version of it that is processed, where a person made one"),
};
SHAPE_DEFINE(payload_wait_shape, "payload_wait", struct payload_wait,
             "A payload that waits for what it is about", wait_rows);

/* --- the tables ------------------------------------------------------------------------------ */

static bool seq_eq(const void *ctx, uint32_t index, const void *key) {
    return ((const struct parked_state *)ctx)->items[index].seq == *(const uint64_t *)key;
}
static uint64_t seq_hash(uint64_t seq) {
    return hash64(str_of((const char *)&seq, sizeof seq), 0);
}
static uint64_t seq_hash_of(const void *ctx, uint32_t index) {
    return seq_hash(((const struct parked_state *)ctx)->items[index].seq);
}
static uint32_t parked_find(const struct parked_state *s, uint64_t seq) {
    return map_find(&s->by_seq, seq_hash(seq), seq_eq, s, &seq);
}
static struct str parked_parent(const void *ctx, uint32_t index) {
    return ((const struct parked_state *)ctx)->items[index].waits_for;
}
static uint64_t parked_place(const void *ctx, uint32_t index) {
    return ((const struct parked_state *)ctx)->items[index].seq;
}
static uint32_t *parked_next(void *ctx, uint32_t index) {
    return &((struct parked_state *)ctx)->items[index].next;
}
/* Those that wait for one thing. */
static const struct links_ops parked_chain = {parked_parent, parked_place, parked_next};
static uint32_t parked_first(const struct parked_state *s, struct str parent) {
    return links_first(&parked_chain, &s->by_parent, s, parent);
}

static struct parked_state *parked_of(struct state *state) {
    return &((struct inbound_state *)state_of(state, &inbound_capability))->parked;
}
static const struct parked_state *parked_decided(const struct decision *decision) {
    return &((const struct inbound_state *)decision_state(decision, &inbound_capability))->parked;
}

/* Place of a slot in `due`, or where it belongs. */
static uint32_t due_place(const struct parked_state *s, uint32_t slot) {
    const struct parked *p = &s->items[slot];
    uint32_t low = 0, high = s->due_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        const struct parked *q = &s->items[s->due[mid]];
        if (q->until_us < p->until_us || (q->until_us == p->until_us && q->seq < p->seq))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool due_add(struct parked_state *s, uint32_t slot) {
    if (!MEM_ROOM(s->due, s->due_count, s->due_cap, 64))
        return false;
    uint32_t at = due_place(s, slot);
    memmove(s->due + at + 1, s->due + at, (s->due_count - at) * sizeof *s->due);
    s->due[at] = slot;
    s->due_count++;
    return true;
}

static void due_remove(struct parked_state *s, uint32_t slot) {
    uint32_t at = due_place(s, slot);
    if (at == s->due_count || s->due[at] != slot)
        return;
    memmove(s->due + at, s->due + at + 1, (s->due_count - at - 1) * sizeof *s->due);
    s->due_count--;
}

/* MAP_NONE: memory is out. */
static uint32_t parked_put(struct parked_state *s, const struct payload_wait *e, bool released) {
    if (!s->free && !MEM_ROOM(s->items, s->count, s->cap, 64))
        return MAP_NONE;
    char *at = mem_alloc(e->payload_id.len + e->connector.len + e->topic.len + e->owner.len +
                         e->waits_for.len + 1);
    if (!at)
        return MAP_NONE;
    uint32_t slot = s->free ? s->free - 1 : s->count;
    struct parked *p = &s->items[slot];
    if (s->free)
        s->free = p->next;
    else
        s->count++;
    *p = (struct parked){.seq = (uint64_t)e->payload_seq, .until_us = e->until.us,
                         .released = released, .texts = at};
    p->payload_id = str_keep(&at, e->payload_id);
    p->connector = str_keep(&at, e->connector);
    p->topic = str_keep(&at, e->topic);
    p->owner = str_keep(&at, e->owner);
    p->waits_for = str_keep(&at, e->waits_for);
    s->live++;
    return map_add(&s->by_seq, seq_hash(p->seq), slot, seq_hash_of, s) &&
                   links_add(&parked_chain, &s->by_parent, s, slot) &&
                   (released || due_add(s, slot))
               ? slot
               : MAP_NONE;
}

/* What a released one waited for is there: the next one's turn, unless that has to wait for it. */
static void turn_next(struct state *state, struct parked_state *s, const struct parked *p) {
    uint32_t next = p->next;
    while (next && s->items[next - 1].released)
        next = s->items[next - 1].next;
    if (next && lane_is_held(state, s->items[next - 1].waits_for, s->items[next - 1].seq))
        next = 0;
    s->turn = next;
}

enum err parked_end(struct state *state, uint64_t seq) {
    struct parked_state *s = parked_of(state);
    uint32_t slot = s->live ? parked_find(s, seq) : MAP_NONE;
    if (slot == MAP_NONE)
        return OK;
    struct parked *p = &s->items[slot];
    enum err err = entity_gone(state, &parked_entity, slot);
    if (p->released)
        turn_next(state, s, p);
    else
        due_remove(s, slot);
    must(map_remove(&s->by_seq, seq_hash(seq), slot));
    if (!links_remove(&parked_chain, &s->by_parent, s, slot))
        err = ERR_NOMEM;
    mem_free(p->texts);
    *p = (struct parked){.next = s->free};
    s->free = slot + 1;
    s->live--;
    return err;
}

/* --- events ------------------------------------------------------------------------------------ */

static enum err parked_apply(struct state *state, const struct event *event) {
    struct parked_state *s = parked_of(state);
    const struct payload_wait *e = event->data;
    uint64_t seq = (uint64_t)e->payload_seq;
    uint32_t slot = parked_find(s, seq);
    enum err err = pending_end(state, seq);
    if (err != OK)
        return err;
    if (slot == MAP_NONE) {
        slot = parked_put(s, e, false);
        return slot == MAP_NONE ? ERR_NOMEM : entity_changed(state, &parked_entity, slot);
    }
    struct parked *p = &s->items[slot]; /* looked at once more, and waits on */
    if (!str_eq(p->waits_for, e->waits_for)) { /* for something else */
        err = parked_end(state, seq);
        slot = err == OK ? parked_put(s, e, false) : MAP_NONE;
        return slot == MAP_NONE ? ERR_NOMEM : entity_changed(state, &parked_entity, slot);
    }
    if (p->released && !due_add(s, slot))
        return ERR_NOMEM;
    p->released = false;
    return entity_changed(state, &parked_entity, slot);
}

static enum err released_apply(struct state *state, const struct event *event) {
    struct parked_state *s = parked_of(state);
    const struct payload_wait *e = event->data;
    uint64_t seq = (uint64_t)e->payload_seq;
    uint32_t slot = parked_find(s, seq);
    s->turn = 0;
    must(slot != MAP_NONE);
    if (!s->items[slot].released)
        due_remove(s, slot);
    s->items[slot].released = true;
    enum err err = entity_changed(state, &parked_entity, slot);
    return err == OK ? pending_begin(state, seq) : err;
}

/* A person is asked; it waits on, so that it is processed when what it is about comes after all. */
static enum err expired_apply(struct state *state, const struct event *event) {
    struct parked_state *s = parked_of(state);
    const struct payload_wait *e = event->data;
    uint32_t slot = parked_find(s, (uint64_t)e->payload_seq);
    must(slot != MAP_NONE);
    due_remove(s, slot);
    s->items[slot].until_us = PARK_NEVER_US;
    return due_add(s, slot) ? entity_changed(state, &parked_entity, slot) : ERR_NOMEM;
}

static const struct table_column parked_columns[] = {
    {"payload_seq", COLUMN_INTEGER, "seq of the event that keeps the payload", UNIT_NONE},
    {"payload_id", COLUMN_TEXT, "The hub's id of the payload", UNIT_NONE},
    {"connector", COLUMN_TEXT, "Who sent it", UNIT_NONE},
    {"topic", COLUMN_TEXT, "What it is", UNIT_NONE},
    {"waits_for", COLUMN_TEXT, "What it waits for", UNIT_NONE},
    {"state", COLUMN_TEXT, "parked, released or expired", UNIT_NONE},
    {"parked_us", COLUMN_INTEGER, "Since when", UNIT_INSTANT_US},
    {"until_us", COLUMN_INTEGER, "When a person is asked", UNIT_INSTANT_US},
};
enum { COL_SEQ, COL_PAYLOAD_ID, COL_CONNECTOR, COL_TOPIC, COL_WAITS_FOR, COL_STATE, COL_PARKED,
       COL_UNTIL, COLS };
static const char *const parked_indexes[] = {"state, payload_seq", NULL};
const struct table parked_table = {
    .name = "parked", .help = "Payloads that wait, or waited, for what they are about",
    .columns = parked_columns, .count = COLS, .key_columns = 1, .indexes = parked_indexes};

static void wait_project(struct rows *rows, const struct event *event, struct str state) {
    const struct payload_wait *e = event->data;
    struct row_value values[COLS] = {
        [COL_SEQ] = row_int(e->payload_seq),          [COL_PAYLOAD_ID] = row_text(e->payload_id),
        [COL_CONNECTOR] = row_text(e->connector),     [COL_TOPIC] = row_text(e->topic),
        [COL_WAITS_FOR] = row_text(e->waits_for),     [COL_STATE] = row_text(state),
        [COL_PARKED] = row_int(event->time_us),       [COL_UNTIL] = row_int(e->until.us),
    };
    uint64_t set = str_is(state, "parked") ? UINT64_MAX : UINT64_C(1) << COL_STATE;
    rows_put(rows, &parked_table, set, values);
    rows_ref(rows, e->payload_id);
    const char *slash = memchr(e->waits_for.ptr, '/', e->waits_for.len);
    if (slash) /* found under the partner's number, before there is an order */
        rows_ref(rows, str_of(slash + 1,
                              e->waits_for.len - (size_t)(slash + 1 - e->waits_for.ptr)));
}
static void parked_project(struct rows *rows, const struct event *event) {
    wait_project(rows, event, STR("parked"));
}
static void released_project(struct rows *rows, const struct event *event) {
    wait_project(rows, event, STR("released"));
}
static void expired_project(struct rows *rows, const struct event *event) {
    wait_project(rows, event, STR("expired"));
}

const struct event_type payload_parked_event = {
    .name = "payload.parked", .shape = &payload_wait_shape, .apply = parked_apply,
    .project = parked_project, .help = "A stored message waits for what it is about"};
const struct event_type payload_released_event = {
    .name = EVENT_PAYLOAD_RELEASED, .shape = &payload_wait_shape, .apply = released_apply,
    .project = released_project, .help = "What a parked message waited for is there: it is processed"};
const struct event_type payload_expired_event = {
    .name = "payload.expired", .shape = &payload_wait_shape, .apply = expired_apply,
    .project = expired_project, .help = "What a parked message waited for did not come in time"};

/* --- deciding ------------------------------------------------------------------------------------ */

/* The event about one that is parked already. */
static enum err wait_event(struct decision *decision, const struct event_type *type,
                           const struct parked *p) {
    struct payload_wait *e;
    struct arena *arena = decision_arena(decision);
    struct str subject = arena_printf(arena, "payload-%llu", (unsigned long long)p->seq);
    if (!subject.ptr || !decision_event(decision, type, subject, (void **)&e))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *e = (struct payload_wait){.has = (1u << (WAIT_UNTIL + 1)) - 1,
                               .payload_seq = (int64_t)p->seq,
                               .payload_id = arena_str(arena, p->payload_id),
                               .connector = arena_str(arena, p->connector),
                               .topic = arena_str(arena, p->topic),
                               .owner = arena_str(arena, p->owner),
                               .waits_for = arena_str(arena, p->waits_for),
                               .until = {.us = p->until_us}};
    if (!p->owner.len)
        e->has &= ~(UINT64_C(1) << WAIT_OWNER);
    uint64_t edition = type == &payload_released_event
                           ? exceptions_edition(decision_state(decision, &exceptions_capability), p->seq)
                           : 0;
    if (edition) {
        e->edition_seq = (int64_t)edition;
        shape_mark(e, WAIT_EDITION_SEQ);
    }
    return OK;
}

bool parked_waits(const struct parked_state *s, uint64_t seq) {
    uint32_t slot = s->live ? parked_find(s, seq) : MAP_NONE;
    return slot != MAP_NONE && !s->items[slot].released;
}

bool parked_any(const struct decision *decision) { return parked_decided(decision)->live > 0; }

enum err parked_wait(struct decision *decision, const struct command *command, struct str parent,
                     bool there, int64_t until_us, bool *parked) {
    const struct parked_state *s = parked_decided(decision);
    const struct settings *settings = &decision_config(decision)->settings;
    const struct command_source *source = command->source;
    uint64_t seq = command->cause_seq;
    uint32_t first = source && s->live ? parked_first(s, parent) : MAP_NONE;
    *parked = false;
    if (there && (first == MAP_NONE || s->items[first].seq >= seq))
        return OK;
    uint32_t known = source ? parked_find(s, seq) : MAP_NONE;
    bool vain = known != MAP_NONE && until_us != PARK_NEVER_US &&
                s->items[known].until_us == PARK_NEVER_US && str_eq(s->items[known].waits_for, parent);
    if (!source || vain || (known == MAP_NONE && s->live >= settings->parked_max))
        return decision_refuse(decision, ERR_NOT_FOUND, "there is no %.*s%s",
                               (int)(parent.len < 200 ? parent.len : 200), parent.ptr,
                               source && !vain ? ", and too many messages wait already" : "");
    *parked = true;
    decision_seal_none(decision);
    decision_ended(decision);
    struct parked fresh = {.seq = seq, .until_us = until_us,
                           .payload_id = source->payload_id, .connector = source->connector,
                           .topic = source->topic, .owner = source->owner, .waits_for = parent};
    bool on = known != MAP_NONE && str_eq(s->items[known].waits_for, parent);
    enum err err = wait_event(decision, &payload_parked_event, on ? &s->items[known] : &fresh);
    return err == OK ? decision_answer(decision, 202, &payload_wait_shape,
                                       &(struct payload_wait){.has = 1, .payload_seq = (int64_t)seq})
                     : err;
}

enum err inbound_parent(struct decision *decision, const struct command *command,
                        struct str parent, bool there, bool *parked) {
    const struct settings *settings = &decision_config(decision)->settings;
    *parked = false;
    if (!parent.ptr)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    return parked_wait(decision, command, parent, there,
                       command->now_us + settings->park_seconds_max * 1000000, parked);
}

static enum err release_decide(struct decision *decision, const struct command *command) {
    const struct payload_wait *body = command->body;
    const struct parked_state *s = parked_decided(decision);
    uint32_t slot = parked_find(s, (uint64_t)body->payload_seq);
    must(slot != MAP_NONE);
    return wait_event(decision, &payload_released_event, &s->items[slot]);
}
const struct command_type inbound_release_command = {
    .name = "inbound.release", .shape = &payload_wait_shape, .decide = release_decide,
    .flags = COMMAND_INTERNAL, .help = "Processes a message whose time has come"};

static enum err expire_decide(struct decision *decision, const struct command *command) {
    const struct payload_wait *body = command->body;
    const struct parked_state *s = parked_decided(decision);
    struct arena *arena = decision_arena(decision);
    uint32_t slot = parked_find(s, (uint64_t)body->payload_seq);
    must(slot != MAP_NONE);
    const struct parked *p = &s->items[slot];
    enum err err = wait_event(decision, &payload_expired_event, p);
    if (err != OK)
        return err;
    struct exception exception = {
        .has = 1u << EXCEPTION_KIND | 1u << EXCEPTION_SUBJECT | 1u << EXCEPTION_CAUSE |
               1u << EXCEPTION_ACTION | 1u << EXCEPTION_PAYLOAD_SEQ,
        .kind = STR("parent-missing"),
        .subject = arena_str(arena, p->payload_id),
        .cause = arena_printf(arena,
                              "%.*s sent a message (%.*s) about %.*s, which the hub does not know "
                              "and which did not come while the message waited for it",
                              STR_FMT(p->connector), STR_FMT(p->topic), STR_FMT(p->waits_for)),
        .action = STR("Find out why it did not come; when it is there, process the payload again "
                      "(retry), or discard it with a reason"),
        .payload_seq = (int64_t)p->seq,
        .owner = arena_str(arena, p->owner),
    };
    if (exception.owner.len)
        shape_mark(&exception, EXCEPTION_OWNER);
    return exception_raise(decision, &exception, 0);
}
const struct command_type inbound_expire_command = {
    .name = "inbound.expire", .shape = &payload_wait_shape, .decide = expire_decide,
    .flags = COMMAND_INTERNAL, .help = "Asks a person about a message that waited in vain"};

static enum err issue(struct decision *decision, const struct command_type *type, uint64_t seq,
                      uint64_t cause) {
    struct payload_wait *body = arena_new(decision_arena(decision), struct payload_wait);
    if (!body)
        return ERR_NOMEM;
    body->payload_seq = (int64_t)seq;
    shape_mark(body, WAIT_PAYLOAD_SEQ);
    return decision_issue(decision, type, body, STR_NONE, cause);
}

enum err parked_react(struct decision *decision, const struct event *event) {
    const struct parked_state *s = parked_decided(decision);
    uint32_t slot = MAP_NONE;
    if (!s->live)
        return OK;
    if (s->turn) {
        slot = s->turn - 1;
    } else if (event->type == &order_captured_event) {
        const struct order *order = ((const struct order_captured *)event->data)->order;
        struct str parent =
            inbound_order(decision_arena(decision), order->channel, order->channel_order_id);
        if (!parent.ptr)
            return ERR_NOMEM;
        slot = parked_first(s, parent);
    } else if (event->type == &exception_resolved_event) {
        struct str lane = ((const struct resolution *)event->data)->lane;
        if (!lane.len)
            return OK;
        struct str parent = inbound_lane(decision_arena(decision), lane);
        if (!parent.ptr)
            return ERR_NOMEM;
        slot = parked_first(s, parent);
        if (slot != MAP_NONE && exceptions_hold(decision_whole_state(decision), lane,
                                                s->items[slot].seq))
            return OK; /* there is another one before it */
    }
    if (slot == MAP_NONE || s->items[slot].released)
        return OK;
    return issue(decision, &inbound_release_command, s->items[slot].seq, event->seq);
}

struct str inbound_order(struct arena *arena, struct str channel, struct str channel_order_id) {
    return arena_printf(arena, "order %.*s/%.*s", STR_FMT(channel), STR_FMT(channel_order_id));
}

int64_t parked_timer_next(const void *state) {
    const struct parked_state *s = &((const struct inbound_state *)state)->parked;
    return s->due_count ? s->items[s->due[0]].until_us : INT64_MAX;
}

enum err parked_timer_fire(const void *state, int64_t now_us, struct decision *decision) {
    const struct parked_state *s = &((const struct inbound_state *)state)->parked;
    (void)now_us;
    uint64_t seq = s->items[s->due[0]].seq;
    return issue(decision, &inbound_expire_command, seq, seq);
}

/* --- asking ------------------------------------------------------------------------------------------ */

static void parked_item(struct query *query, const struct row_value *values) {
    struct buf *out = query->out;
    buf_printf(out, "{\"payload_seq\":%lld", (long long)values[COL_SEQ].integer);
    query_member(query, "payload_id", values[COL_PAYLOAD_ID].text);
    query_member(query, "connector", values[COL_CONNECTOR].text);
    query_member(query, "topic", values[COL_TOPIC].text);
    query_member(query, "waits_for", values[COL_WAITS_FOR].text);
    query_member(query, "state", values[COL_STATE].text);
    buf_lit(out, ",\"parked_at\":\"");
    instant_write(out, (struct instant){.us = values[COL_PARKED].integer});
    buf_lit(out, "\",\"until\":\"");
    instant_write(out, (struct instant){.us = values[COL_UNTIL].integer});
    buf_lit(out, "\"}");
}

enum err parked_query(struct query *query, struct fault *fault) {
    static const struct query_filter by[] = {
        {"state", COL_STATE}, {"connector", COL_CONNECTOR}, {NULL, 0}};
    struct query_value *values =
        arena_array(query->arena, query->value_count + 1, sizeof *values);
    if (!values)
        return fault_set(fault, ERR_NOMEM, "no memory for the answer");
    if (!query_value(query, "state").ptr) { /* what waits now, unless other is asked for */
        if (query->value_count)
            memcpy(values, query->values, query->value_count * sizeof *values);
        values[query->value_count++] = (struct query_value){STR("state"), STR("parked")};
        query->values = values;
    }
    return query_rows(query, &parked_table, COL_SEQ, by, parked_item, fault);
}

/* --- as bytes, and the rest of its life ---------------------------------------------------------------- */

static struct hash128 parked_key(const void *part, uint32_t slot) {
    return entity_number_key(0, ((const struct inbound_state *)part)->parked.items[slot].seq);
}

static void parked_save(const void *part, uint32_t slot, struct buf *out) {
    const struct parked *p = &((const struct inbound_state *)part)->parked.items[slot];
    pack_uint(out, p->seq);
    pack_int(out, p->until_us);
    pack_uint(out, p->released);
    pack_str(out, p->payload_id);
    pack_str(out, p->connector);
    pack_str(out, p->topic);
    pack_str(out, p->owner);
    pack_str(out, p->waits_for);
}

static enum err parked_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct unpack in = unpack_of(bytes);
    struct payload_wait e = {.payload_seq = (int64_t)unpack_uint(&in)};
    e.until.us = unpack_int(&in);
    bool released = unpack_uint(&in) != 0;
    e.payload_id = unpack_str(&in);
    e.connector = unpack_str(&in);
    e.topic = unpack_str(&in);
    e.owner = unpack_str(&in);
    e.waits_for = unpack_str(&in);
    struct parked_state *s = &((struct inbound_state *)part)->parked;
    if (unpack_end(&in) != OK || (uint64_t)e.payload_seq != key.lo || e.payload_seq < 1 ||
        parked_find(s, key.lo) != MAP_NONE)
        return ERR_DAMAGED;
    *slot = parked_put(s, &e, released);
    return *slot == MAP_NONE ? ERR_NOMEM : OK;
}

const struct entity_kind parked_entity = {
    .name = "payload.parked", .flags = ENTITY_RESIDENT,
    .help = "Messages that wait for what they are about",
    .load = parked_load, .key = parked_key, .save = parked_save};

void parked_free(struct parked_state *s) {
    for (uint32_t i = 0; i < s->count; i++)
        mem_free(s->items[i].texts);
    mem_free(s->items);
    mem_free(s->due);
    map_free(&s->by_seq);
    map_free(&s->by_parent);
}

void parked_dump(const struct parked_state *s, struct buf *out) {
    for (uint32_t i = 0; i < s->count; i++) {
        const struct parked *p = &s->items[i];
        if (p->seq)
            buf_printf(out, "parked %llu until=%lld released=%d %.*s\n",
                       (unsigned long long)p->seq, (long long)p->until_us, p->released,
                       STR_FMT(p->waits_for));
    }
}
