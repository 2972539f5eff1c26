/* overview: the state of the hub at a glance, in business terms first: what waits for a person,
 * what waits for another system, how far everything is. */
#ifndef PENSTOCK_OPS_OVERVIEW_H
#define PENSTOCK_OPS_OVERVIEW_H

#include "connect/inbound.h"
#include "core/core.h"
#include "ops/trace.h"

/* ctx of ops_routes; all members must be set while routes are served. */
struct read_model;
struct ops_context {
    struct core *core;
    const struct inbound *inbound;
    struct read_model *read_model;
    struct trace_outlook outlook;
    int64_t started_us; /* wall clock */
};

#define OVERVIEW_COUNT_MAX 1000 /* cases of a kind that are counted; more are "1000 or more" */

/* Rows of the table `name` whose column has the value, at most OVERVIEW_COUNT_MAX. Of the query it
 * needs reader and arena. */
enum err overview_count(struct query *query, const char *name, const char *column,
                        struct str value, uint32_t *count, struct fault *fault) WARN_UNUSED;

/* Query of GET /ops/overview. */
enum err overview_query(struct query *query, struct fault *fault) WARN_UNUSED;

#endif
