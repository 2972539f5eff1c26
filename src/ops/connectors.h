/* connectors: what people see of connectors and do with them: how each fares, and taking up what
 * changed in their folders while the hub serves. */
#ifndef PENSTOCK_OPS_CONNECTORS_H
#define PENSTOCK_OPS_CONNECTORS_H

#include <pthread.h>

#include "connect/drop.h"
#include "connect/streams.h"
#include "connect/inbound.h"
#include "connect/poll.h"
#include "connect/roster.h"
#include "core/core.h"
#include "deliver/deliver.h"
#include "deliver/operate.h"

/* ctx of connectors_routes. Set the parts, then init. */
struct connectors_desk {
    struct core *core;
    struct roster *roster;
    struct inbound *inbound;
    struct deliver *deliver;
    struct poller *poller;
    struct drop *drop;
    struct streams *streams;
    struct operate *operate;
    pthread_mutex_t lock; /* one change at a time reaches all parts */
};
void connectors_desk_init(struct connectors_desk *desk);
void connectors_desk_end(struct connectors_desk *desk);

/* Reads the folders again and lets all parts go by what was taken. The log tells of each change, the
 * audit of all together as done by `actor`; where a version is rejected while another one serves, an
 * exception is raised, once for the same faults. The report lies in the arena. On a thread that may
 * wait; the core must run. */
enum err connectors_reload(struct connectors_desk *desk, struct str actor, struct str correlation,
                           struct arena *arena, struct roster_report *report,
                           struct fault *fault) WARN_UNUSED;
/* Log and exceptions of a report, as connectors_reload does: for what the start met. */
void connectors_tell(struct connectors_desk *desk, const struct roster_report *report);

extern const struct route connectors_routes[];

#endif
