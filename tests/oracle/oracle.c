/* oracle: see oracle.h. This file owns what was observed: lines in, lists and indexes out. */
#include "oracle_priv.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/decimal.h"

/* --- tables --------------------------------------------------------------------------------- */

static bool key_eq(const void *ctx, uint32_t i, const void *key) {
    return str_eq(((const struct index *)ctx)->keys[i], *(const struct str *)key);
}
static uint64_t key_hash(const void *ctx, uint32_t i) {
    return hash64(((const struct index *)ctx)->keys[i], 0);
}

uint32_t index_of(struct index *index, struct str key, bool add) {
    uint64_t hash = hash64(key, 0);
    uint32_t at = index->map.slots ? map_find(&index->map, hash, key_eq, index, &key) : MAP_NONE;
    if (at != MAP_NONE || !add)
        return at;
    if (index->count == index->cap) {
        index->cap = index->cap ? 2 * index->cap : 64;
        index->keys = realloc(index->keys, index->cap * sizeof *index->keys);
        must(index->keys);
    }
    index->keys[index->count] = key;
    must(map_add(&index->map, hash, index->count, key_hash, index));
    return index->count++;
}

void index_free(struct index *index) {
    map_free(&index->map);
    free(index->keys);
    *index = (struct index){0};
}

void *list_more(struct list *list, size_t size) {
    if (list->count == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 64;
        list->items = realloc(list->items, list->cap * size);
        must(list->items);
    }
    void *at = (char *)list->items + list->count++ * size;
    memset(at, 0, size);
    return at;
}

/* --- JSON ----------------------------------------------------------------------------------- */

const struct json *member(const struct json *object, const char *name) {
    const struct json *value =
        object && object->kind == JSON_OBJECT ? json_member(object, str_c(name)) : NULL;
    return value && value->kind != JSON_NULL ? value : NULL;
}

struct str member_str(const struct json *object, const char *name) {
    const struct json *value = member(object, name);
    return value && (value->kind == JSON_STRING || value->kind == JSON_NUMBER) ? value->text
                                                                               : STR_NONE;
}

int64_t member_quantity(const struct json *object, const char *name, int64_t dflt) {
    struct str text = member_str(object, name);
    int64_t value;
    return text.ptr && decimal_parse_number(text, QTY_SCALE, &value) ? value : dflt;
}

int64_t member_i64(const struct json *object, const char *name, int64_t dflt) {
    struct str text = member_str(object, name);
    int64_t value;
    return text.ptr && str_i64(text, &value) ? value : dflt;
}

struct str joined(struct oracle *o, struct str a, struct str b) {
    return arena_printf(&o->arena, "%.*s\n%.*s", STR_FMT(a), STR_FMT(b));
}

struct str quantity_text(struct oracle *o, int64_t quantity) {
    struct buf buf;
    buf_init(&buf, 0);
    decimal_write(&buf, quantity, QTY_SCALE);
    struct str text = arena_str(&o->arena, buf_str(&buf));
    buf_free(&buf);
    return text;
}

/* Numbers and texts by what they say, members in any order. */
static bool same(const struct json *a, const struct json *b) {
    if (a->kind != b->kind || a->count != b->count)
        return false;
    if (a->kind == JSON_STRING || a->kind == JSON_NUMBER)
        return str_eq(a->text, b->text);
    const struct json *x = a + 1, *y = b + 1;
    for (uint32_t i = 0; a->kind == JSON_ARRAY && i < a->count; i++) {
        if (!same(x, y))
            return false;
        x = json_next(x);
        y = json_next(y);
    }
    for (uint32_t i = 0; a->kind == JSON_OBJECT && i < a->count; i++) {
        const struct json *value = json_next(x), *theirs = json_member(b, x->text);
        if (!theirs || !same(value, theirs))
            return false;
        x = json_next(value);
    }
    return true;
}

/* --- what is observed ------------------------------------------------------------------------- */

static const char *const kind_names[OP_KINDS] = {
    [OP_ORDER] = "order", [OP_CANCEL] = "cancel",         [OP_SHIPMENT] = "shipment",
    [OP_COUNT] = "count", [OP_ADJUSTMENT] = "adjustment", [OP_RECEIPT] = "receipt",
    [OP_HOLD] = "hold",   [OP_RELEASE] = "release",       [OP_PAYLOAD] = "payload",
};

