/* deliver: the loop that brings events to the systems that want them. Per subscription (a `send`
 * entry of a connector) it follows the journal from its cursor, maps, sends, and records what
 * was posted.
 *
 * What always holds: every event of a subscription ends as delivered, held or discarded by
 * name; per key the order of the journal; and one effect at the remote for one event, also over
 * crashes, as long as the connector has a look-up or the remote honours an idempotency key:
 * whatever may have been sent before is looked up before it is sent again.
 *
 * In production deliver_start runs it on a thread with a libuv loop; the simulator gives its
 * own net and calls deliver_step. */
#ifndef PENSTOCK_DELIVER_DELIVER_H
#define PENSTOCK_DELIVER_DELIVER_H

#include "connect/auth_net.h"
#include "connect/connector.h"
#include "connect/net.h"
#include "core/core.h"
#include "domain/stops.h"
#include "deliver/lane.h"

struct deliver_options {
    struct core *core;
    struct tail *tail;
    const struct config *config;
    const struct connectors *connectors; /* at first; taken */
    const char *path; /* of delivery.db */
    struct clock *clock;
    struct rng *rng; /* jitter */
    struct auth_keepers *keepers; /* tokens and sessions of the hub; NULL: its own, in memory */
    struct accounts *accounts; /* of the hub; NULL: its own */
    struct net *net; /* NULL: deliver_start makes an HTTP driver on its own loop */
    bool alone; /* there is one thread (the simulator): who decides takes the round himself, and waits for nobody */
};

struct deliver;
/* Reads the progress of all subscriptions. */
enum err deliver_create(const struct deliver_options *options, struct deliver **out,
                        struct fault *fault) WARN_UNUSED;
/* After deliver_stop, or with nothing under way. */
void deliver_destroy(struct deliver *deliver);

/* One round: answers, reading ahead, starting what may go, flushing. The caller is the only
 * thread that does, and calls again when deliver_next_us has come, when a net call has ended,
 * or after `wake`. */
void deliver_step(struct deliver *deliver);
/* When the next step is due, of the clock's tick; INT64_MAX: only after something happens. */
int64_t deliver_next_us(const struct deliver *deliver);
/* `wake` is called from any thread when a step is due (a command answered, an event published); it
 * only signals: it may call nothing of deliver. */
void deliver_wake_set(struct deliver *deliver, void (*wake)(void *ctx), void *ctx);

/* Any thread: from the next round on, the subscriptions are those of these connectors. Attempts
 * under way end with the version they began with. */
void deliver_renew(struct deliver *deliver, const struct connectors *connectors);

enum err deliver_start(struct deliver *deliver, struct fault *fault) WARN_UNUSED;
/* Starts nothing new, waits at most drain_ms for what is under way, breaks off the rest (it is
 * looked up next time), flushes. The core must still answer. */
void deliver_stop(struct deliver *deliver, int64_t drain_ms);

