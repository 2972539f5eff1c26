/* tail: the journal as followers see it: the newest records from memory, older ones from the
 * journal, without the caller knowing. Read model, delivery and the event feed follow it; a
 * slow follower costs no memory, it only reads from disk. */
#ifndef PENSTOCK_CORE_TAIL_H
#define PENSTOCK_CORE_TAIL_H

#include "core/journal.h"

struct tail;
struct tail *tail_create(struct journal *journal, size_t bytes_max);
void tail_destroy(struct tail *tail);

/* Writer: these records are durable. Copies them, drops the oldest, wakes followers. */
void tail_publish(struct tail *tail, const struct record *records, uint32_t n);
/* Any thread: as journal_read. Records stay valid until visit returns. */
enum err tail_read(struct tail *tail, uint64_t from, uint32_t limit, journal_visit *visit,
                   void *ctx, uint64_t *next, struct fault *fault) WARN_UNUSED;
/* As journal_near: whether tail_read from seq has not to wait for an archive that is unpacked first. */
bool tail_near(struct tail *tail, uint64_t seq, bool bring);
uint64_t tail_last(const struct tail *tail);
/* The oldest that is in memory, now; tail_last + 1 where none is. */
uint64_t tail_first(struct tail *tail);

/* wake is called on the writer's thread after every publish: it must only signal. */
struct tail_follower {
    void (*wake)(struct tail_follower *follower);
    struct tail_follower *next;
};
void tail_follow(struct tail *tail, struct tail_follower *follower);
void tail_unfollow(struct tail *tail, struct tail_follower *follower);

#endif
