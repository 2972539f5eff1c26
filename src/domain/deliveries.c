/* deliveries: see deliveries.h. State: the held ones, sorted by subscription and seq, each with its newest edit:
 * delivery keeps edits with its progress, and takes from here what a crash kept from it (on its thread). */
#include "domain/deliveries.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static const struct shape_field hold_rows[] = {
    [HELD_SUBSCRIPTION] = SHAPE_ROW(struct delivery_hold, subscription, SHAPE_CODE,
                                    "Which subscription", .flags = SHAPE_REQUIRED),
    [HELD_CONNECTOR] = SHAPE_ROW(struct delivery_hold, connector, SHAPE_CODE, "To which system"),
    [HELD_EVENT_SEQ] = SHAPE_ROW(struct delivery_hold, event_seq, SHAPE_INTEGER,
                                 "seq of the event that was to be delivered",
                                 .flags = SHAPE_REQUIRED, .min = 1, .max = INT64_MAX),
    [HELD_EVENT_TYPE] = SHAPE_ROW(struct delivery_hold, event_type, SHAPE_CODE, "Its type"),
    [HELD_LANE] = SHAPE_ROW(struct delivery_hold, lane, SHAPE_TEXT,
                            "Its key: what has the same key waits behind it"),
    [HELD_SUBJECT] = SHAPE_ROW(struct delivery_hold, subject, SHAPE_TEXT, "What it is about",
                               .flags = SHAPE_REQUIRED),
    [HELD_CAUSE] = SHAPE_ROW(struct delivery_hold, cause, SHAPE_TEXT,
                             "Why, in the remote system's words", .flags = SHAPE_REQUIRED),
    [HELD_STATUS] = SHAPE_ROW(struct delivery_hold, status, SHAPE_INTEGER,
                              "HTTP status of the last answer, 0: there was none"),
    [HELD_ATTEMPTS] = SHAPE_ROW(struct delivery_hold, attempts, SHAPE_INTEGER, "Attempts made"),
    [HELD_MAPPING] = SHAPE_ROW(struct delivery_hold, mapping, SHAPE_TEXT,
                               "The mapping that made the document, or failed to"),
    [HELD_MAPPING_VERSION] = SHAPE_ROW(struct delivery_hold, mapping_version, SHAPE_TEXT,
                                       "Its version: the connector's, and a hash of its text"),
    [HELD_REPLAY] = SHAPE_ROW(struct delivery_hold, replay, SHAPE_INTEGER,
                              "Number of the replay that it came of", .min = 1, .max = INT64_MAX),
};
SHAPE_DEFINE(delivery_hold_shape, "delivery_hold", struct delivery_hold,
             "A delivery that a person must decide", hold_rows);

static const char *const actions[] = {"retry", "discard", NULL};
static const struct shape_field release_rows[] = {
    [RELEASED_SUBSCRIPTION] = SHAPE_ROW(struct delivery_release, subscription, SHAPE_CODE,
                                        "Which subscription", .flags = SHAPE_REQUIRED),
    [RELEASED_EVENT_SEQ] = SHAPE_ROW(struct delivery_release, event_seq, SHAPE_INTEGER,
                                     "seq of the event that was held", .flags = SHAPE_REQUIRED,
                                     .min = 1, .max = INT64_MAX),
    [RELEASED_SUBJECT] = SHAPE_ROW(struct delivery_release, subject, SHAPE_TEXT,
                                   "What it is about", .flags = SHAPE_REQUIRED),
    [RELEASED_ACTION] = SHAPE_ROW(struct delivery_release, action, SHAPE_ENUM,
                                  "Sent again, or given up for good", .values = actions,
                                  .flags = SHAPE_REQUIRED),
    [RELEASED_REASON] = SHAPE_ROW(struct delivery_release, reason, SHAPE_TEXT, "Why"),
    [RELEASED_BY] = SHAPE_ROW(struct delivery_release, by, SHAPE_TEXT, "Who decided"),
};
SHAPE_DEFINE(delivery_release_shape, "delivery_release", struct delivery_release,
             "What was decided about a held delivery", release_rows);

