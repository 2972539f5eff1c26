/* limit_table: see limit_table.h. Sets of eight places; a key can be in those of its set alone.
 *
 * Finding and taking use no lock. Making a place takes the lock of its set: the word of a place
 * that may be given to another key is swapped for LOCKED first, then the key, then the new word. Words
 * only ever grow, so that a word read before its place changed hands is never met again, and the
 * compare-and-swap of who read it fails. */
#include "gateway/limit_table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"

#define WAYS 8
#define LOCKS 64
#define LOCKED INT64_MIN
/* COUNTS: end of the period in quarters of an hour since the epoch, then the count. */
#define COUNT_BITS 40
#define COUNT_MAX ((INT64_C(1) << COUNT_BITS) - 1)
#define QUARTER_S 900

struct set {
    _Atomic uint64_t keys[WAYS];
    _Atomic int64_t words[WAYS];
};

struct limit_table {
    enum limit_kind kind;
    uint32_t mask; /* sets - 1 */
    struct set *sets;
    _Atomic int64_t *spares;
    int64_t *visited; /* COUNTS: words as they were visited last */
    pthread_mutex_t locks[LOCKS];
};

struct limit_table *limit_table_create(enum limit_kind kind, uint32_t entries, uint32_t spares) {
    struct limit_table *table = mem_zalloc(sizeof *table);
    uint32_t sets = 1;
    if (!table)
        return NULL;
    while (sets < (entries + WAYS - 1) / WAYS)
        sets *= 2;
    table->kind = kind;
    table->mask = sets - 1;
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_init(&table->locks[i], NULL);
    table->sets = mem_zalloc(sets * sizeof *table->sets);
    table->spares = mem_zalloc((spares + 1) * sizeof *table->spares);
    table->visited = mem_zalloc(kind == LIMIT_COUNTS ? sets * WAYS * sizeof(int64_t) : 1);
    if (table->sets && table->spares && table->visited)
        return table;
    limit_table_destroy(table);
    return NULL;
}

void limit_table_destroy(struct limit_table *table) {
    if (!table)
        return;
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&table->locks[i]);
    mem_free(table->sets);
    mem_free(table->spares);
    mem_free(table->visited);
    mem_free(table);
}

int64_t limit_word_end(int64_t word) { return (word >> COUNT_BITS) * QUARTER_S; }

int64_t limit_word_before(int64_t now_s) { return now_s / QUARTER_S << COUNT_BITS; }

static int64_t word_of(int64_t end_s, int64_t count) {
    return (end_s + QUARTER_S - 1) / QUARTER_S << COUNT_BITS | count;
}

/* Nothing is lost by forgetting it. */
static bool word_idle(const struct limit_table *table, int64_t word, int64_t now) {
    return table->kind == LIMIT_BUCKETS ? word < now : limit_word_end(word) <= now;
}

/* --- places -------------------------------------------------------------------------------- */

static struct set *set_of(struct limit_table *table, uint64_t key) {
    return &table->sets[(uint32_t)(key >> 32) & table->mask];
}

static int set_find(struct set *set, uint64_t key) {
    for (int i = 0; i < WAYS; i++)
        if (atomic_load_explicit(&set->keys[i], memory_order_acquire) == key)
            return i;
    return -1;
}

/* Gives the place to the key where it may; lock of the set held. */
static bool place_claim(struct limit_table *table, struct set *set, int i, uint64_t key,
                        int64_t now) {
    int64_t word = atomic_load_explicit(&set->words[i], memory_order_acquire);
    if (atomic_load_explicit(&set->keys[i], memory_order_relaxed) != 0 &&
        !word_idle(table, word, now))
        return false;
    if (!atomic_compare_exchange_strong(&set->words[i], &word, LOCKED))
        return false;
    atomic_store_explicit(&set->keys[i], key, memory_order_release);
    /* greater than before, and idle: a bucket that is full now, a period that is over */
    atomic_store_explicit(&set->words[i], table->kind == LIMIT_BUCKETS ? now : word + 1,
                          memory_order_release);
    return true;
}

static int set_make(struct limit_table *table, struct set *set, uint64_t key, int64_t now) {
    pthread_mutex_t *lock = &table->locks[(size_t)(set - table->sets) % LOCKS];
    pthread_mutex_lock(lock);
    int at = set_find(set, key);
    for (int i = 0; i < WAYS && at < 0; i++)
        if (place_claim(table, set, i, key, now))
            at = i;
    pthread_mutex_unlock(lock);
    return at;
}

/* --- taking -------------------------------------------------------------------------------- */

struct step {
    int64_t next; /* the word to be */
    struct limit_left left;
};

