/* backlog: how much of the journal a subscription has still to read that it wants: events, and the bytes
 * they have there. Counted where little is left; where much is, estimated from small samples spread over
 * all of it, one a second, so that it costs the same however far behind the subscription is, whatever its
 * filter is, and nothing per event. Zeroed: nothing is known. One thread. */
#ifndef PENSTOCK_DELIVER_BACKLOG_H
#define PENSTOCK_DELIVER_BACKLOG_H

#include "core/tail.h"

#define BACKLOG_COUNTED 512 /* so many positions are counted */
#define BACKLOG_PARTS 16    /* more are cut in so many, … */
#define BACKLOG_SAMPLE 32   /* … and of each so many in a row are looked at */

struct backlog {
    bool estimated;       /* by samples; false: counted */
    uint64_t events, bytes;
    uint32_t turn;        /* samples taken of this backlog */
    struct backlog_part {
        uint32_t seen, wanted;
        uint64_t bytes;   /* of those wanted */
    } parts[BACKLOG_PARTS];
    uint32_t wanted_m;    /* of a thousand that came last, those that are wanted; moving, over some looks */
    int64_t mean_m;       /* thousandths of a byte: of an event it took lately; 0: of none yet */
};

typedef bool backlog_wants(void *ctx, const struct record *record);
/* What is wanted of (read_to, last]. What can not be read now is as it was told before. */
void backlog_look(struct backlog *backlog, struct tail *tail, uint64_t read_to, uint64_t last,
                  backlog_wants *wants, void *ctx);
/* Another filter: what is known of the old one says nothing. */
void backlog_forget(struct backlog *backlog);

/* Bytes of a record in the journal. */
uint64_t backlog_bytes_of(const struct record *record);
/* One was taken in. */
void backlog_took(struct backlog *backlog, const struct record *record);
/* Of so many that were taken in: about. */
uint64_t backlog_bytes(const struct backlog *backlog, uint64_t taken);

#endif
