/* limit_table: what is left of each allowance, one 64-bit word each, shared by all loops.
 *
 * Two kinds of table. BUCKETS: the word is the time (ns of the monotonic clock) at which the
 * bucket will be full again, the "theoretical arrival time" of GCRA (ITU-T I.371, annex A):
 * admitting is one compare-and-swap. COUNTS: the word is when the calendar period ends and how much
 * of it was used.
 *
 * What always holds: over any span a bucket admits at most burst + rate * span units and a count at
 * most its quota a period, however many threads ask; a key is tracked in one place; a word leaves
 * the table only when its bucket is full or its period over, so that forgetting gives nothing
 * away. Where a key finds no place it shares the spare word of its policy with others in that
 * case: less for them, never more. */
#ifndef PENSTOCK_GATEWAY_LIMIT_TABLE_H
#define PENSTOCK_GATEWAY_LIMIT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum limit_kind { LIMIT_BUCKETS, LIMIT_COUNTS };

struct limit_table;
/* `entries` is rounded up to a power of two; `spares`: policies. NULL: no memory. */
struct limit_table *limit_table_create(enum limit_kind kind, uint32_t entries, uint32_t spares);
void limit_table_destroy(struct limit_table *table);

/* How much of which policy, at what time. Keys are hashes: not 0, evenly spread. */
struct limit_ask {
    uint64_t key;
    uint32_t spare; /* number of the policy */
    uint64_t units;
    int64_t now;    /* BUCKETS: ns, monotonic. COUNTS: seconds since the epoch */
    int64_t cost;   /* BUCKETS: ns a unit takes to come back */
    int64_t full;   /* BUCKETS: ns the whole burst takes; COUNTS: the quota */
    int64_t start, end; /* COUNTS: of the period, seconds since the epoch */
};
struct limit_left {
    bool admitted;
    uint64_t units; /* that remain */
    int64_t wait;   /* not admitted: BUCKETS ns, COUNTS s until it may be; -1: never */
    int64_t fresh;  /* until all of it is there again, likewise */
};
/* Takes all units or none. */
struct limit_left limit_take(struct limit_table *table, const struct limit_ask *ask);
/* BUCKETS: takes them in any case: `wait` says when it is their turn. The caller sees to it that
 * nobody runs up more than it means to wait. */
struct limit_left limit_borrow(struct limit_table *table, const struct limit_ask *ask);
/* What taking would say; nothing changes. */
struct limit_left limit_look(struct limit_table *table, const struct limit_ask *ask);
/* Entries that are neither full nor over. For figures: walks the table. */
uint32_t limit_table_used(struct limit_table *table, int64_t now);

/* --- COUNTS on their way to the disk and back --- */
/* Visits what changed since it was visited last; false from visit stops, and what it was given is
 * visited again. One thread. */
typedef bool limit_visit(void *ctx, uint64_t key, int64_t word);
bool limit_table_changes(struct limit_table *table, limit_visit *visit, void *ctx);
void limit_table_load(struct limit_table *table, uint64_t key, int64_t word, int64_t now);
/* What was visited was not kept: all of it is visited again. */
void limit_table_unvisit(struct limit_table *table);
int64_t limit_word_end(int64_t word);    /* seconds since the epoch */
int64_t limit_word_before(int64_t now_s); /* lesser words are of periods that are over */

#endif
