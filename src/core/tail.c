/* tail: see tail.h. Owns copies of the newest records, a block per publish, oldest dropped
 * first once they exceed the bound.
 *
 * Always true: the blocks hold the seqs from the first block's first to `last` without a hole
 * (or there is no block). A block does not change once it is published; it lives while it is
 * in the ring or someone reads it. The mutex guards the ring and the counts, never a visit. */
#include "core/tail.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"

struct tail_block {
    uint64_t first;   /* seq of records[0] */
    uint32_t count;
    uint32_t refs;    /* the ring's and the readers' */
    size_t bytes;     /* of memory, all in all */
    struct record records[];
};

struct tail {
    struct journal *journal;
    size_t bytes_max;
    _Atomic uint64_t last;
    pthread_mutex_t lock;
    struct tail_block **ring; /* cap slots, a power of two; count in use from head */
    uint32_t cap, head, count;
    size_t bytes;
    pthread_mutex_t followers_lock; /* held while they are woken: a wake must only signal */
    struct tail_follower *followers;
};

struct tail *tail_create(struct journal *journal, size_t bytes_max) {
    uint64_t last;
    struct fault fault = {0};
    if (journal_last(journal, &last, &fault) != OK)
        return NULL;
    struct tail *tail = mem_zalloc(sizeof *tail);
    if (!tail)
        return NULL;
    tail->cap = 64;
    tail->ring = mem_alloc(tail->cap * sizeof(struct tail_block *));
    if (!tail->ring) {
        mem_free(tail);
        return NULL;
    }
    tail->journal = journal;
    tail->bytes_max = bytes_max;
    atomic_init(&tail->last, last);
    pthread_mutex_init(&tail->lock, NULL);
    pthread_mutex_init(&tail->followers_lock, NULL);
    return tail;
}

static struct tail_block *ring_at(const struct tail *tail, uint32_t i) {
    return tail->ring[(tail->head + i) & (tail->cap - 1)];
}

/* Lock held. */
static void block_release(struct tail_block *block) {
    must(block->refs > 0);
    if (--block->refs == 0)
        mem_free(block);
}
static void ring_drop(struct tail *tail) {
    struct tail_block *oldest = ring_at(tail, 0);
    tail->head++;
    tail->count--;
    tail->bytes -= oldest->bytes;
    block_release(oldest);
}
static bool ring_add(struct tail *tail, struct tail_block *block) {
    if (tail->count == tail->cap) {
        struct tail_block **ring = mem_alloc(2 * (size_t)tail->cap * sizeof *ring);
        if (!ring)
            return false;
        for (uint32_t i = 0; i < tail->count; i++)
            ring[i] = ring_at(tail, i);
        mem_free(tail->ring);
        tail->ring = ring;
        tail->cap *= 2;
        tail->head = 0;
    }
    tail->ring[(tail->head + tail->count++) & (tail->cap - 1)] = block;
    tail->bytes += block->bytes;
    return true;
}

void tail_destroy(struct tail *tail) {
    if (!tail)
        return;
    must(!tail->followers);
    while (tail->count > 0)
        ring_drop(tail);
    pthread_mutex_destroy(&tail->lock);
    pthread_mutex_destroy(&tail->followers_lock);
    mem_free(tail->ring);
    mem_free(tail);
}

static struct str block_copy(char **at, struct str s) {
    struct str copy = {*at, s.len};
    if (s.len)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return copy;
}

static struct tail_block *block_create(const struct record *records, uint32_t n) {
    struct tail_block *block;
    size_t bytes = sizeof *block + n * sizeof block->records[0];
    for (uint32_t i = 0; i < n; i++)
        bytes += records[i].type.len + records[i].subject.len + records[i].meta.len +
                 records[i].data.len;
    block = mem_alloc(bytes);
    if (!block)
        return NULL;
    *block = (struct tail_block){.first = records[0].seq, .count = n, .refs = 1, .bytes = bytes};
    char *at = (char *)&block->records[n];
    for (uint32_t i = 0; i < n; i++) {
        const struct record *r = &records[i];
        struct record *copy = &block->records[i];
        must(r->seq == records[0].seq + i);
        copy->seq = r->seq;
        copy->time_us = r->time_us;
        copy->type = block_copy(&at, r->type);
        copy->subject = block_copy(&at, r->subject);
        copy->meta = block_copy(&at, r->meta);
        copy->data = block_copy(&at, r->data);
    }
    return block;
}

