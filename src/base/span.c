/* span: see span.h. One ring per thread: the thread writes at `head`, the one that takes out reads
 * up to it and moves `tail`; each index has one writer. Rings live until spans_stop. */
#include "base/span.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/pan.h"
#include "base/rng.h"

struct ring {
    struct span *slots;
    uint32_t mask;
    _Atomic uint32_t head, tail;
    _Atomic uint64_t dropped;
    struct rng_seeded rng;
};

_Atomic bool spans_are_on;
static struct spans_options options_now;
static pthread_mutex_t rings_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ring *rings[SPAN_THREADS_MAX];
static _Atomic uint32_t ring_count, generation;
static _Atomic uint64_t dropped_without_ring;
static uint32_t turn; /* where spans_take goes on, so that no ring waits for ever */
static _Thread_local struct ring *mine;
static _Thread_local uint32_t mine_of; /* generation */

void spans_start(const struct spans_options *options) {
    must(!spans_on());
    options_now = *options;
    atomic_fetch_add(&generation, 1);
    atomic_store(&dropped_without_ring, 0);
    atomic_store(&spans_are_on, true);
}

void spans_stop(void) {
    atomic_store(&spans_are_on, false);
    pthread_mutex_lock(&rings_lock);
    for (uint32_t i = 0; i < ring_count; i++) {
        mem_free(rings[i]->slots);
        mem_free(rings[i]);
    }
    atomic_store(&ring_count, 0);
    atomic_fetch_add(&generation, 1);
    pthread_mutex_unlock(&rings_lock);
}

/* This thread's first span. */
static struct ring *ring_make(void) {
    uint32_t slots = 2;
    struct ring *ring = mem_zalloc(sizeof *ring);
    while (slots < options_now.ring_spans)
        slots *= 2;
    if (ring)
        ring->slots = mem_zalloc(slots * sizeof *ring->slots);
    pthread_mutex_lock(&rings_lock);
    bool room = ring && ring->slots && ring_count < SPAN_THREADS_MAX;
    if (room) {
        ring->mask = slots - 1;
        rng_seeded_init(&ring->rng, rng_u64(&rng_system));
        rings[ring_count] = ring;
        atomic_fetch_add(&ring_count, 1);
    }
    pthread_mutex_unlock(&rings_lock);
    if (!room && ring) {
        mem_free(ring->slots);
        mem_free(ring);
    }
    return room ? ring : NULL;
}

static struct ring *ring_mine(void) {
    uint32_t now = atomic_load_explicit(&generation, memory_order_relaxed);
    if (mine_of != now || !mine) {
        mine = ring_make();
        mine_of = now;
    }
    return mine;
}

/* --- contexts ------------------------------------------------------------------------------ */

static uint64_t hex_value(const char *text, int digits) {
    uint64_t value = 0;
    for (int i = 0; i < digits; i++) {
        char c = text[i];
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
}

bool spans_sample(const char trace_id[TRACE_ID_LEN]) {
    if (!spans_on())
        return false;
    /* The last 56 bits are random by W3C Trace Context level 2. */
    uint64_t chance = hex_value(trace_id + TRACE_ID_LEN - 14, 14);
    return chance < (UINT64_C(1) << 56) / 1000000 * options_now.sample_per_million;
}

void span_id_make(char out[SPAN_ID_LEN]) {
    static const char hex[] = "0123456789abcdef";
    struct ring *ring = ring_mine();
    uint64_t word = rng_u64(ring ? &ring->rng.rng : &rng_system) | 1; /* never all zeros */
    for (int i = 0; i < SPAN_ID_LEN; i++, word >>= 4)
        out[i] = hex[word & 15];
}

struct str span_child(char out[TRACEPARENT_LEN], struct str traceparent,
                      const char id[SPAN_ID_LEN]) {
    must(traceparent.len >= TRACEPARENT_LEN);
    memcpy(out, traceparent.ptr, TRACEPARENT_LEN);
    memcpy(out + 36, id, SPAN_ID_LEN);
    return str_of(out, TRACEPARENT_LEN);
}

/* --- recording ----------------------------------------------------------------------------- */

struct span *span_begin(enum span_kind kind, struct str traceparent, const char *id,
                        const char *parent, int64_t start_us, int64_t end_us) {
    if (!span_sampled(traceparent))
        return NULL;
    struct ring *ring = ring_mine();
    if (!ring) {
        atomic_fetch_add_explicit(&dropped_without_ring, 1, memory_order_relaxed);
        return NULL;
    }
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) > ring->mask) {
        atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
        return NULL;
    }
    struct span *span = &ring->slots[head & ring->mask];
    memcpy(span->trace_id, traceparent.ptr + 3, TRACE_ID_LEN);
    if (id)
        memcpy(span->id, id, SPAN_ID_LEN);
    else
        span_id_make(span->id);
    span->has_parent = parent != NULL;
    if (parent)
        memcpy(span->parent, parent, SPAN_ID_LEN);
    span->kind = kind;
    span->start_us = start_us;
    span->end_us = end_us < start_us ? start_us : end_us; /* the wall clock may be set */
    span->name_len = span->attributes_len = span->attributes_dropped = 0;
    return span;
}

