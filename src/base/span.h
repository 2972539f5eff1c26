/* span: what happened within a trace, on its way to a collector (OpenTelemetry): who records one
 * fills a slot of its thread's ring and goes on; ops/otlp.h takes them out and sends them.
 *
 * What always holds: nothing here waits, takes a lock (but for a thread's first span) or allocates
 * per span; a full ring drops the new span and counts it; while tracing is off, or a trace is not
 * sampled, it costs one comparison. Trace and span ids are those of W3C Trace Context; attributes
 * are named by OpenTelemetry's semantic conventions where these have a name, else "penstock.…",
 * and are never personal. */
#ifndef PENSTOCK_BASE_SPAN_H
#define PENSTOCK_BASE_SPAN_H

#include <stdatomic.h>

#include "base/str.h"

#define TRACEPARENT_LEN 55 /* "00-<32 hex>-<16 hex>-<2 hex>" */
#define TRACE_ID_LEN 32
#define SPAN_ID_LEN 16
#define SPAN_NAME_MAX 96
#define SPAN_ATTRIBUTES_MAX 1536 /* bytes of them, as JSON */
#define SPAN_THREADS_MAX 256

/* As OTLP numbers them. */
enum span_kind {
    SPAN_INTERNAL = 1, SPAN_SERVER = 2, SPAN_CLIENT = 3, SPAN_PRODUCER = 4, SPAN_CONSUMER = 5,
};
struct span {
    char trace_id[TRACE_ID_LEN], id[SPAN_ID_LEN], parent[SPAN_ID_LEN]; /* lower case hex */
    bool has_parent, failed;
    enum span_kind kind;
    int64_t start_us, end_us; /* wall clock */
    uint16_t name_len, attributes_len, attributes_dropped;
    char name[SPAN_NAME_MAX];
    char attributes[SPAN_ATTRIBUTES_MAX]; /* OTLP's JSON: {"key":…,"value":{…}},… */
};

/* --- switching on and off ------------------------------------------------------------------ */
struct spans_options {
    uint32_t ring_spans;         /* of one thread; rounded up to a power of two */
    uint32_t sample_per_million; /* of traces that begin here */
};
/* Once at a time, from one thread. */
void spans_start(const struct spans_options *options);
/* The threads that record have ended, or record no more. */
void spans_stop(void);
extern _Atomic bool spans_are_on;
static inline bool spans_on(void) {
    return atomic_load_explicit(&spans_are_on, memory_order_relaxed);
}

/* --- contexts ------------------------------------------------------------------------------ */
/* Whether spans of this trace are recorded here: tracing is on and the sampled flag is set. */
static inline bool span_sampled(struct str traceparent) {
    return spans_on() && traceparent.len >= TRACEPARENT_LEN &&
           (traceparent.ptr[TRACEPARENT_LEN - 1] & 1) ==
               (traceparent.ptr[TRACEPARENT_LEN - 1] <= '9');
}
/* Whether a trace that begins here is to be: by its id alone, so that all who ask agree. */
bool spans_sample(const char trace_id[TRACE_ID_LEN]);
/* A fresh span id. */
void span_id_make(char out[SPAN_ID_LEN]);
/* The same trace and flags with another span: what goes on to those below it. */
struct str span_child(char out[TRACEPARENT_LEN], struct str traceparent,
                      const char id[SPAN_ID_LEN]);
static inline const char *traceparent_span(struct str traceparent) { return traceparent.ptr + 36; }

/* --- recording ----------------------------------------------------------------------------- */
/* A span that has ended, of the traceparent's trace. `id` NULL: a fresh one; `parent` NULL: it has
 * none. NULL: there is no room (counted); the calls below take NULL. The next call of the same
 * thread must be span_end. */
struct span *span_begin(enum span_kind kind, struct str traceparent, const char *id,
                        const char *parent, int64_t start_us, int64_t end_us);
void span_name(struct span *span, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* An absent value adds nothing. What does not fit is left out and counted. */
void span_text(struct span *span, const char *key, struct str value);
void span_number(struct span *span, const char *key, int64_t value);
void span_flag(struct span *span, const char *key, bool value);
/* Hands it over. */
void span_end(struct span *span, bool failed);

/* --- taking out, by one thread ------------------------------------------------------------- */
/* Visits and removes at most `max` spans; how many. */
uint32_t spans_take(uint32_t max, void (*visit)(void *ctx, const struct span *span), void *ctx);
uint64_t spans_dropped(void); /* for want of room, since the start; any thread */

#endif