static const char *observe_sent(struct oracle *o, const struct json *doc) {
    struct str kind = member_str(doc, "kind");
    struct str number = member_str(doc, "op");
    if (!number.ptr || index_of(&o->op_numbers, number, false) != NONE)
        return "a request needs an op of its own";
    struct op *op = LIST_ADD(&o->ops, struct op);
    op->kind = OP_KINDS;
    for (uint32_t i = 0; i < OP_KINDS; i++)
        if (str_is(kind, kind_names[i]))
            op->kind = i;
    if (op->kind == OP_KINDS)
        return "no such kind of request";
    index_of(&o->op_numbers, number, true);
    const struct json *fact = member(doc, "fact");
    op->fact = fact && fact->kind == JSON_BOOL && fact->count;
    op->key = member_str(doc, "key");
    op->correlation = member_str(doc, "correlation");
    op->target = member_str(doc, "target");
    op->body = member(doc, "body");
    op->text = doc->text;
    op->effect = NONE;
    return op->body ? NULL : "a request has a body";
}

static const char *observe_answered(struct oracle *o, const struct json *doc) {
    uint32_t at = index_of(&o->op_numbers, member_str(doc, "op"), false);
    if (at == NONE)
        return "an answer to what was never sent";
    struct op *op = op_at(o, at);
    int64_t status = member_i64(doc, "status", 0);
    const struct json *document = member(doc, "document");
    op->fate = status == 0 ? FATE_UNKNOWN : status < 300 ? FATE_ACKNOWLEDGED : FATE_REFUSED;
    if (op->fate != FATE_ACKNOWLEDGED || !document)
        return NULL;
    if (!op->answer)
        op->answer = document;
    else if (!same(op->answer, document))
        op->other = document;
    return NULL;
}

static struct str kind_of(struct str type) {
    static const struct str prefix = {"org.penstock.", 13}, suffix = {".v1", 3};
    if (str_starts(type, prefix))
        type = str_of(type.ptr + prefix.len, type.len - prefix.len);
    if (type.len > suffix.len && memcmp(type.ptr + type.len - suffix.len, ".v1", 3) == 0)
        type.len -= suffix.len;
    return type;
}

static const char *observe_event(struct oracle *o, const struct json *doc) {
    struct event_seen *event = LIST_ADD(&o->events, struct event_seen);
    struct instant at = {0};
    struct str time = member_str(doc, "time");
    event->seq = (uint64_t)member_i64(doc, "penstockseq", 0);
    event->id = joined(o, member_str(doc, "source"), member_str(doc, "id"));
    event->kind = kind_of(member_str(doc, "type"));
    event->subject = member_str(doc, "subject");
    event->correlation = member_str(doc, "correlationid");
    event->data = member(doc, "data");
    event->cause = member_str(doc, "penstockcause");
    event->op = NONE;
    if (time.ptr && !instant_parse(time, &at))
        return "an event's time can not be read";
    event->time_us = at.us;
    return event->data ? NULL : "an event has data";
}

static const char *observe_order(struct oracle *o, const struct json *doc) {
    struct str id = member_str(doc, "order_id");
    if (!id.ptr)
        return "an order has an order_id";
    if (index_of(&o->order_ids, id, false) != NONE)
        return "an order is listed twice";
    index_of(&o->order_ids, id, true);
    *LIST_ADD(&o->orders, struct order_seen) = (struct order_seen){id, doc};
    return NULL;
}

static void observe_values(struct list *list, const struct json *doc) {
    *LIST_ADD(list, struct position_seen) = (struct position_seen){
        member_str(doc, "sku"),
        member_str(doc, "location"),
        {member_quantity(doc, "on_hand", 0), member_quantity(doc, "held", 0),
         member_quantity(doc, "committed", 0), member_quantity(doc, "available", 0)},
        (uint64_t)member_i64(doc, "seq", 0)};
}
static const char *observe_position(struct oracle *o, const struct json *doc) {
    observe_values(&o->positions, doc);
    return NULL;
}
static const char *observe_read(struct oracle *o, const struct json *doc) {
    observe_values(&o->reads, doc);
    return member(doc, "seq") ? NULL : "a read has a seq";
}

static const char *observe_booked(struct oracle *o, const struct json *doc) {
    *LIST_ADD(&o->booked, struct booked) =
        (struct booked){member_str(doc, "order_id"), member_str(doc, "currency"),
                        member_str(doc, "number"), member_i64(doc, "total", INT64_MIN)};
    return NULL;
}

static const char *observe_number(struct oracle *o, const struct json *doc) {
    *LIST_ADD(&o->numbers, struct number_seen) =
        (struct number_seen){member_str(doc, "order_id"), member_str(doc, "number")};
    return NULL;
}