static struct step bucket_step(const struct limit_ask *ask, int64_t word, bool borrow) {
    struct step step = {.next = word};
    int64_t used = word > ask->now ? word - ask->now : 0, cost;
    if (ask->units > (uint64_t)(ask->full / ask->cost)) {
        step.left.wait = -1;
    } else {
        cost = (int64_t)ask->units * ask->cost;
        step.left.wait = used + cost - ask->full;
        step.left.admitted = borrow || step.left.wait <= 0;
        if (step.left.admitted)
            used += cost;
        if (step.left.wait < 0)
            step.left.wait = 0;
    }
    step.next = step.left.admitted && used > 0 ? ask->now + used : word;
    step.left.units = used < ask->full ? (uint64_t)((ask->full - used) / ask->cost) : 0;
    step.left.fresh = used;
    return step;
}

static struct step count_step(const struct limit_ask *ask, int64_t word) {
    struct step step = {.next = word};
    int64_t base = word_of(ask->end, 0), count;
    /* Where the clock was put back, the period that has begun goes on. */
    if (word > base && limit_word_end(word) <= 2 * ask->end - ask->start + QUARTER_S)
        base = word & ~COUNT_MAX;
    count = word > base ? word - base : 0;
    step.left.admitted = ask->units <= (uint64_t)(ask->full - (count < ask->full ? count : ask->full));
    if (step.left.admitted)
        count += (int64_t)ask->units;
    step.left.units = count < ask->full ? (uint64_t)(ask->full - count) : 0;
    step.left.fresh = ask->end > ask->now ? ask->end - ask->now : 0;
    step.left.wait = step.left.admitted ? 0 : step.left.fresh;
    step.next = step.left.admitted ? base + count : word;
    return step;
}

static struct step step_of(const struct limit_table *table, const struct limit_ask *ask,
                           int64_t word, bool borrow) {
    return table->kind == LIMIT_BUCKETS ? bucket_step(ask, word, borrow) : count_step(ask, word);
}

static struct limit_left take(struct limit_table *table, const struct limit_ask *ask, bool borrow) {
    struct set *set = set_of(table, ask->key);
    for (;;) {
        int at = set_find(set, ask->key);
        if (at < 0)
            at = set_make(table, set, ask->key, ask->now);
        _Atomic int64_t *place = at >= 0 ? &set->words[at] : &table->spares[ask->spare];
        int64_t word = atomic_load_explicit(place, memory_order_acquire);
        if (at >= 0 && (word == LOCKED || atomic_load_explicit(&set->keys[at],
                                                               memory_order_acquire) != ask->key))
            continue; /* it is changing hands */
        struct step step = step_of(table, ask, word, borrow);
        if (step.next == word || atomic_compare_exchange_weak_explicit(
                                     place, &word, step.next, memory_order_acq_rel,
                                     memory_order_relaxed))
            return step.left;
    }
}

struct limit_left limit_take(struct limit_table *table, const struct limit_ask *ask) {
    return take(table, ask, false);
}

struct limit_left limit_borrow(struct limit_table *table, const struct limit_ask *ask) {
    return take(table, ask, true);
}

struct limit_left limit_look(struct limit_table *table, const struct limit_ask *ask) {
    struct set *set = set_of(table, ask->key);
    int at = set_find(set, ask->key);
    int64_t word = at >= 0 ? atomic_load_explicit(&set->words[at], memory_order_acquire) : 0;
    return step_of(table, ask, word == LOCKED ? 0 : word, false).left;
}

uint32_t limit_table_used(struct limit_table *table, int64_t now) {
    uint32_t used = 0;
    for (uint32_t s = 0; s <= table->mask; s++)
        for (int i = 0; i < WAYS; i++)
            used += atomic_load_explicit(&table->sets[s].keys[i], memory_order_relaxed) != 0 &&
                    !word_idle(table, atomic_load_explicit(&table->sets[s].words[i],
                                                           memory_order_relaxed), now);
    return used;
}

/* --- to the disk and back ------------------------------------------------------------------ */

bool limit_table_changes(struct limit_table *table, limit_visit *visit, void *ctx) {
    must(table->kind == LIMIT_COUNTS);
    for (uint32_t s = 0; s <= table->mask; s++)
        for (uint32_t i = 0; i < WAYS; i++) {
            struct set *set = &table->sets[s];
            uint64_t key = atomic_load_explicit(&set->keys[i], memory_order_acquire);
            int64_t word = atomic_load_explicit(&set->words[i], memory_order_acquire);
            int64_t *visited = &table->visited[s * WAYS + i];
            if (key == 0 || word == LOCKED || word == *visited || (word & COUNT_MAX) == 0 ||
                atomic_load_explicit(&set->keys[i], memory_order_acquire) != key)
                continue;
            if (!visit(ctx, key, word))
                return false;
            *visited = word;
        }
    return true;
}

void limit_table_unvisit(struct limit_table *table) {
    memset(table->visited, 0, ((size_t)table->mask + 1) * WAYS * sizeof *table->visited);
}

void limit_table_load(struct limit_table *table, uint64_t key, int64_t word, int64_t now) {
    struct set *set = set_of(table, key);
    if (limit_word_end(word) <= now)
        return;
    int at = set_make(table, set, key, now);
    if (at < 0)
        return;
    atomic_store(&set->words[at], word);
    table->visited[(size_t)(set - table->sets) * WAYS + (size_t)at] = word;
}