void tail_publish(struct tail *tail, const struct record *records, uint32_t n) {
    if (n == 0)
        return;
    must(records[0].seq == tail_last(tail) + 1);
    struct tail_block *block = block_create(records, n);
    pthread_mutex_lock(&tail->lock);
    if (!block || !ring_add(tail, block)) {
        /* Out of memory: what is in the ring must stay without a hole, so it is emptied;
         * followers read the journal. */
        mem_free(block);
        while (tail->count > 0)
            ring_drop(tail);
    }
    while (tail->count > 1 && tail->bytes > tail->bytes_max)
        ring_drop(tail);
    atomic_store(&tail->last, records[n - 1].seq);
    pthread_mutex_unlock(&tail->lock);

    pthread_mutex_lock(&tail->followers_lock);
    for (struct tail_follower *f = tail->followers; f; f = f->next)
        f->wake(f);
    pthread_mutex_unlock(&tail->followers_lock);
}

/* The block that holds `from`, for the caller to release; NULL where it is in none. */
static struct tail_block *block_take(struct tail *tail, uint64_t from) {
    struct tail_block *found = NULL;
    pthread_mutex_lock(&tail->lock);
    if (tail->count > 0 && from >= ring_at(tail, 0)->first && from <= tail_last(tail)) {
        uint32_t low = 0, high = tail->count; /* the last block whose first is <= from */
        while (high - low > 1) {
            uint32_t middle = low + (high - low) / 2;
            if (ring_at(tail, middle)->first <= from)
                low = middle;
            else
                high = middle;
        }
        found = ring_at(tail, low);
        found->refs++;
    }
    pthread_mutex_unlock(&tail->lock);
    return found;
}

static void block_give(struct tail *tail, struct tail_block *block) {
    pthread_mutex_lock(&tail->lock);
    block_release(block);
    pthread_mutex_unlock(&tail->lock);
}

struct tail_visit {
    journal_visit *visit;
    void *ctx;
    uint32_t left; /* records that may still be visited */
    bool stopped;
};
static bool visit_counted(void *ctx, const struct record *record) {
    struct tail_visit *v = ctx;
    v->left--;
    v->stopped = !v->visit(v->ctx, record);
    return !v->stopped;
}

enum err tail_read(struct tail *tail, uint64_t from, uint32_t limit, journal_visit *visit,
                   void *ctx, uint64_t *next, struct fault *fault) {
    struct tail_visit v = {.visit = visit, .ctx = ctx, .left = limit};
    *next = from ? from : 1;
    while (v.left > 0 && !v.stopped && *next <= tail_last(tail)) {
        struct tail_block *block = block_take(tail, *next);
        if (!block) { /* older than the ring */
            uint64_t before = *next;
            enum err err = journal_read(tail->journal, before, v.left, visit_counted, &v, next,
                                        fault);
            if (err != OK)
                return err;
            if (*next == before) /* the journal lost what it had answered for */
                return fault_set(fault, ERR_IO, "the journal does not hold record %llu any more",
                                 (unsigned long long)before);
            continue;
        }
        uint32_t i = (uint32_t)(*next - block->first);
        for (; i < block->count && v.left > 0 && !v.stopped; i++) {
            *next = block->records[i].seq + 1;
            visit_counted(&v, &block->records[i]);
        }
        block_give(tail, block);
    }
    return OK;
}

bool tail_near(struct tail *tail, uint64_t seq, bool bring) {
    return seq >= tail_first(tail) || journal_near(tail->journal, seq, bring);
}

uint64_t tail_last(const struct tail *tail) { return atomic_load(&tail->last); }

uint64_t tail_first(struct tail *tail) {
    pthread_mutex_lock(&tail->lock);
    uint64_t first = tail->count > 0 ? ring_at(tail, 0)->first : tail_last(tail) + 1;
    pthread_mutex_unlock(&tail->lock);
    return first;
}

void tail_follow(struct tail *tail, struct tail_follower *follower) {
    pthread_mutex_lock(&tail->followers_lock);
    follower->next = tail->followers;
    tail->followers = follower;
    pthread_mutex_unlock(&tail->followers_lock);
}

void tail_unfollow(struct tail *tail, struct tail_follower *follower) {
    pthread_mutex_lock(&tail->followers_lock);
    struct tail_follower **at = &tail->followers;
    while (*at && *at != follower)
        at = &(*at)->next;
    if (*at)
        *at = follower->next;
    pthread_mutex_unlock(&tail->followers_lock);
}