static const char *observe_subscription(struct oracle *o, const struct json *doc) {
    struct str name = member_str(doc, "name");
    if (!name.ptr || index_of(&o->subscriptions_by_name, name, false) != NONE)
        return "a subscription has a name of its own";
    index_of(&o->subscriptions_by_name, name, true);
    *LIST_ADD(&o->subscriptions, struct subscription_seen) =
        (struct subscription_seen){name, (uint64_t)member_i64(doc, "at_once", 0), member(doc, "events")};
    return NULL;
}

static const char *observe_done(struct oracle *o, struct list *list, const struct json *doc) {
    struct effect effect = {
        index_of(&o->subscriptions_by_name, member_str(doc, "subscription"), false),
        (uint64_t)member_i64(doc, "seq", 0), (uint64_t)member_i64(doc, "asked", 0),
        member_str(doc, "lane")};
    const struct json *replay = member(doc, "replay");
    effect.replay = replay && replay->kind == JSON_BOOL && replay->count;
    if (effect.subscription == NONE)
        return "the subscription was not told before";
    *LIST_ADD(list, struct effect) = effect;
    return NULL;
}
static const char *stop_add(struct oracle *o, int what, const struct json *doc) {
    const struct json *replay = member(doc, "replay");
    uint32_t sub = index_of(&o->subscriptions_by_name, member_str(doc, "subscription"), false);
    *LIST_ADD(&o->stops, struct stop_seen) =
        (struct stop_seen){what, sub, (uint64_t)member_i64(doc, "seq", 0), (uint64_t)member_i64(doc, "at_most", 0),
                           replay && replay->kind == JSON_BOOL && replay->count};
    return sub == NONE && what != STOP_LIFE ? "the subscription was not told before" : NULL;
}
static const char *observe_bad(struct oracle *o, const struct json *doc) { return stop_add(o, STOP_BAD, doc); }
static const char *observe_well(struct oracle *o, const struct json *doc) { return stop_add(o, STOP_WELL, doc); }
static const char *observe_refused(struct oracle *o, const struct json *doc) {
    return stop_add(o, STOP_REFUSED, doc);
}
static const char *observe_found(struct oracle *o, const struct json *doc) { return stop_add(o, STOP_DONE, doc); }
static const char *observe_started(struct oracle *o, const struct json *doc) {
    return stop_add(o, STOP_STARTED, doc);
}

static const char *observe_effect(struct oracle *o, const struct json *doc) {
    const char *why = stop_add(o, STOP_DONE, doc);
    return why ? why : observe_done(o, &o->effects, doc);
}
static const char *observe_held(struct oracle *o, const struct json *doc) {
    return observe_done(o, &o->held, doc);
}

static const char *observe_decided(struct oracle *o, const struct json *doc) {
    uint32_t sub = index_of(&o->subscriptions_by_name, member_str(doc, "subscription"), false);
    if (sub == NONE)
        return "the subscription was not told before";
    *LIST_ADD(&o->decided, struct decided_seen) =
        (struct decided_seen){sub, (uint64_t)member_i64(doc, "seq", 0), (uint64_t)member_i64(doc, "at", 0),
                              str_is(member_str(doc, "action"), "discard")};
    return NULL;
}

static const char *observe_ledger(struct oracle *o, const struct json *doc) {
    uint32_t sub = index_of(&o->subscriptions_by_name, member_str(doc, "subscription"), false);
    if (sub == NONE)
        return "the subscription was not told before";
    *LIST_ADD(&o->ledgers, struct ledger_seen) =
        (struct ledger_seen){.subscription = sub,
                             .taken = (uint64_t)member_i64(doc, "taken", 0),
                             .delivered = (uint64_t)member_i64(doc, "delivered", 0),
                             .discarded = (uint64_t)member_i64(doc, "discarded", 0),
                             .superseded = (uint64_t)member_i64(doc, "superseded", 0),
                             .listed = (uint64_t)member_i64(doc, "listed", 0),
                             .waiting = (uint64_t)member_i64(doc, "waiting", 0),
                             .from = (uint64_t)member_i64(doc, "from", 0),
                             .to = (uint64_t)member_i64(doc, "to", 0),
                             .before = (uint64_t)member_i64(doc, "before", 0),
                             .again = (uint64_t)member_i64(doc, "again", 0),
                             .replayed = (uint64_t)member_i64(doc, "replayed", 0),
                             .ranged = member(doc, "to") != NULL};
    return NULL;
}

