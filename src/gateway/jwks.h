/* jwks: the key sets of issuers, fetched over net and kept fresh, or read from files.
 *
 * Threads: one thread owns it and its net, and calls jwks_step (gateway/callers.c gives it one;
 * a test or the simulator calls it by itself). jwks_get, jwks_generation and jwks_ask are for any
 * thread and never wait for another system.
 *
 * What always holds: a set once fetched stays in use while its issuer can not be reached, until
 * stale_s; a kid that is not in a set leads to a fetch, but never to more than one in ask_ms, so
 * that a flood of made-up kids costs neither side anything; one fetch per issuer at a time, and
 * after failures ever later ones. */
#ifndef PENSTOCK_GATEWAY_JWKS_H
#define PENSTOCK_GATEWAY_JWKS_H

#include "base/clock.h"
#include "connect/net.h"
#include "gateway/jwt.h"

#define JWKS_SOURCES_MAX 32

struct jwks_source {
    struct str name; /* of the issuer: in logs and metrics */
    struct str url;  /* absent: file is read instead */
    struct str file;
    unsigned algs;   /* mask of JWT_MASK: what its keys may be used for */
};

struct jwks_options {
    const struct jwks_source *sources; /* must outlive it, like what they point to */
    uint32_t count;
    struct clock *clock;
    int64_t refresh_s; /* age at which a set is fetched again */
    int64_t stale_s;   /* age beyond which a set that can not be fetched again is given up */
    int64_t ask_ms;    /* least time between fetches because of an unknown kid */
    int64_t timeout_ms; /* of one fetch */
    void (*wake)(void *ctx); /* any thread: jwks_step is to be called. May be NULL */
    void *wake_ctx;
};

struct jwks;
/* Reads the files among the sources now; ERR_INVALID where one is no key set, ERR_IO. */
enum err jwks_create(const struct jwks_options *options, struct jwks **out,
                     struct fault *fault) WARN_UNUSED;
/* Ends fetches under way; on the thread of its net, or with none under way. */
void jwks_destroy(struct jwks *jwks);
/* Does what is due and answers when to call again at the latest (clock_tick_us). The owner's
 * thread; the net is the same at each call. */
int64_t jwks_step(struct jwks *jwks, struct net *net);

/* A reference of your own, to be given back with jwk_set_unref; NULL while there is none (not
 * fetched yet, or given up). */
struct jwk_set *jwks_get(struct jwks *jwks, uint32_t source);
/* Changes whenever jwks_get would answer another set than before. */
uint64_t jwks_generation(const struct jwks *jwks, uint32_t source);
/* "There is no such kid": asks for a fetch. True: one is on its way, so it is worth trying again
 * in a moment; false: the set is as new as it gets. */
bool jwks_ask(struct jwks *jwks, uint32_t source);

/* Any thread: whether a fetch is under way or about to begin. */
bool jwks_busy(struct jwks *jwks);

struct jwks_stats {
    uint64_t fetches, failures;
    uint32_t keys;     /* in use now */
    int64_t age_us;    /* since the last good fetch; -1: there was none */
};
void jwks_stats(struct jwks *jwks, uint32_t source, struct jwks_stats *out);

#endif