static const struct shape_field edit_rows[] = {
    [EDITED_SUBSCRIPTION] = SHAPE_ROW(struct delivery_edit, subscription, SHAPE_CODE, "Which subscription",
                                      .flags = SHAPE_REQUIRED),
    [EDITED_EVENT_SEQ] = SHAPE_ROW(struct delivery_edit, event_seq, SHAPE_INTEGER,
                                   "seq of the event whose delivery is held", .flags = SHAPE_REQUIRED,
                                   .min = 1, .max = INT64_MAX),
    [EDITED_SUBJECT] = SHAPE_ROW(struct delivery_edit, subject, SHAPE_TEXT, "What it is about",
                                 .flags = SHAPE_REQUIRED),
    [EDITED_PATCH] = SHAPE_ROW(struct delivery_edit, patch, SHAPE_RAW,
                               "JSON Merge Patch (RFC 7396) of the event's data", .privacy = PERSONAL),
    [EDITED_CHANGED] = SHAPE_ROW(struct delivery_edit, changed, SHAPE_LIST,
                                 "JSON Pointers of what the patch sets or takes away; absent: no patch",
                                 .max = EDITED_CHANGED_MAX),
    [EDITED_MAPPING_VERSION] = SHAPE_ROW(struct delivery_edit, mapping_version, SHAPE_TEXT,
                                         "Only this version of the mapping may make the document"),
    [EDITED_ID_SEQ] = SHAPE_ROW(struct delivery_edit, id_seq, SHAPE_INTEGER,
                                "The other system is told the event's id followed by -e and this seq, because "
                                "it has refused the other one",
                                .max = INT64_MAX),
    [EDITED_REPLACES] = SHAPE_ROW(struct delivery_edit, replaces, SHAPE_INTEGER,
                                  "seq of the edit before, which holds no more", .min = 1, .max = INT64_MAX),
    [EDITED_REASON] = SHAPE_ROW(struct delivery_edit, reason, SHAPE_TEXT, "Why", .flags = SHAPE_REQUIRED),
    [EDITED_BY] = SHAPE_ROW(struct delivery_edit, by, SHAPE_TEXT, "Who decided", .flags = SHAPE_REQUIRED),
};
SHAPE_DEFINE(delivery_edit_shape, "delivery_edit", struct delivery_edit,
             "A held delivery goes out other than the event says", edit_rows);

/* --- state --------------------------------------------------------------------------------- */

struct held {
    uint64_t seq;
    uint64_t edit; /* seq of the newest, 0: none */
    uint32_t len; /* of the subscription's name */
    char subscription[64];
};
struct deliveries_state {
    pthread_mutex_t *lock; /* others read while the writer changes */
    struct held *items;    /* sorted */
    uint32_t count, cap;
};

static int held_cmp(const struct held *held, struct str subscription, uint64_t seq) {
    int order = str_cmp(str_of(held->subscription, held->len), subscription);
    return order != 0 ? order : held->seq < seq ? -1 : held->seq > seq;
}

/* The place of it, or where it belongs. */
static uint32_t held_place(const struct deliveries_state *s, struct str subscription, uint64_t seq,
                           bool *there) {
    uint32_t low = 0, high = s->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (held_cmp(&s->items[middle], subscription, seq) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *there = low < s->count && held_cmp(&s->items[low], subscription, seq) == 0;
    return low;
}

static struct hash128 held_key(struct str subscription, uint64_t seq) {
    return entity_number_key(hash64(subscription, 0), seq);
}

static enum err held_add(struct deliveries_state *s, struct str subscription, uint64_t seq) {
    bool there;
    uint32_t at = held_place(s, subscription, seq, &there);
    if (there)
        return OK;
    must(subscription.len <= sizeof s->items->subscription);
    pthread_mutex_lock(s->lock);
    if (!MEM_ROOM(s->items, s->count, s->cap, 64)) {
        pthread_mutex_unlock(s->lock);
        return ERR_NOMEM;
    }
    memmove(s->items + at + 1, s->items + at, (s->count - at) * sizeof *s->items);
    struct held *held = &s->items[at];
    held->seq = seq;
    held->edit = 0;
    held->len = (uint32_t)subscription.len;
    memcpy(held->subscription, subscription.ptr, subscription.len);
    s->count++;
    pthread_mutex_unlock(s->lock);
    return OK;
}

/* Written down: the subscription's name, and of an edited one a line feed and the edit's seq. */
static enum err held_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct deliveries_state *s = part;
    struct str name = str_cut(&bytes, '\n');
    uint64_t edit = 0;
    bool there;
    (void)slot;
    if (name.len > sizeof s->items->subscription || (bytes.len && !str_u64(bytes, &edit)))
        return ERR_DAMAGED;
    enum err err = held_add(part, name, key.lo);
    if (err == OK)
        s->items[held_place(s, name, key.lo, &there)].edit = edit;
    return err;
}

