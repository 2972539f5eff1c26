/* auth_net: a net around a net: each request that names its connector leaves with what the
 * connector's `auth` says. Deliveries, look-ups, scripts, polls and operations call through it, and
 * need not know how a partner wants to be greeted.
 *
 * Keepers hold what is got and kept (tokens, sessions), one for each connector, for all threads of
 * a hub; each thread has a net of its own around its driver.
 *
 * What always holds: at most one token or session of a connector is being fetched, whoever waits;
 * it is in memory alone and never logged; it is renewed ahead of its end while calls go on with the
 * old one; after an answer 401 (or what `session: ended`
 * says) the call is made once more with a new one (the partner has done
 * nothing: it did not know who asked), but a partner that refuses what it has just given is not
 * asked again at once; a server that does not answer or refuses is asked again after a pause that
 * grows. A refresh token that the server gave in place of another one is on disk before it counts.
 * A call that gets none ends with NET_SIGN_IN, nothing sent. What a partner repeats of a secret in
 * an answer of 400 or more is masked. */
#ifndef PENSTOCK_CONNECT_AUTH_NET_H
#define PENSTOCK_CONNECT_AUTH_NET_H

#include "base/clock.h"
#include "base/metric.h"
#include "base/rng.h"
#include "connect/accounts.h"
#include "connect/auth.h"
#include "connect/net.h"

struct auth_keepers;
struct auth_keepers_options {
    const char *path; /* of auth.db (auth_store.h), copied; NULL: in memory alone */
    struct clock *clock;
    struct rng *rng; /* nonces */
};
struct auth_keepers *auth_keepers_create(const struct auth_keepers_options *options);
/* When no net uses them any more. */
void auth_keepers_destroy(struct auth_keepers *keepers);
/* Any thread. */
void auth_figures(struct auth_keepers *keepers, struct metrics *out);

struct auth_net_options {
    struct net *net; /* around which */
    bool own;        /* net_close closes it, too */
    struct auth_keepers *keepers;
    struct accounts *accounts; /* calls go through a gate of theirs (connect/gate.h); NULL: none */
    struct mapping_limits limits; /* of mappings that read the answer of signing in */
    /* Any thread: auth_net_step is due on the owner's; it only signals. */
    void (*wake)(void *ctx);
    void *wake_ctx;
};
/* ERR_NOMEM */
enum err auth_net_create(const struct auth_net_options *options, struct net **out,
                         struct fault *fault) WARN_UNUSED;
/* The owner's thread: calls that waited go on, or end. */
void auth_net_step(struct net *net);
/* The owner's thread: what waits for its turn at an account ends with NET_CANCELLED. */
void auth_net_drain(struct net *net);
/* The tick at which that is due; INT64_MAX: after a wake only. The owner's thread. */
int64_t auth_net_next_us(struct net *net);

#endif
