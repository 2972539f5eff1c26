/* pull: events that are fetched: a lease each for a set time, acknowledged, given back, or extended. A
 * lease is a delivery under way (an attempt that sends nothing): lanes give the order, so of a key one
 * event is out at a time, whoever asks, and what is not acknowledged in time is a failed attempt: tried
 * again after a pause, held after pull_deliveries_max.
 *
 * What always holds: an acknowledgement is answered when it is on disk, and the event is never handed
 * out again; it may be said twice. One that comes after the lease ended counts, as long as nobody else
 * has the event. A lease ends with the hub: what was leased is handed out again, under the same id.
 * What waits is in the journal: in memory there are the leases, at most pull_leases_max. */
#ifndef PENSTOCK_DELIVER_PULL_H
#define PENSTOCK_DELIVER_PULL_H

#include "deliver/subscribers.h"

enum pull_what { PULL_TAKE, PULL_ACK, PULL_NACK, PULL_EXTEND };
/* One ask. Who asks keeps it, and what its texts point to, until `done`. */
struct pull_ask {
    struct pull_ask *next;
    enum pull_what what;
    struct str name;           /* of the subscription */
    int64_t max, wait_s;       /* PULL_TAKE */
    int64_t lease_s;           /* PULL_TAKE, PULL_EXTEND */
    int64_t delay_s;           /* PULL_NACK; -1: as the policy says */
    const struct str *leases;  /* the others */
    uint32_t lease_count;
    void (*done)(struct pull_ask *ask); /* on delivery's thread: hands it over, no more */
    void *ctx;
    /* ERR_NOT_FOUND: there is no such one; ERR_CONFLICT: it is no pull, or rests, or a lease is
     * somebody else's; ERR_UNAVAILABLE */
    enum err err;
    struct fault fault;
    struct buf answer; /* JSON; who asked frees it */
    int64_t until_us;  /* pull.c's own: when it is answered in any case */
    bool again;        /* it came while a round was under way: looked at once more */
};

/* Any thread. OK: `done` follows. ERR_UNAVAILABLE: pull_asks_max wait, or it stops. */
enum err pull_submit(struct deliver *d, struct pull_ask *ask, struct fault *fault) WARN_UNUSED;

/* The loop's: */
bool subscription_pulled(const struct subscription *sub);
/* Leases that ended; with nothing to be started or written, all of them. */
void pull_step(struct deliver *d, int64_t now_us);
/* Answers what can be answered. */
void pull_answer(struct deliver *d, int64_t now_us);
int64_t pull_next_us(const struct deliver *d, int64_t now_us);
/* Nothing is taken any more; what waits is answered. */
void pull_close(struct deliver *d);

/* Routes whose query is this one are answered by who submits asks (gateway/pull_stage.c). */
enum err pull_query(struct query *query, struct fault *fault) WARN_UNUSED;
extern const struct shape pull_take_shape, pull_ack_shape, pull_nack_shape, pull_extend_shape;
/* What of a route's path says which; and its body's struct: all four are of this one. */
struct pull_body {
    uint64_t has;
    int64_t max, wait_s, lease_s, delay_s;
    struct shape_list leases; /* of struct str */
};
#define PULL_BATCH_MAX 1000

#endif