static const struct entity_kind held_entity = {
    .name = "delivery.held", .flags = ENTITY_RESIDENT,
    .help = "Deliveries that wait for a person", .load = held_load};
static const struct entity_kind *const delivery_entities[] = {&held_entity, NULL};

static enum err held_apply(struct state *state, const struct event *event) {
    struct deliveries_state *s = state_of(state, &deliveries_capability);
    const struct delivery_hold *hold = event->data;
    uint64_t seq = (uint64_t)hold->event_seq;
    bool there;
    held_place(s, hold->subscription, seq, &there);
    if (there)
        return OK;
    enum err err = held_add(s, hold->subscription, seq);
    return err == OK ? entity_put(state, &held_entity, held_key(hold->subscription, seq),
                                  hold->subscription)
                     : err;
}

static enum err released_apply(struct state *state, const struct event *event) {
    struct deliveries_state *s = state_of(state, &deliveries_capability);
    const struct delivery_release *release = event->data;
    bool there;
    uint32_t at = held_place(s, release->subscription, (uint64_t)release->event_seq, &there);
    if (!there)
        return OK;
    pthread_mutex_lock(s->lock);
    s->count--;
    memmove(s->items + at, s->items + at + 1, (s->count - at) * sizeof *s->items);
    pthread_mutex_unlock(s->lock);
    return entity_drop(state, &held_entity,
                       held_key(release->subscription, (uint64_t)release->event_seq));
}

static enum err edited_apply(struct state *state, const struct event *event) {
    struct deliveries_state *s = state_of(state, &deliveries_capability);
    const struct delivery_edit *edit = event->data;
    char text[sizeof s->items->subscription + 24];
    bool there;
    uint32_t at = held_place(s, edit->subscription, (uint64_t)edit->event_seq, &there);
    if (!there)
        return OK;
    pthread_mutex_lock(s->lock);
    s->items[at].edit = event->seq;
    pthread_mutex_unlock(s->lock);
    int len = snprintf(text, sizeof text, "%.*s\n%llu", STR_FMT(edit->subscription),
                       (unsigned long long)event->seq);
    struct hash128 key = held_key(edit->subscription, (uint64_t)edit->event_seq);
    enum err err = entity_drop(state, &held_entity, key); /* a key is put again only after that */
    return err == OK ? entity_put(state, &held_entity, key, str_of(text, (size_t)len)) : err;
}

uint64_t delivery_edition(const void *part, struct str subscription, uint64_t event_seq) {
    const struct deliveries_state *s = part;
    bool there;
    pthread_mutex_lock(s->lock);
    uint32_t at = held_place(s, subscription, event_seq, &there);
    uint64_t edit = there ? s->items[at].edit : 0;
    pthread_mutex_unlock(s->lock);
    return edit;
}

static enum err deliveries_init(void *part, const struct config *config) {
    struct deliveries_state *s = part;
    (void)config;
    s->lock = mem_zalloc(sizeof *s->lock);
    if (s->lock)
        pthread_mutex_init(s->lock, NULL);
    return s->lock ? OK : ERR_NOMEM;
}

static void deliveries_free(void *part) {
    struct deliveries_state *s = part;
    mem_free(s->items);
    if (s->lock)
        pthread_mutex_destroy(s->lock);
    mem_free(s->lock);
}

static void deliveries_dump(const void *part, struct buf *out) {
    const struct deliveries_state *s = part;
    for (uint32_t i = 0; i < s->count; i++)
        buf_printf(out, "%.*s %llu edit=%llu\n", (int)s->items[i].len, s->items[i].subscription,
                   (unsigned long long)s->items[i].seq, (unsigned long long)s->items[i].edit);
}

static const struct event_type held_event = {
    .name = "delivery.held", .shape = &delivery_hold_shape, .apply = held_apply,
    .help = "A delivery can not go on without a person; what has the same key waits behind it"};
