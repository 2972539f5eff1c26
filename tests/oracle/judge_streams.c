/* judge_streams: what goes through a broker. In: each message that it stored is in the hub once, in the order
 * of its key, before it is acknowledged; or a person was told of it. Out: its log has each message once, per
 * key in order. */
#include <stdlib.h>

#include "oracle_priv.h"

/* Of the stored messages, by what the hub calls them: their id, or their place where they have none. */
struct streaming {
    struct index names;
    struct list first;    /* of uint32_t: the first stored so, by name */
    struct list captured; /* of uint64_t: seq at which the hub had it; 0: never; by name */
};

static struct str name_of(struct oracle *o, const struct message_seen *m) {
    return joined(o, m->stream, m->id.len ? m->id : m->place);
}

/* "IN:4:89abcdef" is the message at IN:4. */
static struct str without_print(struct str id) {
    return id.len > 9 && id.ptr[id.len - 9] == ':' ? str_of(id.ptr, id.len - 9) : id;
}

static void streaming_fill(struct oracle *o, struct streaming *s) {
    *s = (struct streaming){0};
    for (uint32_t i = 0; i < o->messages.count; i++) {
        const struct message_seen *m = &LIST_AT(&o->messages, struct message_seen, i);
        uint32_t before = s->names.count;
        if (index_of(&s->names, name_of(o, m), true) != before)
            continue;
        *LIST_ADD(&s->first, uint32_t) = i;
        *LIST_ADD(&s->captured, uint64_t) = 0;
    }
}

/* The event says that the hub has a message of a stream: its name; NONE: it says something else. */
static uint32_t captured_of(struct oracle *o, struct streaming *s, const struct event_seen *event) {
    struct str id = member_str(event->data, "dedup_id");
    if (str_is(event->kind, "exception.raised"))
        for (uint32_t i = 0; i < s->first.count; i++) {
            const struct message_seen *m =
                &LIST_AT(&o->messages, struct message_seen, LIST_AT(&s->first, uint32_t, i));
            if (str_eq(member_str(event->data, "subject"), m->place))
                return i;
        }
    if (!str_is(event->kind, "payload.received"))
        return NONE;
    struct str stream = arena_printf(&o->arena, "%.*s/%.*s", STR_FMT(member_str(event->data, "connector")),
                                     STR_FMT(member_str(event->data, "topic")));
    uint32_t at = index_of(&s->names, joined(o, stream, id), false);
    if (at == NONE)
        at = index_of(&s->names, joined(o, stream, without_print(id)), false);
    for (uint32_t i = 0; at == NONE && i < o->messages.count; i++)
        if (str_eq(LIST_AT(&o->messages, struct message_seen, i).stream, stream)) {
            oracle_violate(o, "stream-invented", "%.*s of %.*s at seq %llu", STR_FMT(id), STR_FMT(stream),
                           (unsigned long long)event->seq);
            break;
        }
    return at;
}

/* stream-twice, stream-order */
static void judge_captures(struct oracle *o, struct streaming *s) {
    struct index keys = {0};
    struct list last = {0}; /* of uint32_t: the place of the last one in the books, by key */
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        uint32_t name = captured_of(o, s, event);
        if (name == NONE)
            continue;
        uint32_t at = LIST_AT(&s->first, uint32_t, name);
        const struct message_seen *m = &LIST_AT(&o->messages, struct message_seen, at);
        uint64_t *seq = &LIST_AT(&s->captured, uint64_t, name);
        if (*seq != 0) {
            oracle_violate(o, "stream-twice", "%.*s of %.*s at seq %llu and %llu", STR_FMT(m->place),
                           STR_FMT(m->stream), (unsigned long long)*seq, (unsigned long long)event->seq);
            continue;
        }
        *seq = event->seq;
        if (!str_is(event->kind, "payload.received"))
            continue; /* a case has no place in it */
        uint32_t before = keys.count, key = index_of(&keys, joined(o, m->stream, m->key), true);
        if (key == before)
            *LIST_ADD(&last, uint32_t) = at;
        if (at < LIST_AT(&last, uint32_t, key))
            oracle_violate(o, "stream-order", "%.*s of %.*s, key %.*s, came in behind %.*s", STR_FMT(m->place),
                           STR_FMT(m->stream), STR_FMT(m->key),
                           STR_FMT(LIST_AT(&o->messages, struct message_seen,
                                           LIST_AT(&last, uint32_t, key)).place));
        LIST_AT(&last, uint32_t, key) = at;
    }
    index_free(&keys);
    free(last.items);
}

/* stream-lost, stream-unread */
static void judge_consumed(struct oracle *o, struct streaming *s) {
    for (uint32_t i = 0; i < o->messages.count; i++) {
        const struct message_seen *m = &LIST_AT(&o->messages, struct message_seen, i);
        uint64_t seq = LIST_AT(&s->captured, uint64_t, index_of(&s->names, name_of(o, m), false));
        if (m->consumed && (seq == 0 || seq > m->durable))
            oracle_violate(o, "stream-lost", "%.*s of %.*s was acknowledged when the journal was at %llu, it has it "
                           "at %llu (0: never)", STR_FMT(m->place), STR_FMT(m->stream),
                           (unsigned long long)m->durable, (unsigned long long)seq);
        if (!m->consumed && o->quiet)
            oracle_violate(o, "stream-unread", "%.*s of %.*s was never acknowledged", STR_FMT(m->place),
                           STR_FMT(m->stream));
    }
}

/* log-twice, log-order */
static void judge_log(struct oracle *o) {
    struct index ids = {0}, lanes = {0};
    struct list last = {0}; /* of uint64_t: seq, by lane */
    for (uint32_t i = 0; i < o->logged.count; i++) {
        const struct logged_seen *logged = &LIST_AT(&o->logged, struct logged_seen, i);
        struct str name = o->subscriptions_by_name.keys[logged->effect.subscription];
        uint32_t before = ids.count;
        if (index_of(&ids, joined(o, name, logged->id), true) != before)
            oracle_violate(o, "log-twice", "%.*s: %.*s is in the log twice", STR_FMT(name), STR_FMT(logged->id));
        if (logged->effect.replay)
            continue; /* what was given up before, in the place that it has now */
        before = lanes.count;
        uint32_t at = index_of(&lanes, joined(o, name, logged->effect.lane), true);
        if (at == before)
            *LIST_ADD(&last, uint64_t) = 0;
        if (logged->effect.seq < LIST_AT(&last, uint64_t, at))
            oracle_violate(o, "log-order", "%.*s, on %.*s: seq %llu behind %llu", STR_FMT(name),
                           STR_FMT(logged->effect.lane), (unsigned long long)logged->effect.seq,
                           (unsigned long long)LIST_AT(&last, uint64_t, at));
        LIST_AT(&last, uint64_t, at) = logged->effect.seq;
    }
    index_free(&ids);
    index_free(&lanes);
    free(last.items);
}

void judge_streams(struct oracle *o) {
    struct streaming s;
    judge_log(o);
    if (o->messages.count == 0)
        return;
    streaming_fill(o, &s);
    judge_captures(o, &s);
    judge_consumed(o, &s);
    index_free(&s.names);
    free(s.first.items);
    free(s.captured.items);
}
