/* sandbox_erp: a stand-in for an ERP's order interface over HTTP, with books of its own, and a
 * speed, limits and faults that can be set, also while it runs. For tests, the demo, and for who
 * tries a connector without an ERP.
 *
 *   POST /orders                 books a sales order, answers its number; 422 with the reason
 *                                where its sums do not balance
 *   GET  /orders?external_id=X   {"items":[…]}: what was booked under X
 *   GET  /orders?after=N&limit=M all orders in the order of booking, with next_after
 *   GET  /orders/SO-000042
 *   GET  /totals                 counts and sums by currency and channel, duplicates
 *   GET, POST /control           speed and faults; POST sets the members it is given
 *
 * Posting the same external_id twice books it twice, unless `idempotent` is set: the totals
 * then tell of a duplicate, which is what a test wants to catch. */
#ifndef PENSTOCK_OPS_SANDBOX_ERP_H
#define PENSTOCK_OPS_SANDBOX_ERP_H

#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"

#define SANDBOX_OUTAGES_MAX 16

struct sandbox_erp_control {
    int64_t latency_min_ms, latency_max_ms; /* of POST and GET /orders */
    int64_t fail_rate;      /* scale 9: answers 500 and does nothing */
    int64_t ambiguous_rate; /* scale 9: does the work, then closes without an answer */
    int64_t rate_limit;     /* posts per second; 0: none; above: 429 with Retry-After */
    bool idempotent;        /* the same external_id again: the first number, nothing booked */
};

struct sandbox_erp_options {
    const char *host; /* NULL: 127.0.0.1 */
    uint16_t port;    /* 0: any free one */
    const char *books; /* file; NULL: in memory */
    uint64_t seed;    /* of faults and latency */
    struct sandbox_erp_control control;
    struct sandbox_erp_outage {
        int64_t start_s, seconds; /* after the start: connections are closed without a word */
    } outages[SANDBOX_OUTAGES_MAX];
    uint32_t outage_count;
};

struct sandbox_erp;
/* Serves, on a thread of its own, when it answers. */
enum err sandbox_erp_start(const struct sandbox_erp_options *options, struct sandbox_erp **out,
                           struct fault *fault) WARN_UNUSED;
uint16_t sandbox_erp_port(const struct sandbox_erp *erp);
void sandbox_erp_stop(struct sandbox_erp *erp);

/* "0.05" or "5%" → 50000000; false outside 0 to 1. */
bool sandbox_rate_parse(struct str text, int64_t *rate);

#endif
