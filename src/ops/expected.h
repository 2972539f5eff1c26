/* expected: one list of all that should come and go (`expect` of topics and subscriptions): what last did, until
 * when more must, since when it does not, and what backstops repaired. Reads only. */
#ifndef PENSTOCK_OPS_EXPECTED_H
#define PENSTOCK_OPS_EXPECTED_H

#include "core/capability.h"

/* Its ctx is the connectors_desk. */
enum err expected_query(struct query *query, struct fault *fault) WARN_UNUSED;
extern const struct shape expected_shape;

#endif
