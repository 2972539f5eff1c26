/* inbound: the workers that turn stored payloads into commands: follow the journal for
 * payload.received, map, submit what the connector says it is (a fact, caused by the payload),
 * and where that fails raise an exception that keeps the payload. At least once: after a
 * restart what was pending is processed again, and natural keys make that harmless.
 *
 * Payloads of one key (domain/inbound.h) are processed strictly one after the other, each when
 * the one before is settled; different keys overlap, up to inbound_inflight_max. Nothing is ever
 * dropped: what can not be submitted now is tried again. */
#ifndef PENSTOCK_CONNECT_INBOUND_H
#define PENSTOCK_CONNECT_INBOUND_H

#include "connect/connector.h"
#include "core/core.h"

struct inbound_options {
    struct core *core;
    struct tail *tail;
    const struct connectors *connectors; /* at first; taken */
};

struct inbound;
/* After core_create and before core_start: reads which payloads are pending. ERR_INVALID where a
 * connector names a command that does not exist; ERR_NOMEM. */
enum err inbound_create(const struct inbound_options *options, struct inbound **out,
                        struct fault *fault) WARN_UNUSED;
/* Stop first. */
void inbound_destroy(struct inbound *inbound);

/* Any thread: payloads that begin from now on go by these connectors, which connector_fit has found
 * fit. Those under way end with the version they began with. */
void inbound_renew(struct inbound *inbound, const struct connectors *connectors);

/* inbound_workers threads (setting). */
enum err inbound_start(struct inbound *inbound, struct fault *fault) WARN_UNUSED;
/* Ends the threads when the commands under way are answered; before core_stop. */
void inbound_stop(struct inbound *inbound);

/* One round of all workers on the caller's thread (simulator): answers taken, payloads
 * started. 0: nothing to do now. */
uint32_t inbound_step(struct inbound *inbound);

/* Any thread: payloads being processed or waiting to be tried again. */
uint32_t inbound_under_way(const struct inbound *inbound);

#endif