void span_name(struct span *span, const char *fmt, ...) {
    if (!span)
        return;
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(span->name, sizeof span->name, fmt, args);
    va_end(args);
    span->name_len = (uint16_t)(len < 0 ? 0 : len < SPAN_NAME_MAX ? len : SPAN_NAME_MAX - 1);
}

/* Attributes are written in place: a buffer that can not grow and is never freed. */
static struct buf attribute_begin(struct span *span, const char *key) {
    struct buf text = {.data = span->attributes,
                       .len = span->attributes_len,
                       .cap = SPAN_ATTRIBUTES_MAX,
                       .max = SPAN_ATTRIBUTES_MAX};
    if (text.len > 0)
        buf_char(&text, ',');
    buf_lit(&text, "{\"key\":");
    buf_json_str(&text, str_c(key));
    buf_lit(&text, ",\"value\":{");
    return text;
}

static void attribute_end(struct span *span, struct buf *text) {
    buf_lit(text, "}}");
    if (buf_ok(text))
        span->attributes_len = (uint16_t)text->len;
    else
        span->attributes_dropped++;
}

void span_text(struct span *span, const char *key, struct str value) {
    if (!span || !value.ptr)
        return;
    struct buf text = attribute_begin(span, key);
    buf_lit(&text, "\"stringValue\":");
    size_t from = text.len;
    buf_json_str(&text, value);
    if (buf_ok(&text)) /* a path holds what somebody sent */
        pan_mask(text.data + from, text.len - from);
    attribute_end(span, &text);
}

/* 64-bit integers are texts in protobuf's JSON. */
void span_number(struct span *span, const char *key, int64_t value) {
    if (!span)
        return;
    struct buf text = attribute_begin(span, key);
    buf_lit(&text, "\"intValue\":\"");
    buf_i64(&text, value);
    buf_char(&text, '"');
    attribute_end(span, &text);
}

void span_flag(struct span *span, const char *key, bool value) {
    if (!span)
        return;
    struct buf text = attribute_begin(span, key);
    buf_str_add(&text, value ? STR("\"boolValue\":true") : STR("\"boolValue\":false"));
    attribute_end(span, &text);
}

void span_end(struct span *span, bool failed) {
    if (!span)
        return;
    span->failed = failed;
    atomic_fetch_add_explicit(&mine->head, 1, memory_order_release);
}

/* --- taking out ---------------------------------------------------------------------------- */

uint32_t spans_take(uint32_t max, void (*visit)(void *ctx, const struct span *span), void *ctx) {
    uint32_t count = atomic_load_explicit(&ring_count, memory_order_acquire), n = 0;
    for (uint32_t i = 0; i < count && n < max; i++) {
        struct ring *ring = rings[(turn + i) % count];
        uint32_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
        uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        for (; tail != head && n < max; tail++, n++)
            visit(ctx, &ring->slots[tail & ring->mask]);
        atomic_store_explicit(&ring->tail, tail, memory_order_release);
    }
    turn++;
    return n;
}

uint64_t spans_dropped(void) {
    uint64_t n = atomic_load_explicit(&dropped_without_ring, memory_order_relaxed);
    pthread_mutex_lock(&rings_lock);
    for (uint32_t i = 0; i < ring_count; i++)
        n += atomic_load_explicit(&rings[i]->dropped, memory_order_relaxed);
    pthread_mutex_unlock(&rings_lock);
    return n;
}
