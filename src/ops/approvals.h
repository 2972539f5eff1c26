/* approvals: the second person's side of calls that need one (domain/approvals.h): what waits,
 * approve, reject; and carrying out what was approved.
 *
 * Carried out once: the decision is in the journal first, then the call is made, then that it was
 * made. A crash in between leaves it approved; lists say so and what to do (done, hint), and to
 * approve it again goes on. The calls that can need a second person (ROUTE_TWO_PERSONS) do no harm
 * when they are made twice. */
#ifndef PENSTOCK_OPS_APPROVALS_H
#define PENSTOCK_OPS_APPROVALS_H

#include <pthread.h>

#include "core/core.h"
#include "gateway/gateway.h"

#define APPROVALS_RUNNING_MAX 16

struct approvals {
    struct core *core;
    const struct gateway_table *tables; /* where the calls are found */
    pthread_mutex_t lock;
    char running[APPROVALS_RUNNING_MAX][40]; /* ids being carried out; "": free */
};
void approvals_init(struct approvals *approvals, struct core *core,
                    const struct gateway_table *tables);
void approvals_end(struct approvals *approvals);

/* GET /ops/approvals, /ops/approvals/{id}, POST …/approve, …/reject; the ctx is the approvals. */
extern const struct route approvals_routes[];
extern const struct shape approval_shape;

#endif
