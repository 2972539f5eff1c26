/* stops: see stops.h. State: those that are stopped, as the bytes that are written down. There are
 * few: they are looked for one by one. Other threads read under the lock. */
#include "domain/stops.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "domain/exceptions.h"
#include "domain/subscribers.h"

const char *const stop_whys[] = {"failures", "dead", "person", "gone", NULL};
#define WHYS                                                                                       \
    "failures: too many deliveries were held; dead: no good answer for too long; gone: the other side " \
    "said that it is no more; person: somebody asked for it"
static const struct shape_field stop_rows[] = {
    [STOP_SUBSCRIPTION] = SHAPE_ROW(struct subscription_stop, subscription, SHAPE_CODE,
                                    "Which subscription", .flags = SHAPE_REQUIRED, .max = STOP_NAME_MAX),
    [STOP_CONNECTOR] = SHAPE_ROW(struct subscription_stop, connector, SHAPE_CODE, "To which system"),
    [STOP_WHY] = SHAPE_ROW(struct subscription_stop, why, SHAPE_ENUM,
                           WHYS,
                           .values = stop_whys, .flags = SHAPE_REQUIRED),
    [STOP_CAUSE] = SHAPE_ROW(struct subscription_stop, cause, SHAPE_TEXT, "Why, in words",
                             .flags = SHAPE_REQUIRED),
    [STOP_BY] = SHAPE_ROW(struct subscription_stop, by, SHAPE_TEXT, "Who; absent: the hub itself"),
    [STOP_OWNER] = SHAPE_ROW(struct subscription_stop, owner, SHAPE_CODE, "The team that is asked"),
    [STOP_MADE] = SHAPE_ROW(struct subscription_stop, made, SHAPE_BOOL,
                            "Whether it was made through the API, and not by a connector"),
};
static SHAPE_DEFINE(subscription_stop_shape, "subscription_stop", struct subscription_stop,
                    "A subscription that stands still until a person starts it", stop_rows);

static const struct shape_field start_rows[] = {
    [START_SUBSCRIPTION] = SHAPE_ROW(struct subscription_start, subscription, SHAPE_CODE,
                                     "Which subscription", .flags = SHAPE_REQUIRED, .max = STOP_NAME_MAX),
    [START_REASON] = SHAPE_ROW(struct subscription_start, reason, SHAPE_TEXT, "Why"),
    [START_BY] = SHAPE_ROW(struct subscription_start, by, SHAPE_TEXT, "Who decided"),
};
static SHAPE_DEFINE(subscription_start_shape, "subscription_start", struct subscription_start,
                    "A stopped subscription that goes on where it stood", start_rows);

static const struct shape_field stopped_rows[] = {
    [STOPPED_SINCE] = SHAPE_ROW(struct stopped_doc, since, SHAPE_INSTANT, "When it stopped",
                                .flags = SHAPE_REQUIRED),
    [STOPPED_WHY] = SHAPE_ROW(struct stopped_doc, why, SHAPE_ENUM, WHYS, .flags = SHAPE_REQUIRED,
                              .values = stop_whys),
    [STOPPED_CAUSE] = SHAPE_ROW(struct stopped_doc, cause, SHAPE_TEXT, "In words", .flags = SHAPE_REQUIRED,
                                .max = 65536),
    [STOPPED_BY] = SHAPE_ROW(struct stopped_doc, by, SHAPE_TEXT, "Who stopped it; null or absent: the hub itself",
                             .flags = SHAPE_NULL),
};
SHAPE_DEFINE(stopped_shape, "subscription_stopped", struct stopped_doc, "A subscription that stands still",
             stopped_rows);

struct stopped_doc *stopped_doc_make(const struct stopped *stopped, struct arena *arena) {
    struct stopped_doc *doc = arena_new(arena, struct stopped_doc);
    if (!doc)
        return NULL;
    *doc = (struct stopped_doc){.has = 1u << STOPPED_SINCE | 1u << STOPPED_WHY | 1u << STOPPED_CAUSE,
                                .since = {.us = stopped->since_us - stopped->since_us % 1000}, .why = stopped->why,
                                .cause = arena_str(arena, str_c(stopped->cause))};
    if (stopped->by[0]) {
        doc->by = arena_str(arena, str_c(stopped->by));
        shape_mark(doc, STOPPED_BY);
    }
    return doc->cause.ptr && (doc->by.ptr || !stopped->by[0]) ? doc : NULL;
}

/* --- state --------------------------------------------------------------------------------- */

struct stop_item {
    char *bytes; /* name, why, since, cause, by; see stop_pack */
    uint32_t len;
};
struct stops_state {
    pthread_mutex_t *lock; /* others read while the writer changes */
    struct stop_item *items;
    uint32_t count, cap;
};

