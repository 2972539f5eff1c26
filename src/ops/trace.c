/* trace: collects the events of a story and joins them. Reads only; everything bounded. */
#include "ops/trace.h"

#include <stdlib.h>

#define COMMAND_EVENTS_MAX 64 /* events of one command that are taken */
#define IDS_MAX 256 /* ids that are followed, over all rounds */

struct finder {
    struct reader *reader;
    const struct registry *registry;
    struct arena *arena;
    struct fault *fault;
    struct trace_event *events; /* TRACE_EVENTS_MAX, in the order found */
    uint32_t *parent;           /* of the event's story, union-find */
    uint32_t count;
    struct finder_id {
        struct str id;
        uint32_t event; /* one that it was found in */
    } ids[IDS_MAX];     /* followed already */
    uint32_t id_count;
    bool truncated;
};

/* --- reading ---------------------------------------------------------------------------- */

/* Until the read model has what was durable when the question came. */
static enum err caught_up(struct reader *reader, uint64_t *newest, struct fault *fault) {
    enum err err = journal_last(reader->journal, newest, fault);
    return err == OK ? reader->ops->wait(reader, *newest, TRACE_WAIT_MS, fault) : err;
}

struct taking {
    struct finder *finder;
    uint64_t first; /* of the command whose events are taken */
    bool match;
    enum err err;
};

static uint32_t event_index(const struct finder *f, uint64_t seq) {
    for (uint32_t i = 0; i < f->count; i++)
        if (f->events[i].record.seq == seq)
            return i;
    return UINT32_MAX;
}

static uint32_t story_root(const struct finder *f, uint32_t i) {
    while (f->parent[i] != i)
        i = f->parent[i];
    return i;
}

static void story_join(struct finder *f, uint32_t a, uint32_t b) {
    a = story_root(f, a);
    b = story_root(f, b);
    if (a != b)
        f->parent[a > b ? a : b] = a > b ? b : a;
}

static enum err record_copy(struct finder *f, const struct record *record,
                            struct trace_event *event) {
    const struct json *json;
    void *meta = NULL;
    *event = (struct trace_event){.record = {
        .seq = record->seq,
        .time_us = record->time_us,
        .type = arena_str(f->arena, record->type),
        .subject = arena_str(f->arena, record->subject),
        .meta = arena_str(f->arena, record->meta),
        .data = arena_str(f->arena, record->data),
    }};
    if (!event->record.meta.ptr || !event->record.data.ptr)
        return fault_set(f->fault, ERR_NOMEM, "the story is too large");
    enum err err = json_parse(f->reader->parser, f->arena, event->record.meta, false, &json,
                              f->fault);
    if (err == OK)
        err = shape_load(&event_meta_shape, json, f->arena, &meta, f->fault);
    event->meta = meta;
    event->type = registry_event(f->registry, event->record.type);
    return err;
}

/* Takes the events of one command, which follow each other; stops at the next command's. */
static bool record_take(void *ctx, const struct record *record) {
    struct taking *taking = ctx;
    struct finder *f = taking->finder;
    struct trace_event event;
    taking->err = record_copy(f, record, &event);
    if (taking->err != OK)
        return false;
    uint64_t first = event.meta->first > 0 ? (uint64_t)event.meta->first : record->seq;
    if (first != taking->first && record->seq != taking->first)
        return false;
    if (event_index(f, record->seq) != UINT32_MAX)
        return true;
    if (f->count == TRACE_EVENTS_MAX) {
        f->truncated = true;
        return false;
    }
    event.match = taking->match;
    f->events[f->count] = event;
    f->parent[f->count] = f->count;
    f->count++;
    if (record->seq != taking->first)
        story_join(f, event_index(f, taking->first), f->count - 1);
    return true;
}

/* The events of the command whose first event is at seq (the read model refers to commands by
 * it), read where they are not there yet. *index of the first; UINT32_MAX where there is no
 * room, or it was trimmed away: the story begins later. */
static enum err command_add(struct finder *f, uint64_t seq, bool match, uint32_t *index) {
    uint64_t next;
    struct taking taking = {f, seq, match, OK};
    *index = event_index(f, seq);
    if (*index != UINT32_MAX)
        return OK;
    enum err err = journal_read(f->reader->journal, seq, COMMAND_EVENTS_MAX, record_take, &taking,
                                &next, f->fault);
    *index = event_index(f, seq);
    return err == OK ? taking.err : err;
}

/* --- joining ---------------------------------------------------------------------------- */

/* Ids of single things: a prefix and what id_text writes. Others ("SKU@LOCATION") have no end
 * of events and are not followed. */
static bool id_is_single(struct str id) {
    const char *bar = id.ptr ? memchr(id.ptr, '_', id.len) : NULL;
    return bar && id.len - (size_t)(bar + 1 - id.ptr) == ID_TEXT_LEN;
}

static struct finder_id *id_known(struct finder *f, struct str id) {
    for (uint32_t i = 0; i < f->id_count; i++)
        if (str_eq(f->ids[i].id, id))
            return &f->ids[i];
    return NULL;
}

