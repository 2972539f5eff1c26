/* figures: what /metrics tells beside gateway and core: read model, keyring, what comes in from
 * partners and goes out to systems, what waits for a person, and the process itself. */
#ifndef PENSTOCK_OPS_FIGURES_H
#define PENSTOCK_OPS_FIGURES_H

#include "connect/drop.h"
#include "connect/streams.h"
#include "connect/inbound.h"
#include "connect/poll.h"
#include "connect/roster.h"
#include "core/core.h"
#include "deliver/deliver.h"

struct otlp;
struct read_model;
/* Of one hub. Set the parts; the rest zero. */
struct figures {
    struct core *core;
    struct roster *roster;
    const struct inbound *inbound;
    struct deliver *deliver;
    struct auth_keepers *auth;
    struct accounts *accounts;
    struct poller *poller; /* NULL: nothing is fetched */
    struct operate *operate;
    struct drop *drop;     /* NULL: no files are taken */
    struct streams *streams; /* NULL: none are read */
    struct read_model *read_model;
    struct keyring *keyring;
    struct otlp *otlp; /* may be NULL */
    /* Counted in the read model, which a scrape must not wait for: one asks, the next one tells. */
    _Atomic bool wanted, counted;
    _Atomic uint32_t exceptions_open, orders_held;
};
/* Any thread, at once. `ctx` is the struct figures. */
void figures_write(void *ctx, struct metrics *out);
/* Counts what was asked for since the last time, if anything was. Reads the read model: on a
 * thread that may wait. */
enum err figures_count(struct figures *figures, struct fault *fault) WARN_UNUSED;

/* process.c: CPU, memory, files, threads, as Linux tells them under /proc/self; any thread. */
void process_figures(struct metrics *out);

#endif
