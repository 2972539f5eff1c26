/* stop: subscriptions that stop themselves, or are stopped, and stand still until a person starts
 * them. What they want waits in the journal; what was under way ends as it ends.
 *
 * A subscription stops by itself when more than a set share of the deliveries that ended last were
 * newly held (connector_stop): a wrong deployment costs so many held deliveries, and not a day's.
 * Each member of a batch counts as one. A held delivery that a person sends again counts neither way;
 * nor does who can not be reached. One made through the API (subscribers.h) stops after a time
 * without success, or when it says that it is gone. A person can stop any.
 *
 * What always holds: a stop holds in memory from the moment it is decided, and in the journal
 * (domain/stops.h) from the moment it could be told; it is obeyed after every start of the hub. It
 * ends when the journal knows of the start. Counts are of this life: a crash before the journal knew
 * begins them anew. */
#ifndef PENSTOCK_DELIVER_STOP_H
#define PENSTOCK_DELIVER_STOP_H

#include "connect/connector.h"
#include "deliver/deliver.h"
#include "domain/stops.h"

/* The deliveries that ended last, a bit each. Pure. All zero: none. */
struct stop_window {
    uint64_t bits[STOP_OF_LAST_MAX / 64]; /* 1: was held */
    uint32_t at, count, held;
};
/* One more has ended. True: more than the share of them were held. `policy` NULL: never. */
bool stop_window_add(struct stop_window *window, const struct connector_stop *policy, bool held);

/* Of a subscription; the loop's thread. */
struct stop_state {
    struct stop_window window;
    bool stopped;     /* nothing is read or started */
    bool to_tell;     /* the journal does not know it yet */
    bool telling;
    struct stopped as; /* of stopped: as the journal knows it, or will */
};

struct subscription;
/* One of its deliveries has ended, delivered or newly held: stops it where the share is passed.
 * Under the lock. */
void stop_ended(struct subscription *sub, bool held);
/* Stops it now, for a reason that is not a person's; nothing where it is stopped already. Under the
 * lock. `cause` in words, without anything of a person. */
void subscription_stop(struct subscription *sub, enum stop_why why, struct str cause);
/* What the journal knows of it: when it is followed, or loaded again. */
void stop_load(struct subscription *sub);
/* Each round: tells the journal what it does not know yet. */
void stops_tell(struct deliver *d);

/* A person decides. Any thread but the loop's; waits for the loop. ERR_NOT_FOUND: no connector has
 * it; ERR_CONFLICT: it is stopped already, or is not; ERR_TIMEOUT. `by` and `reason` go into the
 * journal. */
enum err deliver_subscription_stop(struct deliver *deliver, struct str subscription, struct str by,
                                   struct str reason, struct fault *fault) WARN_UNUSED;
enum err deliver_subscription_start(struct deliver *deliver, struct str subscription, struct str by,
                                    struct str reason, struct fault *fault) WARN_UNUSED;

#endif
