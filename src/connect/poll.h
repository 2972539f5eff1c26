/* poll: fetches from other systems what they do not send: section `poll` of connector.yaml. Every so
 * often it asks for what changed since the watermark, page after page; each item goes through the
 * same entrance as a webhook (inbound.receive): stored before anything looks at what it says.
 *
 * What always holds: a watermark moves only after everything below it is durable in the journal, and
 * never beyond the other side's own clock; what is fetched twice (overlap, a crash, a page that
 * moved) is known by its bytes and costs the journal nothing.
 *
 * In production poll_start runs it on a thread with a libuv loop; the simulator gives its own net and
 * calls poll_step. */
#ifndef PENSTOCK_CONNECT_POLL_H
#define PENSTOCK_CONNECT_POLL_H

#include "connect/auth_net.h"
#include "connect/connector_poll.h"
#include "core/core.h"

struct poller_options {
    struct core *core;
    const struct config *config;
    const struct connectors *connectors; /* at first; taken */
    const char *path; /* of intake.db */
    const char *vfs;  /* NULL: the default one */
    struct clock *clock;
    struct rng *rng; /* jitter */
    struct auth_keepers *keepers; /* tokens and sessions of the hub; NULL: its own, in memory */
    struct accounts *accounts; /* of the hub; NULL: nothing is governed */
    struct net *net; /* NULL: poll_start makes an HTTP driver on its own loop */
};

struct poller;
/* Reads how far each poll has come. */
enum err poller_create(const struct poller_options *options, struct poller **out,
                       struct fault *fault) WARN_UNUSED;
/* After poller_stop, or with nothing under way. */
void poller_destroy(struct poller *poller);

/* One round of the loop. The caller is the only thread that does, and calls again when
 * poller_next_us has come, when a net call has ended, or after `wake`. */
void poller_step(struct poller *poller);
/* When the next step is due, of the clock's tick; INT64_MAX: only after something happens. */
int64_t poller_next_us(const struct poller *poller);
/* Called from any thread when a step is due; it only signals. */
void poller_wake_set(struct poller *poller, void (*wake)(void *ctx), void *ctx);

enum err poller_start(struct poller *poller, struct fault *fault) WARN_UNUSED;
/* Breaks off the calls under way, waits for what the core has. The core must still answer. */
void poller_stop(struct poller *poller);

/* Any thread: from the next step on, the polls are those of these connectors. What is under way ends
 * with the version it began with. */
void poller_renew(struct poller *poller, const struct connectors *connectors);

/* --- seeing, any thread -------------------------------------------------------------------- */
enum poll_state { POLL_UNUSABLE, POLL_WAITING, POLL_RUNNING, POLL_FAILING };
struct poll_stats {
    struct str connector, topic;
    enum poll_state state;
    char watermark[128]; /* as in a request, without overlap; empty: none yet */
    uint64_t rounds;     /* that came to their end, since the start, as the rest */
    uint64_t calls;
    uint64_t items;      /* that were fetched */
    uint64_t taken;      /* of these: new or changed, given to the hub */
    uint64_t failures;   /* calls and rounds that failed */
    uint32_t in_a_row;   /* failures since the last success */
    int64_t success_us;  /* end of the last good round, wall clock; 0: none */
    int64_t failed_us;
    int64_t due_us;      /* of the next round or call, wall clock; 0: when something ends */
    char error[400];     /* the newest failure */
};
/* At most max of them; how many. Names live as long as the poller. */
uint32_t poller_list(struct poller *poller, struct poll_stats *out, uint32_t max);
#define POLLS_MAX 1024 /* that are listed */
void poller_figures(struct poller *poller, struct metrics *out);
const char *poll_state_name(enum poll_state state);

/* Any thread: a round begins now, whatever its time table says. ERR_NOT_FOUND; ERR_CONFLICT: it is
 * not usable, or one is under way. */
enum err poller_run(struct poller *poller, struct str connector, struct str topic,
                    struct fault *fault) WARN_UNUSED;

/* Routes of the operations side: /ops/polls; their ctx is the poller. */
extern const struct route poll_routes[];

#endif
