/* trace: the whole story behind any id a person holds: a hub id, a channel's order number, an
 * idempotency key, a correlation id, another system's number.
 *
 * From the id to events recorded under it, from those to all events about the same things and
 * of the same business case, joined into stories: one per match. Never misses an acknowledged
 * write: it waits, bounded, until the read model has reached what was durable at the time of
 * the question. */
#ifndef PENSTOCK_OPS_TRACE_H
#define PENSTOCK_OPS_TRACE_H

#include "connect/roster.h"
#include "core/capability.h"
#include "deliver/deliver.h"

#define TRACE_EVENTS_MAX 500 /* in all stories together */
#define TRACE_CASE_MAX 64    /* a correlation id with more events (a bulk call) is not followed */
#define TRACE_ROUNDS_MAX 3   /* how many times ids of found events lead to further ones */
#define TRACE_WAIT_MS 5000

struct trace_event {
    struct record record;           /* copied into the arena */
    const struct event_meta *meta;
    const struct event_type *type;  /* NULL: written by a newer program */
    bool match;           /* of a command recorded under the id itself */
    uint32_t story;       /* index into stories */
};
struct trace_story {
    uint32_t first; /* its first event, by seq */
    uint32_t count;
};
struct trace {
    struct str id;
    uint64_t seq; /* the journal's newest at the time of the question */
    struct trace_event *events; /* by story, then by seq */
    uint32_t count;
    struct trace_story *stories; /* by their first event */
    uint32_t story_count;
    bool truncated; /* there is more than TRACE_EVENTS_MAX, or a bulk call was not followed */
};

/* ERR_NOT_FOUND where nothing is recorded under the id; ERR_UNAVAILABLE where the read model
 * did not catch up in time; ERR_NOMEM; ERR_IO. All in the arena. */
enum err trace_find(struct reader *reader, const struct registry *registry, struct str id,
                    struct arena *arena, struct trace *out, struct fault *fault) WARN_UNUSED;
/* Where to look for what is still to be delivered. */
struct trace_outlook {
    struct deliver *deliver;
    struct roster *roster;
};
/* The answer of GET /ops/trace/{id}. outlook may be NULL: then nothing is said of what waits. */
enum err trace_write(const struct trace *trace, const struct trace_outlook *outlook,
                     struct json_parser *parser, struct arena *arena, struct buf *out,
                     struct fault *fault) WARN_UNUSED;
/* {…},… : what of the story is still to be delivered. */
enum err trace_waiting_write(const struct trace *trace, const struct trace_story *story,
                             const struct trace_outlook *outlook, struct json_parser *parser,
                             struct arena *arena, struct buf *out, struct fault *fault) WARN_UNUSED;

/* What happened, in words: "order 10045 of web-de captured, 44.88 EUR". From a table of
 * sentences, or, for types without one, from the shape; never a personal member. */
void trace_words(const struct trace_event *event, struct json_parser *parser, struct arena *arena,
                 struct buf *out);

#endif
