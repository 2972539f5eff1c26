/* lane: which delivery of a subscription may go next, and when. Pure: no I/O, no clock of its
 * own; time comes in as microseconds.
 *
 * Deliveries with one key form a lane and go strictly one after the other; different lanes go
 * side by side, up to the subscription's concurrency and rate. What waits is in the journal:
 * in memory there is a window of at most window_max events read ahead, a few bytes each.
 *
 * A lane that can not go on is *listed*: held (a person must decide) or parked (its retries go
 * on, but the window must not wait for it). The events of a listed lane are rows of the
 * progress store; in memory there is only the first of them. So the cursor, the seq up to which
 * all is done save what is listed, moves on, and a failed delivery costs no other lane.
 *
 * Where the newest value of a key is all that counts (`conflate`), a newer event supersedes the one
 * before it that is not out: one that waits, one that is listed, and one that was out and failed. So a
 * lane holds two events at most, and the window is counted in keys, not in events.
 *
 * What always holds: per lane at most one delivery is out; an event is handed out (lanes_take)
 * only when all before it on its lane have ended well, were discarded or superseded; the cursor never
 * passes an event that is neither done nor listed nor superseded by one that is still to go; that
 * something of a key may have been sent (`lookup`) is not forgotten with the event it was. */
#ifndef PENSTOCK_DELIVER_LANE_H
#define PENSTOCK_DELIVER_LANE_H

#include "base/err.h"
#include "base/rng.h"
#include "base/str.h"

struct lane_policy {
    uint32_t window_max;  /* events read ahead and not done */
    uint32_t listed_max;  /* listed lanes; beyond it a lane is tried again instead of held */
    uint32_t concurrency; /* deliveries out at once */
    uint32_t rate_per_s;  /* 0: none */
    bool jitter;          /* full: even over [0, pause] */
    struct lane_schedule { /* when again, by what happened: those of enum lane_outcome that come again */
        int64_t first_ms, max_ms, factor; /* pause before attempt 2, longest, growth */
        uint32_t attempts_max;            /* 0: none */
        int64_t age_max_us;               /* since the first that failed; 0: none */
    } again[5];
    const int64_t *pauses_ms; /* of tries, the pauses themselves, the last one further on, each up to a
                                 tenth longer; NULL: as `again` says */
    uint32_t pause_count;
    bool conflate; /* the newest event of a key takes the place of those that have not gone out */
};

enum lane_outcome {
    LANE_SUCCESS,
    LANE_RETRYABLE,   /* surely not done at the remote; the same may succeed later */
    LANE_AMBIGUOUS,   /* may have been done: look up before doing it again */
    LANE_THROTTLED,   /* 429: not done, and nothing else may go before the pause is over */
    LANE_UNREACHABLE, /* nobody there: does not count as an attempt (of other limits than its own) */
    LANE_UNSETTLED,   /* looked up and not found, but what was sent may still be at work */
    LANE_FINAL,       /* never without a person */
};
#define LANE_OUTCOMES (LANE_FINAL + 1)
const char *lane_outcome_name(enum lane_outcome outcome);

struct lanes;
#define LANE_NONE UINT32_MAX

/* Nothing read yet: the cursor is where reading goes on. What an earlier life may have sent
 * (`lookup`) is no longer at work at the remote from settled_us on. NULL when memory is out. */
struct lanes *lanes_create(const struct lane_policy *policy, struct rng *rng, uint64_t cursor,
                           int64_t settled_us);
void lanes_destroy(struct lanes *lanes);
/* Holds from now on; window_max stays what it was. */
void lanes_policy_set(struct lanes *lanes, const struct lane_policy *policy);

/* --- feeding, in order of seq -------------------------------------------------------------- */
enum lane_added {
    LANE_ADDED,
    LANE_LISTED, /* its lane is listed: the caller adds a row to the progress store */
    LANE_KNOWN,  /* is a row of the progress store already */
    LANE_FULL,   /* the window is full, or memory is out: come again later */
    LANE_SUPERSEDES, /* as LANE_LISTED, and the lane's rows between `before` and it are dropped */
};
struct lane_event {
    uint64_t seq;
    struct str key;
    bool lookup; /* it may have been sent before */
    bool more;   /* further keys of the same event follow; it has not been read until the last */
};
struct lane_before {
    uint64_t seq; /* rows behind this one and before the event's are dropped */
    bool held;    /* and the row at seq is of a held delivery, which is held no more */
};
/* An event for this subscription, with one of its keys. */
enum lane_added lanes_put(struct lanes *lanes, const struct lane_event *event, int64_t now_us,
                          struct lane_before *before);
