/* expects: looks after what should come by each topic, and go by each subscription (expect.h), raises a case
 * `traffic-absent` where it does not, and closes it when it does again. On the poller's loop. */
#ifndef PENSTOCK_CONNECT_EXPECTS_H
#define PENSTOCK_CONNECT_EXPECTS_H

#include "connect/connector.h"
#include "connect/intake.h"
#include "core/core.h"

struct expects;
/* intake keeps which case is open over a restart; `wake` as in poll.h, on any thread. NULL: no memory. */
struct expects *expects_create(struct core *core, struct clock *clock, struct intake *intake,
                               void (*wake)(void *ctx), void *ctx);
void expects_destroy(struct expects *expects); /* nothing of it is with the core any more; NULL is fine */
/* One look. What the core has of it comes back before the core ends. */
void expects_step(struct expects *expects, const struct connectors *connectors);
/* When the next look is due (tick); INT64_MAX: nothing is expected. */
int64_t expects_next_us(const struct expects *expects);
/* Commands that the core has. */
uint32_t expects_busy(const struct expects *expects);

#endif
