/* ahead: see ahead.h. Owns a ring of copies, a block of memory each, that grows as long as there is room
 * for bytes. */
#include "deliver/ahead.h"

#include <string.h>

#include "base/mem.h"

struct ahead_event {
    uint64_t seq;
    struct record *copy; /* its texts follow it; NULL: used */
};

#define RING_FIRST 64

void ahead_init(struct ahead *ahead, size_t bytes_max) { *ahead = (struct ahead){.bytes_max = bytes_max}; }

static struct ahead_event *event_at(const struct ahead *ahead, uint32_t i) {
    return &ahead->ring[(ahead->first + i) & ahead->mask];
}

static size_t copy_bytes(const struct record *r) {
    return sizeof *r + r->type.len + r->subject.len + r->meta.len + r->data.len;
}

static void drop(struct ahead *ahead, struct ahead_event *event) {
    if (event->copy == NULL)
        return;
    ahead->bytes -= copy_bytes(event->copy);
    mem_free(event->copy);
    event->copy = NULL;
}

static void first_drop(struct ahead *ahead) {
    drop(ahead, event_at(ahead, 0));
    ahead->first++;
    ahead->count--;
}

void ahead_clear(struct ahead *ahead) {
    while (ahead->count > 0)
        first_drop(ahead);
    mem_free(ahead->ring);
    ahead_init(ahead, ahead->bytes_max);
}

static bool grow(struct ahead *ahead) {
    uint32_t cap = ahead->ring ? ahead->mask + 1 : 0, more = cap ? 2 * cap : RING_FIRST;
    struct ahead_event *ring = mem_zalloc(more * sizeof *ring);
    if (ring == NULL)
        return false;
    for (uint32_t i = 0; i < ahead->count; i++)
        ring[i] = *event_at(ahead, i);
    mem_free(ahead->ring);
    ahead->ring = ring;
    ahead->mask = more - 1;
    ahead->first = 0;
    return true;
}

static struct str text_put(char **at, struct str text) {
    struct str copy = {*at, text.len};
    if (text.len)
        memcpy(*at, text.ptr, text.len);
    *at += text.len;
    return copy;
}

void ahead_keep(struct ahead *ahead, const struct record *record) {
    size_t bytes = copy_bytes(record);
    if (bytes > ahead->bytes_max - ahead->bytes)
        return;
    if ((ahead->ring == NULL || ahead->count > ahead->mask) && !grow(ahead))
        return;
    struct record *copy = mem_alloc(bytes);
    if (copy == NULL)
        return;
    char *at = (char *)(copy + 1);
    *copy = (struct record){.seq = record->seq, .time_us = record->time_us};
    copy->type = text_put(&at, record->type);
    copy->subject = text_put(&at, record->subject);
    copy->meta = text_put(&at, record->meta);
    copy->data = text_put(&at, record->data);
    ahead->bytes += bytes;
    *event_at(ahead, ahead->count++) = (struct ahead_event){record->seq, copy};
}

void ahead_pass(struct ahead *ahead, uint64_t seq) {
    while (ahead->count > 0 && (event_at(ahead, 0)->copy == NULL || event_at(ahead, 0)->seq <= seq))
        first_drop(ahead);
    if (ahead->count == 0 && ahead->ring != NULL)
        ahead_clear(ahead);
}

static struct ahead_event *find(const struct ahead *ahead, uint64_t seq) {
    uint32_t low = 0, high = ahead->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct ahead_event *event = event_at(ahead, middle);
        if (event->seq == seq)
            return event->copy ? event : NULL;
        if (event->seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

enum err ahead_read(struct ahead *ahead, struct tail *tail, uint64_t seq, journal_visit *visit, void *ctx,
                    struct fault *fault) {
    uint64_t next;
    struct ahead_event *event = find(ahead, seq);
    if (event == NULL)
        return tail_read(tail, seq, 1, visit, ctx, &next, fault);
    visit(ctx, event->copy);
    drop(ahead, event);
    while (ahead->count > 0 && event_at(ahead, 0)->copy == NULL)
        first_drop(ahead);
    return OK;
}