/* An event for this subscription. `lookup`: it may have been sent before. */
enum lane_added lanes_add(struct lanes *lanes, uint64_t seq, struct str key, bool lookup);
/* An event for this subscription that was delivered in an earlier life, as the books say. */
void lanes_known(struct lanes *lanes, uint64_t seq, bool more);
/* An event that has ended already as a row of the progress store, before it was read. */
void lanes_again(struct lanes *lanes, uint64_t seq, bool more);
/* So many rows of listed lanes are gone because newer ones took their place. */
void lanes_superseded(struct lanes *lanes, uint64_t rows);
/* Everything up to seq has been read. */
void lanes_pass(struct lanes *lanes, uint64_t seq);
/* A listed lane as the progress store has it: at start, before anything is added. `seq` is its
 * first row, `last` its last one; due_us 0: held. ERR_NOMEM. */
enum err lanes_load(struct lanes *lanes, struct str key, uint64_t seq, uint64_t last,
                    uint32_t attempts, int64_t due_us, int64_t now_us) WARN_UNUSED;
/* After the last one: how many rows the progress store has. */
void lanes_loaded(struct lanes *lanes, uint64_t rows);

/* A replayed event: one that is done (not above the cursor), to go out once more. It becomes the
 * first of its key's lane, and what is read later waits behind it; false while anything else has
 * that lane (waiting, out, listed), or where memory is out: come again later. So a replayed event
 * and those of the live stream never pass one another within their key. */
bool lanes_replay(struct lanes *lanes, uint64_t seq, struct str key, uint64_t replay, bool lookup);
/* After lanes_load: the first row of this key's lane is a replayed event. */
void lanes_replayed(struct lanes *lanes, struct str key, uint64_t replay);

/* --- working --------------------------------------------------------------------------- */
struct lane_job {
    uint32_t lane;
    uint64_t seq;
    struct str key; /* lives until the lane ends */
    uint32_t attempt; /* 1 first */
    bool lookup;      /* look up before sending */
    int64_t settled_us; /* only from then on "not found" means that it was not done */
    bool listed;
    bool alone;       /* not together with others */
    uint64_t replay;  /* it is a replayed event, of this replay; 0: a live one */
    bool released;    /* listed: a person sends it again */
};
/* The next delivery that may go now; false where there is none. */
bool lanes_take(struct lanes *lanes, int64_t now_us, struct lane_job *job);
/* This very delivery, whatever pauses: who has it asks for it. */
enum lane_claimed {
    LANE_CLAIMED, /* taken: *job */
    LANE_SETTLED, /* it is done, or never was for this subscription */
    LANE_BEHIND,  /* another one of its key comes first */
    LANE_KEPT,    /* a person must decide */
    LANE_BUSY,    /* it is out */
    LANE_UNREAD,  /* it has not been read yet */
};
enum lane_claimed lanes_claim(struct lanes *lanes, uint64_t seq, struct str key, struct lane_job *job);
/* The remote is done with it (its place under `concurrency` is free); the lane stays taken until
 * lanes_end. Optional. */
void lanes_answered(struct lanes *lanes, uint32_t lane);
/* From now on the delivery counts as possibly sent, whatever happens, and as possibly still at
 * work at the remote until settled_us. */
void lanes_suspect(struct lanes *lanes, uint32_t lane, int64_t settled_us);
/* The taken one is not there, as a look-up said that is to be believed: until something is in doubt again,
 * it is not looked up. */
void lanes_absent(struct lanes *lanes, uint32_t lane);

enum lane_verdict {
    LANE_DONE,  /* unlisted: nothing to do; listed: drop its row, then lanes_refill */
    LANE_RETRY, /* will be taken again by itself; listed: its row changes */
    LANE_HOLD,  /* the caller lists it: lanes_list, with due_us 0 */
};
/* The delivery ended. retry_after_ms: what the remote asked for, -1 where it did not. */
enum lane_verdict lanes_end(struct lanes *lanes, uint32_t lane, enum lane_outcome outcome,
                            int64_t retry_after_ms, int64_t now_us);