/* All events under an id that event `from` holds. A bulk call's correlation id is not followed. */
static enum err id_follow(struct finder *f, struct str id, uint32_t from, uint32_t max) {
    uint64_t seqs[TRACE_EVENTS_MAX + 1];
    uint32_t count = 0;
    if (id.len == 0)
        return OK;
    struct finder_id *known = id_known(f, id);
    if (known) {
        if (known->event != UINT32_MAX)
            story_join(f, known->event, from);
        return OK;
    }
    if (f->id_count == IDS_MAX) {
        f->truncated = true;
        return OK;
    }
    known = &f->ids[f->id_count++];
    *known = (struct finder_id){id, from};
    enum err err = f->reader->ops->refs(f->reader, id, seqs, max + 1, &count, f->fault);
    if (err == OK && count > max) {
        f->truncated = true;
        if (max < TRACE_EVENTS_MAX) {
            known->event = UINT32_MAX; /* a bulk call joins nothing */
            return OK;
        }
        count = max;
    }
    for (uint32_t i = 0; err == OK && i < count; i++) {
        uint32_t index;
        err = command_add(f, seqs[i], false, &index);
        if (err == OK && index != UINT32_MAX)
            story_join(f, index, from);
    }
    return err;
}

static enum err seq_follow(struct finder *f, uint64_t seq, uint32_t from) {
    uint32_t index = UINT32_MAX;
    enum err err = seq > 0 ? command_add(f, seq, false, &index) : OK;
    if (err == OK && index != UINT32_MAX)
        story_join(f, index, from);
    return err;
}

static enum err event_follow(struct finder *f, uint32_t i) {
    const struct trace_event *event = &f->events[i];
    const struct event_meta *meta = event->meta;
    enum err err = OK;
    if (id_is_single(event->record.subject))
        err = id_follow(f, event->record.subject, i, TRACE_EVENTS_MAX);
    if (err == OK && meta->cause > 0)
        err = seq_follow(f, (uint64_t)meta->cause, i);
    if (err == OK && meta->first > 0 && (uint64_t)meta->first != event->record.seq)
        err = seq_follow(f, (uint64_t)meta->first, i);
    if (err == OK)
        err = id_follow(f, meta->correlation, i, TRACE_CASE_MAX);
    return err;
}

/* --- ordering --------------------------------------------------------------------------- */

static int event_cmp(const void *a, const void *b) {
    const struct trace_event *x = a, *y = b;
    if (x->story != y->story)
        return x->story < y->story ? -1 : 1;
    return x->record.seq < y->record.seq ? -1 : x->record.seq > y->record.seq;
}

static int seq_cmp(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Numbers the stories by their first event and sorts the events into them. */
static enum err stories_make(struct finder *f, struct trace *out) {
    uint64_t *firsts = arena_array(f->arena, f->count, sizeof *firsts); /* by root */
    uint64_t *sorted = arena_array(f->arena, f->count, sizeof *sorted);
    uint32_t stories = 0;
    if (!firsts || !sorted)
        return fault_set(f->fault, ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < f->count; i++) {
        uint64_t *first = &firsts[story_root(f, i)];
        if (*first == 0 || f->events[i].record.seq < *first)
            *first = f->events[i].record.seq;
    }
    for (uint32_t i = 0; i < f->count; i++)
        if (f->parent[i] == i)
            sorted[stories++] = firsts[i];
    qsort(sorted, stories, sizeof *sorted, seq_cmp);
    out->stories = arena_array(f->arena, stories, sizeof *out->stories);
    if (!out->stories)
        return fault_set(f->fault, ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < f->count; i++) {
        uint64_t *at = bsearch(&firsts[story_root(f, i)], sorted, stories, sizeof *sorted, seq_cmp);
        f->events[i].story = (uint32_t)(at - sorted);
        out->stories[f->events[i].story].count++;
    }
    qsort(f->events, f->count, sizeof *f->events, event_cmp);
    for (uint32_t s = 1; s < stories; s++)
        out->stories[s].first = out->stories[s - 1].first + out->stories[s - 1].count;
    out->events = f->events;
    out->count = f->count;
    out->story_count = stories;
    out->truncated = f->truncated;
    return OK;
}

enum err trace_find(struct reader *reader, const struct registry *registry, struct str id,
                    struct arena *arena, struct trace *out, struct fault *fault) {
    struct finder *f = arena_new(arena, struct finder);
    uint64_t seqs[TRACE_EVENTS_MAX + 1];
    uint32_t count = 0, index;
    *out = (struct trace){.id = id};
    if (!f)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    *f = (struct finder){.reader = reader, .registry = registry, .arena = arena, .fault = fault};
    f->events = arena_array(arena, TRACE_EVENTS_MAX, sizeof *f->events);
    f->parent = arena_array(arena, TRACE_EVENTS_MAX, sizeof *f->parent);
    if (!f->events || !f->parent)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    enum err err = caught_up(reader, &out->seq, fault);
    if (err == OK)
        err = reader->ops->refs(reader, id, seqs, TRACE_EVENTS_MAX + 1, &count, fault);
    f->truncated = count > TRACE_EVENTS_MAX;
    for (uint32_t i = 0; err == OK && i < count && i < TRACE_EVENTS_MAX; i++)
        err = command_add(f, seqs[i], true, &index);
    if (err == OK && f->count == 0)
        return fault_set(fault, ERR_NOT_FOUND, "nothing is recorded under '%.*s'", STR_FMT(id));
    for (uint32_t round = 0, done = 0; err == OK && round < TRACE_ROUNDS_MAX; round++)
        for (uint32_t end = f->count; err == OK && done < end; done++)
            err = event_follow(f, done);
    return err == OK ? stories_make(f, out) : err;
}
