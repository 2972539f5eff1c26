/* ops: what operators look at: the story behind an id, the state of the hub at a glance. Only
 * reads; routes are served by the gateway as an extra table. */
#ifndef PENSTOCK_OPS_OPS_H
#define PENSTOCK_OPS_OPS_H

#include "core/capability.h"

/* GET /ops/…; ends with method NULL. The table's ctx is a struct ops_context (ops/overview.h). */
extern const struct route ops_routes[];

#endif