static enum err stops_init(void *part, const struct config *config) {
    struct stops_state *s = part;
    (void)config;
    s->lock = mem_zalloc(sizeof *s->lock);
    if (s->lock)
        pthread_mutex_init(s->lock, NULL);
    return s->lock ? OK : ERR_NOMEM;
}

static void stops_free(void *part) {
    struct stops_state *s = part;
    for (uint32_t i = 0; i < s->count; i++)
        mem_free(s->items[i].bytes);
    mem_free(s->items);
    if (s->lock)
        pthread_mutex_destroy(s->lock);
    mem_free(s->lock);
}

static void stop_pack(const struct subscription_stop *stop, int64_t since_us, struct buf *out) {
    pack_str(out, stop->subscription);
    pack_uint(out, (uint64_t)stop->why);
    pack_int(out, since_us);
    pack_str(out, stop->cause);
    pack_str(out, stop->by);
}

static struct str item_bytes(const struct stop_item *item) { return str_of(item->bytes, item->len); }

static struct str item_name(const struct stop_item *item) {
    struct unpack in = unpack_of(item_bytes(item));
    return unpack_str(&in);
}

/* Its place, or the count. */
static uint32_t item_find(const struct stops_state *s, struct str subscription) {
    uint32_t i = 0;
    while (i < s->count && !str_eq(item_name(&s->items[i]), subscription))
        i++;
    return i;
}

static struct hash128 stop_key(struct str subscription) { return hash128(subscription, 0); }

static enum err item_add(struct stops_state *s, struct str bytes) {
    char *copy = mem_alloc(bytes.len);
    if (!copy)
        return ERR_NOMEM;
    memcpy(copy, bytes.ptr, bytes.len);
    pthread_mutex_lock(s->lock);
    bool room = MEM_ROOM(s->items, s->count, s->cap, 8);
    if (room)
        s->items[s->count++] = (struct stop_item){copy, (uint32_t)bytes.len};
    pthread_mutex_unlock(s->lock);
    if (!room)
        mem_free(copy);
    return room ? OK : ERR_NOMEM;
}

static void item_remove(struct stops_state *s, uint32_t i) {
    pthread_mutex_lock(s->lock);
    mem_free(s->items[i].bytes);
    memmove(s->items + i, s->items + i + 1, (s->count - i - 1) * sizeof *s->items);
    s->count--;
    pthread_mutex_unlock(s->lock);
}

static enum err stop_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct unpack in = unpack_of(bytes);
    struct str name = unpack_str(&in);
    bool known = unpack_uint(&in) <= STOP_GONE;
    (void)slot;
    (void)unpack_int(&in);
    (void)unpack_str(&in);
    (void)unpack_str(&in);
    struct hash128 own = stop_key(name);
    bool good = unpack_end(&in) == OK && known && own.lo == key.lo && own.hi == key.hi;
    return good ? item_add(part, bytes) : ERR_DAMAGED;
}

static const struct entity_kind stop_entity = {
    .name = "subscription.stopped", .flags = ENTITY_RESIDENT,
    .help = "Subscriptions that stand still", .load = stop_load};
static const struct entity_kind *const stop_entities[] = {&stop_entity, NULL};

static enum err stopped_apply(struct state *state, const struct event *event) {
    struct stops_state *s = state_of(state, &stops_capability);
    const struct subscription_stop *stop = event->data;
    if (item_find(s, stop->subscription) < s->count)
        return OK;
    struct buf bytes;
    buf_init(&bytes, 0);
    stop_pack(stop, event->time_us, &bytes);
    enum err err = buf_ok(&bytes) ? item_add(s, buf_str(&bytes)) : ERR_NOMEM;
    if (err == OK)
        err = entity_put(state, &stop_entity, stop_key(stop->subscription), buf_str(&bytes));
    buf_free(&bytes);
    return err;
}

enum err stops_forget(struct state *state, struct str subscription) {
    struct stops_state *s = state_of(state, &stops_capability);
    uint32_t i = item_find(s, subscription);
    if (i == s->count)
        return OK;
    item_remove(s, i);
    return entity_drop(state, &stop_entity, stop_key(subscription));
}

static enum err started_apply(struct state *state, const struct event *event) {
    return stops_forget(state, ((const struct subscription_start *)event->data)->subscription);
}

static void stops_dump(const void *part, struct buf *out) {
    const struct stops_state *s = part;
    for (uint32_t i = 0; i < s->count; i++) {
        struct unpack in = unpack_of(item_bytes(&s->items[i]));
        struct str name = unpack_str(&in);
        uint64_t why = unpack_uint(&in);
        int64_t since_us = unpack_int(&in);
        struct str cause = unpack_str(&in), by = unpack_str(&in);
        buf_printf(out, "stopped %.*s why=%llu since=%lld cause=%.*s by=%.*s\n", STR_FMT(name),
                   (unsigned long long)why, (long long)since_us, STR_FMT(cause), STR_FMT(by));
    }
}