/* What ends from here until it is false ends with one call: the breaker counts the first alone. */
void lanes_together(struct lanes *lanes, bool together);
/* The next attempt of this lane's first delivery goes by itself (job->alone). */
void lanes_alone(struct lanes *lanes, uint32_t lane);
/* Gives a taken delivery back as if it had not been taken (no slot, shutdown). */
void lanes_return(struct lanes *lanes, uint32_t lane);
/* Likewise, but it is not to be taken before due_us: nothing was sent, because the remote takes nothing
 * until then. */
void lanes_later(struct lanes *lanes, uint32_t lane, int64_t due_us);
/* Whether the remote is known to be away, as its breaker says (connect/breaker.h): then nobody is taken who
 * is not to try it, and who finds nobody there waits for no time of his own. */
void lanes_broken_set(struct lanes *lanes, bool broken);

/* The lane becomes listed: visits all its seqs in memory, ascending; the caller makes rows of
 * them. `hold`: a person must decide; else it is parked and goes on by itself. */
void lanes_list(struct lanes *lanes, uint32_t lane, bool hold,
                void (*visit)(void *ctx, uint64_t seq), void *ctx);
/* The waiting lane that keeps a full window from moving, or LANE_NONE: the caller lists it. */
uint32_t lanes_stuck(const struct lanes *lanes);
/* A listed lane's first row is gone (done or discarded): `seq` is the next, 0: no more rows. */
void lanes_refill(struct lanes *lanes, uint32_t lane, uint64_t seq);
/* The held lane of this key, or LANE_NONE. */
uint32_t lanes_held(const struct lanes *lanes, struct str key);
/* A held lane may go again, its attempts count from 0. */
void lanes_release(struct lanes *lanes, uint32_t lane);

/* The remote was mended, or is another one: all that waits goes now, attempts and all. */
void lanes_hurry(struct lanes *lanes);

/* --- asking ---------------------------------------------------------------------------- */
uint64_t lanes_cursor(const struct lanes *lanes);
uint64_t lanes_read_to(const struct lanes *lanes);
/* The newest unlisted event that may have been sent before; the cursor where there is none. */
uint64_t lanes_suspect_to(const struct lanes *lanes);
/* When lanes_take may answer something it does not answer now, without anything being added or
 * ended: INT64_MAX for never. */
int64_t lanes_next_us(const struct lanes *lanes, int64_t now_us);
/* When this lane's next attempt is due (after LANE_RETRY). */
int64_t lanes_due_us(const struct lanes *lanes, uint32_t lane);
struct str lanes_key(const struct lanes *lanes, uint32_t lane);
/* Of its first event, which after a failure may be another one than the one that was out. */
uint64_t lanes_seq(const struct lanes *lanes, uint32_t lane);
bool lanes_listed(const struct lanes *lanes, uint32_t lane);
uint64_t lanes_replay_of(const struct lanes *lanes, uint32_t lane); /* 0: its first is a live one */
uint32_t lanes_attempts(const struct lanes *lanes, uint32_t lane);
bool lanes_room(const struct lanes *lanes); /* lanes_add would not answer LANE_FULL */

struct lane_counts {
    uint32_t window;   /* events read ahead, not done */
    uint32_t out;      /* taken, not ended */
    uint32_t ready, waiting; /* lanes */
    uint32_t held, parked;   /* lanes */
    bool broken;       /* the remote is away: lanes_broken_set */
};
struct lane_counts lanes_counts(const struct lanes *lanes);

/* Where every event is that ever came in, since these lanes were made. What holds always, whoever
 * asks: taken = delivered + discarded + superseded + listed + waiting. */
struct lane_ledger {
    uint64_t taken;      /* loaded, added, or known to be delivered; a replayed one once more */
    uint64_t delivered, discarded;
    uint64_t superseded; /* a newer value of the same key went, or goes, in its place */
    uint64_t listed;     /* rows of the progress store: held, parked, or behind one that is */
    uint64_t waiting;    /* in memory: read ahead, or under way */
    uint64_t replayed;   /* of those taken: events that were taken before */
    uint64_t again;      /* read once more, and known as listed or ended behind a listed one: not
                            taken in */
};
const struct lane_ledger *lanes_ledger(const struct lanes *lanes);

#endif
