/* read_model: how far the read model is, and having it made anew. Routes of the operations side. */
#ifndef PENSTOCK_OPS_READ_MODEL_H
#define PENSTOCK_OPS_READ_MODEL_H

#include "core/capability.h"

/* GET /ops/read-model: {"seq","behind","behind_ms","rebuild":{"state","seq","target","took_ms",
 * "reason"}}; state is one of read_model_rebuild_states, reason null where it did not fail. */
enum err read_model_query(struct query *query, struct fault *fault) WARN_UNUSED;
/* POST /ops/read-model/rebuild: 202 with the same. ERR_CONFLICT while one is under way. */
enum err read_model_rebuild_query(struct query *query, struct fault *fault) WARN_UNUSED;

#endif