bool stops_find(const void *part, struct str subscription, struct stopped *out) {
    const struct stops_state *s = part;
    pthread_mutex_lock(s->lock);
    uint32_t i = item_find(s, subscription);
    bool found = i < s->count;
    if (found) {
        struct unpack in = unpack_of(item_bytes(&s->items[i]));
        (void)unpack_str(&in);
        out->why = (int32_t)unpack_uint(&in);
        out->since_us = unpack_int(&in);
        struct str cause = unpack_str(&in), by = unpack_str(&in);
        snprintf(out->cause, sizeof out->cause, "%.*s", STR_FMT(cause));
        snprintf(out->by, sizeof out->by, "%.*s", STR_FMT(by));
    }
    pthread_mutex_unlock(s->lock);
    return found;
}

uint32_t stops_count(const void *part) {
    const struct stops_state *s = part;
    pthread_mutex_lock(s->lock);
    uint32_t count = s->count;
    pthread_mutex_unlock(s->lock);
    return count;
}

/* --- commands ------------------------------------------------------------------------------ */

static const struct event_type stopped_event = {
    .name = "subscription.stopped", .shape = &subscription_stop_shape, .apply = stopped_apply,
    .help = "A subscription stands still until a person starts it; what it wants waits in the journal"};
const struct event_type subscription_started_event = {
    .name = "subscription.started", .shape = &subscription_start_shape, .apply = started_apply,
    .help = "A stopped subscription goes on where it stood"};
static const struct event_type *const stop_events[] = {&stopped_event, &subscription_started_event,
                                                       NULL};

/* Beside the event: a person is asked, unless it was a person. */
static enum err stop_raise(struct decision *decision, const struct subscription_stop *stop) {
    struct arena *arena = decision_arena(decision);
    struct exception e = {.kind = STR(CASE_SUBSCRIPTION_STOPPED), .subject = stop->subscription,
                          .cause = stop->cause, .connector = stop->connector, .owner = stop->owner};
    e.action = arena_printf(arena,
                            "%s; what it is to deliver waits in the journal. Then: penstock subscriptions "
                            "start %.*s --reason …",
                            stop->made ? "Ask who made it, or remove it (penstock subscriptions show)"
                                       : "Mend what fails",
                            STR_FMT(stop->subscription));
    if (!e.action.ptr)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the exception");
    e.has = 1u << EXCEPTION_KIND | 1u << EXCEPTION_SUBJECT | 1u << EXCEPTION_CAUSE |
            1u << EXCEPTION_ACTION;
    if (e.connector.len)
        shape_mark(&e, EXCEPTION_CONNECTOR);
    if (e.owner.len)
        shape_mark(&e, EXCEPTION_OWNER);
    return exception_raise(decision, &e, 0);
}

static enum err stop_decide(struct decision *decision, const struct command *command) {
    const struct stops_state *s = decision_state(decision, &stops_capability);
    const struct subscription_stop *given = command->body;
    if (item_find(s, given->subscription) < s->count ||
        (given->made && !subscriber_followed(decision, given->subscription)))
        return decision_answer(decision, 200, &subscription_stop_shape, given);
    struct subscription_stop *stop;
    if (!decision_event(decision, &stopped_event, given->subscription, (void **)&stop))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *stop = *given;
    enum err err = given->why == STOP_PERSON ? OK : stop_raise(decision, given);
    return err == OK ? decision_answer(decision, 201, &subscription_stop_shape, stop) : err;
}
const struct command_type subscription_stop_command = {
    .name = "subscription.stop", .shape = &subscription_stop_shape, .decide = stop_decide,
    .flags = COMMAND_INTERNAL, .help = "Tells that a subscription stands still"};

static enum err start_decide(struct decision *decision, const struct command *command) {
    const struct stops_state *s = decision_state(decision, &stops_capability);
    const struct subscription_start *given = command->body;
    if (item_find(s, given->subscription) == s->count)
        return decision_answer(decision, 200, &subscription_start_shape, given);
    struct subscription_start *start;
    if (!decision_event(decision, &subscription_started_event, given->subscription, (void **)&start))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *start = *given;
    return decision_answer(decision, 201, &subscription_start_shape, start);
}
const struct command_type subscription_start_command = {
    .name = "subscription.start", .shape = &subscription_start_shape, .decide = start_decide,
    .flags = COMMAND_INTERNAL, .help = "Tells that a stopped subscription goes on"};
static const struct command_type *const stop_commands[] = {&subscription_stop_command,
                                                           &subscription_start_command, NULL};

const struct capability stops_capability = {
    .name = "stops",
    .help = "Subscriptions that stand still until a person starts them",
    .commands = stop_commands,
    .events = stop_events,
    .state_size = sizeof(struct stops_state),
    .state_init = stops_init,
    .state_free = stops_free,
    .entities = stop_entities,
    .dump = stops_dump,
};