static const char *observe_set(struct oracle *o, const struct json *doc) {
    uint32_t sub = index_of(&o->subscriptions_by_name, member_str(doc, "subscription"), false);
    if (sub == NONE)
        return "the subscription was not told before";
    *LIST_ADD(&o->sets, struct value_set) =
        (struct value_set){sub, member_str(doc, "lane"), member_i64(doc, "version", 0),
                           member_quantity(doc, "available", 0)};
    return NULL;
}

static const char *observe_fetcher(struct oracle *o, const struct json *doc) {
    o->fetcher = (struct subscription_seen){member_str(doc, "name"), 0, member(doc, "events")};
    o->fetcher_after = (uint64_t)member_i64(doc, "after", 0);
    return o->fetcher.name.ptr ? NULL : "who fetches has a name";
}
static const char *fetch_add(struct oracle *o, int what, const struct json *doc) {
    *LIST_ADD(&o->fetches, struct fetch_seen) =
        (struct fetch_seen){what, (uint64_t)member_i64(doc, "seq", 0), member_str(doc, "lane")};
    return NULL;
}
static const char *observe_fetched(struct oracle *o, const struct json *doc) { return fetch_add(o, FETCHED, doc); }
static const char *observe_fetch_done(struct oracle *o, const struct json *doc) {
    return fetch_add(o, FETCH_DONE, doc);
}
static const char *observe_fetch_acked(struct oracle *o, const struct json *doc) {
    return fetch_add(o, FETCH_ACKED, doc);
}

static const char *observe_stored(struct oracle *o, const struct json *doc) {
    *LIST_ADD(&o->messages, struct message_seen) =
        (struct message_seen){.stream = member_str(doc, "stream"), .place = member_str(doc, "place"),
                              .id = member_str(doc, "id"), .key = member_str(doc, "key")};
    return member_str(doc, "stream").len && member_str(doc, "place").len ? NULL : "a message has a stream and a place";
}
static const char *observe_consumed(struct oracle *o, const struct json *doc) {
    for (uint32_t i = o->messages.count; i-- > 0;) {
        struct message_seen *m = &LIST_AT(&o->messages, struct message_seen, i);
        if (!str_eq(m->stream, member_str(doc, "stream")) || !str_eq(m->place, member_str(doc, "place")))
            continue;
        m->consumed = true;
        m->durable = (uint64_t)member_i64(doc, "durable", 0);
        return NULL;
    }
    return "the message was not stored before";
}
static const char *observe_logged(struct oracle *o, const struct json *doc) {
    const char *why = observe_effect(o, doc);
    if (!why)
        *LIST_ADD(&o->logged, struct logged_seen) =
            (struct logged_seen){LIST_AT(&o->effects, struct effect, o->effects.count - 1), member_str(doc, "id")};
    return why;
}

static const char *observe_account(struct oracle *o, const struct json *doc) {
    struct str name = member_str(doc, "name");
    if (!name.ptr || index_of(&o->accounts_by_name, name, false) != NONE)
        return "an account has a name of its own";
    index_of(&o->accounts_by_name, name, true);
    *LIST_ADD(&o->accounts, struct account_seen) =
        (struct account_seen){.name = name,
                              .calls = member_i64(doc, "calls", 0),
                              .per_ms = member_i64(doc, "per_ms", 1000),
                              .burst = member_i64(doc, "burst", 1),
                              .quota = member_i64(doc, "quota", 0),
                              .concurrency = (uint32_t)member_i64(doc, "concurrency", 0),
                              .after = (uint32_t)member_i64(doc, "after", 1)};
    return NULL;
}

static struct call_seen *call_add(struct oracle *o, int what, const struct json *doc) {
    struct call_seen *call = LIST_ADD(&o->calls, struct call_seen);
    *call = (struct call_seen){.what = what, .id = (uint64_t)member_i64(doc, "id", 0),
                               .at_us = member_i64(doc, "at_us", 0)};
    return call;
}

static const char *observe_call(struct oracle *o, const struct json *doc) {
    struct call_seen *call = call_add(o, CALL_BEGAN, doc);
    call->account = index_of(&o->accounts_by_name, member_str(doc, "account"), false);
    call->endpoint = member_str(doc, "endpoint");
    call->wall_us = member_i64(doc, "wall_us", 0);
    o->clock_set_back = o->clock_set_back || call->wall_us < o->call_wall_us;
    o->call_wall_us = call->wall_us;
    if (call->account == NONE)
        return "the account was not told before";
    if (call->id != o->call_last + 1)
        return "calls are numbered from 1 on";
    o->call_last = call->id;
    return NULL;
}