/* --- seeing, any thread -------------------------------------------------------------------- */
struct deliver_stats {
    struct str subscription, connector;
    bool enabled;        /* its connector says so */
    bool usable;         /* enabled, and all its references are set */
    bool broken;         /* the breaker is open: the remote does not answer */
    bool stopped;        /* until a person starts it (deliver/stop.h), … */
    struct stopped stop; /* … since when and why */
    uint64_t cursor;     /* all up to it is done, save what is listed */
    uint64_t last;       /* newest seq of the journal */
    uint64_t behind;     /* last - cursor: positions of the journal, wanted or not */
    uint64_t behind_events; /* of them those that it wants and that are not done, … */
    uint64_t behind_bytes;  /* … and about how many bytes they have in the journal */
    bool behind_known;      /* false: nothing is known of both, as it was never followed */
    bool behind_estimated;  /* by samples of what it has not read yet (backlog.h); false: counted */
    uint32_t waiting;    /* events in the window that are not done */
    uint32_t out;        /* deliveries under way */
    uint32_t batch_members; /* of a call at most, now; 0: there are no batches */
    uint32_t held;       /* lanes that wait for a person */
    uint32_t parked;     /* lanes that are retried beside the window */
    uint64_t delivered;  /* since the start, as the rest */
    uint64_t suppressed; /* deliveries that were not sent: the system has that value */
    uint64_t attempts;   /* requests that were to do something at the remote */
    uint64_t failed;     /* attempts that did not succeed */
    uint64_t looked_up;  /* look-ups */
    uint64_t found;      /* look-ups that found it there already */
    struct lane_ledger ledger; /* where every event is that came in since the start */
    uint32_t rate_per_s; /* deliveries, over the last second or so */
    uint32_t drain_per_s; /* positions of the journal that the cursor passes, over ten seconds (drain.h) */
    uint32_t drain_events_per_s; /* wanted events that it is done with, likewise */
    int64_t oldest_us;    /* of the first event behind the cursor, wall clock; 0: there is none */
    int64_t oldest_age_us; /* how long ago that is now */
    int64_t done_in_us;   /* until done_us, from now; 0: it has caught up; -1: no end is in sight */
    int64_t done_us;      /* estimate: it will have caught up, wall clock; 0: it has, or no end is in sight */
    int64_t delivered_us; /* of the newest delivery, wall clock; 0: none */
    int64_t failed_us;
    char error[200];     /* the newest failure */
};
/* Those that ever were; false: no connector has the i-th now. */
uint32_t deliver_count(struct deliver *deliver);
bool deliver_stats(struct deliver *deliver, uint32_t i, struct deliver_stats *out);

/* How it fares, in one word of these: what is worse comes first. */
extern const char *const deliver_states[]; /* unusable, stopped, unreachable, running, NULL */
const char *deliver_state(const struct deliver_stats *stats);

/* Of all subscriptions; any thread. */
void deliver_figures(struct deliver *deliver, struct metrics *out);

struct progress_row;
/* Held and parked deliveries (first of their lane), by (subscription, seq) after the given
 * place. `total` behind: see progress.h. */
enum err deliver_held(struct deliver *deliver, struct str after_subscription, uint64_t after_seq,
                      uint32_t limit, bool (*visit)(void *ctx, const struct progress_row *row),
                      void *ctx, struct fault *fault) WARN_UNUSED;

/* A person decides. Any thread but the loop's; waits for the loop. `by` and `reason` go into the
 * journal. ERR_NOT_FOUND: nothing is held there; ERR_CONFLICT: it is not held any more, or not
 * the first of its lane; ERR_TIMEOUT. */
enum err deliver_retry(struct deliver *deliver, struct str subscription, uint64_t seq, struct str by,
                       struct str reason, struct fault *fault) WARN_UNUSED;
enum err deliver_discard(struct deliver *deliver, struct str subscription, uint64_t seq,
                         struct str by, struct str reason, struct fault *fault) WARN_UNUSED;

/* Changes what goes out, and sends it again. The edit names what it edits (subscription, event_seq, and the edit
 * it takes the place of); it is copied. As above; ERR_CONFLICT also: it was edited meanwhile, another version of
 * the mapping is loaded, or it can not be edited. *edit_seq: of its event. */
struct delivery_edit;
enum err deliver_edit(struct deliver *deliver, const struct delivery_edit *edit, uint64_t *edit_seq,
                      struct fault *fault) WARN_UNUSED;

/* Forgets what other systems said about these events: the causes of held deliveries and of failed
 * attempts. On disk, and out of the file's WAL and free pages, when it answers OK. Any thread. */
enum err deliver_forget(struct deliver *deliver, const uint64_t *seqs, uint32_t n,
                        struct fault *fault) WARN_UNUSED;

/* Routes of the operations side: /ops/subscriptions, /ops/held, …; their ctx is the deliver. */
extern const struct route deliver_routes[];
/* /ops/replays (replay.h), likewise. */
extern const struct route replay_routes[];
/* From now on nobody waits for events to pull: the hub stops. Any thread. */
void pull_drain(struct deliver *d);
/* /v1/subscriptions/{name}/…: what is asked of delivery; likewise. */
extern const struct route subscriber_routes_delivered[];

#endif