static const struct event_type released_event = {
    .name = "delivery.released", .shape = &delivery_release_shape, .apply = released_apply,
    .help = "A held delivery was sent again or given up"};
static const struct event_type edited_event = {
    .name = EVENT_DELIVERY_EDITED, .shape = &delivery_edit_shape, .apply = edited_apply,
    .help = "What goes out of a held delivery was changed by a person; the event stays what it is"};
static const struct event_type *const delivery_events[] = {&held_event, &released_event, &edited_event, NULL};

/* --- commands ------------------------------------------------------------------------------ */

static enum err hold_decide(struct decision *decision, const struct command *command) {
    const struct deliveries_state *s = decision_state(decision, &deliveries_capability);
    const struct delivery_hold *given = command->body;
    bool there;
    held_place(s, given->subscription, (uint64_t)given->event_seq, &there);
    if (there)
        return decision_answer(decision, 200, &delivery_hold_shape, given);
    struct delivery_hold *hold;
    if (!decision_event(decision, &held_event, given->subject, (void **)&hold))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *hold = *given;
    return decision_answer(decision, 201, &delivery_hold_shape, hold);
}
const struct command_type delivery_hold_command = {
    .name = "delivery.hold", .shape = &delivery_hold_shape, .decide = hold_decide,
    .flags = COMMAND_INTERNAL, .help = "Tells that a delivery waits for a person"};

static enum err release_decide(struct decision *decision, const struct command *command) {
    const struct deliveries_state *s = decision_state(decision, &deliveries_capability);
    const struct delivery_release *given = command->body;
    bool there;
    held_place(s, given->subscription, (uint64_t)given->event_seq, &there);
    if (!there)
        return decision_answer(decision, 200, &delivery_release_shape, given);
    struct delivery_release *release;
    if (!decision_event(decision, &released_event, given->subject, (void **)&release))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *release = *given;
    return decision_answer(decision, 201, &delivery_release_shape, release);
}
const struct command_type delivery_release_command = {
    .name = "delivery.release", .shape = &delivery_release_shape, .decide = release_decide,
    .flags = COMMAND_INTERNAL, .help = "Tells what was decided about a held delivery"};

static enum err edit_decide(struct decision *decision, const struct command *command) {
    const struct deliveries_state *s = decision_state(decision, &deliveries_capability);
    const struct delivery_edit *given = command->body;
    struct delivery_edit *edit;
    bool there;
    held_place(s, given->subscription, (uint64_t)given->event_seq, &there);
    if (!there)
        return decision_refuse(decision, ERR_CONFLICT, "no such delivery is held");
    uint64_t seq = decision_seq(decision);
    struct event *event = decision_event(decision, &edited_event, given->subject, (void **)&edit);
    if (!event)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    if (command->sealed.box.ptr)
        decision_seal(decision, event, STR_NONE);
    *edit = *given;
    if (shape_has(given, EDITED_ID_SEQ) && given->id_seq == 0)
        edit->id_seq = (int64_t)seq;
    struct delivery_edit told = *edit; /* answers are kept as they are: without what is sealed */
    told.has &= ~(UINT64_C(1) << EDITED_PATCH);
    return decision_answer(decision, 201, &delivery_edit_shape, &told);
}
/* An event that is nobody's has no person whose erasure could reach the patch. */
static struct str edit_person(const void *body, struct id128 id, struct arena *arena) {
    const struct delivery_edit *edit = body;
    return edit->person.len ? edit->person : id_text(arena, "dly_", id);
}
const struct command_type delivery_edit_command = {
    .name = "delivery.edit", .shape = &delivery_edit_shape, .decide = edit_decide, .person = edit_person,
    .flags = COMMAND_INTERNAL, .help = "Changes what goes out of a held delivery"};
static const struct command_type *const delivery_commands[] = {
    &delivery_hold_command, &delivery_release_command, &delivery_edit_command, NULL};

const struct capability deliveries_capability = {
    .name = "deliveries",
    .help = "Deliveries that wait for a person's decision",
    .commands = delivery_commands,
    .events = delivery_events,
    .state_size = sizeof(struct deliveries_state),
    .state_init = deliveries_init,
    .state_free = deliveries_free,
    .entities = delivery_entities,
    .dump = deliveries_dump,
};