static const char *observe_ended(struct oracle *o, const struct json *doc) {
    struct call_seen *call = call_add(o, CALL_ENDED, doc);
    struct str end = member_str(doc, "end");
    call->end = str_is(end, "good") ? CALL_GOOD : str_is(end, "bad") ? CALL_BAD : CALL_NOTHING;
    call->pause_ms = member_i64(doc, "pause_ms", 0);
    return call->id == 0 || call->id > o->call_last ? "a call that ended had begun" : NULL;
}

static const char *observe_life(struct oracle *o, const struct json *doc) {
    call_add(o, CALL_LIFE, doc);
    return stop_add(o, STOP_LIFE, doc);
}
static const char *observe_noted(struct oracle *o, const struct json *doc) {
    call_add(o, CALL_NOTED, doc);
    return NULL;
}

static const char *observe_end(struct oracle *o, const struct json *doc) {
    o->source = member_str(doc, "source");
    o->erp = member_str(doc, "erp");
    o->quiet = member(doc, "quiet_us") != NULL;
    o->quiet_us = member_i64(doc, "quiet_us", 0);
    return NULL;
}

static const struct {
    const char *name;
    const char *(*observe)(struct oracle *o, const struct json *doc);
} observations[] = {
    {"sent", observe_sent},
    {"answered", observe_answered},
    {"event", observe_event},
    {"order", observe_order},
    {"position", observe_position},
    {"read", observe_read},
    {"booked", observe_booked},
    {"number", observe_number},
    {"subscription", observe_subscription},
    {"effect", observe_effect},
    {"held", observe_held},
    {"decided", observe_decided},
    {"ledger", observe_ledger},
    {"set", observe_set},
    {"bad", observe_bad},
    {"well", observe_well},
    {"refused", observe_refused},
    {"found", observe_found},
    {"started", observe_started},
    {"fetcher", observe_fetcher},
    {"fetched", observe_fetched},
    {"fetch_done", observe_fetch_done},
    {"fetch_acked", observe_fetch_acked},
    {"stored", observe_stored},
    {"consumed", observe_consumed},
    {"logged", observe_logged},
    {"account", observe_account},
    {"call", observe_call},
    {"ended", observe_ended},
    {"life", observe_life},
    {"noted", observe_noted},
    {"hook_call", observe_hook_call},
    {"hook_answer", observe_hook_answer},
    {"hook_applied", observe_hook_applied},
    {"hook_said", observe_hook_said},
    {"hook_secret", observe_hook_secret},
    {"hook_start", observe_hook_start},
    {"hook_life", observe_hook_life},
    {"hook_held", observe_hook_held},
    {"hook_ledger", observe_hook_ledger},
    {"hook_policy", observe_hook_policy},
    {"end", observe_end},
};

bool oracle_observe(struct oracle *o, struct str line, const char **why) {
    const struct json *doc;
    struct fault fault = {0};
    *why = "not a JSON object of one member";
    line = arena_str(&o->arena, line);
    if (json_parse(o->parser, &o->arena, line, false, &doc, &fault) != OK ||
        doc->kind != JSON_OBJECT || doc->count != 1)
        return false;
    const struct json *name = json_first(doc), *value = json_next(name);
    *why = "no such observation";
    for (size_t i = 0; i < sizeof observations / sizeof *observations; i++)
        if (str_is(name->text, observations[i].name) && value->kind == JSON_OBJECT)
            return (*why = observations[i].observe(o, value)) == NULL;
    return false;
}

/* --- life ------------------------------------------------------------------------------------- */

struct oracle *oracle_create(void) {
    struct oracle *o = calloc(1, sizeof *o);
    must(o);
    arena_init(&o->arena, (size_t)1 << 36);
    o->parser = json_parser_create();
    o->source = STR("WH-HAM");
    must(o->parser);
    return o;
}

void oracle_destroy(struct oracle *o) {
    struct list *lists[] = {&o->ops,    &o->events,  &o->orders,        &o->positions, &o->reads,
                            &o->booked, &o->numbers, &o->subscriptions, &o->effects,   &o->held,
                            &o->ledgers, &o->sets,    &o->decided,
                            &o->accounts, &o->calls, &o->stops,        &o->fetches,
                            &o->messages, &o->logged, &o->hooks};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        free(lists[i]->items);
    index_free(&o->op_numbers);
    index_free(&o->order_ids);
    index_free(&o->subscriptions_by_name);
    index_free(&o->accounts_by_name);
    index_free(&o->rules);
    json_parser_destroy(o->parser);
    arena_free(&o->arena);
    free(o);
}
