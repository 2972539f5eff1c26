/* ahead: copies of the events that a subscription has read ahead in the journal and is about to send, so
 * that the journal is not asked a second time for each of them. Only of what is too old for the tail's
 * memory; bounded in bytes: what finds no room is read again when its turn comes. One thread. */
#ifndef PENSTOCK_DELIVER_AHEAD_H
#define PENSTOCK_DELIVER_AHEAD_H

#include "core/tail.h"

struct ahead {
    struct ahead_event *ring; /* of `mask` + 1, by seq; NULL: nothing is kept */
    uint32_t mask, first, count;
    size_t bytes, bytes_max;
};

void ahead_init(struct ahead *ahead, size_t bytes_max);
/* Forgets all. */
void ahead_clear(struct ahead *ahead);
/* In order of seq; forgets nothing to make room. */
void ahead_keep(struct ahead *ahead, const struct record *record);
/* Forgets what is up to seq. */
void ahead_pass(struct ahead *ahead, uint64_t seq);
/* As tail_read of one record; what was kept of it is forgotten. */
enum err ahead_read(struct ahead *ahead, struct tail *tail, uint64_t seq, journal_visit *visit, void *ctx,
                    struct fault *fault) WARN_UNUSED;

#endif
