/* operate: asks of other systems on behalf of a caller who waits: `operations` of connectors, found
 * by `roles` of penstock.yaml. One thread with a loop and an HTTP driver of its own: a system that
 * hangs costs nobody but those who ask it.
 *
 * What always holds: an ask that was taken ends exactly once, through `done`, within its
 * operation's timeout_ms (and the moment it takes to tell); a request is sent once for an ask;
 * what the answer is (the system's, or the declared fallback and why) is always said; a system that
 * takes no calls now (its breaker, its maintenance, its quota: connect/accounts.h) is not waited for. */
#ifndef PENSTOCK_DELIVER_OPERATE_H
#define PENSTOCK_DELIVER_OPERATE_H

#include "connect/auth_net.h"
#include "connect/connector.h"
#include "core/config.h"

struct operate_options {
    const struct config *config;
    const struct connectors *connectors;
    struct auth_keepers *keepers;
    struct accounts *accounts; /* of the hub */
    struct clock *clock;
};

/* One ask. Who asks keeps it, and what its texts point to, until `done`. */
struct operate_ask {
    struct operate_ask *next;
    struct str role, operation; /* "tax", "quote" */
    struct str region, store, key; /* absent: not said */
    struct str idempotency_key, correlation, traceparent;
    struct str query; /* JSON object of the caller's other parameters; absent: none */
    struct str body;  /* JSON; absent: none */
    void (*done)(struct operate_ask *ask); /* on operate's thread: hands it over, no more */
    void *ctx;
    /* The answer, in `arena`, which who asked frees. */
    struct arena arena;
    enum err err; /* ERR_NOT_FOUND: nobody holds the role, or not with this operation; ERR_INVALID: the
                     mapping or the system refuses what was sent; ERR_UPSTREAM, ERR_UPSTREAM_TIMEOUT,
                     ERR_UNAVAILABLE: no answer and no fallback */
    struct fault fault;
    struct str answer;    /* JSON */
    struct str connector; /* who answered, or would have */
    bool fallback;
    struct str reason; /* of the fallback */
    /* operate's own */
    struct operate *operate;
    const struct connector *held;
    const struct connector_operation *what;
    struct operate_line *line;
    struct operate_ask *prev;
    const struct json *document; /* what a mapping sees */
    struct net_call *call;
    int64_t began_us, deadline_us;
    bool late, out;
};

struct operate;
/* Starts the thread. ERR_NOMEM, ERR_IO. */
enum err operate_start(const struct operate_options *options, struct operate **out,
                       struct fault *fault) WARN_UNUSED;
/* Ends what is under way with ERR_UNAVAILABLE, and takes no more. */
void operate_stop(struct operate *operate);
void operate_destroy(struct operate *operate); /* after operate_stop; NULL is fine */
/* Another set from now on; any thread. */
void operate_renew(struct operate *operate, const struct connectors *connectors);

/* Any thread. OK: `done` follows. ERR_UNAVAILABLE: operations_max are under way, or it stops. */
enum err operate_submit(struct operate *operate, struct operate_ask *ask, struct fault *fault) WARN_UNUSED;

/* Any thread. */
void operate_figures(struct operate *operate, struct metrics *out);

#endif
